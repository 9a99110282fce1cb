//! An option that is wrong: which one, where, what was found and what would be right.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::table::{OptionDef, Secrecy, SectionKind, TABLE};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLine {
    /// The file as it was named.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An option, or a part of a file with options, that cannot be used.
///
/// The sentence names the option, what was found and what would be right. Values of secret
/// options are not in it.
#[derive(Debug)]
pub struct OptionError(Box<Details>);

#[derive(Debug)]
struct Details {
    /// The option's name as documented, or an unknown one as far as it can be shown.
    option: Option<Cow<'static, str>>,
    place: Option<FileLine>,
    problem: Problem,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The ways in which an option can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No option has that name.
    Unknown {
        /// Names that may have been meant.
        expected: String,
    },
    /// The option belongs to another kind of section.
    Misplaced {
        /// Section in which the option was found.
        section: SectionKind,
        /// Sections that take the option.
        belongs: &'static [SectionKind],
    },
    /// The value is not one that the option takes.
    Invalid {
        /// The value; `None` if it is secret.
        found: Option<String>,
        /// The values that it takes.
        expected: String,
    },
    /// The value is empty.
    Empty,
    /// The option is set more than once.
    Repeated {
        /// The line of the first one, in a file.
        first: Option<usize>,
    },
    /// Another option is set that excludes it.
    Conflict {
        /// The other option.
        with: &'static str,
        /// The way out.
        expected: String,
    },
    /// Another option is missing that it needs.
    Requires {
        /// The other option, and its value if that matters.
        needs: &'static str,
        /// The reason, and the way out.
        expected: String,
    },
    /// The option is known and not supported.
    Unsupported {
        /// The reason, and what to do instead.
        expected: String,
    },
    /// Something that the option names or holds: the error's source says what.
    Cause,
    /// Anything else.
    Other {
        /// Value or option that was found.
        found: String,
        /// The way out.
        expected: String,
    },
}

impl OptionError {
    /// An error about the option of that name.
    pub fn new(option: impl Into<Cow<'static, str>>, problem: Problem) -> OptionError {
        OptionError(Box::new(Details {
            option: Some(option.into()),
            place: None,
            problem,
            source: None,
        }))
    }

    /// An error about no option in particular.
    pub fn other(found: impl Into<String>, expected: impl Into<String>) -> OptionError {
        let problem = Problem::Other {
            found: found.into(),
            expected: expected.into(),
        };
        OptionError(Box::new(Details {
            option: None,
            place: None,
            problem,
            source: None,
        }))
    }

    /// A value that the option does not take.
    pub fn invalid(def: &OptionDef, found: &str, expected: impl fmt::Display) -> OptionError {
        let problem = Problem::Invalid {
            found: shown_value(def, found),
            expected: expected.to_string(),
        };
        OptionError::new(def.name, problem)
    }

    /// An error of something that the option names or holds: its own sentence says it all.
    pub fn caused_by(def: &OptionDef, error: impl Error + Send + Sync + 'static) -> OptionError {
        OptionError::new(def.name, Problem::Cause).with_source(error)
    }

    /// Adds the place.
    pub fn at(mut self, place: Option<FileLine>) -> OptionError {
        self.0.place = place;
        self
    }

    /// Adds the error that it comes from.
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> OptionError {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The name of the option that it is about; of two, the first one.
    pub fn option(&self) -> Option<&str> {
        self.0.option.as_deref()
    }

    /// The place in a file.
    pub fn place(&self) -> Option<&FileLine> {
        self.0.place.as_ref()
    }

    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }
}

impl Error for OptionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            option,
            place,
            problem,
            source,
        } = &*self.0;
        if let Some(place) = place {
            write!(f, "{place}: ")?;
        }
        let name = option.as_deref().unwrap_or_default();
        match problem {
            Problem::Unknown { expected } => write!(f, "unknown option `{name}`: {expected}"),
            Problem::Misplaced { section, belongs } => {
                let belongs: Vec<_> = belongs.iter().map(|&kind| full_name(kind)).collect();
                write!(
                    f,
                    "`{name}` is not an option of {}: it belongs to {}",
                    section.name(),
                    belongs.join(" or ")
                )
            }
            Problem::Invalid {
                found: Some(found),
                expected,
            } => write!(f, "`{name}` is `{found}`: {expected}"),
            Problem::Invalid {
                found: None,
                expected,
            } => write!(f, "`{name}` has an invalid value: {expected}"),
            Problem::Empty => write!(
                f,
                "`{name}` is empty: give it a value or leave it out (a variable that is not set \
                 expands to nothing)"
            ),
            Problem::Repeated { first: None } => write!(f, "`{name}` is set twice: set it once"),
            Problem::Repeated { first: Some(line) } => {
                write!(f, "`{name}` is set already, in line {line}: set it once")
            }
            Problem::Conflict { with, expected } => {
                write!(f, "`{name}` and `{with}` are both set: {expected}")
            }
            Problem::Requires { needs, expected } => {
                write!(f, "`{name}` is set without `{needs}`: {expected}")
            }
            Problem::Unsupported { expected } => {
                write!(f, "`{name}` is not supported: {expected}")
            }
            Problem::Cause => match source {
                Some(source) => source.fmt(f),
                None => write!(f, "`{name}` cannot be used"),
            },
            Problem::Other { found, expected } => write!(f, "{found}: {expected}"),
        }
    }
}

fn full_name(section: SectionKind) -> &'static str {
    match section {
        SectionKind::Node => "a node of an `Upstream` file",
        other => other.name(),
    }
}

/// A value as messages may show it; `None` if they may not.
fn shown_value(def: &OptionDef, value: &str) -> Option<String> {
    match def.secrecy {
        Secrecy::Public => Some(value.to_owned()),
        Secrecy::MayHold => Some(without_credentials(value).into_owned()),
        Secrecy::Secret => None,
    }
}

/// Addresses without what precedes an `@`, which may be a user and a password:
/// `tcp://…@host:24224`.
pub fn without_credentials(addresses: &str) -> Cow<'_, str> {
    if !addresses.contains('@') {
        return Cow::Borrowed(addresses);
    }
    // A password may hold a comma: all up to the last `@` goes.
    let (before, host) = addresses.rsplit_once('@').unwrap_or(("", addresses));
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    let known = ["tcp", "tls", "unix"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme));
    let scheme = if known {
        format!("{scheme}://")
    } else {
        String::new()
    };
    Cow::Owned(format!("{scheme}…@{host}"))
}

/// True if a line of a file names a secret option, so that no part of it may be shown.
pub fn may_hold_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    TABLE
        .iter()
        .filter(|def| def.secrecy == Secrecy::Secret)
        .any(|def| line.contains(&def.name.to_ascii_lowercase()))
}

/// The part of an unknown name that a message may show. A name may have a value stuck to it:
/// `Shared_Key=…`.
pub fn printable(name: &str) -> String {
    /// Longer than any name.
    const MAX: usize = 64;
    let is_odd = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '*' | '@'));
    let secret = TABLE
        .iter()
        .filter(|def| def.secrecy == Secrecy::Secret)
        .map(|def| def.name)
        .find(|secret| {
            name.len() > secret.len()
                && name
                    .get(..secret.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(secret))
        });
    let end = name
        .char_indices()
        .find(|&(at, c)| at >= MAX || is_odd(c))
        .map_or(name.len(), |(at, _)| at);
    let end = secret.map_or(end, |secret| end.min(secret.len()));
    match name.get(..end) {
        Some(start) if end < name.len() => format!("{start}…"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::table;

    #[test]
    fn credentials_in_addresses_are_not_shown() {
        for (text, shown) in [
            ("host:24224", "host:24224"),
            ("tcp://user:pass@host:1", "tcp://…@host:1"),
            ("user:pass@host", "…@host"),
            ("a:1, TLS://u:p@b:2", "…@b:2"),
            ("tcp://u:p@ss,word@host", "tcp://…@host"),
            ("https://u:p@host/x", "…@host/x"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }

    #[test]
    fn values_of_secret_options_are_not_shown() {
        for def in table::TABLE {
            let error = OptionError::invalid(def, "tcp://u:hunter2@h", "…").to_string();
            let public = def.secrecy == Secrecy::Public;
            assert_eq!(error.contains("hunter2"), public, "{error}");
        }
    }

    #[test]
    fn keeps_option_place_and_source() {
        let place = FileLine {
            file: "nodes.conf".to_owned(),
            line: 7,
        };
        let error = OptionError::invalid(table::PORT, "x", "use a number")
            .at(Some(place.clone()))
            .with_source("x".parse::<u16>().unwrap_err());
        assert_eq!(
            error.to_string(),
            "nodes.conf:7: `Port` is `x`: use a number"
        );
        assert_eq!(
            (error.option(), error.place()),
            (Some("Port"), Some(&place))
        );
        assert!(error.source().unwrap().is::<std::num::ParseIntError>());
    }
}
