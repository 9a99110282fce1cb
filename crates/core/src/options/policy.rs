//! Where the text of a policy comes from, as the options say it.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::policy::Preset;

use super::entities;
use super::error::{OptionError, display_name, wrong};

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
}

/// The policy text of an option or variable: plain, or `base64url:…`.
pub fn inline(name: &'static str, value: &str) -> Result<String, OptionError> {
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
