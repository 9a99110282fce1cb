//! The options of one section or node, read by their rows in the table.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::ops::{Deref, RangeInclusive};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::choice::Choice;
use super::entities;
use super::error::{FileLine, OptionError, Problem};
use super::host::HostSettings;
use super::table::{self, Entities, OptionDef, Owner, SectionKind, Value};

/// Names and values of one plugin section, in the order of the configuration file.
/// Letter case of names does not count; a name may repeat.
pub type Properties = Vec<(String, String)>;

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The options of one section of a configuration, or of one node of an `Upstream` file.
#[derive(Debug)]
pub struct Options<'p> {
    kind: SectionKind,
    place: Option<Place>,
    entries: Vec<Entry<'p>>,
}

/// The place of a section in a file.
#[derive(Clone, Debug)]
struct Place {
    file: Arc<str>,
    line: usize,
}

#[derive(Debug)]
struct Entry<'p> {
    def: &'static OptionDef,
    value: Cow<'p, str>,
    line: Option<usize>,
}

/// An option that is set, with its value. Every error about it is made here, so that it has
/// the option's name and place, and no secret.
#[derive(Clone, Debug)]
pub struct Given<'o> {
    def: &'static OptionDef,
    value: Cow<'o, str>,
    place: Option<FileLine>,
}

impl Deref for Given<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.value
    }
}

impl Given<'_> {
    /// The option's row.
    pub fn def(&self) -> &'static OptionDef {
        self.def
    }

    /// The place in a file, for an option of a node.
    pub fn place(&self) -> Option<&FileLine> {
        self.place.as_ref()
    }

    /// The value.
    pub fn into_value(self) -> String {
        self.value.into_owned()
    }

    /// Copies the option, so that it outlives the section.
    pub fn into_owned(self) -> Given<'static> {
        Given {
            def: self.def,
            value: Cow::Owned(self.value.into_owned()),
            place: self.place,
        }
    }

    /// An error: the value is not one that the option takes.
    pub fn invalid(&self, expected: impl fmt::Display) -> OptionError {
        OptionError::invalid(self.def, &self.value, expected).at(self.place.clone())
    }

    /// Returns an error for an invalid value, with the parser's error as its source.
    pub fn rejected(&self, error: impl Error + Send + Sync + 'static) -> OptionError {
        self.invalid(&error).with_source(error)
    }

    /// An error about the option that is not about its value's form.
    pub fn error(&self, problem: Problem) -> OptionError {
        OptionError::new(self.def.name, problem).at(self.place.clone())
    }

    /// An error of something that the option names: the sentence is that error's own.
    pub fn caused_by(&self, error: impl Error + Send + Sync + 'static) -> OptionError {
        OptionError::caused_by(self.def, error).at(self.place.clone())
    }

    /// An error: the option excludes another one that is set.
    pub fn conflict(&self, with: &OptionDef, expected: impl Into<String>) -> OptionError {
        self.error(Problem::Conflict {
            with: with.name,
            expected: expected.into(),
        })
    }

    /// An error: the option needs another one.
    pub fn requires(&self, needs: &OptionDef, expected: impl Into<String>) -> OptionError {
        self.error(Problem::Requires {
            needs: needs.name,
            expected: expected.into(),
        })
    }

    /// An error: the option is known, and not supported.
    pub fn unsupported(&self, expected: impl Into<String>) -> OptionError {
        self.error(Problem::Unsupported {
            expected: expected.into(),
        })
    }

    /// The value as key and value.
    pub fn pair(&self) -> Result<Pair, OptionError> {
        self.pair_in(&self.value)
    }

    /// A part of the value as key and value, as record_modifier reads it: two words, each of
    /// which may be in double quotes, with `\"` for a quote.
    pub(super) fn pair_in(&self, text: &str) -> Result<Pair, OptionError> {
        let wrong =
            |expected: &str| OptionError::invalid(self.def, text, expected).at(self.place.clone());
        let words = words(text).ok_or_else(|| wrong("the double quote is not closed"))?;
        let expected = "expected `KEY VALUE`, with double quotes around a part that holds blanks";
        match <[String; 2]>::try_from(words) {
            Ok([key, value]) if !key.is_empty() => Ok((key.into_bytes(), value.into_bytes())),
            Ok(_) => Err(wrong("the key is empty")),
            Err(words) if words.len() == 1 => Err(wrong(&format!(
                "{expected} (a variable that is not set expands to nothing)"
            ))),
            Err(_) => Err(wrong(expected)),
        }
    }
}

/// The words of a text; `None` if a double quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim_matches(' ');
    let mut words = Vec::new();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\';
                    closes
                })?;
                let (word, after) = quoted.split_at(end);
                (word.replace("\\\"", "\""), after.get(1..)?)
            }
            None => {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                (word.to_owned(), after)
            }
        };
        words.push(word);
        rest = after.trim_start_matches(' ');
    }
    Some(words)
}

impl<'p> Options<'p> {
    /// The options of an input.
    pub fn input(properties: &'p Properties) -> Result<Options<'p>, OptionError> {
        Options::section(SectionKind::Input, properties)
    }

    /// The options of a filter.
    pub fn filter(properties: &'p Properties) -> Result<Options<'p>, OptionError> {
        Options::section(SectionKind::Filter, properties)
    }

    /// The options of an output, with those that the host keeps to itself.
    pub fn output(
        properties: &'p Properties,
        host: &HostSettings,
    ) -> Result<Options<'p>, OptionError> {
        let mut options = Options::section(SectionKind::Output, properties)?;
        let kept = host.options().map(|(def, value)| Entry {
            def,
            value: Cow::Owned(value),
            line: None,
        });
        options.entries.extend(kept);
        Ok(options)
    }

    /// The options of a section as the configuration file has it.
    pub fn section(
        kind: SectionKind,
        properties: &'p Properties,
    ) -> Result<Options<'p>, OptionError> {
        let entry = |(name, value): &'p (String, String)| {
            let def = table::lookup(kind, name)?;
            let value = match def.entities {
                Entities::Keep => Cow::Borrowed(value.trim()),
                Entities::Undo => entities::decode(value.trim()),
                Entities::UndoIfEscaped => entities::decode_escaped(value.trim()),
            };
            Ok(Entry {
                def,
                value,
                line: None,
            })
        };
        Ok(Options {
            kind,
            place: None,
            entries: properties.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }

    /// The options of a node that begins in a line of a file; entries are line, name and value.
    pub fn node(
        file: &str,
        line: usize,
        entries: impl IntoIterator<Item = (usize, String, String)>,
    ) -> Result<Options<'static>, OptionError> {
        let kind = SectionKind::Node;
        let entry = |(line, name, value): (usize, String, String)| {
            let place = FileLine {
                file: file.to_owned(),
                line,
            };
            Ok(Entry {
                def: table::lookup(kind, &name).map_err(|error| error.at(Some(place)))?,
                value: Cow::Owned(value),
                line: Some(line),
            })
        };
        Ok(Options {
            kind,
            place: Some(Place {
                file: file.into(),
                line,
            }),
            entries: entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        })
    }

    /// The kind of section.
    pub fn kind(&self) -> SectionKind {
        self.kind
    }

    fn given<'o>(&self, entry: &'o Entry<'p>) -> Given<'o> {
        Given {
            def: entry.def,
            value: Cow::Borrowed(&*entry.value),
            place: self.place_of(entry.line),
        }
    }

    fn place_of(&self, line: Option<usize>) -> Option<FileLine> {
        self.place.as_ref().map(|place| FileLine {
            file: place.file.to_string(),
            line: line.unwrap_or(place.line),
        })
    }

    /// An error about something that the section lacks.
    pub fn missing(&self, found: impl Into<String>, expected: impl Into<String>) -> OptionError {
        OptionError::other(found, expected).at(self.place_of(None))
    }

    /// An option that may be set any number of times, in the order of the section.
    pub fn all(&self, def: &OptionDef) -> Result<Vec<Given<'_>>, OptionError> {
        let entries = self
            .entries
            .iter()
            .filter(|entry| entry.def.name == def.name);
        let given = entries.map(|entry| {
            let given = self.given(entry);
            match given.is_empty() {
                true => Err(given.error(Problem::Empty)),
                false => Ok(given),
            }
        });
        given.collect()
    }

    /// An option that may be set once.
    pub fn one(&self, def: &OptionDef) -> Result<Option<Given<'_>>, OptionError> {
        let mut entries = self
            .entries
            .iter()
            .filter(|entry| entry.def.name == def.name);
        let Some(entry) = entries.next() else {
            return Ok(None);
        };
        if let Some(again) = entries.next() {
            return Err(self
                .given(again)
                .error(Problem::Repeated { first: entry.line }));
        }
        let given = self.given(entry);
        match given.is_empty() {
            true => Err(given.error(Problem::Empty)),
            false => Ok(Some(given)),
        }
    }

    /// The value of an option that is free text.
    pub fn text(&self, def: &OptionDef) -> Result<Option<String>, OptionError> {
        Ok(self.one(def)?.map(Given::into_value))
    }

    /// The value of an option that names one of a few things, or the default one.
    pub fn choice<T: Choice>(&self, def: &OptionDef) -> Result<T, OptionError> {
        let Some(given) = self.one(def)? else {
            return Ok(T::default());
        };
        let found = T::CHOICES
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&given));
        match found {
            Some(&(_, value)) => Ok(value),
            None => Err(given.invalid(one_of(&super::choice::words::<T>()))),
        }
    }

    /// The value of an option whose type reads itself.
    pub fn parse<T>(&self, def: &OptionDef) -> Result<Option<T>, OptionError>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let given = self.one(def)?;
        let read = |given: Given<'_>| given.parse().map_err(|error| given.rejected(error));
        given.map(read).transpose()
    }

    /// The value of an option that is on or off.
    pub fn flag(&self, def: &OptionDef) -> Result<Option<bool>, OptionError> {
        let read =
            |given: Given<'_>| as_flag(&given).ok_or_else(|| given.invalid("use `on` or `off`"));
        self.one(def)?.map(read).transpose()
    }

    /// An option, if it is set to `off`.
    pub fn switched_off(&self, def: &OptionDef) -> Result<Option<Given<'_>>, OptionError> {
        match self.flag(def)? {
            Some(false) => self.one(def),
            _ => Ok(None),
        }
    }

    /// The value of an option that is a time.
    pub fn duration(&self, def: &OptionDef) -> Result<Option<Duration>, OptionError> {
        let read = |given: Given<'_>| {
            let expected = "use a time such as `500ms`, `30s` or `5m`";
            as_duration(&given).ok_or_else(|| given.invalid(expected))
        };
        self.one(def)?.map(read).transpose()
    }

    /// The value of an option that is a time or `off`, for which this is `None`.
    pub fn duration_or_off(
        &self,
        def: &OptionDef,
        default: Duration,
    ) -> Result<Option<Duration>, OptionError> {
        let Some(given) = self.one(def)? else {
            return Ok(Some(default));
        };
        if as_flag(&given) == Some(false) {
            return Ok(None);
        }
        let expected = "use a time such as `30s`, `5m` or `1h`, or `off`";
        let duration = as_duration(&given).ok_or_else(|| given.invalid(expected))?;
        Ok(Some(duration))
    }

    /// The value of an option that is a number, within the limits of its row.
    pub fn number(&self, def: &OptionDef) -> Result<Option<usize>, OptionError> {
        let limits = match &def.value {
            Value::Number(limits) => limits.clone(),
            _ => 0..=usize::MAX,
        };
        let read = |given: Given<'_>| {
            as_number(&given, &limits).ok_or_else(|| given.invalid(number_within(&limits)))
        };
        self.one(def)?.map(read).transpose()
    }

    /// The value of an option that is a number of bytes, within the limits of its row.
    pub fn size(&self, def: &OptionDef) -> Result<Option<usize>, OptionError> {
        let limits = match &def.value {
            Value::Size(limits) => limits.clone(),
            _ => 0..=usize::MAX,
        };
        let read = |given: Given<'_>| {
            let size = as_size(&given).filter(|size| limits.contains(size));
            size.ok_or_else(|| {
                let (least, most) = (limits.start(), limits.end());
                given.invalid(format!(
                    "use a number of bytes from {least} to {most}, such as `512k` or `8M`"
                ))
            })
        };
        self.one(def)?.map(read).transpose()
    }

    /// The values of an option that is `KEY VALUE` and may repeat.
    pub fn pairs(&self, def: &OptionDef) -> Result<Vec<Pair>, OptionError> {
        self.all(def)?.iter().map(Given::pair).collect()
    }

    /// Checks the values of the host's own options, which the host takes as they are: a port
    /// that is not a number is the default port to it.
    pub fn check_host_values(&self) -> Result<(), OptionError> {
        let of_host = |entry: &&Entry<'_>| entry.def.owner == Owner::Host;
        for entry in self.entries.iter().filter(of_host) {
            let given = self.given(entry);
            let expected = match &entry.def.value {
                Value::Flag if as_flag(&given).is_none() => "use `on` or `off`".to_owned(),
                Value::Number(limits) if as_number(&given, limits).is_none() => {
                    number_within(limits)
                }
                Value::Choice(words) if !words().iter().any(|w| w.eq_ignore_ascii_case(&given)) => {
                    one_of(&words())
                }
                _ => continue,
            };
            return Err(given.invalid(expected));
        }
        Ok(())
    }
}

fn one_of(words: &[&str]) -> String {
    format!("use one of {}", words.join(", "))
}

fn number_within(limits: &RangeInclusive<usize>) -> String {
    format!("use a number from {} to {}", limits.start(), limits.end())
}

fn as_number(text: &str, limits: &RangeInclusive<usize>) -> Option<usize> {
    text.parse().ok().filter(|number| limits.contains(number))
}

/// `on` or `off`, in all the words that the host takes for them.
fn as_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// A number of bytes with a unit. `k`, `M` and `G` are powers of 1,000, as they are to Fluent
/// Bit; `Ki`, `Mi` and `Gi` are powers of 1,024. A `B` may follow.
pub(super) fn as_size(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit: usize = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "ki" | "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mi" | "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

/// A time as Fluent Bit writes it: `500ms`, `30s`, `5m`, `1h`, or seconds. Never zero.
fn as_duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let milliseconds = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    match number.parse::<u32>() {
        Ok(number @ 1..) => Some(Duration::from_millis(
            u64::from(number).saturating_mul(milliseconds),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::table::*;

    fn properties(lines: &[(&str, &str)]) -> Properties {
        lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("1", Some(1)),
            ("512k", Some(512_000)),
            ("8M", Some(8_000_000)),
            ("8MB", Some(8_000_000)),
            ("1g", Some(1_000_000_000)),
            ("8 M", Some(8_000_000)),
            ("8Mi", Some(8 << 20)),
            ("8x", None),
            ("-1", None),
            ("k", None),
            ("", None),
            ("99999999999999999999", None),
            ("99999999999G", None),
        ] {
            assert_eq!(as_size(text), size, "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, milliseconds) in [
            ("500ms", Some(500)),
            ("30", Some(30_000)),
            ("30 s", Some(30_000)),
            ("5M", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0", None),
            ("", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("99999999999s", None),
        ] {
            assert_eq!(
                as_duration(text),
                milliseconds.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn sections_and_nodes_are_read_alike() {
        type Lines = &'static [(&'static str, &'static str)];
        let cases: [(Lines, &OptionDef, &str); 5] = [
            (
                &[("tls", "perhaps")],
                TLS,
                "`tls` is `perhaps`: use `on` or `off`",
            ),
            (&[("TLS", "")], TLS, "`tls` is empty"),
            (
                &[("shared_key", "hunter2"), ("Shared_Key", "hunter3")],
                SHARED_KEY,
                "`Shared_Key` is set",
            ),
            (
                &[("password", "hunter2"), ("Password", "hunter3")],
                PASSWORD,
                "`Password` is set",
            ),
            (
                &[("port", "x")],
                PORT,
                "`Port` is `x`: use a number from 1 to 65535",
            ),
        ];
        for (lines, def, message) in cases {
            let section = properties(lines);
            let section = Options::section(SectionKind::Output, &section).unwrap();
            let entries = (3..)
                .zip(lines)
                .map(|(line, (name, value))| (line, (*name).to_owned(), (*value).to_owned()));
            let node = Options::node("nodes.conf", 2, entries).unwrap();
            for (options, place) in [(&section, ""), (&node, "nodes.conf:")] {
                let result = match def.value {
                    Value::Flag => options.flag(def).map(drop),
                    Value::Number(_) => options.number(def).map(drop),
                    _ => options.text(def).map(drop),
                };
                let error = result.unwrap_err();
                assert_eq!(error.option(), Some(def.name));
                let error = error.to_string();
                assert!(
                    error.starts_with(place) && error.contains(message),
                    "{error}"
                );
                assert!(!error.contains("hunter"), "{error}");
            }
        }
    }

    #[test]
    fn errors_of_a_node_have_its_line() {
        let entries = |lines: &[(usize, &str, &str)]| {
            let owned = |&(line, name, value): &(usize, &str, &str)| {
                (line, name.to_owned(), value.to_owned())
            };
            lines.iter().map(owned).collect::<Vec<_>>()
        };
        let node = Options::node("n", 3, entries(&[(4, "host", "a"), (6, "Host", "b")])).unwrap();
        assert_eq!(
            node.one(HOST).unwrap_err().to_string(),
            "n:6: `Host` is set already, in line 4: set it once"
        );
        let error = Options::node("n", 3, entries(&[(5, "Shared_Key=hunter2", "")])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "n:5: unknown option `Shared_Key…`: write `Shared_Key`, a blank and the value"
        );
    }

    #[test]
    fn entities_are_undone_in_sections_alone() {
        let lines = [
            ("Shared_Key", "a&amp;b"),
            ("Regex", "&#34;x"),
            ("Tag", "&amp;"),
        ];
        let section = properties(&lines);
        let section = Options::section(SectionKind::Output, &section).unwrap();
        let text = |def| section.text(def).unwrap().unwrap();
        assert_eq!(
            (text(SHARED_KEY), text(TAG)),
            ("a&b".into(), "&amp;".into())
        );
        assert_eq!(&*section.all(REGEX).unwrap()[0], "\"x");
        let entry = (1, "shared_key".to_owned(), "a&amp;b".to_owned());
        let node = Options::node("n", 1, [entry]).unwrap();
        assert_eq!(node.text(SHARED_KEY).unwrap().unwrap(), "a&amp;b");
    }

    #[test]
    fn host_values() {
        let check = |name: &str, value: &str| {
            let section = properties(&[(name, value)]);
            let options = Options::section(SectionKind::Output, &section).unwrap();
            options
                .check_host_values()
                .map_err(|error| error.to_string())
        };
        for (name, value) in [
            ("Port", "0"),
            ("Port", "abc"),
            ("tls", "maybe"),
            ("Log_Level", "loud"),
        ] {
            let error = check(name, value).unwrap_err();
            assert!(
                error.starts_with(&format!("`{name}` is `{value}`: use")),
                "{error}"
            );
        }
        for (name, value) in [
            ("Port", "1"),
            ("tls", "On"),
            ("Log_Level", "DEBUG"),
            ("Match", ""),
        ] {
            assert_eq!(check(name, value), Ok(()));
        }
    }
}
