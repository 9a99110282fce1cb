//! Parts of a text that are to be hidden.

use std::ops::Range;

use crate::doc::escape;
use crate::stage::redact::Redactor;
use crate::stage::redact::hide::{Content, Hide, order};
use crate::stage::redact::mark::is_mark;

/// Parts of one text, collected in any order.
#[derive(Debug, Default)]
pub(super) struct Spans {
    list: Vec<Hide>,
}

impl Spans {
    /// Forgets all parts.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Adds a part.
    pub(super) fn add(&mut self, at: Range<usize>, redactor: Redactor) {
        self.list.push(Hide {
            at,
            redactor,
            content: Content::Text,
        });
    }

    /// Adds all of a text from `from` on.
    pub(super) fn add_rest(&mut self, text: &[u8], from: usize, redactor: Redactor) {
        self.add(from..text.len(), redactor);
    }

    /// Collects parts of a text that begins at `offset` of this one.
    pub(super) fn within(&mut self, offset: usize, collect: impl FnOnce(&mut Spans)) {
        let before = self.list.len();
        collect(self);
        for span in self.list.iter_mut().skip(before) {
            span.at.start = span.at.start.saturating_add(offset);
            span.at.end = span.at.end.saturating_add(offset);
        }
    }

    /// The number of parts collected so far.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Takes back all but the first `count` parts.
    pub(super) fn truncate(&mut self, count: usize) {
        self.list.truncate(count);
    }

    /// Puts the parts in order, joins those that overlap, and drops those that hold
    /// nothing or are marks already. The first `front` bytes of the text
    /// are not part of the value: they are not hidden, and places count from their end.
    pub(super) fn settle(&mut self, text: &[u8], front: usize) -> &[Hide] {
        for span in &mut self.list {
            span.at.start = span.at.start.max(front);
        }
        order(&mut self.list);
        self.list.retain_mut(|span| {
            let hidden = text.get(span.at.clone()).unwrap_or_default();
            let stays = hidden.is_empty() || is_mark(hidden);
            span.at.start = span.at.start.saturating_sub(front);
            span.at.end = span.at.end.saturating_sub(front);
            !stays
        });
        &self.list
    }
}

/// Finds the places in the raw text of a JSON string that make up places of its value,
/// asked for in ascending order.
#[derive(Debug)]
pub(super) struct RawPlaces<'a> {
    rest: &'a [u8],
    raw: usize,
    plain: usize,
}

impl<'a> RawPlaces<'a> {
    /// Begins at the front of a string.
    pub(super) fn new(raw: &'a [u8]) -> RawPlaces<'a> {
        RawPlaces {
            rest: raw,
            raw: 0,
            plain: 0,
        }
    }

    /// The place in the raw text of byte `plain` of the value: inside an escape, its
    /// beginning.
    pub(super) fn find(&mut self, plain: usize) -> usize {
        while self.plain < plain {
            let (raw_length, plain_length) = match self.rest.first() {
                None => break,
                Some(b'\\') => {
                    let (value, length) = escape::read_escape(self.rest);
                    (length, value.len_utf8())
                }
                Some(_) => {
                    let until = memchr::memchr(b'\\', self.rest).unwrap_or(self.rest.len());
                    let length = until.min(plain.saturating_sub(self.plain));
                    (length, length)
                }
            };
            let plain_end = self.plain.saturating_add(plain_length);
            if plain_end > plain {
                break;
            }
            self.rest = self.rest.get(raw_length..).unwrap_or_default();
            self.raw = self.raw.saturating_add(raw_length);
            self.plain = plain_end;
        }
        self.raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_and_marks_left_alone() {
        let text = b"field: secret REDACTED";
        let mut spans = Spans::default();
        spans.add(9..13, Redactor::Net);
        spans.add(0..10, Redactor::Message);
        spans.add(14..22, Redactor::Message);
        spans.add(13..13, Redactor::Message);
        let settled = spans.settle(text, 7);
        let expected = Hide {
            at: 0..6,
            redactor: Redactor::Message,
            content: Content::Text,
        };
        assert_eq!(settled, [expected]);
    }

    #[test]
    fn places_of_escaped_strings() {
        let raw = br"a\u0026b\n\ud83d\ude00c";
        let mut places = RawPlaces::new(raw);
        let found: Vec<usize> = [0, 1, 2, 3, 4, 8, 9].map(|p| places.find(p)).to_vec();
        assert_eq!(found, [0, 1, 7, 8, 10, 22, 23]);
        assert_eq!(RawPlaces::new(b"a\\").find(9), 2);
        assert_eq!(RawPlaces::new(br"\u00fcx").find(1), 0);
    }
}
