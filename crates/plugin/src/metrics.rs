//! What an instance has counted, for the host's metrics.

use std::borrow::Cow;

use kube_audit_core::stats::Tally;

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

/// What the value of a metric may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It grows, from 0 at the start of the instance.
    Counter,
    /// It goes up and down.
    Gauge,
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

    /// What both doors count of records and events.
    pub(super) fn of_tally(tally: &Tally) -> Vec<Metric> {
        let events = |outcome: &'static str, value| {
            let help = "Audit events: kept, dropped by the policy, or excluded by a pattern.";
            Metric::counter("events_total", help, value).labelled("outcome", outcome)
        };
        vec![
            Metric::counter("records_total", "Log records read.", tally.records),
            events("kept", tally.kept()),
            events("dropped", tally.dropped),
            events("excluded", tally.excluded_events),
            Metric::counter(
                "events_stripped_total",
                "Audit events kept that the policy took something out of.",
                tally.stripped,
            ),
            Metric::counter(
                "records_non_audit_total",
                "Records that hold no audit event.",
                tally.non_audit,
            ),
            Metric::counter(
                "records_excluded_total",
                "Records without an audit event that a pattern excluded.",
                tally.excluded_others,
            ),
            Metric::counter(
                "records_malformed_total",
                "Records that look like an audit event and cannot be read.",
                tally.malformed,
            ),
            Metric::counter(
                "records_emptied_total",
                "Records dropped because none of their keys was to stay.",
                tally.emptied,
            ),
            Metric::counter(
                "event_bytes_in_total",
                "Bytes of the audit events read.",
                tally.bytes_in,
            ),
            Metric::counter(
                "event_bytes_out_total",
                "Bytes of the audit events kept.",
                tally.bytes_out,
            ),
        ]
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
        let series: Vec<(String, u64)> = Metric::of_tally(&tally)
            .into_iter()
            .map(|metric| {
                assert!(metric.name.ends_with("_total") && !metric.help.is_empty());
                let label = metric.label.iter().map(|(_, value)| value.as_ref());
                let name = [metric.name].into_iter().chain(label).collect::<Vec<_>>();
                (name.join(" "), metric.value)
            })
            .collect();
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
