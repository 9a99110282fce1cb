//! An instance's metrics among the host's own.
//!
//! The host reads them on its engine's thread, and before 5.1.0 nothing locks
//! their label sets. So all label sets are made while the instance starts, and
//! afterwards values are set by its entry points only, on the host's threads.
//! The host frees metrics with their instance: they are set between init and
//! exit only.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::{SystemTime, UNIX_EPOCH};

use super::PluginKind;
use super::bindings as abi;
use super::host::{Host, MetricsApi};
use super::names::InstanceName;
use kube_audit_plugin::{Log, LogLevel, Metric, MetricKind, Metrics};

/// The namespace of every metric: `fluentbit_filter_kube_audit_records_total`.
const NAMESPACE: &CStr = c"fluentbit";
/// The start of a metric's name within the namespace and the plugin kind.
const PREFIX: &str = "kube_audit_";

/// The label with the instance's name, as the host's own metrics have it.
const INSTANCE: &str = "name";

/// The metrics of one instance in the host.
pub(super) struct HostMetrics {
    api: &'static MetricsApi,
    series: Vec<Series>,
}

struct Series {
    /// Shared by the series that differ by their labels only.
    metric: HostMetric,
    name: &'static str,
    labels: Strings,
    /// The value that the host has.
    value: u64,
}

#[derive(Clone, Copy)]
enum HostMetric {
    Counter(NonNull<abi::cmt_counter>),
    Gauge(NonNull<abi::cmt_gauge>),
}

// SAFETY: the host's metrics belong to no thread, the strings to this object. Setting a
// value writes a number atomically, and one call at a time has the `&mut` for it.
unsafe impl Send for HostMetrics {}

impl HostMetrics {
    /// Makes every series, with its first value. `None` if the host has no
    /// metrics or does not accept these, which is logged.
    ///
    /// # Safety
    /// `context` is null or the metrics context of an instance that the host is starting
    /// on this thread. The result is not used after the end of that instance.
    pub(super) unsafe fn start(
        host: &'static Host,
        kind: PluginKind,
        instance: &InstanceName,
        log: &dyn Log,
        context: *mut abi::cmt,
        plugin: &dyn Metrics,
    ) -> Option<HostMetrics> {
        let api = host.metrics.as_ref()?;
        let mut series = NonNull::new(context).map(|_| Vec::new());
        plugin.metrics(&mut |metric| {
            if let (Some(made), Some(context)) = (&mut series, NonNull::new(context)) {
                // SAFETY: the caller guarantees the context.
                match unsafe { make_series(api, context, kind, instance, metric, made) } {
                    Some(one) => made.push(one),
                    None => series = None,
                }
            }
        });
        if series.is_none() {
            let line = "metrics are unavailable: this Fluent Bit build does not expose a known \
                        metrics context";
            log.log(LogLevel::Warn, line);
        }
        Some(HostMetrics {
            api,
            series: series?,
        })
    }

    /// Sets the values that have changed.
    pub(super) fn set(&mut self, plugin: &dyn Metrics) {
        let now = now();
        let mut series = self.series.iter_mut();
        plugin.metrics(&mut |metric| {
            if let Some(one) = series.next()
                && one.value != metric.value
            {
                one.value = metric.value;
                one.set(self.api, now);
            }
        });
    }
}

impl Series {
    /// Gives the host the value; 0 is success.
    fn set(&mut self, api: &MetricsApi, now: u64) -> c_int {
        let (labels, count) = self.labels.as_array();
        let value = self.value as f64;
        match self.metric {
            // SAFETY: the metric lives as long as its instance (see `start`), and the
            // host only reads the labels, of which there are `count`.
            HostMetric::Counter(counter) => unsafe {
                (api.counter_set)(counter.as_ptr(), now, value, count, labels)
            },
            // SAFETY: as above.
            HostMetric::Gauge(gauge) => unsafe {
                (api.gauge_set)(gauge.as_ptr(), now, value, count, labels)
            },
        }
    }
}

/// Makes a series, and its metric unless one of the series `before` has the same.
///
/// # Safety
/// `context` is a live metrics context that no other thread uses.
unsafe fn make_series(
    api: &MetricsApi,
    context: NonNull<abi::cmt>,
    kind: PluginKind,
    instance: &InstanceName,
    metric: &Metric<'_>,
    before: &[Series],
) -> Option<Series> {
    let host_metric = match before.iter().find(|one| one.name == metric.name) {
        Some(first) => first.metric,
        // SAFETY: the caller guarantees the context.
        None => unsafe { make_metric(api, context, kind, metric) }?,
    };
    let values = metric.labels.iter().map(|(_, value)| value.as_ref());
    let mut series = Series {
        metric: host_metric,
        name: metric.name,
        labels: Strings::new([instance.as_str()].into_iter().chain(values))?,
        value: metric.value,
    };
    (series.set(api, now()) == 0).then_some(series)
}

/// Makes a metric without series.
///
/// # Safety
/// `context` is a live metrics context that no other thread uses.
unsafe fn make_metric(
    api: &MetricsApi,
    context: NonNull<abi::cmt>,
    kind: PluginKind,
    metric: &Metric<'_>,
) -> Option<HostMetric> {
    let name = CString::new(format!("{PREFIX}{}", metric.name)).ok()?;
    let help = CString::new(metric.help).ok()?;
    let names = metric.labels.iter().map(|(name, _)| *name);
    let mut labels = Strings::new([INSTANCE].into_iter().chain(names))?;
    let (labels, count) = labels.as_array();
    let context = context.as_ptr();
    let [namespace, subsystem, name, help] =
        [NAMESPACE, kind.word(), &name, &help].map(|text| text.as_ptr().cast_mut());
    match metric.kind {
        MetricKind::Counter => {
            // SAFETY: the caller guarantees the context; the host only reads the
            // strings, and copies them.
            let counter = unsafe {
                (api.counter_create)(context, namespace, subsystem, name, help, count, labels)
            };
            NonNull::new(counter).map(HostMetric::Counter)
        }
        MetricKind::Gauge => {
            // SAFETY: as above.
            let gauge = unsafe {
                (api.gauge_create)(context, namespace, subsystem, name, help, count, labels)
            };
            NonNull::new(gauge).map(HostMetric::Gauge)
        }
    }
}

/// Strings in the form that the host takes: an array of pointers, and their number.
struct Strings {
    pointers: Vec<*mut c_char>,
    /// The text of each pointer.
    _texts: Vec<CString>,
}

impl Strings {
    /// `None` if one of them holds a zero byte.
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Strings> {
        let texts: Vec<CString> = texts
            .map(|text| CString::new(text).ok())
            .collect::<Option<_>>()?;
        Some(Strings {
            pointers: texts.iter().map(|text| text.as_ptr().cast_mut()).collect(),
            _texts: texts,
        })
    }

    /// The array, which is only read, and its length.
    fn as_array(&mut self) -> (*mut *mut c_char, c_int) {
        let count = c_int::try_from(self.pointers.len()).unwrap_or(0);
        (self.pointers.as_mut_ptr(), count)
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
