//! Counters of the output about what it delivers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kube_audit_core::stats::Series;
use kube_audit_forward::net::{Count, Node, NodeState};

use super::metrics::{Metric, visit_series};

/// Counters of an output's client since its start.
#[derive(Debug)]
pub(crate) struct Delivery {
    sent: AtomicU64,
    resent: AtomicU64,
    split: AtomicU64,
    acked: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
    connections_lost: AtomicU64,
    /// Label of each node, and true if it is up.
    nodes: Vec<(String, AtomicBool)>,
}

/// All counters of an output's deliveries, in the order in which they are shown.
pub(crate) static SERIES: [Series<Delivery>; 7] = [
    Series::counter(
        "frames_sent_total",
        "Frames sent, including resent ones.",
        "frames sent",
        |delivery| count(&delivery.sent),
    ),
    Series::counter(
        "frames_resent_total",
        "Frames sent again after a connection was lost or made no progress.",
        "frames resent",
        |delivery| count(&delivery.resent),
    ),
    Series::counter(
        "frames_split_total",
        "Frames split after a receiver rejected them as too large.",
        "frames split",
        |delivery| count(&delivery.split),
    ),
    Series::counter(
        "records_acked_total",
        "Records acknowledged by a receiver.",
        "records acknowledged",
        |delivery| count(&delivery.acked),
    ),
    Series::counter(
        "records_lost_total",
        "Records that cannot be sent and are lost.",
        "records lost",
        |delivery| count(&delivery.lost),
    ),
    Series::counter(
        "connections_made_total",
        "Connections made to receivers.",
        "connections made",
        |delivery| count(&delivery.connections),
    ),
    Series::counter(
        "connections_lost_total",
        "Connections that ended with frames in flight or by an error.",
        "connections lost",
        |delivery| count(&delivery.connections_lost),
    ),
];

/// The gauge that each node has, told apart by the label `node`.
const NODE_UP: (&str, &str) = ("node_up", "1 if the node accepts frames, 0 if not.");

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Delivery {
    pub(crate) fn new(nodes: &[Node]) -> Delivery {
        let zero = || AtomicU64::new(0);
        let nodes = node_labels(nodes).into_iter();
        Delivery {
            sent: zero(),
            resent: zero(),
            split: zero(),
            acked: zero(),
            lost: zero(),
            connections: zero(),
            connections_lost: zero(),
            nodes: nodes.map(|label| (label, AtomicBool::new(false))).collect(),
        }
    }

    /// Counts what the client reports.
    pub(crate) fn count(&self, count: Count) {
        let (counter, by) = match count {
            Count::FrameSent(_) => (&self.sent, 1),
            Count::FrameResent(_) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                (&self.resent, 1)
            }
            Count::FrameAcked(records) => (&self.acked, u64::try_from(records).unwrap_or(u64::MAX)),
            Count::FrameSplit => (&self.split, 1),
            Count::ConnectionMade => (&self.connections, 1),
            Count::ConnectionLost => (&self.connections_lost, 1),
        };
        counter.fetch_add(by, Ordering::Relaxed);
    }

    /// Counts records that are lost.
    pub(crate) fn lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// Sets the state of the node with that number.
    pub(crate) fn set_node(&self, node: usize, state: NodeState) {
        if let Some((_, up)) = self.nodes.get(node) {
            up.store(state == NodeState::Up, Ordering::Relaxed);
        }
    }

    /// Visits the counters and the gauge of each node.
    pub(crate) fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        visit_series(&SERIES, self, visit);
        let (name, help) = NODE_UP;
        for (label, up) in &self.nodes {
            let labels = [("node", label.into())];
            let up = u64::from(up.load(Ordering::Relaxed));
            visit(&Metric::gauge(name, help, up).labelled(&labels));
        }
    }
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
            format!("{endpoint} ({})", number.saturating_add(1))
        }
    };
    nodes.iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use kube_audit_core::stats::{MARKDOWN_HEAD, markdown_rows, summary};

    use super::*;
    use crate::panics;

    #[test]
    fn a_resent_frame_counts_as_sent_too() {
        let delivery = Delivery::new(&[]);
        delivery.count(Count::FrameSent(7));
        delivery.count(Count::FrameResent(7));
        delivery.count(Count::FrameAcked(7));
        let text = summary(&SERIES, &delivery);
        let expected = "frames sent: 2, frames resent: 1, records acknowledged: 7";
        assert_eq!(text.as_deref(), Some(expected));
    }

    #[test]
    fn each_node_has_a_gauge_from_the_start() {
        let nodes = Node::parse_list("a:1,b:2").unwrap();
        let delivery = Delivery::new(&nodes);
        let gauges = || {
            let mut gauges = Vec::new();
            delivery.metrics(&mut |metric| {
                if metric.name == "node_up" {
                    let labels = metric.labels.iter();
                    let labels: Vec<_> = labels
                        .map(|(name, value)| format!("{name}={value}"))
                        .collect();
                    gauges.push((labels.join(","), metric.value));
                }
            });
            gauges
        };
        let state = |a, b| [("node=a:1".to_owned(), a), ("node=b:2".to_owned(), b)];
        assert_eq!(gauges(), state(0, 0));
        delivery.set_node(1, NodeState::Up);
        assert_eq!(gauges(), state(0, 1));
        delivery.set_node(1, NodeState::Down);
        assert_eq!(gauges(), state(0, 0));
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

    #[test]
    fn the_documentation_has_the_tables() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mut output = [MARKDOWN_HEAD, &markdown_rows(&SERIES)].concat();
        let (name, help) = NODE_UP;
        let _ = writeln!(output, "| `{name}` | gauge | `node` | {help} |");
        let both = [MARKDOWN_HEAD, &markdown_rows(&panics::SERIES)].concat();
        for table in [output, both] {
            assert!(
                page.contains(&table),
                "docs/metrics.md should contain\n{table}"
            );
        }
    }
}
