//! Escapes of JSON strings.

/// Appends the value of a string's raw text. An invalid escape becomes U+FFFD,
/// as in Go's decoder.
pub fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(slash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..slash]);
        let (plain, length) = match rest.get(slash + 1) {
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'r') => ('\r', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'u') => unescape_unicode(&rest[slash..]),
            Some(&b) if b.is_ascii() => (char::from(b), 2),
            Some(_) => (char::REPLACEMENT_CHARACTER, 1),
            None => (char::REPLACEMENT_CHARACTER, 1),
        };
        out.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[slash + length..];
    }
    out.extend_from_slice(rest);
}

/// Reads `\uXXXX`, or a surrogate pair of two; what was read, and how many bytes it took.
fn unescape_unicode(text: &[u8]) -> (char, usize) {
    let unit = |from: usize| {
        let hex = text.get(from..from + 6)?.strip_prefix(b"\\u")?;
        if !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    match unit(0) {
        Some(high @ 0xd800..=0xdbff) => match unit(6) {
            Some(low @ 0xdc00..=0xdfff) => {
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                (
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
                    12,
                )
            }
            _ => (char::REPLACEMENT_CHARACTER, 6),
        },
        Some(code) => (
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER),
            6,
        ),
        None => (char::REPLACEMENT_CHARACTER, 2),
    }
}

/// Appends text with the escapes that JSON requires. Invalid UTF-8 becomes U+FFFD.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
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
            out.extend_from_slice(&valid[from..i]);
            out.extend_from_slice(&[b'\\', short]);
            if short == b'u' {
                out.extend_from_slice(format!("{byte:04x}").as_bytes());
            }
            from = i + 1;
        }
        out.extend_from_slice(&valid[from..]);
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
