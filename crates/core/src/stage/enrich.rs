//! The last stage: keys added to and removed from a record, as Fluent Bit's
//! `record_modifier` does it.

use std::ops::Range;

use crate::bytes::hex_digits;
use crate::doc::edit::{Cause, Edits};
use crate::doc::{Doc, Malformed};
use crate::event::kube::Member;

/// Keys that each record gets and loses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrichment {
    /// Keys and values appended to the record, whether or not it has the key.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// The record's own keys that stay.
    pub keys: KeyRule,
    /// The key under which each record gets a random UUID.
    pub uuid_key: Option<Vec<u8>>,
}

/// A choice among a record's own keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyRule {
    /// All.
    #[default]
    KeepAll,
    /// All but these.
    Remove(Vec<KeyPattern>),
    /// Only these.
    Allow(Vec<KeyPattern>),
}

/// A key, or with a final `*` the beginning of one; letter case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    name: Vec<u8>,
    prefix: bool,
}

impl KeyPattern {
    /// Reads a pattern.
    pub fn new(pattern: &str) -> KeyPattern {
        match pattern.strip_suffix('*') {
            Some(prefix) => KeyPattern {
                name: prefix.into(),
                prefix: true,
            },
            None => KeyPattern {
                name: pattern.into(),
                prefix: false,
            },
        }
    }

    fn matches(&self, key: &[u8]) -> bool {
        let compared = if self.prefix {
            key.get(..self.name.len())
        } else {
            Some(key)
        };
        compared.is_some_and(|key| key.eq_ignore_ascii_case(&self.name))
    }
}

impl Enrichment {
    /// Returns whether records stay as they are.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.keys == KeyRule::KeepAll && self.uuid_key.is_none()
    }
}

/// The stage, with its options and a source of random bytes for UUIDs.
pub(crate) struct Enrich {
    options: Enrichment,
    random: Box<dyn FnMut() -> [u8; 16] + Send>,
}

impl Enrich {
    /// Makes the stage from its options.
    pub(crate) fn new(
        options: Enrichment,
        random: impl FnMut() -> [u8; 16] + Send + 'static,
    ) -> Enrich {
        Enrich {
            options,
            random: Box::new(random),
        }
    }

    /// Returns whether a record may lose keys, and so all of them.
    #[inline]
    pub(crate) fn removes_keys(&self) -> bool {
        self.options.keys != KeyRule::KeepAll
    }

    /// Asks for the edits of a record's map.
    #[inline]
    pub(crate) fn apply<'a, D: Doc<'a>>(
        &mut self,
        doc: D,
        map: Range<usize>,
        members: &[Member],
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        match self.options.is_empty() {
            true => Ok(()),
            false => self.edit(doc, map, members, edits),
        }
    }

    fn edit<'a, D: Doc<'a>>(
        &mut self,
        doc: D,
        map: Range<usize>,
        members: &[Member],
        edits: &mut Edits,
    ) -> Result<(), Malformed> {
        let Enrichment {
            records,
            keys,
            uuid_key,
        } = &self.options;
        if *keys != KeyRule::KeepAll {
            for member in members {
                if !keys.keep(&doc.key(member.start)?.value()) {
                    edits.remove_member(map.start, member.start..member.end, Cause::Enrich);
                }
            }
        }
        let mut append = |key: &[u8], value: &[u8]| {
            edits.append_member(doc, map.clone(), key, Cause::Enrich, |out| {
                D::write_text(out, value);
            });
        };
        for (key, value) in records {
            append(key, value);
        }
        if let Some(key) = uuid_key {
            append(key, &uuid_v4((self.random)()));
        }
        Ok(())
    }
}

impl KeyRule {
    /// Returns whether a key of the record stays.
    fn keep(&self, key: &[u8]) -> bool {
        let matches = |patterns: &[KeyPattern]| patterns.iter().any(|pattern| pattern.matches(key));
        match self {
            KeyRule::KeepAll => true,
            KeyRule::Remove(patterns) => !matches(patterns),
            KeyRule::Allow(patterns) => matches(patterns),
        }
    }
}

/// A UUID, version 4, as text, from random bytes.
fn uuid_v4(random: [u8; 16]) -> [u8; 36] {
    let mut bytes = random;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let places = text.iter_mut().enumerate();
    let places = places.filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23));
    for ((_, place), digit) in places.zip(bytes.into_iter().flat_map(hex_digits)) {
        *place = digit;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, key, want) in [
            ("log", "LOG", true),
            ("log", "logs", false),
            ("kube*", "Kubernetes", true),
            ("kube*", "kub", false),
            ("*", "", true),
        ] {
            assert_eq!(
                KeyPattern::new(pattern).matches(key.as_bytes()),
                want,
                "{pattern} {key}"
            );
        }
    }

    #[test]
    fn uuids_have_version_and_variant() {
        assert_eq!(
            &uuid_v4([0xff; 16]),
            b"ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
        assert_eq!(&uuid_v4([0; 16]), b"00000000-0000-4000-8000-000000000000");
    }
}
