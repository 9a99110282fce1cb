//! A text under its name: encodings, and byte offsets as lines and columns.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::tree::{Fault, FaultKind};

/// The largest text that is read, in bytes.
const MAX_TEXT: usize = 8 << 20;

/// A position in a text: `name:line:column`, both counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the text is called: a file or an option.
    pub name: Arc<str>,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.name, self.line, self.column)
    }
}

/// The text as UTF-8, without a byte order mark of UTF-16; it may have invalid bytes.
pub fn to_utf8(text: &[u8]) -> Result<Cow<'_, [u8]>, Fault> {
    if text.len() > MAX_TEXT {
        let message = format!("{} bytes are more than the {MAX_TEXT} allowed", text.len());
        return Err(Fault {
            at: 0,
            kind: FaultKind::Limit,
            message,
        });
    }
    let word: fn([u8; 2]) -> u16 = match text {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Ok(Cow::Borrowed(text)),
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let words = pairs.iter().skip(1).map(|&pair| word(pair));
    let decoded: Result<String, _> = char::decode_utf16(words).collect();
    match decoded {
        Ok(text) if rest.is_empty() => Ok(Cow::Owned(text.into_bytes())),
        _ => Err(Fault::syntax(0, "not valid UTF-16")),
    }
}

/// The API server's test for JSON; it skips what Unicode calls white space.
pub fn begins_with_brace(text: &[u8]) -> bool {
    let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    valid.trim_start().starts_with('{')
}

/// A text and its name, to turn byte offsets into places.
pub struct Source<'a> {
    name: Arc<str>,
    text: &'a [u8],
    /// Where lines begin.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    /// A text under the name that messages call it by.
    pub fn new(name: &str, text: &'a [u8]) -> Source<'a> {
        let first = if text.starts_with("\u{feff}".as_bytes()) {
            3
        } else {
            0
        };
        let ends = text.iter().enumerate().filter(|&(i, &byte)| {
            byte == b'\n' || (byte == b'\r' && text.get(i + 1) != Some(&b'\n'))
        });
        let lines = std::iter::once(first)
            .chain(ends.map(|(i, _)| i + 1))
            .collect();
        Source {
            name: name.into(),
            text,
            lines,
        }
    }

    /// The line of an offset, counted from 1.
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).max(1)
    }

    /// The place of an offset.
    pub fn place(&self, at: usize) -> Place {
        let line = self.line(at);
        let before = self.text.get(self.lines[line - 1]..at.min(self.text.len()));
        // Continuation bytes of UTF-8 are no characters of their own.
        let characters = |text: &[u8]| text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
        Place {
            name: self.name.clone(),
            line,
            column: 1 + before.map_or(0, characters),
        }
    }
}
