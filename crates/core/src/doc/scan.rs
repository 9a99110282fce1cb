//! Finding the end of strings and containers in JSON text, many bytes at a time.
//!
//! Most of a log's bytes are bodies that are only stepped over. They are looked at
//! in blocks of 64 bytes as bit masks, one bit for each byte, the way simdjson does
//! it: which bytes are quotes, backslashes, brackets, and, from the quotes, which
//! bytes are inside strings.
//!
//! Bodies are long enough that it pays to ask, when the program runs, how wide the
//! machine's registers are. Keys and values are not: they make do with what every
//! machine of this kind has.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

use crate::doc::Malformed;

/// Bytes looked at in one step.
const BLOCK: usize = 64;

/// Reads the content of a string from what follows its opening quote, and whether it has
/// escapes. `None` if it does not end.
// Always inline: most values are so short that the first step sees their end, and a result
// that is handed over on the stack costs as much again.
#[inline(always)]
pub(crate) fn string(text: &[u8]) -> Option<(&[u8], bool)> {
    let mut from = 0;
    if let Some(block) = text.first_chunk() {
        let found = quotes_and_backslashes_of_two(block);
        let at = index(found.trailing_zeros());
        if block.get(at) == Some(&b'"') {
            return Some((text.get(..at)?, false));
        }
        if found == 0 {
            from = TWICE;
        }
    }
    let (length, escaped) = long_string(text, from)?;
    Some((text.get(..length)?, escaped))
}

/// Room for a comma or bracket, the longest key of an event, its quotes and a colon.
pub(crate) const KEY_BLOCK: usize = TWICE;

/// The first bytes of a block, which are recognised at one look.
#[derive(Debug)]
#[repr(align(32))]
pub struct Front {
    bytes: [u8; KEY_BLOCK],
    length: usize,
    /// One bit for each byte of a block that may be anything.
    open: u32,
}

impl Front {
    /// The parts one after the other.
    #[expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "what goes wrong here does so while a table of names is compiled"
    )]
    pub const fn new(parts: [&[u8]; 3]) -> Front {
        let mut bytes = [0; KEY_BLOCK];
        let (mut part, mut length) = (0, 0);
        while part < parts.len() {
            let mut at = 0;
            while at < parts[part].len() {
                bytes[length] = parts[part][at];
                length += 1;
                at += 1;
            }
            part += 1;
        }
        assert!(length < KEY_BLOCK);
        Front {
            bytes,
            length,
            open: u32::MAX << length,
        }
    }

    /// Its length, if the block begins with it; the first byte may be another if that is `free`.
    #[inline(always)]
    pub fn of(&self, block: &[u8; KEY_BLOCK], free: bool) -> Option<usize> {
        (equal_bytes(block, &self.bytes) | self.open | u32::from(free) == u32::MAX)
            // Always less: so nobody has to ask.
            .then_some(self.length % KEY_BLOCK)
    }
}

/// The quote that ends the string whose content begins at the third byte; `None`
/// where it is further away, or a backslash comes first.
#[inline]
pub(crate) fn closing_quote(block: &[u8; KEY_BLOCK]) -> Option<usize> {
    let at = index((quotes_and_backslashes_of_two(block) & !0b11).trailing_zeros());
    (block.get(at) == Some(&b'"')).then_some(at)
}

/// The number of a bit as an index.
#[inline(always)]
#[expect(clippy::as_conversions, reason = "a number of at most 64")]
const fn index(bit: u32) -> usize {
    bit as usize
}

/// The length of a string's content, of which so much has neither quote nor backslash.
#[inline(never)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "each sum is of a place inside the buffer and of two blocks at most"
)]
fn long_string(text: &[u8], mut from: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    while let Some(block) = text.get(from..)?.first_chunk::<TWICE>() {
        let mut found = quotes_and_backslashes_of_two(block);
        let mut next = from + TWICE;
        while found != 0 {
            let at = index(found.trailing_zeros());
            if block.get(at) == Some(&b'"') {
                return Some((from + at, escaped));
            }
            // The byte after it is escaped, even if that is in the next block.
            escaped = true;
            next += usize::from(at + 1 == TWICE);
            found &= !(0b11 << at);
        }
        from = next;
    }
    loop {
        match text.get(from)? {
            b'"' => return Some((from, escaped)),
            b'\\' => {
                escaped = true;
                from += 2;
            }
            _ => from += 1,
        }
    }
}

/// Finds the end, after the closing bracket, of the object or array that opens at `at`.
/// Brackets are counted without regard to their kind.
#[inline(never)]
pub(crate) fn container_end(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let room;
    let bytes = if bytes.len() < BLOCK {
        // Zeros are neither quotes nor brackets.
        room = filled_up(bytes, 0);
        &room
    } else {
        bytes
    };
    dispatch!(Level::new(), simd => container_end_with(simd, bytes, at))
}

// All that it calls has to be inlined into it, to be compiled for the same registers.
#[inline(always)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "places are those of the buffer and of a block more, and so are counts of its \
              bytes; more are never closed than opened, or the end has been found"
)]
fn container_end_with<S: Simd>(simd: S, bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    let mut depth = 0u64;
    let mut state = Strings::default();
    let mut from = at;
    loop {
        let rest = bytes.get(from..).ok_or(Malformed)?;
        let masks = match rest.first_chunk() {
            Some(block) => Masks::of(simd, block),
            None if rest.is_empty() => return Err(Malformed),
            None => {
                let block = bytes.last_chunk().ok_or(Malformed)?;
                Masks::of(simd, block).without(BLOCK - rest.len())
            }
        };
        let outside = !state.advance(&masks);
        let (open, close) = (masks.open & outside, masks.close & outside);
        let closed = u64::from(close.count_ones());
        // The end is in this block only if it closes as many as are open before it: at the
        // first bracket that leaves none open.
        if closed >= depth {
            let (mut left, mut closed) = (close, 0);
            while left != 0 {
                let bit = left & left.wrapping_neg();
                let opened = (open & (bit - 1)).count_ones();
                closed += 1;
                if depth + u64::from(opened) == closed {
                    return Ok(from + index(bit.trailing_zeros()) + 1);
                }
                left ^= bit;
            }
        }
        depth = depth + u64::from(open.count_ones()) - closed;
        from += BLOCK;
    }
}

/// One bit for each byte of a block, the first byte in the lowest.
struct Masks {
    quote: u64,
    backslash: u64,
    /// `{` and `[`.
    open: u64,
    /// `}` and `]`.
    close: u64,
}

/// State carried from one block to the next.
#[derive(Default)]
struct Strings {
    /// All ones inside a string, else zero.
    inside: u64,
    /// 1 when the first byte of the next block is escaped.
    escaped: u64,
}

impl Strings {
    /// Marks the bytes of the block that are inside strings, opening quotes included.
    #[inline(always)]
    fn advance(&mut self, masks: &Masks) -> u64 {
        let escaped = self.escaped(masks.backslash);
        let inside = prefix_xor(masks.quote & !escaped) ^ self.inside;
        // The sign of the last bit, in all bits.
        self.inside = (inside.cast_signed() >> 63).cast_unsigned();
        inside
    }

    /// Marks the bytes of the block that are escaped: of a row of backslashes every other
    /// one, and the byte after it if their number is odd.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        /// Every other bit, without the lowest.
        const ODD: u64 = u64::MAX / 3 * 2;
        let before = std::mem::take(&mut self.escaped);
        if backslash == 0 {
            return before;
        }
        // The difference borrows along each row: it comes out even or odd with its start,
        // up to the byte after its end.
        let row = backslash & !before;
        let codes = (row << 1 | ODD).wrapping_sub(row) ^ ODD;
        self.escaped = (codes & backslash) >> 63;
        codes ^ (backslash | before)
    }
}

/// Each bit is the parity of the bits up to it: from quotes, what is between them.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Bytes compared by one instruction.
const LANES: usize = 16;
const TWICE: usize = 2 * LANES;

impl Masks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, block: &[u8; BLOCK]) -> Masks {
        let lanes = u8x64::from_slice(simd, block);
        // Brackets and braces differ in this bit alone.
        let folded = lanes | 0x20;
        Masks {
            quote: lanes.simd_eq(b'"').to_bitmask(),
            backslash: lanes.simd_eq(b'\\').to_bitmask(),
            open: folded.simd_eq(b'{').to_bitmask(),
            close: folded.simd_eq(b'}').to_bitmask(),
        }
    }

    /// Leaves out the first bytes, less than all.
    #[inline(always)]
    fn without(self, bytes: usize) -> Masks {
        Masks {
            quote: self.quote >> bytes,
            backslash: self.backslash >> bytes,
            open: self.open >> bytes,
            close: self.close >> bytes,
        }
    }
}

/// The places of a byte in a short text.
pub(crate) fn places(text: &[u8], byte: u8) -> impl Iterator<Item = usize> {
    text.chunks(BLOCK)
        .enumerate()
        .flat_map(move |(number, part)| {
            let start = number.wrapping_mul(BLOCK);
            // The filling differs from the byte.
            let block = filled_up(part, !byte);
            let mut left = dispatch!(Level::baseline(), simd => {
                u8x64::from_slice(simd, &block).simd_eq(byte).to_bitmask()
            });
            std::iter::from_fn(move || {
                let place = start.wrapping_add(index(left.trailing_zeros()));
                left &= left.checked_sub(1)?;
                Some(place)
            })
        })
}

/// A block that begins with a part of a text shorter than it.
#[inline(always)]
fn filled_up(part: &[u8], filling: u8) -> [u8; BLOCK] {
    let mut block = [filling; BLOCK];
    if let Some(front) = block.get_mut(..part.len()) {
        front.copy_from_slice(part);
    }
    block
}

/// One bit for each lane that holds a quote or a backslash.
#[inline]
#[expect(clippy::as_conversions, reason = "there are 16 lanes")]
fn quotes_and_backslashes(bytes: &[u8; LANES]) -> u32 {
    dispatch!(Level::baseline(), simd => {
        let lanes = u8x16::from_slice(simd, bytes);
        (lanes.simd_eq(b'"') | lanes.simd_eq(b'\\')).to_bitmask() as u32
    })
}

/// One bit for each place that holds the same byte in both blocks.
#[inline(always)]
#[expect(clippy::as_conversions, reason = "there are 16 lanes")]
fn equal_bytes(a: &[u8; KEY_BLOCK], b: &[u8; KEY_BLOCK]) -> u32 {
    dispatch!(Level::baseline(), simd => {
        let half = |a: &[u8; LANES], b: &[u8; LANES]| {
            u8x16::from_slice(simd, a).simd_eq(u8x16::from_slice(simd, b)).to_bitmask() as u32
        };
        match (a.as_chunks(), b.as_chunks()) {
            (([a, c], _), ([b, d], _)) => half(a, b) | half(c, d) << LANES,
            _ => 0,
        }
    })
}

#[inline]
fn quotes_and_backslashes_of_two(bytes: &[u8; TWICE]) -> u32 {
    let (parts, _) = bytes.as_chunks();
    let parts = parts.iter().zip([0, LANES]);
    parts.fold(0, |found, (part, shift)| {
        found | quotes_and_backslashes(part) << shift
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, byte by byte.
    fn obvious_end(bytes: &[u8], at: usize) -> Option<usize> {
        let (mut depth, mut inside, mut escaped) = (0, false, false);
        for (offset, byte) in bytes[at..].iter().enumerate() {
            if escaped {
                escaped = false;
            } else if *byte == b'\\' {
                // Outside of strings no JSON has one; what follows is escaped all the same.
                escaped = true;
            } else if *byte == b'"' {
                inside = !inside;
            }
            match byte {
                b'{' | b'[' if !inside => depth += 1,
                b'}' | b']' if !inside => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at + offset + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Numbers without pattern, the same in every run.
    fn numbers() -> impl Iterator<Item = u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        })
    }

    #[test]
    fn ends_are_those_of_a_plain_loop() {
        let alphabet = b"\"\"\\\\{}[]{}[]ab ,:";
        let mut numbers = numbers();
        for round in 0..20_000 {
            let length = 1 + round % 400;
            let mut text = vec![b'{'];
            text.extend(
                (&mut numbers)
                    .take(length)
                    .map(|n| alphabet[n as usize % alphabet.len()]),
            );
            text.extend_from_slice(b"\"}}}]]]");
            let shown = String::from_utf8_lossy(&text).into_owned();
            assert_eq!(
                container_end(&text, 0).ok(),
                obvious_end(&text, 0),
                "{shown}"
            );
            let string = text
                .iter()
                .enumerate()
                .skip(1)
                .try_fold(false, |escaped, (at, byte)| match byte {
                    _ if escaped => Ok(false),
                    b'\\' => Ok(true),
                    b'"' => Err(at + 1),
                    _ => Ok(false),
                });
            let found = super::string(&text[1..]);
            assert_eq!(
                found.map(|(content, _)| content.len() + 2),
                string.err(),
                "{shown}"
            );
        }
    }

    #[test]
    fn places_are_those_of_a_plain_loop() {
        let mut numbers = numbers();
        for length in 0..200 {
            let text: Vec<u8> = (&mut numbers)
                .take(length)
                .map(|n| b"/a%\0"[n as usize % 4])
                .collect();
            for byte in [b'/', 0, 0xff] {
                let plain = text.iter().enumerate().filter(|(_, b)| **b == byte);
                assert!(places(&text, byte).eq(plain.map(|(at, _)| at)), "{text:?}");
            }
        }
    }

    #[test]
    fn strings_end_anywhere() {
        for length in 0..200 {
            let content = "x".repeat(length);
            let escaped = content.clone() + "\\\"";
            for (content, escapes) in [(&content, false), (&escaped, true)] {
                let text = content.clone() + "\" and more";
                let found = string(text.as_bytes());
                assert_eq!(found, Some((content.as_bytes(), escapes)));
            }
            assert_eq!(string(content.as_bytes()), None);
            assert_eq!(string((content + "\\").as_bytes()), None);
        }
    }
}
