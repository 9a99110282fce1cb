//! Problems of a policy text, and warnings about it.

use std::fmt;

use kube_audit_text::Place;

/// Refusal of a policy: all its problems, in the order in which kube-apiserver reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

impl PolicyError {
    /// Returns the problems, at least one. Each is shown on one line, with its place.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns the warnings. They matter here too: a misspelled field may explain a missing one.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Shows one problem or warning per line.
impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.problems {
            write!(f, "{separator}{problem}")?;
            separator = "\n";
        }
        for warning in &self.warnings {
            write!(f, "{separator}{warning}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

/// Error in a policy: it is refused because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Position in the text.
    pub place: Place,
    /// Field with all indices, such as `rules[3].resources[0].group`; empty for the whole text.
    pub path: String,
    /// Field as kube-apiserver names it: without indices inside `resources`.
    pub field: String,
    /// Sort of problem.
    pub kind: ProblemKind,
    /// Text: what was found and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.place, &self.path, &self.message)
    }
}

/// Sorts of problems, in the order in which kube-apiserver looks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Larger or deeper than a policy can sensibly be.
    Limit,
    /// Neither JSON nor YAML.
    Syntax,
    /// Not a `Policy`, or of an unknown version of `audit.k8s.io`.
    Version,
    /// A value of the wrong type.
    Type,
    /// A required field is missing (`FieldValueRequired` of kube-apiserver).
    Required,
    /// Not one of the allowed names (`FieldValueNotSupported` of kube-apiserver).
    NotSupported,
    /// An invalid value (`FieldValueInvalid` of kube-apiserver).
    Invalid,
    /// A policy without rules.
    NoRules,
}

/// Part of a policy that kube-apiserver accepts with a warning and that is hardly intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Position in the text.
    pub place: Place,
    /// Field with all indices.
    pub path: String,
    /// Sort of warning.
    pub kind: WarningKind,
    /// Text: what was found and what follows from it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.place, &self.path, &self.message)
    }
}

/// Sorts of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// An unknown field, which is ignored.
    UnknownField,
    /// A key that is set more than once; the last one counts.
    DuplicateKey,
}

fn located(f: &mut fmt::Formatter<'_>, place: &Place, path: &str, message: &str) -> fmt::Result {
    write!(f, "{place}: ")?;
    if !path.is_empty() {
        write!(f, "{path}: ")?;
    }
    f.write_str(message)
}

/// Problem or warning of which only the byte offset is known yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding<K> {
    pub at: usize,
    pub path: String,
    pub kind: K,
    pub message: String,
}

/// Problems or warnings, at most [`MAX_FINDINGS`].
#[derive(Debug)]
pub(super) struct Findings<K>(Vec<Finding<K>>);

/// kube-apiserver stops at 100 warnings as well; nobody reads on.
const MAX_FINDINGS: usize = 100;

impl<K> Findings<K> {
    pub(super) fn new() -> Self {
        Findings(Vec::new())
    }

    pub(super) fn push(&mut self, at: usize, path: impl fmt::Display, kind: K, message: String) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding {
                at,
                path: path.to_string(),
                kind,
                message,
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K> IntoIterator for Findings<K> {
    type Item = Finding<K>;
    type IntoIter = std::vec::IntoIter<Finding<K>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
