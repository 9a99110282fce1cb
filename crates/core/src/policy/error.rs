//! What is wrong, or merely odd, in a policy text.

use std::fmt;

use crate::text::Place;

/// Why a policy was refused: everything that is wrong with it, in the API server's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

impl PolicyError {
    /// The problems; at least one. Each has its place in its message and fits on a line of its own.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What would have been a warning; a misspelt field may explain a missing one.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// One problem or warning per line.
impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = self
            .problems
            .iter()
            .map(|problem| problem as &dyn fmt::Display);
        let warnings = self
            .warnings
            .iter()
            .map(|warning| warning as &dyn fmt::Display);
        for (i, line) in problems.chain(warnings).enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The field with all its indices, such as `rules[3].resources[0].group`; empty for the whole text.
    pub path: String,
    /// The field as kube-apiserver names it; it leaves indices out inside `resources`.
    pub field: String,
    /// What sort of problem.
    pub kind: ProblemKind,
    /// What was found and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.place, &self.path, &self.message)
    }
}

/// The sorts of problems, in the order in which kube-apiserver looks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Larger or deeper than a policy can sensibly be.
    Limit,
    /// Neither JSON nor YAML.
    Syntax,
    /// Not a `Policy` of a version of `audit.k8s.io` that is known.
    Version,
    /// A value of the wrong type.
    Type,
    /// A field that must be there (the API server's `FieldValueRequired`).
    Required,
    /// Not one of the names allowed (the API server's `FieldValueNotSupported`).
    NotSupported,
    /// A value that makes no sense (the API server's `FieldValueInvalid`).
    Invalid,
    /// A policy without rules.
    NoRules,
}

/// Something that kube-apiserver accepts with a warning, and that is hardly what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// The field with all its indices.
    pub path: String,
    /// What sort of oddity.
    pub kind: WarningKind,
    /// What was found and what follows from it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.place, &self.path, &self.message)
    }
}

/// The sorts of oddities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// A field that does not exist is ignored.
    UnknownField,
    /// A key is set more than once; the last one counts.
    DuplicateKey,
}

fn located(f: &mut fmt::Formatter<'_>, place: &Place, path: &str, message: &str) -> fmt::Result {
    write!(f, "{place}: ")?;
    if !path.is_empty() {
        write!(f, "{path}: ")?;
    }
    f.write_str(message)
}

/// A problem or warning while only its byte offset is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding<K> {
    pub at: usize,
    pub path: String,
    pub kind: K,
    pub message: String,
}

/// Problems or warnings, up to a number beyond which nobody reads on.
#[derive(Debug)]
pub(super) struct Findings<K>(Vec<Finding<K>>);

/// kube-apiserver stops collecting at 100 warnings, too.
const MAX_FINDINGS: usize = 100;

impl<K> Findings<K> {
    pub fn new() -> Self {
        Findings(Vec::new())
    }

    pub fn push(&mut self, at: usize, path: impl fmt::Display, kind: K, message: String) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding {
                at,
                path: path.to_string(),
                kind,
                message,
            });
        }
    }

    pub fn is_empty(&self) -> bool {
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
