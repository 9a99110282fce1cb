//! The policy of an instance: read at the start, and again when its file changes.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_audit_core::options::{OptionDef, OptionError, PolicySource, policy_text, table};
use kube_audit_core::policy::{Policy, Ruleset, Syntax};
use kube_audit_files::{FileState, RegularFile};

use super::log::{Log, LogLevel};

/// The largest policy file that is read, in bytes; the parser takes no larger text.
const MOST_BYTES: u64 = 8 << 20;

/// A policy in force, read again when its file changes.
///
/// A changed file is taken when two looks, one interval apart, find the same state and the
/// same bytes: half of a file that is still being written may be a valid policy that
/// drops everything.
pub struct PolicyWatch {
    /// The file to look at, unless the policy comes from elsewhere or is never read again.
    file: Option<WatchedFile>,
}

struct WatchedFile {
    path: std::path::PathBuf,
    interval: Duration,
    next_look: Instant,
    /// The state in which the file was compiled last, with success or without.
    seen: FileState,
    /// The changed file that the last look found.
    candidate: Option<RegularFile>,
    /// The last error that was logged, while the file cannot be read.
    unreadable: Option<String>,
}

impl PolicyWatch {
    /// Loads the policy for the first time. `interval` is the time between two looks at
    /// its file, `None` to never read it again.
    pub fn start(
        source: PolicySource,
        interval: Option<Duration>,
        log: &dyn Log,
    ) -> Result<(PolicyWatch, Arc<Ruleset>), OptionError> {
        let mut file = None;
        let ruleset = match source {
            PolicySource::Preset(preset) => {
                let name = format!("preset {}", preset.name());
                compile(
                    table::POLICY_PRESET,
                    &name,
                    preset.text().as_bytes(),
                    Syntax::File,
                    log,
                )?
            }
            PolicySource::File(path) => {
                let read = RegularFile::read(&path, MOST_BYTES).map_err(|error| {
                    let expected = format!("the file cannot be read ({error})");
                    let path = path.display().to_string();
                    OptionError::invalid(table::POLICY_FILE, &path, expected).with_source(error)
                })?;
                let ruleset = compile_file(&path, &read, log)?;
                file = interval.map(|interval| WatchedFile {
                    path,
                    interval,
                    next_look: Instant::now() + interval,
                    seen: read.state,
                    candidate: None,
                    unreadable: None,
                });
                ruleset
            }
            PolicySource::Env(variable) => {
                let text = std::env::var(&variable).map_err(|error| {
                    let expected =
                        format!("the environment variable of that name cannot be read ({error})");
                    OptionError::invalid(table::POLICY_ENV, &variable, expected).with_source(error)
                })?;
                let text = policy_text(table::POLICY_ENV, &text)?;
                let name = format!("${variable}");
                compile(
                    table::POLICY_ENV,
                    &name,
                    text.as_bytes(),
                    Syntax::Inline,
                    log,
                )?
            }
            PolicySource::Inline(text) => compile(
                table::POLICY,
                table::POLICY.name,
                text.as_bytes(),
                Syntax::Inline,
                log,
            )?,
        };
        Ok((PolicyWatch { file }, ruleset))
    }

    /// Returns the policy anew if its file has changed. A file that cannot be used is
    /// logged and leaves the last good policy in force.
    pub fn changed(&mut self, log: &dyn Log) -> Option<Arc<Ruleset>> {
        let file = self.file.as_mut()?;
        let now = Instant::now();
        if now < file.next_look {
            return None;
        }
        file.next_look = now + file.interval;
        let path = file.path.clone();
        let error = match file.look() {
            Ok(None) => return None,
            Ok(Some(changed)) => match compile_file(&path, &changed, log) {
                Ok(ruleset) => return Some(ruleset),
                Err(error) => error.to_string(),
            },
            Err(error) => {
                let error = error.to_string();
                if file.unreadable.as_ref() == Some(&error) {
                    return None;
                }
                file.unreadable = Some(error.clone());
                error
            }
        };
        let message = format!(
            "policy file {} has changed and cannot be used, the last good policy stays in \
             force: {error}",
            path.display()
        );
        log.log(LogLevel::Error, &message);
        None
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

fn compile_file(
    path: &Path,
    file: &RegularFile,
    log: &dyn Log,
) -> Result<Arc<Ruleset>, OptionError> {
    let name = path.display().to_string();
    compile(table::POLICY_FILE, &name, &file.bytes, Syntax::File, log)
}

/// Parses and compiles a policy; its warnings go to the log.
fn compile(
    option: &'static OptionDef,
    name: &str,
    text: &[u8],
    syntax: Syntax,
    log: &dyn Log,
) -> Result<Arc<Ruleset>, OptionError> {
    let parsed =
        Policy::parse(name, text, syntax).map_err(|error| OptionError::caused_by(option, error))?;
    for warning in &parsed.warnings {
        log.log(LogLevel::Warn, &warning.to_string());
    }
    let ruleset = Ruleset::compile(&parsed.policy);
    log.log(
        LogLevel::Info,
        &format!("policy {name}: {} rules", ruleset.rule_count()),
    );
    Ok(Arc::new(ruleset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::Lines;
    use std::fs::{self, File};
    use std::path::PathBuf;
    use std::time::SystemTime;

    /// A policy with that many rules.
    fn policy(rules: usize) -> String {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n";
        head.to_owned() + &"- level: Metadata\n".repeat(rules)
    }

    /// A watch of a file with one rule that looks with every call.
    struct Watched {
        _directory: tempfile::TempDir,
        path: PathBuf,
        watch: PolicyWatch,
        log: Lines,
    }

    impl Watched {
        fn new() -> Watched {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("policy.yaml");
            fs::write(&path, policy(1)).unwrap();
            let log = Lines::default();
            let source = PolicySource::File(path.clone());
            let (watch, _) = PolicyWatch::start(source, Some(Duration::ZERO), &log).unwrap();
            log.take();
            Watched {
                _directory: directory,
                path,
                watch,
                log,
            }
        }

        /// The number of rules of a new policy.
        fn look(&mut self) -> Option<usize> {
            let ruleset = self.watch.changed(&self.log)?;
            Some(ruleset.rule_count())
        }
    }

    #[test]
    fn a_change_is_taken_at_the_second_look() {
        let mut watched = Watched::new();
        assert_eq!(watched.look(), None);
        fs::write(&watched.path, policy(2)).unwrap();
        assert_eq!((watched.look(), watched.look()), (None, Some(2)));
        assert_eq!(watched.look(), None);
    }

    #[test]
    fn a_file_that_is_still_being_written_is_not_taken() {
        let mut watched = Watched::new();
        for rules in 2..6 {
            fs::write(&watched.path, policy(rules)).unwrap();
            assert_eq!(watched.look(), None);
        }
        assert_eq!(watched.look(), Some(5));
    }

    #[test]
    fn a_change_with_the_old_size_and_time_is_noticed() {
        let mut watched = Watched::new();
        let modified = fs::metadata(&watched.path).unwrap().modified().unwrap();
        let other = policy(1).replace("Metadata", "Request ");
        assert_eq!(other.len(), policy(1).len());
        // File systems count time in steps of some milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        fs::write(&watched.path, other).unwrap();
        let file = File::options().append(true).open(&watched.path).unwrap();
        file.set_modified(modified).unwrap();
        assert_eq!((watched.look(), watched.look()), (None, Some(1)));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_logged_once_and_taken_when_it_can() {
        let mut watched = Watched::new();
        let aside = watched.path.with_extension("aside");
        fs::write(&watched.path, policy(3)).unwrap();
        fs::rename(&watched.path, &aside).unwrap();
        assert_eq!((watched.look(), watched.look()), (None, None));
        let lines = watched.log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("cannot be used, the last good policy stays"));
        fs::rename(&aside, &watched.path).unwrap();
        assert_eq!((watched.look(), watched.look()), (None, Some(3)));
    }

    #[test]
    fn what_is_not_a_policy_leaves_the_last_one_in_force() {
        let mut watched = Watched::new();
        let large = " ".repeat(MOST_BYTES as usize + 1);
        for (content, error) in [
            ("rules: [", "policy.yaml"),
            (&large, "it has more than 8388608 bytes"),
        ] {
            fs::write(&watched.path, content).unwrap();
            for _ in 0..3 {
                assert_eq!(watched.look(), None);
            }
            let lines = watched.log.take();
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].contains(error), "{lines:?}");
        }
        fs::write(&watched.path, policy(2)).unwrap();
        assert_eq!((watched.look(), watched.look()), (None, Some(2)));
    }

    #[test]
    fn a_file_that_only_its_time_changed_of_is_read_again() {
        let mut watched = Watched::new();
        let file = File::options().append(true).open(&watched.path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!((watched.look(), watched.look()), (None, Some(1)));
    }

    #[test]
    fn other_files_stop_the_start() {
        let source = PolicySource::File("/dev/zero".into());
        let error = PolicyWatch::start(source, None, &Lines::default()).err();
        assert_eq!(
            error.map(|error| error.to_string()).as_deref(),
            Some(
                "`Policy_File` is `/dev/zero`: the file cannot be read (it is a device, not a regular file)"
            )
        );
    }
}
