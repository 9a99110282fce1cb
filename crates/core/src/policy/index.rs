//! Sets of rules as bits, and tables that lead from strings to such sets.

use std::collections::BTreeMap;

use crate::bytes;

/// A set of rules by position, in words of 64 bits, with a summary in front:
/// its bit `i` tells whether word `i` has any rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rules(Box<[u64]>);

/// The most rules that a set can hold: one word for each bit of the summary.
pub(super) const CAPACITY: usize = 64 * 64;

impl Rules {
    /// No rule out of so many.
    pub fn none(rules: usize) -> Rules {
        debug_assert!(rules <= CAPACITY);
        Rules(vec![0; 1 + rules.div_ceil(64)].into())
    }

    pub fn insert(&mut self, rule: usize) {
        self.0[0] |= 1 << (rule / 64);
        self.0[1 + rule / 64] |= 1 << (rule % 64);
    }

    /// Adds the other set's rules.
    pub fn unite(&mut self, other: &Rules) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }
}

/// All sets of an index, each kept once.
#[derive(Debug, Default)]
pub(super) struct Sets {
    words: Vec<u64>,
    known: BTreeMap<Rules, Set>,
}

/// A set among [`Sets`]: where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set(u32);

impl Sets {
    pub fn add(&mut self, rules: &Rules) -> Set {
        if let Some(set) = self.known.get(rules) {
            return *set;
        }
        let set = Set(self.words.len() as u32);
        self.words.extend_from_slice(&rules.0);
        self.known.insert(rules.clone(), set);
        set
    }

    /// Forgets what only adding needs.
    pub fn finish(&mut self) {
        self.known = BTreeMap::new();
        self.words.shrink_to_fit();
    }

    #[inline]
    pub fn summary(&self, set: Set) -> u64 {
        self.words[set.0 as usize]
    }

    #[inline]
    pub fn word(&self, set: Set, word: usize) -> u64 {
        self.words[set.0 as usize + 1 + word]
    }

    #[inline]
    pub fn summary_of_any(&self, union: &Union) -> u64 {
        let others = union.others[..union.count].iter();
        others.fold(self.summary(union.first), |all, &set| {
            all | self.summary(set)
        })
    }

    #[inline]
    pub fn word_of_any(&self, union: &Union, word: usize) -> u64 {
        let others = union.others[..union.count].iter();
        others.fold(self.word(union.first, word), |all, &set| {
            all | self.word(set, word)
        })
    }
}

/// Rules that are in any of a few sets.
#[derive(Clone, Copy)]
pub(super) struct Union {
    first: Set,
    others: [Set; MAX_OTHERS],
    count: usize,
}

/// Enough, except for users in unusually many of the groups that rules name.
const MAX_OTHERS: usize = 6;

impl Union {
    #[inline]
    pub fn of(first: Set) -> Union {
        Union {
            first,
            others: [first; MAX_OTHERS],
            count: 0,
        }
    }

    /// Adds a set; false if there is no room for it.
    #[inline]
    pub fn add(&mut self, set: Set) -> bool {
        let room = self.others.get_mut(self.count);
        self.count += usize::from(room.is_some());
        room.map(|room| *room = set).is_some()
    }
}

/// The rules by key, while the index is being made.
pub(super) type Listing<'a, const N: usize> = BTreeMap<[&'a [u8]; N], Rules>;

/// An immutable table from keys of `N` strings to sets of rules; looking up does not allocate.
///
/// Keys that the table does not have are the usual case, and mostly told by one bit.
#[derive(Debug)]
pub(super) struct Index<const N: usize> {
    /// Open addressing, at most half full; the number of slots is a power of two.
    slots: Box<[Slot<N>]>,
    /// The strings of all keys, one after the other.
    keys: Box<[u8]>,
    /// By the length of a key: a bit for the ending of each such key, as [`outline`] has them.
    endings: Box<[u64; 64]>,
}

#[derive(Clone, Debug)]
struct Slot<const N: usize> {
    /// 0 in an empty slot.
    hash: u64,
    start: u32,
    lengths: [u32; N],
    set: Set,
}

impl<const N: usize> Index<N> {
    pub fn new(listing: &Listing<'_, N>, sets: &mut Sets) -> Index<N> {
        let empty = Slot {
            hash: 0,
            start: 0,
            lengths: [0; N],
            set: Set(0),
        };
        let capacity = if listing.is_empty() {
            0
        } else {
            (2 * listing.len()).next_power_of_two()
        };
        let mut slots = vec![empty; capacity];
        let mut keys = Vec::new();
        let mut endings = Box::new([0; 64]);
        for (key, rules) in listing {
            let set = sets.add(rules);
            let hash = hash(key);
            let mut at = (hash >> 32) as usize;
            while slots[at % capacity].hash != 0 {
                at += 1;
            }
            slots[at % capacity] = Slot {
                hash,
                start: keys.len() as u32,
                lengths: key.map(|part| part.len() as u32),
                set,
            };
            keys.extend(key.iter().copied().flatten());
            let (length, ending) = outline(key);
            endings[length] |= 1 << ending;
        }
        Index {
            slots: slots.into(),
            keys: keys.into(),
            endings,
        }
    }

    /// The rules of a key, if the table has it.
    #[inline]
    pub fn get(&self, key: &[&[u8]; N]) -> Option<Set> {
        let (length, ending) = outline(key);
        if self.endings[length] >> ending & 1 == 0 {
            return None;
        }
        self.probe(*key)
    }

    /// Not inlined, so that [`Index::get`] is and keys that are not there cost no call.
    #[inline(never)]
    fn probe(&self, key: [&[u8]; N]) -> Option<Set> {
        let hash = hash(&key);
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.hash == hash && self.has(slot, &key) {
                return Some(slot.set);
            }
            if slot.hash == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn has(&self, slot: &Slot<N>, key: &[&[u8]; N]) -> bool {
        let mut start = slot.start as usize;
        key.iter().zip(slot.lengths).all(|(part, length)| {
            let end = start + length as usize;
            let found = self.keys.get(start..end);
            start = end;
            found.is_some_and(|found| bytes::equal(found, part))
        })
    }
}

/// The length of a key, and the sum of its parts' last bytes, each modulo 64.
#[inline]
fn outline<const N: usize>(key: &[&[u8]; N]) -> (usize, u8) {
    let (mut length, mut endings) = (0, 0u8);
    for part in key {
        if let Some(last) = part.last() {
            length += part.len();
            endings = endings.wrapping_add(*last);
        }
    }
    (length % 64, endings % 64)
}

/// A hash for tables whose keys come from a policy: nobody who sends requests can fill them.
#[inline]
fn hash<const N: usize>(key: &[&[u8]; N]) -> u64 {
    // 0 marks an empty slot.
    key.iter().fold(SEEDS[0], |state, part| absorb(state, part)) | 1
}

/// Random odd numbers.
const SEEDS: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
];

#[inline]
fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let (a, b) = halves(u128::from_le_bytes(*head));
        state = mix(state ^ a, b ^ SEEDS[1]);
        rest = tail;
    }
    let (a, b) = match (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (Some(first), Some(last)) => (
                u32::from_le_bytes(*first).into(),
                u32::from_le_bytes(*last).into(),
            ),
            _ => match *rest {
                [] => (0, 0),
                [a] => (a.into(), 1),
                [a, b] => (a.into(), u64::from(b) << 8 | 2),
                [a, b, c, ..] => (a.into(), u64::from(b) << 16 | u64::from(c) << 8 | 3),
            },
        },
    };
    mix(state ^ a, b ^ SEEDS[2] ^ bytes.len() as u64)
}

/// The two halves of a full product, folded into one.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let (low, high) = halves(u128::from(a) * u128::from(b));
    low ^ high
}

#[inline]
fn halves(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(positions: &[usize]) -> Rules {
        let mut rules = Rules::none(1000);
        positions
            .iter()
            .for_each(|&position| rules.insert(position));
        rules
    }

    #[test]
    fn sets() {
        let mut sets = Sets::default();
        let [a, b, c] = [[0, 63], [64, 64], [999, 999]].map(|rule| sets.add(&rules(&rule)));
        assert_eq!((sets.summary(a), sets.word(a, 0)), (1, 1 << 63 | 1));
        assert_eq!(sets.add(&rules(&[64])).0, b.0);
        let mut union = Union::of(a);
        assert!(union.add(b) && union.add(c));
        assert_eq!(sets.summary_of_any(&union), 1 << 15 | 0b11);
        assert_eq!(
            [1, 2, 15].map(|word| sets.word_of_any(&union, word)),
            [1, 0, 1 << 39]
        );
        for _ in 2..MAX_OTHERS {
            assert!(union.add(c));
        }
        assert!(!union.add(c));
        let mut all = rules(&[0]);
        all.unite(&rules(&[63, 64]));
        assert_eq!(all, rules(&[0, 63, 64]));
    }

    #[test]
    fn finds_every_key_and_no_other() {
        let words: Vec<String> = (0..2000)
            .map(|i| format!("{}{i}", "x".repeat(i % 40)))
            .collect();
        let mut listing: Listing<'_, 2> = Listing::new();
        for (i, word) in words.iter().enumerate() {
            listing.insert(
                [word.as_bytes(), &word.as_bytes()[..i % 3]],
                rules(&[i % 1000]),
            );
        }
        let mut sets = Sets::default();
        let index = Index::new(&listing, &mut sets);
        for (i, word) in words.iter().enumerate() {
            let key = [word.as_bytes(), &word.as_bytes()[..i % 3]];
            let found = index.get(&key).unwrap();
            assert_eq!(found.0, sets.add(&rules(&[i % 1000])).0, "{word}");
            assert!(index.get(&[word.as_bytes(), b"?"]).is_none(), "{word}");
        }
        assert!(
            Index::<1>::new(&Listing::new(), &mut sets)
                .get(&[b""])
                .is_none()
        );
    }

    #[test]
    fn keys_are_told_apart_by_their_parts() {
        let mut listing: Listing<'_, 2> = Listing::new();
        listing.insert([b"ab", b"c"], rules(&[7]));
        let index = Index::new(&listing, &mut Sets::default());
        assert!(index.get(&[b"ab", b"c"]).is_some());
        assert!(index.get(&[b"a", b"bc"]).is_none());
        assert!(index.get(&[b"", b"abc"]).is_none());
    }
}
