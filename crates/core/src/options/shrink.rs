//! `Max_Event_Size` and `Bodies`: what is done with events that are too large.

use crate::available::RedactionAvailable;
use crate::stage::shrink::{Bodies, SINKS, Settings};

use super::choice::Choice;
use super::error::OptionError;
use super::read::{Options, as_size};
use super::table;

impl Choice for Bodies {
    const CHOICES: &'static [(&'static str, Bodies)] = &[
        ("keep", Bodies::Keep),
        ("json", Bodies::Json),
        ("drop", Bodies::Drop),
    ];
}

/// The least size that the attributes of an event have room in.
const LEAST: usize = 1024;

/// Reads what events may be.
#[cold]
pub(super) fn read(options: &Options<'_>) -> Result<Settings, OptionError> {
    let mut settings = Settings {
        limit: None,
        bodies: options.choice(table::BODIES)?,
    };
    let given = options.one(table::MAX_EVENT_SIZE)?;
    if let Some(given) = &given
        && !given.eq_ignore_ascii_case("off")
    {
        let limit = size(given).filter(|size| *size >= LEAST);
        let expected = "use a size such as `64KiB` or `100k`, at least 1KiB, one of aks, \
                        cloudwatch, loki, splunk, or off";
        settings.limit = Some(limit.ok_or_else(|| given.invalid(expected))?);
    }
    let asked = match settings.limit {
        Some(_) => given,
        None => options.one(table::BODIES)?,
    };
    if let (None, Some(asked), true) = (
        RedactionAvailable::proof(),
        asked,
        settings != Settings::default(),
    ) {
        let expected = "this library was built without it, to be small: take the full one";
        return Err(asked.unsupported(expected));
    }
    Ok(settings)
}

/// The size that a number with a unit, or the name of a sink, stands for.
fn size(text: &str) -> Option<usize> {
    let sink = SINKS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    sink.map(|(_, size)| *size).or_else(|| as_size(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(name: &str, value: &str) -> Result<Settings, String> {
        let properties = vec![(name.to_owned(), value.to_owned())];
        let options = Options::filter(&properties).unwrap();
        read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_and_sinks() {
        for (text, limit) in [
            ("off", None),
            ("aks", Some(16_384)),
            ("Loki", Some(262_144)),
            ("cloudwatch", Some(262_144)),
            ("splunk", Some(10_000)),
            ("10000", Some(10_000)),
            ("64KiB", Some(65_536)),
            ("64 Ki", Some(65_536)),
            ("100k", Some(100_000)),
            ("2MB", Some(2_000_000)),
            ("1mib", Some(1 << 20)),
        ] {
            let settings = read_one("Max_Event_Size", text).unwrap();
            assert_eq!(settings.limit, limit, "{text}");
        }
        assert_eq!(read_one("Bodies", "JSON").unwrap().bodies, Bodies::Json);
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for text in [
            "16",
            "1000",
            "64x",
            "k",
            "-1",
            "99999999999999999999k",
            "graylog",
        ] {
            let error = read_one("max_event_size", text).unwrap_err();
            assert!(
                error.contains(&format!("`Max_Event_Size` is `{text}`")),
                "{error}"
            );
            assert!(error.contains("64KiB") && error.contains("loki"), "{error}");
        }
        let error = read_one("Bodies", "text").unwrap_err();
        assert!(error.contains("keep, json, drop"), "{error}");
    }
}
