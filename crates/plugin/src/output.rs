//! The output plugin: one instance of `[OUTPUT] Name kube_audit`.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kube_audit_core::chunk::EntrySink;
use kube_audit_core::input::audit_id;
use kube_audit_core::options::{HostSettings, Options};
use kube_audit_forward::net::{
    Call, Client, ClientEvent, Count, Flushed, LostRecord, Node, NodeState, Observer,
};
use kube_audit_forward::options::{ForwardOptions, OWN};

use super::batches::batches;
use super::engine::Engine;
use super::{Log, LogLevel, Metric, OptionError, Patterns, Properties};

/// One output instance. Its thread runs from [`Output::new`] to [`Output::close`].
pub struct Output {
    client: Client,
    engine: Arc<Mutex<Engine>>,
    /// Copy of the engine's metrics after its last chunk. The engine itself may be
    /// locked for as long as a chunk takes.
    engine_metrics: Arc<Mutex<Vec<Metric>>>,
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
                let metrics = engine.metrics();
                *engine_metrics
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = metrics;
                batches(sink, tag.as_ref(), host_tag)
            }
        };
        let client = Client::start(config, prepare, Arc::clone(&events) as Arc<dyn Observer>)
            .map_err(|error| OptionError(format!("cannot start the output: {error}")))?;
        Ok(Output {
            client,
            engine,
            engine_metrics,
            events,
            log,
        })
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

    /// Returns the metrics.
    pub fn metrics(&self) -> Vec<Metric> {
        let engine = self.engine_metrics.lock();
        let mut metrics = engine.unwrap_or_else(PoisonError::into_inner).clone();
        metrics.extend(self.events.metrics());
        metrics
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
            nodes: labels
                .map(|label| (label, AtomicBool::new(false)))
                .collect(),
        }
    }

    fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![
            Metric::counter(
                "frames_sent_total",
                "Frames sent, including resent ones.",
                count(&self.frames) + count(&self.resent),
            ),
            Metric::counter(
                "frames_resent_total",
                "Frames sent again after a connection was lost or made no progress.",
                count(&self.resent),
            ),
            Metric::counter(
                "frames_split_total",
                "Frames split after a receiver rejected them as too large.",
                count(&self.split),
            ),
            Metric::counter(
                "records_acked_total",
                "Records acknowledged by a receiver.",
                count(&self.acked),
            ),
            Metric::counter(
                "records_lost_total",
                "Records that cannot be sent and are lost.",
                count(&self.lost),
            ),
            Metric::counter(
                "connections_made_total",
                "Connections made to receivers.",
                count(&self.connections),
            ),
            Metric::counter(
                "connections_lost_total",
                "Connections that ended with frames in flight or by an error.",
                count(&self.connections_lost),
            ),
        ];
        metrics.extend(self.nodes.iter().map(|(label, up)| {
            let help = "1 if the node accepts frames, 0 if not.";
            let up = up.load(Ordering::Relaxed);
            Metric::gauge("node_up", help, u64::from(up)).labelled("node", label.to_owned())
        }));
        metrics
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
        let level = match event {
            ClientEvent::Connected { .. } | ClientEvent::ClosedWhileIdle { .. } => LogLevel::Info,
            ClientEvent::PrepareFailed(_) => LogLevel::Error,
            ClientEvent::TlsReloaded { .. } => LogLevel::Info,
            ClientEvent::NotVerified { .. } | ClientEvent::TlsNotReloaded { .. } => LogLevel::Warn,
            ClientEvent::ConnectFailed { .. }
            | ClientEvent::ConnectionLost { .. }
            | ClientEvent::Silent { .. }
            | ClientEvent::UsedOnce { .. }
            | ClientEvent::NeverAcknowledged { .. }
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
        self.lost.fetch_add(1, Ordering::Relaxed);
        let which = audit_id(entry).map_or(String::new(), |id| format!("; auditID `{id}`"));
        let message = format!("lost a record: {reason}{which}");
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
