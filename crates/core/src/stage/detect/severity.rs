//! Severities of detections.

use std::fmt;

/// How much a detection matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth counting.
    Low,
    /// Worth looking at.
    Medium,
    /// Worth an alert.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// All severities, lowest first.
    pub const ALL: [Severity; 4] = [
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    /// Returns the name in options and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// Finds the severity of that exact name.
    pub fn from_name(name: &str) -> Option<Severity> {
        let mut all = Severity::ALL.into_iter();
        all.find(|severity| severity.name() == name)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
