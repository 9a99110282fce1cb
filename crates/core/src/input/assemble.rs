//! Puts the pieces of a container runtime's split lines together again.
//!
//! A runtime cuts a line at 16 KiB or so. A policy needs the whole event, so the
//! pieces of one are withheld until the last one comes. What then turns out to be
//! no event, or is too large, is given back piece by piece as it came.

use crate::input::cri::Stream;

/// The records of one split line: as they came, and their text in one.
#[derive(Debug, Default)]
pub struct Pieces {
    /// The text of all pieces without their prefixes.
    pub text: Vec<u8>,
    /// The records, one after the other.
    pub originals: Vec<u8>,
    /// How many records they are.
    pub count: usize,
}

/// What to do with a piece.
#[derive(Debug)]
pub enum Piece {
    /// It is no part of a split event.
    Alone,
    /// It is withheld until the rest comes.
    Withheld,
    /// The line is complete, or cannot be: these pieces came before it.
    Ends(Pieces),
}

/// The split lines that are under way, by tag and stream.
#[derive(Debug)]
pub struct Partials {
    open: Vec<(Vec<u8>, Stream, Pieces)>,
    held: usize,
    limit: usize,
}

impl Partials {
    /// Withholds at most `limit` bytes in all.
    pub fn new(limit: usize) -> Partials {
        Partials {
            open: Vec::new(),
            held: 0,
            limit,
        }
    }

    /// Records that are withheld.
    pub fn withheld(&self) -> usize {
        self.open.iter().map(|(_, _, pieces)| pieces.count).sum()
    }

    /// Takes a piece: the text behind its prefix, and the record that it came in.
    pub fn take(
        &mut self,
        tag: &[u8],
        stream: Stream,
        partial: bool,
        text: &[u8],
        original: &[u8],
    ) -> Piece {
        let at = self
            .open
            .iter()
            .position(|(t, s, _)| t == tag && *s == stream);
        let size = text.len() + original.len();
        match at {
            None if partial && text.starts_with(b"{") && self.held + size <= self.limit => {
                self.open.push((tag.to_vec(), stream, Pieces::default()));
                self.withhold(self.open.len() - 1, text, original)
            }
            None => Piece::Alone,
            Some(at) if partial && self.held + size <= self.limit => {
                self.withhold(at, text, original)
            }
            Some(at) => {
                let (_, _, pieces) = self.open.swap_remove(at);
                self.held -= pieces.text.len() + pieces.originals.len();
                Piece::Ends(pieces)
            }
        }
    }

    /// Gives back everything that is withheld under a tag.
    pub fn release(&mut self, tag: &[u8]) -> Vec<Pieces> {
        let (released, open) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(t, _, _)| t == tag);
        self.open = open;
        let released: Vec<Pieces> = Vec::into_iter(released)
            .map(|(_, _, pieces)| pieces)
            .collect();
        self.held -= released
            .iter()
            .map(|pieces| pieces.text.len() + pieces.originals.len())
            .sum::<usize>();
        released
    }

    fn withhold(&mut self, at: usize, text: &[u8], original: &[u8]) -> Piece {
        if let Some((_, _, pieces)) = self.open.get_mut(at) {
            pieces.text.extend_from_slice(text);
            pieces.originals.extend_from_slice(original);
            pieces.count += 1;
            self.held += text.len() + original.len();
        }
        Piece::Withheld
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_together_by_tag_and_stream() {
        let mut partials = Partials::new(100);
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, false, b"{}", b"1"),
            Piece::Alone
        ));
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, true, b"plain", b"2"),
            Piece::Alone
        ));
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, true, b"{a", b"3"),
            Piece::Withheld
        ));
        assert!(matches!(
            partials.take(b"t", Stream::Stderr, false, b"x", b"4"),
            Piece::Alone
        ));
        assert!(matches!(
            partials.take(b"u", Stream::Stdout, true, b"{z", b"5"),
            Piece::Withheld
        ));
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, true, b"b", b"6"),
            Piece::Withheld
        ));
        assert_eq!(partials.withheld(), 3);
        let Piece::Ends(pieces) = partials.take(b"t", Stream::Stdout, false, b"c}", b"7") else {
            panic!()
        };
        assert_eq!(
            (&pieces.text[..], &pieces.originals[..], pieces.count),
            (&b"{ab"[..], &b"36"[..], 2)
        );
        assert_eq!(partials.release(b"u").len(), 1);
        assert_eq!((partials.withheld(), partials.held), (0, 0));
    }

    #[test]
    fn what_is_too_large_is_given_back() {
        let mut partials = Partials::new(10);
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, true, b"{a", b"123"),
            Piece::Withheld
        ));
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, true, b"{bcd", b"456"),
            Piece::Ends(_)
        ));
        assert!(matches!(
            partials.take(b"t", Stream::Stdout, true, b"{bcdefgh", b"456"),
            Piece::Alone
        ));
        assert_eq!(partials.held, 0);
    }
}
