//! Texts that come from a file, an environment variable or the option itself.

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::entities;
use super::error::{OptionError, Problem};
use super::read::{Given, Options};
use super::table::{self, OptionDef};

/// The three options that a text may come from, of which a section has one at most.
#[derive(Debug)]
pub struct TextOptions {
    /// Names a file.
    pub file: &'static OptionDef,
    /// Names an environment variable.
    pub env: &'static OptionDef,
    /// Holds the text.
    pub inline: &'static OptionDef,
}

impl TextOptions {
    /// The policy.
    pub const POLICY: TextOptions = TextOptions {
        file: table::POLICY_FILE,
        env: table::POLICY_ENV,
        inline: table::POLICY,
    };
    /// Own detections.
    pub const DETECT: TextOptions = TextOptions {
        file: table::DETECT_FILE,
        env: table::DETECT_ENV,
        inline: table::DETECT_RULES,
    };
}

/// The source of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The option itself.
    Inline(String),
}

impl TextSource {
    /// Reads the one of the three options that is set.
    pub(super) fn read(
        options: &Options<'_>,
        which: &TextOptions,
    ) -> Result<Option<TextSource>, OptionError> {
        let given = only_one(options, &[which.file, which.env, which.inline])?;
        given.map(|given| TextSource::of(which, &given)).transpose()
    }

    /// Reads one of the three options.
    pub(super) fn of(which: &TextOptions, given: &Given<'_>) -> Result<TextSource, OptionError> {
        let def = given.def();
        Ok(if def.is(which.file.name) {
            TextSource::File(PathBuf::from(&**given))
        } else if def.is(which.env.name) {
            TextSource::Env(given.to_string())
        } else {
            TextSource::Inline(plain(def, given)?)
        })
    }
}

/// Reads options of which a section has one at most.
pub(super) fn only_one<'o>(
    options: &'o Options<'_>,
    defs: &[&'static OptionDef],
) -> Result<Option<Given<'o>>, OptionError> {
    let mut first: Option<Given<'_>> = None;
    for def in defs {
        match (&first, options.one(def)?) {
            (_, None) => {}
            (None, found) => first = found,
            (Some(first), Some(other)) => {
                return Err(first.conflict(other.def(), "a section has one of them"));
            }
        }
    }
    Ok(first)
}

/// Reads the text of an environment variable: plain, with HTML entities undone, or
/// `base64url:…`. `def` is the option that names the variable.
pub fn variable_text(def: &'static OptionDef, value: &str) -> Result<String, OptionError> {
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
