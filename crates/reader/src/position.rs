//! A place in the log that survives renames, compression and restarts.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::disk::FileId;
use crate::names::Age;

/// What a file begins with: a digest of its first line, or of that line's beginning. It is
/// the same for a copy and for what gzip made of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Bytes that the digest covers.
    pub(crate) length: u16,
    pub(crate) digest: [u8; 16],
}

impl Fingerprint {
    /// The most bytes that are looked at: every audit event has its id within them.
    pub(crate) const MOST: usize = 1024;

    /// The fingerprint of a file with these first bytes, of which there are
    /// [`MOST`](Self::MOST) if the file has them. `None` if the first line is not complete.
    pub(crate) fn of(first: &[u8]) -> Option<Fingerprint> {
        let length = match memchr::memchr(b'\n', first) {
            Some(end) => end.checked_add(1)?,
            None if first.len() >= Self::MOST => Self::MOST,
            None => return None,
        };
        Self::of_length(first, u16::try_from(length.min(Self::MOST)).ok()?)
    }

    /// The fingerprint of a file that ends within its first line.
    pub(crate) fn of_all(file: &[u8]) -> Option<Fingerprint> {
        Self::of_length(file, u16::try_from(file.len().min(Self::MOST)).ok()?)
    }

    /// The digest of that many first bytes.
    fn of_length(first: &[u8], length: u16) -> Option<Fingerprint> {
        let bytes = first.get(..usize::from(length))?;
        let mut digest = [0; 16];
        let whole = Sha256::digest(bytes);
        digest.copy_from_slice(whole.get(..16)?);
        Some(Fingerprint { length, digest })
    }

    /// True if a file with these first bytes is the same.
    pub(crate) fn fits(self, first: &[u8]) -> bool {
        Self::of_length(first, self.length) == Some(self)
    }
}

/// A place between two lines of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file, as long as it has that identity.
    pub(crate) id: FileId,
    /// The file by its content.
    pub(crate) fingerprint: Fingerprint,
    /// Bytes of the file, uncompressed, that come before.
    pub(crate) offset: u64,
    /// The age of the file, or of the newest that was rotated when this one was live.
    pub(crate) after: Option<Age>,
    /// The time of the file's last change, as far as it is known.
    pub(crate) modified: i128,
}

impl Position {
    /// Bytes of the file before the position.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// A position that is kept, and the log that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The path of the log.
    pub log: String,
    /// The position up to which all is done.
    pub position: Position,
    /// The time of the last event before it, as it wrote it; empty if there was none.
    pub event_time: String,
}

/// A text that is no checkpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is not complete, or something else.
    #[error("it is not a complete checkpoint")]
    Broken,
    /// Written by another version.
    #[error("its version is {0}, and this plugin knows version 1")]
    Version(u64),
}

impl Checkpoint {
    /// The checkpoint as text.
    pub fn to_text(&self) -> String {
        let Position {
            id,
            fingerprint,
            offset,
            after,
            modified,
        } = self.position;
        let after = match after {
            None => Value::Null,
            Some(Age::Time(time, more)) => json!({"time": time, "more": more}),
            Some(Age::Number(number)) => json!({"number": number}),
        };
        let mut text = json!({
            "kube_audit_checkpoint": 1,
            "log": self.log,
            "device": id.device,
            "inode": id.inode,
            "first_bytes": fingerprint.length,
            "first_digest": hex(&fingerprint.digest),
            "offset": offset,
            "rotated": after,
            "modified": modified.to_string(),
            "event_time": self.event_time,
        })
        .to_string();
        text.push('\n');
        text
    }

    /// Reads a checkpoint from its text.
    pub fn parse(text: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let value: Value = serde_json::from_slice(text).map_err(|_| CheckpointError::Broken)?;
        match value.get("kube_audit_checkpoint").and_then(Value::as_u64) {
            Some(1) => Self::read(&value).ok_or(CheckpointError::Broken),
            Some(other) => Err(CheckpointError::Version(other)),
            None => Err(CheckpointError::Broken),
        }
    }

    fn read(value: &Value) -> Option<Checkpoint> {
        let number = |key: &str| value.get(key)?.as_u64();
        let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
        let after = match value.get("rotated")? {
            Value::Null => None,
            age => match age.get("number") {
                Some(number) => Some(Age::Number(number.as_u64()?)),
                None => Some(Age::Time(
                    age.get("time")?.as_u64()?,
                    age.get("more")?.as_u64()?,
                )),
            },
        };
        Some(Checkpoint {
            log: text("log")?,
            position: Position {
                id: FileId {
                    device: number("device")?,
                    inode: number("inode")?,
                },
                fingerprint: Fingerprint {
                    length: u16::try_from(number("first_bytes")?).ok()?,
                    digest: unhex(&text("first_digest")?)?,
                },
                offset: number("offset")?,
                after,
                modified: text("modified")?.parse().ok()?,
            },
            event_time: text("event_time")?,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    match text.len() {
        32 => u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            log: "/var/log/audit.log".to_owned(),
            position: Position {
                id: FileId {
                    device: 1,
                    inode: 2,
                },
                fingerprint: Fingerprint::of(b"{\"auditID\":\"1\"}\nx").unwrap(),
                offset: 16,
                after: Some(Age::Time(20_261_120_080_000_001, 0)),
                modified: 1_700_000_000_123_456_789,
            },
            event_time: "2026-11-20T08:00:00.123456Z".to_owned(),
        }
    }

    #[test]
    fn a_checkpoint_comes_back() {
        let mut checkpoint = checkpoint();
        for after in [checkpoint.position.after, None, Some(Age::Number(3))] {
            checkpoint.position.after = after;
            let text = checkpoint.to_text();
            assert_eq!(Checkpoint::parse(text.as_bytes()), Ok(checkpoint.clone()));
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let text = checkpoint().to_text();
        for end in 0..text.len() - 1 {
            let part = &text.as_bytes()[..end];
            assert_eq!(Checkpoint::parse(part), Err(CheckpointError::Broken));
        }
        for (from, to) in [("\"offset\":16", "\"offset\":-1"), ("\"log\"", "\"dog\"")] {
            let text = text.replace(from, to);
            assert_eq!(
                Checkpoint::parse(text.as_bytes()),
                Err(CheckpointError::Broken)
            );
        }
        let text = text.replace("checkpoint\":1", "checkpoint\":2");
        assert_eq!(
            Checkpoint::parse(text.as_bytes()),
            Err(CheckpointError::Version(2))
        );
    }

    #[test]
    fn fingerprints_are_of_the_first_line() {
        assert_eq!(Fingerprint::of(b"no end"), None);
        assert_eq!(Fingerprint::of(b"a\nb"), Fingerprint::of(b"a\nc\n"));
        assert_ne!(Fingerprint::of(b"a\nb"), Fingerprint::of(b"b\nb"));
        let long = vec![b'x'; 5000];
        let fingerprint = Fingerprint::of(&long).unwrap();
        assert!(fingerprint.fits(&long[..2000]) && !fingerprint.fits(&long[..100]));
    }
}
