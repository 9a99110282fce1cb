//! Where a policy comes from, and when it is read again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::policy::{Policy, Preset, Ruleset, Syntax};

use super::option_error::{OptionError, display_name, wrong};
use super::{Log, LogLevel, entities};

/// Where the text of a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// One of the policies that come with the plugin.
    Preset(Preset),
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The option itself.
    Inline(String),
}

impl PolicySource {
    /// Reads the option of that name.
    pub fn new(name: &'static str, value: &str) -> Result<PolicySource, OptionError> {
        Ok(match name {
            "policy_preset" => PolicySource::Preset(
                Preset::from_name(value).map_err(|error| wrong(name, value, &error.to_string()))?,
            ),
            "policy_file" => PolicySource::File(PathBuf::from(value)),
            "policy_env" => PolicySource::Env(value.to_owned()),
            _ => PolicySource::Inline(inline(name, value)?),
        })
    }

    /// Reads and compiles the policy; warnings go to the log.
    pub fn load(&self, log: &dyn Log) -> Result<Ruleset, OptionError> {
        let (name, text, syntax) = match self {
            PolicySource::Preset(preset) => (
                format!("preset {}", preset.name()),
                preset.text().as_bytes().to_vec(),
                Syntax::File,
            ),
            PolicySource::File(path) => {
                let name = path.display().to_string();
                let text = fs::read(path).map_err(|error| {
                    wrong(
                        "policy_file",
                        &name,
                        &format!("the file cannot be read ({error})"),
                    )
                })?;
                (name, text, Syntax::File)
            }
            PolicySource::Env(variable) => {
                let text = std::env::var(variable).map_err(|error| {
                    let right =
                        format!("the environment variable of that name cannot be read ({error})");
                    wrong("policy_env", variable, &right)
                })?;
                (
                    format!("${variable}"),
                    inline("policy_env", &text)?.into_bytes(),
                    Syntax::Inline,
                )
            }
            PolicySource::Inline(text) => (
                "Policy".to_owned(),
                text.as_bytes().to_vec(),
                Syntax::Inline,
            ),
        };
        let parsed =
            Policy::parse(&name, &text, syntax).map_err(|error| OptionError(error.to_string()))?;
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
}

/// The policy text of an option or variable: plain, or `base64url:…`.
fn inline(name: &'static str, value: &str) -> Result<String, OptionError> {
    let Some(encoded) = value.strip_prefix("base64url:") else {
        return Ok(entities::decode(value).into_owned());
    };
    let right = |what: String| OptionError(format!("`{}`: {what}", display_name(name)));
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(encoded.trim().trim_end_matches('='))
        .map_err(|error| {
            right(format!(
                "what follows `base64url:` is no base64url text ({error})"
            ))
        })?;
    String::from_utf8(bytes)
        .map_err(|_| right("what follows `base64url:` decodes to no UTF-8 text".to_owned()))
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
        let ruleset = watch.source.load(log)?;
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
        match self.source.load(log) {
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
