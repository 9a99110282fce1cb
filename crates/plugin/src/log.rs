//! Log lines and how often they are written.

use std::time::{Duration, Instant};

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The start fails, or data is lost or at risk.
    Error,
    /// Something works differently from what the configuration asks for.
    Warn,
    /// Starts, ends, connections.
    Info,
    /// Details for debugging.
    Debug,
}

/// The log of one instance.
pub trait Log: Send + Sync {
    /// Writes one line; the host adds the time and the instance's name.
    fn log(&self, level: LogLevel, message: &str);
}

/// Limits log lines of one kind to one a minute.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Option<Instant>,
}

impl LogLimit {
    const INTERVAL: Duration = Duration::from_secs(60);

    /// Returns true if a line may be written now, which starts the next minute.
    pub(crate) fn allows(&mut self) -> bool {
        let now = Instant::now();
        let is_within = |last| now.duration_since(last) < Self::INTERVAL;
        if self.last.is_some_and(is_within) {
            return false;
        }
        self.last = Some(now);
        true
    }
}
