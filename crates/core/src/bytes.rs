//! Short strings of bytes: comparison, hexadecimal digits.

/// Compares two mostly short strings without a call of `memcmp`, which costs more than the
/// comparison where lengths vary.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ((heads, _), (others, _)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    if heads.is_empty() {
        return match (a.first_chunk::<4>(), b.first_chunk::<4>()) {
            (Some(head), Some(other)) => {
                head == other && a.last_chunk::<4>() == b.last_chunk::<4>()
            }
            _ => a.iter().zip(b).all(|(a, b)| a == b),
        };
    }
    // The last bytes overlap with the chunks before.
    heads.iter().zip(others).all(|(a, b)| a == b) && a.last_chunk::<8>() == b.last_chunk::<8>()
}

/// The two hexadecimal digits of a byte.
#[inline]
pub(crate) fn hex_digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0x0f].map(|half| match half {
        0..=9 => b'0' | half,
        _ => b'a'.saturating_add(half.saturating_sub(10)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_formatter() {
        for byte in 0..=u8::MAX {
            let digits = hex_digits(byte);
            assert_eq!(digits, format!("{byte:02x}").as_bytes());
        }
    }

    #[test]
    fn equality() {
        let text = b"system:serviceaccount:kube-system:default";
        for length in 0..text.len() {
            assert!(equal(&text[..length], &text.to_vec()[..length]));
            assert!(!equal(&text[..length], &text[..=length]));
            for at in 0..length {
                let mut other = text[..length].to_vec();
                other[at] ^= 1;
                assert!(!equal(&text[..length], &other), "{length} {at}");
            }
        }
    }
}
