//! Learns from how connections end whether a receiver keeps them. Reads no clock.

use std::time::{Duration, Instant};

use crate::time::after;

/// Time after which a connection that ended is not blamed on its last acknowledgement.
const RIGHT_AFTER: Duration = Duration::from_secs(1);

/// Times after which reuse is tried again: receivers are reconfigured, and some close for
/// another reason. Each try that fails doubles the time; each costs one connection.
const FIRST_TRY: Duration = Duration::from_secs(10);
const LAST_TRY: Duration = Duration::from_secs(600);

/// Number of connections that must end right after an acknowledgement, in a row.
const EVIDENCE: u32 = 2;

/// Use of a node's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Any number of frames, a window at a time.
    Window,
    /// Any number of frames, one at a time, because the last connection ended right
    /// after an acknowledgement. A frame that is sent into a closing connection costs
    /// little; a window of frames may be stored without an acknowledgement.
    OneAtATime,
    /// A single frame, because the receiver closes the connection after it.
    Once,
}

/// Evidence that a receiver closes its connections after an acknowledgement, as
/// Fluentd does with `deny_keepalive`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReuseHistory {
    /// Connections in a row that ended right after an acknowledgement.
    closed: u32,
    last: Option<Instant>,
    /// Tries of reuse that failed.
    tries: u32,
}

impl ReuseHistory {
    /// Records that the receiver acknowledged a frame that was sent after an earlier
    /// acknowledgement on the same connection.
    pub(super) fn reused(&mut self) {
        *self = ReuseHistory::default();
    }

    /// Records that the receiver closed a connection that was never reused, after
    /// its last acknowledgement. Returns true if that explains the end.
    pub(super) fn closed(&mut self, acknowledged: Instant, now: Instant) -> bool {
        let explains = now <= after(acknowledged, RIGHT_AFTER);
        if explains {
            if self.closed >= EVIDENCE {
                self.tries = self.tries.saturating_add(1);
            }
            self.closed = self.closed.saturating_add(1);
            self.last = Some(now);
        }
        explains
    }

    /// Returns how the next connection is to be used.
    pub(super) fn usage(&self, now: Instant) -> Use {
        let doubled = FIRST_TRY.saturating_mul(2u32.saturating_pow(self.tries));
        let is_fresh = |last| now < after(last, doubled.min(LAST_TRY));
        match self.closed {
            0 => Use::Window,
            EVIDENCE.. if self.last.is_some_and(is_fresh) => Use::Once,
            _ => Use::OneAtATime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_right_after_an_acknowledgement_are_evidence() {
        let mut now = Instant::now();
        let mut history = ReuseHistory::default();
        assert_eq!(history.usage(now), Use::Window);
        assert!(history.closed(now, now));
        assert_eq!(history.usage(now), Use::OneAtATime);
        now += RIGHT_AFTER;
        assert!(history.closed(now - RIGHT_AFTER, now));
        assert_eq!(history.usage(now), Use::Once);
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            now += Duration::from_secs(seconds - 1);
            assert_eq!(history.usage(now), Use::Once);
            now += Duration::from_secs(1);
            assert_eq!(history.usage(now), Use::OneAtATime, "reuse is tried again");
            assert!(history.closed(now, now));
        }
        assert_eq!(history.usage(now), Use::Once);
        history.reused();
        assert_eq!(history.usage(now), Use::Window);
    }

    #[test]
    fn idle_connections_that_end_are_no_evidence() {
        let start = Instant::now();
        let mut history = ReuseHistory::default();
        for _ in 0..10 {
            assert!(!history.closed(start, start + RIGHT_AFTER * 2));
        }
        assert_eq!(history.usage(start), Use::Window);
    }
}
