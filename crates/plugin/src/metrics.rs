//! What an instance has counted, for the host's metrics.

use std::borrow::Cow;

pub use kube_audit_core::stats::MetricKind;
use kube_audit_core::stats::{SERIES, Series, Stats};

/// One series. An instance has the same series in the same order all its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What is counted, with `_total` at the end of a counter's name.
    pub name: &'static str,
    /// One sentence about it, never empty.
    pub help: &'static str,
    /// What the value may do.
    pub kind: MetricKind,
    /// Name and value of a label besides the instance's own. All series of one name
    /// have a label of the same name, or none.
    pub label: Option<(&'static str, Cow<'static, str>)>,
    /// The value now.
    pub value: u64,
}

impl Metric {
    /// A counter without labels.
    pub(super) fn counter(name: &'static str, help: &'static str, value: u64) -> Metric {
        Metric {
            name,
            help,
            kind: MetricKind::Counter,
            label: None,
            value,
        }
    }

    /// A gauge without labels.
    pub(super) fn gauge(name: &'static str, help: &'static str, value: u64) -> Metric {
        Metric {
            kind: MetricKind::Gauge,
            ..Metric::counter(name, help, value)
        }
    }

    /// The same with a label.
    pub(super) fn labelled(
        self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Metric {
        Metric {
            label: Some((name, value.into())),
            ..self
        }
    }

    /// The counters of a pipeline.
    pub(super) fn of_stats(stats: &Stats) -> Vec<Metric> {
        let metric = |series: &Series| Metric {
            name: series.name,
            help: series.help,
            kind: series.kind,
            label: series
                .labels
                .first()
                .map(|&(name, value)| (name, value.into())),
            value: series.value(stats),
        };
        SERIES.iter().map(metric).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_become_metrics() {
        let stats = Stats {
            records: 9,
            events: 7,
            dropped: 3,
            withheld: 2,
            ..Stats::default()
        };
        let metrics = Metric::of_stats(&stats);
        let value = |name, label: Option<&str>| {
            let is_it = |metric: &&Metric| {
                let value = metric.label.as_ref().map(|(_, value)| value.as_ref());
                metric.name == name && value == label
            };
            metrics.iter().find(is_it).map(|metric| metric.value)
        };
        assert_eq!(value("records_total", None), Some(9));
        assert_eq!(value("events_total", Some("kept")), Some(4));
        assert_eq!(value("events_total", Some("dropped")), Some(3));
        assert_eq!(value("line_pieces_withheld", None), Some(2));
    }
}
