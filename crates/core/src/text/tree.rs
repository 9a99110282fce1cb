//! A text as a tree of values with positions: what JSON and YAML have in common.

use std::fmt;

/// How deep lists and mappings may nest. A policy needs five levels.
pub const MAX_DEPTH: usize = 64;

/// How many values a text may hold, with everything its aliases stand for.
/// A rule has about ten.
pub const MAX_NODES: usize = 1_000_000;

/// A value and the byte offset at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it begins.
    pub at: usize,
}

/// A value in JSON's terms. Scalars that are not text keep their spelling for messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool {
        /// Which of them.
        value: bool,
        /// As it is written.
        spelling: String,
    },
    /// A number.
    Number {
        /// Whether it is a whole number that fits into 64 bits with sign.
        integer: bool,
        /// As it is written.
        spelling: String,
    },
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping; of keys that repeat, YAML leaves the last, and JSON all.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where it begins.
    pub at: usize,
    /// Its value.
    pub value: Node,
    /// Where the same key was set before.
    pub repeats: Option<usize>,
}

impl Node {
    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a mapping's key; of several the last, which counts.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().rfind(|entry| entry.key == key)?;
        Some(&found.value)
    }

    /// The string, where it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where reading ended.
    pub at: usize,
    /// What sort of fault.
    pub kind: FaultKind,
    /// What was found and what would be right.
    pub message: String,
}

/// The sorts of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Neither JSON nor YAML.
    Syntax,
    /// Larger or deeper than anything sensible.
    Limit,
}

impl Fault {
    /// A fault of syntax.
    pub fn syntax(at: usize, message: impl Into<String>) -> Fault {
        Fault {
            at,
            kind: FaultKind::Syntax,
            message: message.into(),
        }
    }

    /// Nested too deep.
    pub fn too_deep(at: usize) -> Fault {
        let message = format!("nested deeper than {MAX_DEPTH} levels");
        Fault {
            at,
            kind: FaultKind::Limit,
            message,
        }
    }

    /// Too many values.
    pub fn too_many(at: usize) -> Fault {
        let message = format!("more than {MAX_NODES} values");
        Fault {
            at,
            kind: FaultKind::Limit,
            message,
        }
    }
}

/// Notes for every key where it was set before.
pub fn mark_repeats(entries: &mut [Entry]) {
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

/// The way to a field, such as `rules[3].users[0]`.
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
    /// The way to a field of this.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    /// The way to an item of this.
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
