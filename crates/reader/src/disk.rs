//! What the reader asks of a file system.

use std::io;

/// The identity of a file while it exists. Inode numbers are used again at once after a
/// file was removed, so that a [`Fingerprint`](crate::Fingerprint) belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

/// The way in which a file holds the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// As it was written.
    Plain,
    /// Compressed by gzip.
    Gzip,
}

/// A regular file of the log's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub name: String,
    /// Its identity.
    pub id: FileId,
    /// Its size in bytes, compressed if it is.
    pub size: u64,
    /// The time of its last change in nanoseconds since 1970.
    pub modified: i128,
}

/// The log's directory at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The name of the log in its directory, after symbolic links.
    pub live: String,
    /// Files whose names begin like the log's, in any order.
    pub files: Vec<Entry>,
}

/// A file system with the log.
pub trait Disk {
    /// An open file.
    type File: LogFile;

    /// Lists the directory of the log. A log that does not exist is not in the list; a
    /// directory that does not exist is an error.
    fn list(&mut self) -> io::Result<Listing>;

    /// The identity of the log's live file; `None` if it does not exist.
    fn live(&mut self) -> io::Result<Option<FileId>>;

    /// Opens a file of the directory.
    fn open(&mut self, name: &str, packing: Packing) -> io::Result<Self::File>;
}

/// An open file of the log. It can be read to its end although it is renamed or removed.
pub trait LogFile {
    /// Its identity.
    fn id(&self) -> FileId;

    /// Its size and the time of its last change, as [`Entry`] has them.
    fn state(&self) -> io::Result<(u64, i128)>;

    /// Reads content, uncompressed, from an offset on; 0 at the end.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}
