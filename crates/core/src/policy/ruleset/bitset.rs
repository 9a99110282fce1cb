//! Sets of rules as bits.

use std::collections::BTreeMap;

/// Set of rules by position, in words of 64 bits. The first word is a summary: its bit
/// `i` is set if word `i` of the rest has any rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleBits(Box<[u64]>);

/// Rules in one word.
pub(super) const WORD: usize = 64;

/// The most rules that a set can hold: one word for each bit of the summary.
pub(super) const CAPACITY: usize = WORD * WORD;

impl RuleBits {
    /// Makes an empty set with room for `rules` rules.
    pub(super) fn none(rules: usize) -> RuleBits {
        debug_assert!(rules <= CAPACITY);
        RuleBits(vec![0; rules.div_ceil(WORD).saturating_add(1)].into())
    }

    /// Adds the rule at a position for which the set was made.
    pub(super) fn insert(&mut self, rule: usize) {
        let (word, bit) = (rule / WORD, rule % WORD);
        if let Some((summary, words)) = self.0.split_first_mut()
            && let Some(place) = words.get_mut(word)
        {
            *summary |= 1 << (word % WORD);
            *place |= 1 << bit;
        }
    }

    /// Adds all rules of the other set.
    pub(super) fn unite(&mut self, other: &RuleBits) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }
}

/// All sets of one block of rules, each kept once.
#[derive(Debug, Default)]
pub(super) struct BitSets {
    words: Vec<u64>,
    /// Empty once the block is complete.
    known: BTreeMap<RuleBits, SetId>,
}

/// A set among [`BitSets`]: the index of its first word.
#[derive(Clone, Copy, Debug)]
pub(super) struct SetId(pub(super) u32);

impl SetId {
    #[expect(
        clippy::as_conversions,
        reason = "widening; `usize::from` has no `u32` because of 16-bit targets"
    )]
    #[inline]
    const fn start(self) -> usize {
        self.0 as usize
    }
}

// Decisions spend most of their time in these reads. An id comes from the arena that it
// is used with, and the words asked for are those whose bit is set in the summary, so all
// of them exist.
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "ids and words exist, see above"
)]
impl BitSets {
    #[expect(
        clippy::as_conversions,
        reason = "a policy of 8 MiB has far fewer than 2^32 words of sets"
    )]
    pub(super) fn add(&mut self, rules: &RuleBits) -> SetId {
        if let Some(set) = self.known.get(rules) {
            return *set;
        }
        let set = SetId(self.words.len() as u32);
        self.words.extend_from_slice(&rules.0);
        self.known.insert(rules.clone(), set);
        set
    }

    /// Drops what only [`BitSets::add`] needs.
    pub(super) fn finish(&mut self) {
        self.known = BTreeMap::new();
        self.words.shrink_to_fit();
    }

    #[inline]
    pub(super) fn summary(&self, set: SetId) -> u64 {
        self.words[set.start()]
    }

    #[inline]
    pub(super) fn word(&self, set: SetId, word: usize) -> u64 {
        self.words[set.start() + 1 + word]
    }

    #[inline]
    pub(super) fn summary_of_any(&self, union: &Union) -> u64 {
        let others = union.others[..union.count].iter();
        others.fold(self.summary(union.first), |all, &set| {
            all | self.summary(set)
        })
    }

    #[inline]
    pub(super) fn word_of_any(&self, union: &Union, word: usize) -> u64 {
        let others = union.others[..union.count].iter();
        others.fold(self.word(union.first, word), |all, &set| {
            all | self.word(set, word)
        })
    }
}

/// Union of a few sets, formed word by word when it is read.
#[derive(Clone, Copy)]
pub(super) struct Union {
    first: SetId,
    others: [SetId; MAX_OTHERS],
    count: usize,
}

/// Enough except for users in unusually many of the groups that rules name.
const MAX_OTHERS: usize = 6;

impl Union {
    #[inline]
    pub(super) fn of(first: SetId) -> Union {
        Union {
            first,
            others: [first; MAX_OTHERS],
            count: 0,
        }
    }

    /// Adds a set; false if there is no room for it.
    #[inline]
    pub(super) fn add(&mut self, set: SetId) -> bool {
        // Without a branch on the count: decisions add sets one after the other.
        let room = self.others.get_mut(self.count);
        self.count = self.count.wrapping_add(usize::from(room.is_some()));
        room.map(|room| *room = set).is_some()
    }
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
    fn sets() {
        let mut sets = BitSets::default();
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
}
