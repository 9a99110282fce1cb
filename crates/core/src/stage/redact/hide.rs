//! Places of an event that are to be hidden, and the edits that come of them.

use std::borrow::Cow;
use std::ops::Range;

use crate::doc::edit::{Cause, Edits};
use crate::doc::{Doc, Malformed, Text, msgpack};
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
    fn write(&self, earlier: &[u8], out: &mut Vec<u8>) {
        let earlier = std::str::from_utf8(earlier).ok().and_then(read_counts);
        let mut counts: Vec<(&str, u64)> = earlier.unwrap_or_default();
        for (redactor, count) in self.iter() {
            match counts.iter_mut().find(|(name, _)| *name == redactor.name()) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => counts.push((redactor.name(), count)),
            }
        }
        counts.sort_unstable();
        for (at, (name, count)) in counts.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            out.extend_from_slice(format!("{comma}{name}={count}").as_bytes());
        }
    }
}

/// The counts of an annotation: `env=2,secret=3`.
fn read_counts(text: &str) -> Option<Vec<(&str, u64)>> {
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

/// Puts places in order and drops those inside others, and inside what stays.
pub(super) fn settle(hides: &mut Vec<Hide>, stays: &[Range<usize>]) {
    if !stays.is_empty() {
        let overlaps =
            |hide: &Hide, stay: &Range<usize>| hide.at.start < stay.end && stay.start < hide.at.end;
        hides.retain(|hide| !stays.iter().any(|stay| overlaps(hide, stay)));
    }
    hides.sort_by_key(|hide| (hide.at.start, std::cmp::Reverse(hide.at.end)));
    hides.dedup_by(|hide, before| {
        let overlaps = hide.at.start < before.at.end;
        if overlaps {
            before.at.end = before.at.end.max(hide.at.end);
        }
        overlaps
    });
}

/// Asks for the edits that hide places of a document, which are settled; counts them.
pub(super) fn edit<'a, D: Doc<'a>>(
    doc: D,
    hides: &[Hide],
    key: Option<&Key>,
    edits: &mut Edits,
) -> Result<Counts, Malformed> {
    let mut counts = Counts::default();
    let mut mark = Vec::new();
    for Hide {
        at,
        redactor,
        content,
    } in hides
    {
        mark.clear();
        match content {
            Content::Text | Content::Base64 => {
                let value = match doc.value(at.start)?.0 {
                    Some(text) => text.value(),
                    None => Cow::Borrowed(doc.bytes().get(at.clone()).unwrap_or_default()),
                };
                if *content == Content::Text {
                    write_mark(key, &value, &mut mark);
                } else {
                    write_mark_of_base64(key, &value, &mut mark);
                }
                edits.replace_value(at.clone(), Cause::Redact, |out| D::write_text(out, &mark));
            }
            Content::Part(text) => {
                let escaped = doc.value(*text)?.0.is_some_and(|text| text.escaped);
                let part = Text {
                    raw: doc.bytes().get(at.clone()).unwrap_or_default(),
                    at: at.start,
                    escaped,
                };
                let value = part.value();
                if value.is_empty() || is_mark(&value) {
                    continue;
                }
                write_mark(key, &value, &mut mark);
                edits.replace_part(*text, at.clone(), Cause::Redact, |out| {
                    D::write_text_part(out, &mark);
                });
            }
            Content::Number => edits.replace_value(at.clone(), Cause::Redact, write_zero::<D>),
            Content::Map => edits.replace_value(at.clone(), Cause::Redact, write_empty_map::<D>),
            Content::List => edits.replace_value(at.clone(), Cause::Redact, write_empty_list::<D>),
        }
        counts.add(*redactor, 1);
    }
    Ok(counts)
}

fn write_zero<'a, D: Doc<'a>>(out: &mut Vec<u8>) {
    out.push(if D::HAS_SIZES { 0 } else { b'0' });
}

fn write_empty_map<'a, D: Doc<'a>>(out: &mut Vec<u8>) {
    if D::HAS_SIZES {
        msgpack::write_map_head(out, 0);
    } else {
        out.extend_from_slice(b"{}");
    }
}

fn write_empty_list<'a, D: Doc<'a>>(out: &mut Vec<u8>) {
    if D::HAS_SIZES {
        msgpack::write_array_head(out, 0);
    } else {
        out.extend_from_slice(b"[]");
    }
}

/// The annotation that counts the hidden values of an event.
pub const ANNOTATION: &[u8] = b"kube-audit/redacted";

/// Writes the counts into the annotations of an event. `annotations` is the place of its
/// annotations, if it has any; `event` is its map.
pub(super) fn annotate<'a, D: Doc<'a>>(
    doc: D,
    event: Range<usize>,
    annotations: Option<Range<usize>>,
    counts: &Counts,
    edits: &mut Edits,
) -> Result<(), Malformed> {
    let mut text = Vec::new();
    let Some(annotations) = annotations else {
        counts.write(&[], &mut text);
        edits.append_member(doc, event, b"annotations", Cause::Redact, |out| {
            if D::HAS_SIZES {
                msgpack::write_map_head(out, 1);
            } else {
                out.push(b'{');
            }
            D::write_key(out, ANNOTATION);
            D::write_text(out, &text);
            if !D::HAS_SIZES {
                out.push(b'}');
            }
        });
        return Ok(());
    };
    let mut map = doc.open_map(annotations.start)?;
    let mut earlier = None;
    while let Some(member) = doc.next_member(&mut map)? {
        map.next = doc.end(member.value)?;
        if member.key.is(ANNOTATION) {
            earlier = Some(member.value..map.next);
        }
    }
    match earlier {
        Some(value) => {
            let before = doc.value(value.start)?.0.unwrap_or_default();
            counts.write(&before.value(), &mut text);
            edits.replace_value(value, Cause::Redact, |out| D::write_text(out, &text));
        }
        None => {
            counts.write(&[], &mut text);
            edits.append_member(doc, annotations, ANNOTATION, Cause::Redact, |out| {
                D::write_text(out, &text);
            });
        }
    }
    Ok(())
}

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
