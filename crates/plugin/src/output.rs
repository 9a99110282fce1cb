//! One instance of the output, `[OUTPUT] Name kube_audit`.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use kube_audit_core::chunk::EntrySink;
use kube_audit_core::input::audit_id;
use kube_audit_core::options::{CommonOptions, HostSettings, Options};
use kube_audit_core::stats::{Stats, summary};
use kube_audit_forward::net::{
    Call, Client, ClientEvent, Count, Flushed, LostRecord, Node, NodeState, Observer, PrepareError,
};
use kube_audit_forward::options::ForwardOptions;

use super::batches::batches;
use super::delivery::{self, Delivery};
use super::engine::{Engine, Unfinished};
use super::metrics::visit_stats;
use super::panics::Panics;
use super::{Log, LogLevel, Metric, Metrics, OptionError, Patterns, Properties};

/// One output instance. Its thread runs from [`Output::new`] to [`Output::close`].
pub struct Output {
    client: Client,
    engine: Arc<Mutex<Engine>>,
    /// Copy of the engine's counters after its last chunk. The engine itself may be
    /// locked for as long as a chunk takes.
    stats: Arc<Mutex<Stats>>,
    events: Arc<EventLog>,
    log: Arc<dyn Log>,
}

impl Output {
    /// Reads the options and starts the thread. An error stops the start of Fluent
    /// Bit. `patterns` compiles the host's regular expressions.
    pub fn new(
        properties: &Properties,
        host: &HostSettings,
        patterns: Option<&dyn Patterns>,
        log: Arc<dyn Log>,
    ) -> Result<Output, OptionError> {
        let options = Options::output(properties, host)?;
        let ForwardOptions {
            config,
            form,
            tag,
            remarks,
        } = ForwardOptions::read(&options)?;
        for remark in remarks {
            log.log(LogLevel::Warn, &remark.to_string());
        }
        let engine = Engine::new(CommonOptions::read(&options)?, patterns, &*log)?;
        let stats = Arc::new(Mutex::new(engine.stats().clone()));
        let engine = Arc::new(Mutex::new(engine));
        let events = Arc::new(EventLog::new(Arc::clone(&log), &config.nodes));
        let prepare = {
            let (engine, events) = (Arc::clone(&engine), Arc::clone(&events));
            let stats = Arc::clone(&stats);
            move |host_tag: &[u8], chunk: &[u8]| {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let mut sink = EntrySink::new(form, chunk.len());
                if let Err(at) = engine.chunk(host_tag, chunk, &mut sink, &*events.log) {
                    events.lost_bytes(chunk.len().saturating_sub(at));
                }
                // A retry brings the whole chunk again, so no piece may be held back for
                // a later chunk.
                engine.release(host_tag, &mut sink);
                if sink.unreadable > 0 {
                    events.lost_unreadable(sink.unreadable);
                }
                // Entries are held until they are acknowledged, and spare capacity is not
                // counted as memory in use.
                sink.entries.shrink_to_fit();
                sink.ends.shrink_to_fit();
                stats
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone_from(engine.stats());
                batches(sink, tag.as_ref(), host_tag)
            }
        };
        let observer: Arc<dyn Observer> = events.clone();
        let client = Client::start(config, prepare, observer).map_err(|error| {
            OptionError::other("the output cannot start", error.to_string()).with_source(error)
        })?;
        Ok(Output {
            client,
            engine,
            stats,
            events,
            log,
        })
    }

    /// Checks the options as [`Output::new`] does, and starts nothing.
    pub fn check(
        properties: &Properties,
        host: &HostSettings,
        patterns: Option<&dyn Patterns>,
        log: &dyn Log,
    ) -> Result<(), OptionError> {
        let options = Options::output(properties, host)?;
        ForwardOptions::read(&options)?;
        Engine::new(CommonOptions::read(&options)?, patterns, log)?;
        Ok(())
    }

    /// Hands a chunk over to the client.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Flushed {
        self.log_retry(self.client.flush(tag, chunk), chunk)
    }

    /// Continues a flush, with the same tag and chunk.
    pub fn resume(&self, call: Call, tag: &[u8], chunk: &[u8]) -> Flushed {
        self.log_retry(self.client.resume(call, tag, chunk), chunk)
    }

    /// Returns the calls to resume now.
    pub fn ready(&self) -> Vec<Call> {
        self.client.ready()
    }

    /// Is readable when calls may be [ready](Output::ready), or log lines were
    /// written, since that was last asked.
    pub fn signal(&self) -> BorrowedFd<'_> {
        self.client.signal()
    }

    fn log_retry(&self, flushed: Flushed, chunk: &[u8]) -> Flushed {
        if let Flushed::Retry(reason) = flushed {
            let line = format!("chunk of {} bytes: {reason}", chunk.len());
            self.log.log(LogLevel::Debug, &line);
        }
        flushed
    }

    /// Counts and logs a panic in one of the other calls.
    pub fn report_panic(&self, panic: &dyn Display, consequence: &str) {
        self.events.panics.report(panic, consequence, &*self.log);
    }

    /// Ends the thread within a bounded time, and logs a summary.
    pub fn close(self) {
        self.client.shutdown();
        self.engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close(Unfinished::Lost, &*self.log);
        let delivered = summary(&delivery::SERIES, &self.events.delivery);
        let line = delivered.unwrap_or_else(|| "nothing was sent".to_owned());
        self.log.log(LogLevel::Info, &line);
        self.events.panics.close(&*self.log);
    }
}

impl Metrics for Output {
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        visit_stats(&stats, visit);
        drop(stats);
        self.events.delivery.metrics(visit);
        self.events.panics.metrics(visit);
    }
}

/// Observer of the client that writes log lines and keeps counters.
struct EventLog {
    log: Arc<dyn Log>,
    delivery: Delivery,
    panics: Panics,
}

impl EventLog {
    fn new(log: Arc<dyn Log>, nodes: &[Node]) -> EventLog {
        EventLog {
            log,
            delivery: Delivery::new(nodes),
            panics: Panics::default(),
        }
    }

    fn lost_bytes(&self, bytes: usize) {
        self.delivery.lost(1);
        let message = format!("lost the last {bytes} bytes of a chunk: they are not valid records");
        self.log.log(LogLevel::Error, &message);
    }

    fn lost_unreadable(&self, records: usize) {
        self.delivery
            .lost(u64::try_from(records).unwrap_or(u64::MAX));
        let message =
            format!("lost {records} records of a chunk: they are not a pair of time and map");
        self.log.log(LogLevel::Error, &message);
    }
}

impl Observer for EventLog {
    fn event(&self, event: &ClientEvent, suppressed: u64) {
        if let ClientEvent::PrepareFailed(PrepareError::Panicked) | ClientEvent::Panicked = event {
            self.panics.add(suppressed.saturating_add(1));
        }
        let level = match event {
            ClientEvent::Connected { .. } | ClientEvent::ClosedWhileIdle { .. } => LogLevel::Info,
            ClientEvent::PrepareFailed(_) | ClientEvent::Panicked => LogLevel::Error,
            ClientEvent::TlsReloaded { .. } => LogLevel::Info,
            ClientEvent::NotVerified { .. } | ClientEvent::TlsNotReloaded { .. } => LogLevel::Warn,
            ClientEvent::ConnectFailed { .. }
            | ClientEvent::ConnectionLost { .. }
            | ClientEvent::Silent { .. }
            | ClientEvent::UsedOnce { .. }
            | ClientEvent::NeverAcknowledged { .. }
            | ClientEvent::ClosedUnacknowledged { .. }
            | ClientEvent::FrameTooLarge { .. }
            | ClientEvent::FrameSplit { .. }
            | ClientEvent::FrameParked { .. } => LogLevel::Warn,
        };
        let message = match suppressed {
            0 => event.to_string(),
            _ => format!("{event} (and {suppressed} similar messages since the last one)"),
        };
        self.log.log(level, &message);
    }

    fn record_lost(&self, reason: &LostRecord, entry: &[u8]) {
        self.delivery.lost(1);
        let which = audit_id(entry).map_or(String::new(), |id| format!("; auditID `{id}`"));
        let message = format!("lost a record: {reason}{which}");
        self.log.log(LogLevel::Error, &message);
    }

    fn count(&self, count: Count) {
        self.delivery.count(count);
    }

    fn node(&self, node: usize, state: NodeState) {
        self.delivery.set_node(node, state);
    }
}
