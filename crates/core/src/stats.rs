//! Counters of what becomes of records and events.
//!
//! Each counter is defined once, in a table of [`Series`]: the host's metrics, the log
//! line at the end of an instance, the summary of `kube-audit replay` and the tables in
//! `docs/metrics.md` all come from there. [`SERIES`] is the table of a pipeline; the
//! output has one of its own for what it delivers.

use std::borrow::Cow;
use std::fmt::Write;

use crate::redactor::{Counts, Redactor};

/// Counters of a pipeline since it was made.
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
    /// Events kept in which something was redacted.
    pub redacted: u64,
    /// Values that were redacted, by redactor.
    pub values_redacted: Counts,
    /// Events kept that lost something because of their size or of `Bodies`.
    pub shrunk: u64,
    /// Events kept that are larger than allowed.
    pub oversize: u64,
    /// Records that hold no audit event.
    pub non_audit: u64,
    /// Records that look like an audit event and cannot be read.
    pub malformed: u64,
    /// Records that are not a pair of time and map.
    pub unreadable: u64,
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
    /// Linux audit records read as such.
    pub machine_records: u64,
    /// Linux audit events kept.
    pub machine_kept: u64,
    /// Linux audit events dropped by a condition.
    pub machine_excluded: u64,
    /// Records that end a Linux audit event and came alone.
    pub machine_ends: u64,
    /// Records of Linux audit events that wait for others.
    pub machine_held: u64,
    /// By rule of the policy in force; last, events that no rule matched.
    pub rules: Vec<RuleStats>,
    /// By detection that is enabled from the start.
    pub detections: Vec<DetectionStats>,
}

/// What one detection found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DetectionStats {
    /// Id of the detection.
    pub id: String,
    /// The name of its severity at the start.
    pub severity: &'static str,
    /// The detection needs bodies, which may not be there.
    pub needs_body: bool,
    /// Events for which it fired.
    pub hits: u64,
    /// Events for which it would have needed a body.
    pub undecided: u64,
}

/// Counters of the events that one rule decided.
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

    /// True if no piece of an event waits for others.
    pub fn nothing_withheld(&self) -> bool {
        self.withheld == 0 && self.machine_held == 0
    }

    /// The counters of a rule; `None` means no rule.
    pub fn rule(&mut self, rule: Option<u32>) -> Option<&mut RuleStats> {
        let last = self.rules.len().checked_sub(1)?;
        let place = match rule {
            Some(rule) => usize::try_from(rule).ok()?,
            None => last,
        };
        self.rules.get_mut(place)
    }

    /// Changes the counters of the detection at a place.
    pub fn detection(&mut self, place: usize, change: impl FnOnce(&mut DetectionStats)) {
        self.detections.get_mut(place).map(change);
    }

    /// Lists the counters that are not zero: `records: 13, events kept: 10, …`.
    pub fn summary(&self) -> String {
        let mut all = DetectionStats::default();
        for detection in &self.detections {
            all.hits = all.hits.saturating_add(detection.hits);
            all.undecided = all.undecided.saturating_add(detection.undecided);
        }
        let redacted = self.values_redacted.iter();
        let redacted: u64 = redacted
            .map(|(_, count)| count)
            .fold(0, u64::saturating_add);
        let parts = [
            summary(&SERIES, self),
            summary(&REDACTOR_SERIES, &redacted),
            summary(&DETECTION_SERIES, &all),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => "no records".to_owned(),
            false => parts.join(", "),
        }
    }
}

/// Adds one to a counter.
#[inline]
pub(crate) fn count(counter: &mut u64) {
    count_bytes(counter, 1);
}

/// Adds a number of bytes to a counter. None lives long enough to wrap.
#[inline]
pub(crate) fn count_bytes(counter: &mut u64, bytes: usize) {
    *counter = counter.wrapping_add(u64::try_from(bytes).unwrap_or_default());
}

/// Lists the counters that are not zero in one line; `None` if all are.
pub fn summary<S>(table: &[Series<S>], counters: &S) -> Option<String> {
    let parts = table.iter().filter_map(|series| {
        let value = series.value(counters);
        (value > 0).then(|| format!("{}: {value}", series.words))
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Direction in which the value of a series may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// The value grows, from 0 at the start of the instance.
    Counter,
    /// The value goes up and down.
    Gauge,
}

/// Name and value of a label.
pub type Label<'a> = (&'static str, Cow<'a, str>);

/// A counter or gauge: one series of a metric, read from counters of type `S`.
#[derive(Debug)]
pub struct Series<S: 'static> {
    /// The metric's name, with `_total` at the end of a counter's.
    pub name: &'static str,
    /// One sentence on the metric.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Names and values of the labels that tell the series of a metric apart.
    pub labels: &'static [Label<'static>],
    /// Words that precede the value in a line of text.
    pub words: &'static str,
    value: fn(&S) -> u64,
}

impl<S> Series<S> {
    /// The value now.
    pub fn value(&self, counters: &S) -> u64 {
        (self.value)(counters)
    }

    /// Defines a counter without labels.
    pub const fn counter(
        name: &'static str,
        help: &'static str,
        words: &'static str,
        value: fn(&S) -> u64,
    ) -> Series<S> {
        Series {
            name,
            help,
            kind: MetricKind::Counter,
            labels: &[],
            words,
            value,
        }
    }

    const fn labelled(self, labels: &'static [Label<'static>]) -> Series<S> {
        Series { labels, ..self }
    }

    /// Makes a gauge of it.
    pub const fn gauge(self) -> Series<S> {
        Series {
            kind: MetricKind::Gauge,
            ..self
        }
    }
}

const EVENTS: &str = "Audit events: kept, dropped by the policy, or excluded by a pattern.";
const CUT: &str = "Bytes that the policy cut from the audit events kept, by cause.";

const MACHINE: &str =
    "Linux audit events: kept, excluded by a pattern, or ends of events that came alone.";

/// All counters of a pipeline, in the order in which they are shown.
pub static SERIES: [Series<Stats>; 24] = [
    Series::counter("records_total", "Log records read.", "records", |stats| {
        stats.records
    }),
    Series::counter("events_total", EVENTS, "events kept", Stats::kept)
        .labelled(&[("outcome", Cow::Borrowed("kept"))]),
    Series::counter(
        "events_total",
        EVENTS,
        "events dropped by the policy",
        |stats: &Stats| stats.dropped,
    )
    .labelled(&[("outcome", Cow::Borrowed("dropped"))]),
    Series::counter(
        "events_total",
        EVENTS,
        "events excluded by a pattern",
        |stats: &Stats| stats.excluded_events,
    )
    .labelled(&[("outcome", Cow::Borrowed("excluded"))]),
    Series::counter(
        "events_stripped_total",
        "Audit events kept that the policy took something out of.",
        "events stripped",
        |stats: &Stats| stats.stripped,
    ),
    Series::counter(
        "event_bytes_cut_total",
        CUT,
        "bytes cut by level",
        |stats: &Stats| stats.level_bytes,
    )
    .labelled(&[("cause", Cow::Borrowed("level"))]),
    Series::counter(
        "event_bytes_cut_total",
        CUT,
        "bytes of managed fields cut",
        |stats: &Stats| stats.managed_fields_bytes,
    )
    .labelled(&[("cause", Cow::Borrowed("managed_fields"))]),
    Series::counter(
        "events_redacted_total",
        "Audit events kept in which something was redacted.",
        "events redacted",
        |stats| stats.redacted,
    ),
    Series::counter(
        "events_shrunk_total",
        "Audit events kept that lost something because of Max_Event_Size or Bodies.",
        "events shrunk",
        |stats| stats.shrunk,
    ),
    Series::counter(
        "events_oversize_total",
        "Audit events kept that are larger than Max_Event_Size all the same.",
        "events larger than Max_Event_Size",
        |stats| stats.oversize,
    ),
    Series::counter(
        "records_non_audit_total",
        "Records that hold no audit event.",
        "records without an audit event",
        |stats: &Stats| stats.non_audit,
    ),
    Series::counter(
        "records_excluded_total",
        "Records without an audit event that a pattern excluded.",
        "other records excluded by a pattern",
        |stats: &Stats| stats.excluded_others,
    ),
    Series::counter(
        "records_malformed_total",
        "Records that look like an audit event and cannot be read.",
        "unreadable records",
        |stats: &Stats| stats.malformed,
    ),
    Series::counter(
        "records_unreadable_total",
        "Records that are not a pair of time and map; dropped under a policy or redaction.",
        "records that are not a pair of time and map",
        |stats: &Stats| stats.unreadable,
    ),
    Series::counter(
        "records_emptied_total",
        "Records dropped because none of their keys was to stay.",
        "records dropped because no key was to stay",
        |stats: &Stats| stats.emptied,
    ),
    Series::counter(
        "event_bytes_in_total",
        "Bytes of the audit events read.",
        "bytes of events in",
        |stats: &Stats| stats.bytes_in,
    ),
    Series::counter(
        "event_bytes_out_total",
        "Bytes of the audit events kept.",
        "bytes of events out",
        |stats: &Stats| stats.bytes_out,
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
        |stats: &Stats| stats.withheld,
    )
    .gauge(),
    Series::counter(
        "machine_records_total",
        "Linux audit records read as such.",
        "machine audit records",
        |stats: &Stats| stats.machine_records,
    ),
    Series::counter(
        "machine_events_total",
        MACHINE,
        "machine audit events kept",
        |stats: &Stats| stats.machine_kept,
    )
    .labelled(&[("outcome", Cow::Borrowed("kept"))]),
    Series::counter(
        "machine_events_total",
        MACHINE,
        "machine audit events excluded by a pattern",
        |stats: &Stats| stats.machine_excluded,
    )
    .labelled(&[("outcome", Cow::Borrowed("excluded"))]),
    Series::counter(
        "machine_events_total",
        MACHINE,
        "ends of machine audit events that came alone",
        |stats: &Stats| stats.machine_ends,
    )
    .labelled(&[("outcome", Cow::Borrowed("end"))]),
    Series::counter(
        "machine_records_held",
        "Linux audit records that wait for others of their event.",
        "machine audit records held",
        |stats: &Stats| stats.machine_held,
    )
    .gauge(),
];

/// The counter of each redactor, with its name as the label `redactor`.
pub static REDACTOR_SERIES: [Series<u64>; 1] = [Series::counter(
    "values_redacted_total",
    "Values that were redacted in audit events, by redactor.",
    "values redacted",
    |count: &u64| *count,
)];

impl Stats {
    /// Visits the series of each redactor with its label and value: always the same ones.
    pub fn visit_redactors(&self, visit: &mut dyn FnMut(&Series<u64>, Label<'_>, u64)) {
        for (series, redactor) in REDACTOR_SERIES.iter().cycle().zip(Redactor::ALL) {
            let label = ("redactor", Cow::Borrowed(redactor.name()));
            visit(series, label, self.values_redacted.of(redactor));
        }
    }
}

/// The counters of each detection, with its id as the label `detection`. The first one has
/// its severity as well.
pub static DETECTION_SERIES: [Series<DetectionStats>; 2] = [
    Series::counter(
        "detections_total",
        "Audit events that a detection fired for, whatever became of them.",
        "labels",
        |detection: &DetectionStats| detection.hits,
    ),
    Series::counter(
        "detections_undecided_total",
        "Audit events that a detection would have needed the body of.",
        "labels undecided for want of a body",
        |detection: &DetectionStats| detection.undecided,
    ),
];

impl DetectionStats {
    /// Visits the series of the detection with their labels: always the same ones.
    pub fn visit(&self, visit: &mut dyn FnMut(&Series<DetectionStats>, &[Label<'_>])) {
        let [hits, undecided] = &DETECTION_SERIES;
        let labels = [
            ("detection", Cow::Borrowed(&*self.id)),
            ("severity", Cow::Borrowed(self.severity)),
        ];
        visit(hits, &labels);
        if self.needs_body {
            let [id, _] = labels;
            visit(undecided, &[id]);
        }
    }
}

/// Head of the tables in `docs/metrics.md`.
pub const MARKDOWN_HEAD: &str = "| metric | kind | labels | meaning |\n|---|---|---|---|\n";

/// Rows for `docs/metrics.md`, one for each metric of a table.
pub fn markdown_rows<S>(table: &[Series<S>]) -> String {
    let mut text = String::new();
    for family in table.chunk_by(|a, b| a.name == b.name) {
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
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_named_by_convention() {
        for series in &DETECTION_SERIES {
            assert!(series.name.ends_with("_total") && series.help.ends_with('.'));
        }
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
    fn each_redactor_has_a_series_of_its_name() {
        for redactor in Redactor::ALL {
            let mut stats = Stats::default();
            stats.values_redacted.add(redactor, 5);
            let mut changed = Vec::new();
            stats.visit_redactors(&mut |_, (_, name), count| {
                changed.extend((count > 0).then(|| name.into_owned()));
            });
            assert_eq!(changed, [redactor.name()]);
            assert_eq!(stats.summary(), "values redacted: 5");
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
        let rows = [
            markdown_rows(&SERIES),
            markdown_rows(&REDACTOR_SERIES),
            markdown_rows(&DETECTION_SERIES),
        ];
        for rows in rows {
            let table = [MARKDOWN_HEAD, &rows].concat();
            assert!(
                page.contains(&table),
                "docs/metrics.md should contain\n{table}"
            );
        }
    }
}
