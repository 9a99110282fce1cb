//! Reading a document without knowing its form.

use crate::doc::{AnyDoc, Container, Doc, Kind, Malformed, Member, Text};

/// Calls a method of the document, whichever form it has.
macro_rules! either {
    ($any:expr, $doc:ident => $call:expr) => {
        match $any {
            AnyDoc::Json($doc) => $call,
            AnyDoc::Msgpack($doc) => $call,
        }
    };
}

impl<'a> AnyDoc<'a> {
    /// The buffer that positions refer to.
    pub fn bytes(self) -> &'a [u8] {
        either!(self, doc => doc.bytes())
    }

    /// The kind of the value at a position.
    pub fn kind(self, at: usize) -> Result<Kind, Malformed> {
        either!(self, doc => doc.kind(at))
    }

    /// Where the value ends.
    pub fn end(self, at: usize) -> Result<usize, Malformed> {
        either!(self, doc => doc.end(at))
    }

    /// The value at a position if it is a string, and its end.
    pub fn value(self, at: usize) -> Result<(Option<Text<'a>>, usize), Malformed> {
        either!(self, doc => doc.value(at))
    }

    /// The value at a position if it is a string.
    pub fn string(self, at: usize) -> Result<Option<Text<'a>>, Malformed> {
        Ok(self.value(at)?.0)
    }

    /// Whether the value at a position is `true`.
    pub fn is_true(self, at: usize) -> bool {
        either!(self, doc => doc.is_true(at))
    }

    /// The integer at a position, saturated; `None` for any other value.
    pub fn integer(self, at: usize) -> Option<i64> {
        either!(self, doc => doc.integer(at))
    }

    /// The key at the start of a member; empty when it is not a string.
    pub fn key(self, at: usize) -> Result<Text<'a>, Malformed> {
        either!(self, doc => doc.key(at))
    }

    /// Opens the map at a position.
    pub fn open_map(self, at: usize) -> Result<Container, Malformed> {
        either!(self, doc => doc.open_map(at))
    }

    /// Opens the list at a position.
    pub fn open_list(self, at: usize) -> Result<Container, Malformed> {
        either!(self, doc => doc.open_list(at))
    }

    /// The next member, as [`Doc::next_member`].
    pub fn next_member(self, map: &mut Container) -> Result<Option<Member<'a>>, Malformed> {
        either!(self, doc => doc.next_member(map))
    }

    /// The next item, as [`Doc::next_item`].
    pub fn next_item(self, list: &mut Container) -> Result<Option<usize>, Malformed> {
        either!(self, doc => doc.next_item(list))
    }
}
