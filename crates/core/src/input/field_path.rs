//! The way to a value of a record or event, as the host's record accessor writes it.

use crate::doc::{Doc, Kind, Malformed};
use crate::event::kube::{Field, Member};

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
            let quoted = ['\'', '"']
                .into_iter()
                .find_map(|quote| Some((quote, rest.strip_prefix(quote)?)));
            let (step, after) = match quoted {
                Some((quote, quoted)) => {
                    let (key, after) = quoted.split_once(quote)?;
                    (Step::Key(key.into()), after)
                }
                None => {
                    let (item, after) = rest.split_at_checked(rest.find(']')?)?;
                    (Step::Item(item.parse().ok()?), after)
                }
            };
            steps.push(step);
            rest = after.strip_prefix(']')?;
        }
        let key = key.into();
        Some(FieldPath { key, steps })
    }

    /// The key of this name at the top of a document.
    pub fn key(name: &str) -> FieldPath {
        FieldPath {
            key: name.into(),
            steps: Vec::new(),
        }
    }

    /// The key at the top of the document.
    #[cfg(feature = "machine")]
    pub(crate) fn first(&self) -> &[u8] {
        &self.key
    }

    /// The last key of the path, which the value has.
    pub(crate) fn last(&self) -> &[u8] {
        let keys = self.steps.iter().rev().filter_map(|step| match step {
            Step::Key(key) => Some(key),
            Step::Item(_) => None,
        });
        keys.chain([&self.key]).next().map_or(&[], Vec::as_slice)
    }

    /// Finds the value in a document with these members at its top, in the map that begins
    /// at `top`. As everywhere, of a key that repeats the last one counts.
    pub(crate) fn find<'a, D: Doc<'a>>(
        &self,
        doc: D,
        top: usize,
        members: &[Member],
    ) -> Result<Option<Slot>, Malformed> {
        let named = |member: &&Member| doc.key(member.start).is_ok_and(|key| key.is(&self.key));
        let Some(found) = members.iter().rev().find(named) else {
            return Ok(None);
        };
        let mut slot = Slot {
            owner: top,
            member: *found,
        };
        for step in &self.steps {
            let owner = slot.member.value;
            let found = match (step, doc.kind(owner)?) {
                (Step::Key(key), Kind::Map) => member(doc, owner, key)?,
                (Step::Item(index), Kind::List) => item(doc, owner, *index)?,
                _ => None,
            };
            let Some((start, value)) = found else {
                return Ok(None);
            };
            let member = Member {
                field: Field::Other,
                start,
                value,
                end: doc.end(value)?,
            };
            slot = Slot { owner, member };
        }
        Ok(Some(slot))
    }
}

/// A member of a map or an item of a list, and where that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Start of the map or list.
    pub owner: usize,
    /// The member; of an item, `start` is that of its value.
    pub member: Member,
}

/// The last member of this name: its start, and that of its value.
fn member<'a, D: Doc<'a>>(
    doc: D,
    at: usize,
    key: &[u8],
) -> Result<Option<(usize, usize)>, Malformed> {
    let mut found = None;
    let mut map = doc.open_map(at)?;
    while let Some(member) = doc.next_member(&mut map)? {
        if member.key.is(key) {
            found = Some((member.start, member.value));
        }
        map.next = doc.end(member.value)?;
    }
    Ok(found)
}

/// The item of this number: its start, twice.
fn item<'a, D: Doc<'a>>(
    doc: D,
    at: usize,
    index: usize,
) -> Result<Option<(usize, usize)>, Malformed> {
    let mut list = doc.open_list(at)?;
    for _ in 0..index {
        let Some(item) = doc.next_item(&mut list)? else {
            return Ok(None);
        };
        list.next = doc.end(item)?;
    }
    Ok(doc.next_item(&mut list)?.map(|item| (item, item)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
