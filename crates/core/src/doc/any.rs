//! Reading a document without knowing its form.

use std::ops::Range;

use crate::doc::edit::{Cause, Edits, Plan};
use crate::doc::json::Json;
use crate::doc::msgpack::{self, Msgpack};
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

    /// Appends a string value.
    pub(crate) fn write_text(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            AnyDoc::Json(_) => Json::write_text(out, text),
            AnyDoc::Msgpack(_) => Msgpack::write_text(out, text),
        }
    }

    /// Appends the number zero.
    pub(crate) fn write_zero(self, out: &mut Vec<u8>) {
        out.push(match self {
            AnyDoc::Json(_) => b'0',
            AnyDoc::Msgpack(_) => 0,
        });
    }

    /// Appends a map, or else a list, without members or items.
    pub(crate) fn write_empty(self, kind: Kind, out: &mut Vec<u8>) {
        match (self, kind) {
            (AnyDoc::Json(_), Kind::Map) => out.extend_from_slice(b"{}"),
            (AnyDoc::Json(_), _) => out.extend_from_slice(b"[]"),
            (AnyDoc::Msgpack(_), Kind::Map) => msgpack::write_map_head(out, 0),
            (AnyDoc::Msgpack(_), _) => msgpack::write_array_head(out, 0),
        }
    }

    /// Appends a map with members whose values are written already.
    pub(crate) fn write_map(self, members: &[(&[u8], Vec<u8>)], out: &mut Vec<u8>) {
        match self {
            AnyDoc::Json(_) => {
                let mut before = b'{';
                for (key, value) in members {
                    out.push(before);
                    Json::write_key(out, key);
                    out.extend_from_slice(value);
                    before = b',';
                }
                out.push(b'}');
            }
            AnyDoc::Msgpack(_) => {
                msgpack::write_map_head(out, members.len());
                for (key, value) in members {
                    Msgpack::write_key(out, key);
                    out.extend_from_slice(value);
                }
            }
        }
    }

    /// Makes a plan of the edits asked for.
    pub(crate) fn settle(self, edits: &mut Edits) -> Plan<'_> {
        either!(self, doc => edits.settle(doc))
    }

    /// Asks for a member at the end of a map, whose value is written already.
    pub(crate) fn append_member(
        self,
        map: Range<usize>,
        key: &[u8],
        value: &[u8],
        cause: Cause,
        edits: &mut Edits,
    ) {
        either!(self, doc => {
            edits.append_member(doc, map, key, cause, |out| out.extend_from_slice(value));
        });
    }
}
