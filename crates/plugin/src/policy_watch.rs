//! The policy of an instance: read at the start, and again when its file changes.

use std::sync::Arc;
use std::time::Duration;

use kube_audit_core::options::{OptionError, PolicySource, TextOptions, table};
use kube_audit_core::policy::{Policy, Ruleset, Syntax};

use super::log::{Log, LogLevel};
use super::text_watch::{LoadedText, TextWatch};

/// A policy in force, read again when its file changes.
pub(crate) struct PolicyWatch {
    /// The text; `None` for a preset, which never changes.
    watch: Option<TextWatch>,
}

impl PolicyWatch {
    /// Loads the policy for the first time. `interval` is the time between two looks at
    /// its file, `None` to never read it again.
    pub(crate) fn start(
        source: PolicySource,
        interval: Option<Duration>,
        log: &dyn Log,
    ) -> Result<(PolicyWatch, Arc<Ruleset>), OptionError> {
        match source {
            PolicySource::Preset(preset) => {
                let text = LoadedText {
                    option: table::POLICY_PRESET,
                    name: format!("preset {}", preset.name()),
                    bytes: preset.text().as_bytes().to_vec(),
                };
                let ruleset = compile(&text, log)?;
                Ok((PolicyWatch { watch: None }, ruleset))
            }
            PolicySource::Text(source) => {
                let options = &TextOptions::POLICY;
                let (watch, text) = TextWatch::start("policy", source, options, interval)?;
                let ruleset = compile(&text, log)?;
                Ok((PolicyWatch { watch: Some(watch) }, ruleset))
            }
        }
    }

    /// Returns the policy anew if its file has changed. A file that cannot be used is
    /// logged and leaves the last good policy in force.
    pub(crate) fn changed(&mut self, log: &dyn Log) -> Option<Arc<Ruleset>> {
        let watch = self.watch.as_mut()?;
        let compiled = compile(&watch.changed(log)?, log);
        compiled.map_err(|error| watch.refuse(&error, log)).ok()
    }
}

/// Parses and compiles a policy; its warnings go to the log.
fn compile(text: &LoadedText, log: &dyn Log) -> Result<Arc<Ruleset>, OptionError> {
    let LoadedText {
        option,
        name,
        bytes,
    } = text;
    let is_file = [table::POLICY_PRESET, table::POLICY_FILE]
        .iter()
        .any(|def| def.is(option.name));
    let syntax = match is_file {
        true => Syntax::File,
        false => Syntax::Inline,
    };
    let parsed = Policy::parse(name, bytes, syntax)
        .map_err(|error| OptionError::caused_by(option, error))?;
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
    use kube_audit_core::options::TextSource;
    use std::fs::{self, File};
    use std::path::PathBuf;
    use std::time::SystemTime;

    /// The largest file that is read.
    const MOST_BYTES: usize = 8 << 20;

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
            let source = PolicySource::Text(TextSource::File(path.clone()));
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
        let large = " ".repeat(MOST_BYTES + 1);
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
        let source = PolicySource::Text(TextSource::File("/dev/zero".into()));
        let error = PolicyWatch::start(source, None, &Lines::default()).err();
        assert_eq!(
            error.map(|error| error.to_string()).as_deref(),
            Some(
                "`Policy_File` is `/dev/zero`: the file cannot be read (it is a device, not a regular file)"
            )
        );
    }
}
