//! Reads a policy from its source, and again when its file changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube_audit_core::options::{OptionDef, OptionError, PolicySource, policy_text, table};
use kube_audit_core::policy::{Policy, Ruleset, Syntax};
use kube_audit_files::read_regular_file;

use super::{Log, LogLevel};

/// The largest policy file that is read, in bytes; the parser takes no larger text.
const MAX_FILE: u64 = 8 << 20;

/// Reads and compiles the policy; warnings go to the log.
fn load(source: &PolicySource, log: &dyn Log) -> Result<Ruleset, OptionError> {
    let (option, name, text, syntax): (&OptionDef, _, _, _) = match source {
        PolicySource::Preset(preset) => (
            table::POLICY_PRESET,
            format!("preset {}", preset.name()),
            preset.text().as_bytes().to_vec(),
            Syntax::File,
        ),
        PolicySource::File(path) => {
            let name = path.display().to_string();
            let text = read_regular_file(path, MAX_FILE).map_err(|error| {
                let expected = format!("the file cannot be read ({error})");
                OptionError::invalid(table::POLICY_FILE, &name, expected).with_source(error)
            })?;
            (table::POLICY_FILE, name, text, Syntax::File)
        }
        PolicySource::Env(variable) => {
            let text = std::env::var(variable).map_err(|error| {
                let expected =
                    format!("the environment variable of that name cannot be read ({error})");
                OptionError::invalid(table::POLICY_ENV, variable, expected).with_source(error)
            })?;
            (
                table::POLICY_ENV,
                format!("${variable}"),
                policy_text(table::POLICY_ENV, &text)?.into_bytes(),
                Syntax::Inline,
            )
        }
        PolicySource::Inline(text) => (
            table::POLICY,
            "Policy".to_owned(),
            text.as_bytes().to_vec(),
            Syntax::Inline,
        ),
    };
    let parsed = Policy::parse(&name, &text, syntax)
        .map_err(|error| OptionError::caused_by(option, error))?;
    for warning in &parsed.warnings {
        log.log(LogLevel::Warn, &warning.to_string());
    }
    let ruleset = Ruleset::compile(&parsed.policy);
    log.log(
        LogLevel::Info,
        &format!("policy {name}: {} rules", ruleset.rule_count()),
    );
    Ok(ruleset)
}

/// A policy in force, read again when its file changes.
pub struct PolicyWatch {
    source: PolicySource,
    interval: Option<Duration>,
    next_look: Option<Instant>,
    seen: Option<FileState>,
}

/// What tells that a file is another one than before. A Kubernetes mount swaps a
/// symbolic link, so that the inode changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileState {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl PolicyWatch {
    /// Loads the policy for the first time.
    pub fn start(
        source: PolicySource,
        interval: Option<Duration>,
        log: &dyn Log,
    ) -> Result<(PolicyWatch, Arc<Ruleset>), OptionError> {
        let mut watch = PolicyWatch {
            source,
            interval,
            next_look: None,
            seen: None,
        };
        watch.seen = watch.look();
        let ruleset = load(&watch.source, log)?;
        watch.next_look = watch.interval.map(|interval| Instant::now() + interval);
        Ok((watch, Arc::new(ruleset)))
    }

    /// The policy anew, when its file has changed since it was read. A file that
    /// cannot be used leaves the last good policy in force.
    pub fn changed(&mut self, log: &dyn Log) -> Option<Arc<Ruleset>> {
        let (PolicySource::File(path), Some(interval), Some(next)) =
            (&self.source, self.interval, self.next_look)
        else {
            return None;
        };
        let now = Instant::now();
        if now < next {
            return None;
        }
        self.next_look = Some(now + interval);
        let state = self.look();
        if state == self.seen {
            return None;
        }
        let path = path.display().to_string();
        self.seen = state;
        match load(&self.source, log) {
            Ok(ruleset) => Some(Arc::new(ruleset)),
            Err(error) => {
                let message = format!(
                    "policy file {path} changed and cannot be used, the last good policy stays: {error}"
                );
                log.log(LogLevel::Error, &message);
                None
            }
        }
    }

    fn look(&self) -> Option<FileState> {
        let PolicySource::File(path) = &self.source else {
            return None;
        };
        let metadata = fs::metadata(path).ok()?;
        Some(FileState {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
