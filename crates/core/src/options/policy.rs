//! Source of a policy's text.

use crate::policy::Preset;

use super::error::OptionError;
use super::read::Options;
use super::source::{TextOptions, TextSource, only_one};
use super::table;

/// Source of a policy's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// One of the policies that come with the plugin.
    Preset(Preset),
    /// A text.
    Text(TextSource),
}

impl PolicySource {
    /// Reads the one of the four policy options that is set.
    pub(super) fn read(options: &Options<'_>) -> Result<Option<PolicySource>, OptionError> {
        let TextOptions { file, env, inline } = &TextOptions::POLICY;
        let defs = [table::POLICY_PRESET, file, env, inline];
        let Some(given) = only_one(options, &defs)? else {
            return Ok(None);
        };
        if given.def().is(table::POLICY_PRESET.name) {
            let preset = Preset::from_name(&given).map_err(|error| given.rejected(error))?;
            return Ok(Some(PolicySource::Preset(preset)));
        }
        let text = TextSource::of(&TextOptions::POLICY, &given)?;
        Ok(Some(PolicySource::Text(text)))
    }
}
