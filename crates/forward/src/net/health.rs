//! Backoff and trust of a node. Reads no clock.

use std::time::{Duration, Instant};

use crate::time::after;

/// Delays after failures: at once after the first one, then 100 ms, 200 ms, … up
/// to 30 s, each shortened by jitter, by half at most.
const BACKOFF: Backoff = Backoff {
    first: Duration::ZERO,
    start: Duration::from_millis(100),
    end: Duration::from_secs(30),
};

/// Delays after failures that only an operator can mend.
const DENIED: Backoff = Backoff {
    first: Duration::from_secs(30),
    start: Duration::from_secs(60),
    end: Duration::from_secs(600),
};

/// Attempts are limited to this many in a row and then to one per [`PACE`], for
/// nodes that acknowledge a frame and fail again each time.
const BURST: u32 = 20;
const PACE: Duration = Duration::from_secs(1);

/// Kind of a failure of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The node cannot be reached, or a connection was lost.
    Failed,
    /// The node did not acknowledge a frame in time.
    Silent,
    /// Node and client refuse each other: key, user or TLS settings are wrong.
    Denied,
}

/// Failures of a node, remembered between its connections.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Setbacks since the last acknowledgement.
    failures: u32,
    /// True if the node acknowledged a frame after its last failure.
    proven: bool,
    /// True if the last failure was a time-out of an acknowledgement.
    silent: bool,
    /// True once the node has acknowledged any frame.
    ever_acknowledged: bool,
    not_before: Option<Instant>,
    /// Time at which the attempts so far would end at a rate of one per [`PACE`].
    paced: Option<Instant>,
}

impl Health {
    /// Records a failure. `jitter` shortens a delay at random.
    pub(super) fn record_failure(
        &mut self,
        failure: Failure,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
    ) {
        let backoff = match failure {
            Failure::Failed | Failure::Silent => &BACKOFF,
            Failure::Denied => &DENIED,
        };
        self.silent = failure == Failure::Silent;
        let retry = after(now, jitter(backoff.delay(self.failures)));
        let paced = after(self.paced.map_or(now, |paced| paced.max(now)), PACE);
        let allowed = paced.checked_sub(PACE.saturating_mul(BURST)).unwrap_or(now);
        self.paced = Some(paced);
        self.not_before = Some(retry.max(allowed));
        self.failures = self.failures.saturating_add(1);
        self.proven = false;
    }

    /// Records an acknowledgement.
    pub(super) fn acknowledged(&mut self) {
        self.failures = 0;
        self.proven = true;
        self.silent = false;
        self.ever_acknowledged = true;
    }

    /// Returns the earliest time of the next attempt.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Returns true if the node has failed since its last acknowledgement.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns true if the last failure was a time-out of an acknowledgement, and none
    /// has come since.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Returns true if the node has ever acknowledged a frame.
    pub(super) fn has_ever_acknowledged(&self) -> bool {
        self.ever_acknowledged
    }

    /// Returns true if the node has acknowledged a frame since its last failure.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }
}

/// Doubling delays.
struct Backoff {
    first: Duration,
    start: Duration,
    end: Duration,
}

impl Backoff {
    /// Returns the delay after the failure that follows `failures` others.
    fn delay(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => self.first,
            Some(doublings) => self
                .start
                .saturating_mul(2u32.saturating_pow(doublings))
                .min(self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delays until the next try, in milliseconds, of failures in a row.
    fn delays(failure: Failure, count: usize) -> Vec<u128> {
        let mut health = Health::default();
        let mut now = Instant::now();
        let delay = || {
            health.record_failure(failure, now, |delay| delay);
            let delay = health.not_before().unwrap() - now;
            now += delay;
            delay.as_millis()
        };
        std::iter::repeat_with(delay).take(count).collect()
    }

    #[test]
    fn case_59_backoff_doubles_up_to_its_end() {
        assert_eq!(
            delays(Failure::Failed, 12),
            [
                0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        assert_eq!(BACKOFF.delay(u32::MAX), BACKOFF.end);
    }

    #[test]
    fn case_27_a_node_that_denies_is_left_alone_for_long() {
        assert_eq!(
            delays(Failure::Denied, 7),
            [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]
        );
    }

    /// Ten minutes with a node that acknowledges one frame per connection.
    #[test]
    fn case_59_tries_are_bounded_whatever_is_acknowledged() {
        let mut health = Health::default();
        let start = Instant::now();
        let mut now = start;
        let mut tries = 0;
        while now < start + Duration::from_secs(600) {
            if health.not_before().is_none_or(|until| now >= until) {
                tries += 1;
                health.acknowledged();
                health.record_failure(Failure::Failed, now, |delay| delay);
            }
            now += Duration::from_millis(10);
        }
        assert!((600..=600 + BURST + 1).contains(&tries), "{tries} tries");
    }

    #[test]
    fn trust_is_earned_and_lost() {
        let mut health = Health::default();
        assert!(!health.is_proven() && !health.has_failed());
        let now = Instant::now();
        health.record_failure(Failure::Failed, now, |delay| delay);
        assert!(!health.is_proven() && health.has_failed());
        health.acknowledged();
        assert!(health.is_proven() && !health.has_failed());
    }
}
