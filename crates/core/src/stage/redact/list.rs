//! Lists of words, each in one text: an array of texts has a pointer to each, and a pointer
//! takes more room in a shared object than most words do.

/// Words with blanks between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct List(pub &'static str);

impl List {
    /// The words.
    pub(super) fn words(self) -> impl Iterator<Item = &'static [u8]> {
        self.0.as_bytes().split(|byte| *byte == b' ')
    }

    /// True if a word is in the list.
    #[inline(never)]
    pub(super) fn has(self, word: &[u8]) -> bool {
        self.words().any(|known| known == word)
    }

    /// The word that a text begins with, if it begins with one.
    #[inline(never)]
    pub(super) fn begins(self, text: &[u8]) -> Option<&'static [u8]> {
        self.words().find(|known| text.starts_with(known))
    }
}

/// Words in ascending order, with blanks between them, and the end of each.
#[derive(Debug)]
pub(super) struct Sorted<const N: usize> {
    text: &'static [u8],
    ends: [u16; N],
}

impl<const N: usize> Sorted<N> {
    /// Takes as many words as there are.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "evaluated at compile time: an error stops the build"
    )]
    pub(super) const fn new(text: &'static str) -> Sorted<N> {
        let text = text.as_bytes();
        let mut ends = [0; N];
        let (mut at, mut word) = (0, 0);
        while at < text.len() {
            if text[at] == b' ' {
                ends[word] = at as u16;
                word += 1;
            }
            at += 1;
        }
        assert!(word + 1 == N);
        ends[word] = at as u16;
        Sorted { text, ends }
    }

    /// The words.
    #[cfg(test)]
    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> {
        (0..N).map(|number| std::str::from_utf8(self.word(number)).unwrap())
    }

    fn word(&self, number: usize) -> &'static [u8] {
        let end = |number: usize| self.ends.get(number).map(|end| usize::from(*end));
        let before = number.checked_sub(1).and_then(end);
        let begin = before.map_or(0, |end| end.saturating_add(1));
        let end = end(number).unwrap_or(begin);
        self.text.get(begin..end).unwrap_or_default()
    }

    /// True if a word is among them.
    pub(super) fn has(&self, word: &[u8]) -> bool {
        let (mut low, mut high) = (0, N);
        while low < high {
            let middle = low.midpoint(high);
            match self.word(middle).cmp(word) {
                std::cmp::Ordering::Less => low = middle.saturating_add(1),
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        static SORTED: Sorted<4> = Sorted::new("a ab b cde");
        for word in ["a", "ab", "b", "cde"] {
            assert!(SORTED.has(word.as_bytes()), "{word}");
        }
        for word in ["", "aa", "c", "cd", "cdef", "z"] {
            assert!(!SORTED.has(word.as_bytes()), "{word}");
        }
        let list = List("+ %20 %0A");
        assert!(list.has(b"%20") && !list.has(b"%2") && !list.has(b""));
        assert_eq!(list.begins(b"%0Ax"), Some(&b"%0A"[..]));
        assert_eq!(list.begins(b"x"), None);
    }
}
