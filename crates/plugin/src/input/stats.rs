//! Counters and gauges of what an input reads.

use kube_audit_core::chunk::EventTime;
use kube_audit_core::stats::Series;
use kube_audit_reader::{Counters, Lag};

/// What an input has read since its start, and how far it is.
#[derive(Clone, Debug, Default)]
pub(super) struct InputStats {
    /// Of the reader.
    pub(super) read: Counters,
    /// What is not read yet.
    pub(super) lag: Lag,
    /// Lines that became records.
    pub(super) lines: u64,
    /// Zero bytes in front of lines, and how many of them were told.
    pub(super) zeros: u64,
    pub(super) zeros_told: u64,
    /// Lines dropped after an internal error.
    pub(super) dropped_lines: u64,
    /// Bytes that are under way in the host.
    pub(super) unacknowledged: usize,
    /// The place up to which all that was read was handed on, in its file.
    pub(super) position: u64,
    /// The time of the newest event read, as its line has it; empty before the first.
    pub(super) event_time: String,
    /// The time of the last call in seconds since 1970.
    pub(super) seconds: u64,
}

/// All series of an input's reading, in the order in which they are shown.
pub(super) static SERIES: [Series<InputStats>; 14] = [
    Series::counter(
        "read_bytes_total",
        "Bytes of the log read, uncompressed.",
        "bytes read",
        |stats| stats.read.bytes,
    ),
    Series::counter(
        "read_lines_total",
        "Lines of the log read.",
        "lines read",
        |stats| stats.lines,
    ),
    Series::counter(
        "read_files_total",
        "Rotated files that were read to their end.",
        "files finished",
        |stats| stats.read.files,
    ),
    Series::counter(
        "long_lines_total",
        "Lines left out because they are longer than Max_Event.",
        "lines longer than `Max_Event` left out",
        |stats| stats.read.long_lines,
    ),
    Series::counter(
        "long_bytes_total",
        "Bytes of lines left out because they are longer than Max_Event.",
        "bytes of them",
        |stats| stats.read.long_bytes,
    ),
    Series::counter(
        "lost_files_total",
        "Rotated files that were removed, or damaged, before they were read to their end.",
        "files removed unread",
        |stats| stats.read.lost_files,
    ),
    Series::counter(
        "truncations_total",
        "Times that the log was cut or written anew and no copy had the rest.",
        "cuts without a copy",
        |stats| stats.read.truncations,
    ),
    Series::counter(
        "zero_bytes_total",
        "Zero bytes in front of lines, left out.",
        "zero bytes left out",
        |stats| stats.zeros,
    ),
    Series::counter(
        "dropped_lines_total",
        "Lines dropped after an internal error of the plugin.",
        "lines dropped after internal errors",
        |stats| stats.dropped_lines,
    ),
    Series::counter(
        "lag_bytes",
        "Bytes of the log that are not read yet.",
        "bytes behind",
        |stats: &InputStats| stats.lag.bytes,
    )
    .gauge(),
    Series::counter(
        "lag_files",
        "Files of the log after the one that is being read.",
        "files behind",
        |stats: &InputStats| stats.lag.files,
    )
    .gauge(),
    Series::counter(
        "newest_event_age_seconds",
        "Seconds since the stage timestamp of the newest event read.",
        "seconds since the newest event",
        InputStats::age,
    )
    .gauge(),
    Series::counter(
        "unacknowledged_bytes",
        "Bytes of records that the outputs are not done with.",
        "bytes unacknowledged",
        |stats: &InputStats| u64::try_from(stats.unacknowledged).unwrap_or(u64::MAX),
    )
    .gauge(),
    Series::counter(
        "position_bytes",
        "Place in the file that is being read up to which all was handed on.",
        "bytes of the last file handed on",
        |stats: &InputStats| stats.position,
    )
    .gauge(),
];

impl InputStats {
    /// Seconds since the newest event.
    fn age(&self) -> u64 {
        let time = EventTime::parse(self.event_time.as_bytes());
        time.map_or(0, |time| {
            self.seconds.saturating_sub(u64::from(time.seconds))
        })
    }
}

#[cfg(test)]
mod tests {
    use kube_audit_core::stats::{MARKDOWN_HEAD, markdown_rows};

    use super::*;

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

    #[test]
    fn the_age_is_that_of_the_newest_event() {
        let mut stats = InputStats {
            seconds: 1_800_000_000,
            ..InputStats::default()
        };
        assert_eq!(stats.age(), 0);
        stats.event_time = "2027-01-15T07:59:30.5Z".to_owned();
        assert_eq!(stats.age(), 30);
    }
}
