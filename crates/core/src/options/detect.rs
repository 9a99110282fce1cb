//! The options of detections.

use crate::available::DetectionsAvailable;
use crate::stage::detect::{
    DetectSettings, Detections, Detector, DetectorSettings, IgnoredActors, LabelFormat, LabelShape,
    LongRunning, Selection, SelectionError, Severity,
};

use super::choice::Choice;
use super::error::OptionError;
use super::read::Options;
use super::source::{TextOptions, TextSource};
use super::table::{self, OptionDef};

/// The options of detections that are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectOptions {
    available: DetectionsAvailable,
    /// The value of `Detect`.
    enabled: String,
    selection: Selection,
    detector: DetectorSettings,
    /// Where own detections come from.
    pub rules: Option<TextSource>,
    /// What is done with what detections find.
    pub settings: DetectSettings,
}

/// Options that mean nothing without `Detect`.
const NEED_DETECT: [&OptionDef; 10] = [
    table::DETECT_FILE,
    table::DETECT_ENV,
    table::DETECT_RULES,
    table::DETECT_IGNORE_USERS,
    table::DETECT_IGNORE_GROUPS,
    table::DETECT_KEY,
    table::DETECT_SEVERITY_KEY,
    table::DETECT_SHAPE,
    table::DETECT_KEEP,
    table::DETECT_STAGE,
];

impl DetectOptions {
    /// Reads the options; `None` if detections are off.
    pub(super) fn read(options: &Options<'_>) -> Result<Option<DetectOptions>, OptionError> {
        let names = |def: &OptionDef| -> Result<Vec<String>, OptionError> {
            let text = options.text(def)?.unwrap_or_default();
            let names = text.split([',', ' ', '\t']).filter(|name| !name.is_empty());
            Ok(names.map(str::to_owned).collect())
        };
        let key = |def: &OptionDef, default: &str| -> Result<Vec<u8>, OptionError> {
            let key = options.text(def)?;
            Ok(key.unwrap_or_else(|| default.to_owned()).into_bytes())
        };
        // All are read even if detections are off: a wrong value is wrong all the same.
        let rules = TextSource::read(options, &TextOptions::DETECT)?;
        let detector = DetectorSettings {
            ignored: IgnoredActors {
                users: names(table::DETECT_IGNORE_USERS)?,
                groups: names(table::DETECT_IGNORE_GROUPS)?,
            },
            long_running: options.choice(table::DETECT_STAGE)?,
        };
        let settings = DetectSettings {
            format: LabelFormat {
                ids_key: key(table::DETECT_KEY, LabelFormat::IDS_KEY)?,
                severity_key: key(table::DETECT_SEVERITY_KEY, LabelFormat::SEVERITY_KEY)?,
                shape: options.choice(table::DETECT_SHAPE)?,
            },
            keep: options.choice(table::DETECT_KEEP)?,
        };
        let Some(enabled) = options.one(table::DETECT)? else {
            for def in NEED_DETECT {
                if let Some(given) = options.one(def)? {
                    let expected = "set `Detect on`, or leave it out";
                    return Err(given.requires(table::DETECT, expected));
                }
            }
            return Ok(None);
        };
        if settings.format.ids_key == settings.format.severity_key {
            let both = options
                .one(table::DETECT_SEVERITY_KEY)?
                .or(options.one(table::DETECT_KEY)?);
            if let Some(given) = both {
                return Err(given.invalid("ids and severity need a key each"));
            }
        }
        let selection = Selection::parse(&enabled);
        if selection.is_empty() {
            return Ok(None);
        }
        let Some(available) = DetectionsAvailable::proof() else {
            return Err(enabled.rejected(SelectionError::Absent));
        };
        let options = DetectOptions {
            available,
            enabled: enabled.into_value(),
            selection,
            detector,
            rules,
            settings,
        };
        // Without own detections all ids are known already.
        if options.rules.is_none() {
            options.compile(&Detections::default())?;
        }
        Ok(Some(options))
    }

    /// Compiles the detections that are enabled of the built-in ones and those of a file.
    pub fn compile(&self, file: &Detections) -> Result<Detector, OptionError> {
        Detector::new(&self.selection, file, self.detector.clone()).map_err(
            |error: SelectionError| {
                OptionError::invalid(table::DETECT, &self.enabled, &error).with_source(error)
            },
        )
    }
}

impl Choice for LabelShape {
    const CHOICES: &'static [(&'static str, LabelShape)] =
        &[("array", LabelShape::Array), ("text", LabelShape::Text)];
}

impl Choice for LongRunning {
    const CHOICES: &'static [(&'static str, LongRunning)] = &[
        ("first", LongRunning::First),
        ("complete", LongRunning::Complete),
    ];
}

/// The least severity of events that are kept.
impl Choice for Option<Severity> {
    const CHOICES: &'static [(&'static str, Option<Severity>)] = &[
        ("off", None),
        ("on", Some(Severity::Low)),
        ("low", Some(Severity::Low)),
        ("medium", Some(Severity::Medium)),
        ("high", Some(Severity::High)),
        ("critical", Some(Severity::Critical)),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Properties;

    fn read(lines: &[(&str, &str)]) -> Result<Option<DetectOptions>, String> {
        let properties: Properties = lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let options = Options::filter(&properties).map_err(|error| error.to_string())?;
        DetectOptions::read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn off_unless_asked_for() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("Detect", "off")]), Ok(None));
        assert_eq!(read(&[("Detect", "OFF"), ("Detect_Keep", "on")]), Ok(None));
        assert!(
            read(&[("detect", "medium,-bulk-delete")])
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn values_of_all_options() {
        let options = read(&[
            ("Detect", "on"),
            (
                "Detect_Rules",
                "{detections: [{id: &#34;mine&#34;, verbs: [get]}]}",
            ),
            ("Detect_Ignore_Users", "alice, bob"),
            (
                "Detect_Ignore_Groups",
                "system:serviceaccounts:flux-system robots",
            ),
            ("Detect_Key", "ids"),
            ("Detect_Severity_Key", "severity"),
            ("Detect_Shape", "Text"),
            ("Detect_Keep", "High"),
            ("Detect_Stage", "complete"),
        ]);
        let options = options.unwrap().unwrap();
        let rules = "{detections: [{id: \"mine\", verbs: [get]}]}".to_owned();
        assert_eq!(options.rules, Some(TextSource::Inline(rules)));
        assert_eq!(options.detector.ignored.users, ["alice", "bob"]);
        let groups = ["system:serviceaccounts:flux-system", "robots"];
        assert_eq!(options.detector.ignored.groups, groups);
        assert_eq!(options.detector.long_running, LongRunning::Complete);
        let LabelFormat {
            ids_key,
            severity_key,
            shape,
        } = options.settings.format;
        assert_eq!(
            (&ids_key[..], &severity_key[..]),
            (&b"ids"[..], &b"severity"[..])
        );
        assert_eq!(shape, LabelShape::Text);
        assert_eq!(options.settings.keep, Some(Severity::High));
    }

    #[test]
    fn wrong_values_say_what_would_be_right() {
        for (lines, parts) in [
            (
                &[("Detect", "medium,exec-in-pod")][..],
                &[
                    "`Detect` is `medium,exec-in-pod`",
                    "did you mean `exec-into-pod`?",
                ][..],
            ),
            (&[("Detect", "mediun")], &["did you mean"]),
            (&[("Detect", "")], &["`Detect` is empty"]),
            (
                &[("Detect_File", "/x")],
                &["`Detect_File` is set without `Detect`", "set `Detect on`"],
            ),
            (
                &[("Detect", "on"), ("Detect_File", "/x"), ("Detect_Env", "Y")],
                &["`Detect_File` and `Detect_Env` are both set"],
            ),
            (
                &[("Detect", "on"), ("Detect_Keep", "sometimes")],
                &["`Detect_Keep` is `sometimes`", "off, on, low"],
            ),
            (
                &[("Detect", "off"), ("Detect_Shape", "list")],
                &["`Detect_Shape` is `list`", "array, text"],
            ),
            (
                &[
                    ("Detect", "on"),
                    ("Detect_Key", "a"),
                    ("Detect_Severity_Key", "a"),
                ],
                &["`Detect_Severity_Key` is `a`", "a key each"],
            ),
            (&[("Detects", "on")], &["did you mean `Detect`?"]),
        ] {
            let error = read(lines).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{error} lacks {part}");
            }
        }
    }

    #[test]
    fn ids_of_a_file_are_known_only_with_it() {
        let options = read(&[("Detect", "mine"), ("Detect_File", "/x")])
            .unwrap()
            .unwrap();
        let error = options
            .compile(&Detections::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown detection `mine`"), "{error}");
        let file = Detections::parse("x", b"{detections: [{id: mine, verbs: [get]}]}").unwrap();
        assert_eq!(options.compile(&file).unwrap().detections().len(), 1);
    }
}
