//! Counters of what becomes of records and events.
//!
//! Each counter is defined once, in a table of [`Series`]: the host's metrics, the log
//! line at the end of an instance, the summary of `kube-audit replay` and the tables in
//! `docs/metrics.md` all come from there. [`SERIES`] is the table of a pipeline; the
//! output has one of its own for what it delivers.

use std::borrow::Cow;
use std::fmt::Write;

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
    /// Pieces of split events that wait for the last piece.
    pub withheld: u64,
    /// By rule of the policy in force; last, events that no rule matched.
    pub rules: Vec<RuleStats>,
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

    /// The counters of a rule; `None` means no rule.
    pub fn rule(&mut self, rule: Option<u32>) -> Option<&mut RuleStats> {
        let last = self.rules.len().checked_sub(1)?;
        let place = match rule {
            Some(rule) => usize::try_from(rule).ok()?,
            None => last,
        };
        self.rules.get_mut(place)
    }

    /// Lists the counters that are not zero: `records: 13, events kept: 10, …`.
    pub fn summary(&self) -> String {
        summary(&SERIES, self).unwrap_or_else(|| "no records".to_owned())
    }
}

/// Adds one to a counter.
#[inline]
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adds a number of bytes to a counter.
#[inline]
pub(crate) fn count_bytes(counter: &mut u64, bytes: usize) {
    *counter = counter.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
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

    const fn gauge(self) -> Series<S> {
        Series {
            kind: MetricKind::Gauge,
            ..self
        }
    }
}

const EVENTS: &str = "Audit events: kept, dropped by the policy, or excluded by a pattern.";
const CUT: &str = "Bytes that the policy cut from the audit events kept, by cause.";

/// All counters of a pipeline, in the order in which they are shown.
pub static SERIES: [Series<Stats>; 15] = [
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
        "Records that are not a pair of time and map; dropped under a policy.",
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
        "line_pieces_withheld",
        "Pieces of split lines that wait for their last piece.",
        "pieces of split lines withheld",
        |stats: &Stats| stats.withheld,
    )
    .gauge(),
];

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
        let table = [MARKDOWN_HEAD, &markdown_rows(&SERIES)].concat();
        assert!(
            page.contains(&table),
            "docs/metrics.md should contain\n{table}"
        );
    }
}
