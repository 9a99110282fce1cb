//! `Regex` and `Exclude`: conditions that events and records must meet to stay.

use crate::stage::{Condition, Effect, FieldPath, Pattern, Place};

use super::error::OptionError;
use super::read::{Given, Options};
use super::table;

/// The host's regular expressions.
pub trait Patterns {
    /// Compiles a pattern; `None` if the host cannot.
    fn compile(&self, pattern: &str) -> Option<Box<dyn Pattern>>;
}

/// One `Regex` or `Exclude` of a section, not yet compiled.
#[derive(Clone, Debug)]
pub struct ConditionOption {
    given: Given<'static>,
    effect: Effect,
    place: Place,
    pattern: String,
}

impl ConditionOption {
    /// Reads all of a section.
    pub(super) fn read(options: &Options<'_>) -> Result<Vec<ConditionOption>, OptionError> {
        let mut conditions = Vec::new();
        for (def, effect) in [
            (table::REGEX, Effect::Require),
            (table::EXCLUDE, Effect::Exclude),
        ] {
            for given in options.all(def)? {
                conditions.push(ConditionOption::parse(given, effect)?);
            }
        }
        Ok(conditions)
    }

    /// Reads `PATTERN`, `KEY PATTERN` or `* PATTERN`.
    fn parse(given: Given<'_>, effect: Effect) -> Result<ConditionOption, OptionError> {
        let (place, pattern) = match given.split_once(' ') {
            None => (Place::Anywhere, &*given),
            Some(("*", pattern)) => (Place::Anywhere, pattern.trim_start()),
            Some((key, pattern)) => {
                let expected = "the part before the first blank is not a key: put `*` and a blank \
                                in front of a pattern with blanks";
                let path = FieldPath::parse(key).ok_or_else(|| given.invalid(expected))?;
                (Place::Field(path), pattern.trim_start())
            }
        };
        // Hosts before 5.1.0 read beyond the end of these two.
        if matches!(pattern, "" | "/") {
            return Err(given.invalid("give it a pattern"));
        }
        let pattern = pattern.to_owned();
        Ok(ConditionOption {
            given: given.into_owned(),
            effect,
            place,
            pattern,
        })
    }

    /// Lets the host compile the pattern; `patterns` is what it offers.
    pub fn compile(self, patterns: Option<&dyn Patterns>) -> Result<Condition, OptionError> {
        let Some(patterns) = patterns else {
            let expected = "this Fluent Bit was built without regular expressions; leave it out";
            return Err(self.given.unsupported(expected));
        };
        let compiled = patterns.compile(&self.pattern).ok_or_else(|| {
            let expected =
                "Fluent Bit cannot compile the pattern; its `grep` filter takes the same";
            self.given.invalid(expected)
        })?;
        Ok(Condition {
            effect: self.effect,
            place: self.place,
            pattern: compiled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Vec<ConditionOption>, OptionError> {
        let properties = vec![(name.to_owned(), value.to_owned())];
        ConditionOption::read(&Options::filter(&properties)?)
    }

    #[test]
    fn values() {
        let field = |path| Place::Field(FieldPath::parse(path).unwrap());
        for (value, place, pattern) in [
            ("user@example.com", Place::Anywhere, "user@example.com"),
            ("verb ^(get|list)$", field("verb"), "^(get|list)$"),
            (
                "$user[&#39;username&#39;]  a b",
                field("$user['username']"),
                "a b",
            ),
            (
                "* &#34;level&#34;: &#34;R.&#43;",
                Place::Anywhere,
                "\"level\": \"R.+",
            ),
            ("/api/i", Place::Anywhere, "/api/i"),
        ] {
            let option = read("Regex", value).unwrap().remove(0);
            assert_eq!((option.place, &option.pattern[..]), (place, pattern));
        }
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (value, part) in [
            ("/", "give it a pattern"),
            ("log /", "give it a pattern"),
            (
                "\"level\": x",
                "is `\"level\": x`: the part before the first blank is not a key",
            ),
        ] {
            let error = read("exclude", value).unwrap_err().to_string();
            assert!(
                error.starts_with("`Exclude` is `") && error.contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn patterns_are_the_hosts() {
        struct Refuses;
        impl Patterns for Refuses {
            fn compile(&self, _: &str) -> Option<Box<dyn Pattern>> {
                None
            }
        }
        let option = || read("Regex", "verb (").unwrap().remove(0);
        let error = |patterns| option().compile(patterns).err().unwrap().to_string();
        let refused = error(Some(&Refuses));
        assert!(refused.starts_with("`Regex` is `verb (`: Fluent Bit cannot compile"));
        assert!(error(None).contains("built without"));
    }
}
