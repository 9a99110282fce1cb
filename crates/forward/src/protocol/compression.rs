//! Compression of the entries in a frame.

use std::borrow::Cow;
use std::str::FromStr;

use flate2::{Compress, Crc, FlushCompress, Status};

/// Compression of the entries in a frame. The protocol does not negotiate it: a
/// receiver that lacks the algorithm may acknowledge entries that it cannot read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// One gzip member per frame. Fluent Bit 1.5 and Fluentd 0.14.7 or later.
    Gzip,
    /// One zstd frame per frame. Fluent Bit 4.1 and Fluentd 1.19 or later; older
    /// versions of Fluentd acknowledge such frames and lose the entries.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The fastest level. It shrinks audit events to 4 to 8 % of their size, because
/// they are repetitive; the usual level 6 takes twice the time for 2 to 4 %.
const GZIP_LEVEL: u32 = 1;

/// Magic, deflate, no flags, no time, fastest, unknown system (RFC 1952).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Largest input of a zstd frame, in bytes. Fluent Bit 5.1.1 acknowledges and
/// drops a zstd frame that inflates to more than 1,024,000.
#[cfg(feature = "zstd")]
const MAX_ZSTD: usize = 1_000_000;

/// zstd's own default level.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 3;

/// A compression that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// Unknown name.
    #[error("use one of gzip, zstd, off")]
    Unknown,
    /// The library was built without this algorithm.
    #[error("this library is built without zstd: use gzip")]
    NotBuilt,
}

impl FromStr for Compression {
    type Err = CompressionError;

    /// `gzip`, `zstd`, or `off` and what out_forward calls that: `text`, `false`.
    fn from_str(name: &str) -> Result<Compression, CompressionError> {
        match name.to_ascii_lowercase().as_str() {
            "off" | "false" | "text" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            #[cfg(feature = "zstd")]
            "zstd" => Ok(Compression::Zstd),
            #[cfg(not(feature = "zstd"))]
            "zstd" => Err(CompressionError::NotBuilt),
            _ => Err(CompressionError::Unknown),
        }
    }
}

impl Compression {
    /// Compresses entries; returns them with the protocol's name of the algorithm.
    /// Entries that would not shrink are returned unchanged and without a name,
    /// so that a frame never grows beyond its cap.
    pub fn apply(self, entries: &[u8]) -> (Cow<'_, [u8]>, Option<&'static str>) {
        let (compressed, name) = match self {
            Compression::None => (None, ""),
            Compression::Gzip => (gzip(entries), "gzip"),
            #[cfg(feature = "zstd")]
            Compression::Zstd => (zstd(entries), "zstd"),
        };
        match compressed {
            Some(compressed) if compressed.len() < entries.len() => {
                (Cow::Owned(compressed), Some(name))
            }
            _ => (Cow::Borrowed(entries), None),
        }
    }
}

/// Compresses into one gzip member; returns `None` if that would not be smaller.
fn gzip(entries: &[u8]) -> Option<Vec<u8>> {
    let mut crc = Crc::new();
    crc.update(entries);
    let mut out = Vec::with_capacity(entries.len());
    out.extend(GZIP_HEADER);
    let level = flate2::Compression::new(GZIP_LEVEL);
    let status = Compress::new(level, false).compress_vec(entries, &mut out, FlushCompress::Finish);
    // Any other status means that the output did not fit into the capacity.
    if !matches!(status, Ok(Status::StreamEnd)) {
        return None;
    }
    out.extend(crc.sum().to_le_bytes());
    // RFC 1952: the length modulo 2^32.
    let [a, b, c, d, ..] = entries.len().to_le_bytes();
    out.extend([a, b, c, d]);
    Some(out)
}

#[cfg(feature = "zstd")]
fn zstd(entries: &[u8]) -> Option<Vec<u8>> {
    if entries.len() > MAX_ZSTD {
        return None;
    }
    zstd::bulk::compress(entries, ZSTD_LEVEL).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let step = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        std::iter::repeat_with(step).take(length).collect()
    }

    #[test]
    fn case_08_gzip_is_one_sound_member() {
        for length in [100, 5000, 900_000] {
            let entries: Vec<u8> = b"auditID stage level "
                .iter()
                .copied()
                .cycle()
                .take(length)
                .collect();
            let (compressed, name) = Compression::Gzip.apply(&entries);
            assert_eq!(name, Some("gzip"));
            assert!(compressed.len() < length);
            let mut back = Vec::new();
            let mut decoder = flate2::bufread::GzDecoder::new(&*compressed);
            decoder.read_to_end(&mut back).unwrap();
            assert!(back == entries, "{length}");
            assert!(decoder.into_inner().is_empty(), "nothing behind it");
        }
    }

    #[test]
    fn case_10_what_does_not_become_smaller_stays() {
        let all = [
            Compression::None,
            Compression::Gzip,
            #[cfg(feature = "zstd")]
            Compression::Zstd,
        ];
        for compression in all {
            for entries in [noise(0), noise(1), noise(30), noise(900_000)] {
                let (bytes, name) = compression.apply(&entries);
                assert!(bytes == entries && name.is_none(), "{compression:?}");
            }
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn case_09_zstd_frames_stay_small() {
        let entries = vec![b'x'; MAX_ZSTD];
        let (compressed, name) = Compression::Zstd.apply(&entries);
        assert_eq!(name, Some("zstd"));
        assert_eq!(
            zstd::bulk::decompress(&compressed, MAX_ZSTD).unwrap(),
            entries
        );
        assert_eq!(Compression::Zstd.apply(&vec![b'x'; MAX_ZSTD + 1]).1, None);
    }
}
