//! Texts of an instance: read at the start, and again when their file changes.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube_audit_core::options::{OptionDef, OptionError, TextOptions, TextSource, variable_text};
use kube_audit_files::{FileState, RegularFile};

use super::log::{Log, LogLevel};

/// The largest file that is read, in bytes; the parsers take no larger text.
const MOST_BYTES: u64 = 8 << 20;

/// A text and what is known of it.
pub(crate) struct LoadedText {
    /// The option that it comes from.
    pub option: &'static OptionDef,
    /// The name that messages call it by.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A text in force, read again when its file changes.
///
/// A changed file is taken when two looks, one interval apart, find the same state and the
/// same bytes: half of a file that is still being written may be valid and mean something
/// else.
pub(crate) struct TextWatch {
    /// The file to look at, unless the text comes from elsewhere or is never read again.
    file: Option<WatchedFile>,
    /// What the text is, for the log.
    what: &'static str,
}

struct WatchedFile {
    option: &'static OptionDef,
    path: PathBuf,
    interval: Duration,
    /// The time of the last look.
    looked: Instant,
    /// The state in which the file was compiled last, with success or without.
    seen: FileState,
    /// The changed file that the last look found.
    candidate: Option<RegularFile>,
    /// The last error that was logged, while the file cannot be read.
    unreadable: Option<String>,
}

impl TextWatch {
    /// Loads the text for the first time. `what` it is; `interval` is the time between two
    /// looks at its file, `None` to never read it again.
    pub(crate) fn start(
        what: &'static str,
        source: TextSource,
        options: &TextOptions,
        interval: Option<Duration>,
    ) -> Result<(TextWatch, LoadedText), OptionError> {
        let mut file = None;
        let text = match source {
            TextSource::File(path) => {
                let option = options.file;
                let read = RegularFile::read(&path, MOST_BYTES).map_err(|error| {
                    let expected = format!("the file cannot be read ({error})");
                    let path = path.display().to_string();
                    OptionError::invalid(option, &path, expected).with_source(error)
                })?;
                let name = path.display().to_string();
                file = interval.map(|interval| WatchedFile {
                    option,
                    path,
                    interval,
                    looked: Instant::now(),
                    seen: read.state,
                    candidate: None,
                    unreadable: None,
                });
                LoadedText {
                    option,
                    name,
                    bytes: read.bytes,
                }
            }
            TextSource::Env(variable) => {
                let option = options.env;
                let text = std::env::var(&variable).map_err(|error| {
                    let expected =
                        format!("the environment variable of that name cannot be read ({error})");
                    OptionError::invalid(option, &variable, expected).with_source(error)
                })?;
                LoadedText {
                    option,
                    name: format!("${variable}"),
                    bytes: variable_text(option, &text)?.into_bytes(),
                }
            }
            TextSource::Inline(text) => LoadedText {
                option: options.inline,
                name: options.inline.name.to_owned(),
                bytes: text.into_bytes(),
            },
        };
        Ok((TextWatch { file, what }, text))
    }

    /// Returns the text anew if its file has changed. A file that cannot be read is logged.
    pub(crate) fn changed(&mut self, log: &dyn Log) -> Option<LoadedText> {
        let file = self.file.as_mut()?;
        let now = Instant::now();
        if now.duration_since(file.looked) < file.interval {
            return None;
        }
        file.looked = now;
        match file.look() {
            Ok(changed) => changed.map(|changed| LoadedText {
                option: file.option,
                name: file.path.display().to_string(),
                bytes: changed.bytes,
            }),
            Err(error) => {
                let error = error.to_string();
                if file.unreadable.as_ref() != Some(&error) {
                    file.unreadable = Some(error.clone());
                    self.refuse(&error, log);
                }
                None
            }
        }
    }

    /// Logs that the changed file cannot be used, and leaves what was compiled last in force.
    pub(crate) fn refuse(&self, error: &dyn Display, log: &dyn Log) {
        let what = self.what;
        let path = self.file.as_ref().map(|file| file.path.display());
        let message = format!(
            "{what} file {} has changed and cannot be used, the last good {what} stays in \
             force: {error}",
            path.map_or(String::new(), |path| path.to_string())
        );
        log.log(LogLevel::Error, &message);
    }
}

impl WatchedFile {
    /// Looks at the file; a change that the look before found as well is returned.
    fn look(&mut self) -> io::Result<Option<RegularFile>> {
        let before = self.candidate.take();
        if FileState::of(&self.path)? == self.seen {
            self.unreadable = None;
            return Ok(None);
        }
        let now = RegularFile::read(&self.path, MOST_BYTES)?;
        self.unreadable = None;
        if before.as_ref() == Some(&now) {
            self.seen = now.state;
            return Ok(Some(now));
        }
        self.candidate = Some(now);
        Ok(None)
    }
}
