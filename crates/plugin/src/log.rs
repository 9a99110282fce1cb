//! Log lines and how often they are written.

use std::borrow::Cow;
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

/// Escapes control characters: what comes from an event, a file or a receiver begins no line
/// of its own in the log, and changes no terminal.
pub fn one_line(message: &str) -> Cow<'_, str> {
    if !message.contains(char::is_control) {
        return Cow::Borrowed(message);
    }
    let mut line = String::with_capacity(message.len());
    for character in message.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    Cow::Owned(line)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("a `b` ä"), "a `b` ä");
        let escaped = one_line("a\n[error] forged\0\u{1b}[2J\u{85}");
        assert_eq!(escaped, r"a\n[error] forged\u{0}\u{1b}[2J\u{85}");
    }
}
