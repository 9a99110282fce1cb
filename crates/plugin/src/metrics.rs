//! Counters and gauges of an instance, for the host's metrics.

use std::borrow::Cow;

use kube_audit_core::stats::Tally;

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

/// Name and value of a label.
pub type Label<'a> = (&'static str, Cow<'a, str>);

/// The way a metric's value may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Grows, from 0 at the start of the instance.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Metric<'static> {
    /// A counter without labels.
    pub(crate) fn counter(name: &'static str, help: &'static str, value: u64) -> Metric<'static> {
        Metric {
            name,
            help,
            kind: MetricKind::Counter,
            labels: &[],
            value,
        }
    }

    /// A gauge without labels.
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: u64) -> Metric<'static> {
        Metric {
            kind: MetricKind::Gauge,
            ..Metric::counter(name, help, value)
        }
    }

    /// The same series with these labels.
    pub(crate) fn labelled<'a>(self, labels: &'a [Label<'a>]) -> Metric<'a> {
        Metric { labels, ..self }
    }
}

/// Visits the counts of records and events that filter and output have in common.
pub(crate) fn visit_tally(tally: &Tally, visit: &mut dyn FnMut(&Metric<'_>)) {
    visit(&Metric::counter(
        "records_total",
        "Log records read.",
        tally.records,
    ));
    for (outcome, events) in [
        ("kept", tally.kept()),
        ("dropped", tally.dropped),
        ("excluded", tally.excluded_events),
    ] {
        let help = "Audit events: kept, dropped by the policy, or excluded by a pattern.";
        let labels = [("outcome", outcome.into())];
        visit(&Metric::counter("events_total", help, events).labelled(&labels));
    }
    for (name, help, value) in [
        (
            "events_stripped_total",
            "Audit events kept that the policy took something out of.",
            tally.stripped,
        ),
        (
            "records_non_audit_total",
            "Records without an audit event.",
            tally.non_audit,
        ),
        (
            "records_excluded_total",
            "Records without an audit event that a pattern excluded.",
            tally.excluded_others,
        ),
        (
            "records_malformed_total",
            "Records that look like an audit event but cannot be parsed.",
            tally.malformed,
        ),
        (
            "records_emptied_total",
            "Records dropped because none of their keys was to stay.",
            tally.emptied,
        ),
        (
            "event_bytes_in_total",
            "Bytes of the audit events read.",
            tally.bytes_in,
        ),
        (
            "event_bytes_out_total",
            "Bytes of the audit events kept.",
            tally.bytes_out,
        ),
    ] {
        visit(&Metric::counter(name, help, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_as_metrics() {
        let tally = Tally {
            records: 9,
            events: 7,
            dropped: 3,
            excluded_events: 1,
            excluded_others: 6,
            stripped: 2,
            non_audit: 1,
            malformed: 4,
            emptied: 5,
            bytes_in: 70,
            bytes_out: 40,
            rules: Vec::new(),
        };
        let mut series = Vec::new();
        visit_tally(&tally, &mut |metric| {
            assert!(metric.name.ends_with("_total") && !metric.help.is_empty());
            let labels = metric.labels.iter().map(|(_, value)| value.as_ref());
            let name: Vec<&str> = [metric.name].into_iter().chain(labels).collect();
            series.push((name.join(" "), metric.value));
        });
        let expected = [
            ("records_total", 9),
            ("events_total kept", 3),
            ("events_total dropped", 3),
            ("events_total excluded", 1),
            ("events_stripped_total", 2),
            ("records_non_audit_total", 1),
            ("records_excluded_total", 6),
            ("records_malformed_total", 4),
            ("records_emptied_total", 5),
            ("event_bytes_in_total", 70),
            ("event_bytes_out_total", 40),
        ];
        assert_eq!(
            series,
            expected.map(|(name, value)| (name.to_owned(), value))
        );
    }
}
