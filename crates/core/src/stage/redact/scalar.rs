//! Values that are neither strings nor containers.

use crate::doc::msgpack::HeadKind;
use crate::doc::{AnyDoc, Doc, Malformed};

/// A value that is neither a string nor a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Nothing: null, a boolean, zero.
    Empty,
    /// A number.
    Number,
    /// Bytes that are not text.
    Bytes,
}

impl Scalar {
    /// Reads the value at a position.
    pub(super) fn read(doc: AnyDoc<'_>, at: usize) -> Result<Scalar, Malformed> {
        Ok(match doc {
            AnyDoc::Json(json) => {
                let word = json.bytes().get(at..json.end(at)?).unwrap_or_default();
                let is_number = matches!(word, [b'0'..=b'9' | b'-', ..]);
                let mut mantissa = word.split(|byte| matches!(byte, b'e' | b'E'));
                let digits = mantissa.next().unwrap_or_default();
                let is_zero = !digits.iter().any(|digit| matches!(digit, b'1'..=b'9'));
                if is_number && !is_zero {
                    Scalar::Number
                } else {
                    Scalar::Empty
                }
            }
            AnyDoc::Msgpack(msgpack) => match msgpack.head(at)?.kind {
                HeadKind::Nil | HeadKind::Bool(_) | HeadKind::Unsigned(0) => Scalar::Empty,
                HeadKind::Float(0.0) | HeadKind::Bin(0) => Scalar::Empty,
                HeadKind::Bin(_) | HeadKind::Ext(..) => Scalar::Bytes,
                _ => Scalar::Number,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;
    use crate::doc::msgpack::Msgpack;

    #[test]
    fn zero_holds_nothing() {
        for (text, scalar) in [
            ("null", Scalar::Empty),
            ("true", Scalar::Empty),
            ("0", Scalar::Empty),
            ("-0.0e5", Scalar::Empty),
            ("10", Scalar::Number),
            ("-1e0", Scalar::Number),
        ] {
            let read = Scalar::read(Json(text.as_bytes()).into(), 0);
            assert_eq!(read, Ok(scalar), "{text}");
        }
        for (bytes, scalar) in [
            (&b"\x05"[..], Scalar::Number),
            (b"\x00", Scalar::Empty),
            (b"\xc4\x01a", Scalar::Bytes),
            (b"\xc4\x00", Scalar::Empty),
        ] {
            assert_eq!(Scalar::read(Msgpack(bytes).into(), 0), Ok(scalar));
        }
    }
}
