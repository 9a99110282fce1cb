//! The options that input, filter and output have in common.

use std::time::Duration;

use crate::input::FieldPath;
use crate::pipeline::{MachineAudit, Settings};
use crate::stage::{Enrichment, KeyPattern, KeyRule, redact, shrink};

use super::conditions::ConditionOption;
use super::detect::DetectOptions;
use super::error::OptionError;
use super::policy::PolicySource;
use super::read::Options;
use super::table;

/// The options that input, filter and output have in common.
#[derive(Debug)]
pub struct CommonOptions {
    /// Source of the policy; `None` without one.
    pub policy: Option<PolicySource>,
    /// Time between two looks at the policy file; `None` to read it once.
    pub policy_reload: Option<Duration>,
    /// Detections; `None` if they are off.
    pub detect: Option<DetectOptions>,
    /// Conditions that events and records must meet to stay.
    pub conditions: Vec<ConditionOption>,
    /// Hiding of secrets.
    pub redaction: redact::Settings,
    /// Limits of what events may be.
    pub shrink: shrink::Settings,
    /// Reading and writing of records.
    pub settings: Settings,
}

impl CommonOptions {
    /// Reads the options.
    pub fn read(options: &Options<'_>) -> Result<CommonOptions, OptionError> {
        let settings = Settings {
            format: options.choice(table::FORMAT)?,
            log_key: log_key(options)?,
            output_shape: options.choice(table::OUTPUT_SHAPE)?,
            non_audit: options.choice(table::NON_AUDIT)?,
            on_error: options.choice(table::ON_ERROR)?,
            on_unreadable: options.choice(table::REDACT_UNREADABLE)?,
            event_time: options.choice(table::EVENT_TIME)?,
            machine_audit: machine_audit(options)?,
            machine_audit_slim: options.flag(table::MACHINE_AUDIT_SLIM)?.unwrap_or(false),
            enrichment: enrichment(options)?,
        };
        let detect = DetectOptions::read(options)?;
        if let Some(detect) = &detect {
            keys_differ(options, detect, &settings.enrichment)?;
        }
        Ok(CommonOptions {
            detect,
            policy: PolicySource::read(options)?,
            policy_reload: options
                .duration_or_off(table::POLICY_RELOAD, Duration::from_secs(30))?,
            conditions: ConditionOption::read(options)?,
            redaction: super::redact::read(options)?,
            shrink: super::shrink::read(options)?,
            settings,
        })
    }
}

/// Reads the place of the event: a key, or a path that begins with `$`.
fn log_key(options: &Options<'_>) -> Result<Option<FieldPath>, OptionError> {
    let Some(given) = options.one(table::LOG_KEY)? else {
        return Ok(None);
    };
    match FieldPath::parse(&given) {
        Some(path) => Ok(Some(path)),
        None if given.starts_with('$') => {
            let expected = "a path is `$key` or `$key['name'][0]`";
            Err(given.invalid(expected))
        }
        None => Ok(Some(FieldPath::key(&given))),
    }
}

/// Reads what becomes of Linux audit records, which a small library does not know.
fn machine_audit(options: &Options<'_>) -> Result<MachineAudit, OptionError> {
    let machine_audit = options.choice(table::MACHINE_AUDIT)?;
    if machine_audit == MachineAudit::Keep {
        if let Some(given) = options.one(table::MACHINE_AUDIT_SLIM)? {
            let expected = "set it to records or events";
            return Err(given.requires(table::MACHINE_AUDIT, expected));
        }
    } else if let (Some(given), false) = (
        options.one(table::MACHINE_AUDIT)?,
        cfg!(feature = "machine"),
    ) {
        let expected = "this library was built without it, to be small: take the full one";
        return Err(given.unsupported(expected));
    }
    Ok(machine_audit)
}

/// Makes sure that no record gets the same key twice, from a label and from `Record`.
fn keys_differ(
    options: &Options<'_>,
    detect: &DetectOptions,
    enrichment: &Enrichment,
) -> Result<(), OptionError> {
    let format = &detect.settings.format;
    for given in [table::RECORD, table::RECORDS].map(|def| options.all(def)) {
        for given in given? {
            let mut keys = enrichment.records.iter().map(|(key, _)| key);
            if keys.any(|key| *key == format.ids_key || *key == format.severity_key) {
                let expected = "labels of detections need a key of their own";
                return Err(given.conflict(table::DETECT_KEY, expected));
            }
        }
    }
    Ok(())
}

fn enrichment(options: &Options<'_>) -> Result<Enrichment, OptionError> {
    let mut records = options.pairs(table::RECORD)?;
    for given in options.all(table::RECORDS)? {
        for part in split_outside_quotes(&given) {
            records.push(given.pair_in(part)?);
        }
    }
    let remove = options.all(table::REMOVE_KEY)?;
    let allow = options.all(table::ALLOWLIST_KEY)?;
    if let (Some(given), false) = (remove.first(), allow.is_empty()) {
        let expected = "name either the keys that go or those that stay";
        return Err(given.conflict(table::ALLOWLIST_KEY, expected));
    }
    let keys = match (remove.is_empty(), allow.is_empty()) {
        (true, true) => KeyRule::KeepAll,
        (false, _) => KeyRule::Remove(remove.iter().map(|key| KeyPattern::new(key)).collect()),
        (true, false) => KeyRule::Allow(allow.iter().map(|key| KeyPattern::new(key)).collect()),
    };
    Ok(Enrichment {
        records,
        keys,
        uuid_key: options.text(table::UUID_KEY)?.map(String::into_bytes),
    })
}

/// The parts of a text between semicolons that are outside double quotes.
fn split_outside_quotes(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut before = ' ';
    text.split(move |c| {
        if c == '"' && before != '\\' {
            quoted = !quoted;
        }
        before = c;
        c == ';' && !quoted
    })
    .filter(|part| !part.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Properties;
    use crate::pipeline::OutputShape;

    fn common(lines: &[(&str, &str)]) -> Result<CommonOptions, String> {
        let properties: Properties = lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Options::filter(&properties)
            .and_then(|options| CommonOptions::read(&options))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn options_in_any_case() {
        let options = common(&[
            ("RECORD", "cluster c-1"),
            ("record", "\"long key\" \"a \\\"b\\\" c\""),
            ("Records", "a b; c &#34;d; e&#34;;"),
            ("Remove_Key", "stream"),
            ("Match", "*"),
            ("Policy_Preset", "Metadata"),
            ("Policy_Reload", "off"),
            ("Output_Shape", "MAP"),
        ])
        .unwrap();
        let records = options.settings.enrichment.records;
        let records: Vec<_> = records
            .iter()
            .map(|(k, v)| {
                (
                    std::str::from_utf8(k).unwrap(),
                    std::str::from_utf8(v).unwrap(),
                )
            })
            .collect();
        assert_eq!(
            records,
            [
                ("cluster", "c-1"),
                ("long key", "a \"b\" c"),
                ("a", "b"),
                ("c", "d; e")
            ]
        );
        assert_eq!(options.settings.output_shape, OutputShape::Map);
        assert!(options.policy.is_some() && options.policy_reload.is_none());
    }

    #[test]
    fn wrong_options_say_what_would_be_right() {
        let check = |lines: &[(&str, &str)], parts: &[&str]| {
            let error = common(lines).expect_err(&format!("{lines:?}"));
            for part in parts {
                assert!(error.contains(part), "{error} lacks {part}");
            }
        };
        check(
            &[("Format", "xml")],
            &["`Format` is `xml`", "auto, map, json, cri"],
        );
        check(&[("On_Error", "")], &["`On_Error` is empty"]);
        check(&[("Remove_key", "")], &["`Remove_key` is empty"]);
        check(
            &[("Non_Audit", "keep"), ("non_audit", "drop")],
            &["`Non_Audit` is set twice: set it once"],
        );
        check(
            &[("Record", "cluster")],
            &["`Record` is `cluster`", "KEY VALUE"],
        );
        check(
            &[("Record", "a b c")],
            &["`Record` is `a b c`", "double quotes"],
        );
        check(&[("Record", "a \"b")], &["not closed"]);
        check(&[("Record", "\"\" b")], &["the key is empty"]);
        check(&[("Records", "a b; c")], &["`Records` is ` c`"]);
        check(
            &[("Remove_key", "a"), ("Whitelist_key", "b")],
            &["`Remove_key` and `Allowlist_key`"],
        );
        check(
            &[("Policy_Reload", "soon")],
            &["`Policy_Reload` is `soon`", "30s"],
        );
        check(&[("Policy_Reload", "0")], &["30s"]);
        check(
            &[("Policy_Preset", "minimal"), ("Policy_File", "x")],
            &["`Policy_Preset` and `Policy_File` are both set"],
        );
        check(
            &[("Policy_Preset", "minimul")],
            &["`Policy_Preset` is `minimul`", "minimal"],
        );
        check(
            &[("Machine_Audit", "all")],
            &["`Machine_Audit` is `all`", "keep, records, events"],
        );
        check(
            &[("Machine_Audit_Slim", "on")],
            &[
                "`Machine_Audit_Slim`",
                "`Machine_Audit`",
                "records or events",
            ],
        );
        check(
            &[("Policy", "base64url:?")],
            &["`Policy` is `base64url:…`", "base64url"],
        );
    }
}
