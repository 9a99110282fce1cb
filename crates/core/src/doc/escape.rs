//! Escapes of JSON strings.

/// Appends the value of a string's raw text. An invalid escape becomes U+FFFD,
/// as in Go's decoder.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    let next = |rest| memchr::memchr(b'\\', rest).and_then(|at| rest.split_at_checked(at));
    while let Some((before, escape)) = next(rest) {
        out.extend_from_slice(before);
        let (plain, length) = read_escape(escape);
        out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Reads the escape that a text begins with: its value, and how many bytes it takes.
pub(crate) fn read_escape(text: &[u8]) -> (char, usize) {
    match text.get(1) {
        Some(b'n') => ('\n', 2),
        Some(b't') => ('\t', 2),
        Some(b'r') => ('\r', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{c}', 2),
        Some(b'u') => unescape_unicode(text),
        Some(&b) if b.is_ascii() => (char::from(b), 2),
        _ => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// Reads `\uXXXX`, or a surrogate pair of two; what was read, and how many bytes it took.
fn unescape_unicode(text: &[u8]) -> (char, usize) {
    let unit = |text: &[u8]| {
        let hex = text.get(..6)?.strip_prefix(b"\\u")?;
        if !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    let Some(first) = unit(text) else {
        return (char::REPLACEMENT_CHARACTER, 2);
    };
    let units = [first].into_iter().chain(text.get(6..).and_then(unit));
    match char::decode_utf16(units).next() {
        Some(Ok(pair)) if pair.len_utf16() == 2 => (pair, 12),
        Some(Ok(single)) => (single, 6),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}

/// Appends text with the escapes that JSON requires. Invalid UTF-8 becomes U+FFFD.
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut from = 0;
        for (i, &byte) in valid.iter().enumerate() {
            let short = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0c => b'f',
                0x00..0x20 => b'u',
                _ => continue,
            };
            out.extend_from_slice(valid.get(from..i).unwrap_or_default());
            out.extend_from_slice(&[b'\\', short]);
            if short == b'u' {
                out.extend_from_slice(format!("{byte:04x}").as_bytes());
            }
            from = i.saturating_add(1);
        }
        out.extend_from_slice(valid.get(from..).unwrap_or_default());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_round_trip() {
        let text = "a\"b\\c\n\t\u{1}\u{8}\u{c}ü\u{1f600}/".as_bytes();
        let mut escaped = Vec::new();
        escape(text, &mut escaped);
        assert_eq!(
            escaped,
            "a\\\"b\\\\c\\n\\t\\u0001\\b\\fü\u{1f600}/".as_bytes()
        );
        let mut plain = Vec::new();
        unescape(&escaped, &mut plain);
        assert_eq!(plain, text);
    }

    #[test]
    fn reads_every_escape() {
        for (raw, want) in [
            (r"\u0026\u00fc", "&ü"),
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"\ud83dx", "\u{fffd}x"),
            (r"\ude00", "\u{fffd}"),
            (r"\u12", "\u{fffd}12"),
            (r"\/\b", "/\u{8}"),
        ] {
            let mut out = Vec::new();
            unescape(raw.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), want, "{raw}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let mut out = Vec::new();
        escape(b"a\xffb", &mut out);
        assert_eq!(out, "a\u{fffd}b".as_bytes());
    }
}
