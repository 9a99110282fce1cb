//! Puts the pieces of split events together again.
//!
//! A container runtime splits a line at 16 KiB or so; a policy needs the whole event. So
//! the records with the pieces of one are withheld until the last piece comes. What then
//! turns out not to be an event, is too large, or waits for too long is given back record
//! by record, as it came.
//!
//! Works for any kind of event that comes in pieces: the pieces of one have the same tag
//! and the same key.

use crate::chunk::EventTime;

/// Bounds of what is withheld. Time is the time of the records, not that of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes in all: of the records and of their texts.
    pub bytes: usize,
    /// Groups of pieces that are incomplete at the same time.
    pub groups: usize,
    /// Pieces of one group.
    pub pieces: usize,
    /// Seconds from the first piece of a group to what comes under the same tag.
    pub age: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 8 << 20,
            groups: 1024,
            pieces: 4096,
            age: 60,
        }
    }
}

/// A piece of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Text of the piece, without prefix.
    pub text: &'a [u8],
    /// The record that it came in.
    pub record: &'a [u8],
    /// The time when it was written.
    pub time: EventTime,
    /// Place of the piece in the event.
    pub place: PiecePlace,
}

/// The place of a piece in its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PiecePlace {
    /// More pieces follow.
    Inside,
    /// The last one, or the only one.
    Last,
}

/// The pieces of one event that came before the last one.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// The texts in one.
    pub text: Vec<u8>,
    /// The records, one after the other.
    pub records: Vec<u8>,
    /// The number of records.
    pub count: usize,
}

impl Pieces {
    fn size(&self) -> usize {
        self.text.len().saturating_add(self.records.len())
    }
}

/// The fate of the record of a piece.
#[derive(Debug)]
pub(crate) enum Assembled {
    /// Take it by itself.
    Alone,
    /// Leave it out: it is withheld.
    Withheld,
    /// No more pieces can be withheld: it comes after these.
    After(Pieces),
}

/// Events of which some pieces are there. `K` tells apart those that come under one tag.
#[derive(Debug)]
pub(crate) struct Assembly<K> {
    groups: Vec<Group<K>>,
    /// Bytes withheld.
    held: usize,
    limits: Limits,
}

#[derive(Debug)]
struct Group<K> {
    tag: Vec<u8>,
    key: K,
    /// The time when the first piece was written.
    begun: EventTime,
    pieces: Pieces,
}

impl<K: Copy + Eq> Assembly<K> {
    /// Withholds no more than the limits allow.
    pub(crate) fn new(limits: Limits) -> Assembly<K> {
        Assembly {
            groups: Vec::new(),
            held: 0,
            limits,
        }
    }

    /// Returns whether nothing is withheld.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The number of records that are withheld.
    pub(crate) fn withheld(&self) -> usize {
        self.groups.iter().map(|group| group.pieces.count).sum()
    }

    /// Takes a piece. One that begins an event must look like the beginning of one: `{`.
    pub(crate) fn take(&mut self, tag: &[u8], key: K, piece: Piece<'_>) -> Assembled {
        let size = piece.text.len().saturating_add(piece.record.len());
        let goes_on = piece.place == PiecePlace::Inside
            && self.held.saturating_add(size) <= self.limits.bytes;
        let is_this = |group: &Group<K>| group.key == key && group.tag == tag;
        let Some(at) = self.groups.iter().position(is_this) else {
            let begins =
                goes_on && piece.text.starts_with(b"{") && self.groups.len() < self.limits.groups;
            if !begins {
                return Assembled::Alone;
            }
            let mut pieces = Pieces::default();
            self.held = self.held.saturating_add(pieces.add(piece));
            self.groups.push(Group {
                tag: tag.to_vec(),
                key,
                begun: piece.time,
                pieces,
            });
            return Assembled::Withheld;
        };
        match self.groups.get_mut(at) {
            Some(group) if goes_on && group.pieces.count < self.limits.pieces => {
                self.held = self.held.saturating_add(group.pieces.add(piece));
                Assembled::Withheld
            }
            _ => Assembled::After(self.forget(at)),
        }
    }

    /// Gives back the groups under a tag whose first pieces are too old when `now` is the
    /// time of what comes.
    pub(crate) fn expired(&mut self, tag: &[u8], now: EventTime) -> Vec<Pieces> {
        let age = self.limits.age;
        self.forget_if(|group| {
            group.tag == tag && now.seconds.saturating_sub(group.begun.seconds) > age
        })
    }

    /// Gives back all groups under a tag.
    pub(crate) fn release(&mut self, tag: &[u8]) -> Vec<Pieces> {
        self.forget_if(|group| group.tag == tag)
    }

    fn forget_if(&mut self, goes: impl FnMut(&mut Group<K>) -> bool) -> Vec<Pieces> {
        let forgotten = self.groups.extract_if(.., goes);
        let forgotten: Vec<Pieces> = forgotten.map(|group| group.pieces).collect();
        for pieces in &forgotten {
            self.held = self.held.saturating_sub(pieces.size());
        }
        forgotten
    }

    fn forget(&mut self, at: usize) -> Pieces {
        let pieces = self.groups.remove(at).pieces;
        self.held = self.held.saturating_sub(pieces.size());
        pieces
    }
}

impl Pieces {
    /// Adds a piece; returns its bytes.
    fn add(&mut self, piece: Piece<'_>) -> usize {
        let before = self.size();
        self.text.extend_from_slice(piece.text);
        self.records.extend_from_slice(piece.record);
        self.count = self.count.saturating_add(1);
        self.size().saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 100,
        groups: 2,
        pieces: 3,
        age: 60,
    };

    fn piece<'a>(place: PiecePlace, text: &'a [u8], record: &'a [u8]) -> Piece<'a> {
        Piece {
            text,
            record,
            time: EventTime {
                seconds: 1000,
                nanoseconds: 0,
            },
            place,
        }
    }

    fn inside<'a>(text: &'a [u8], record: &'a [u8]) -> Piece<'a> {
        piece(PiecePlace::Inside, text, record)
    }

    fn last<'a>(text: &'a [u8], record: &'a [u8]) -> Piece<'a> {
        piece(PiecePlace::Last, text, record)
    }

    /// Takes a piece and says what becomes of it: the texts that came before it, if any.
    fn take(assembly: &mut Assembly<u8>, tag: &[u8], key: u8, piece: Piece<'_>) -> String {
        match assembly.take(tag, key, piece) {
            Assembled::Alone => "alone".to_owned(),
            Assembled::Withheld => "withheld".to_owned(),
            Assembled::After(pieces) => String::from_utf8(pieces.text).unwrap(),
        }
    }

    #[test]
    fn pieces_come_together_by_tag_and_key() {
        let mut assembly = Assembly::new(LIMITS);
        let mut given = |tag: &[u8], key, piece| take(&mut assembly, tag, key, piece);
        assert_eq!(given(b"t", 1, last(b"{}", b"1")), "alone");
        assert_eq!(given(b"t", 1, inside(b"plain", b"2")), "alone");
        assert_eq!(given(b"t", 1, inside(b"{a", b"3")), "withheld");
        assert_eq!(given(b"t", 2, last(b"x", b"4")), "alone");
        assert_eq!(given(b"u", 1, inside(b"{z", b"5")), "withheld");
        assert_eq!(given(b"t", 1, inside(b"b", b"6")), "withheld");
        assert_eq!(assembly.withheld(), 3);
        let Assembled::After(pieces) = assembly.take(b"t", 1, last(b"c}", b"7")) else {
            panic!("the pieces before the last one")
        };
        let Pieces {
            text,
            records,
            count,
        } = pieces;
        assert_eq!(
            (&text[..], &records[..], count),
            (&b"{ab"[..], &b"36"[..], 2)
        );
        assert_eq!(assembly.release(b"u").len(), 1);
        assert_eq!((assembly.withheld(), assembly.held), (0, 0));
    }

    #[test]
    fn bytes_groups_and_pieces_are_bounded() {
        let mut assembly = Assembly::new(Limits {
            bytes: 12,
            ..LIMITS
        });
        assert_eq!(
            take(&mut assembly, b"t", 1, inside(b"{a", b"123")),
            "withheld"
        );
        assert_eq!(
            take(&mut assembly, b"t", 2, inside(b"{bcdefg", b"456")),
            "alone"
        );
        assert_eq!(take(&mut assembly, b"t", 1, inside(b"bcdef", b"456")), "{a");
        assert_eq!(assembly.held, 0);

        let mut assembly = Assembly::new(LIMITS);
        for key in [1, 2] {
            assert_eq!(
                take(&mut assembly, b"t", key, inside(b"{", b"")),
                "withheld"
            );
        }
        assert_eq!(take(&mut assembly, b"t", 3, inside(b"{", b"")), "alone");
        for _ in 0..2 {
            assert_eq!(take(&mut assembly, b"t", 1, inside(b"a", b"")), "withheld");
        }
        assert_eq!(take(&mut assembly, b"t", 1, inside(b"a", b"")), "{aa");
    }

    #[test]
    fn groups_expire_by_the_time_of_records() {
        let mut assembly = Assembly::new(LIMITS);
        take(&mut assembly, b"t", 1, inside(b"{", b"r"));
        take(&mut assembly, b"u", 1, inside(b"{", b"s"));
        let after = |seconds| EventTime {
            seconds,
            nanoseconds: 0,
        };
        for young in [0, 1000, 1060] {
            assert!(assembly.expired(b"t", after(young)).is_empty(), "{young}");
        }
        let expired = assembly.expired(b"t", after(1061));
        assert_eq!(expired[0].records, b"r");
        assert!(assembly.expired(b"t", after(1061)).is_empty());
        assert_eq!(assembly.withheld(), 1);
    }
}
