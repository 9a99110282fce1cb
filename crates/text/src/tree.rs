//! Trees of values with positions, which JSON and YAML have in common.

use std::collections::BTreeMap;
use std::fmt;

/// Deepest nesting of lists and mappings. A policy needs five levels.
pub(crate) const MAX_DEPTH: usize = 64;

/// Most values in a text, counting the values of an anchor again for each alias. A rule
/// has about ten.
pub(crate) const MAX_NODES: usize = 1_000_000;

/// Value with the byte offset at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Byte offset at which it begins.
    pub at: usize,
}

/// Value in JSON's terms. Scalars that are not text keep their spelling for messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool {
        /// The value.
        value: bool,
        /// Spelling in the text.
        spelling: String,
    },
    /// A number.
    Number {
        /// True for a whole number that fits into an `i64`.
        integer: bool,
        /// Spelling in the text.
        spelling: String,
    },
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping; of repeated keys, YAML keeps the last and JSON all.
    Map(Vec<Entry>),
}

/// Key and value of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Byte offset at which it begins.
    pub at: usize,
    /// The value.
    pub value: Node,
    /// Byte offset at which the same key was set before.
    pub repeats: Option<usize>,
}

impl Node {
    /// Returns the entries of a mapping; empty for any other value.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a list; empty for any other value.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Returns the value of a key of a mapping; of repeated keys the last, which counts.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().rfind(|entry| entry.key == key)?;
        Some(&found.value)
    }

    /// Returns the string, if the value is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Error in the syntax of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Byte offset at which reading ended.
    pub at: usize,
    /// Sort of error.
    pub kind: FaultKind,
    /// Text: what was found and what would be right.
    pub message: String,
}

/// Sorts of errors in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Neither JSON nor YAML.
    Syntax,
    /// Larger or deeper than anything sensible.
    Limit,
}

impl Fault {
    /// Makes an error of syntax.
    pub fn syntax(at: usize, message: impl Into<String>) -> Fault {
        Fault {
            at,
            kind: FaultKind::Syntax,
            message: message.into(),
        }
    }

    /// Makes the error for too deep nesting.
    pub(crate) fn too_deep(at: usize) -> Fault {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        Fault {
            at,
            kind: FaultKind::Limit,
            message,
        }
    }

    /// Makes the error for too many values.
    pub(crate) fn too_many(at: usize) -> Fault {
        let message = format!("more than {MAX_NODES} values");
        Fault {
            at,
            kind: FaultKind::Limit,
            message,
        }
    }
}

/// Sets [`Entry::repeats`] of every key that was set before.
pub(crate) fn mark_repeats(entries: &mut [Entry]) {
    let mut seen = BTreeMap::new();
    let earlier: Vec<Option<usize>> = entries
        .iter()
        .map(|entry| seen.insert(entry.key.as_str(), entry.at))
        .collect();
    for (entry, earlier) in entries.iter_mut().zip(earlier) {
        entry.repeats = earlier;
    }
}

/// Shows the type and the spelling, such as "string `bob`", for messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool { spelling, .. } => write!(f, "boolean `{spelling}`"),
            Value::Number { spelling, .. } => write!(f, "number `{spelling}`"),
            Value::Text(text) => write!(f, "string `{}`", shown(text)),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a mapping"),
        }
    }
}

/// Shortens a text for a message: one line, at most 80 characters.
pub fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut out: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        out.push('…');
    }
    out
}

/// Path of a field, such as `rules[3].users[0]`.
#[derive(Clone, Copy)]
pub enum Path<'a> {
    /// The whole text.
    Root,
    /// A field of a mapping.
    Field(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// Returns the path of a field of this mapping.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    /// Returns the path of an item of this list.
    pub fn item(&'a self, index: usize) -> Path<'a> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(&shown(name)),
            Path::Field(parent, name) => write!(f, "{parent}.{}", shown(name)),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}
