//! Frame ids.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};

/// Id that a receiver acknowledges a frame by: 16 bytes as 24 Base64 characters.
///
/// On the wire it is the option `chunk`: the protocol calls a frame that asks for
/// an acknowledgement a chunk. In this crate a chunk is what the host hands over,
/// which may travel in several frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameId([u8; 24]);

impl FrameId {
    /// Encodes 16 bytes, which must be unique among all frames.
    pub fn new(bytes: [u8; 16]) -> FrameId {
        let mut text = [0; 24];
        let written = BASE64_STANDARD.encode_slice(bytes, &mut text);
        debug_assert_eq!(written, Ok(text.len()));
        FrameId(text)
    }

    /// Returns the id as it is sent.
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
