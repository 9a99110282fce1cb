//! JSON text, walked in place.
//!
//! The walk is strict where it looks at members and lenient inside values that
//! it only skips: there it follows strings and brackets and nothing else. That
//! is enough to cut a value out, and costs one pass. Nesting is counted, not
//! recursed into.
//!
//! Every event takes the way through here, so sums are not checked: they are of a place that
//! was found in the buffer and of a few bytes, and no buffer reaches the end of the address
//! space. A place outside of the buffer reads nothing.

use std::ops::Range;

use crate::doc::escape::escape;
use crate::doc::keys::Key;
use crate::doc::scan;
use crate::doc::{Container, Doc, Kind, Malformed, Member, Text};

/// JSON text as a [`Doc`].
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub &'a [u8]);

impl<'a> Json<'a> {
    #[inline]
    fn byte(self, at: usize) -> Result<u8, Malformed> {
        self.0.get(at).copied().ok_or(Malformed)
    }

    /// The first position at or after `at` that holds no white space.
    #[inline]
    pub fn solid(self, mut at: usize) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.0.get(at) {
            at = at.saturating_add(1);
        }
        at
    }

    /// The last position at or before `at` with no white space in front of it.
    fn solid_end(self, mut at: usize) -> usize {
        while let Some(before) = at.checked_sub(1)
            && let Some(b' ' | b'\n' | b'\r' | b'\t') = self.0.get(before)
        {
            at = before;
        }
        at
    }

    /// The text of the value at a position.
    fn word(self, at: usize) -> Option<&'a [u8]> {
        self.0.get(at..self.end(at).ok()?)
    }

    /// The end of a number or literal.
    #[inline(never)]
    fn scalar_end(self, at: usize) -> Result<usize, Malformed> {
        let rest = self.0.get(at..).ok_or(Malformed)?;
        let length = rest
            .iter()
            .position(
                |b| !matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'),
            )
            .unwrap_or(rest.len());
        if length == 0 {
            Err(Malformed)
        } else {
            Ok(at.saturating_add(length))
        }
    }

    #[inline]
    fn open(self, at: usize, bracket: u8) -> Result<Container, Malformed> {
        if self.byte(at)? != bracket {
            return Err(Malformed);
        }
        Ok(Container {
            at,
            next: at,
            count: 0,
        })
    }

    /// Reads the next member if it is written as the API server does it: `{"key":` or
    /// `,"key":` without white space, and with a short key that needs no escapes. One look
    /// at a block of bytes then tells all that [`next_member`](Doc::next_member) finds out
    /// step by step.
    #[inline(always)]
    fn compact_member(self, map: Container) -> Option<Member<'a>> {
        let from = map.next;
        let block = self.0.get(from..)?.first_chunk::<{ scan::KEY_BLOCK }>()?;
        let quote = scan::closing_quote(block)?;
        let value = from.wrapping_add(quote).wrapping_add(2);
        let [before, b'"', ..] = block else {
            return None;
        };
        let compact = (is_new(map) || *before == b',')
            && block.get(quote.wrapping_add(1)) == Some(&b':')
            && self.0.get(value)? > &b' ';
        compact.then_some(Member {
            start: from.wrapping_add(1),
            key: Text {
                raw: block.get(2..quote)?,
                at: from.wrapping_add(2),
                escaped: false,
            },
            value,
        })
    }

    /// Reads the next member, however it is written.
    #[inline(never)]
    fn any_member(self, map: &mut Container) -> Result<Option<Member<'a>>, Malformed> {
        let Some(start) = self.step(map, b'}')? else {
            return Ok(None);
        };
        let (key, end) = self.text(start)?;
        let colon = self.solid(end);
        if self.byte(colon)? != b':' {
            return Err(Malformed);
        }
        Ok(Some(Member {
            start,
            key,
            value: self.solid(colon.saturating_add(1)),
        }))
    }

    /// Steps over the bracket or comma before the next member or item; `None` at the
    /// closing bracket.
    #[inline]
    fn step(self, container: &mut Container, close: u8) -> Result<Option<usize>, Malformed> {
        let first = is_new(*container);
        let at = self.solid(container.next.wrapping_add(usize::from(first)));
        let byte = self.byte(at)?;
        if byte == close {
            container.next = at.wrapping_add(1);
            return Ok(None);
        }
        match (first, byte) {
            (true, _) => Ok(Some(at)),
            (false, b',') => Ok(Some(self.solid(at.wrapping_add(1)))),
            (false, _) => Err(Malformed),
        }
    }
}

/// Returns whether a container has just been opened: what comes next is behind its bracket,
/// and not behind a comma.
#[inline(always)]
fn is_new(container: Container) -> bool {
    container.next == container.at
}

impl<'a> Doc<'a> for Json<'a> {
    fn bytes(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    fn kind(self, at: usize) -> Result<Kind, Malformed> {
        Ok(match self.byte(at)? {
            b'"' => Kind::Text,
            b'{' => Kind::Map,
            b'[' => Kind::List,
            b'n' => Kind::Null,
            b't' | b'f' | b'-' | b'0'..=b'9' => Kind::Other,
            _ => return Err(Malformed),
        })
    }

    #[inline(never)]
    fn end(self, at: usize) -> Result<usize, Malformed> {
        match self.kind(at)? {
            Kind::Text => Ok(self.text(at)?.1),
            Kind::Map | Kind::List => scan::container_end(self.0, at),
            Kind::Null | Kind::Other => self.scalar_end(at),
        }
    }

    #[inline(always)]
    fn value(self, at: usize) -> Result<(Option<Text<'a>>, usize), Malformed> {
        if self.byte(at)? == b'"' {
            let (text, end) = self.text(at)?;
            Ok((Some(text), end))
        } else {
            Ok((None, self.end(at)?))
        }
    }

    // Always inline: otherwise the result is returned through the stack field by field,
    // and waiting for that is most of the time.
    #[inline(always)]
    fn text(self, at: usize) -> Result<(Text<'a>, usize), Malformed> {
        let Some([b'"', rest @ ..]) = self.0.get(at..) else {
            return Err(Malformed);
        };
        let (raw, escaped) = scan::string(rest).ok_or(Malformed)?;
        let at = at.wrapping_add(1);
        let end = at.wrapping_add(raw.len()).wrapping_add(1);
        Ok((Text { raw, at, escaped }, end))
    }

    fn is_true(self, at: usize) -> bool {
        self.word(at) == Some(b"true")
    }

    fn integer(self, at: usize) -> Option<i64> {
        let text = self.0.get(at..)?;
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let mut size = 0i64;
        let mut count = 0usize;
        for &byte in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
            let digit = i64::from(byte.wrapping_sub(b'0'));
            size = size.saturating_mul(10).saturating_add(digit);
            count = count.wrapping_add(1);
        }
        // A fraction or an exponent would go on, and so would a word that is not a number.
        let ends = !matches!(digits.get(count), Some(b'.' | b'e' | b'E'));
        let value = match digits.len() == text.len() {
            true => size,
            false => size.saturating_neg(),
        };
        (count > 0 && ends).then_some(value)
    }

    #[inline]
    fn key(self, at: usize) -> Result<Text<'a>, Malformed> {
        Ok(self.text(at)?.0)
    }

    #[inline]
    fn open_map(self, at: usize) -> Result<Container, Malformed> {
        self.open(at, b'{')
    }

    #[inline]
    fn open_list(self, at: usize) -> Result<Container, Malformed> {
        self.open(at, b'[')
    }

    // Always inline: see `text`.
    #[inline(always)]
    fn next_member(self, map: &mut Container) -> Result<Option<Member<'a>>, Malformed> {
        if self.0.get(map.next) == Some(&b'}') {
            map.next = map.next.wrapping_add(1);
            return Ok(None);
        }
        match self.compact_member(*map) {
            Some(member) => Ok(Some(member)),
            None => self.any_member(map),
        }
    }

    #[inline(always)]
    fn expected_member(self, map: &mut Container, key: &Key) -> Option<(usize, usize)> {
        let rest = self.0.get(map.next..)?;
        let length = key.in_json.of(rest.first_chunk()?, is_new(*map))?;
        // White space is left to others.
        if rest.get(length)? <= &b' ' {
            return None;
        }
        Some((map.next.wrapping_add(1), map.next.wrapping_add(length)))
    }

    #[inline]
    fn next_item(self, list: &mut Container) -> Result<Option<usize>, Malformed> {
        self.step(list, b']')
    }

    const HAS_SIZES: bool = false;
    const SEPARATOR: &'static [u8] = b",";

    fn next_start(self, end: usize) -> Option<usize> {
        let comma = self.solid(end);
        (self.0.get(comma) == Some(&b',')).then(|| self.solid(comma.saturating_add(1)))
    }

    fn previous_end(self, start: usize) -> Option<usize> {
        let before = self.solid_end(start);
        let comma = before.checked_sub(1)?;
        (self.0.get(comma) == Some(&b',')).then(|| self.solid_end(comma))
    }

    fn members_end(self, map: &Range<usize>) -> usize {
        self.solid_end(map.end.saturating_sub(1))
    }

    fn write_resized_head(self, _: usize, _: isize, _: &mut Vec<u8>) -> Option<usize> {
        None
    }

    fn write_text(out: &mut Vec<u8>, text: &[u8]) {
        out.push(b'"');
        escape(text, out);
        out.push(b'"');
    }

    fn write_text_part(out: &mut Vec<u8>, text: &[u8]) {
        escape(text, out);
    }

    fn write_key(out: &mut Vec<u8>, key: &[u8]) {
        Self::write_text(out, key);
        out.push(b':');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Result<usize, Malformed> {
        Json(text.as_bytes()).end(0)
    }

    #[test]
    fn finds_the_end_of_values() {
        for (text, want) in [
            ("{}", 2),
            (r#"{"a":"}"},"#, 9),
            (r#"["\"]","\\"],"#, 12),
            (r#""\\" "#, 4),
            ("-1.5e+3,", 7),
            ("null}", 4),
            (
                r#"{"a":"0123456789012345678901234567890123456789\"}"}x"#,
                51,
            ),
        ] {
            assert_eq!(end(text), Ok(want), "{text}");
        }
        for text in [
            "",
            "{",
            r#"{"a":"#,
            r#""abc"#,
            r#""abc\"#,
            "[[]",
            r#"{"0123456789abcdef"#,
            ",",
        ] {
            assert_eq!(end(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn integers_are_whole_numbers() {
        for (text, want) in [
            ("0", Some(0)),
            ("86400,", Some(86400)),
            ("-7}", Some(-7)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(-i64::MAX)),
            ("1.0", None),
            ("1e9", None),
            ("-", None),
            ("true", None),
            ("\"1\"", None),
            ("[1]", None),
            ("", None),
        ] {
            assert_eq!(Json(text.as_bytes()).integer(0), want, "{text}");
        }
    }

    #[test]
    fn true_alone_is_true() {
        for (text, want) in [
            ("true", true),
            ("true}", true),
            ("false", false),
            ("1", false),
        ] {
            assert_eq!(Json(text.as_bytes()).is_true(0), want, "{text}");
        }
        assert!(!Json(b"\"true\"").is_true(0) && !Json(b"").is_true(0));
    }

    #[test]
    fn deep_nesting_is_only_counted() {
        let text = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        assert_eq!(end(&text), Ok(2_000_000));
    }
}
