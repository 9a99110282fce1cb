//! `Regex` and `Exclude`: which events and records stay because of their text.

use crate::stage::{Condition, Effect, FieldPath, Pattern, Place};

use super::entities;
use super::error::{OptionError, display_name, wrong};

/// The host's regular expressions.
pub trait Patterns {
    /// Compiles a pattern; `None` if it is none.
    fn compile(&self, pattern: &str) -> Option<Box<dyn Pattern>>;
}

/// One `Regex` or `Exclude` as the section has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionOption {
    name: &'static str,
    effect: Effect,
    place: Place,
    pattern: String,
}

/// The options that set conditions, and what they do.
pub const NAMES: [(&str, Effect); 2] = [("regex", Effect::Require), ("exclude", Effect::Exclude)];

impl ConditionOption {
    /// Reads `PATTERN`, `KEY PATTERN` or `* PATTERN`.
    pub fn parse(
        name: &'static str,
        effect: Effect,
        value: &str,
    ) -> Result<ConditionOption, OptionError> {
        // KKP's templates turn quotes and the like into entities.
        let value = entities::decode(value);
        let value = value.trim();
        let (place, pattern) = match value.split_once(' ') {
            None => (Place::Anywhere, value),
            Some(("*", pattern)) => (Place::Anywhere, pattern.trim_start()),
            Some((key, pattern)) => {
                let right = "the part before the first blank is no key: put `*` and a blank in front of a pattern with blanks";
                let path = FieldPath::parse(key).ok_or_else(|| wrong(name, value, right))?;
                (Place::Field(path), pattern.trim_start())
            }
        };
        // Hosts before 5.1.0 read beyond the end of these two.
        if matches!(pattern, "" | "/") {
            return Err(wrong(name, value, "give it a pattern"));
        }
        Ok(ConditionOption {
            name,
            effect,
            place,
            pattern: pattern.to_owned(),
        })
    }

    /// Lets the host compile the pattern; `patterns` is what it offers.
    pub fn compile(self, patterns: Option<&dyn Patterns>) -> Result<Condition, OptionError> {
        let ConditionOption {
            name,
            effect,
            place,
            pattern,
        } = self;
        let Some(patterns) = patterns else {
            let name = display_name(name);
            return Err(OptionError(format!(
                "`{name}` needs a Fluent Bit with regular expressions, and this one was built without: leave it out"
            )));
        };
        let compiled = patterns.compile(&pattern).ok_or_else(|| {
            let right = "Fluent Bit cannot compile it; its `grep` filter takes the same patterns";
            wrong(name, &pattern, right)
        })?;
        Ok(Condition {
            effect,
            place,
            pattern: compiled,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let option = ConditionOption::parse("regex", Effect::Require, value).unwrap();
            assert_eq!((option.place, &option.pattern[..]), (place, pattern));
        }
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (value, part) in [
            ("", "give it a pattern"),
            ("/", "give it a pattern"),
            ("log /", "give it a pattern"),
            (
                "\"level\": x",
                "is `\"level\": x`: the part before the first blank is no key",
            ),
        ] {
            let error = ConditionOption::parse("exclude", Effect::Exclude, value);
            let error = error.unwrap_err().to_string();
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
        let option = || ConditionOption::parse("regex", Effect::Require, "verb (").unwrap();
        let error = |patterns| option().compile(patterns).err().unwrap().to_string();
        assert!(error(Some(&Refuses)).starts_with("`Regex` is `(`: Fluent Bit cannot compile it"));
        assert!(error(None).contains("built without"));
    }
}
