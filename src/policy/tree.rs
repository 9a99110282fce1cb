//! A policy text as a tree of values with positions: what JSON and YAML have in common.

use std::fmt;

use super::ProblemKind;

/// How deep lists and mappings may nest. A policy needs five levels.
pub(super) const MAX_DEPTH: usize = 64;

/// How many values a text may hold, with everything its aliases stand for.
/// A rule has about ten.
pub(super) const MAX_NODES: usize = 1_000_000;

/// A value and the byte offset at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub at: usize,
}

/// A value in JSON's terms. Scalars that are not text keep their spelling for messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool {
        value: bool,
        spelling: String,
    },
    /// `integer`: a whole number that fits into 64 bits with sign.
    Number {
        integer: bool,
        spelling: String,
    },
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub at: usize,
    pub value: Node,
    /// Where the same key was set before.
    pub repeats: Option<usize>,
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub kind: ProblemKind,
    pub message: String,
}

impl Fault {
    pub fn syntax(at: usize, message: impl Into<String>) -> Fault {
        Fault {
            at,
            kind: ProblemKind::Syntax,
            message: message.into(),
        }
    }

    pub fn too_deep(at: usize) -> Fault {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        Fault {
            at,
            kind: ProblemKind::Limit,
            message,
        }
    }

    pub fn too_many(at: usize) -> Fault {
        let message = format!("more than {MAX_NODES} values");
        Fault {
            at,
            kind: ProblemKind::Limit,
            message,
        }
    }
}

/// Notes for every key where it was set before.
pub(super) fn mark_repeats(entries: &mut [Entry]) {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|&a, &b| entries[a].key.cmp(&entries[b].key).then(a.cmp(&b)));
    for pair in order.windows(2) {
        if let &[earlier, later] = pair
            && entries[earlier].key == entries[later].key
        {
            entries[later].repeats = Some(entries[earlier].at);
        }
    }
}

/// "string `bob`", for messages.
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

/// Text as messages show it: on one line and not too long.
pub(super) fn shown(text: &str) -> String {
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

/// The way to a field, such as `rules[3].users[0]`.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

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
