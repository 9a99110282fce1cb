//! Texts that were looked at and hold nothing, because the same come again and again: user
//! agents, paths, reasons, extra fields of service accounts.

/// The longest text that is remembered.
const LONGEST: usize = 504;

/// Texts that are remembered: a power of two.
const PLACES: usize = 64;

/// A table of texts; a new one takes the place of another.
#[derive(Clone, Debug)]
pub(super) struct Seen(Box<[Text; PLACES]>);

#[derive(Clone, Copy, Debug)]
struct Text {
    length: usize,
    bytes: [u8; LONGEST],
}

impl Default for Seen {
    fn default() -> Self {
        let none = Text {
            length: 0,
            bytes: [0; LONGEST],
        };
        Seen(Box::new([none; PLACES]))
    }
}

impl Seen {
    /// The answer of `look`, which is not asked about a text that it has already found
    /// nothing in.
    #[inline]
    pub(super) fn look(&mut self, text: &[u8], look: impl FnOnce(&[u8]) -> bool) -> bool {
        let Some(seen) = place_of(text).and_then(|place| self.0.get_mut(place)) else {
            return look(text);
        };
        if seen.bytes.get(..seen.length) == Some(text) {
            return false;
        }
        let found = look(text);
        if let (false, Some(bytes)) = (found, seen.bytes.get_mut(..text.len())) {
            bytes.copy_from_slice(text);
            seen.length = text.len();
        }
        found
    }
}

/// The place of a text; `None` if it is too short or too long to be worth one.
#[inline]
fn place_of(text: &[u8]) -> Option<usize> {
    /// An odd number without pattern (the golden ratio): its products spread well.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    if text.len() > LONGEST {
        return None;
    }
    let middle = text.get(text.len() / 2..)?.first_chunk()?;
    let last = text.last_chunk()?;
    let mixed = u64::from_le_bytes(*middle).rotate_left(21) ^ u64::from_le_bytes(*last);
    let length = u64::try_from(text.len()).ok()?;
    let hash = mixed.wrapping_add(length).wrapping_mul(SPREAD);
    Some(usize::try_from(hash >> 58).ok()? % PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_is_known() {
        let mut seen = Seen::default();
        let text = b"kubelet/v1.33.2 (linux/amd64)";
        let mut asked = 0;
        for round in 0..3 {
            let found = seen.look(text, |_| {
                asked += 1;
                false
            });
            assert!(!found, "{round}");
        }
        assert_eq!(asked, 1);
        for at in 0..text.len() {
            let mut other = *text;
            other[at] ^= 1;
            assert!(seen.look(&other, |_| true), "{at}");
            assert!(!seen.look(text, |_| false));
        }
        assert!(seen.look(&text[1..], |_| true));
        for length in [0, 1, 7, 8, 15, 16, LONGEST, LONGEST + 1] {
            let text = vec![b'x'; length];
            assert!(seen.look(&text, |_| true), "{length}");
            assert!(!seen.look(&text, |_| false), "{length}");
        }
    }
}
