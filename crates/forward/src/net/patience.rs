//! Learns how long a node needs for acknowledgements. Reads no clock.

use std::time::Duration;

/// Largest multiple of the configured time-out.
const MOST: u32 = 8;

/// Time-out of acknowledgements, which grows with a node that is slow or stuck: each
/// time-out costs duplicates, and the next one will not come sooner.
#[derive(Debug)]
pub(super) struct AckPatience {
    configured: Duration,
    current: Duration,
}

impl AckPatience {
    /// Begins with the configured time-out.
    pub(super) fn new(configured: Duration) -> AckPatience {
        AckPatience {
            configured,
            current: configured,
        }
    }

    /// Returns the time-out of the next connection.
    pub(super) fn timeout(&self) -> Duration {
        self.current
    }

    /// Records that an acknowledgement timed out.
    pub(super) fn timed_out(&mut self) {
        self.current = self.bounded(self.current.saturating_mul(2));
    }

    /// Records how long an acknowledgement took. The time-out returns to the
    /// configured one, or to twice that time.
    pub(super) fn acknowledged(&mut self, took: Duration) {
        self.current = self.bounded(took.saturating_mul(2));
    }

    fn bounded(&self, timeout: Duration) -> Duration {
        let most = self.configured.saturating_mul(MOST);
        timeout.clamp(self.configured, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_double_up_to_a_bound_until_an_acknowledgement() {
        let second = Duration::from_secs(1);
        let mut patience = AckPatience::new(10 * second);
        let timeouts: Vec<_> = (0..5)
            .map(|_| {
                patience.timed_out();
                patience.timeout().as_secs()
            })
            .collect();
        assert_eq!(timeouts, [20, 40, 80, 80, 80]);
        patience.acknowledged(35 * second);
        assert_eq!(patience.timeout(), 70 * second);
        patience.acknowledged(second);
        assert_eq!(patience.timeout(), 10 * second);
    }
}
