//! msgpack, walked in place, and its writers.
//!
//! Nothing recurses: nested values are skipped by counting what is still to come, and a
//! hostile head cannot make that count larger than the buffer.

use std::ops::Range;

use crate::doc::keys::Key;
use crate::doc::{Container, Doc, Kind, Malformed, Member, Text};

/// msgpack bytes as a [`Doc`].
#[derive(Clone, Copy, Debug)]
pub struct Msgpack<'a>(pub &'a [u8]);

/// The head of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// The kind of value, and its size.
    pub kind: HeadKind,
    /// Position of the bytes after the head.
    pub content: usize,
}

/// The announcement in the head of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadKind {
    /// nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A non-negative integer.
    Unsigned(u64),
    /// A negative integer.
    Signed(i64),
    /// A float.
    Float(f64),
    /// A string of that many bytes.
    Str(usize),
    /// Binary data of that many bytes.
    Bin(usize),
    /// An extension of that type and that many bytes.
    Ext(i8, usize),
    /// An array of that many items.
    Array(usize),
    /// A map of that many members.
    Map(usize),
}

impl<'a> Msgpack<'a> {
    /// Reads the head of the value at a position.
    pub fn head(self, at: usize) -> Result<Head, Malformed> {
        use HeadKind::*;
        let value = self.0.get(at..).ok_or(Malformed)?;
        let (&byte, rest) = value.split_first().ok_or(Malformed)?;
        let ext = |type_at: usize, length: usize| match rest.get(type_at) {
            Some(&number) => Ok(Ext(number.cast_signed(), length)),
            None => Err(Malformed),
        };
        let (kind, length) = match byte {
            0x00..=0x7f => (Unsigned(byte.into()), 1),
            0x80..=0x8f => (Map(usize::from(byte & 0x0f)), 1),
            0x90..=0x9f => (Array(usize::from(byte & 0x0f)), 1),
            0xa0..=0xbf => (Str(usize::from(byte & 0x1f)), 1),
            0xc0 => (Nil, 1),
            0xc1 => return Err(Malformed),
            0xc2 => (Bool(false), 1),
            0xc3 => (Bool(true), 1),
            0xc4 => (Bin(size_8(rest)?), 2),
            0xc5 => (Bin(size_16(rest)?), 3),
            0xc6 => (Bin(size_32(rest)?), 5),
            0xc7 => (ext(1, size_8(rest)?)?, 3),
            0xc8 => (ext(2, size_16(rest)?)?, 4),
            0xc9 => (ext(4, size_32(rest)?)?, 6),
            0xca => (Float(f32::from_be_bytes(take(rest)?).into()), 5),
            0xcb => (Float(f64::from_be_bytes(take(rest)?)), 9),
            0xcc => (Unsigned(u8::from_be_bytes(take(rest)?).into()), 2),
            0xcd => (Unsigned(u16::from_be_bytes(take(rest)?).into()), 3),
            0xce => (Unsigned(u32::from_be_bytes(take(rest)?).into()), 5),
            0xcf => (Unsigned(u64::from_be_bytes(take(rest)?)), 9),
            0xd0 => (integer(i8::from_be_bytes(take(rest)?).into()), 2),
            0xd1 => (integer(i16::from_be_bytes(take(rest)?).into()), 3),
            0xd2 => (integer(i32::from_be_bytes(take(rest)?).into()), 5),
            0xd3 => (integer(i64::from_be_bytes(take(rest)?)), 9),
            0xd4 => (ext(0, 1)?, 2),
            0xd5 => (ext(0, 2)?, 2),
            0xd6 => (ext(0, 4)?, 2),
            0xd7 => (ext(0, 8)?, 2),
            0xd8 => (ext(0, 16)?, 2),
            0xd9 => (Str(size_8(rest)?), 2),
            0xda => (Str(size_16(rest)?), 3),
            0xdb => (Str(size_32(rest)?), 5),
            0xdc => (Array(size_16(rest)?), 3),
            0xdd => (Array(size_32(rest)?), 5),
            0xde => (Map(size_16(rest)?), 3),
            0xdf => (Map(size_32(rest)?), 5),
            0xe0..=0xff => (Signed(byte.cast_signed().into()), 1),
        };
        Ok(Head {
            kind,
            // A place in the buffer and a few bytes.
            content: at.wrapping_add(length),
        })
    }

    /// Returns the bytes after a head that announces `length` of them.
    pub fn content(self, head: Head, length: usize) -> Result<&'a [u8], Malformed> {
        self.0
            .get(head.content..)
            .and_then(|rest| rest.get(..length))
            .ok_or(Malformed)
    }

    /// Reads a text, which hosts and receivers also write as binary data.
    pub fn text_or_bin(self, at: usize) -> Result<Text<'a>, Malformed> {
        let head = self.head(at)?;
        let (HeadKind::Str(length) | HeadKind::Bin(length)) = head.kind else {
            return Err(Malformed);
        };
        Ok(Text {
            raw: self.content(head, length)?,
            at: head.content,
            escaped: false,
        })
    }

    /// Reads the string after a head, and its end, if the head is that of a string.
    fn string(self, head: Head) -> Result<Option<(Text<'a>, usize)>, Malformed> {
        let HeadKind::Str(length) = head.kind else {
            return Ok(None);
        };
        let text = Text {
            raw: self.content(head, length)?,
            at: head.content,
            escaped: false,
        };
        Ok(Some((text, head.content.wrapping_add(length))))
    }
}

/// Takes the first bytes of what follows the first byte of a head.
fn take<const N: usize>(rest: &[u8]) -> Result<[u8; N], Malformed> {
    rest.first_chunk().copied().ok_or(Malformed)
}

fn size_8(rest: &[u8]) -> Result<usize, Malformed> {
    Ok(usize::from(u8::from_be_bytes(take(rest)?)))
}

fn size_16(rest: &[u8]) -> Result<usize, Malformed> {
    Ok(usize::from(u16::from_be_bytes(take(rest)?)))
}

fn size_32(rest: &[u8]) -> Result<usize, Malformed> {
    usize::try_from(u32::from_be_bytes(take(rest)?)).map_err(|_| Malformed)
}

fn integer(value: i64) -> HeadKind {
    u64::try_from(value).map_or(HeadKind::Signed(value), HeadKind::Unsigned)
}

impl<'a> Doc<'a> for Msgpack<'a> {
    fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn kind(self, at: usize) -> Result<Kind, Malformed> {
        Ok(match self.head(at)?.kind {
            HeadKind::Str(_) => Kind::Text,
            HeadKind::Map(_) => Kind::Map,
            HeadKind::Array(_) => Kind::List,
            HeadKind::Nil => Kind::Null,
            _ => Kind::Other,
        })
    }

    fn end(self, at: usize) -> Result<usize, Malformed> {
        let mut at = at;
        // Values still to be skipped. Each takes a byte at least, so a count that
        // is larger than what is left of the buffer is a lie.
        let mut left = 1usize;
        while let Some(others) = left.checked_sub(1) {
            let head = self.head(at)?;
            (at, left) = (head.content, others);
            match head.kind {
                HeadKind::Str(n) | HeadKind::Bin(n) | HeadKind::Ext(_, n) => {
                    at = at.saturating_add(n);
                }
                HeadKind::Array(n) => left = left.saturating_add(n),
                HeadKind::Map(n) => left = left.saturating_add(n.saturating_mul(2)),
                _ => {}
            }
            if left > self.0.len().checked_sub(at).ok_or(Malformed)? {
                return Err(Malformed);
            }
        }
        Ok(at)
    }

    fn text(self, at: usize) -> Result<(Text<'a>, usize), Malformed> {
        self.string(self.head(at)?)?.ok_or(Malformed)
    }

    fn value(self, at: usize) -> Result<(Option<Text<'a>>, usize), Malformed> {
        match self.string(self.head(at)?)? {
            Some((text, end)) => Ok((Some(text), end)),
            None => Ok((None, self.end(at)?)),
        }
    }

    fn is_true(self, at: usize) -> bool {
        let head = self.head(at);
        head.is_ok_and(|head| head.kind == HeadKind::Bool(true))
    }

    fn integer(self, at: usize) -> Option<i64> {
        match self.head(at).ok()?.kind {
            HeadKind::Unsigned(value) => Some(i64::try_from(value).unwrap_or(i64::MAX)),
            HeadKind::Signed(value) => Some(value),
            _ => None,
        }
    }

    fn key(self, at: usize) -> Result<Text<'a>, Malformed> {
        let head = self.head(at)?;
        match head.kind {
            // A binary key is a name too: the host's own filters read it so.
            HeadKind::Str(length) | HeadKind::Bin(length) => Ok(Text {
                raw: self.content(head, length)?,
                at: head.content,
                escaped: false,
            }),
            _ => Ok(Text {
                raw: &[],
                at: head.content,
                escaped: false,
            }),
        }
    }

    fn open_map(self, at: usize) -> Result<Container, Malformed> {
        let head = self.head(at)?;
        let HeadKind::Map(count) = head.kind else {
            return Err(Malformed);
        };
        Ok(Container {
            at,
            next: head.content,
            count,
        })
    }

    fn open_list(self, at: usize) -> Result<Container, Malformed> {
        let head = self.head(at)?;
        let HeadKind::Array(count) = head.kind else {
            return Err(Malformed);
        };
        Ok(Container {
            at,
            next: head.content,
            count,
        })
    }

    fn next_member(self, map: &mut Container) -> Result<Option<Member<'a>>, Malformed> {
        let Some(count) = map.count.checked_sub(1) else {
            return Ok(None);
        };
        map.count = count;
        let start = map.next;
        let key = self.key(start)?;
        let value = match key.raw {
            // No string, or an empty one.
            [] => self.end(start)?,
            raw => key.at.saturating_add(raw.len()),
        };
        Ok(Some(Member { start, key, value }))
    }

    fn expected_member(self, map: &mut Container, key: &Key) -> Option<(usize, usize)> {
        let block = self.0.get(map.next..)?.first_chunk()?;
        let length = key.in_msgpack.of(block, false)?;
        map.count = map.count.checked_sub(1)?;
        Some((map.next, map.next.wrapping_add(length)))
    }

    fn next_item(self, list: &mut Container) -> Result<Option<usize>, Malformed> {
        let Some(count) = list.count.checked_sub(1) else {
            return Ok(None);
        };
        list.count = count;
        Ok(Some(list.next))
    }

    const HAS_SIZES: bool = true;
    const SEPARATOR: &'static [u8] = b"";

    fn next_start(self, _: usize) -> Option<usize> {
        None
    }

    fn previous_end(self, _: usize) -> Option<usize> {
        None
    }

    fn members_end(self, map: &Range<usize>) -> usize {
        map.end
    }

    fn write_resized_head(self, at: usize, by: isize, out: &mut Vec<u8>) -> Option<usize> {
        let head = self.head(at).ok()?;
        let resized = |size: usize| size.checked_add_signed(by);
        match head.kind {
            // Binary data that is edited is text.
            HeadKind::Str(size) | HeadKind::Bin(size) => write_str_head(out, resized(size)?),
            HeadKind::Map(size) => write_map_head(out, resized(size)?),
            HeadKind::Array(size) => write_array_head(out, resized(size)?),
            _ => return None,
        }
        Some(head.content)
    }

    fn write_text(out: &mut Vec<u8>, text: &[u8]) {
        write_str_head(out, text.len());
        out.extend_from_slice(text);
    }

    fn write_text_part(out: &mut Vec<u8>, text: &[u8]) {
        out.extend_from_slice(text);
    }

    fn write_key(out: &mut Vec<u8>, key: &[u8]) {
        Self::write_text(out, key);
    }
}

/// Appends the head of a string.
pub fn write_str_head(out: &mut Vec<u8>, length: usize) {
    let [.., a, b, c, d] = length.to_be_bytes();
    match length {
        0..=31 => out.push(0xa0 | d),
        32..=0xff => out.extend_from_slice(&[0xd9, d]),
        0x100..=0xffff => out.extend_from_slice(&[0xda, c, d]),
        _ => out.extend_from_slice(&[0xdb, a, b, c, d]),
    }
}

/// Appends the head of binary data.
pub fn write_bin_head(out: &mut Vec<u8>, length: usize) {
    let [.., a, b, c, d] = length.to_be_bytes();
    match length {
        0..=0xff => out.extend_from_slice(&[0xc4, d]),
        0x100..=0xffff => out.extend_from_slice(&[0xc5, c, d]),
        _ => out.extend_from_slice(&[0xc6, a, b, c, d]),
    }
}

/// Appends the head of a map.
pub fn write_map_head(out: &mut Vec<u8>, members: usize) {
    write_container_head(out, members, [0x80, 0xde, 0xdf]);
}

/// Appends the head of an array.
pub fn write_array_head(out: &mut Vec<u8>, items: usize) {
    write_container_head(out, items, [0x90, 0xdc, 0xdd]);
}

/// Appends one of three heads: with the count in it, or in two or four bytes after it.
fn write_container_head(out: &mut Vec<u8>, count: usize, [fix, short, long]: [u8; 3]) {
    let [.., a, b, c, d] = count.to_be_bytes();
    match count {
        0..=15 => out.push(fix | d),
        16..=0xffff => out.extend_from_slice(&[short, c, d]),
        _ => out.extend_from_slice(&[long, a, b, c, d]),
    }
}

/// Appends a non-negative integer.
pub fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    match value {
        0..=0x7f => out.push(h),
        0x80..=0xff => out.extend_from_slice(&[0xcc, h]),
        0x100..=0xffff => out.extend_from_slice(&[0xcd, g, h]),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&[0xce, e, f, g, h]),
        _ => out.extend_from_slice(&[0xcf, a, b, c, d, e, f, g, h]),
    }
}

/// Appends a signed integer.
pub fn write_signed(out: &mut Vec<u8>, value: i64) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    match value {
        0.. => write_unsigned(out, value.cast_unsigned()),
        -32..0 => out.push(h),
        -0x80..-32 => out.extend_from_slice(&[0xd0, h]),
        -0x8000..-0x80 => out.extend_from_slice(&[0xd1, g, h]),
        -0x8000_0000..-0x8000 => out.extend_from_slice(&[0xd2, e, f, g, h]),
        _ => out.extend_from_slice(&[0xd3, a, b, c, d, e, f, g, h]),
    }
}

/// Appends a float.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_every_form() {
        use HeadKind::*;
        for (bytes, kind, content) in [
            (&[0x7f][..], Unsigned(127), 1),
            (&[0xff], Signed(-1), 1),
            (&[0xd0, 5], Unsigned(5), 2),
            (&[0xd1, 0xff, 0x00], Signed(-256), 3),
            (&[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], Unsigned(1 << 32), 9),
            (&[0xca, 0x3f, 0x80, 0, 0], Float(1.0), 5),
            (&[0x82], Map(2), 1),
            (&[0xdf, 0, 0, 0, 1], Map(1), 5),
            (&[0xdd, 0, 0, 0, 2], Array(2), 5),
            (&[0xd7, 0, 1, 2, 3, 4, 5, 6, 7, 8], Ext(0, 8), 2),
            (&[0xc7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8], Ext(0, 8), 3),
            (&[0xc0], Nil, 1),
        ] {
            assert_eq!(
                Msgpack(bytes).head(0),
                Ok(Head { kind, content }),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn lying_counts_are_malformed() {
        for bytes in [
            &[0xdf, 0xff, 0xff, 0xff, 0xff, 1, 1][..],
            &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'],
            &[0xdd, 0, 0, 0, 3, 1, 1],
            &[0xc1],
            &[0xd7, 0, 1],
            &[],
        ] {
            assert_eq!(Msgpack(bytes).end(0), Err(Malformed), "{bytes:x?}");
        }
    }

    #[test]
    fn integers_and_true_are_read() {
        for (bytes, want) in [
            (&[0x07][..], Some(7)),
            (&[0xff], Some(-1)),
            (&[0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0], Some(i64::MAX)),
            (&[0xca, 0x3f, 0x80, 0, 0], None),
            (&[0xa1, b'1'], None),
            (&[0xc3], None),
            (&[], None),
        ] {
            assert_eq!(Msgpack(bytes).integer(0), want, "{bytes:x?}");
            assert_eq!(Msgpack(bytes).is_true(0), bytes == [0xc3], "{bytes:x?}");
        }
    }

    #[test]
    fn deep_nesting_is_only_counted() {
        let mut bytes = vec![0x91; 1_000_000];
        bytes.push(0xc0);
        assert_eq!(Msgpack(&bytes).end(0), Ok(bytes.len()));
    }

    #[test]
    fn integers_round_trip() {
        for value in [
            0,
            1,
            127,
            128,
            255,
            256,
            65535,
            65536,
            u32::MAX as i64,
            i64::MAX,
            -1,
            -32,
            -33,
            -128,
            -129,
            -32768,
            -32769,
            i32::MIN as i64,
            i32::MIN as i64 - 1,
            i64::MIN,
        ] {
            let mut bytes = Vec::new();
            write_signed(&mut bytes, value);
            let head = Msgpack(&bytes).head(0).unwrap();
            assert_eq!(head.kind, integer(value));
            assert_eq!(head.content, bytes.len());
        }
    }
}
