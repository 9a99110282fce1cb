//! Files that users name in a configuration: policies, `Upstream` files, certificates.
//!
//! A name may lead to anything: a FIFO that nobody writes to, `/dev/zero`, a directory, a file
//! of gigabytes. Reading these with `std::fs` would hang the host or use up its memory.
#![forbid(unsafe_code)]
// Nothing here may end the host with a panic, or go on with a number that wrapped.
#![cfg_attr(
    not(test),
    deny(
        unreachable_pub,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::fs::{self, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Flags to open a file with whose kind is not known yet: neither a FIFO nor a terminal may
/// hold up the caller.
#[expect(clippy::as_conversions, reason = "a few bits, in a constant")]
pub const NONBLOCKING: i32 = OFlags::NONBLOCK.union(OFlags::NOCTTY).bits() as i32;

/// A file that is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Something other than a file with content.
    #[error("it is {0}, not a regular file")]
    NotRegular(&'static str),
    /// A file that is larger than what is read of such a file.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
}

/// A file's content with the state that it was read in.
#[derive(Clone, PartialEq, Eq)]
pub struct RegularFile {
    /// The state at the time of reading.
    pub state: FileState,
    /// The content.
    pub bytes: Vec<u8>,
}

/// Metadata that differ when a file is replaced or written.
///
/// A Kubernetes mount swaps a symbolic link, so that the inode changes. A tool that
/// copies size and modification time still changes `changed`, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds, like `changed`.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    /// Returns the state of the regular file at a path.
    pub fn of(path: impl AsRef<Path>) -> io::Result<FileState> {
        FileState::from_metadata(&fs::metadata(path)?)
    }

    fn from_metadata(metadata: &Metadata) -> io::Result<FileState> {
        if !metadata.is_file() {
            return Err(refused(FileError::NotRegular(kind_of(
                metadata.file_type(),
            ))));
        }
        Ok(FileState {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn fits(self, limit: u64) -> io::Result<FileState> {
        match self.size <= limit {
            true => Ok(self),
            false => Err(refused(FileError::TooLarge { limit })),
        }
    }
}

impl RegularFile {
    /// Reads a regular file of at most `limit` bytes, without waiting for anything but the
    /// disk. Any other file is an error with a [`FileError`] inside.
    pub fn read(path: impl AsRef<Path>, limit: u64) -> io::Result<RegularFile> {
        let path = path.as_ref();
        // Before it is opened: that alone can have an effect on a device.
        FileState::of(path)?.fits(limit)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(NONBLOCKING)
            .open(path)?;
        // Something else may have taken its place meanwhile.
        let state = FileState::from_metadata(&file.metadata()?)?.fits(limit)?;
        let mut bytes = Vec::new();
        // One byte more tells a file that has grown.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        match u64::try_from(bytes.len()) {
            Ok(length) if length <= limit => Ok(RegularFile { state, bytes }),
            _ => Err(refused(FileError::TooLarge { limit })),
        }
    }
}

/// Reads the content of a regular file, as [`RegularFile::read`] does.
pub fn read_regular_file(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    RegularFile::read(path, limit).map(|file| file.bytes)
}

fn refused(error: FileError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// A file's kind in words, with its article.
pub fn kind_of(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn regular_files_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "12345").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert_eq!(read_regular_file(&link, 5).unwrap(), b"12345");
        let error = read_regular_file(&file, 4).unwrap_err().to_string();
        assert_eq!(error, "it has more than 4 bytes");
        // Its size is only known when it is read.
        assert!(
            !read_regular_file("/proc/self/stat", 4096)
                .unwrap()
                .is_empty()
        );
        assert!(read_regular_file("/proc/self/stat", 1).is_err());
    }

    #[test]
    fn a_file_of_terabytes_takes_no_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        File::create(file.path()).unwrap().set_len(1 << 42).unwrap();
        assert!(read_regular_file(file.path(), 1 << 20).is_err());
    }

    #[test]
    fn nothing_else_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        mknodat(
            CWD,
            path("fifo"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        for (path, kind) in [
            (path("."), "a directory"),
            (path("fifo"), "a FIFO"),
            (path("socket"), "a socket"),
            ("/dev/zero".into(), "a device"),
        ] {
            let error = read_regular_file(path, 1 << 20).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("it is {kind}, not a regular file")
            );
        }
        assert!(read_regular_file(path("none"), 1).is_err());
    }
}
