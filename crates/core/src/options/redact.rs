//! `Redact` and the options beside it: what is redacted.

use crate::available::RedactionAvailable;
use crate::pipeline::OnUnreadable;
use crate::stage::redact::{Place, Settings};

use super::choice::Choice;
use super::error::OptionError;
use super::read::{Given, Options};
use super::table::{self, OptionDef};

impl Choice for OnUnreadable {
    const CHOICES: &'static [(&'static str, OnUnreadable)] = &[
        ("cut", OnUnreadable::Cut),
        ("keep", OnUnreadable::Keep),
        ("drop", OnUnreadable::Drop),
    ];
}

/// Reads what is redacted.
pub(super) fn read(options: &Options<'_>) -> Result<Settings, OptionError> {
    if RedactionAvailable::proof().is_none() {
        return without_redaction(options);
    }
    let mut settings = match options.one(table::REDACT)? {
        Some(given) => Settings::parse(&given).map_err(|error| given.invalid(error))?,
        None => Settings::default(),
    };
    settings.paths = places(options, table::REDACT_PATH, table::REDACT_PATHS)?;
    settings.keeps = places(options, table::REDACT_KEEP, table::REDACT_KEEPS)?;
    if let Some(given) = options.one(table::REDACT_NAMES)? {
        let added = settings.add_names(&given);
        added.map_err(|error| given.invalid(error))?;
    }
    if let Some(given) = options.one(table::REDACT_KEY)? {
        let set = settings.set_key(given.as_bytes());
        set.map_err(|error| given.invalid(error))?;
    }
    Ok(settings)
}

/// Makes sure that nobody asks this build for redaction, which it does not have.
fn without_redaction(options: &Options<'_>) -> Result<Settings, OptionError> {
    let others = [
        table::REDACT_PATH,
        table::REDACT_PATHS,
        table::REDACT_KEEP,
        table::REDACT_KEEPS,
        table::REDACT_NAMES,
        table::REDACT_KEY,
    ];
    let expected = "this library was built without redaction, to be small: take the full one";
    let redact = options.one(table::REDACT)?;
    if let Some(given) = redact.filter(|given| !given.trim().eq_ignore_ascii_case("off")) {
        return Err(given.unsupported(expected));
    }
    for other in others {
        if let Some(given) = options.all(other)?.first() {
            return Err(given.unsupported(expected));
        }
    }
    Ok(Settings::off())
}

/// The places of an option that has one, and of an option that has several with `;` between.
fn places(
    options: &Options<'_>,
    one: &OptionDef,
    several: &OptionDef,
) -> Result<Vec<Place>, OptionError> {
    let mut places = Vec::new();
    let mut add = |given: &Given<'_>, place: Result<Place, _>| {
        places.push(place.map_err(|error| given.invalid(error))?);
        Ok(())
    };
    for given in options.all(one)? {
        add(&given, Place::parse(&given))?;
    }
    for given in options.all(several)? {
        for place in Place::parse_list(&given) {
            add(&given, place)?;
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Properties;
    use crate::stage::redact::{Mode, Redactor};

    fn settings(lines: &[(&str, &str)]) -> Result<Settings, String> {
        let properties: Properties = lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Options::filter(&properties)
            .and_then(|options| read(&options))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn all_options_together() {
        let settings = settings(&[
            ("Redact", "env=named, configmap=off"),
            ("Redact_Path", "pods /spec/a"),
            ("redact_path", "pods /spec/b"),
            (
                "Redact_Paths",
                "pods /spec/c; a.b&#34; /d".replace("&#34;", "").as_str(),
            ),
            ("Redact_Keeps", "configmaps /data/x;"),
            ("Redact_Names", "pin"),
            ("Redact_Key", "0123456789abcdef"),
        ])
        .unwrap();
        assert_eq!(settings.mode(Redactor::Env), Mode::Named);
        assert_eq!((settings.paths.len(), settings.keeps.len()), (4, 1));
        assert!(settings.names.is_secret_member(b"pin") && settings.key.is_some());
    }

    #[test]
    fn wrong_values_are_explained_without_secrets() {
        for (line, parts) in [
            (
                ("Redact", "env=some"),
                &["`Redact` is `env=some`", "all, named, off"][..],
            ),
            (("Redact", "secrets=on"), &["did you mean `secret`?"]),
            (
                ("Redact_Path", "pods spec.pin"),
                &["`Redact_Path`", "`/spec/pin`"],
            ),
            (
                ("Redact_Keeps", "pods /a; b"),
                &["`Redact_Keeps`", "RESOURCE POINTER"],
            ),
            (
                ("Redact_Key", "hunter2"),
                &["`Redact_Key` has an invalid value", "16"],
            ),
            (("Redact_Names", "-"), &["`Redact_Names`"]),
        ] {
            let error = settings(&[line]).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{error} lacks {part}");
            }
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
