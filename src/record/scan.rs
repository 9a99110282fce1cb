//! Finding the end of strings and containers in JSON text, many bytes at a time.
//!
//! Most of a log's bytes are bodies that are only stepped over. They are looked at
//! in blocks of 64 bytes as bit masks, one bit for each byte, the way simdjson does
//! it: which bytes are quotes, backslashes, brackets, and, from the quotes, which
//! bytes are inside strings.

use wide::i8x16;

/// Bytes looked at in one step.
const BLOCK: usize = 64;

/// Where the string ends whose content begins at `from`: behind its closing quote.
/// Also says whether it has escapes. `None` when it does not end.
#[inline]
pub fn string_end(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    // Keys and most values are so short that the first step sees their end: that
    // much is worth having at each place that asks.
    if let Some(part) = bytes.get(from..).and_then(<[u8]>::first_chunk) {
        let found = quotes_and_backslashes(part);
        let at = from + found.trailing_zeros() as usize;
        if found != 0 && bytes.get(at) == Some(&b'"') {
            return Some((at + 1, false));
        }
    }
    long_string_end(bytes, from)
}

/// Room for a comma, the longest key of an event, its quotes and a colon.
pub const KEY_BLOCK: usize = TWICE;

/// The quote that ends the string whose content begins at the third byte; `None`
/// where it is further away, or a backslash comes first.
#[inline]
pub fn closing_quote(block: &[u8; KEY_BLOCK]) -> Option<usize> {
    let at = (quotes_and_backslashes_of_two(block) & !0b11).trailing_zeros() as usize;
    (block.get(at) == Some(&b'"')).then_some(at)
}

fn long_string_end(bytes: &[u8], from: usize) -> Option<(usize, bool)> {
    let mut at = from;
    let mut escaped = false;
    loop {
        at += quote_or_backslash(bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some((at + 1, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Where the object or array ends that opens at `at`: behind its closing bracket.
/// Brackets are counted without regard to their kind. `None` when it does not end.
pub fn container_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0u64;
    let mut state = Strings::default();
    let mut from = at;
    loop {
        let rest = bytes.get(from..)?;
        let (masks, last) = match rest.first_chunk::<BLOCK>() {
            Some(block) => (Masks::of(block), false),
            None => {
                // Zeros are neither quotes nor brackets.
                let mut block = [0; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                (Masks::of(&block), true)
            }
        };
        let outside = !state.advance(&masks);
        let (open, close) = (masks.open & outside, masks.close & outside);
        // The end is in this block only if it closes as many as are open before it.
        if u64::from(close.count_ones()) >= depth {
            let mut brackets = open | close;
            while brackets != 0 {
                let bit = brackets & brackets.wrapping_neg();
                if open & bit != 0 {
                    depth += 1;
                } else {
                    depth -= 1;
                    if depth == 0 {
                        return Some(from + bit.trailing_zeros() as usize + 1);
                    }
                }
                brackets ^= bit;
            }
        } else {
            depth = depth + u64::from(open.count_ones()) - u64::from(close.count_ones());
        }
        if last {
            return None;
        }
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

/// What one block has to know of those before it.
#[derive(Default)]
struct Strings {
    /// All ones inside a string, else zero.
    inside: u64,
    /// 1 when the first byte of the next block is escaped.
    escaped: u64,
}

impl Strings {
    /// Which bytes of the block are inside strings, opening quotes included.
    fn advance(&mut self, masks: &Masks) -> u64 {
        let mut escaped = self.escaped;
        if masks.backslash == 0 {
            self.escaped = 0;
        } else {
            // Each backslash that is not escaped itself escapes the next byte.
            let mut slashes = masks.backslash & !escaped;
            self.escaped = 0;
            while slashes != 0 {
                let bit = slashes & slashes.wrapping_neg();
                match bit.checked_shl(1).filter(|&next| next != 0) {
                    Some(next) => escaped |= next,
                    None => self.escaped = 1,
                }
                slashes &= !(bit | bit << 1);
            }
        }
        let inside = prefix_xor(masks.quote & !escaped) ^ self.inside;
        // The sign of the last bit, in all bits.
        self.inside = ((inside as i64) >> 63) as u64;
        inside
    }
}

/// Each bit is the parity of the bits up to it: from quotes, what is between them.
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Bytes compared by one instruction.
const LANES: usize = 16;
const TWICE: usize = 2 * LANES;

/// One bit for each lane that holds the byte.
#[inline]
fn equal(lanes: i8x16, byte: u8) -> u64 {
    let wanted = i8x16::splat(byte.cast_signed());
    u64::from(lanes.simd_eq(wanted).to_bitmask())
}

#[inline]
fn load(bytes: &[u8; LANES]) -> i8x16 {
    i8x16::new(bytes.map(u8::cast_signed))
}

impl Masks {
    fn of(block: &[u8; BLOCK]) -> Masks {
        let mut masks = Masks {
            quote: 0,
            backslash: 0,
            open: 0,
            close: 0,
        };
        let (parts, _) = block.as_chunks::<LANES>();
        for (part, shift) in parts.iter().zip([0, 16, 32, 48]) {
            let lanes = load(part);
            // Brackets and braces differ in this bit alone.
            let folded = lanes | i8x16::splat(0x20);
            masks.quote |= equal(lanes, b'"') << shift;
            masks.backslash |= equal(lanes, b'\\') << shift;
            masks.open |= equal(folded, b'{') << shift;
            masks.close |= equal(folded, b'}') << shift;
        }
        masks
    }
}

/// One bit for each lane that holds a quote or a backslash.
#[inline]
fn quotes_and_backslashes(bytes: &[u8; LANES]) -> u32 {
    let lanes = load(bytes);
    let wanted = |byte: u8| lanes.simd_eq(i8x16::splat(byte.cast_signed()));
    (wanted(b'"') | wanted(b'\\')).to_bitmask()
}

#[inline]
fn quotes_and_backslashes_of_two(bytes: &[u8; TWICE]) -> u32 {
    let (parts, _) = bytes.as_chunks();
    let parts = parts.iter().zip([0, LANES]);
    parts.fold(0, |found, (part, shift)| {
        found | quotes_and_backslashes(part) << shift
    })
}

/// How far it is to the first quote or backslash.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<TWICE>();
    for (number, block) in blocks.iter().enumerate() {
        let found = quotes_and_backslashes_of_two(block);
        if found != 0 {
            return Some(number * TWICE + found.trailing_zeros() as usize);
        }
    }
    let found = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\'))?;
    Some(blocks.len() * TWICE + found)
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
            assert_eq!(container_end(&text, 0), obvious_end(&text, 0), "{shown}");
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
            assert_eq!(
                string_end(&text, 1).map(|(end, _)| end),
                string.err(),
                "{shown}"
            );
        }
    }

    #[test]
    fn strings_end_anywhere() {
        for length in 0..200 {
            let text = "x".repeat(length) + "\" and more";
            assert_eq!(string_end(text.as_bytes(), 0), Some((length + 1, false)));
            let text = "x".repeat(length) + "\\\"\" and more";
            assert_eq!(string_end(text.as_bytes(), 0), Some((length + 3, true)));
            assert_eq!(string_end("x".repeat(length).as_bytes(), 0), None);
            assert_eq!(string_end(("x".repeat(length) + "\\").as_bytes(), 0), None);
        }
    }
}
