//! The filter, a native plugin: the object that the host copies, and its callbacks.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bindings as abi;
use super::guard::{entry, guard};
use super::handles::{Handles, Instance};
use super::heap::into_malloc;
use super::host::{FilterPluginLayout, Host, host};
use super::instance::{SectionError, filter_metrics, filter_name, read_filter};
use super::log::{InstanceLog, complain};
use super::metrics::HostMetrics;
use super::names::Names;
use super::{DESCRIPTION, NAME, PluginKind, lent};
use kube_audit_plugin::{Filter, OptionError, Verdict};

const KIND: PluginKind = PluginKind::Filter;
/// Answers of the host's start callbacks.
const STARTED: c_int = 0;
const FAILED: c_int = -1;

/// The live filters. One instance gets one call at a time from nearly all
/// hosts; the lock makes it so for all.
static FILTERS: Handles<Instance<Mutex<Live>>> = Handles::new();

/// The names of the live filters.
static NAMES: Names = Names::new();

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
/// The object starts out refusing: in every layout the first callback of a start is one of
/// the first two. [`construct`] fills it for a host that is known.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the host's rule for the name")]
pub(super) static filter_kube_audit_plugin: Exported =
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
pub(super) struct Exported(UnsafeCell<abi::flb_filter_plugin_export>);

// SAFETY: written by the constructor only, before anybody else has its address.
unsafe impl Sync for Exported {}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

/// Fills the exported object the way the host reads it. Runs when the library
/// is loaded, so it starts no thread: the host may still become a daemon.
extern "C" fn construct() {
    // An unknown host keeps the refusing object, which logs why when it is used;
    // so does one where this panics.
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

/// The first callback of a host that is not served.
unsafe extern "C" fn refuse(
    _: *mut abi::flb_filter_instance,
    _: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(KIND, FAILED, || {
        if let Err(why) = host() {
            complain(KIND, &why);
        }
        FAILED
    })
}

/// Checks the section. On a hot reload this is called before the old pipeline stops,
/// and a failure keeps the old one. Outputs have no such call and would end the process,
/// so this one checks theirs as well.
unsafe extern "C" fn pre_run(
    ins: *mut abi::flb_filter_instance,
    config: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(KIND, FAILED, || {
        let Some(host) = host_of(ins) else {
            return FAILED;
        };
        // SAFETY: the host's instance, valid for this call.
        let name = unsafe { filter_name(host, ins) };
        let log = Arc::new(InstanceLog::new(host.log_print, KIND, &name));
        // SAFETY: as above.
        if let Err(error) = unsafe { open(host, ins, &log, Purpose::Check) } {
            log.start_failed(&error);
            return FAILED;
        }
        #[cfg(feature = "output")]
        // SAFETY: as above; the configuration is the instance's.
        if !unsafe { super::output::check_beside(host, ins, config) } {
            return FAILED;
        }
        #[cfg(not(feature = "output"))]
        let _ = config;
        STARTED
    })
}

/// Starts an instance.
unsafe extern "C" fn init(
    ins: *mut abi::flb_filter_instance,
    config: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(KIND, FAILED, || {
        let Some(host) = host_of(ins) else {
            return FAILED;
        };
        // SAFETY: the host's instance, valid for this call.
        let name = NAMES.take(&unsafe { filter_name(host, ins) });
        let log = Arc::new(InstanceLog::new(host.log_print, KIND, name.as_str()));
        // SAFETY: as above.
        let filter = match unsafe { open(host, ins, &log, Purpose::Run) } {
            Ok(filter) => filter,
            Err(error) => {
                log.start_failed(&error);
                return FAILED;
            }
        };
        // SAFETY: the host's instance, which `open` has confirmed.
        let context = unsafe { filter_metrics(host, ins, config) };
        // SAFETY: the instance's exit ends the metrics with the filter.
        let metrics = unsafe { HostMetrics::start(host, KIND, &name, &*log, context, &filter) };
        log.print();
        let live = Live { filter, metrics };
        let context = FILTERS.insert(Instance::new(Mutex::new(live), log, name));
        // SAFETY: the host keeps the handle and gives it back; it never follows it.
        unsafe { (host.filter.set_context)(ins, context) };
        STARTED
    })
}

/// The host, if it is known and gave an instance.
fn host_of(ins: *mut abi::flb_filter_instance) -> Option<&'static Host> {
    let host = host().map_err(|why| complain(KIND, &why)).ok()?;
    if ins.is_null() {
        complain(KIND, &"the host gave no instance");
        return None;
    }
    Some(host)
}

/// The purpose for which a section is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Logs errors, and nothing else.
    Check,
    /// Starts an instance.
    Run,
}

/// The reason why a filter does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Section(#[from] SectionError),
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// The filter that a section describes.
///
/// # Safety
/// `ins` is a live filter instance of `host` that no other thread changes.
unsafe fn open(
    host: &Host,
    ins: *mut abi::flb_filter_instance,
    log: &Arc<InstanceLog>,
    purpose: Purpose,
) -> Result<Filter, StartError> {
    // SAFETY: the caller guarantees it.
    let section = unsafe { read_filter(host, ins) }?;
    log.set_level(match purpose {
        Purpose::Check => abi::FLB_LOG_ERROR,
        Purpose::Run => section.log_level,
    });
    log.start(host);
    Ok(Filter::new(
        &section.properties,
        host.patterns(),
        log.clone(),
    )?)
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
    if out_buf.is_null() || out_size.is_null() {
        return abi::FLB_FILTER_NOTOUCH;
    }
    // Null and 0 stand for "all dropped". They are the answer if everything else panics.
    // SAFETY: the host's place for the block, not null.
    unsafe { out_buf.write(ptr::null_mut()) };
    // SAFETY: the host's place for the size, not null.
    unsafe { out_size.write(0) };
    entry(KIND, abi::FLB_FILTER_MODIFIED, || {
        let Some(instance) = FILTERS.get(context) else {
            return abi::FLB_FILTER_NOTOUCH;
        };
        let tag_len = usize::try_from(tag_len).unwrap_or(0);
        // SAFETY: the host lends the tag for this call.
        let tag = unsafe { lent(tag.cast(), tag_len) };
        // SAFETY: the host lends the chunk for this call.
        let chunk = unsafe { lent(data, bytes) };
        let verdict = instance.call(
            |live| lock(live).filter.filter(tag, chunk),
            |live, panic| lock(live).filter.panicked(panic, chunk),
        );
        instance.call(
            |live| {
                let Live { filter, metrics } = &mut *lock(live);
                if let Some(metrics) = metrics {
                    metrics.set(filter);
                }
            },
            |live, panic| {
                let consequence = "the metrics keep their former values";
                lock(live).filter.report_panic(panic, consequence);
            },
        );
        match verdict {
            Verdict::Untouched => abi::FLB_FILTER_NOTOUCH,
            Verdict::Replaced(records) => {
                let (block, size) = into_malloc(records);
                // SAFETY: as above; the host frees the block with the C `free`.
                unsafe { out_buf.write(block) };
                // SAFETY: as above.
                unsafe { out_size.write(size) };
                abi::FLB_FILTER_MODIFIED
            }
        }
    })
}

/// Ends an instance.
unsafe extern "C" fn exit(context: *mut c_void, _: *mut abi::flb_config) -> c_int {
    entry(KIND, 0, || {
        if let Some(instance) = FILTERS.remove(context) {
            instance.close(|live| {
                let live = live.into_inner().unwrap_or_else(PoisonError::into_inner);
                live.filter.close();
            });
        }
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::log::fake;
    use kube_audit_plugin::{Pattern, Patterns};

    /// Regular expressions that panic when they are used.
    struct Panicking;

    impl Patterns for Panicking {
        fn compile(&self, _: &str) -> Option<Box<dyn Pattern>> {
            Some(Box::new(Panicking))
        }
    }

    impl Pattern for Panicking {
        fn is_in(&self, _: &[u8]) -> bool {
            panic!("no way")
        }
    }

    /// Gives a record to a filter that panics; the answer, the block and its size.
    fn answer(options: &[(&str, &str)]) -> (c_int, *mut c_void, usize) {
        let chunk = b"\x92\x92\xd7\0\0\0\0\x01\0\0\0\x01\x80\x81\xa3log\xa1x";
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut properties = vec![("regex".to_owned(), "x".to_owned())];
        properties.extend(options.iter().map(own));
        let log = Arc::new(InstanceLog::new(fake::PRINTER, KIND, "f"));
        let filter = Filter::new(&properties, Some(&Panicking), log.clone()).unwrap();
        log.print();
        fake::printed();
        let metrics = None;
        let live = Mutex::new(Live { filter, metrics });
        let context = FILTERS.insert(Instance::new(live, log, NAMES.take("f")));

        let (mut block, mut size) = (ptr::dangling_mut(), 7);
        // SAFETY: chunk, tag and places are live; the context is one of `FILTERS`.
        let answer = unsafe {
            super::filter(
                chunk.as_ptr().cast(),
                chunk.len(),
                c"audit".as_ptr(),
                5,
                &raw mut block,
                &raw mut size,
                ptr::null_mut(),
                ptr::null_mut(),
                context,
                ptr::null_mut(),
            )
        };
        let log = fake::printed().join("\n");
        assert!(log.contains("no way; a chunk of "), "{log}");
        // SAFETY: the context is only compared.
        unsafe { exit(context, ptr::null_mut()) };
        (answer, block, size)
    }

    #[test]
    fn a_chunk_that_a_policy_could_not_judge_does_not_pass() {
        let dropped = (abi::FLB_FILTER_MODIFIED, ptr::null_mut(), 0);
        assert_eq!(answer(&[("policy_preset", "metadata")]), dropped);
        assert_eq!(answer(&[("on_panic", "drop")]), dropped);
    }

    #[test]
    fn a_chunk_passes_after_a_panic_where_that_is_chosen_or_harmless() {
        let keep = [("policy_preset", "metadata"), ("on_panic", "keep")];
        for options in [&keep[..], &[("redact", "off")]] {
            assert_eq!(answer(options).0, abi::FLB_FILTER_NOTOUCH);
        }
    }
}
