//! Places of an event that are to be hidden, and the edits that come of them.

use std::borrow::Cow;
use std::ops::Range;

use crate::doc::edit::{Cause, Edits};
use crate::doc::{AnyDoc, Doc, Kind, Text};
use crate::order::sort_by_rank;
use crate::redactor::{Counts, Redactor};
use crate::stage::redact::mark::{Key, is_mark, write_mark, write_mark_of_base64};

/// A place of a document that is to be hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hide {
    /// The bytes that go: a value, or a part of a string.
    pub at: Range<usize>,
    /// The redactor that hides it.
    pub redactor: Redactor,
    /// The kind of the bytes.
    pub content: Content,
}

/// The kind of the bytes at a place that is to be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A string.
    Text,
    /// A string that holds bytes in base64.
    Base64,
    /// A part of the string whose value begins here.
    Part(usize),
    /// A number.
    Number,
    /// A map that is not looked into.
    Map,
    /// A list that is not looked into.
    List,
}

impl Counts {
    /// Appends the counts as the annotation has them, with those of an `earlier` one if
    /// it is well-formed: `env=2,secret=3`.
    pub(super) fn write(&self, earlier: &[u8], out: &mut Vec<u8>) {
        let earlier = std::str::from_utf8(earlier).ok().and_then(read_counts);
        let own = self
            .iter()
            .map(|(redactor, count)| (redactor.name(), count));
        let mut counts: Vec<(&str, u64)> = Vec::new();
        for (name, count) in own.chain(earlier.unwrap_or_default()) {
            let place = counts.partition_point(|(before, _)| *before < name);
            match counts.get_mut(place) {
                Some((known, sum)) if *known == name => *sum = sum.saturating_add(count),
                _ => counts.insert(place, (name, count)),
            }
        }
        for (at, (name, count)) in counts.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            out.extend_from_slice(format!("{comma}{name}={count}").as_bytes());
        }
    }
}

/// The counts of an annotation: `env=2,secret=3`. One with more names is not well-formed.
fn read_counts(text: &str) -> Option<Vec<(&str, u64)>> {
    const MOST: usize = 64;
    if text.split(',').nth(MOST).is_some() {
        return None;
    }
    let counts = text.split(',').map(|part| {
        let (name, count) = part.split_once('=')?;
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let is_count =
            (1..=9).contains(&count.len()) && count.bytes().all(|byte| byte.is_ascii_digit());
        (is_name && is_count).then_some((name, count.parse().ok()?))
    });
    counts.collect()
}

/// Puts places in order, joins those that overlap, and drops those inside what stays.
pub(super) fn settle(hides: &mut Vec<Hide>, stays: &[Range<usize>]) {
    if !stays.is_empty() {
        let overlaps =
            |hide: &Hide, stay: &Range<usize>| hide.at.start < stay.end && stay.start < hide.at.end;
        hides.retain(|hide| !stays.iter().any(|stay| overlaps(hide, stay)));
    }
    order(hides);
}

/// Puts places in order and joins those that overlap: the outermost counts, and of several
/// alike the one that was found first.
pub(super) fn order(hides: &mut Vec<Hide>) {
    sort_by_rank(hides, |hide| {
        let longest_first = usize::MAX.saturating_sub(hide.at.end);
        [hide.at.start, longest_first, 0, 0, 0]
    });
    hides.dedup_by(|hide, before| {
        let overlaps = hide.at.start < before.at.end;
        if overlaps {
            before.at.end = before.at.end.max(hide.at.end);
        }
        overlaps
    });
}

/// Asks for the edits that hide places of a document, which are settled; counts them.
pub(super) fn edit(
    doc: AnyDoc<'_>,
    hides: &[Hide],
    key: Option<&Key>,
    edits: &mut Edits,
) -> Counts {
    let mut counts = Counts::default();
    let (mut mark, mut written) = (Vec::new(), Vec::new());
    for hide in hides {
        mark.clear();
        written.clear();
        match hide.content {
            Content::Text => {
                write_mark(key, || text_at(doc, &hide.at), &mut mark);
                doc.write_text(&mark, &mut written);
            }
            Content::Base64 => {
                write_mark_of_base64(key, || text_at(doc, &hide.at), &mut mark);
                doc.write_text(&mark, &mut written);
            }
            Content::Part(text) => {
                let raw = doc.bytes().get(hide.at.clone()).unwrap_or_default();
                if raw.is_empty() || is_mark(raw) {
                    continue;
                }
                // A mark needs no escapes.
                write_mark(key, || part_at(doc, hide.at.clone()), &mut mark);
                edits.replace_part(text, hide.at.clone(), Cause::Redact, |out| {
                    out.extend_from_slice(&mark);
                });
            }
            Content::Number => doc.write_zero(&mut written),
            Content::Map => doc.write_empty(Kind::Map, &mut written),
            Content::List => doc.write_empty(Kind::List, &mut written),
        }
        if !written.is_empty() {
            edits.replace_value(hide.at.clone(), Cause::Redact, |out| {
                out.extend_from_slice(&written);
            });
        }
        counts.add(hide.redactor, 1);
    }
    counts
}

/// The value of the string at a place, or the bytes of something else.
fn text_at<'a>(doc: AnyDoc<'a>, at: &Range<usize>) -> Cow<'a, [u8]> {
    match doc {
        AnyDoc::Json(_) => part_at(doc, at.start.saturating_add(1)..at.end.saturating_sub(1)),
        AnyDoc::Msgpack(msgpack) => match msgpack.value(at.start) {
            Ok((Some(text), _)) => text.value(),
            _ => Cow::Borrowed(doc.bytes().get(at.clone()).unwrap_or_default()),
        },
    }
}

/// The value of a part of a string.
fn part_at<'a>(doc: AnyDoc<'a>, at: Range<usize>) -> Cow<'a, [u8]> {
    let text = Text {
        at: at.start,
        raw: doc.bytes().get(at).unwrap_or_default(),
        escaped: matches!(doc, AnyDoc::Json(_)),
    };
    text.value()
}

/// The annotation that counts the hidden values of an event.
pub const ANNOTATION: &[u8] = b"kube-audit/redacted";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_in_order_and_added() {
        let mut counts = Counts::default();
        counts.add(Redactor::Secret, 3);
        counts.add(Redactor::Env, 2);
        for (earlier, want) in [
            ("", "env=2,secret=3"),
            ("env=1,zzz=4", "env=3,secret=3,zzz=4"),
            ("env=x", "env=2,secret=3"),
            ("env=1234567890", "env=2,secret=3"),
        ] {
            let mut out = Vec::new();
            counts.write(earlier.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }

    #[test]
    fn outer_places_win_and_what_stays_stays() {
        let hide = |at: Range<usize>, redactor| Hide {
            at,
            redactor,
            content: Content::Text,
        };
        let mut hides = vec![
            hide(5..9, Redactor::Env),
            hide(20..30, Redactor::Net),
            hide(5..9, Redactor::Named),
            hide(22..24, Redactor::Net),
            hide(40..50, Redactor::Net),
        ];
        let stays: Range<usize> = 38..60;
        settle(&mut hides, std::slice::from_ref(&stays));
        let expected = [hide(5..9, Redactor::Env), hide(20..30, Redactor::Net)];
        assert_eq!(hides, expected);
    }
}
