//! Detections in words: which fire, and which condition kept the near ones from it.

use super::Severity;
use crate::policy::Level;

/// The answer of one detection to an event, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Id of the detection.
    pub id: String,
    /// Its severity.
    pub severity: Severity,
    /// Its answer.
    pub verdict: Verdict,
}

/// The answer of a detection that concerns an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fires.
    Fires,
    /// It would fire, if the request were not excepted from it or ignored.
    Excused,
    /// It cannot be decided without a body, which this level would show.
    Undecided(Level),
    /// It is about such requests, but this condition does not hold.
    Near(String),
}
