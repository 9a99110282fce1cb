//! The output door: one instance of `[OUTPUT] Name kube_audit`.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kube_audit_core::chunk::EntrySink;
use kube_audit_core::input::audit_id;
use kube_audit_core::options::{HostSettings, Options};
use kube_audit_forward::net::{
    Call, Client, ClientEvent, Count, Flushed, Node, NodeState, Observer,
};
use kube_audit_forward::options::{ForwardOptions, OWN};
use kube_audit_forward::protocol::frames::RecordTooLarge;

use super::batches::batches;
use super::engine::Engine;
use super::{Log, LogLevel, Metric, OptionError, Patterns, Properties};

/// One output instance. Its thread runs from [`Output::new`] to [`Output::close`].
pub struct Output {
    client: Client,
    engine: Arc<Mutex<Engine>>,
    /// The engine's metrics after its last chunk, because the engine itself may
    /// be locked for as long as a chunk takes.
    engine_metrics: Arc<Mutex<Vec<Metric>>>,
    events: Arc<EventLog>,
    log: Arc<dyn Log>,
}

impl Output {
    /// Reads the options and starts the thread; an error here stops the start of
    /// Fluent Bit. `patterns` is what the host has of regular expressions.
    pub fn new(
        properties: &Properties,
        host: &HostSettings,
        patterns: Option<&dyn Patterns>,
        log: Arc<dyn Log>,
    ) -> Result<Output, OptionError> {
        let options = Options::new(properties, &OWN)?;
        let ForwardOptions {
            config,
            form,
            tag,
            remarks,
        } = ForwardOptions::new(&options, host)?;
        for remark in remarks {
            log.log(LogLevel::Warn, remark);
        }
        let engine = Engine::new(options.common()?, patterns, &*log)?;
        let engine_metrics = Arc::new(Mutex::new(engine.metrics()));
        let engine = Arc::new(Mutex::new(engine));
        let events = Arc::new(EventLog::new(Arc::clone(&log), &config.nodes));
        let prepare = {
            let (engine, events) = (Arc::clone(&engine), Arc::clone(&events));
            let engine_metrics = Arc::clone(&engine_metrics);
            move |host_tag: &[u8], chunk: &[u8]| {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let mut sink = EntrySink::new(form, chunk.len());
                if let Err(at) = engine.chunk(host_tag, chunk, &mut sink, &*events.log) {
                    events.chunk_broken(chunk.len() - at);
                }
                // A retry brings the whole chunk again: nothing may be held back beyond it.
                engine.release(host_tag, &mut sink);
                if sink.bodiless > 0 {
                    events.records_bodiless(sink.bodiless);
                }
                // They are held until they are acknowledged, and counted without what is spare.
                sink.entries.shrink_to_fit();
                sink.ends.shrink_to_fit();
                let metrics = engine.metrics();
                *engine_metrics
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = metrics;
                batches(sink, tag.as_ref(), host_tag)
            }
        };
        let client = Client::start(config, prepare, Arc::clone(&events) as Arc<dyn Observer>)
            .map_err(|error| OptionError(format!("the output cannot start: {error}")))?;
        Ok(Output {
            client,
            engine,
            engine_metrics,
            events,
            log,
        })
    }

    /// Hands a chunk over.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Flushed {
        self.log_retry(self.client.flush(tag, chunk), chunk)
    }

    /// Goes on with a call whose chunk is the same still.
    pub fn resume(&self, call: Call, tag: &[u8], chunk: &[u8]) -> Flushed {
        self.log_retry(self.client.resume(call, tag, chunk), chunk)
    }

    /// Calls to resume now.
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

    /// What it has counted.
    pub fn metrics(&self) -> Vec<Metric> {
        let engine = self.engine_metrics.lock();
        let mut metrics = engine.unwrap_or_else(PoisonError::into_inner).clone();
        metrics.extend(self.events.metrics());
        metrics
    }

    /// Ends the thread within a bounded time.
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
                "{} frames sent, {} of them again; {} records acknowledged, {} lost",
                count(frames) + count(resent),
                count(resent),
                count(acked),
                count(lost)
            ),
        );
    }
}

/// Turns the client's news into log lines, and counts.
struct EventLog {
    log: Arc<dyn Log>,
    frames: AtomicU64,
    resent: AtomicU64,
    split: AtomicU64,
    acked: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
    connections_lost: AtomicU64,
    /// Label of each node, and whether it is up.
    nodes: Vec<(String, AtomicBool)>,
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// What metrics call each node: its name, with what it takes to tell those of the
/// same name apart.
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
            nodes: labels
                .map(|label| (label, AtomicBool::new(false)))
                .collect(),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![
            Metric::counter(
                "frames_sent_total",
                "Frames given to a connection, those sent again included.",
                count(&self.frames) + count(&self.resent),
            ),
            Metric::counter(
                "frames_resent_total",
                "Frames given to a connection again.",
                count(&self.resent),
            ),
            Metric::counter(
                "frames_split_total",
                "Frames halved after a receiver that takes smaller ones did not take them.",
                count(&self.split),
            ),
            Metric::counter(
                "records_acked_total",
                "Records acknowledged by the receiver.",
                count(&self.acked),
            ),
            Metric::counter(
                "records_lost_total",
                "Records that can never be sent.",
                count(&self.lost),
            ),
            Metric::counter(
                "connections_made_total",
                "Connections made to a receiver.",
                count(&self.connections),
            ),
            Metric::counter(
                "connections_lost_total",
                "Connections lost or given up while something was under way.",
                count(&self.connections_lost),
            ),
        ];
        metrics.extend(self.nodes.iter().map(|(label, up)| {
            let help = "Whether frames find their way to the receiver (1) or not (0).";
            let up = up.load(Ordering::Relaxed);
            Metric::gauge("node_up", help, u64::from(up)).labelled("node", label.to_owned())
        }));
        metrics
    }

    fn chunk_broken(&self, bytes: usize) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let message = format!(
            "{bytes} bytes at the end of a chunk are no records; they cannot be forwarded and are lost"
        );
        self.log.log(LogLevel::Error, &message);
    }

    fn records_bodiless(&self, records: usize) {
        self.lost.fetch_add(records as u64, Ordering::Relaxed);
        let message = format!(
            "{records} records of a chunk hold no map; they cannot be forwarded and are lost"
        );
        self.log.log(LogLevel::Error, &message);
    }
}

impl Observer for EventLog {
    fn event(&self, event: &ClientEvent, suppressed: u64) {
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
            _ => format!("{event} (and {suppressed} more of the kind since the last such line)"),
        };
        self.log.log(level, &message);
    }

    fn record_lost(&self, error: &RecordTooLarge, entry: &[u8]) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        let which = audit_id(entry).map_or(String::new(), |id| format!("; its auditID is `{id}`"));
        let message = format!("a record is lost: {error}{which}");
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

    struct Silent;

    impl Log for Silent {
        fn log(&self, _: LogLevel, _: &str) {}
    }

    #[test]
    fn each_node_has_a_gauge_from_the_start() {
        let nodes = Node::parse_list("a:1,b:2").unwrap();
        let events = EventLog::new(Arc::new(Silent), &nodes);
        let gauges = || -> Vec<_> {
            let metrics = events.metrics().into_iter();
            let nodes = metrics.filter(|metric| metric.name == "node_up");
            nodes.map(|metric| (metric.label, metric.value)).collect()
        };
        let label = |name: &'static str| Some(("node", name.into()));
        assert_eq!(gauges(), [(label("a:1"), 0), (label("b:2"), 0)]);
        events.node(1, NodeState::Up);
        assert_eq!(gauges(), [(label("a:1"), 0), (label("b:2"), 1)]);
        events.node(1, NodeState::Down);
        assert_eq!(gauges(), [(label("a:1"), 0), (label("b:2"), 0)]);
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
