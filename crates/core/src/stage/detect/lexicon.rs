//! Lists of words that are one text each.
//!
//! A table of texts needs a pointer for each of them, which the dynamic loader has to
//! adjust and the library has to carry; one text with separators needs one.

use super::uri::parts;
use crate::bytes;

/// Words with blanks between them, for look-ups that are rare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words(pub &'static str);

impl Words {
    /// Yields the words.
    pub(super) fn iter(self) -> impl Iterator<Item = &'static [u8]> {
        parts(self.0.as_bytes(), b' ')
    }

    /// Returns the first word.
    pub(super) fn first(self) -> &'static str {
        self.0.split(' ').next().unwrap_or_default()
    }

    /// Returns the place of a word.
    #[inline(never)]
    pub(super) fn place(self, word: &[u8]) -> Option<usize> {
        self.iter().position(|own| own == word)
    }

    /// Says whether a word is among them.
    pub(super) fn has(self, word: &[u8]) -> bool {
        self.place(word).is_some()
    }

    /// Says whether a word is among them, where a final `*` of theirs means any rest.
    #[inline(never)]
    pub(super) fn fit(self, word: &[u8]) -> bool {
        self.iter().any(|own| match own.strip_suffix(b"*") {
            Some(prefix) => word.starts_with(prefix),
            None => own == word,
        })
    }
}

/// The number of slots of a [`Lexicon`], a power of two: several for each word.
const SLOTS: usize = 128;

/// Leaves the upper bits of a hash, as many as the number of a slot has.
const SHIFT: u32 = u32::BITS.saturating_sub(SLOTS.trailing_zeros());

/// `N` words that every event is asked for, found by one look: no two have the same slot.
#[derive(Debug)]
pub(super) struct Lexicon<const N: usize> {
    /// The words, each behind a `|`.
    text: &'static str,
    /// Start and end of each word.
    spans: [(u16, u16); N],
    /// The number of the word with this slot; `N` where there is none.
    slots: [u8; SLOTS],
    factor: u32,
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "what goes wrong here does so while a table of words is compiled"
)]
impl<const N: usize> Lexicon<N> {
    /// Takes words each of which stands behind a `|`.
    pub(super) const fn new(text: &'static str) -> Lexicon<N> {
        let bytes = text.as_bytes();
        let mut spans = [(0, 0); N];
        let (mut word, mut start, mut at) = (0, 1, 1);
        while at <= bytes.len() {
            if at == bytes.len() || bytes[at] == b'|' {
                spans[word] = (start as u16, at as u16);
                word += 1;
                start = at + 1;
            }
            at += 1;
        }
        assert!(word == N && N < u8::MAX as usize);
        let mut lexicon = Lexicon {
            text,
            spans,
            slots: [0; SLOTS],
            factor: 0x9e37_79b9,
        };
        while !lexicon.fill() {
            lexicon.factor = lexicon.factor.wrapping_add(2);
        }
        lexicon
    }

    /// Gives each word its slot; false if two have the same.
    const fn fill(&mut self) -> bool {
        self.slots = [N as u8; SLOTS];
        let mut word = 0;
        while word < N {
            let slot = slot(self.word(word), self.factor);
            if self.slots[slot] != N as u8 {
                return false;
            }
            self.slots[slot] = word as u8;
            word += 1;
        }
        true
    }

    const fn word(&self, number: usize) -> &'static [u8] {
        let (start, end) = self.spans[number];
        let (front, _) = self.text.as_bytes().split_at(end as usize);
        front.split_at(start as usize).1
    }

    /// Returns the number of a word that the lexicon has, while a table is compiled.
    pub(super) const fn number(&self, word: &str) -> usize {
        let number = self.slots[slot(word.as_bytes(), self.factor)] as usize;
        assert!(number < N && self.word(number).len() == word.len());
        number
    }
}

impl<const N: usize> Lexicon<N> {
    /// Returns the number of a word; `N` if the lexicon does not have it.
    #[inline]
    pub(super) fn find(&self, word: &[u8]) -> usize {
        let number = self.guess(word);
        let span = self.spans.get(number);
        let own = span.and_then(|&(start, end)| {
            let span = usize::from(start)..usize::from(end);
            self.text.as_bytes().get(span)
        });
        match own {
            Some(own) if bytes::equal(own, word) => number,
            _ => N,
        }
    }

    /// Returns the number of the only word that may be this one; `N` if none may.
    #[inline]
    pub(super) fn guess(&self, word: &[u8]) -> usize {
        let number = self.slots.get(slot(word, self.factor));
        number.map_or(N, |&number| usize::from(number))
    }

    /// Says whether the lexicon has a word.
    pub(super) fn has(&self, word: &[u8]) -> bool {
        self.find(word) < N
    }

    /// Returns the word of a number.
    pub(super) fn get(&self, number: usize) -> Option<&'static str> {
        let &(start, end) = self.spans.get(number)?;
        self.text.get(usize::from(start)..usize::from(end))
    }
}

/// Mixes length, first two bytes and last byte into the number of a slot.
#[expect(
    clippy::as_conversions,
    reason = "the upper seven bits of 32 are the number of a slot"
)]
#[inline]
const fn slot(word: &[u8], factor: u32) -> usize {
    let bytes = match word {
        [] => [0, 0, 0],
        [only] => [*only, 0, 0],
        [first, second, ..] => match word.last() {
            Some(last) => [*first, *second, *last],
            None => [0, 0, 0],
        },
    };
    let [first, second, last] = bytes;
    let mixed = u32::from_le_bytes([first, second, last, word.len() as u8]).wrapping_mul(factor);
    mixed.wrapping_shr(SHIFT) as usize
}

/// Declares a type for sets of things with names, and a constant for each of them.
macro_rules! flags {
    ($(#[$doc:meta])* $set:ident $($flag:ident = $name:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct $set(u32);

        #[allow(dead_code, reason = "not every set needs all of it")]
        impl $set {
            const NAMES: &'static Lexicon<{ [$($name),*].len() }> =
                &Lexicon::new(concat!($("|", $name),*));

            $(
                #[doc = concat!("`", $name, "`")]
                pub(super) const $flag: $set = $set(1 << $set::NAMES.number($name));
            )*
            /// What has none of these names.
            pub(super) const OTHER: $set = $set(1 << [$($name),*].len());
            /// None.
            pub(super) const NONE: $set = $set(0);
            /// All.
            pub(super) const ALL: $set = $set(u32::MAX);
        }

        #[allow(dead_code, reason = "not every set needs all of it")]
        impl $set {
            /// Returns those of either set.
            pub(super) const fn and(self, other: $set) -> $set {
                $set(self.0 | other.0)
            }

            /// Returns those that are not in the other set.
            pub(super) const fn without(self, other: $set) -> $set {
                $set(self.0 & !other.0)
            }

            /// Says whether the sets have something in common.
            #[inline]
            pub(super) const fn meets(self, other: $set) -> bool {
                self.0 & other.0 != 0
            }

            /// Says whether all of the other set is in this one.
            #[inline]
            pub(super) const fn has(self, other: $set) -> bool {
                other.0 & !self.0 == 0
            }

            /// Returns the set of what has a name.
            #[inline]
            pub(super) fn named(name: &[u8]) -> $set {
                $set(1 << $set::NAMES.find(name))
            }

            /// Returns the number of the only one that may have this name; that of `OTHER` if
            /// none may.
            #[inline]
            pub(super) fn guess(name: &[u8]) -> usize {
                $set::NAMES.guess(name)
            }

            /// Returns the set with a bit for each.
            #[inline]
            pub(super) const fn bits(self) -> u32 {
                self.0
            }

            /// Returns the set of these bits.
            pub(super) const fn of_bits(bits: u32) -> $set {
                $set(bits)
            }

            /// Returns what has a number.
            #[inline]
            pub(super) const fn at(number: u32) -> $set {
                match 1u32.checked_shl(number) {
                    Some(bit) => $set(bit),
                    None => $set::NONE,
                }
            }

            /// Returns the number of the first one.
            #[expect(clippy::as_conversions, reason = "at most 32")]
            #[inline]
            pub(super) const fn number(self) -> usize {
                self.0.trailing_zeros() as usize
            }

            /// Yields each one with a name, in the order of their declaration.
            pub(super) fn each(self) -> impl Iterator<Item = $set> {
                let named = $set::OTHER.0.wrapping_sub(1);
                let mut rest = self.0 & named;
                std::iter::from_fn(move || {
                    let without_first = rest & rest.checked_sub(1)?;
                    let first = $set(rest ^ without_first);
                    rest = without_first;
                    Some(first)
                })
            }

            /// Returns the name of the first one.
            pub(super) fn name(self) -> &'static str {
                $set::NAMES.get(self.number()).unwrap_or("other")
            }
        }
    };
}

pub(super) use flags;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let words = Words("a bc d*");
        assert!(words.has(b"a") && words.has(b"bc") && words.has(b"d*"));
        assert!(!words.has(b"") && !words.has(b"b") && !words.has(b"a bc") && !words.has(b"dx"));
        assert!(words.fit(b"a") && words.fit(b"d") && words.fit(b"dx") && !words.fit(b"ax"));
        assert_eq!((words.place(b"bc"), words.place(b"c")), (Some(1), None));
    }

    flags! {
        /// A test.
        Colours
            RED = "red";
            GREEN = "light green";
            NAMELESS = "";
    }

    #[test]
    fn sets_of_things_with_names() {
        assert_eq!(Colours::named(b"red"), Colours::RED);
        assert_eq!(Colours::named(b"light green"), Colours::GREEN);
        assert_eq!(Colours::named(b""), Colours::NAMELESS);
        for other in ["rad", "green", "Red", "red|light green", "|", "reed"] {
            assert_eq!(Colours::named(other.as_bytes()), Colours::OTHER, "{other}");
        }
        for colour in Colours::ALL.each() {
            assert_eq!(Colours::guess(colour.name().as_bytes()), colour.number());
        }
        let warm = Colours::RED.and(Colours::NAMELESS);
        assert!(warm.meets(Colours::RED) && warm.has(Colours::RED) && warm.has(Colours::NONE));
        assert!(!warm.meets(Colours::GREEN) && !warm.has(Colours::ALL));
        assert_eq!(warm.without(Colours::RED), Colours::NAMELESS);
        let names: Vec<&str> = Colours::ALL.each().map(Colours::name).collect();
        assert_eq!(names, ["red", "light green", ""]);
        assert_eq!(Colours::OTHER.number(), 3);
    }
}
