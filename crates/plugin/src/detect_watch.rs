//! The detections of an instance: compiled at the start, and again when the file with own
//! ones changes.

use std::sync::Arc;
use std::time::Duration;

use kube_audit_core::options::{DetectOptions, OptionError, TextOptions};
use kube_audit_core::stage::detect::{DetectSettings, Detections, Detector};
use kube_audit_core::stats::Stats;

use super::log::{Log, LogLevel};
use super::text_watch::{LoadedText, TextWatch};

/// Detections in force.
pub(crate) struct DetectWatch {
    options: DetectOptions,
    /// The text of own detections, if there are any.
    watch: Option<TextWatch>,
    /// Detections, by place of their counters, whose want of a body was logged.
    logged: Vec<bool>,
}

impl DetectWatch {
    /// Compiles the detections for the first time. `interval` is the time between two looks
    /// at the file of own ones, `None` to never read it again.
    pub(crate) fn start(
        mut options: DetectOptions,
        interval: Option<Duration>,
        log: &dyn Log,
    ) -> Result<(DetectWatch, Arc<Detector>), OptionError> {
        let (watch, detector) = match options.rules.take() {
            None => (None, Arc::new(options.compile(&Detections::default())?)),
            Some(source) => {
                let which = &TextOptions::DETECT;
                let (watch, text) = TextWatch::start("detections", source, which, interval)?;
                (Some(watch), compile(&options, &text)?)
            }
        };
        report(&detector, log);
        let watch = DetectWatch {
            options,
            watch,
            logged: Vec::new(),
        };
        Ok((watch, detector))
    }

    /// What is done with what detections find.
    pub(crate) fn settings(&self) -> DetectSettings {
        self.options.settings.clone()
    }

    /// Returns the detections anew if the file of own ones has changed. A file that cannot
    /// be used is logged and leaves the last good detections in force.
    pub(crate) fn changed(&mut self, log: &dyn Log, stats: &Stats) -> Option<Arc<Detector>> {
        let watch = self.watch.as_mut()?;
        let compiled = compile(&self.options, &watch.changed(log)?);
        let detector = compiled.map_err(|error| watch.refuse(&error, log)).ok()?;
        report(&detector, log);
        let counted = |id: &str| stats.detections.iter().any(|counter| counter.id == id);
        let ids = detector.detections().iter().map(|detection| detection.id());
        let new: Vec<&str> = ids.filter(|id| !counted(id)).collect();
        if !new.is_empty() {
            let message = format!(
                "detections without a metric until the next start, because Fluent Bit takes no \
                 new series while it runs: {}",
                new.join(", ")
            );
            log.log(LogLevel::Warn, &message);
        }
        Some(detector)
    }

    /// Logs once for each detection that it needs a body which the API server did not log.
    pub(crate) fn report_undecided(&mut self, stats: &Stats, log: &dyn Log) {
        self.logged.resize(stats.detections.len(), false);
        for (counter, logged) in stats.detections.iter().zip(&mut self.logged) {
            if counter.undecided == 0 || *logged {
                continue;
            }
            *logged = true;
            let message = format!(
                "detection {} cannot decide on events without a request body: let the API \
                 server log such requests at level Request (see detections_undecided_total)",
                counter.id
            );
            log.log(LogLevel::Warn, &message);
        }
    }
}

fn compile(options: &DetectOptions, text: &LoadedText) -> Result<Arc<Detector>, OptionError> {
    let detections = Detections::parse(&text.name, &text.bytes)
        .map_err(|error| OptionError::caused_by(text.option, error))?;
    Ok(Arc::new(options.compile(&detections)?))
}

fn report(detector: &Detector, log: &dyn Log) {
    let message = format!("{} detections", detector.detections().len());
    log.log(LogLevel::Info, &message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Filter;
    use crate::metrics::Metrics;
    use crate::test::Lines;

    /// Chunks of one record with this text under `log`.
    fn chunk(text: &str) -> Vec<u8> {
        let mut chunk = Vec::new();
        kube_audit_core::chunk::write_line_record(text.as_bytes(), &mut chunk);
        chunk
    }

    fn filter(options: &[(&str, &str)], log: &Arc<Lines>) -> Result<Filter, String> {
        let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let properties = options.iter().map(pair).collect();
        let log = Arc::clone(log);
        Filter::new(&properties, None, log).map_err(|error| error.to_string())
    }

    fn count(filter: &Filter, name: &str, id: &str) -> Option<u64> {
        let mut found = None;
        filter.metrics(&mut |metric| {
            let first = metric.labels.first();
            if metric.name == name && first.is_some_and(|(_, value)| value == id) {
                found = Some(metric.value);
            }
        });
        found
    }

    const DELETED: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop","verb":"delete","user":{"username":"alice"},"objectRef":{"resource":"namespaces","name":"shop"},"responseStatus":{"code":200}}"#;

    fn created() -> String {
        DELETED
            .replace("delete", "create")
            .replace("\"code\":200", "\"code\":201")
    }

    #[test]
    fn all_counters_are_there_from_the_start() {
        let log = Arc::new(Lines::default());
        let mut filter = filter(&[("Detect", "medium")], &log).unwrap();
        assert_eq!(
            count(&filter, "detections_total", "namespace-deleted"),
            Some(0)
        );
        assert_eq!(count(&filter, "detections_total", "secret-read"), None);
        let undecided = "detections_undecided_total";
        assert_eq!(count(&filter, undecided, "pod-security-weakened"), Some(0));
        assert_eq!(count(&filter, undecided, "namespace-deleted"), None);
        filter.filter(b"t", &chunk(DELETED));
        assert_eq!(
            count(&filter, "detections_total", "namespace-deleted"),
            Some(1)
        );
    }

    #[test]
    fn a_want_of_bodies_is_logged_once_for_each_detection() {
        let log = Arc::new(Lines::default());
        let mut filter = filter(&[("Detect", "on")], &log).unwrap();
        log.take();
        for _ in 0..3 {
            filter.filter(b"t", &chunk(&created()));
        }
        let lines = log.take();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("detection pod-security-weakened cannot decide"));
        let undecided = count(
            &filter,
            "detections_undecided_total",
            "pod-security-weakened",
        );
        assert_eq!(undecided, Some(3));
    }

    #[test]
    fn wrong_rules_stop_the_start_with_their_place() {
        let log = Arc::new(Lines::default());
        let start = |rules: &str| {
            let options = [("Detect", "on"), ("Detect_Rules", rules)];
            filter(&options, &log).err().unwrap_or_default()
        };
        let error = start("{detections: [{id: mine, verb: [get]}]}");
        assert!(
            error.contains(
                "Detect_Rules:1:26: detections[0].verb: unknown field; did you mean `verbs`?"
            ),
            "{error}"
        );
    }

    #[test]
    fn a_changed_file_is_taken_and_a_bad_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("detections.yaml");
        let write = |id: &str| {
            let text = format!("detections:\n- id: {id}\n  verbs: [delete]\n");
            std::fs::write(&path, text).unwrap();
        };
        write("first");
        let options = [
            ("Detect", "on,-namespace-deleted"),
            ("Detect_File", path.to_str().unwrap()),
            ("Policy_Reload", "1ms"),
        ];
        let log = Arc::new(Lines::default());
        let mut filter = filter(&options, &log).unwrap();
        log.take();
        let mut labels = || {
            std::thread::sleep(Duration::from_millis(5));
            match filter.filter(b"t", &chunk(DELETED)) {
                crate::Verdict::Replaced(chunk) => String::from_utf8_lossy(&chunk).into_owned(),
                crate::Verdict::Untouched => String::new(),
            }
        };
        assert!(labels().contains("first"));
        write("second");
        assert!(
            labels().contains("first"),
            "a change is taken at the second look"
        );
        assert!(labels().contains("second"));
        let lines = log.take();
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with("while it runs: second")),
            "{lines:?}"
        );
        write("-bad");
        labels();
        assert!(labels().contains("second"));
        let lines = log.take();
        let bad = "cannot be used, the last good detections stays in force";
        assert!(lines.iter().any(|line| line.contains(bad)), "{lines:?}");
    }
}
