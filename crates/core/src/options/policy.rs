//! Where the text of a policy comes from.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::policy::Preset;

use super::entities;
use super::error::{OptionError, Problem};
use super::read::Options;
use super::table::{self, OptionDef};

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
    /// Reads the one of the four policy options that is set.
    pub(super) fn read(options: &Options<'_>) -> Result<Option<PolicySource>, OptionError> {
        let defs = [
            table::POLICY_PRESET,
            table::POLICY_FILE,
            table::POLICY_ENV,
            table::POLICY,
        ];
        let mut all = Vec::new();
        for def in defs {
            all.extend(options.one(def)?);
        }
        let given = match all.as_slice() {
            [] => return Ok(None),
            [given] => given,
            [given, other, ..] => {
                return Err(given.conflict(other.def(), "a section has one policy"));
            }
        };
        let def = given.def();
        let source = if def.is(table::POLICY_PRESET.name) {
            let preset = Preset::from_name(given).map_err(|error| given.rejected(error))?;
            PolicySource::Preset(preset)
        } else if def.is(table::POLICY_FILE.name) {
            PolicySource::File(PathBuf::from(&**given))
        } else if def.is(table::POLICY_ENV.name) {
            PolicySource::Env(given.to_string())
        } else {
            PolicySource::Inline(plain(def, given)?)
        };
        Ok(Some(source))
    }
}

/// The policy text of an environment variable: plain, with HTML entities undone, or
/// `base64url:…`. `def` is the option that names the variable.
pub fn policy_text(def: &'static OptionDef, value: &str) -> Result<String, OptionError> {
    plain(def, &entities::decode(value))
}

fn plain(def: &'static OptionDef, value: &str) -> Result<String, OptionError> {
    let Some(encoded) = value.strip_prefix("base64url:") else {
        return Ok(value.to_owned());
    };
    let wrong = |expected: &str| {
        let problem = Problem::Invalid {
            found: Some("base64url:…".to_owned()),
            expected: expected.to_owned(),
        };
        OptionError::new(def.name, problem)
    };
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(encoded.trim().trim_end_matches('='))
        .map_err(|error| {
            wrong(&format!(
                "the text after `base64url:` is not in base64url ({error})"
            ))
        })?;
    String::from_utf8(bytes).map_err(|error| {
        wrong("the text after `base64url:` does not decode to UTF-8")
            .with_source(error.utf8_error())
    })
}
