//! Bytes of records as JSON: strings, numbers, hex digits.

/// Appends bytes as a JSON string. Bytes that are no UTF-8 become `\xNN`.
pub(crate) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    part(bytes, out);
    out.push(b'"');
}

/// Appends what stands between the quotes of a JSON string.
fn part(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_ascii() {
        return escape(bytes, out);
    }
    for chunk in bytes.utf8_chunks() {
        escape(chunk.valid().as_bytes(), out);
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            out.extend_from_slice(&digits(*byte));
        }
    }
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, ..0x20 | b'"' | b'\\');
    let mut rest = text;
    while let Some(at) = rest.iter().position(special) {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = from.split_first() else {
            return;
        };
        let short = match byte {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            ..0x20 => b'u',
            _ => byte,
        };
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(b"00");
            out.extend_from_slice(&digits(byte));
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// The two hexadecimal digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0x0f].map(|half| match half {
        0..=9 => b'0' | half,
        _ => b'W'.saturating_add(half),
    })
}

/// Appends a number.
pub(crate) fn number(value: u64, out: &mut Vec<u8>) {
    padded(value, 1, out);
}

/// Appends a number with zeros in front of it, to have so many digits at least.
pub(crate) fn padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 20];
    let mut rest = value;
    let mut length = 0usize;
    for digit in buffer.iter_mut().rev() {
        if rest == 0 && length >= width {
            break;
        }
        *digit |= last_digit(rest);
        rest = rest.checked_div(10).unwrap_or(0);
        length = length.saturating_add(1);
    }
    let start = buffer.len().saturating_sub(length);
    out.extend_from_slice(buffer.get(start..).unwrap_or_default());
}

fn last_digit(value: u64) -> u8 {
    u8::try_from(value.checked_rem(10).unwrap_or(0)).unwrap_or(0)
}

/// Reads a decimal number: digits, and nothing else.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Returns whether a value is an even number of capital hex digits.
pub(crate) fn is_hex(value: &[u8]) -> bool {
    !value.is_empty()
        && value.len().is_multiple_of(2)
        && value
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

/// Appends the bytes that hex digits stand for.
pub(crate) fn unhex(value: &[u8], out: &mut Vec<u8>) {
    let half = |digit: u8| match digit {
        b'0'..=b'9' => digit & 0x0f,
        _ => (digit & 0x0f).saturating_add(9),
    };
    let pairs = value.as_chunks::<2>().0.iter();
    out.extend(pairs.map(|&[high, low]| half(high) << 4 | half(low)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        string(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings() {
        let text = "a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}ż/\u{7f}";
        assert_eq!(
            serde_json::from_str::<String>(&json(text.as_bytes())).unwrap(),
            text
        );
        assert_eq!(
            json(b"a\xc5\xffb\xed\xa0\x80"),
            r#""a\\xc5\\xffb\\xed\\xa0\\x80""#
        );
        assert_eq!(json(b""), r#""""#);
    }

    #[test]
    fn numbers() {
        for (value, width, want) in [
            (0, 1, "0"),
            (7, 3, "007"),
            (u64::MAX, 1, "18446744073709551615"),
            (2023, 4, "2023"),
        ] {
            let mut out = Vec::new();
            padded(value, width, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        assert_eq!(decimal(b"0042"), Some(42));
        for no in [&b""[..], b"-1", b"1a", b"99999999999999999999"] {
            assert_eq!(decimal(no), None);
        }
    }

    #[test]
    fn hex() {
        assert!(is_hex(b"0AFF") && !is_hex(b"0aff") && !is_hex(b"ADA") && !is_hex(b""));
        let mut out = Vec::new();
        unhex(b"00A9FF7E", &mut out);
        assert_eq!(out, [0, 0xa9, 0xff, 0x7e]);
    }
}
