//! One instance of the output, `[OUTPUT] Name kube_audit`.

use std::fmt::Display;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kube_audit_core::chunk::EntrySink;
use kube_audit_core::input::audit_id;
use kube_audit_core::options::{CommonOptions, HostSettings, Options};
use kube_audit_core::stats::Stats;
use kube_audit_forward::net::{
    Call, Client, ClientEvent, Count, Flushed, Node, NodeState, Observer, PrepareError,
};
use kube_audit_forward::options::ForwardOptions;
use kube_audit_forward::protocol::frames::RecordTooLarge;

use super::batches::batches;
use super::engine::Engine;
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
                    events.lost_bytes(chunk.len() - at);
                }
                // A retry brings the whole chunk again, so no piece may be held back for
                // a later chunk.
                engine.release(host_tag, &mut sink);
                if sink.bodiless > 0 {
                    events.lost_bodiless(sink.bodiless);
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
        let client = Client::start(config, prepare, Arc::clone(&events) as Arc<dyn Observer>)
            .map_err(|error| {
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
            .close(&*self.log);
        let EventLog {
            frames,
            resent,
            acked,
            lost,
            ..
        } = &*self.events;
        self.log.log(
            LogLevel::Info,
            &format!(
                "{} frames sent, {} of them resent; {} records acknowledged, {} lost",
                count(frames) + count(resent),
                count(resent),
                count(acked),
                count(lost)
            ),
        );
        self.events.panics.close(&*self.log);
    }
}

impl Metrics for Output {
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        visit_stats(&stats, visit);
        drop(stats);
        self.events.metrics(visit);
    }
}

/// Observer of the client that writes log lines and keeps counters.
struct EventLog {
    log: Arc<dyn Log>,
    frames: AtomicU64,
    resent: AtomicU64,
    split: AtomicU64,
    acked: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
    connections_lost: AtomicU64,
    panics: Panics,
    /// Label of each node, and true if it is up.
    nodes: Vec<(String, AtomicBool)>,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Returns the label of each node in metrics: its name, its endpoint too if the
/// name is not unique, and its number too if neither is.
fn node_labels(nodes: &[Node]) -> Vec<String> {
    let is_single = |label: &str, of: fn(&Node) -> String| {
        nodes.iter().filter(|node| of(node) == label).count() == 1
    };
    let label = |(number, node): (usize, &Node)| {
        let endpoint = node.to_string();
        if is_single(&node.name, |node| node.name.clone()) {
            node.name.clone()
        } else if is_single(&endpoint, Node::to_string) {
            endpoint
        } else {
            format!("{endpoint} ({})", number + 1)
        }
    };
    nodes.iter().enumerate().map(label).collect()
}

impl EventLog {
    fn new(log: Arc<dyn Log>, nodes: &[Node]) -> EventLog {
        let labels = node_labels(nodes).into_iter();
        EventLog {
            log,
            frames: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            split: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connections_lost: AtomicU64::new(0),
            panics: Panics::default(),
            nodes: labels
                .map(|label| (label, AtomicBool::new(false)))
                .collect(),
        }
    }

    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        for (name, help, value) in [
            (
                "frames_sent_total",
                "Frames sent, including resent ones.",
                count(&self.frames) + count(&self.resent),
            ),
            (
                "frames_resent_total",
                "Frames sent again after a connection was lost or made no progress.",
                count(&self.resent),
            ),
            (
                "frames_split_total",
                "Frames split after a receiver rejected them as too large.",
                count(&self.split),
            ),
            (
                "records_acked_total",
                "Records acknowledged by a receiver.",
                count(&self.acked),
            ),
            (
                "records_lost_total",
                "Records that cannot be sent and are lost.",
                count(&self.lost),
            ),
            (
                "connections_made_total",
                "Connections made to receivers.",
                count(&self.connections),
            ),
            (
                "connections_lost_total",
                "Connections that ended with frames in flight or by an error.",
                count(&self.connections_lost),
            ),
        ] {
            visit(&Metric::counter(name, help, value));
        }
        visit(&self.panics.metric());
        for (label, up) in &self.nodes {
            let help = "1 if the node accepts frames, 0 if not.";
            let labels = [("node", label.into())];
            let up = u64::from(up.load(Ordering::Relaxed));
            visit(&Metric::gauge("node_up", help, up).labelled(&labels));
        }
    }

    fn lost_bytes(&self, bytes: usize) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let message = format!("lost the last {bytes} bytes of a chunk: they are not valid records");
        self.log.log(LogLevel::Error, &message);
    }

    fn lost_bodiless(&self, records: usize) {
        self.lost.fetch_add(records as u64, Ordering::Relaxed);
        let message = format!("lost {records} records of a chunk: they do not contain a map");
        self.log.log(LogLevel::Error, &message);
    }
}

impl Observer for EventLog {
    fn event(&self, event: &ClientEvent, suppressed: u64) {
        if let ClientEvent::PrepareFailed(PrepareError::Panicked) = event {
            self.panics.add(suppressed.saturating_add(1));
        }
        let level = match event {
            ClientEvent::Connected { .. } | ClientEvent::ClosedWhileIdle { .. } => LogLevel::Info,
            ClientEvent::PrepareFailed(_) => LogLevel::Error,
            ClientEvent::TlsReloaded { .. } => LogLevel::Info,
            ClientEvent::NotVerified { .. } | ClientEvent::TlsNotReloaded { .. } => LogLevel::Warn,
            ClientEvent::ConnectFailed { .. }
            | ClientEvent::ConnectionLost { .. }
            | ClientEvent::Silent { .. }
            | ClientEvent::FrameSplit { .. }
            | ClientEvent::FrameParked { .. } => LogLevel::Warn,
        };
        let message = match suppressed {
            0 => event.to_string(),
            _ => format!("{event} (and {suppressed} similar messages since the last one)"),
        };
        self.log.log(level, &message);
    }

    fn record_lost(&self, error: &RecordTooLarge, entry: &[u8]) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let which = audit_id(entry).map_or(String::new(), |id| format!("; auditID `{id}`"));
        let message = format!("lost a record: {error}{which}");
        self.log.log(LogLevel::Error, &message);
    }

    fn count(&self, count: Count) {
        match count {
            Count::FrameSent(_) => self.frames.fetch_add(1, Ordering::Relaxed),
            Count::FrameResent(_) => self.resent.fetch_add(1, Ordering::Relaxed),
            Count::FrameAcked(records) => self.acked.fetch_add(records as u64, Ordering::Relaxed),
            Count::FrameSplit => self.split.fetch_add(1, Ordering::Relaxed),
            Count::ConnectionMade => self.connections.fetch_add(1, Ordering::Relaxed),
            Count::ConnectionLost => self.connections_lost.fetch_add(1, Ordering::Relaxed),
        };
    }

    fn node(&self, node: usize, state: NodeState) {
        if let Some((_, up)) = self.nodes.get(node) {
            up.store(state == NodeState::Up, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::Lines;

    #[test]
    fn each_node_has_a_gauge_from_the_start() {
        let nodes = Node::parse_list("a:1,b:2").unwrap();
        let events = EventLog::new(Arc::new(Lines::default()), &nodes);
        let gauges = || {
            let mut gauges = Vec::new();
            events.metrics(&mut |metric| {
                if metric.name == "node_up" {
                    let labels = metric.labels.iter();
                    let labels: Vec<String> = labels
                        .map(|(name, node)| format!("{name} {node}"))
                        .collect();
                    gauges.push((labels.join(","), metric.value));
                }
            });
            gauges
        };
        let up = |first, second| {
            [
                ("node a:1".to_owned(), first),
                ("node b:2".to_owned(), second),
            ]
        };
        assert_eq!(gauges(), up(0, 0));
        events.node(1, NodeState::Up);
        assert_eq!(gauges(), up(0, 1));
        events.node(1, NodeState::Down);
        assert_eq!(gauges(), up(0, 0));
    }

    #[test]
    fn nodes_of_the_same_name_are_told_apart() {
        let mut nodes = Node::parse_list("a:1,b:2,c:3,c:3").unwrap();
        assert_eq!(node_labels(&nodes), ["a:1", "b:2", "c:3 (3)", "c:3 (4)"]);
        for node in &mut nodes[..3] {
            node.name = "eu".into();
        }
        assert_eq!(
            node_labels(&nodes),
            ["eu at a:1", "eu at b:2", "eu at c:3", "c:3"]
        );
    }
}
