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

use super::bindings as abi;
use super::host::{Host, MetricsApi};
use kube_audit_plugin::{Log, LogLevel, Metric, MetricKind};

/// Begins the name of every metric: `fluentbit_filter_kube_audit_records_total`.
const NAMESPACE: &CStr = c"fluentbit";
const PREFIX: &str = "kube_audit_";

/// The label that every metric of an instance has, as the host's own have it.
const INSTANCE: &str = "name";

/// Metrics of one instance in the host.
pub struct HostMetrics {
    api: &'static MetricsApi,
    series: Vec<Series>,
}

struct Series {
    metric: Handle,
    labels: Strings,
    /// What the host knows, so that it's told of changes only.
    value: u64,
}

#[derive(Clone, Copy)]
enum Handle {
    Counter(NonNull<abi::cmt_counter>),
    Gauge(NonNull<abi::cmt_gauge>),
}

// SAFETY: the host's metrics belong to no thread, the strings to this object. Setting a
// value writes a number atomically, and one call at a time has the `&mut` for it.
unsafe impl Send for HostMetrics {}

impl HostMetrics {
    /// Makes every series, with its first value. `None` where the host has no
    /// metrics; where it does not take them, the log says so.
    ///
    /// # Safety
    /// `context` gives null or the metrics of an instance that the host is starting
    /// on this thread. The result isn't used when that instance is gone.
    pub unsafe fn start(
        host: &'static Host,
        door: &str,
        instance: &str,
        log: &dyn Log,
        context: impl FnOnce(&MetricsApi) -> *mut abi::cmt,
        metrics: &[Metric],
    ) -> Option<HostMetrics> {
        let api = host.metrics.as_ref()?;
        // SAFETY: the caller guarantees the context.
        let started = unsafe { HostMetrics::create(api, context(api), door, instance, metrics) };
        if started.is_none() {
            let line = "the instance's metrics are not among the host's: it keeps them where \
                        this plugin does not know, or does not take them";
            log.log(LogLevel::Warn, line);
        }
        started
    }

    /// # Safety
    /// As above.
    unsafe fn create(
        api: &'static MetricsApi,
        context: *mut abi::cmt,
        door: &str,
        instance: &str,
        metrics: &[Metric],
    ) -> Option<HostMetrics> {
        let context = NonNull::new(context)?;
        let door = CString::new(door).ok()?;
        let mut series: Vec<Series> = Vec::with_capacity(metrics.len());
        for metric in metrics {
            // Series that differ by their labels share a metric.
            let first = metrics.iter().position(|first| first.name == metric.name);
            let handle = match first.and_then(|first| series.get(first)) {
                Some(first) => first.metric,
                // SAFETY: the caller guarantees the context.
                None => unsafe { create(api, context, &door, metric) }?,
            };
            let label = metric.label.iter().map(|(_, value)| value.as_ref());
            let mut one = Series {
                metric: handle,
                labels: Strings::new([instance].into_iter().chain(label))?,
                value: metric.value,
            };
            if one.set(api, now()) != 0 {
                return None;
            }
            series.push(one);
        }
        Some(HostMetrics { api, series })
    }

    /// Sets the values, which come in the order of [`HostMetrics::start`].
    pub fn set(&mut self, metrics: &[Metric]) {
        let now = now();
        for (series, metric) in self.series.iter_mut().zip(metrics) {
            if series.value != metric.value {
                series.value = metric.value;
                series.set(self.api, now);
            }
        }
    }
}

impl Series {
    /// Tells the host the value; 0 is success.
    fn set(&mut self, api: &MetricsApi, now: u64) -> c_int {
        let (labels, count) = self.labels.as_host_takes_them();
        let value = self.value as f64;
        // SAFETY: the metric lives as long as its instance (see `start`), and the
        // host only reads the labels, which are as many as are counted.
        unsafe {
            match self.metric {
                Handle::Counter(counter) => {
                    (api.counter_set)(counter.as_ptr(), now, value, count, labels)
                }
                Handle::Gauge(gauge) => (api.gauge_set)(gauge.as_ptr(), now, value, count, labels),
            }
        }
    }
}

/// Makes a metric without series.
///
/// # Safety
/// `context` is a live metrics context that no other thread uses.
unsafe fn create(
    api: &MetricsApi,
    context: NonNull<abi::cmt>,
    door: &CStr,
    metric: &Metric,
) -> Option<Handle> {
    let name = CString::new(format!("{PREFIX}{}", metric.name)).ok()?;
    let help = CString::new(metric.help).ok()?;
    let label = metric.label.iter().map(|(name, _)| *name);
    let mut labels = Strings::new([INSTANCE].into_iter().chain(label))?;
    let (labels, count) = labels.as_host_takes_them();
    let context = context.as_ptr();
    let [namespace, door, name, help] =
        [NAMESPACE, door, &name, &help].map(|text| text.as_ptr().cast_mut());
    // SAFETY: the caller guarantees the context; the host only reads the strings,
    // and copies them.
    unsafe {
        match metric.kind {
            MetricKind::Counter => NonNull::new((api.counter_create)(
                context, namespace, door, name, help, count, labels,
            ))
            .map(Handle::Counter),
            MetricKind::Gauge => NonNull::new((api.gauge_create)(
                context, namespace, door, name, help, count, labels,
            ))
            .map(Handle::Gauge),
        }
    }
}

/// Strings as the host takes several of them: an array of pointers, and their number.
struct Strings {
    pointers: Vec<*mut c_char>,
    /// What they point to.
    _texts: Vec<CString>,
}

impl Strings {
    /// `None` if one of them holds a zero.
    fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Strings> {
        let texts: Vec<CString> = texts
            .map(|text| CString::new(text).ok())
            .collect::<Option<_>>()?;
        Some(Strings {
            pointers: texts.iter().map(|text| text.as_ptr().cast_mut()).collect(),
            _texts: texts,
        })
    }

    /// The array is only read.
    fn as_host_takes_them(&mut self) -> (*mut *mut c_char, c_int) {
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
