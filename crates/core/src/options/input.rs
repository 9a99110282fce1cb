//! The options that an input alone has.

use std::path::PathBuf;
use std::time::Duration;

use super::acknowledge::Acknowledge;
use super::error::OptionError;
use super::on_panic::OnPanic;
use super::read::Options;
use super::table;

/// The options that an input has besides the common ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputOptions {
    /// The log.
    pub path: PathBuf,
    /// The file that keeps the position; `None` if it is off.
    pub checkpoint: Option<PathBuf>,
    /// Time between two writes of that file.
    pub checkpoint_interval: Duration,
    /// A log without a position begins at its oldest file instead of its end.
    pub from_head: bool,
    /// When the position moves; `None` if it is not set.
    pub acknowledge: Option<Acknowledge>,
    /// Bytes of records that may be under way.
    pub max_unacknowledged: usize,
    /// Bytes of the longest line.
    pub max_event: usize,
    /// The fate of a line after an internal error; `None` if it is not set.
    pub on_panic: Option<OnPanic>,
}

impl InputOptions {
    /// Reads the options.
    pub fn read(options: &Options<'_>) -> Result<InputOptions, OptionError> {
        let path = options.text(table::PATH)?;
        let path = PathBuf::from(path.unwrap_or_else(|| LOG.to_owned()));
        if let (Some(given), None) = (options.one(table::PATH)?, path.file_name()) {
            return Err(given.invalid("it must end with the name of a file"));
        }
        if let (Some(given), true) = (options.one(table::PATH)?, is_pattern(&path)) {
            let expected = "name one log: its rotated files are found by themselves, and another \
                            log needs an input of its own";
            return Err(given.invalid(expected));
        }
        let checkpoint = match options.text(table::DB)? {
            Some(text) if text.eq_ignore_ascii_case("off") => None,
            Some(text) => Some(PathBuf::from(text)),
            None => path.file_name().map(|name| {
                let mut name = name.to_owned();
                name.push(".kube-audit.db");
                path.with_file_name(name)
            }),
        };
        let acknowledge = match options.one(table::ACKNOWLEDGE)? {
            Some(_) => Some(options.choice(table::ACKNOWLEDGE)?),
            None => None,
        };
        Ok(InputOptions {
            checkpoint,
            path,
            checkpoint_interval: options
                .duration(table::CHECKPOINT_INTERVAL)?
                .unwrap_or(Duration::from_secs(1)),
            from_head: options.flag(table::READ_FROM_HEAD)?.unwrap_or(true),
            acknowledge,
            max_unacknowledged: options
                .size(table::MAX_UNACKNOWLEDGED)?
                .unwrap_or(8_000_000),
            max_event: options.size(table::MAX_EVENT)?.unwrap_or(16_000_000),
            on_panic: options.choice::<Option<OnPanic>>(table::ON_PANIC)?,
        })
    }
}

/// The log of an API server that is configured as the Kubernetes documentation shows.
const LOG: &str = "/var/log/kubernetes/audit/audit.log";

/// True for a path with wildcards, as `tail` takes it.
fn is_pattern(path: &std::path::Path) -> bool {
    path.to_string_lossy().contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Properties;

    fn read(lines: &[(&str, &str)]) -> Result<InputOptions, String> {
        let properties: Properties = lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Options::input(&properties)
            .and_then(|options| InputOptions::read(&options))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_values() {
        let options = read(&[]).unwrap();
        assert_eq!(
            options.checkpoint.as_deref().and_then(|path| path.to_str()),
            Some("/var/log/kubernetes/audit/audit.log.kube-audit.db")
        );
        assert!(options.from_head && options.acknowledge.is_none());
        assert_eq!(
            (options.max_unacknowledged, options.max_event),
            (8_000_000, 16_000_000)
        );

        let options = read(&[
            ("path", "/a/audit.log"),
            ("Checkpoint", "Off"),
            ("Checkpoint_Interval", "500ms"),
            ("Read_From_Head", "off"),
            ("acknowledge", "Stored"),
            ("Max_Unacknowledged", "1M"),
            ("max_event", "100k"),
            ("on_panic", "keep"),
        ]);
        let expected = InputOptions {
            path: "/a/audit.log".into(),
            checkpoint: None,
            checkpoint_interval: Duration::from_millis(500),
            from_head: false,
            acknowledge: Some(Acknowledge::Stored),
            max_unacknowledged: 1_000_000,
            max_event: 100_000,
            on_panic: Some(OnPanic::Keep),
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (option, value, message) in [
            (
                "Path",
                "/",
                "`Path` is `/`: it must end with the name of a file",
            ),
            ("Path", "/var/log/*.log", "name one log"),
            ("Acknowledge", "sent", "use one of delivered, stored, read"),
            ("Max_Event", "1k", "from 65536 to 256000000"),
            ("Max_Unacknowledged", "8 Mb/s", "such as `512k` or `8M`"),
            ("Read_from_Head", "yep", "`Read_from_Head` is `yep`"),
            ("Endpoint", "a", "`Endpoint` is not an option of an input"),
            ("Pth", "a", "did you mean `Path`?"),
        ] {
            let error = read(&[(option, value)]).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
