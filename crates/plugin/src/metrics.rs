//! Counters and gauges of an instance, for the host's metrics.

pub use kube_audit_core::stats::{Label, MetricKind};
use kube_audit_core::stats::{SERIES, Series, Stats};

/// A plugin with metrics.
pub trait Metrics {
    /// Visits every metric: always the same ones, in the same order.
    fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>));
}

/// One series with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric<'a> {
    /// The name without the plugin's, such as `events_total`; a counter's ends in `_total`.
    pub name: &'static str,
    /// One sentence, never empty.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Labels besides the instance's own; the series of one name have the same label names
    /// in the same order.
    pub labels: &'a [Label<'a>],
    /// The value now.
    pub value: u64,
}

impl Metric<'static> {
    /// A gauge without labels.
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: u64) -> Metric<'static> {
        Metric {
            kind: MetricKind::Gauge,
            name,
            help,
            labels: &[],
            value,
        }
    }

    /// Adds labels to the series.
    pub(crate) fn labelled<'a>(self, labels: &'a [Label<'a>]) -> Metric<'a> {
        Metric { labels, ..self }
    }
}

/// Visits the counters of a pipeline.
pub(crate) fn visit_stats(stats: &Stats, visit: &mut dyn FnMut(&Metric<'_>)) {
    visit_series(&SERIES, stats, visit);
    stats.visit_redactors(&mut |series, label, value| {
        visit(&Metric {
            name: series.name,
            help: series.help,
            kind: series.kind,
            labels: &[label],
            value,
        });
    });
    for detection in &stats.detections {
        detection.visit(&mut |series, labels| {
            visit(&Metric {
                name: series.name,
                help: series.help,
                kind: series.kind,
                labels,
                value: series.value(detection),
            });
        });
    }
}

/// Visits each series of a table.
pub(crate) fn visit_series<S>(
    table: &[Series<S>],
    counters: &S,
    visit: &mut dyn FnMut(&Metric<'_>),
) {
    for series in table {
        visit(&Metric {
            name: series.name,
            help: series.help,
            kind: series.kind,
            labels: series.labels,
            value: series.value(counters),
        });
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
        let mut series = Vec::new();
        visit_stats(&stats, &mut |metric| {
            assert!(!metric.help.is_empty(), "{}", metric.name);
            let labels = metric.labels.iter().map(|(_, value)| value.as_ref());
            let name: Vec<&str> = [metric.name].into_iter().chain(labels).collect();
            series.push((name.join(" "), metric.value));
        });
        for (name, value) in [
            ("records_total", 9),
            ("events_total kept", 4),
            ("events_total dropped", 3),
            ("line_pieces_withheld", 2),
        ] {
            assert!(series.contains(&(name.to_owned(), value)), "{series:?}");
        }
    }
}
