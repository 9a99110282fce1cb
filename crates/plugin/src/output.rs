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
    Call, Client, Count, Flushed, News, Node, NodeState, PrepareError, Report,
};
use kube_audit_forward::options::ForwardOptions;
use kube_audit_forward::protocol::frames::RecordTooLarge;

use super::batches::batches;
use super::engine::Engine;
use super::metrics::visit_stats;
use super::panics::Panics;
use super::{Log, LogLevel, Metric, Metrics, OptionError, Outcome, Patterns, Properties};

/// One output instance. Its thread runs from [`Output::new`] to [`Output::close`].
pub struct Output {
    client: Client,
    engine: Arc<Mutex<Engine>>,
    /// The engine's counts after its last chunk, because the engine itself may
    /// be locked for as long as a chunk takes.
    stats: Arc<Mutex<Stats>>,
    news: Arc<NewsToLog>,
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
        let news = Arc::new(NewsToLog::new(Arc::clone(&log), &config.nodes));
        let prepare = {
            let (engine, news) = (Arc::clone(&engine), Arc::clone(&news));
            let stats = Arc::clone(&stats);
            move |host_tag: &[u8], chunk: &[u8]| {
                let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
                let mut sink = EntrySink::new(form, chunk.len());
                if let Err(at) = engine.chunk(host_tag, chunk, &mut sink, &*news.log) {
                    news.chunk_broken(chunk.len() - at);
                }
                // A retry brings the whole chunk again: nothing may be held back beyond it.
                engine.release(host_tag, &mut sink);
                if sink.bodiless > 0 {
                    news.records_bodiless(sink.bodiless);
                }
                // They are held until they are acknowledged, and counted without what is spare.
                sink.entries.shrink_to_fit();
                sink.ends.shrink_to_fit();
                stats
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone_from(engine.stats());
                batches(sink, tag.as_ref(), host_tag)
            }
        };
        let client = Client::start(config, prepare, Arc::clone(&news) as Arc<dyn Report>).map_err(
            |error| {
                OptionError::other("the output cannot start", error.to_string()).with_source(error)
            },
        )?;
        Ok(Output {
            client,
            engine,
            stats,
            news,
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

    /// Hands a chunk over.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Outcome {
        self.outcome(self.client.flush(tag, chunk), chunk)
    }

    /// Goes on with a call whose chunk is the same still.
    pub fn resume(&self, call: Call, tag: &[u8], chunk: &[u8]) -> Outcome {
        self.outcome(self.client.resume(call, tag, chunk), chunk)
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

    fn outcome(&self, flushed: Flushed, chunk: &[u8]) -> Outcome {
        match flushed {
            Flushed::Delivered => Outcome::Delivered,
            Flushed::Waits(call) => Outcome::Waits(call),
            Flushed::Retry(reason) => {
                let line = format!("chunk of {} bytes: {reason}", chunk.len());
                self.log.log(LogLevel::Debug, &line);
                Outcome::Retry
            }
        }
    }

    /// Counts and logs a panic in one of the other calls.
    pub fn report_panic(&self, panic: &dyn Display, consequence: &str) {
        self.news.panics.report(panic, consequence, &*self.log);
    }

    /// Ends the thread within a bounded time.
    pub fn close(self) {
        self.client.shutdown();
        self.engine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close(&*self.log);
        let NewsToLog {
            frames,
            resent,
            acked,
            lost,
            ..
        } = &*self.news;
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
        self.news.panics.close(&*self.log);
    }
}

impl Metrics for Output {
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        let stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        visit_stats(&stats, visit);
        drop(stats);
        self.news.metrics(visit);
    }
}

/// Turns the client's news into log lines, and counts.
struct NewsToLog {
    log: Arc<dyn Log>,
    frames: AtomicU64,
    resent: AtomicU64,
    split: AtomicU64,
    acked: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
    connections_lost: AtomicU64,
    panics: Panics,
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

impl NewsToLog {
    fn new(log: Arc<dyn Log>, nodes: &[Node]) -> NewsToLog {
        let labels = node_labels(nodes).into_iter();
        NewsToLog {
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
                "Frames given to a connection, those sent again included.",
                count(&self.frames) + count(&self.resent),
            ),
            (
                "frames_resent_total",
                "Frames given to a connection again.",
                count(&self.resent),
            ),
            (
                "frames_split_total",
                "Frames split after a receiver rejected them as too large.",
                count(&self.split),
            ),
            (
                "records_acked_total",
                "Records acknowledged by the receiver.",
                count(&self.acked),
            ),
            (
                "records_lost_total",
                "Records that can never be sent.",
                count(&self.lost),
            ),
            (
                "connections_made_total",
                "Connections made to a receiver.",
                count(&self.connections),
            ),
            (
                "connections_lost_total",
                "Connections lost or given up while something was under way.",
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

impl Report for NewsToLog {
    fn news(&self, news: &News, repeated: u64) {
        if let News::PrepareFailed(PrepareError::Panicked) = news {
            self.panics.add(repeated.saturating_add(1));
        }
        let level = match news {
            News::Connected { .. } | News::ClosedWhileIdle { .. } => LogLevel::Info,
            News::PrepareFailed(_) => LogLevel::Error,
            News::TlsReloaded { .. } => LogLevel::Info,
            News::NotVerified { .. } | News::TlsNotReloaded { .. } => LogLevel::Warn,
            News::ConnectFailed { .. }
            | News::ConnectionLost { .. }
            | News::Silent { .. }
            | News::FrameSplit { .. }
            | News::FrameParked { .. } => LogLevel::Warn,
        };
        let message = match repeated {
            0 => news.to_string(),
            _ => format!("{news} (and {repeated} more of the kind since the last such line)"),
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
    use crate::test::Lines;

    #[test]
    fn each_node_has_a_gauge_from_the_start() {
        let nodes = Node::parse_list("a:1,b:2").unwrap();
        let news = NewsToLog::new(Arc::new(Lines::default()), &nodes);
        let gauges = || {
            let mut gauges = Vec::new();
            news.metrics(&mut |metric| {
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
        news.node(1, NodeState::Up);
        assert_eq!(gauges(), up(0, 1));
        news.node(1, NodeState::Down);
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
