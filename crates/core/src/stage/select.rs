//! The selection: conditions on the text of events and records, `Regex` and `Exclude`.
//!
//! They see what came in, before anything is cut, converted or added. Patterns are
//! matched by the host: see [`Pattern`].

use std::borrow::Cow;

use crate::doc::convert;
use crate::doc::{AnyDoc, Doc, Kind, Malformed};
use crate::event::kube::Member;
use crate::input::FieldPath;
use crate::stage::{DroppedBy, Flow, Job};

/// A compiled pattern.
pub trait Pattern: Send {
    /// Returns whether the text contains a match.
    fn is_in(&self, text: &[u8]) -> bool;
}

/// Something that must hold for an event or record, or else it is dropped.
pub struct Condition {
    /// The meaning of a match.
    pub effect: Effect,
    /// The text that is matched.
    pub place: Place,
    /// The pattern.
    pub pattern: Box<dyn Pattern>,
}

/// The meaning of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Keeps only what matches.
    Require,
    /// Drops what matches.
    Exclude,
}

/// The text that a pattern is matched with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the event's JSON text; where there is no event, in the record's text or,
    /// if it has none, in the record as JSON.
    Anywhere,
    /// In the value of a field of the event or, if it has none of that name, of the record.
    Field(FieldPath),
}

impl AnyDoc<'_> {
    fn find(self, path: &FieldPath, members: &[Member]) -> Option<usize> {
        match self {
            AnyDoc::Json(doc) => path.find(doc, 0, members),
            AnyDoc::Msgpack(doc) => path.find(doc, 0, members),
        }
        .unwrap_or(None)
        .map(|slot| slot.member.value)
    }
}

impl<'a> AnyDoc<'a> {
    /// A string's value, anything else as JSON; nothing for null.
    fn text(self, at: usize) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        let kind = match self {
            AnyDoc::Json(doc) => doc.kind(at),
            AnyDoc::Msgpack(doc) => doc.kind(at),
        }?;
        Ok(match (kind, self) {
            (Kind::Null, _) => None,
            (Kind::Text, AnyDoc::Json(doc)) => Some(doc.text(at)?.0.value()),
            (Kind::Text, AnyDoc::Msgpack(doc)) => Some(doc.text(at)?.0.value()),
            _ => Some(self.json(at)?),
        })
    }

    /// The value at a position as JSON.
    fn json(self, at: usize) -> Result<Cow<'a, [u8]>, Malformed> {
        match self {
            AnyDoc::Json(doc) => {
                let json = doc.0.get(at..doc.end(at)?).ok_or(Malformed)?;
                Ok(Cow::Borrowed(json))
            }
            AnyDoc::Msgpack(doc) => {
                let mut json = Vec::new();
                convert::msgpack_to_json(doc, at, &mut json)?;
                Ok(Cow::Owned(json))
            }
        }
    }
}

/// The conditions of an instance.
#[derive(Default)]
pub struct Select {
    /// All of them must hold.
    pub conditions: Vec<Condition>,
}

impl Select {
    /// Drops an event for which a condition does not hold.
    #[inline]
    pub fn apply<'a, D: Doc<'a>>(&self, job: &mut Job<'_, 'a, D>) -> Flow {
        if self.conditions.is_empty() || self.holds_for(job) {
            Flow::Continue
        } else {
            Flow::Drop(DroppedBy::Condition)
        }
    }

    fn holds_for<'a, D: Doc<'a>>(&self, job: &Job<'_, 'a, D>) -> bool {
        let event = (job.doc.into(), &job.scratch.members[..]);
        let whole = Whole::Value(event.0, job.event.start());
        match job.record {
            Some((doc, members)) => self.holds(&Subject {
                whole,
                fields: &[event, (doc.into(), members)],
            }),
            None => self.holds(&Subject {
                whole,
                fields: &[event],
            }),
        }
    }

    /// Returns whether all conditions hold.
    pub fn holds(&self, subject: &Subject<'_, '_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(subject))
    }
}

impl Condition {
    fn holds(&self, subject: &Subject<'_, '_>) -> bool {
        let text = match (&self.place, subject.whole) {
            (Place::Anywhere, Whole::Text(text)) => Some(Cow::Borrowed(text)),
            (Place::Anywhere, Whole::Value(doc, at)) => doc.json(at).ok(),
            (Place::Field(path), _) => subject.fields.iter().find_map(|&(doc, members)| {
                let at = doc.find(path, members)?;
                doc.text(at).ok().flatten()
            }),
        };
        let found = text.is_some_and(|text| self.pattern.is_in(&text));
        found == (self.effect == Effect::Require)
    }
}

/// An event or record that conditions are about.
pub struct Subject<'a, 's> {
    /// The text that `Place::Anywhere` means.
    pub whole: Whole<'a>,
    /// Documents with their top-level members, in which fields are looked up in this order.
    pub fields: &'s [(AnyDoc<'a>, &'s [Member])],
}

/// The whole of an event or record.
#[derive(Clone, Copy)]
pub enum Whole<'a> {
    /// A text.
    Text(&'a [u8]),
    /// The value at a position.
    Value(AnyDoc<'a>, usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;
    use crate::doc::msgpack::Msgpack;
    use crate::event::kube::{MapView, Scratch};

    struct Word(&'static str);

    impl Pattern for Word {
        fn is_in(&self, text: &[u8]) -> bool {
            memchr::memmem::find(text, self.0.as_bytes()).is_some()
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
            let documents = [AnyDoc::Json(Json(json)), AnyDoc::Msgpack(Msgpack(&msgpack))];
            for document in documents {
                let mut view = MapView::default();
                match document {
                    AnyDoc::Json(doc) => view.read(doc, 0, &mut scratch),
                    AnyDoc::Msgpack(doc) => view.read(doc, 0, &mut scratch),
                }
                .unwrap();
                let at = document.find(&parsed, &scratch.members);
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
            assert_eq!(Select { conditions }.holds(&subject), stays);
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
            assert_eq!(condition.holds(&subject), stays);
        }
    }
}
