//! The mark that is put in the place of a secret.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::bytes::hex_digits;

/// The mark without a key. It needs no escape in JSON, URLs, YAML or HTML and is valid
/// base64, so that readers of typed objects go on working.
pub const MARK: &[u8] = b"REDACTED";

/// Digits of the digest in a mark with a key.
const DIGITS: usize = 16;

/// The shortest key, in bytes.
pub(super) const SHORTEST_KEY: usize = 16;

/// Bytes that SHA-256 takes in one step.
const BLOCK: usize = 64;

/// A key that makes the marks of equal values equal, and of others different.
#[derive(Clone)]
pub struct Key {
    /// SHA-256 after the padded key, as HMAC (RFC 2104) begins its two passes.
    inner: Sha256,
    outer: Sha256,
}

impl Key {
    /// Prepares a key; `None` if it is shorter than [`SHORTEST_KEY`].
    pub fn new(key: &[u8]) -> Option<Key> {
        if key.len() < SHORTEST_KEY {
            return None;
        }
        let mut block = [0; BLOCK];
        let digest = Sha256::digest(key);
        let short = if key.len() > BLOCK { &digest[..] } else { key };
        for (place, byte) in block.iter_mut().zip(short) {
            *place = *byte;
        }
        let padded = |pad: u8| Sha256::new().chain_update(block.map(|byte| byte ^ pad));
        Some(Key {
            inner: padded(0x36),
            outer: padded(0x5c),
        })
    }

    fn digest(&self, value: &[u8]) -> [u8; 32] {
        let inner = self.inner.clone().chain_update(value).finalize();
        self.outer.clone().chain_update(inner).finalize().into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// True if a text is a mark already: it stays and is not counted.
pub(super) fn is_mark(text: &[u8]) -> bool {
    match text.strip_prefix(MARK) {
        Some([]) => true,
        Some(digits) if digits.len() == DIGITS => digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')),
        _ => false,
    }
}

/// Appends the mark of a value, which is only asked for with a key.
pub(super) fn write_mark<'v>(
    key: Option<&Key>,
    value: impl FnOnce() -> Cow<'v, [u8]>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(MARK);
    if let Some(key) = key {
        write_digest(key, &value(), out);
    }
}

/// Appends the mark of a value that is written in base64; where it cannot be decoded, of
/// the text.
pub(super) fn write_mark_of_base64<'v>(
    key: Option<&Key>,
    value: impl FnOnce() -> Cow<'v, [u8]>,
    out: &mut Vec<u8>,
) {
    write_mark(
        key,
        || {
            let text = value();
            STANDARD.decode(&text).map_or(text, Cow::Owned)
        },
        out,
    );
}

fn write_digest(key: &Key, value: &[u8], out: &mut Vec<u8>) {
    for byte in key.digest(value).iter().take(DIGITS / 2) {
        out.extend_from_slice(&hex_digits(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(key: Option<&str>, value: &str) -> String {
        let key = key.map(|key| Key::new(key.as_bytes()).unwrap());
        let mut out = Vec::new();
        write_mark(key.as_ref(), || value.as_bytes().into(), &mut out);
        assert!(is_mark(&out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn marks_with_a_key_are_hmac_sha256() {
        assert_eq!(mark(None, "x"), "REDACTED");
        // RFC 4231, cases 6 and 7: a key of 131 bytes 0xaa; and a key that fits a block.
        let long = [0xaa; 131];
        let value = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let digest = Key::new(&long).unwrap().digest(value);
        assert_eq!(digest[..4], [0x60, 0xe4, 0x31, 0x59]);
        let digest = Key::new(&[0x0b; 20]).unwrap().digest(b"Hi There");
        assert_eq!(digest[..4], [0xb0, 0x34, 0x4c, 0x61]);
    }

    #[test]
    fn equal_values_have_equal_marks() {
        let key = "0123456789abcdef";
        assert_eq!(mark(Some(key), "a"), mark(Some(key), "a"));
        assert_ne!(mark(Some(key), "a"), mark(Some(key), "b"));
        let mut out = Vec::new();
        let key_of_text = Key::new(key.as_bytes());
        write_mark_of_base64(key_of_text.as_ref(), || b"YQ=="[..].into(), &mut out);
        assert_eq!(out, mark(Some(key), "a").as_bytes());
        assert!(Key::new(b"short").is_none());
    }

    #[test]
    fn marks_are_known() {
        for (text, known) in [
            ("REDACTED", true),
            ("REDACTED0123456789abcdef", true),
            ("REDACTED0123456789ABCDEF", false),
            ("REDACTED0123", false),
            ("redacted", false),
            ("", false),
        ] {
            assert_eq!(is_mark(text.as_bytes()), known, "{text}");
        }
    }
}
