//! Comparison of short strings of bytes.

#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        reason = "a test that goes wrong may panic"
    )
)]

/// Compares two mostly short strings without a call of `memcmp`, which costs more than the
/// comparison where lengths vary.
#[inline]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let ((heads, _), (others, _)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    if heads.is_empty() {
        return a.iter().zip(b).all(|(a, b)| a == b);
    }
    // The last eight bytes overlap with the chunks before.
    heads.iter().zip(others).all(|(a, b)| a == b) && a.last_chunk::<8>() == b.last_chunk::<8>()
}

#[cfg(test)]
mod tests {
    use super::*;

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
