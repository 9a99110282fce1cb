//! The frame sizes that a node is known to accept.

use std::time::{Duration, Instant};

use crate::time::after;

/// Time for which an acknowledged size counts: receivers are restarted with other
/// limits.
const ACCEPTED_FOR: Duration = Duration::from_secs(600);

/// Time for which a rejected size counts.
const REJECTED_FOR: Duration = Duration::from_secs(3600);

/// Frames are never made smaller than this for the sake of their size: receivers
/// accept more, and frames of a few records each would cost more than they save.
pub const MIN_LIMIT: usize = 32 << 10;

/// Use of a frame to find out whether a node accepts more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The frame may be larger than those that were accepted.
    Larger,
    /// The frame is the last one: were it skipped without a word, nothing behind it would
    /// show that.
    Never,
}

/// Frame sizes that a node has accepted and rejected, in bytes of entries.
///
/// A rejected size sets a [limit](Capacity::limit). It begins at the largest
/// accepted size, or at [`MIN_LIMIT`], and doubles with each acknowledgement of a
/// frame of that size, as long as it stays below the rejected size. So the real
/// limit of a receiver costs two or three rejected frames, and a receiver that
/// rejects everything for a while is back at large frames after a few.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// The largest frame that was acknowledged recently.
    accepted: Option<(usize, Instant)>,
    /// The smallest frame that was rejected, maybe because of its size.
    rejected: Option<(usize, Instant)>,
}

impl Capacity {
    /// Records the acknowledgement of a frame.
    pub fn acknowledged(&mut self, bytes: usize, now: Instant) {
        if bytes >= self.accepted(now) {
            self.accepted = Some((bytes, now));
        }
        self.rejected = self.rejected.filter(|(rejected, _)| bytes < *rejected);
    }

    /// Records that a connection ended over a frame, maybe because of its size.
    pub fn rejected(&mut self, bytes: usize, now: Instant) {
        let least = self
            .rejected
            .map_or(bytes, |(rejected, _)| rejected.min(bytes));
        self.rejected = Some((least, now));
    }

    /// Takes over what another connection to the same node has learnt.
    pub fn adopt(&mut self, other: Capacity) {
        let larger = |(bytes, _): &(usize, Instant)| *bytes;
        self.accepted = self
            .accepted
            .into_iter()
            .chain(other.accepted)
            .max_by_key(larger);
        self.rejected = other.rejected.or(self.rejected);
    }

    /// Returns the size above which frames should be split before they are sent;
    /// `None` if no size was rejected.
    pub fn limit(&self, probe: Probe, now: Instant) -> Option<usize> {
        let (rejected, _) = self
            .rejected
            .filter(|(_, at)| now < after(*at, REJECTED_FOR))?;
        let accepted = self.accepted(now).min(rejected);
        let doubled = accepted.saturating_mul(2);
        let limit = if probe == Probe::Larger && doubled < rejected {
            doubled
        } else {
            accepted
        };
        Some(limit.max(MIN_LIMIT))
    }

    /// Returns true if the node has acknowledged a frame of at least this size.
    pub fn covers(&self, bytes: usize, now: Instant) -> bool {
        bytes <= self.accepted(now)
    }

    /// Returns true if a frame is small in any case, or not much larger than one that
    /// the node has acknowledged.
    pub fn nearly_covers(&self, bytes: usize, now: Instant) -> bool {
        let accepted = self.accepted(now);
        bytes <= MIN_LIMIT.max(accepted.saturating_add(accepted / 4))
    }

    fn accepted(&self, now: Instant) -> usize {
        let known = self
            .accepted
            .filter(|(_, at)| now < after(*at, ACCEPTED_FOR));
        known.map_or(0, |(bytes, _)| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_recent_size_is_accepted() {
        let start = Instant::now();
        let mut capacity = Capacity::default();
        assert!(!capacity.covers(1, start));
        assert!(capacity.nearly_covers(MIN_LIMIT, start));
        assert!(!capacity.nearly_covers(MIN_LIMIT + 1, start));
        capacity.acknowledged(100_000, start);
        capacity.acknowledged(10, start + ACCEPTED_FOR / 2);
        for (bytes, covered, nearly) in [
            (100_000, true, true),
            (100_001, false, true),
            (125_000, false, true),
            (125_001, false, false),
        ] {
            assert_eq!(capacity.covers(bytes, start), covered, "{bytes}");
            assert_eq!(capacity.nearly_covers(bytes, start), nearly, "{bytes}");
        }
        let later = start + ACCEPTED_FOR;
        assert!(
            !capacity.covers(100_000, later),
            "it may be another receiver"
        );
        capacity.acknowledged(10, later);
        assert!(capacity.covers(10, later) && !capacity.covers(11, later));
    }

    /// Sends frames as large as allowed to a receiver with a limit; returns the size
    /// of frames in the end, and how many were rejected.
    fn learn(capacity: &mut Capacity, limit: usize, now: Instant) -> (usize, usize) {
        const LARGEST: usize = 900_000;
        let mut rejected = 0;
        let mut size = 0;
        for _ in 0..100 {
            size = capacity
                .limit(Probe::Larger, now)
                .unwrap_or(LARGEST)
                .min(LARGEST);
            if size <= limit {
                capacity.acknowledged(size, now);
            } else {
                capacity.rejected(size, now);
                rejected += 1;
            }
        }
        (size, rejected)
    }

    #[test]
    fn case_46_a_limit_costs_few_frames() {
        for limit in [33_000, 60_000, 100_000, 250_000, 500_000, 899_999] {
            let now = Instant::now();
            let mut capacity = Capacity::default();
            let (size, rejected) = learn(&mut capacity, limit, now);
            assert!(rejected <= 2, "{rejected} frames for a limit of {limit}");
            assert!(
                size <= limit && size > limit / 2 - 1000,
                "{size} of {limit}"
            );
            let later = now + REJECTED_FOR;
            assert_eq!(
                capacity.limit(Probe::Larger, later),
                None,
                "it is tried again"
            );
        }
    }

    #[test]
    fn a_receiver_that_was_away_gets_large_frames_again() {
        let now = Instant::now();
        let mut capacity = Capacity::default();
        learn(&mut capacity, 0, now);
        assert_eq!(capacity.limit(Probe::Larger, now), Some(MIN_LIMIT));
        let (size, rejected) = learn(&mut capacity, usize::MAX, now);
        assert_eq!(rejected, 0);
        assert!(size >= MIN_LIMIT, "{size}");
        capacity.rejected(900_000, now);
        assert_eq!(capacity.limit(Probe::Never, now), Some(size));
        capacity.acknowledged(900_000, now);
        assert_eq!(
            capacity.limit(Probe::Larger, now),
            None,
            "it was not the size"
        );
    }
}
