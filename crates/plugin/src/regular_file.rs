//! Reading a configuration file without waiting or running out of memory.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A file's content with the state it was read in.
#[derive(PartialEq, Eq)]
pub(crate) struct RegularFile {
    pub(crate) state: FileState,
    pub(crate) bytes: Vec<u8>,
}

/// Metadata that differ when a file is replaced or written.
///
/// A Kubernetes mount swaps a symbolic link, so that the inode changes. A tool that
/// copies size and modification time still changes `changed`, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds, like `changed`.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The reason why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("the file cannot be read ({0})")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotRegular,
    #[error("the file has more than {0} bytes, which is the most that is read")]
    TooLarge(u64),
}

impl FileState {
    /// The state of the file at a path.
    pub(crate) fn of(path: &Path) -> Result<FileState, FileError> {
        FileState::from_metadata(&fs::metadata(path)?)
    }

    fn from_metadata(metadata: &Metadata) -> Result<FileState, FileError> {
        if !metadata.is_file() {
            return Err(FileError::NotRegular);
        }
        Ok(FileState {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl RegularFile {
    /// Reads a file of at most `limit` bytes. A FIFO, device or directory is an error at
    /// once: opening one could wait forever, and reading one need not end.
    pub(crate) fn read(path: &Path, limit: u64) -> Result<RegularFile, FileError> {
        FileState::of(path)?;
        let file = OpenOptions::new()
            .read(true)
            // Another kind of file may have taken its place meanwhile.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)?;
        let state = FileState::from_metadata(&file.metadata()?)?;
        let mut bytes = Vec::new();
        // One byte more tells a file that is too large.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(FileError::TooLarge(limit));
        }
        Ok(RegularFile { state, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn error(path: &Path) -> String {
        let read = RegularFile::read(path, 4);
        read.err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        fs::write(place("right"), "1234").unwrap();
        fs::write(place("large"), "12345").unwrap();
        std::os::unix::fs::symlink("right", place("link")).unwrap();
        let made = Command::new("mkfifo").arg(place("fifo")).status();
        assert!(made.unwrap().success());

        for name in ["right", "link"] {
            let read = RegularFile::read(&place(name), 4);
            assert_eq!(read.unwrap().bytes, b"1234", "{name}");
        }
        for path in [&place("fifo"), Path::new("/dev/zero"), directory.path()] {
            assert_eq!(error(path), "it is not a regular file", "{path:?}");
        }
        assert!(error(&place("large")).starts_with("the file has more than 4 bytes"));
        assert!(error(&place("none")).starts_with("the file cannot be read (No such file"));
    }
}
