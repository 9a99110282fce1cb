//! The engine of the small library: what it does not have is refused at the start, and
//! nothing else is.
#![cfg(not(any(feature = "detections", feature = "machine", feature = "redaction")))]

use kube_audit_core::options::{CommonOptions, Options};

fn read(option: &str, value: &str) -> Result<CommonOptions, String> {
    let properties = vec![(option.to_owned(), value.to_owned())];
    Options::filter(&properties)
        .and_then(|options| CommonOptions::read(&options))
        .map_err(|error| error.to_string())
}

#[test]
fn what_is_not_there_is_refused() {
    for (option, value, reason) in [
        ("Detect", "medium", "without detections"),
        ("Machine_Audit", "events", "built without it"),
        ("Redact", "on", "without redaction"),
        ("Redact", "env=named", "without redaction"),
        ("Redact_Path", "pods /spec/a", "without redaction"),
        ("Redact_Keep", "pods /spec/a", "without redaction"),
        ("Redact_Key", "0123456789abcdef", "without redaction"),
        ("Redact_Names", "+pin", "without redaction"),
    ] {
        let error = read(option, value).map(|_| ()).unwrap_err();
        for part in [option, reason] {
            assert!(error.contains(part), "{option} {value}: {error}");
        }
    }
}

#[test]
fn off_is_what_it_is_anyway() {
    for (option, value) in [
        ("Detect", "off"),
        ("Machine_Audit", "keep"),
        ("Redact", "off"),
        ("Redact", "OFF"),
        ("Policy_Preset", "metadata"),
    ] {
        let options = read(option, value).unwrap_or_else(|error| panic!("{error}"));
        assert!(options.redaction.hides_nothing() && options.detect.is_none());
        let summary = options.redaction.summary();
        assert!(
            summary.contains("this library has no redaction"),
            "{summary}"
        );
    }
}
