//! The file system with the log: all that the input reads of it goes through here.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use kube_audit_files::{FileError, NONBLOCKING, kind_of};
use kube_audit_reader::disk::{Disk, Entry, FileId, Listing, LogFile, Packing};

/// The directory of a log.
pub(super) struct LogDirectory {
    /// The log, which may be a symbolic link.
    path: PathBuf,
}

impl LogDirectory {
    /// For the log of that path.
    pub(super) fn new(path: PathBuf) -> LogDirectory {
        LogDirectory { path }
    }

    /// Directory and name of the log after symbolic links, such as those that kubelet keeps
    /// in /var/log/containers. A log that does not exist is where its path says.
    fn place(&self) -> io::Result<(PathBuf, String)> {
        let path = match fs::canonicalize(&self.path) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(explained(error, &self.path)),
        };
        let name = path.file_name().unwrap_or_default();
        let directory = path.parent().unwrap_or(Path::new("/"));
        Ok((directory.to_path_buf(), name.to_string_lossy().into_owned()))
    }
}

fn id(metadata: &Metadata) -> FileId {
    FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    }
}

fn modified(metadata: &Metadata) -> i128 {
    i128::from(metadata.mtime())
        .saturating_mul(1_000_000_000)
        .saturating_add(i128::from(metadata.mtime_nsec()))
}

/// An error with the path, and with what a lack of permission comes from.
fn explained(error: io::Error, path: &Path) -> io::Error {
    let mut text = format!("{}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied
        && let Ok(metadata) = fs::metadata(path)
    {
        let (owner, group) = (metadata.uid(), metadata.gid());
        let mode = metadata.mode() & 0o7777;
        text.push_str(&format!(
            "; it belongs to user {owner} and group {group} with mode {mode:04o}: let this process \
             run as one of them, or make the writer create the log readable"
        ));
    }
    io::Error::new(error.kind(), text)
}

impl Disk for LogDirectory {
    type File = OpenLog;

    fn list(&mut self) -> io::Result<Listing> {
        let (directory, live) = self.place()?;
        let read = fs::read_dir(&directory).map_err(|error| explained(error, &directory))?;
        // Names of rotated files begin like the log's, up to its extension.
        let stem = live
            .rsplit_once('.')
            .map_or(&*live, |(stem, _)| stem)
            .to_owned();
        let mut files = Vec::new();
        for entry in read {
            let entry = entry.map_err(|error| explained(error, &directory))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !name.starts_with(&stem) {
                continue;
            }
            // A file that is removed at this moment is not there.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else {
                continue;
            };
            if name == live && !metadata.is_file() {
                let refused = FileError::NotRegular(kind_of(metadata.file_type()));
                let error = io::Error::new(io::ErrorKind::InvalidInput, refused);
                return Err(explained(error, &entry.path()));
            }
            if metadata.is_file() {
                files.push(Entry {
                    name,
                    id: id(&metadata),
                    size: metadata.len(),
                    modified: modified(&metadata),
                });
            }
        }
        Ok(Listing { live, files })
    }

    fn live(&mut self) -> io::Result<Option<FileId>> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(Some(id(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(explained(error, &self.path)),
        }
    }

    fn open(&mut self, name: &str, packing: Packing) -> io::Result<OpenLog> {
        let path = self.place()?.0.join(name);
        let file = OpenOptions::new()
            .read(true)
            // A FIFO in the place of the file would wait for a writer.
            .custom_flags(NONBLOCKING)
            .open(&path)
            .map_err(|error| explained(error, &path))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let refused = FileError::NotRegular(kind_of(metadata.file_type()));
            let error = io::Error::new(io::ErrorKind::InvalidInput, refused);
            return Err(explained(error, &path));
        }
        let content = match packing {
            Packing::Plain => Content::Plain,
            Packing::Gzip => Content::Gzip(unpack(&file)?),
        };
        Ok(OpenLog {
            id: id(&metadata),
            file,
            content,
        })
    }
}

/// An open file of the log.
pub(super) struct OpenLog {
    id: FileId,
    file: File,
    content: Content,
}

enum Content {
    Plain,
    Gzip(Unpacked),
}

/// Compressed content, which can be read forward only.
struct Unpacked {
    decoder: Box<MultiGzDecoder<At>>,
    /// Bytes that came out of it.
    offset: u64,
}

/// The bytes of a file from an offset on: handles of one file share no position.
struct At {
    file: File,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset = self.offset.saturating_add(u64::try_from(read).unwrap_or(0));
        Ok(read)
    }
}

fn unpack(file: &File) -> io::Result<Unpacked> {
    let at = At {
        file: file.try_clone()?,
        offset: 0,
    };
    Ok(Unpacked {
        decoder: Box::new(MultiGzDecoder::new(at)),
        offset: 0,
    })
}

impl LogFile for OpenLog {
    fn id(&self) -> FileId {
        self.id
    }

    fn state(&self) -> io::Result<(u64, i128)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), modified(&metadata)))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let unpacked = match &mut self.content {
            Content::Plain => return self.file.read_at(buffer, offset),
            Content::Gzip(unpacked) => unpacked,
        };
        if offset < unpacked.offset {
            *unpacked = unpack(&self.file)?;
        }
        let read = unpacked.read_at(offset, buffer);
        if read.is_err() {
            // After an error the decoder says that it is at its end.
            *unpacked = unpack(&self.file)?;
        }
        read
    }
}

impl Unpacked {
    /// Reads from an offset that is not behind the decoder. What lies between is unpacked
    /// too, which is no more than once the offset of a position.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        while self.offset < offset {
            let left = offset.saturating_sub(self.offset);
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let skipped = buffer.get_mut(..most).unwrap_or_default();
            match self.decoder.read(skipped)? {
                0 => return Ok(0),
                read => self.forward(read),
            }
        }
        let read = self.decoder.read(buffer)?;
        self.forward(read);
        Ok(read)
    }

    fn forward(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.offset = self.offset.saturating_add(bytes);
    }
}
