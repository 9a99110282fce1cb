//! The part that filter and output share: the pipeline, the policy that it applies, and
//! the log lines about records that cannot be read.

use kube_audit_core::chunk::Sink;
use kube_audit_core::options::CommonOptions;
use kube_audit_core::pipeline::Pipeline;
use kube_audit_core::stats::Stats;

use super::log::{Log, LogLevel, LogLimit};
use super::policy_watch::PolicyWatch;
use super::{Metric, OptionError, Patterns, metrics};

/// Rewrites chunks by the policy in force.
pub(crate) struct Engine {
    pipeline: Pipeline,
    watch: Option<PolicyWatch>,
    /// Bad records that were logged, and when the next line may follow.
    logged: u64,
    limit: LogLimit,
}

impl Engine {
    /// Loads the policy and compiles the patterns. `patterns` are the host's regular
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
            logged: 0,
            limit: LogLimit::default(),
        })
    }

    /// Rewrites the records of a chunk into the sink. At bytes that are not a value it
    /// stops: `Err` is their position.
    pub(crate) fn chunk(
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
        self.report_trouble(log);
        result
    }

    /// Gives the sink the pieces of split lines that are withheld under a tag.
    #[cfg(feature = "output")]
    pub(crate) fn release(&mut self, tag: &[u8], sink: &mut impl Sink) {
        self.pipeline.release(tag, sink);
    }

    /// The counters since the start.
    pub(crate) fn stats(&self) -> &Stats {
        self.pipeline.stats()
    }

    /// Visits the counters as metrics.
    pub(crate) fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        metrics::visit_stats(self.stats(), visit);
    }

    /// Logs the counts, and what is lost with the engine.
    pub(crate) fn close(&self, log: &dyn Log) {
        log.log(LogLevel::Info, &self.stats().summary());
        let withheld = self.stats().withheld;
        if withheld > 0 {
            let message =
                format!("{withheld} pieces of split lines whose last piece never came are lost");
            log.log(LogLevel::Error, &message);
        }
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
            match self.watch {
                Some(_) => " and were dropped, because a policy is in force",
                None => "",
            },
            trouble.saturating_sub(self.logged)
        );
        log.log(LogLevel::Warn, &message);
        self.logged = trouble;
    }
}
