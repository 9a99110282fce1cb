//! Tags put together from the record, as Fluent Bit's record accessor does it.
//!
//! | part | what it becomes |
//! |---|---|
//! | `$TAG` | the tag of the chunk |
//! | `$TAG[2]` | a part of it between dots, counted from 0; nothing where there are fewer |
//! | `$key`, `$key['a'][0]` | a value of the record, or nothing where there is none |
//! | anything else | itself |
//!
//! A key ends at a blank, a dot, a comma or a double quote outside `'…'`. Facts:
//! `src/flb_record_accessor.c` and `src/flb_ra_key.c` of Fluent Bit 4.0.0 to 5.1.1.

use crate::doc::convert::msgpack_to_json;
use crate::doc::msgpack::{HeadKind, Msgpack};
use crate::doc::{Doc, Malformed};

/// A tag with parts that depend on the record or on its chunk's tag.
///
/// Keys are looked up in the map of the record as it is sent, as the host does it.
/// An event that is JSON text under a key is a string there: none of its fields
/// can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    /// The tag of the chunk.
    Tag,
    /// A part of it between dots.
    Word(usize),
    Key(Vec<u8>, Vec<Step>),
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Vec<u8>),
    Index(usize),
}

/// A tag that cannot be read, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// A `$` that begins nothing.
    #[error("a `$` begins no key: write `$key`, `$key['name']`, `$TAG` or `$TAG[0]`")]
    Dollar,
    /// `$1` and the like.
    #[error("`${0}` is a part of a regular expression's match, of which there is none: use `$key`")]
    Capture(char),
    /// A second `$` directly after a key or tag.
    #[error("`{0}` and the next `$` need something between them, such as a dot")]
    Adjacent(String),
    /// Brackets that hold no step.
    #[error(
        "`{0}` is not a key: write `$key`, `$key['name']` or `$key['name'][0]`, then a dot or a blank if something follows"
    )]
    Key(String),
    /// Brackets after `$TAG` that hold no number.
    #[error("`{0}` is not a part of the tag: write `$TAG[0]` for the first one between dots")]
    TagPart(String),
}

impl TagTemplate {
    /// Reads a tag as it is configured.
    pub fn parse(text: &str) -> Result<TagTemplate, TagError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let (part, length) = match from.strip_prefix("$TAG") {
                Some(tail) => tag_part(from, tail)?,
                None => key(from)?,
            };
            parts.push(part);
            let (whole, tail) = from.split_at(length);
            if tail.starts_with('$') {
                return Err(TagError::Adjacent(whole.to_owned()));
            }
            rest = tail;
        }
        // The host loses a single character after the last key.
        let lost = rest.len() == 1 && matches!(parts.last(), Some(Part::Key(..)));
        if !rest.is_empty() && !lost {
            parts.push(Part::Text(rest.into()));
        }
        Ok(TagTemplate { parts })
    }

    /// Returns whether all records of a chunk get the same tag.
    pub fn is_fixed(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Key(..)))
    }

    /// The tag of a record, given the tag of its chunk and the entry
    /// `[time, map]` that is sent. If the template yields an empty string, the chunk's tag is
    /// used: receivers lose records without a tag.
    pub fn tag(&self, chunk_tag: &[u8], entry: &[u8]) -> Vec<u8> {
        let tree = Msgpack(entry);
        let mut tag = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => tag.extend_from_slice(text),
                Part::Tag => tag.extend_from_slice(chunk_tag),
                Part::Word(number) => {
                    let mut parts = chunk_tag.split(|&byte| byte == b'.');
                    tag.extend_from_slice(parts.nth(*number).unwrap_or_default());
                }
                Part::Key(name, steps) => {
                    if let Ok(Some(at)) = find(tree, name, steps) {
                        // A value that cannot be written counts as empty.
                        let before = tag.len();
                        if write(tree, at, &mut tag).is_err() {
                            tag.truncate(before);
                        }
                    }
                }
            }
        }
        match tag.is_empty() {
            true => chunk_tag.to_vec(),
            false => tag,
        }
    }
}

/// `$TAG` or `$TAG[n]` and its length.
fn tag_part(from: &str, tail: &str) -> Result<(Part, usize), TagError> {
    let whole = from.len().saturating_sub(tail.len());
    let Some(inner) = tail.strip_prefix('[') else {
        return Ok((Part::Tag, whole));
    };
    let Some((number, after)) = inner.split_once(']') else {
        return Err(TagError::TagPart(from.to_owned()));
    };
    let part = from.strip_suffix(after).unwrap_or(from);
    match number.parse() {
        Ok(number) => Ok((Part::Word(number), part.len())),
        Err(_) => Err(TagError::TagPart(part.to_owned())),
    }
}

/// `$key` with its steps, and its length.
fn key(from: &str) -> Result<(Part, usize), TagError> {
    let mut quoted = false;
    let end = from
        .find(|c| {
            quoted ^= c == '\'';
            matches!(c, ' ' | ',' | '"') || c == '.' && !quoted
        })
        .unwrap_or(from.len());
    let whole = from.get(..end).unwrap_or(from);
    let wrong = || TagError::Key(whole.to_owned());
    let inner = whole.strip_prefix('$').ok_or_else(wrong)?;
    match inner.chars().next() {
        None => return Err(TagError::Dollar),
        Some(digit) if digit.is_ascii_digit() => return Err(TagError::Capture(digit)),
        Some(first) if first == '_' || first.is_ascii_alphabetic() => (),
        Some(_) => return Err(wrong()),
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
    let name_end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
    let (name, mut rest) = inner.split_at(name_end);
    if rest.starts_with('$') {
        return Err(TagError::Adjacent(format!("${name}")));
    }
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let Some(inside) = rest.strip_prefix('[') else {
            return Err(wrong());
        };
        let (step, tail) = match inside.strip_prefix('\'') {
            Some(quoted) => {
                let (name, tail) = quoted_name(quoted).ok_or_else(wrong)?;
                (Step::Key(name), tail)
            }
            None => {
                let end = inside.find(']').ok_or_else(wrong)?;
                let (index, tail) = inside.split_at_checked(end).ok_or_else(wrong)?;
                (Step::Index(index.parse().map_err(|_| wrong())?), tail)
            }
        };
        steps.push(step);
        rest = tail.strip_prefix(']').ok_or_else(wrong)?;
        if rest.starts_with('$') {
            let key = whole.strip_suffix(rest).unwrap_or(whole);
            return Err(TagError::Adjacent(key.to_owned()));
        }
    }
    Ok((Part::Key(name.into(), steps), end))
}

/// A name up to its closing quote, with `''` for a quote, and what follows.
fn quoted_name(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut name = Vec::new();
    let mut rest = text;
    loop {
        let (part, tail) = rest.split_once('\'')?;
        name.extend_from_slice(part.as_bytes());
        match tail.strip_prefix('\'') {
            None => return Some((name, tail)),
            Some(tail) => {
                name.push(b'\'');
                rest = tail;
            }
        }
    }
}

/// Finds the value that a key names in the map of an entry.
fn find(tree: Msgpack<'_>, name: &[u8], steps: &[Step]) -> Result<Option<usize>, Malformed> {
    let Some(body) = item(tree, 0, 1)? else {
        return Ok(None);
    };
    let Some(mut at) = member(tree, body, name)? else {
        return Ok(None);
    };
    // The host takes a first value that has nothing inside for the whole.
    if !matches!(tree.head(at)?.kind, HeadKind::Map(_) | HeadKind::Array(_)) {
        return Ok(Some(at));
    }
    for step in steps {
        let next = match step {
            Step::Key(name) => member(tree, at, name)?,
            Step::Index(index) => item(tree, at, *index)?,
        };
        let Some(next) = next else {
            return Ok(None);
        };
        at = next;
    }
    Ok(Some(at))
}

/// The value of the last member of this name, where there is a map.
fn member(tree: Msgpack<'_>, at: usize, name: &[u8]) -> Result<Option<usize>, Malformed> {
    if !matches!(tree.head(at)?.kind, HeadKind::Map(_)) {
        return Ok(None);
    }
    let mut found = None;
    let mut map = tree.open_map(at)?;
    while let Some(member) = tree.next_member(&mut map)? {
        let is_text = matches!(tree.head(member.start)?.kind, HeadKind::Str(_));
        if is_text && member.key.raw == name {
            found = Some(member.value);
        }
        map.next = tree.end(member.value)?;
    }
    Ok(found)
}

/// An item, where there is a list that long.
fn item(tree: Msgpack<'_>, at: usize, index: usize) -> Result<Option<usize>, Malformed> {
    if !matches!(tree.head(at)?.kind, HeadKind::Array(_)) {
        return Ok(None);
    }
    let mut list = tree.open_list(at)?;
    let mut before = index;
    while let Some(item) = tree.next_item(&mut list)? {
        let Some(fewer) = before.checked_sub(1) else {
            return Ok(Some(item));
        };
        before = fewer;
        list.next = tree.end(item)?;
    }
    Ok(None)
}

/// Appends a value as text; a list is nothing.
fn write(tree: Msgpack<'_>, at: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let head = tree.head(at)?;
    match head.kind {
        HeadKind::Str(length) => out.extend_from_slice(tree.content(head, length)?),
        HeadKind::Bin(length) => {
            for byte in tree.content(head, length)? {
                out.extend_from_slice(format!("{byte:02x}").as_bytes());
            }
        }
        HeadKind::Float(value) => {
            out.extend_from_slice(format!("{value:.6}").as_bytes());
        }
        HeadKind::Array(_) | HeadKind::Ext(..) => (),
        HeadKind::Nil
        | HeadKind::Bool(_)
        | HeadKind::Unsigned(_)
        | HeadKind::Signed(_)
        | HeadKind::Map(_) => msgpack_to_json(tree, at, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::convert::json_to_msgpack;
    use crate::doc::json::Json;

    fn tag(template: &str, record: &str) -> String {
        let mut entry = b"\x92\x00".to_vec();
        json_to_msgpack(Json(record.as_bytes()), 0, &mut entry).unwrap();
        let template = TagTemplate::parse(template).unwrap();
        String::from_utf8(template.tag(b"kube.audit.log", &entry)).unwrap()
    }

    #[test]
    fn parts_of_the_chunks_tag() {
        for (template, expected) in [
            ("fixed", "fixed"),
            ("x", "x"),
            ("$TAG", "kube.audit.log"),
            ("a.$TAG.b", "a.kube.audit.log.b"),
            ("$TAGx", "kube.audit.logx"),
            ("$TAG[0]", "kube"),
            ("$TAG[2].$TAG[1].", "log.audit."),
            ("x$TAG[3]", "x"),
            ("$TAG[3]", "kube.audit.log"),
        ] {
            assert_eq!(tag(template, "{}"), expected, "{template}");
            assert!(TagTemplate::parse(template).unwrap().is_fixed());
        }
    }

    #[test]
    fn values_of_the_record() {
        let record = r#"{"a": "first", "a": "A", "n": -3, "f": 1.5, "t": true, "z": null,
            "a-b/c": "dashes", "l": ["x", {"y": "Y"}], "log": "{\"verb\":\"get\"}",
            "k": {"ns": "default", "labels": {"app.io/name": "web", "it's": "q"}}}"#;
        for (template, expected) in [
            ("$a", "A"),
            ("x.$a.y", "x.A.y"),
            ("$a.", "A"),
            ("$a. ", "A. "),
            ("$a $n", "A -3"),
            ("$f,$t", "1.500000,true"),
            ("$z", "null"),
            ("$a-b/c", "dashes"),
            ("$l[0].$l[1]['y']", "x.Y"),
            ("x$l", "x"),
            ("x$l[2]", "x"),
            ("$k['ns']", "default"),
            ("$k['labels']['app.io/name'].log", "web.log"),
            ("$k['labels']['it''s']", "q"),
            ("$k['labels']", r#"{"app.io/name":"web","it's":"q"}"#),
            ("x.$k['no'].y", "x..y"),
            ("x.$no.y", "x..y"),
            ("x$a['deeper']", "xA"),
            ("x$k['ns']['deeper']", "x"),
            ("x$log['verb']", r#"x{"verb":"get"}"#),
            ("$no", "kube.audit.log"),
            ("$TAG.$no", "kube.audit.log."),
        ] {
            assert_eq!(tag(template, record), expected, "{template}");
            assert!(!TagTemplate::parse(template).unwrap().is_fixed());
        }
    }

    #[test]
    fn what_json_cannot_hold() {
        let template = TagTemplate::parse("x.$b").unwrap();
        let entry = b"\x92\x00\x82\xc4\x01b\xa1n\xa1b\xc4\x02\x0f\xff";
        assert_eq!(template.tag(b"t", entry), b"x.0fff");
        for broken in [&b"\x92\x00\x81\xa1b\xc4\x09\x00"[..], b"\x92\x00\x01", b""] {
            assert_eq!(template.tag(b"t", broken), b"x.");
        }
    }

    #[test]
    fn errors_say_what_would_be_right() {
        for (text, part) in [
            ("a$", "begins no key"),
            ("$.a", "begins no key"),
            ("$1", "`$1` is a part of a regular"),
            ("${HOME}", "`${HOME}` is not a key"),
            ("$a$b", "`$a` and the next `$`"),
            ("$TAG$b", "`$TAG` and the next `$`"),
            ("$a['b']$c", "`$a['b']` and the next `$`"),
            ("$a['b']x", "`$a['b']x` is not a key"),
            ("$a[b]", "`$a[b]` is not a key"),
            ("$a['b'", "`$a['b'` is not a key"),
            ("$TAG[x].y", "`$TAG[x]` is not a part"),
            ("$TAG[1", "`$TAG[1` is not a part"),
        ] {
            let error = TagTemplate::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
