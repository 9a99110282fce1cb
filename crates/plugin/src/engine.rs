//! What filter and output share: the pipeline, the policy it applies, and the log
//! lines about what it meets.

use std::time::{Duration, Instant};

use kube_audit_core::chunk::Sink;
use kube_audit_core::options::CommonOptions;
use kube_audit_core::pipeline::Pipeline;
use kube_audit_core::stats::Stats;

use super::policy_watch::PolicyWatch;
use super::{Log, LogLevel, Metric, OptionError, Patterns};

/// Least time between two log lines about bad records.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(60);

/// Rewrites chunks by the policy in force.
pub struct Engine {
    pipeline: Pipeline,
    watch: Option<PolicyWatch>,
    /// Chunks with a place that is no record.
    broken_chunks: u64,
    /// What has been said of bad records, and when something may be said again.
    said: u64,
    quiet_until: Option<Instant>,
}

impl Engine {
    /// Loads the policy and compiles the patterns; `patterns` is what the host offers.
    pub fn new(
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
        let random = || {
            let mut bytes = [0; 16];
            // Without a source of randomness a UUID cannot be unique; the record matters more.
            let _ = getrandom::fill(&mut bytes);
            bytes
        };
        let mut pipeline = Pipeline::new(options.settings, ruleset, random);
        pipeline.set_conditions(conditions);
        Ok(Engine {
            pipeline,
            watch,
            broken_chunks: 0,
            said: 0,
            quiet_until: None,
        })
    }

    /// Rewrites the records of a chunk. Behind a place that is no record, the chunk
    /// is left to the sink as it is: `Err` with that place.
    pub fn chunk(
        &mut self,
        tag: &[u8],
        chunk: &[u8],
        sink: &mut impl Sink,
        log: &dyn Log,
    ) -> Result<(), usize> {
        if let Some(ruleset) = self.watch.as_mut().and_then(|watch| watch.changed(log)) {
            self.pipeline.set_ruleset(Some(ruleset));
        }
        let result = self.pipeline.chunk(tag, chunk, sink);
        self.broken_chunks += u64::from(result.is_err());
        self.report_trouble(log);
        result
    }

    /// Gives the sink what is withheld under a tag, because nothing more can come.
    pub fn release(&mut self, tag: &[u8], sink: &mut impl Sink) {
        self.pipeline.release(tag, sink);
    }

    /// What was done so far.
    pub fn stats(&self) -> &Stats {
        self.pipeline.stats()
    }

    /// The same for the host's metrics.
    pub fn metrics(&self) -> Vec<Metric> {
        Metric::of_stats(self.stats())
    }

    /// Says what was done, and what is lost with the engine.
    pub fn close(&self, log: &dyn Log) {
        log.log(LogLevel::Info, &self.stats().summary());
        let withheld = self.stats().withheld;
        if withheld > 0 {
            let message =
                format!("{withheld} pieces of split lines whose last piece never came are lost");
            log.log(LogLevel::Error, &message);
        }
    }

    /// Says that there are bad records: at once, and then once a minute at most.
    fn report_trouble(&mut self, log: &dyn Log) {
        let stats = self.pipeline.stats();
        let trouble = stats.malformed + self.broken_chunks;
        if trouble == self.said {
            return;
        }
        let now = Instant::now();
        if self.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        let message = format!(
            "{} records look like audit events and cannot be read, {} chunks hold something that is no record ({} in all since the last such line)",
            stats.malformed,
            self.broken_chunks,
            trouble - self.said
        );
        log.log(LogLevel::Warn, &message);
        self.said = trouble;
        self.quiet_until = Some(now + TROUBLE_INTERVAL);
    }
}
