//! Options of a section, read into types. Everything wrong is an error that names
//! the option, what was found and what would be right.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::pipeline::{EventTimeSource, Format, OnOther, OutputShape, Settings};
use crate::stage::{Enrichment, KeyPattern, KeyRule};
use crate::text::suggest;

mod conditions;
pub mod entities;
mod error;
mod host;
mod policy;

pub use conditions::{ConditionOption, Patterns};
pub use error::{OptionError, display_name, wrong};
pub use host::{HostSettings, HostTls};
pub use policy::{PolicySource, inline};

/// The options of one plugin section, in the order of the configuration file.
/// Keys are compared without regard to case; a key may repeat.
pub type Properties = Vec<(String, String)>;

/// What filter and output have in common.
#[derive(Debug)]
pub struct CommonOptions {
    /// Where the policy comes from; `None` for no policy.
    pub policy: Option<PolicySource>,
    /// How often a policy file is looked at; `None` for never again.
    pub policy_reload: Option<Duration>,
    /// Which events and records stay because of their text.
    pub conditions: Vec<ConditionOption>,
    /// How records are read and written.
    pub settings: Settings,
}

/// Options that filter and output have in common.
const COMMON: [&str; 18] = [
    "allowlist_key",
    "event_time",
    "exclude",
    "format",
    "log_key",
    "non_audit",
    "on_error",
    "output_shape",
    "policy",
    "policy_env",
    "policy_file",
    "policy_preset",
    "policy_reload",
    "record",
    "records",
    "regex",
    "remove_key",
    "uuid_key",
];

/// The other name of `Allowlist_key`.
const WHITELIST_KEY: &str = "whitelist_key";

/// Options of the host itself. Which of them a host hands on to a plugin differs
/// from release to release; none of them is ours to judge.
fn belongs_to_host(key: &str) -> bool {
    const NAMES: [&str; 14] = [
        "active",
        "alias",
        "condition",
        "host",
        "ipv6",
        "log_level",
        "log_suppress_interval",
        "match",
        "match_regex",
        "name",
        "port",
        "retry_limit",
        "storage.total_limit_size",
        "workers",
    ];
    const PREFIXES: [&str; 4] = ["_debug.", "net.", "tls", "oauth2"];
    NAMES.contains(&key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The options of one section: looked up by name, and checked for strangers.
pub struct Options<'p> {
    properties: &'p Properties,
}

impl<'p> Options<'p> {
    /// Checks that every key is known: a common one, or one of `own`.
    pub fn new(
        properties: &'p Properties,
        own: &[&'static str],
    ) -> Result<Options<'p>, OptionError> {
        for (key, _) in properties {
            let lower = key.to_ascii_lowercase();
            let known = || COMMON.iter().chain(own).copied().chain([WHITELIST_KEY]);
            if known().any(|name| name == lower) || belongs_to_host(&lower) {
                continue;
            }
            let hint = match suggest::nearest(&lower, known()) {
                Some(name) => format!("did you mean `{}`?", display_name(name)),
                None => format!(
                    "known options are {}",
                    known().map(display_name).collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(OptionError(format!("unknown option `{key}`: {hint}")));
        }
        Ok(Options { properties })
    }

    /// The values of an option, in the order of the section.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'p str> {
        self.properties
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The value of an option that stands once at most.
    pub fn one(&self, name: &'static str) -> Result<Option<&'p str>, OptionError> {
        let mut values = self.all(name);
        let value = values.next();
        if let Some(again) = values.next() {
            let name = display_name(name);
            let value = value.unwrap_or_default();
            return Err(OptionError(format!(
                "`{name}` is set twice, to `{value}` and `{again}`: set it once"
            )));
        }
        match value {
            Some("") => Err(OptionError(format!(
                "`{}` is empty: give it a value or leave it out (a variable that is not set expands to nothing)",
                display_name(name)
            ))),
            value => Ok(value),
        }
    }

    /// The value of an option that is a secret or belongs to one, as the user wrote it.
    pub fn credential(&self, name: &'static str) -> Result<Option<Cow<'p, str>>, OptionError> {
        Ok(self.one(name)?.map(entities::decode_escaped))
    }

    /// The value of an option that names one of a few things.
    pub fn choice<T: Copy + Default>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, OptionError> {
        let Some(value) = self.one(name)? else {
            return Ok(T::default());
        };
        let found = choices
            .iter()
            .find(|(choice, _)| choice.eq_ignore_ascii_case(value));
        found.map(|&(_, value)| value).ok_or_else(|| {
            let choices: Vec<&str> = choices.iter().map(|&(choice, _)| choice).collect();
            wrong(name, value, &format!("use one of {}", choices.join(", ")))
        })
    }

    /// The value of an option that is on or off.
    pub fn flag(&self, name: &'static str) -> Result<Option<bool>, OptionError> {
        let Some(value) = self.one(name)? else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(Some(true)),
            "off" | "false" | "no" => Ok(Some(false)),
            _ => Err(wrong(name, value, "use `on` or `off`")),
        }
    }

    /// The value of an option that is a time.
    pub fn duration(&self, name: &'static str) -> Result<Option<Duration>, OptionError> {
        let Some(value) = self.one(name)? else {
            return Ok(None);
        };
        let right = "use a time such as `500ms`, `30s` or `5m`";
        parse_duration(value)
            .map(Some)
            .ok_or_else(|| wrong(name, value, right))
    }

    /// The value of an option that is a number within limits.
    pub fn number(
        &self,
        name: &'static str,
        limits: RangeInclusive<usize>,
    ) -> Result<Option<usize>, OptionError> {
        let Some(value) = self.one(name)? else {
            return Ok(None);
        };
        let number = value.parse().ok().filter(|number| limits.contains(number));
        let right = format!("use a number from {} to {}", limits.start(), limits.end());
        number.map(Some).ok_or_else(|| wrong(name, value, &right))
    }

    /// The values of an option that is `KEY VALUE` and may repeat.
    pub fn pairs(&self, name: &'static str) -> Result<Vec<Pair>, OptionError> {
        self.all(name)
            .map(|text| key_and_value(name, text))
            .collect()
    }

    /// The options that filter and output have in common.
    pub fn common(&self) -> Result<CommonOptions, OptionError> {
        const OUTCOMES: [(&str, OnOther); 2] = [("keep", OnOther::Keep), ("drop", OnOther::Drop)];
        let settings = Settings {
            format: self.choice(
                "format",
                &[
                    ("auto", Format::Auto),
                    ("map", Format::Map),
                    ("json", Format::Json),
                    ("cri", Format::Cri),
                ],
            )?,
            log_key: self.one("log_key")?.map(str::to_owned),
            output_shape: self.choice(
                "output_shape",
                &[
                    ("keep", OutputShape::Keep),
                    ("map", OutputShape::Map),
                    ("json", OutputShape::Json),
                ],
            )?,
            non_audit: self.choice("non_audit", &OUTCOMES)?,
            on_error: self.choice("on_error", &OUTCOMES)?,
            event_time: self.choice(
                "event_time",
                &[
                    ("keep", EventTimeSource::Keep),
                    ("stage", EventTimeSource::Stage),
                    ("received", EventTimeSource::Received),
                ],
            )?,
            enrichment: self.enrichment()?,
        };
        let policy_reload = match self.one("policy_reload")? {
            None => Some(Duration::from_secs(30)),
            Some(value) => reload_interval(value)?,
        };
        Ok(CommonOptions {
            policy: self.policy()?,
            policy_reload,
            conditions: self.conditions()?,
            settings,
        })
    }

    fn policy(&self) -> Result<Option<PolicySource>, OptionError> {
        let mut found: Option<(&str, PolicySource)> = None;
        for name in ["policy_preset", "policy_file", "policy_env", "policy"] {
            let Some(value) = self.one(name)? else {
                continue;
            };
            if let Some((other, _)) = found {
                return Err(OptionError(format!(
                    "`{}` and `{}` are both set: a section has one policy",
                    display_name(other),
                    display_name(name)
                )));
            }
            found = Some((name, PolicySource::new(name, value)?));
        }
        Ok(found.map(|(_, source)| source))
    }

    /// `Regex` and `Exclude`.
    fn conditions(&self) -> Result<Vec<ConditionOption>, OptionError> {
        let mut conditions = Vec::new();
        for (name, effect) in conditions::NAMES {
            for value in self.all(name) {
                conditions.push(ConditionOption::parse(name, effect, value)?);
            }
        }
        Ok(conditions)
    }

    fn enrichment(&self) -> Result<Enrichment, OptionError> {
        let mut records = self.pairs("record")?;
        for value in self.all("records") {
            // KKP's templates turn quotes into entities, whose semicolons are none of ours.
            for part in split_outside_quotes(&entities::decode(value)) {
                records.push(key_and_value("records", part)?);
            }
        }
        let patterns = |name: &str| self.all(name).map(KeyPattern::new).collect::<Vec<_>>();
        let remove = patterns("remove_key");
        let mut allow = patterns("allowlist_key");
        allow.extend(patterns(WHITELIST_KEY));
        let keys = match (remove.is_empty(), allow.is_empty()) {
            (true, true) => KeyRule::KeepAll,
            (false, true) => KeyRule::Remove(remove),
            (true, false) => KeyRule::Allow(allow),
            (false, false) => {
                return Err(OptionError(
                    "`Remove_key` and `Allowlist_key` are both set: either name the keys that go, or those that stay"
                        .to_owned(),
                ));
            }
        };
        let uuid_key = self.one("uuid_key")?.map(|key| key.as_bytes().to_vec());
        Ok(Enrichment {
            records,
            keys,
            uuid_key,
        })
    }
}

fn reload_interval(value: &str) -> Result<Option<Duration>, OptionError> {
    if ["off", "false", "no"]
        .iter()
        .any(|off| off.eq_ignore_ascii_case(value))
    {
        return Ok(None);
    }
    let right = "use a time such as `30s`, `5m` or `1h`, or `off`";
    parse_duration(value)
        .map(Some)
        .ok_or_else(|| wrong("policy_reload", value, right))
}

/// A time as Fluent Bit writes it: `500ms`, `30s`, `5m`, `1h`, or seconds. Never zero.
fn parse_duration(value: &str) -> Option<Duration> {
    let (number, unit) = match value.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => value.split_at(at),
        None => (value, "s"),
    };
    let milliseconds = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    match number.parse::<u32>() {
        Ok(number @ 1..) => Some(Duration::from_millis(u64::from(number) * milliseconds)),
        _ => None,
    }
}

/// Reads `KEY VALUE` as record_modifier does: two words, each of which may stand in
/// double quotes, with `\"` for a quote.
fn key_and_value(name: &'static str, text: &str) -> Result<Pair, OptionError> {
    let expected = "expected `KEY VALUE`, with double quotes around a part that holds blanks";
    let mut rest = text.trim_matches(' ');
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted
                    .match_indices('"')
                    .map(|(at, _)| at)
                    .find(|&at| at == 0 || quoted.as_bytes()[at - 1] != b'\\')
                    .ok_or_else(|| wrong(name, text, "the double quote is not closed"))?;
                (quoted[..end].replace("\\\"", "\""), &quoted[end + 1..])
            }
            None => {
                let end = rest.find(' ').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start_matches(' ');
    }
    match <[String; 2]>::try_from(words) {
        Ok([key, value]) if !key.is_empty() => Ok((key.into_bytes(), value.into_bytes())),
        Ok(_) => Err(wrong(name, text, "the key is empty")),
        Err(words) if words.len() == 1 => Err(wrong(
            name,
            text,
            &format!("{expected} (a variable that is not set expands to nothing)"),
        )),
        Err(_) => Err(wrong(name, text, expected)),
    }
}

/// The parts of a text between semicolons that stand outside double quotes.
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

    fn properties(lines: &[(&str, &str)]) -> Properties {
        lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn common(lines: &[(&str, &str)]) -> Result<CommonOptions, String> {
        let properties = properties(lines);
        Options::new(&properties, &[])
            .and_then(|options| options.common())
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
            &[("Polcy_File", "x")],
            &["unknown option `Polcy_File`", "`Policy_File`"],
        );
        check(
            &[("Frobnicate", "x")],
            &[
                "unknown option `Frobnicate`",
                "known options are Allowlist_key, Event_Time",
            ],
        );
        check(
            &[("Format", "xml")],
            &["`Format` is `xml`", "auto, map, json, cri"],
        );
        check(&[("On_Error", "")], &["`On_Error` is empty"]);
        check(
            &[("Non_Audit", "keep"), ("non_audit", "drop")],
            &["`Non_Audit` is set twice", "`keep` and `drop`"],
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
            &["`Policy_Preset` and `Policy_File`"],
        );
        check(
            &[("Policy_Preset", "minimul")],
            &["`Policy_Preset` is `minimul`", "minimal"],
        );
    }
}
