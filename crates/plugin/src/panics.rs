//! Internal errors of an instance: counted, and loud in the log.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kube_audit_core::stats::Series;

use super::log::{Log, LogLevel, LogLimit};
use super::metrics::{Metric, visit_series};

/// Counts the panics that ended calls of an instance.
#[derive(Debug, Default)]
pub(crate) struct Panics {
    count: AtomicU64,
    limit: Mutex<LogLimit>,
}

/// The counter, of all plugins alike.
pub(crate) static SERIES: [Series<Panics>; 1] = [Series::counter(
    "panics_total",
    "Calls that ended in an internal error of the plugin.",
    "internal errors",
    Panics::count,
)];

impl Panics {
    /// Counts panics that somebody else reports.
    pub(crate) fn add(&self, panics: u64) {
        self.count.fetch_add(panics, Ordering::Relaxed);
    }

    /// Counts a panic and logs it with its `consequence`: the first at once, later ones
    /// once a minute at most.
    pub(crate) fn report(&self, panic: &dyn Display, consequence: &str, log: &dyn Log) {
        let count = self.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        if limit.allows() {
            let line = format!(
                "{panic}; {consequence}; {count} internal errors so far; this is a bug of the \
                 plugin, please report it"
            );
            log.log(LogLevel::Error, &line);
        }
    }

    /// The number of panics so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Visits the number as a metric.
    pub(crate) fn metrics(&self, visit: &mut dyn FnMut(&Metric<'_>)) {
        visit_series(&SERIES, self, visit);
    }

    /// Logs the number at the end of an instance, unless it is 0.
    pub(crate) fn close(&self, log: &dyn Log) {
        let count = self.count();
        if count > 0 {
            let line = format!("{count} calls ended in an internal error");
            log.log(LogLevel::Error, &line);
        }
    }
}
