//! How large frames may be for one node, as far as it has shown.

use std::time::{Duration, Instant};

/// How long an acknowledgement tells something of the size that a node takes:
/// receivers are restarted with other limits.
const PROVEN_FOR: Duration = Duration::from_secs(600);

/// How long a size that seemed to be too large is kept in mind.
const DOUBTED_FOR: Duration = Duration::from_secs(3600);

/// Nothing is cut below this for the size of another frame: receivers take more,
/// and frames of a few records would cost more than an occasional loss.
pub const LEAST_LIMIT: usize = 32 << 10;

/// What a node has shown of the sizes that it takes, in bytes of entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// The largest frame that it has acknowledged of late.
    proven: Option<(usize, Instant)>,
    /// The smallest that it was lost over in a way that size may explain.
    doubted: Option<(usize, Instant)>,
}

impl Capacity {
    /// Notes the acknowledgement of a frame.
    pub fn acknowledged(&mut self, bytes: usize, now: Instant) {
        if bytes >= self.proven(now) {
            self.proven = Some((bytes, now));
        }
        self.doubted = self.doubted.filter(|(doubted, _)| bytes < *doubted);
    }

    /// Notes that the node was lost over a frame, and size may be the reason.
    pub fn doubt(&mut self, bytes: usize, now: Instant) {
        let least = self
            .doubted
            .map_or(bytes, |(doubted, _)| doubted.min(bytes));
        self.doubted = Some((least, now));
    }

    /// The largest frame that is worth sending where a smaller one would do.
    pub fn limit(&self, now: Instant) -> Option<usize> {
        let (bytes, _) = self.doubted.filter(|(_, at)| now < *at + DOUBTED_FOR)?;
        Some((bytes / 2).max(LEAST_LIMIT))
    }

    /// Whether the node has acknowledged a frame of at least this size.
    pub fn covers(&self, bytes: usize, now: Instant) -> bool {
        bytes <= self.proven(now)
    }

    /// Whether a frame of this size is small anyway, or not much larger than one
    /// that it has acknowledged.
    pub fn nearly_covers(&self, bytes: usize, now: Instant) -> bool {
        let proven = self.proven(now);
        bytes <= LEAST_LIMIT.max(proven + proven / 4)
    }

    fn proven(&self, now: Instant) -> usize {
        let known = self.proven.filter(|(_, at)| now < *at + PROVEN_FOR);
        known.map_or(0, |(bytes, _)| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_late_is_proven() {
        let start = Instant::now();
        let mut capacity = Capacity::default();
        assert!(!capacity.covers(1, start));
        assert!(capacity.nearly_covers(LEAST_LIMIT, start));
        assert!(!capacity.nearly_covers(LEAST_LIMIT + 1, start));
        capacity.acknowledged(100_000, start);
        capacity.acknowledged(10, start + PROVEN_FOR / 2);
        for (bytes, covered, nearly) in [
            (100_000, true, true),
            (100_001, false, true),
            (125_000, false, true),
            (125_001, false, false),
        ] {
            assert_eq!(capacity.covers(bytes, start), covered, "{bytes}");
            assert_eq!(capacity.nearly_covers(bytes, start), nearly, "{bytes}");
        }
        let later = start + PROVEN_FOR;
        assert!(
            !capacity.covers(100_000, later),
            "it may be another receiver"
        );
        capacity.acknowledged(10, later);
        assert!(capacity.covers(10, later) && !capacity.covers(11, later));
    }

    #[test]
    fn doubts_halve_the_limit_until_they_are_refuted() {
        let now = Instant::now();
        let mut capacity = Capacity::default();
        assert_eq!(capacity.limit(now), None);
        capacity.doubt(900_000, now);
        assert_eq!(capacity.limit(now), Some(450_000));
        capacity.doubt(450_000, now);
        capacity.doubt(900_000, now);
        assert_eq!(capacity.limit(now), Some(225_000));
        capacity.acknowledged(225_000, now);
        assert_eq!(capacity.limit(now), Some(225_000));
        assert_eq!(capacity.limit(now + DOUBTED_FOR), None);
        capacity.acknowledged(450_000, now);
        assert_eq!(capacity.limit(now), None, "it was not the size");
        capacity.doubt(100, now);
        assert_eq!(capacity.limit(now), Some(LEAST_LIMIT));
    }
}
