//! Counters of what becomes of records and events.
//!
//! Each counter is defined once, in [`SERIES`]: the host's metrics, the log line at the
//! end of an instance, the summary of `kube-audit replay` and the table in
//! `docs/metrics.md` all come from there.

use std::borrow::Cow;
use std::fmt::Write;

use crate::policy::Level;
use crate::stage::detect::{Detection, Severity};

/// What a pipeline has done since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Log records read, each once.
    pub records: u64,
    /// Audit events found in them.
    pub events: u64,
    /// Events dropped by the policy: level `None`, no rule, or an omitted stage.
    pub dropped: u64,
    /// Events that the policy would keep, dropped by a condition.
    pub excluded_events: u64,
    /// Other records dropped by a condition.
    pub excluded_others: u64,
    /// Events kept from which the policy cut something.
    pub stripped: u64,
    /// Bytes cut because of the level.
    pub level_bytes: u64,
    /// Bytes of managed fields that were cut.
    pub managed_fields_bytes: u64,
    /// Records that hold no audit event.
    pub non_audit: u64,
    /// Records that look like an audit event and cannot be read.
    pub malformed: u64,
    /// Records dropped because none of their keys was to stay.
    pub emptied: u64,
    /// Bytes of the events read.
    pub bytes_in: u64,
    /// Bytes of the events kept, without keys that were added to them.
    pub bytes_out: u64,
    /// Events that stay because of a detection although the policy drops them.
    pub kept_by_detection: u64,
    /// Pieces of split events that wait for the last piece.
    pub withheld: u64,
    /// By rule of the policy in force; last, events that no rule matched.
    pub rules: Vec<RuleStats>,
    /// By detection that is enabled from the start.
    pub detections: Vec<DetectionStats>,
}

/// What one detection found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionStats {
    /// Id of the detection.
    pub id: String,
    /// Its severity at the start.
    pub severity: Severity,
    /// The detection needs bodies, which may not be there.
    pub needs_body: bool,
    /// Events for which it fired.
    pub hits: u64,
    /// Events for which it would have needed a body.
    pub undecided: u64,
}

/// What became of the events that one rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleStats {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// The bytes of them that were kept.
    pub bytes_out: u64,
}

impl Stats {
    /// Events kept.
    pub fn kept(&self) -> u64 {
        self.events
            .saturating_sub(self.dropped)
            .saturating_sub(self.excluded_events)
    }

    /// The counters of a rule; `None` means no rule.
    pub fn rule(&mut self, rule: Option<u32>) -> Option<&mut RuleStats> {
        let last = self.rules.len().checked_sub(1)?;
        self.rules.get_mut(rule.map_or(last, |rule| rule as usize))
    }

    /// Adds counters for detections, at 0.
    pub fn add_detections(&mut self, detections: &[Detection]) {
        let counters = detections.iter().map(|detection| DetectionStats {
            id: detection.id().to_owned(),
            severity: detection.severity(),
            needs_body: detection.level() > Level::Metadata,
            hits: 0,
            undecided: 0,
        });
        self.detections.extend(counters);
    }

    /// Changes the counters of the detection at a place.
    pub fn detection(&mut self, place: usize, change: impl FnOnce(&mut DetectionStats)) {
        self.detections.get_mut(place).map(change);
    }

    /// All that is not zero, in one line: `records: 13, events kept: 10, …`.
    pub fn summary(&self) -> String {
        let parts = SERIES.iter().filter_map(|series| {
            let value = series.value(self);
            (value > 0).then(|| format!("{}: {value}", series.words))
        });
        let labels = |value: fn(&DetectionStats) -> u64, words| {
            let value = self.detections.iter().map(value).sum::<u64>();
            (value > 0).then(|| format!("{words}: {value}"))
        };
        let labels = [
            labels(|detection| detection.hits, "labels"),
            labels(
                |detection| detection.undecided,
                "labels undecided without a body",
            ),
        ];
        let parts: Vec<String> = parts.chain(labels.into_iter().flatten()).collect();
        match parts.is_empty() {
            true => "no records".to_owned(),
            false => parts.join(", "),
        }
    }
}

/// How the value of a series may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// The value grows, from 0 at the start of the instance.
    Counter,
    /// The value goes up and down.
    Gauge,
}

/// Name and value of a label.
pub type Label<'a> = (&'static str, Cow<'a, str>);

/// A counter or gauge: one series of a metric.
#[derive(Debug)]
pub struct Series {
    /// The metric's name, with `_total` at the end of a counter's.
    pub name: &'static str,
    /// One sentence on the metric.
    pub help: &'static str,
    /// How the value may change.
    pub kind: MetricKind,
    /// Names and values of the labels that tell the series of a metric apart.
    pub labels: &'static [Label<'static>],
    /// What precedes the value in a line of text.
    pub words: &'static str,
    value: fn(&Stats) -> u64,
}

impl Series {
    /// The value now.
    pub fn value(&self, stats: &Stats) -> u64 {
        (self.value)(stats)
    }

    const fn counter(
        name: &'static str,
        help: &'static str,
        words: &'static str,
        value: fn(&Stats) -> u64,
    ) -> Series {
        Series {
            name,
            help,
            kind: MetricKind::Counter,
            labels: &[],
            words,
            value,
        }
    }

    const fn labelled(self, labels: &'static [Label<'static>]) -> Series {
        Series { labels, ..self }
    }

    const fn gauge(self) -> Series {
        Series {
            kind: MetricKind::Gauge,
            ..self
        }
    }
}

const EVENTS: &str = "Audit events: kept, dropped by the policy, or excluded by a pattern.";
const CUT: &str = "Bytes that the policy cut from the audit events kept, by cause.";

/// All counters of a pipeline, in the order in which they are shown.
pub static SERIES: [Series; 15] = [
    Series::counter("records_total", "Log records read.", "records", |stats| {
        stats.records
    }),
    Series::counter("events_total", EVENTS, "events kept", Stats::kept)
        .labelled(&[("outcome", Cow::Borrowed("kept"))]),
    Series::counter(
        "events_total",
        EVENTS,
        "events dropped by the policy",
        |stats| stats.dropped,
    )
    .labelled(&[("outcome", Cow::Borrowed("dropped"))]),
    Series::counter(
        "events_total",
        EVENTS,
        "events excluded by a pattern",
        |stats| stats.excluded_events,
    )
    .labelled(&[("outcome", Cow::Borrowed("excluded"))]),
    Series::counter(
        "events_stripped_total",
        "Audit events kept that the policy took something out of.",
        "events stripped",
        |stats| stats.stripped,
    ),
    Series::counter(
        "event_bytes_cut_total",
        CUT,
        "bytes cut by level",
        |stats| stats.level_bytes,
    )
    .labelled(&[("cause", Cow::Borrowed("level"))]),
    Series::counter(
        "event_bytes_cut_total",
        CUT,
        "bytes of managed fields cut",
        |stats| stats.managed_fields_bytes,
    )
    .labelled(&[("cause", Cow::Borrowed("managed_fields"))]),
    Series::counter(
        "records_non_audit_total",
        "Records that hold no audit event.",
        "records without an audit event",
        |stats| stats.non_audit,
    ),
    Series::counter(
        "records_excluded_total",
        "Records without an audit event that a pattern excluded.",
        "other records excluded by a pattern",
        |stats| stats.excluded_others,
    ),
    Series::counter(
        "records_malformed_total",
        "Records that look like an audit event and cannot be read.",
        "unreadable records",
        |stats| stats.malformed,
    ),
    Series::counter(
        "records_emptied_total",
        "Records dropped because none of their keys was to stay.",
        "records dropped because no key was to stay",
        |stats| stats.emptied,
    ),
    Series::counter(
        "event_bytes_in_total",
        "Bytes of the audit events read.",
        "bytes of events in",
        |stats| stats.bytes_in,
    ),
    Series::counter(
        "event_bytes_out_total",
        "Bytes of the audit events kept.",
        "bytes of events out",
        |stats| stats.bytes_out,
    ),
    Series::counter(
        "events_kept_by_detection_total",
        "Audit events that stay because of a detection although the policy drops them.",
        "events kept by a detection",
        |stats| stats.kept_by_detection,
    ),
    Series::counter(
        "line_pieces_withheld",
        "Pieces of split lines that wait for their last piece.",
        "pieces of split lines withheld",
        |stats| stats.withheld,
    )
    .gauge(),
];

/// A counter with a series for each detection.
#[derive(Debug)]
pub struct DetectionCounter {
    /// The metric's name.
    pub name: &'static str,
    /// One sentence on the metric.
    pub help: &'static str,
    /// Names of the labels.
    pub labels: &'static [&'static str],
    series: for<'s> fn(&'s DetectionStats) -> Option<(DetectionLabels<'s>, u64)>,
}

/// Values of the labels of a detection's series.
type DetectionLabels<'s> = Vec<Label<'s>>;

impl DetectionCounter {
    /// The labels and values of all series.
    pub fn series<'s>(
        &'s self,
        stats: &'s Stats,
    ) -> impl Iterator<Item = (Vec<Label<'s>>, u64)> + 's {
        stats.detections.iter().filter_map(self.series)
    }
}

/// The counters of detections.
pub static DETECTION_COUNTERS: [DetectionCounter; 2] = [
    DetectionCounter {
        name: "detections_total",
        help: "Audit events that a detection fired for, whatever became of them.",
        labels: &["detection", "severity"],
        series: |detection| {
            let severity = Cow::Borrowed(detection.severity.name());
            let id = Cow::Borrowed(detection.id.as_str());
            Some((
                vec![("detection", id), ("severity", severity)],
                detection.hits,
            ))
        },
    },
    DetectionCounter {
        name: "detections_undecided_total",
        help: "Audit events that a detection would have needed the body of.",
        labels: &["detection"],
        series: |detection| {
            let id = Cow::Borrowed(detection.id.as_str());
            (detection.needs_body).then(|| (vec![("detection", id)], detection.undecided))
        },
    },
];

/// The table of all metrics in `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for family in SERIES.chunk_by(|a, b| a.name == b.name) {
        let Some(first) = family.first() else {
            continue;
        };
        let kind = match first.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let labels = family
            .iter()
            .flat_map(|series| series.labels)
            .map(|(name, value)| format!("`{name}=\"{value}\"`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let (name, help) = (first.name, first.help);
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
    }
    for counter in &DETECTION_COUNTERS {
        let labels = counter.labels.iter().map(|label| format!("`{label}`"));
        let labels = labels.collect::<Vec<_>>().join(", ");
        let DetectionCounter { name, help, .. } = counter;
        let _ = writeln!(text, "| `{name}` | counter | {labels} | {help} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_named_by_convention() {
        for series in &SERIES {
            let is_counter = series.kind == MetricKind::Counter;
            assert_eq!(series.name.ends_with("_total"), is_counter, "{series:?}");
            assert!(series.help.ends_with('.') && !series.words.is_empty());
            let same = SERIES
                .iter()
                .filter(|other| (other.name, other.labels) == (series.name, series.labels));
            assert_eq!(same.count(), 1, "{series:?}");
        }
    }

    #[test]
    fn a_summary_leaves_zeros_out() {
        let stats = Stats {
            records: 9,
            events: 7,
            dropped: 3,
            excluded_events: 1,
            ..Stats::default()
        };
        assert_eq!(
            stats.summary(),
            "records: 9, events kept: 3, events dropped by the policy: 3, events excluded by a pattern: 1"
        );
        assert_eq!(Stats::default().summary(), "no records");
    }

    #[test]
    fn the_documentation_has_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let table = markdown();
        assert!(
            page.contains(&table),
            "docs/metrics.md should contain\n{table}"
        );
    }
}
