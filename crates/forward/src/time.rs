//! Points in time that lie ahead.

use std::time::{Duration, Instant};

/// Returns the time `delay` after `start`. A delay longer than the clock can count is cut
/// to a year.
pub(crate) fn after(start: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let end = start.checked_add(delay);
    end.or_else(|| start.checked_add(YEAR)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_without_end_is_far_ahead() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        assert_eq!(after(now, hour), now + hour);
        assert!(after(now, Duration::MAX) > now + hour);
    }
}
