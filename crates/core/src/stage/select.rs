//! Conditions on the text of events and records: which of them stay.
//!
//! They look at what came in, before anything is stripped, converted or added. How
//! patterns are matched is somebody else's business: see [`Pattern`].

use std::borrow::Cow;

use crate::doc::convert;
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::Slot;

/// A pattern, ready to be looked for.
pub trait Pattern: Send {
    /// Whether it is found anywhere in the text.
    fn is_in(&self, text: &[u8]) -> bool;
}

/// What must hold of an event or record for it to stay.
pub struct Condition {
    /// What finding the pattern means.
    pub effect: Effect,
    /// Where the pattern is looked for.
    pub place: Place,
    /// What is looked for.
    pub pattern: Box<dyn Pattern>,
}

/// What finding a pattern means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What has it may stay, what has it not goes.
    Require,
    /// What has it goes.
    Exclude,
}

/// Where a pattern is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the event's JSON text; where there is no event, in the record's text or,
    /// if it has none, in the record as JSON.
    Anywhere,
    /// In the value of a field of the event or, if it has none of that name, of the record.
    Field(FieldPath),
}

/// The way to a value from the top of a document: `$user['groups'][0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    key: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Vec<u8>),
    Item(usize),
}

impl FieldPath {
    /// Reads a path as the host's record accessor writes it; its `$` may be left out.
    pub fn parse(text: &str) -> Option<FieldPath> {
        let text = text.strip_prefix('$').unwrap_or(text);
        let (key, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
        let plain = |c: char| c.is_alphanumeric() || "_-./:@~".contains(c);
        if key.is_empty() || !key.chars().all(plain) {
            return None;
        }
        let mut steps = Vec::new();
        while !rest.is_empty() {
            rest = rest.strip_prefix('[')?;
            let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
            let (step, after) = match quote {
                Some(quote) => {
                    let (key, after) = rest[1..].split_once(quote)?;
                    (Step::Key(key.into()), after)
                }
                None => {
                    let end = rest.find(']')?;
                    (Step::Item(rest[..end].parse().ok()?), &rest[end..])
                }
            };
            steps.push(step);
            rest = after.strip_prefix(']')?;
        }
        let key = key.into();
        Some(FieldPath { key, steps })
    }

    /// Where the value stands in a document with these top-level members.
    fn find<'a, T: Doc<'a>>(&self, tree: T, slots: &[Slot]) -> Result<Option<usize>, Malformed> {
        // As everywhere: of a key that repeats, the last one counts.
        let named = |slot: &&Slot| tree.key(slot.start).is_ok_and(|key| key.is(&self.key));
        let Some(slot) = slots.iter().rev().find(named) else {
            return Ok(None);
        };
        let mut at = slot.value;
        for step in &self.steps {
            let found = match (step, tree.kind(at)?) {
                (Step::Key(key), Kind::Map) => member(tree, at, key)?,
                (Step::Item(index), Kind::List) => item(tree, at, *index)?,
                _ => None,
            };
            match found {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

fn member<'a, T: Doc<'a>>(tree: T, at: usize, key: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut found = None;
    let mut map = tree.open_map(at)?;
    while let Some(member) = tree.next_member(&mut map)? {
        if member.key.is(key) {
            found = Some(member.value);
        }
        map.next = tree.end(member.value)?;
    }
    Ok(found)
}

fn item<'a, T: Doc<'a>>(tree: T, at: usize, index: usize) -> Result<Option<usize>, Malformed> {
    let mut list = tree.open_list(at)?;
    for _ in 0..index {
        let Some(item) = tree.next_item(&mut list)? else {
            return Ok(None);
        };
        list.next = tree.end(item)?;
    }
    tree.next_item(&mut list)
}

/// A document in either form.
#[derive(Clone, Copy)]
pub enum Document<'a> {
    /// JSON text.
    Json(Json<'a>),
    /// A msgpack value.
    Msgpack(Msgpack<'a>),
}

impl<'a> Document<'a> {
    /// The buffer that positions refer to.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Document::Json(Json(bytes)) | Document::Msgpack(Msgpack(bytes)) => bytes,
        }
    }

    fn find(self, path: &FieldPath, slots: &[Slot]) -> Option<usize> {
        match self {
            Document::Json(tree) => path.find(tree, slots),
            Document::Msgpack(tree) => path.find(tree, slots),
        }
        .unwrap_or(None)
    }

    /// A string's value, anything else as JSON; null is nothing.
    fn text(self, at: usize) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        let kind = match self {
            Document::Json(tree) => tree.kind(at),
            Document::Msgpack(tree) => tree.kind(at),
        }?;
        Ok(match (kind, self) {
            (Kind::Null, _) => None,
            (Kind::Text, Document::Json(tree)) => Some(tree.text(at)?.0.value()),
            (Kind::Text, Document::Msgpack(tree)) => Some(tree.text(at)?.0.value()),
            _ => Some(self.json(at)?),
        })
    }

    /// The value at a position as JSON.
    fn json(self, at: usize) -> Result<Cow<'a, [u8]>, Malformed> {
        match self {
            Document::Json(tree) => Ok(Cow::Borrowed(&tree.0[at..tree.end(at)?])),
            Document::Msgpack(tree) => {
                let mut json = Vec::new();
                convert::msgpack_to_json(tree, at, &mut json)?;
                Ok(Cow::Owned(json))
            }
        }
    }
}

/// What conditions are asked of.
pub struct Subject<'a, 's> {
    /// Where "anywhere" is.
    pub whole: Whole<'a>,
    /// Where fields are looked up, in this order: documents with their top-level members.
    pub fields: &'s [(Document<'a>, &'s [Slot])],
}

/// All of an event or record.
#[derive(Clone, Copy)]
pub enum Whole<'a> {
    /// A text.
    Text(&'a [u8]),
    /// The value at a position.
    Value(Document<'a>, usize),
}

/// Whether a subject may stay.
pub fn admit(conditions: &[Condition], subject: &Subject<'_, '_>) -> bool {
    conditions.iter().all(|condition| {
        let text = match (&condition.place, subject.whole) {
            (Place::Anywhere, Whole::Text(text)) => Some(Cow::Borrowed(text)),
            (Place::Anywhere, Whole::Value(document, at)) => document.json(at).ok(),
            (Place::Field(path), _) => subject.fields.iter().find_map(|&(document, slots)| {
                let at = document.find(path, slots)?;
                document.text(at).ok().flatten()
            }),
        };
        let found = text.is_some_and(|text| condition.pattern.is_in(&text));
        found == (condition.effect == Effect::Require)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::kube::{Event, Scratch};

    struct Word(&'static str);

    impl Pattern for Word {
        fn is_in(&self, text: &[u8]) -> bool {
            memchr::memmem::find(text, self.0.as_bytes()).is_some()
        }
    }

    #[test]
    fn paths() {
        for (text, steps) in [
            ("verb", Some(0)),
            ("$verb", Some(0)),
            ("$user['username']", Some(1)),
            ("user[\"groups\"][0]", Some(2)),
            ("$annotations['authorization.k8s.io/decision']", Some(1)),
            ("", None),
            ("$", None),
            ("\"level\":", None),
            ("^a|b", None),
            ("a[", None),
            ("a[b]", None),
            ("a['b'", None),
            ("a['b']c", None),
        ] {
            let path = FieldPath::parse(text);
            assert_eq!(path.map(|path| path.steps.len()), steps, "{text}");
        }
    }

    #[test]
    fn texts_of_fields_in_either_form() {
        let json = br#"{"verb":"get","user":{"username":"a\"b","groups":["x","y"]},"n":{"code":404,"no":null},"verb":"list"}"#;
        let mut msgpack = Vec::new();
        convert::json_to_msgpack(Json(json), 0, &mut msgpack).unwrap();
        for (path, expected) in [
            ("verb", Some("list")),
            ("$user['username']", Some("a\"b")),
            ("$user['groups'][1]", Some("y")),
            ("$user['groups'][2]", None),
            ("$user['groups']", Some(r#"["x","y"]"#)),
            ("$user['verb']", None),
            ("$verb['x']", None),
            ("$n['code']", Some("404")),
            ("$n['no']", None),
            ("missing", None),
        ] {
            let parsed = FieldPath::parse(path).unwrap();
            let mut scratch = Scratch::default();
            let documents = [
                Document::Json(Json(json)),
                Document::Msgpack(Msgpack(&msgpack)),
            ];
            for document in documents {
                let mut event = Event::default();
                match document {
                    Document::Json(tree) => event.read(tree, 0, &mut scratch),
                    Document::Msgpack(tree) => event.read(tree, 0, &mut scratch),
                }
                .unwrap();
                let at = document.find(&parsed, &scratch.slots);
                let text = at.and_then(|at| document.text(at).unwrap());
                let text = text.map(|text| String::from_utf8(text.into_owned()).unwrap());
                assert_eq!(text.as_deref(), expected, "{path}");
            }
        }
    }

    #[test]
    fn all_that_is_required_and_nothing_that_is_excluded() {
        use Effect::{Exclude, Require};
        let text = b"one two";
        for (conditions, stays) in [
            (vec![], true),
            (vec![(Require, "one")], true),
            (vec![(Require, "one"), (Require, "three")], false),
            (vec![(Require, "one"), (Exclude, "two")], false),
            (vec![(Exclude, "three"), (Require, "two")], true),
        ] {
            let conditions: Vec<Condition> = conditions
                .into_iter()
                .map(|(effect, word)| Condition {
                    effect,
                    place: Place::Anywhere,
                    pattern: Box::new(Word(word)),
                })
                .collect();
            let subject = Subject {
                whole: Whole::Text(text),
                fields: &[],
            };
            assert_eq!(admit(&conditions, &subject), stays);
        }
    }

    #[test]
    fn a_missing_field_has_no_pattern() {
        for (effect, stays) in [(Effect::Require, false), (Effect::Exclude, true)] {
            let condition = Condition {
                effect,
                place: Place::Field(FieldPath::parse("verb").unwrap()),
                pattern: Box::new(Word("")),
            };
            let subject = Subject {
                whole: Whole::Text(b"verb"),
                fields: &[],
            };
            assert_eq!(admit(&[condition], &subject), stays);
        }
    }
}
