//! The request URI as detections read it: decoded path, and the parameters of the query.
//!
//! Decoding is lenient, unlike that of the path which policies see: what an attacker
//! spells oddly must not hide what a lenient server would read.

use std::ops::Range;

use crate::doc::Text;
use crate::doc::escape::unescape;

/// Buffer for URIs that do not read in place; reused from event to event.
#[derive(Debug, Default)]
pub(super) struct UriBuffer {
    text: Vec<u8>,
    path: Vec<u8>,
}

/// A request URI.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uri<'b> {
    /// Decoded path.
    pub path: &'b [u8],
    /// Query as written, without its question mark.
    query: &'b [u8],
}

impl UriBuffer {
    /// Reads a request URI; allocates only while the buffer grows.
    pub(super) fn read<'b, 'a: 'b>(&'b mut self, text: Option<Text<'a>>) -> Uri<'b> {
        let Some(text) = text else {
            return Uri::default();
        };
        let UriBuffer { text: plain, path } = self;
        // Queries are full of `&`, which Go's encoder escapes in JSON.
        let raw: &'b [u8] = if text.escaped {
            plain.clear();
            unescape(text.raw, plain);
            plain
        } else {
            text.raw
        };
        let (raw_path, query) = split_once(raw, b'?');
        let query = query.unwrap_or_default();
        if memchr::memchr(b'%', raw_path).is_none() {
            return Uri {
                path: raw_path,
                query,
            };
        }
        path.clear();
        path.extend(Encoded::path(raw_path).bytes());
        Uri { path, query }
    }
}

impl<'b> Uri<'b> {
    /// Returns the parameters of the query, in order.
    pub(super) fn parameters(self) -> impl Iterator<Item = (Encoded<'b>, Encoded<'b>)> {
        let parts = parts(self.query, b'&');
        parts.filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = split_once(part, b'=');
            (
                Encoded::query(key),
                Encoded::query(value.unwrap_or_default()),
            )
        })
    }

    /// Returns the values of a parameter that may repeat.
    pub(super) fn values(self, key: &'static str) -> impl Iterator<Item = Encoded<'b>> {
        self.parameters()
            .filter(move |(name, _)| name.is(key.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Says whether a parameter is there and not empty.
    pub(super) fn has(self, key: &'static str) -> bool {
        self.values(key).any(|value| !value.raw.is_empty())
    }
}

/// A part of a URI before percent-decoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded<'b> {
    raw: &'b [u8],
    /// What `+` means: itself in a path, a blank in a query.
    plus: u8,
}

impl<'b> Encoded<'b> {
    fn path(raw: &'b [u8]) -> Encoded<'b> {
        Encoded { raw, plus: b'+' }
    }

    fn query(raw: &'b [u8]) -> Encoded<'b> {
        Encoded { raw, plus: b' ' }
    }

    /// Returns the decoded bytes; a percent sign without two hexadecimal digits means itself.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> + 'b {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let (&first, after) = rest.split_first()?;
            rest = after;
            Some(match first {
                b'%' => match hexadecimal(after) {
                    Some((byte, after)) => {
                        rest = after;
                        byte
                    }
                    None => b'%',
                },
                b'+' => self.plus,
                other => other,
            })
        })
    }

    fn is(self, text: &[u8]) -> bool {
        self.bytes().eq(text.iter().copied())
    }
}

/// Reads two hexadecimal digits; returns the byte they stand for and what follows.
fn hexadecimal(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], after) = text.split_first_chunk::<2>()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = (digit(high)? << 4) | digit(low)?;
    Some((u8::try_from(byte).ok()?, after))
}

/// Splits at the first `separator`; the second part is `None` where there is none.
pub(super) fn split_once(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let at = memchr::memchr(separator, text);
    let split = at.and_then(|at| Some((text.get(..at)?, text.get(at.checked_add(1)?..)?)));
    split.map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Yields the parts of a text between separators.
pub(super) fn parts(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let (part, after) = split_once(rest?, separator);
        rest = after;
        Some(part)
    })
}

/// Returns the range of the first occurrence of `part`.
pub(super) fn find(text: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = memchr::memmem::find(text, part)?;
    Some(start..start.checked_add(part.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Option<Text<'_>> {
        Some(Text {
            raw: raw.as_bytes(),
            at: 0,
            escaped: raw.contains('\\'),
        })
    }

    #[test]
    fn paths_and_parameters_are_decoded() {
        for (raw, path, parameters) in [
            ("", "", &[][..]),
            ("/a", "/a", &[]),
            ("/a%2fb+c%zz?", "/a/b+c%zz", &[]),
            ("/a?x=1&&y&=2", "/a", &[("x", "1"), ("y", ""), ("", "2")]),
            (
                "/a?%63=%2B+%4&c=a?b=c",
                "/a",
                &[("c", "+ %4"), ("c", "a?b=c")],
            ),
            (r"/a?x=1\u0026y=2", "/a", &[("x", "1"), ("y", "2")]),
            (r"\u002fa%20b?x", "/a b", &[("x", "")]),
        ] {
            let mut buffer = UriBuffer::default();
            let uri = buffer.read(text(raw));
            assert_eq!(uri.path, path.as_bytes(), "{raw}");
            let string = |part: Encoded<'_>| String::from_utf8(part.bytes().collect()).unwrap();
            let found: Vec<_> = uri
                .parameters()
                .map(|(key, value)| (string(key), string(value)))
                .collect();
            let wanted: Vec<_> = parameters
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(found, wanted, "{raw}");
        }
    }

    #[test]
    fn a_parameter_without_a_value_is_not_there() {
        let mut buffer = UriBuffer::default();
        let uri = buffer.read(text("/a?x=&y=0&%7a=1"));
        assert!(!uri.has("x") && uri.has("y") && uri.has("z") && !uri.has("a"));
    }

    #[test]
    fn missing_uris_are_empty() {
        assert_eq!(UriBuffer::default().read(None).path, b"");
    }
}
