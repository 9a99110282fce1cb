//! Sets of rules as bits, and tables that lead from strings to such sets.

use std::collections::BTreeMap;

/// A set of rules by number, in `W` words of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rules<const W: usize>([u64; W]);

impl<const W: usize> Rules<W> {
    pub const NONE: Rules<W> = Rules([0; W]);

    /// How many rules a set can hold.
    pub const CAPACITY: usize = W * 64;

    pub fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    pub fn remove(&mut self, rule: usize) {
        self.0[rule / 64] &= !(1 << (rule % 64));
    }

    pub fn contains(&self, rule: usize) -> bool {
        self.0[rule / 64] & (1 << (rule % 64)) != 0
    }

    /// The rule with the lowest number.
    pub fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    /// Adds the other set's rules.
    pub fn unite(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Keeps what the other set has, too.
    pub fn intersect(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }
}

/// The rules by key, while the index is being made.
pub(super) type Listing<'a, const N: usize, const W: usize> = BTreeMap<[&'a [u8]; N], Rules<W>>;

/// An immutable table from keys of `N` strings to sets of rules; looking up does not allocate.
///
/// Keys that the table does not have are the usual case, and mostly told by two bit masks.
#[derive(Debug)]
pub(super) struct Index<const N: usize, const W: usize> {
    /// Open addressing, at most half full; the number of slots is a power of two.
    slots: Box<[Slot<N>]>,
    /// The strings of all keys, one after the other.
    keys: Box<[u8]>,
    /// Distinct sets.
    sets: Box<[Rules<W>]>,
    /// Which lengths (modulo 64) and last bytes (modulo 64) keys have.
    lengths: u64,
    endings: u64,
}

#[derive(Clone, Debug)]
struct Slot<const N: usize> {
    /// 0 in an empty slot.
    hash: u64,
    start: u32,
    lengths: [u32; N],
    set: u32,
}

impl<const N: usize, const W: usize> Index<N, W> {
    pub fn new(listing: &Listing<'_, N, W>) -> Index<N, W> {
        let empty = Slot {
            hash: 0,
            start: 0,
            lengths: [0; N],
            set: 0,
        };
        let capacity = if listing.is_empty() {
            0
        } else {
            (2 * listing.len()).next_power_of_two()
        };
        let mut slots = vec![empty; capacity];
        let mut keys = Vec::new();
        let mut sets = Vec::new();
        let mut numbers = BTreeMap::new();
        let (mut lengths, mut endings) = (0, 0);
        for (key, rules) in listing {
            let set = *numbers.entry(rules).or_insert_with(|| {
                sets.push(*rules);
                sets.len() as u32 - 1
            });
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
            lengths |= length;
            endings |= ending;
        }
        Index {
            slots: slots.into(),
            keys: keys.into(),
            sets: sets.into(),
            lengths,
            endings,
        }
    }

    /// The rules of a key, if the table has it.
    #[inline]
    pub fn get(&self, key: &[&[u8]; N]) -> Option<&Rules<W>> {
        let (length, ending) = outline(key);
        if self.lengths & length == 0 || self.endings & ending == 0 {
            return None;
        }
        let hash = hash(key);
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.hash == hash && self.has(slot, key) {
                return self.sets.get(slot.set as usize);
            }
            if slot.hash == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    fn has(&self, slot: &Slot<N>, key: &[&[u8]; N]) -> bool {
        let mut start = slot.start as usize;
        key.iter().zip(slot.lengths).all(|(part, length)| {
            let end = start + length as usize;
            let same = self.keys.get(start..end) == Some(*part);
            start = end;
            same
        })
    }
}

/// One bit for the length of a key, one for its last byte.
#[inline]
fn outline<const N: usize>(key: &[&[u8]; N]) -> (u64, u64) {
    let length: usize = key.iter().map(|part| part.len()).sum();
    let ending = key
        .iter()
        .rev()
        .find_map(|part| part.last())
        .copied()
        .unwrap_or_default();
    (1 << (length % 64), 1 << (ending % 64))
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

    #[test]
    fn sets() {
        let mut rules = Rules::<4>::NONE;
        assert_eq!(rules.first(), None);
        for rule in [200, 64, 63] {
            rules.insert(rule);
            assert_eq!(rules.first(), Some(rule));
        }
        let mut other = Rules::NONE;
        other.insert(64);
        other.insert(1);
        let mut both = rules;
        both.intersect(&other);
        assert_eq!(both.first(), Some(64));
        rules.unite(&other);
        rules.remove(1);
        assert!(rules.contains(63) && !rules.contains(1));
    }

    #[test]
    fn finds_every_key_and_no_other() {
        let words: Vec<String> = (0..2000)
            .map(|i| format!("{}{i}", "x".repeat(i % 40)))
            .collect();
        let mut listing: Listing<'_, 2, 16> = Listing::new();
        for (i, word) in words.iter().enumerate() {
            let mut rules = Rules::NONE;
            rules.insert(i % 1000);
            listing.insert([word.as_bytes(), &word.as_bytes()[..i % 3]], rules);
        }
        let index = Index::new(&listing);
        for (i, word) in words.iter().enumerate() {
            let key = [word.as_bytes(), &word.as_bytes()[..i % 3]];
            assert_eq!(
                index.get(&key).and_then(Rules::first),
                Some(i % 1000),
                "{word}"
            );
            assert_eq!(index.get(&[word.as_bytes(), b"?"]), None, "{word}");
        }
        assert_eq!(Index::<1, 1>::new(&Listing::new()).get(&[b""]), None);
    }

    #[test]
    fn keys_are_told_apart_by_their_parts() {
        let mut listing: Listing<'_, 2, 1> = Listing::new();
        let mut rules = Rules::NONE;
        rules.insert(7);
        listing.insert([b"ab", b"c"], rules);
        let index = Index::new(&listing);
        assert!(index.get(&[b"ab", b"c"]).is_some());
        assert!(index.get(&[b"a", b"bc"]).is_none());
        assert!(index.get(&[b"", b"abc"]).is_none());
    }
}
