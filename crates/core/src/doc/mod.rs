//! Documents, walked and edited in place, without building a tree.
//!
//! An audit event arrives as JSON text or as a msgpack map. Everything that looks into
//! events is written once, against [`Doc`], and works on both. Positions are byte offsets
//! into the document's buffer, so that what is not [edited](edit) can be copied.

mod any;
pub(crate) mod convert;
pub mod edit;
pub(crate) mod escape;
pub mod json;
pub(crate) mod keys;
pub mod msgpack;
pub mod path;
pub(crate) mod scan;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::doc::escape::unescape;
use crate::doc::json::Json;
use crate::doc::keys::Key;
use crate::doc::msgpack::Msgpack;

/// The document cannot be read: it breaks off, or is not in its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed document")]
pub struct Malformed;

/// The kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A map or JSON object.
    Map,
    /// An array.
    List,
    /// The null value.
    Null,
    /// Anything else: numbers, booleans, binary data, extensions.
    Other,
}

/// A string of a document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text<'a> {
    /// The bytes between the quotes, or the msgpack string.
    pub raw: &'a [u8],
    /// Position of `raw` in the document.
    pub at: usize,
    /// `raw` holds JSON escapes.
    pub escaped: bool,
}

impl<'a> Text<'a> {
    /// Returns whether the string's value is `other`.
    pub fn is(&self, other: &[u8]) -> bool {
        if self.escaped {
            *self.value() == *other
        } else {
            self.raw == other
        }
    }

    /// The string's value.
    #[inline]
    pub fn value(&self) -> Cow<'a, [u8]> {
        if self.escaped {
            self.unescaped()
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    #[cold]
    fn unescaped(&self) -> Cow<'a, [u8]> {
        let mut value = Vec::with_capacity(self.raw.len());
        unescape(self.raw, &mut value);
        Cow::Owned(value)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.value()))
    }
}

/// An opened map or list.
#[derive(Clone, Copy, Debug)]
pub struct Container {
    /// Position of its head or opening bracket.
    pub at: usize,
    /// Start of the next member or item: in JSON, of the bracket or comma before it. After
    /// the last one, the container's end.
    pub next: usize,
    /// Members or items still to come; JSON does not know.
    pub count: usize,
}

/// One member of a map.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Start of the key.
    pub start: usize,
    /// The key; empty when it is not a string.
    pub key: Text<'a>,
    /// Start of the value.
    pub value: usize,
}

/// A document in one of the two forms, for what is not worth compiling twice.
#[derive(Clone, Copy, Debug)]
pub enum AnyDoc<'a> {
    /// JSON text.
    Json(Json<'a>),
    /// A msgpack value.
    Msgpack(Msgpack<'a>),
}

impl<'a> From<Json<'a>> for AnyDoc<'a> {
    fn from(doc: Json<'a>) -> AnyDoc<'a> {
        AnyDoc::Json(doc)
    }
}

impl<'a> From<Msgpack<'a>> for AnyDoc<'a> {
    fn from(doc: Msgpack<'a>) -> AnyDoc<'a> {
        AnyDoc::Msgpack(doc)
    }
}

/// A document form.
///
/// After each [`next_member`](Doc::next_member) or [`next_item`](Doc::next_item)
/// the caller sets [`Container::next`] to the end of the value.
pub trait Doc<'a>: Copy + Into<AnyDoc<'a>> {
    /// The buffer that positions refer to.
    fn bytes(self) -> &'a [u8];
    /// Returns the kind of the value at a position.
    fn kind(self, at: usize) -> Result<Kind, Malformed>;
    /// Finds the end of the value at a position.
    fn end(self, at: usize) -> Result<usize, Malformed>;
    /// Reads the string at a position, and its end.
    fn text(self, at: usize) -> Result<(Text<'a>, usize), Malformed>;
    /// Reads the value at a position if it is a string, and its end.
    fn value(self, at: usize) -> Result<(Option<Text<'a>>, usize), Malformed>;
    /// Returns whether the value at a position is `true`.
    fn is_true(self, at: usize) -> bool;
    /// Reads the integer at a position, saturated; `None` for any other value.
    fn integer(self, at: usize) -> Option<i64>;
    /// Reads the key at the start of a member; empty if it is not a string.
    fn key(self, at: usize) -> Result<Text<'a>, Malformed>;
    /// Opens the map at a position.
    fn open_map(self, at: usize) -> Result<Container, Malformed>;
    /// Opens the list at a position.
    fn open_list(self, at: usize) -> Result<Container, Malformed>;
    /// Reads the next member; `None` after the last one, with [`Container::next`] at the
    /// map's end.
    fn next_member(self, map: &mut Container) -> Result<Option<Member<'a>>, Malformed>;
    /// Finds the start of the next member and of its value, if it has this name and that
    /// is seen at one look.
    fn expected_member(self, map: &mut Container, key: &Key) -> Option<(usize, usize)>;
    /// Finds the next item; `None` after the last one, with [`Container::next`] at the
    /// list's end.
    fn next_item(self, list: &mut Container) -> Result<Option<usize>, Malformed>;

    /// Maps, lists and texts announce their size in a head, as in msgpack. If they do not,
    /// there is a [`SEPARATOR`](Doc::SEPARATOR) between members.
    const HAS_SIZES: bool;
    /// The bytes between two members.
    const SEPARATOR: &'static [u8];
    /// Finds the start of the member or item after the one that ends at `end`; `None`
    /// after the last one, and if the form has sizes.
    fn next_start(self, end: usize) -> Option<usize>;
    /// Finds the end of the member or item before the one that begins at `start`; `None`
    /// before the first one, and if the form has sizes.
    fn previous_end(self, start: usize) -> Option<usize>;
    /// Finds the end of a map's last member.
    fn members_end(self, map: &Range<usize>) -> usize;
    /// Appends the head of the map, list or text that begins at `at` with its size
    /// changed; returns the end of the present head, or `None` if there is none.
    fn write_resized_head(self, at: usize, by: isize, out: &mut Vec<u8>) -> Option<usize>;

    /// Appends a string value.
    fn write_text(out: &mut Vec<u8>, text: &[u8]);
    /// Appends a part of a string value: as between the quotes of JSON, or as it is.
    fn write_text_part(out: &mut Vec<u8>, text: &[u8]);
    /// Appends a key, up to where its value begins.
    fn write_key(out: &mut Vec<u8>, key: &[u8]);
}
