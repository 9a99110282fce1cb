//! Ids of frames.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};

/// The id by which a frame is acknowledged: 16 bytes as 24 Base64 characters.
///
/// The protocol calls a frame that wants an acknowledgement a chunk; here a
/// chunk is what the host hands over, and one chunk may travel in many frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameId([u8; 24]);

impl FrameId {
    /// The id made of these bytes, which must differ from those of every other frame.
    pub fn new(bytes: [u8; 16]) -> FrameId {
        let mut text = [0; 24];
        let written = BASE64_STANDARD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written, Ok(text.len()));
        FrameId(text)
    }

    /// The id as it travels.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_base64_of_sixteen_bytes() {
        let cases: [([u8; 16], &str); 3] = [
            ([0; 16], "AAAAAAAAAAAAAAAAAAAAAA=="),
            ([0xff; 16], "/////////////////////w=="),
            (*b"0123456789abcdef", "MDEyMzQ1Njc4OWFiY2RlZg=="),
        ];
        for (bytes, text) in cases {
            assert_eq!(FrameId::new(bytes).as_bytes(), text.as_bytes());
        }
    }
}
