//! The detections that a command works with.

use std::fmt::Write;
use std::sync::Arc;

use kube_audit_core::options::{CommonOptions, DetectOptions, Options};
use kube_audit_core::stage::detect::{Detections, Detector, Explanation, Verdict};
use kube_audit_core::stats::Stats;

use super::Failure;
use super::args::DetectArgs;
use super::document::TextFile;

/// Detections, and the options that enabled them.
pub(crate) struct Choice {
    /// The options.
    pub options: DetectOptions,
    /// The detections, compiled.
    pub detector: Arc<Detector>,
}

impl DetectArgs {
    /// Compiles the detections that are named, if any are; `keep` is the value of
    /// `Detect_Keep`.
    pub(crate) fn load(&self, keep: Option<&str>) -> Result<Option<Choice>, Failure> {
        let pairs = [("Detect", self.detect.as_deref()), ("Detect_Keep", keep)];
        let mut properties: Vec<(String, String)> = Vec::new();
        for (name, value) in pairs {
            properties.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        }
        let path = self.detect_rules.as_ref();
        // Ids of the file are known only with it.
        let named = path.map(|path| path.to_string_lossy().into_owned());
        properties.extend(named.map(|path| ("Detect_File".to_owned(), path)));
        let refused = |error: String| Failure::Usage(format!("--detect: {error}"));
        let options = Options::filter(&properties)
            .and_then(|options| CommonOptions::read(&options))
            .map_err(|error| refused(error.to_string()))?;
        let Some(options) = options.detect else {
            return Ok(None);
        };
        let rules = match path {
            None => Detections::default(),
            Some(path) => {
                let file = TextFile::read(path)?;
                Detections::parse(&file.name, file.text.as_bytes())
                    .map_err(|error| Failure::Usage(error.to_string()))?
            }
        };
        let detector = options.compile(&rules);
        let detector = detector.map_err(|error| refused(error.to_string()))?;
        Ok(Some(Choice {
            options,
            detector: Arc::new(detector),
        }))
    }
}

/// Writes what detections answer to an event, a line for each that is about such events.
pub(crate) fn write_text(explanations: Option<&[Explanation]>, out: &mut String) {
    let Some(explanations) = explanations else {
        out.push_str("  no detection looks at it: another event tells how the request ended\n");
        return;
    };
    for explanation in explanations {
        let Explanation { id, severity, .. } = explanation;
        let _ = writeln!(out, "  detection {id} ({severity}) {}", words(explanation));
    }
}

/// The answer of a detection in words.
pub(crate) fn words(explanation: &Explanation) -> String {
    match &explanation.verdict {
        Verdict::Fires => "fires".to_owned(),
        Verdict::Excused => "does not fire: the request is ignored or excepted".to_owned(),
        Verdict::Undecided(level) => format!(
            "is undecided: there is no request body, which level {} shows",
            level.name()
        ),
        Verdict::Near(why) => format!("does not fire: {why}"),
    }
}

/// The counters of detections that are not zero, as a table.
pub(crate) fn summary(stats: &Stats) -> String {
    let mut text = String::new();
    let found = stats.detections.iter();
    for counter in found.filter(|counter| counter.hits.max(counter.undecided) > 0) {
        if text.is_empty() {
            text.push_str("detection                        severity      events  undecided\n");
        }
        let _ = writeln!(
            text,
            "{:<32} {:<9} {:>10} {:>10}",
            counter.id, counter.severity, counter.hits, counter.undecided
        );
    }
    text
}
