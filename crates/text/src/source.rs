//! Texts with a name: encodings, and byte offsets as lines and columns.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::tree::{Fault, FaultKind};

/// Size of the largest text that is read, in bytes.
const MAX_TEXT: usize = 8 << 20;

/// Position in a text, shown as `name:line:column`; line and column are counted from 1,
/// columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the text: a file or an option.
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

/// Converts UTF-16 with a byte order mark to UTF-8; other text stays as it is, invalid
/// bytes included. Fails for a text of more than 8 MiB.
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

/// True if kube-apiserver reads the text as JSON: its first character is `{`, after what
/// Unicode calls white space.
pub fn begins_with_brace(text: &[u8]) -> bool {
    let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    valid.trim_start().starts_with('{')
}

/// Text with a name; turns byte offsets into places.
pub struct Source<'a> {
    name: Arc<str>,
    text: &'a [u8],
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    /// Number of characters before every [`MARK`]th byte, because JSON may have all of a
    /// large text in one line.
    marks: Vec<usize>,
}

/// Bytes between two marks.
const MARK: usize = 4096;

impl<'a> Source<'a> {
    /// Makes a source of a text and the name that messages call it by.
    pub fn new(name: &str, text: &'a [u8]) -> Source<'a> {
        let first = if text.starts_with("\u{feff}".as_bytes()) {
            3
        } else {
            0
        };
        let ends = text.iter().enumerate().filter(|&(i, &byte)| {
            byte == b'\n' || (byte == b'\r' && text.get(i.saturating_add(1)) != Some(&b'\n'))
        });
        let lines = std::iter::once(first)
            .chain(ends.map(|(i, _)| i.saturating_add(1)))
            .collect();
        let marks = text.chunks(MARK).scan(0usize, |before, chunk| {
            let mark = *before;
            *before = before.saturating_add(characters(chunk));
            Some(mark)
        });
        Source {
            name: name.into(),
            text,
            lines,
            marks: marks.collect(),
        }
    }

    /// Returns the line of an offset, counted from 1.
    pub fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).max(1)
    }

    /// Returns the place of an offset.
    pub fn place(&self, at: usize) -> Place {
        let line = self.line(at);
        let start = self.lines.get(line.saturating_sub(1)).copied();
        let before = self.characters_before(start.unwrap_or_default());
        Place {
            name: self.name.clone(),
            line,
            column: self
                .characters_before(at)
                .saturating_sub(before)
                .saturating_add(1),
        }
    }

    fn characters_before(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        let mark = at / MARK;
        let rest = self
            .text
            .get(mark.saturating_mul(MARK)..at)
            .unwrap_or_default();
        // A text that ends at a mark has no chunk after it.
        match self.marks.get(mark) {
            Some(before) => before.saturating_add(characters(rest)),
            None => characters(self.text),
        }
    }
}

/// Counts characters: all bytes but the continuation bytes of UTF-8.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let line = "aé\u{1f600}".repeat(5000);
        let text = format!("\u{feff}first\r\n{line}\n{line}");
        let source = Source::new("file", text.as_bytes());
        for (line, column, at) in [
            (1, 1, 3),
            (1, 3, 5),
            (2, 1, 10),
            (2, 2, 11),
            (2, 3, 13),
            (2, 15001, 10 + line.len()),
            (3, 1, 11 + line.len()),
            (3, 1 + 3 * 3000, 11 + line.len() + 7 * 3000),
            (3, 15001, text.len()),
            (3, 15001, text.len() + 9),
        ] {
            let place = source.place(at);
            assert_eq!((place.line, place.column), (line, column), "{at}");
        }
        assert_eq!(Source::new("file", b"").place(0).column, 1);
        let full = [b'x'; MARK];
        assert_eq!(Source::new("file", &full).place(MARK).column, MARK + 1);
    }
}
