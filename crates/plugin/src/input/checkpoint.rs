//! The file that keeps an input's position.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use kube_audit_core::options::{OptionError, table};
use kube_audit_files::RegularFile;
use kube_audit_reader::{Checkpoint, CheckpointError, Position};

/// More than any checkpoint has.
const MOST_BYTES: u64 = 64 << 10;

/// What was found at the place of the checkpoint.
pub(super) enum Found {
    /// Nothing: the first start.
    None,
    /// A position in this log.
    Position(Box<Checkpoint>),
    /// Something that is not used, and was put aside under this name.
    PutAside {
        /// The new name.
        to: PathBuf,
        /// What is wrong with it.
        error: CheckpointError,
    },
}

/// Reads the checkpoint of a log. One of another log stops the start: two inputs would
/// overwrite each other's position.
pub(super) fn find(path: &Path, log: &str) -> Result<Found, OptionError> {
    let refuse = |expected: String| {
        let path = path.display().to_string();
        Err(OptionError::invalid(table::DB, &path, expected))
    };
    let text = match RegularFile::read(path, MOST_BYTES) {
        Ok(file) => file.bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        Err(error) => return refuse(format!("the file cannot be read ({error})")),
    };
    match Checkpoint::parse(&text) {
        Ok(found) if found.log == log => Ok(Found::Position(Box::new(found))),
        Ok(found) => refuse(format!(
            "it keeps the position in {}, not in {log}: give each input a file of its own, or \
             remove this one",
            found.log
        )),
        Err(error) => {
            let mut to = path.as_os_str().to_owned();
            to.push(".broken");
            let to = PathBuf::from(to);
            match fs::rename(path, &to) {
                Ok(()) => Ok(Found::PutAside { to, error }),
                Err(rename) => refuse(format!(
                    "{error}, and the file cannot be put aside ({rename}): remove it"
                )),
            }
        }
    }
}

/// Writes checkpoints on a thread of its own: a disk that is slow to confirm does not hold
/// up the host.
pub(super) struct Saver {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The text to be written.
    text: Option<String>,
    /// The error of the last write, until it is asked for.
    error: Option<String>,
    ends: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut state = self.lock();
            while state.text.is_none() && !state.ends {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            let Some(text) = state.text.take() else {
                return;
            };
            drop(state);
            let error = write(&self.path, &text).err();
            self.lock().error = error.map(|error| error.to_string());
        }
    }
}

impl Saver {
    /// Starts the thread that writes to a path.
    pub(super) fn start(path: PathBuf) -> io::Result<Saver> {
        let shared = Arc::new(Shared {
            path,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("kube-audit-db".to_owned())
            .spawn(move || own.run())?;
        Ok(Saver {
            shared,
            thread: Some(thread),
        })
    }

    /// Writes the position soon.
    pub(super) fn save(&self, log: &str, position: Position, event_time: &str) {
        let checkpoint = Checkpoint {
            log: log.to_owned(),
            position,
            event_time: event_time.to_owned(),
        };
        self.shared.lock().text = Some(checkpoint.to_text());
        self.shared.changed.notify_one();
    }

    /// The error of the last write, once.
    pub(super) fn error(&self) -> Option<String> {
        self.shared.lock().error.take()
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Waits until all is written. Returns the error of the last write.
    pub(super) fn end(mut self) -> Option<String> {
        self.stop();
        self.error()
    }

    fn stop(&mut self) {
        self.shared.lock().ends = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Replaces a file so that at any moment either the old or the new content is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "/a/audit.log";

    fn checkpoint(log: &str) -> String {
        format!(
            r#"{{"device":1,"event_time":"","first_bytes":1,"first_digest":"{}","inode":2,"kube_audit_checkpoint":1,"log":"{log}","modified":"0","offset":3,"rotated":null}}"#,
            "0".repeat(32)
        )
    }

    #[test]
    fn a_position_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        assert!(matches!(find(&path, LOG), Ok(Found::None)));
        fs::write(&path, checkpoint(LOG)).unwrap();
        let Ok(Found::Position(found)) = find(&path, LOG) else {
            panic!("no position");
        };
        let saver = Saver::start(path.clone()).unwrap();
        saver.save(LOG, found.position, "2026-11-20T08:00:00Z");
        assert_eq!(saver.end(), None);
        let Ok(Found::Position(found)) = find(&path, LOG) else {
            panic!("no position");
        };
        assert_eq!(
            (found.position.offset(), &*found.event_time),
            (3, "2026-11-20T08:00:00Z")
        );
        assert!(!directory.path().join("db.new").exists());
    }

    #[test]
    fn one_of_another_log_stops_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        fs::write(&path, checkpoint("/b/audit.log")).unwrap();
        let error = find(&path, LOG).err().unwrap().to_string();
        assert!(error.contains("it keeps the position in /b/audit.log, not in /a/audit.log"));
        assert!(path.exists());
    }

    #[test]
    fn one_that_is_cut_short_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        fs::write(&path, &checkpoint(LOG)[..50]).unwrap();
        let Ok(Found::PutAside { to, error }) = find(&path, LOG) else {
            panic!("not put aside");
        };
        assert!(to.exists() && !path.exists());
        assert_eq!(error, CheckpointError::Broken);
        let error = find(directory.path(), LOG).err().unwrap().to_string();
        assert!(error.contains("it is a directory"), "{error}");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        fs::write(&path, checkpoint(LOG)).unwrap();
        let Ok(Found::Position(found)) = find(&path, LOG) else {
            panic!("no position");
        };
        let saver = Saver::start(directory.path().join("missing/db")).unwrap();
        saver.save(LOG, found.position, "");
        assert!(saver.end().unwrap().contains("No such file"));
    }
}
