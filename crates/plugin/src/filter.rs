//! One instance of the filter.

use std::fmt::Display;
use std::sync::Arc;

use kube_audit_core::options::{CommonOptions, OnPanic, Options, table};

use super::engine::{Engine, Unfinished};
use super::panics::Panics;
use super::{Log, Metric, Metrics, OptionError, Patterns, Properties, Verdict};

/// One `[FILTER] Name kube_audit` section at work.
pub struct Filter {
    engine: Engine,
    on_panic: OnPanic,
    panics: Panics,
    log: Arc<dyn Log>,
    /// By how many bytes the last changed chunk grew.
    growth: usize,
}

impl Filter {
    /// Reads the options; an error here stops the start of Fluent Bit. `patterns` are the
    /// host's regular expressions, `None` if it was built without them.
    pub fn new(
        properties: &Properties,
        patterns: Option<&dyn Patterns>,
        log: Arc<dyn Log>,
    ) -> Result<Filter, OptionError> {
        let options = Options::filter(properties)?;
        let common = CommonOptions::read(&options)?;
        // A chunk that was not judged may hold what a policy or the redaction takes out.
        let default = match common.policy {
            None if common.redaction.hides_nothing() => OnPanic::Keep,
            _ => OnPanic::Drop,
        };
        Ok(Filter {
            on_panic: options
                .choice::<Option<OnPanic>>(table::ON_PANIC)?
                .unwrap_or(default),
            engine: Engine::new(common, patterns, &*log)?,
            panics: Panics::default(),
            log,
            growth: 0,
        })
    }

    /// Applies policy and enrichment to a chunk.
    pub fn filter(&mut self, tag: &[u8], chunk: &[u8]) -> Verdict {
        // Twice the last growth, because chunks differ; at most as much again, because
        // pieces of split lines that came back tell nothing about the next chunk.
        let growth = chunk.len().min(self.growth.saturating_mul(2));
        let capacity = chunk.len().saturating_add(growth);
        match self.engine.rewrite(tag, chunk, capacity, &*self.log) {
            None => Verdict::Untouched,
            Some(changed) => {
                self.growth = changed.len().saturating_sub(chunk.len());
                Verdict::Replaced(changed)
            }
        }
    }

    /// Decides by `On_Panic` what becomes of a chunk whose [`filter`](Filter::filter)
    /// panicked.
    pub fn panicked(&self, panic: &dyn Display, chunk: &[u8]) -> Verdict {
        let (what, option, verdict) = match self.on_panic {
            OnPanic::Keep => ("passes unfiltered", "keep", Verdict::Untouched),
            OnPanic::Drop => ("is dropped", "drop", Verdict::Replaced(Vec::new())),
        };
        let consequence = format!(
            "a chunk of {} bytes {what} (`On_Panic {option}`)",
            chunk.len()
        );
        self.report_panic(panic, &consequence);
        verdict
    }

    /// Counts and logs a panic in any other call.
    pub fn report_panic(&self, panic: &dyn Display, consequence: &str) {
        self.panics.report(panic, consequence, &*self.log);
    }

    /// Logs what the instance did, and ends it.
    pub fn close(self) {
        self.engine.close(Unfinished::Lost, &*self.log);
        self.panics.close(&*self.log);
    }
}

impl Metrics for Filter {
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        self.engine.metrics(visit);
        self.panics.metrics(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::{Lines, panicking_filter, working_filter};

    const CHUNK: &[u8] = b"\x92\x92\xd7\0\0\0\0\x01\0\0\0\x01\x80\x81\xa3log\xa1x";

    /// What a filter with these options answers when its pattern panics.
    fn answer(options: &[(&str, &str)]) -> (Verdict, String, u64) {
        let log = Arc::new(Lines::default());
        let mut filter = panicking_filter(options, &log);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            filter.filter(b"audit", CHUNK)
        }));
        assert!(result.is_err(), "no panic");
        let verdict = filter.panicked(&"internal error: no way", CHUNK);
        let mut count = 0;
        filter.metrics(&mut |metric| {
            if metric.name == "panics_total" {
                count = metric.value;
            }
        });
        (verdict, log.take().join("\n"), count)
    }

    #[test]
    fn a_panic_drops_the_chunk_where_policy_or_redaction_are_in_force() {
        let dropped = || Verdict::Replaced(Vec::new());
        for (options, expected) in [
            (&[("policy_preset", "metadata")][..], dropped()),
            (&[], dropped()),
            (&[("redact", "off")], Verdict::Untouched),
            (&[("redact", "off"), ("on_panic", "drop")], dropped()),
            (
                &[("policy_preset", "metadata"), ("On_Panic", "Keep")],
                Verdict::Untouched,
            ),
        ] {
            let (verdict, log, count) = answer(options);
            assert_eq!(verdict, expected, "{options:?}");
            let (what, option) = match verdict {
                Verdict::Untouched => ("passes unfiltered", "keep"),
                Verdict::Replaced(_) => ("is dropped", "drop"),
            };
            let line = format!(
                "internal error: no way; a chunk of {} bytes {what} (`On_Panic {option}`)",
                CHUNK.len()
            );
            assert!(log.contains(&line), "{options:?}: {log}");
            assert_eq!(count, 1, "{options:?}");
        }
    }

    /// A record with this text under `log`, of at most 65,535 bytes.
    fn record(text: &str) -> Vec<u8> {
        let mut record = b"\x92\x92\xd7\0\0\0\0\x01\0\0\0\x01\x80\x81\xa3log\xda".to_vec();
        record.extend_from_slice(&(text.len() as u16).to_be_bytes());
        record.extend_from_slice(text.as_bytes());
        record
    }

    #[test]
    fn the_chunk_after_a_panic_is_judged_as_any_other() {
        let event = |id: &str, body: &str| {
            record(&format!(
                r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"{id}","stage":"ResponseComplete","verb":"get","requestObject":{{"data":"{body}"}},"annotations":{{}}}}"#
            ))
        };
        let first = [event("1", "long"), event("2", "longer"), event("3", "x")].concat();
        let second = [event("4", "secret"), event("5", "s"), CHUNK.to_vec()].concat();
        let options = [
            ("policy_preset", "metadata"),
            ("record", "cluster c"),
            ("remove_key", "stream"),
        ];
        for shape in ["keep", "map", "json"] {
            let options = [&options[..], &[("output_shape", shape)]].concat();
            let log = Arc::new(Lines::default());
            let mut filter = panicking_filter(&options, &log);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                filter.filter(b"audit", &first)
            }));
            assert!(result.is_err(), "no panic");
            let expected = working_filter(&options, &log).filter(b"audit", &second);
            assert!(matches!(&expected, Verdict::Replaced(chunk) if !chunk.is_empty()));
            assert_eq!(filter.filter(b"audit", &second), expected, "{shape}");
        }
    }

    #[test]
    fn panics_are_counted_always_and_logged_once_a_minute() {
        let log = Arc::new(Lines::default());
        let filter = panicking_filter(&[], &log);
        log.take();
        for _ in 0..3 {
            filter.panicked(&"no way", CHUNK);
        }
        assert_eq!(log.take().len(), 1);
        filter.close();
        let last = log.take().pop();
        assert_eq!(last.as_deref(), Some("3 calls ended in an internal error"));
    }

    #[test]
    fn a_wrong_value_of_on_panic_stops_the_start() {
        let properties = vec![("On_Panic".to_owned(), "retry".to_owned())];
        let error = Filter::new(&properties, None, Arc::new(Lines::default())).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(text, "`On_Panic` is `retry`: use one of keep, drop");
    }
}
