//! Members whose names are known, and the order in which they are expected.
//!
//! Whoever writes audit events writes the members of an object in one order, and leaves
//! some out. So each name is first compared with the few that should come next, and only
//! looked up where it is another.

use crate::doc::scan::{Front, KEY_BLOCK};
use crate::doc::{Container, Doc, Malformed};

/// The name of a member, in the bytes that it takes in each form of document.
#[derive(Debug)]
pub struct Key {
    name: &'static [u8],
    /// A member of a JSON object up to its value, with the comma in front of it.
    pub in_json: Front,
    /// A member of a msgpack map up to its value.
    pub in_msgpack: Front,
}

impl Key {
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "what goes wrong here does so while a table of names is compiled"
    )]
    const fn new(name: &'static str) -> Key {
        let name = name.as_bytes();
        assert!(name.len() + 4 < KEY_BLOCK);
        Key {
            name,
            in_json: Front::new([b",\"", name, b"\":"]),
            in_msgpack: Front::new([&[0xa0 | name.len() as u8], name, b""]),
        }
    }
}

/// Names in the order in which they are expected.
#[derive(Debug)]
pub(crate) struct Keys<const N: usize> {
    keys: [Key; N],
    /// A bit for each length that a name has.
    lengths: u32,
}

impl<const N: usize> Keys<N> {
    /// For these names.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "what goes wrong here does so while a table of names is compiled"
    )]
    pub(crate) const fn new(names: [&'static str; N]) -> Keys<N> {
        let mut keys = [const { Key::new("") }; N];
        let mut lengths = 0;
        let mut at = 0;
        while at < N {
            keys[at] = Key::new(names[at]);
            lengths |= 1 << names[at].len();
            at += 1;
        }
        Keys { keys, lengths }
    }

    /// The place of a name; `N` if it has none.
    #[inline(never)]
    pub(crate) fn find(&self, name: &[u8]) -> usize {
        let length = u32::try_from(name.len()).ok();
        let bit = length.and_then(|length| 1u32.checked_shl(length));
        if bit.is_none_or(|bit| self.lengths & bit == 0) {
            return N;
        }
        let place = self.keys.iter().position(|key| key.name == name);
        place.unwrap_or(N)
    }
}

/// How many of the names that come next are tried, as some are left out.
const TRIED: usize = 4;

/// One member of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownMember {
    /// The place of its name among the known ones; their number if it is another.
    pub which: usize,
    /// Start of the key.
    pub start: usize,
    /// Start of the value.
    pub value: usize,
}

/// Goes through the members of a map.
#[derive(Debug)]
pub(crate) struct Walk<const N: usize> {
    keys: &'static Keys<N>,
    /// The names from the one on that is expected next.
    expected: &'static [Key],
    /// The map.
    pub map: Container,
}

impl<const N: usize> Walk<N> {
    /// From the first member on.
    pub(crate) fn new(keys: &'static Keys<N>, map: Container) -> Walk<N> {
        Walk {
            keys,
            expected: &keys.keys,
            map,
        }
    }

    /// The next member; like [`Doc::next_member`] otherwise.
    // Always inline: otherwise the result is returned through the stack field by field.
    #[inline(always)]
    pub(crate) fn next<'a, T: Doc<'a>>(
        &mut self,
        tree: T,
    ) -> Result<Option<KnownMember>, Malformed> {
        let mut names = self.expected;
        for _ in 0..TRIED {
            let Some((key, others)) = names.split_first() else {
                break;
            };
            if let Some((start, value)) = tree.expected_member(&mut self.map, key) {
                self.expected = others;
                return Ok(Some(KnownMember {
                    which: N.wrapping_sub(names.len()),
                    start,
                    value,
                }));
            }
            // A map that begins with another name is mostly of another kind.
            if names.len() == N {
                break;
            }
            names = others;
        }
        let Some(member) = tree.next_member(&mut self.map)? else {
            return Ok(None);
        };
        let which = self.keys.find(&member.key.value());
        if let Some([_, others @ ..]) = self.keys.keys.get(which..) {
            self.expected = others;
        }
        Ok(Some(KnownMember {
            which,
            start: member.start,
            value: member.value,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;
    use crate::doc::msgpack::Msgpack;

    static KEYS: Keys<4> = Keys::new(["kind", "level", "requestReceivedTimestamp", "user"]);

    /// The members by place of name, key and value.
    fn walk<'a, T: Doc<'a>>(tree: T) -> Result<Vec<(usize, usize, usize)>, Malformed> {
        let mut walk = Walk::new(&KEYS, tree.open_map(0)?);
        let mut members = Vec::new();
        while let Some(member) = walk.next(tree)? {
            walk.map.next = tree.end(member.value)?;
            members.push((member.which, member.start, member.value));
        }
        assert_eq!(walk.map.next, tree.bytes().len());
        Ok(members)
    }

    /// Walks without expecting any name.
    fn plain<'a, T: Doc<'a>>(tree: T) -> Result<Vec<(usize, usize, usize)>, Malformed> {
        let mut map = tree.open_map(0)?;
        let mut members = Vec::new();
        while let Some(member) = tree.next_member(&mut map)? {
            map.next = tree.end(member.value)?;
            let names = KEYS.keys.iter().map(|key| key.name);
            let which = names.into_iter().position(|name| member.key.is(name));
            members.push((which.unwrap_or(4), member.start, member.value));
        }
        Ok(members)
    }

    const NAMES: [&str; 8] = [
        "kind",
        "level",
        "requestReceivedTimestamp",
        "user",
        "kinda",
        "",
        "requestReceivedTimestamps",
        "a name that is longer than a block of bytes",
    ];

    #[test]
    fn the_order_of_members_does_not_matter() {
        let room = "that there is room for a whole block behind the last member";
        for number in 0..8 * 8 * 8 * 8usize {
            let names = [0, 3, 6, 9].map(|bits| NAMES[number >> bits & 7]);
            let mut msgpack = vec![0x85];
            let mut members = Vec::new();
            for name in names.into_iter().chain(["last"]) {
                Msgpack::write_key(&mut msgpack, name.as_bytes());
                Msgpack::write_text(&mut msgpack, room.as_bytes());
                members.push(format!("\"{name}\":\"{room}\""));
            }
            let tree = Msgpack(&msgpack);
            assert_eq!(walk(tree), plain(tree), "{names:?}");
            for comma in [",", " ,", ", ", "\n,\n"] {
                let json = format!("{{{}}}", members.join(comma));
                let tree = Json(json.as_bytes());
                assert_eq!(walk(tree), plain(tree), "{json}");
            }
        }
    }

    #[test]
    fn what_is_no_member_is_none() {
        let room = " ".repeat(40);
        for text in [
            r#"{,"kind":1}"#,
            r#"{"kind":1"level":2}"#,
            r#"{"kind":1{"level":2}"#,
            r#"{"kind":1,,"level":2}"#,
            r#"{"kind":1;"level":2}"#,
            r#"{"kind":,"level":2}"#,
            r#"{"kind"1,"level":2}"#,
        ] {
            for text in [text.to_owned(), format!("{text}{room}")] {
                assert_eq!(walk(Json(text.as_bytes())), Err(Malformed), "{text}");
            }
        }
        for text in [&b"\x81"[..], b"\x82\xa4kind\x01", b"\x81\xa4kind"] {
            assert_eq!(walk(Msgpack(text)), Err(Malformed));
            // Bytes after the last member do not belong to the map.
            let text = [b"\x81\xa4kind\x01", b"\xa5level\x02".as_slice(), &[0; 40]].concat();
            let mut walk = Walk::new(&KEYS, Msgpack(&text).open_map(0).unwrap());
            assert_eq!(walk.next(Msgpack(&text)).unwrap().unwrap().which, 0);
            walk.map.next += 6;
            assert!(walk.next(Msgpack(&text)).unwrap().is_none());
        }
    }

    #[test]
    fn keys_with_white_space_and_escapes() {
        let room = " ".repeat(40);
        for text in [
            r#"{"kind" :1, "level": 2,"\u0075ser":3}"#,
            r#"{ "kind":1,"level":"requestReceivedTimestamp","user":3}"#,
        ] {
            let text = text.to_owned() + &room;
            let which: Vec<usize> = {
                let tree = Json(text.as_bytes());
                let mut walk = Walk::new(&KEYS, tree.open_map(0).unwrap());
                std::iter::from_fn(|| {
                    let member = walk.next(tree).unwrap()?;
                    walk.map.next = tree.end(member.value).unwrap();
                    Some(member.which)
                })
                .collect()
            };
            assert_eq!(which, [0, 1, 3], "{text}");
        }
    }
}
