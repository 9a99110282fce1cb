//! The part that input, filter and output share: the pipeline, the policy and the detections that
//! it applies, and the log lines about records that cannot be read.

use std::borrow::Cow;

use kube_audit_core::chunk::{ChunkSink, Sink};
use kube_audit_core::options::CommonOptions;
use kube_audit_core::pipeline::Pipeline;
use kube_audit_core::stats::Stats;

use super::detect_watch::DetectWatch;
use super::log::{Log, LogLevel, LogLimit};
use super::policy_watch::PolicyWatch;
use super::{Metric, MetricKind, OptionError, Patterns, metrics};

/// What becomes of pieces and records that wait for others when an engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// They are lost with it.
    Lost,
    /// They are read again: the position in the log is in front of them.
    #[cfg(feature = "input")]
    ReadAgain,
}

/// Rewrites chunks by the policy in force.
pub(crate) struct Engine {
    pipeline: Pipeline,
    watch: Option<PolicyWatch>,
    /// The places of `Redact_Path`, as labels.
    places: Vec<String>,
    detect: Option<DetectWatch>,
    /// Bad records that were logged, and when the next line may follow.
    logged: u64,
    limit: LogLimit,
    /// The same of events that are too large.
    oversize_logged: u64,
    oversize_limit: LogLimit,
}

impl Engine {
    /// Loads policy and detections, and compiles the patterns. `patterns` are the host's regular
    /// expressions, `None` if it was built without them.
    pub(crate) fn new(
        options: CommonOptions,
        patterns: Option<&dyn Patterns>,
        log: &dyn Log,
    ) -> Result<Engine, OptionError> {
        let conditions = options.conditions.into_iter();
        let conditions = conditions.map(|condition| condition.compile(patterns));
        let conditions = conditions.collect::<Result<_, _>>()?;
        let (watch, ruleset) = match options.policy {
            None => (None, None),
            Some(source) => {
                let (watch, ruleset) = PolicyWatch::start(source, options.policy_reload, log)?;
                (Some(watch), Some(ruleset))
            }
        };
        let detect = options.detect.map(|detect| {
            let interval = options.policy_reload;
            DetectWatch::start(detect, interval, log)
        });
        let detect = detect.transpose()?;
        let random = || {
            let mut bytes = [0; 16];
            // Without a source of randomness a UUID cannot be unique; the record matters more.
            let _ = getrandom::fill(&mut bytes);
            bytes
        };
        let mut pipeline = Pipeline::new(options.settings, ruleset, random);
        pipeline.set_conditions(conditions);
        let level = match options.redaction.hides_nothing() {
            true => LogLevel::Warn,
            false => LogLevel::Info,
        };
        log.log(level, &options.redaction.summary());
        let places = options.redaction.paths.iter();
        let places = places.map(ToString::to_string).collect();
        pipeline.set_redaction(Some(options.redaction));
        pipeline.set_shrink(options.shrink);
        let detect = detect.map(|(watch, detector)| {
            pipeline.set_detect(detector, watch.settings());
            watch
        });
        Ok(Engine {
            pipeline,
            watch,
            places,
            detect,
            logged: 0,
            limit: LogLimit::default(),
            oversize_logged: 0,
            oversize_limit: LogLimit::default(),
        })
    }

    /// Rewrites the records of a chunk into the sink. At bytes that are not a value it
    /// stops: `Err` is their position.
    pub(crate) fn chunk(
        &mut self,
        tag: &[u8],
        chunk: &[u8],
        sink: &mut dyn Sink,
        log: &dyn Log,
    ) -> Result<(), usize> {
        if let Some(ruleset) = self.watch.as_mut().and_then(|watch| watch.changed(log)) {
            self.pipeline.set_ruleset(Some(ruleset));
        }
        if let Some(detect) = &mut self.detect
            && let Some(detector) = detect.changed(log, self.pipeline.stats())
        {
            self.pipeline.set_detector(detector);
        }
        let result = self.pipeline.chunk(tag, chunk, sink);
        self.report_trouble(log);
        self.report_oversize(log);
        if let Some(detect) = &mut self.detect {
            detect.report_undecided(self.pipeline.stats(), log);
        }
        result
    }

    /// Rewrites the records of a chunk to another chunk, of about `capacity` bytes; `None` if
    /// it stays as it is. What could not be read was counted and reported.
    // Once for all callers: what it consists of is the largest part of the library.
    #[inline(never)]
    pub(crate) fn rewrite(
        &mut self,
        tag: &[u8],
        chunk: &[u8],
        capacity: usize,
        log: &dyn Log,
    ) -> Option<Vec<u8>> {
        let mut sink = ChunkSink::new(chunk, capacity);
        let _ = self.chunk(tag, chunk, &mut sink, log);
        sink.finish()
    }

    /// Gives the sink the pieces of split lines that are withheld under a tag.
    pub(crate) fn release(&mut self, tag: &[u8], sink: &mut dyn Sink) {
        self.pipeline.release(tag, sink);
    }

    /// The counters since the start.
    pub(crate) fn stats(&self) -> &Stats {
        self.pipeline.stats()
    }

    /// Visits the counters as metrics.
    pub(crate) fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        metrics::visit_stats(self.stats(), visit);
        let redaction = self.pipeline.redaction();
        let used = redaction.iter().flat_map(|redaction| redaction.places());
        for (place, (_, used)) in self.places.iter().zip(used) {
            let labels = [("path", Cow::Borrowed(place.as_str()))];
            visit(&Metric {
                name: "redact_path_matches_total",
                help: "Values at a place of Redact_Path that were redacted.",
                kind: MetricKind::Counter,
                labels: &labels,
                value: used.matches,
            });
        }
    }

    /// Logs the counts, and what becomes of what it withholds.
    pub(crate) fn close(&self, unfinished: Unfinished, log: &dyn Log) {
        log.log(LogLevel::Info, &self.stats().summary());
        let redaction = self.pipeline.redaction();
        for (place, used) in redaction.iter().flat_map(|redaction| redaction.places()) {
            if used.seen > 0 && used.matches == 0 {
                let message = format!(
                    "`Redact_Path {place}` never matched, though {} bodies of the resource were \
                     seen: check the pointer with `kube-audit explain`",
                    used.seen
                );
                log.log(LogLevel::Warn, &message);
            }
        }
        let (level, fate) = match unfinished {
            Unfinished::Lost => (LogLevel::Error, "are lost"),
            #[cfg(feature = "input")]
            Unfinished::ReadAgain => (LogLevel::Info, "are read again at the next start"),
        };
        let withheld = self.stats().withheld;
        if withheld > 0 {
            let message =
                format!("{withheld} pieces of split lines whose last piece never came {fate}");
            log.log(level, &message);
        }
        let held = self.stats().machine_held;
        if held > 0 {
            let message = format!("{held} Linux audit records whose event was not complete {fate}");
            log.log(level, &message);
        }
    }

    /// Logs that there are events too large: at once, and then once a minute at most.
    fn report_oversize(&mut self, log: &dyn Log) {
        let oversize = self.pipeline.stats().oversize;
        if oversize == self.oversize_logged || !self.oversize_limit.allows() {
            return;
        }
        let message = format!(
            "{oversize} events are larger than `Max_Event_Size` even without their bodies, and \
             were passed on: raise it, or the limit of the sink ({} since the last such line)",
            oversize.saturating_sub(self.oversize_logged)
        );
        log.log(LogLevel::Warn, &message);
        self.oversize_logged = oversize;
    }

    /// Logs that there are bad records: at once, and then once a minute at most.
    fn report_trouble(&mut self, log: &dyn Log) {
        let &Stats {
            malformed,
            unreadable,
            ..
        } = self.pipeline.stats();
        let trouble = malformed.saturating_add(unreadable);
        if trouble == self.logged || !self.limit.allows() {
            return;
        }
        let message = format!(
            "{malformed} records look like audit events but cannot be parsed, {unreadable} are not \
             a pair of time and map{} ({} since the last such line)",
            match self.pipeline.drops_what_is_no_record() {
                true => " and were dropped, because nothing passes unjudged here",
                false => "",
            },
            trouble.saturating_sub(self.logged)
        );
        log.log(LogLevel::Warn, &message);
        self.logged = trouble;
    }
}
