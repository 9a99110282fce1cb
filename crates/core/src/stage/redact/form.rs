//! A document in either form, read through one type, so that the rules of redaction are
//! compiled once. They run only where something may have to be hidden.

use crate::doc::json::Json;
use crate::doc::msgpack::{HeadKind, Msgpack};
use crate::doc::{Container, Doc, Kind, Malformed, Member, Text};

/// A document.
#[derive(Clone, Copy, Debug)]
pub enum Form<'a> {
    /// JSON text.
    Json(Json<'a>),
    /// A msgpack value.
    Msgpack(Msgpack<'a>),
}

/// Calls a method of the document, whichever form it has.
macro_rules! either {
    ($form:expr, $doc:ident => $call:expr) => {
        match $form {
            Form::Json($doc) => $call,
            Form::Msgpack($doc) => $call,
        }
    };
}

impl<'a> Form<'a> {
    /// The kind of the value at a position.
    pub fn kind(self, at: usize) -> Result<Kind, Malformed> {
        either!(self, doc => doc.kind(at))
    }

    /// Where the value ends.
    pub fn end(self, at: usize) -> Result<usize, Malformed> {
        either!(self, doc => doc.end(at))
    }

    /// The value at a position where it is a string, and its end.
    pub fn value(self, at: usize) -> Result<(Option<Text<'a>>, usize), Malformed> {
        either!(self, doc => doc.value(at))
    }

    /// The value at a position where it is a string.
    pub fn text(self, at: usize) -> Result<Option<Text<'a>>, Malformed> {
        Ok(self.value(at)?.0)
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

    /// The next member.
    pub fn next_member(self, map: &mut Container) -> Result<Option<Member<'a>>, Malformed> {
        either!(self, doc => doc.next_member(map))
    }

    /// The next item.
    pub fn next_item(self, list: &mut Container) -> Result<Option<usize>, Malformed> {
        either!(self, doc => doc.next_item(list))
    }

    /// What a scalar that is not a string is to the redaction.
    pub fn scalar(self, at: usize) -> Result<Scalar, Malformed> {
        match self {
            Form::Json(doc) => {
                let number = doc.bytes().get(at..doc.end(at)?).unwrap_or_default();
                let is_number = number
                    .first()
                    .is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
                let mantissa = number.split(|byte| matches!(byte, b'e' | b'E')).next();
                let is_zero = mantissa
                    .unwrap_or_default()
                    .iter()
                    .all(|byte| !matches!(byte, b'1'..=b'9'));
                Ok(if is_number && !is_zero {
                    Scalar::Number
                } else {
                    Scalar::Empty
                })
            }
            Form::Msgpack(doc) => Ok(match doc.head(at)?.kind {
                HeadKind::Unsigned(0) | HeadKind::Nil | HeadKind::Bool(_) => Scalar::Empty,
                HeadKind::Float(0.0) | HeadKind::Bin(0) => Scalar::Empty,
                HeadKind::Bin(_) | HeadKind::Ext(..) => Scalar::Bytes,
                _ => Scalar::Number,
            }),
        }
    }
}

/// A value that is neither a string nor a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Null, a boolean, zero: it holds nothing.
    Empty,
    /// A number.
    Number,
    /// Bytes that are not text.
    Bytes,
}
