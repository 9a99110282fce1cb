//! Tables from strings to sets of rules.

use std::collections::BTreeMap;

use super::bitset::{BitSets, RuleBits, SetId};
use crate::bytes;

/// Rules by key, from which a [`Table`] is made: of one type for keys of all numbers of
/// strings, the strings that a key does not have being empty.
pub(super) type Listing<'a> = BTreeMap<[&'a [u8]; 3], RuleBits>;

/// A key of a listing.
pub(super) fn key<const N: usize>(strings: [&[u8]; N]) -> [&[u8]; 3] {
    let mut key = [&[][..]; 3];
    for (place, string) in key.iter_mut().zip(strings) {
        *place = string;
    }
    key
}

/// Immutable table from keys of `N` strings to sets of rules; looking up does not allocate.
///
/// Most look-ups are for keys that the table does not have; one bit answers nearly all of
/// them.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    /// Open addressing, at most half full; the number of slots is a power of two.
    slots: Box<[Slot<N>]>,
    /// The strings of all keys, one after the other.
    keys: Box<[u8]>,
    /// For each length of a key, a bit for the ending of each such key, as [`outline`] has them.
    endings: Box<[u64; 64]>,
}

#[derive(Clone, Debug)]
struct Slot<const N: usize> {
    /// 0 in an empty slot.
    hash: u64,
    start: u32,
    lengths: [u32; N],
    set: SetId,
}

#[expect(
    clippy::as_conversions,
    reason = "keys come from a policy of 8 MiB at most; a slot number is the upper half of a hash"
)]
impl<const N: usize> Table<N> {
    pub(super) fn new(listing: &Listing<'_>, sets: &mut BitSets) -> Table<N> {
        let empty = Slot {
            hash: 0,
            start: 0,
            lengths: [0; N],
            set: SetId(0),
        };
        let capacity = match listing.len() {
            0 => 0,
            count => count.saturating_mul(2).next_power_of_two(),
        };
        let mask = capacity.saturating_sub(1);
        let mut slots = vec![empty; capacity];
        let mut keys = Vec::new();
        let mut endings = Box::new([0; 64]);
        let listed = listing.iter();
        for (key, rules) in listed.filter_map(|(key, rules)| Some((key.first_chunk()?, rules))) {
            let set = sets.add(rules);
            let hash = hash(key);
            let home = (hash >> 32) as usize;
            // Half of the slots stay empty, so one is found.
            let probes = (0..capacity).map(|step| home.wrapping_add(step) & mask);
            let is_free = |&at: &usize| slots.get(at).is_some_and(|slot| slot.hash == 0);
            if let Some(free) = probes.into_iter().find(is_free)
                && let Some(slot) = slots.get_mut(free)
            {
                *slot = Slot {
                    hash,
                    start: keys.len() as u32,
                    lengths: key.map(|part| part.len() as u32),
                    set,
                };
            }
            keys.extend(key.iter().copied().flatten());
            let (length, ending) = outline(key);
            if let Some(endings) = endings.get_mut(length) {
                *endings |= 1 << ending;
            }
        }
        Table {
            slots: slots.into(),
            keys: keys.into(),
            endings,
        }
    }

    /// Returns the rules of a key, if the table has it.
    #[expect(clippy::indexing_slicing, reason = "a length is less than 64")]
    #[inline]
    pub(super) fn get(&self, key: &[&[u8]; N]) -> Option<SetId> {
        let (length, ending) = outline(key);
        if self.endings[length] >> ending & 1 == 0 {
            return None;
        }
        self.probe(*key)
    }

    /// Looks a key up in the slots. Not inlined, so that [`Table::get`] is, and keys that
    /// the table does not have cost no call.
    #[expect(
        clippy::indexing_slicing,
        reason = "the mask keeps slot numbers below the number of slots, which is a power of two"
    )]
    #[inline(never)]
    fn probe(&self, key: [&[u8]; N]) -> Option<SetId> {
        let hash = hash(&key);
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.hash == hash && self.has(slot, &key) {
                return Some(slot.set);
            }
            if slot.hash == 0 {
                return None;
            }
            at = at.wrapping_add(1) & mask;
        }
    }

    #[inline]
    fn has(&self, slot: &Slot<N>, key: &[&[u8]; N]) -> bool {
        let mut start = slot.start as usize;
        key.iter().zip(slot.lengths).all(|(part, length)| {
            let end = start.wrapping_add(length as usize);
            let found = self.keys.get(start..end);
            start = end;
            found.is_some_and(|found| bytes::equal(found, part))
        })
    }
}

/// Returns the length of a key and the sum of its parts' last bytes, each modulo 64.
#[inline]
fn outline<const N: usize>(key: &[&[u8]; N]) -> (usize, u8) {
    let (mut length, mut endings) = (0usize, 0u8);
    for part in key {
        if let Some(last) = part.last() {
            length = length.wrapping_add(part.len());
            endings = endings.wrapping_add(*last);
        }
    }
    (length % 64, endings % 64)
}

/// Hashes a key. Not keyed by a secret: the keys in a table come from the policy, so
/// nobody who sends requests can fill it with collisions.
#[inline]
fn hash<const N: usize>(key: &[&[u8]; N]) -> u64 {
    // 0 marks an empty slot.
    let [seed, ..] = SEEDS;
    key.iter().fold(seed, |state, part| absorb(state, part)) | 1
}

/// Random odd numbers.
const SEEDS: [u64; 3] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
];

#[expect(clippy::as_conversions, reason = "a length fits into 64 bits")]
#[inline]
fn absorb(mut state: u64, bytes: &[u8]) -> u64 {
    let [_, inner, last] = SEEDS;
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<16>() {
        let (a, b) = halves(u128::from_le_bytes(*head));
        state = mix(state ^ a, b ^ inner);
        rest = tail;
    }
    let (a, b) = match (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
            (Some(head), Some(tail)) => (
                u32::from_le_bytes(*head).into(),
                u32::from_le_bytes(*tail).into(),
            ),
            _ => match *rest {
                [] => (0, 0),
                [a] => (a.into(), 1),
                [a, b] => (a.into(), u64::from(b) << 8 | 2),
                [a, b, c, ..] => (a.into(), u64::from(b) << 16 | u64::from(c) << 8 | 3),
            },
        },
    };
    mix(state ^ a, b ^ last ^ bytes.len() as u64)
}

/// Folds the two halves of a full product into one.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let (low, high) = halves(u128::from(a).wrapping_mul(u128::from(b)));
    low ^ high
}

/// Splits into the lower and the upper half.
#[expect(clippy::as_conversions, reason = "the cut is the purpose")]
#[inline]
fn halves(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(positions: &[usize]) -> RuleBits {
        let mut rules = RuleBits::none(1000);
        positions
            .iter()
            .for_each(|&position| rules.insert(position));
        rules
    }

    #[test]
    fn finds_every_key_and_no_other() {
        let words: Vec<String> = (0..2000)
            .map(|i| format!("{}{i}", "x".repeat(i % 40)))
            .collect();
        let mut listing: Listing<'_> = Listing::new();
        for (i, word) in words.iter().enumerate() {
            listing.insert(
                key([word.as_bytes(), &word.as_bytes()[..i % 3]]),
                rules(&[i % 1000]),
            );
        }
        let mut sets = BitSets::default();
        let index: Table<2> = Table::new(&listing, &mut sets);
        for (i, word) in words.iter().enumerate() {
            let key = [word.as_bytes(), &word.as_bytes()[..i % 3]];
            let found = index.get(&key).unwrap();
            assert_eq!(found.0, sets.add(&rules(&[i % 1000])).0, "{word}");
            assert!(index.get(&[word.as_bytes(), b"?"]).is_none(), "{word}");
        }
        assert!(
            Table::<1>::new(&Listing::new(), &mut sets)
                .get(&[b""])
                .is_none()
        );
    }

    #[test]
    fn keys_are_told_apart_by_their_parts() {
        let mut listing: Listing<'_> = Listing::new();
        listing.insert(key([b"ab", b"c"]), rules(&[7]));
        let index = Table::new(&listing, &mut BitSets::default());
        assert!(index.get(&[b"ab", b"c"]).is_some());
        assert!(index.get(&[b"a", b"bc"]).is_none());
        assert!(index.get(&[b"", b"abc"]).is_none());
    }
}
