//! The native filter door: the object that the host copies, and its callbacks.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bindings as abi;
use super::guard::{entry, guard};
use super::handles::{Handles, Instance};
use super::heap::into_malloc;
use super::host::{FilterPluginLayout, Host, host};
use super::instance;
use super::log::{InstanceLog, complain};
use super::metrics::HostMetrics;
use super::{DESCRIPTION, NAME, lent};
use kube_audit_plugin::{Filter, Verdict};

const DOOR: &str = "filter";
/// What the host's start callbacks answer.
const STARTED: c_int = 0;
const FAILED: c_int = -1;

/// The live filters. One instance gets one call at a time from nearly all
/// hosts; the lock makes it so for all.
static FILTERS: Handles<Instance<Mutex<Live>>> = Handles::new();

/// A filter at work.
struct Live {
    filter: Filter,
    metrics: Option<HostMetrics>,
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exported object. The host copies it after the library's constructors ran.
///
/// It starts out refusing: in every layout the first callback of a start is at
/// one of the first two places. [`construct`] fills it for a host that is known.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the host's rule for the name")]
pub static filter_kube_audit_plugin: Exported =
    Exported(UnsafeCell::new(abi::flb_filter_plugin_export {
        v3_2_0: abi::flb_filter_plugin_v3_2_0 {
            event_type_and_flags: 0,
            name: NAME.as_ptr(),
            description: DESCRIPTION.as_ptr(),
            config_map: ptr::null_mut(),
            cb_pre_run: Some(refuse),
            cb_init: Some(refuse),
            cb_filter: None,
            cb_exit: None,
            cb_notification: None,
            _head: NO_LIST,
        },
    }));

/// The host links the list when it has its copy.
const NO_LIST: abi::mk_list = abi::mk_list {
    prev: ptr::null_mut(),
    next: ptr::null_mut(),
};

/// Memory that the host reads.
#[repr(transparent)]
pub struct Exported(UnsafeCell<abi::flb_filter_plugin_export>);

// SAFETY: written by the constructor only, before anybody else has its address.
unsafe impl Sync for Exported {}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

/// Fills the exported object the way the host reads it. Runs when the library
/// is loaded, so it starts no thread: the host may still become a daemon.
extern "C" fn construct() {
    // An unknown host keeps the refusing object, which says why when it is used;
    // so does one where this goes wrong.
    let _ = guard(|| {
        if let Ok(host) = host() {
            // SAFETY: the library isn't loaded yet, so nobody else has the address.
            unsafe { filter_kube_audit_plugin.0.get().write(plugin(host)) };
        }
    });
}

/// The object in the host's layout.
fn plugin(host: &Host) -> abi::flb_filter_plugin_export {
    let mut object = abi::flb_filter_plugin_export { words: [0; 32] };
    match host.filter_plugin {
        FilterPluginLayout::V1_9_0 => {
            object.v1_9_0 = abi::flb_filter_plugin_v1_9_0 {
                event_type_and_flags: 0,
                name: NAME.as_ptr(),
                description: DESCRIPTION.as_ptr(),
                config_map: ptr::null_mut(),
                cb_init: Some(init),
                cb_filter: Some(filter),
                cb_exit: Some(exit),
                _head: NO_LIST,
            }
        }
        FilterPluginLayout::V2_2_0 => {
            object.v2_2_0 = abi::flb_filter_plugin_v2_2_0 {
                event_type_and_flags: 0,
                name: NAME.as_ptr(),
                description: DESCRIPTION.as_ptr(),
                config_map: ptr::null_mut(),
                cb_pre_run: Some(pre_run),
                cb_init: Some(init),
                cb_filter: Some(filter),
                cb_exit: Some(exit),
                _head: NO_LIST,
            }
        }
        FilterPluginLayout::V3_2_0 => {
            object.v3_2_0 = abi::flb_filter_plugin_v3_2_0 {
                event_type_and_flags: 0,
                name: NAME.as_ptr(),
                description: DESCRIPTION.as_ptr(),
                config_map: ptr::null_mut(),
                cb_pre_run: Some(pre_run),
                cb_init: Some(init),
                cb_filter: Some(filter),
                cb_exit: Some(exit),
                cb_notification: None,
                _head: NO_LIST,
            }
        }
    }
    object
}

/// Stands in for the first callback of a host that is not served.
unsafe extern "C" fn refuse(
    _: *mut abi::flb_filter_instance,
    _: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(DOOR, FAILED, || {
        if let Err(why) = host() {
            complain(DOOR, &why);
        }
        FAILED
    })
}

/// Says whether the section is right. On a hot reload this is asked before the
/// old pipeline stops, and a failure keeps the old one.
unsafe extern "C" fn pre_run(
    ins: *mut abi::flb_filter_instance,
    _: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(DOOR, FAILED, || {
        // SAFETY: the host's instance, valid for this call.
        let opened = unsafe { open(ins, Reads::ToCheck) };
        opened.map_or(FAILED, |_| STARTED)
    })
}

/// Starts an instance.
unsafe extern "C" fn init(
    ins: *mut abi::flb_filter_instance,
    config: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(DOOR, FAILED, || {
        // SAFETY: the host's instance, valid for this call.
        let Some((host, filter, log)) = (unsafe { open(ins, Reads::ToRun) }) else {
            return FAILED;
        };
        // SAFETY: the host's instance, which `open` has confirmed; its exit ends the
        // metrics with the filter.
        let metrics = unsafe {
            let context = |_: &_| instance::filter_metrics(host, ins, config);
            let name = instance::filter_name(host, ins);
            HostMetrics::start(host, DOOR, &name, &*log, context, &filter.metrics())
        };
        log.print();
        let live = Live { filter, metrics };
        let context = FILTERS.insert(Instance::new(Mutex::new(live), log));
        // SAFETY: the host keeps the handle and gives it back; it never follows it.
        unsafe { (host.api.filter_set_context)(ins, context) };
        STARTED
    })
}

/// What a section is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// To say what is wrong with it, and nothing else.
    ToCheck,
    /// To run it.
    ToRun,
}

/// The filter that a section describes; `None` with a line in the log.
///
/// # Safety
/// `ins` is null or a live filter instance that no other thread changes.
unsafe fn open(
    ins: *mut abi::flb_filter_instance,
    reads: Reads,
) -> Option<(&'static Host, Filter, Arc<InstanceLog>)> {
    let host = host().map_err(|why| complain(DOOR, &why)).ok()?;
    if ins.is_null() {
        complain(DOOR, &"the host gave no instance");
        return None;
    }
    // SAFETY: not null, and the caller guarantees the rest.
    let (name, section) = unsafe {
        (
            instance::filter_name(host, ins),
            instance::filter(host, ins),
        )
    };
    let log = Arc::new(InstanceLog::new(host.api.log_print, DOOR, &name));
    let filter = section
        .map_err(|wrong| wrong.to_string())
        .and_then(|section| {
            log.set_level(match reads {
                Reads::ToCheck => abi::FLB_LOG_ERROR,
                Reads::ToRun => section.log_level,
            });
            log.start(host);
            Filter::new(&section.properties, host.patterns(), log.clone())
                .map_err(|wrong| wrong.to_string())
        });
    match filter {
        Ok(filter) => Some((host, filter, log)),
        Err(wrong) => {
            log.start_failed(&wrong);
            None
        }
    }
}

/// Filters a chunk.
unsafe extern "C" fn filter(
    data: *const c_void,
    bytes: usize,
    tag: *const c_char,
    tag_len: c_int,
    out_buf: *mut *mut c_void,
    out_size: *mut usize,
    _: *mut abi::flb_filter_instance,
    _: *mut c_void,
    context: *mut c_void,
    _: *mut abi::flb_config,
) -> c_int {
    entry(DOOR, abi::FLB_FILTER_NOTOUCH, || {
        let Some(instance) = FILTERS.get(context) else {
            return abi::FLB_FILTER_NOTOUCH;
        };
        if out_buf.is_null() || out_size.is_null() {
            return abi::FLB_FILTER_NOTOUCH;
        }
        let tag_len = usize::try_from(tag_len).unwrap_or(0);
        // SAFETY: the host lends both for this call.
        let (tag, chunk) = unsafe { (lent(tag.cast(), tag_len), lent(data, bytes)) };
        let verdict = instance.call("the chunk passes unchanged", |live| {
            lock(live).filter.filter(tag, chunk)
        });
        instance.call("the metrics stay as they were", |live| {
            let Live { filter, metrics } = &mut *lock(live);
            if let Some(metrics) = metrics {
                metrics.set(&filter.metrics());
            }
        });
        match verdict {
            None | Some(Verdict::Untouched) => abi::FLB_FILTER_NOTOUCH,
            Some(Verdict::Replaced(records)) => {
                let (block, size) = into_malloc(records);
                // SAFETY: places for the result, not null; the host frees the block
                // with the C `free`, and takes null and 0 for "all dropped".
                unsafe {
                    out_buf.write(block);
                    out_size.write(size);
                }
                abi::FLB_FILTER_MODIFIED
            }
        }
    })
}

/// Ends an instance.
unsafe extern "C" fn exit(context: *mut c_void, _: *mut abi::flb_config) -> c_int {
    entry(DOOR, 0, || {
        if let Some(instance) = FILTERS.remove(context) {
            instance.close(|live| {
                let live = live.into_inner().unwrap_or_else(PoisonError::into_inner);
                live.filter.close();
            });
        }
        0
    })
}
