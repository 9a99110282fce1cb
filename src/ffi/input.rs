//! The input, a native plugin: the object that the host copies, and its callbacks.
//!
//! The host calls [`collect`] at an interval and while the instance's [`Signal`] is raised,
//! so that a collection with more to do goes on when the host has done its other work.
//! Neither collector stops while the input is paused: it then goes on to learn what the
//! outputs have done, and its records are refused here. A pause comes from inside of an
//! append, or, before 2.1.9, a resumption from another thread, so both change a flag only.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bindings as abi;
use super::guard::{Panicked, entry, guard};
use super::handles::{Handles, Instance};
use super::host::{Host, InputApi, InputPluginLayout, Version, host};
use super::instance::{InputSection, SectionError, Tag, chunks_of, input_name, read_input};
use super::log::{InstanceLog, complain};
use super::metrics::HostMetrics;
use super::names::Names;
use super::signals::without_signals;
use super::{DESCRIPTION, NAME, PluginKind};
use kube_audit_plugin::{ChunkList, Collected, Ingest, Input, OptionError, Refused};

const KIND: PluginKind = PluginKind::Input;
/// Answers of the host's start callback.
const STARTED: c_int = 0;
const FAILED: c_int = -1;

/// The live inputs.
static INPUTS: Handles<Instance<Live>> = Handles::new();

/// The names of the live inputs.
static NAMES: Names = Names::new();

/// An input at work.
struct Live {
    work: Mutex<Work>,
    pipeline: Pipeline,
    signal: Signal,
    /// The host's numbers of the two collectors.
    collectors: [c_int; 2],
}

/// What one call at a time uses.
struct Work {
    input: Input,
    metrics: Option<HostMetrics>,
}

impl Live {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the input work, and has the host call again if there is more to do.
    fn collect(&self) {
        self.signal.clear();
        let Work { input, metrics } = &mut *self.work();
        let collected = input.collect(&mut &self.pipeline);
        if let Some(metrics) = metrics {
            metrics.set(input);
        }
        if collected == Collected::More && !self.pipeline.is_paused.load(Ordering::SeqCst) {
            self.signal.raise();
        }
    }

    fn panicked(&self, panic: &Panicked) {
        self.work().input.panicked(panic);
    }

    fn pause(&self) {
        self.pipeline.is_paused.store(true, Ordering::SeqCst);
    }

    fn resume(&self) {
        self.pipeline.is_paused.store(false, Ordering::SeqCst);
        self.signal.raise();
    }

    /// Ends the input, while the host still has its chunks.
    fn close(self) {
        let Live {
            work,
            pipeline,
            signal,
            collectors,
        } = self;
        for collector in collectors {
            // SAFETY: the instance ends only after this, on this thread.
            unsafe { (pipeline.api.collector_pause)(collector, pipeline.ins.as_ptr()) };
        }
        // Its descriptor is out of the host's loop now.
        drop(signal);
        let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        work.input.close(Some(&mut &pipeline));
    }
}

/// The host's side of an instance, from its init to its exit.
struct Pipeline {
    api: &'static InputApi,
    version: Version,
    ins: NonNull<abi::flb_input_instance>,
    chunks: ChunkList,
    /// The host takes no records.
    is_paused: AtomicBool,
}

// SAFETY: the pointer is given back to the host's functions only, from callbacks of its
// instance.
unsafe impl Send for Pipeline {}
// SAFETY: as above.
unsafe impl Sync for Pipeline {}

/// Used in callbacks of the instance only, on its thread.
impl Ingest for &Pipeline {
    fn append(&mut self, records: &[u8]) -> Result<(), Refused> {
        if self.is_paused.load(Ordering::SeqCst) {
            return Err(Refused);
        }
        let (data, size) = (records.as_ptr().cast(), records.len());
        // SAFETY: this is a callback of the live instance, on its thread; the host copies
        // the records, and takes its own tag.
        match unsafe { (self.api.append)(self.ins.as_ptr(), ptr::null(), 0, data, size) } {
            0 => Ok(()),
            _ => Err(Refused),
        }
    }

    fn chunks(&mut self, held: &mut Vec<usize>) {
        match self.chunks {
            // SAFETY: as above, and the instance's thread is the engine's.
            ChunkList::Known => unsafe {
                chunks_of(self.version, self.api, self.ins.as_ptr(), held);
            },
            ChunkList::OtherThread | ChunkList::Ring => held.clear(),
        }
    }
}

/// A descriptor that is readable while it is raised.
struct Signal(File);

impl Signal {
    fn new() -> io::Result<Signal> {
        // SAFETY: makes a descriptor.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was made just now, and nobody else has it.
        Ok(Signal(unsafe { File::from_raw_fd(descriptor) }))
    }

    fn raise(&self) {
        // It fails only if it was raised 2^64 times.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        // It fails only if it was not raised.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

/// The exported object. The host copies it after the library's constructors ran.
///
/// The object starts out refusing, for a host that is not known: [`construct`] fills it.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the host's rule for the name")]
pub(super) static in_kube_audit_plugin: Exported = Exported(UnsafeCell::new(plugin(
    InputPluginLayout::V2_0_0,
    Some(refuse),
)));

/// Memory that the host reads.
#[repr(transparent)]
pub(super) struct Exported(UnsafeCell<abi::flb_input_plugin_export>);

// SAFETY: written by the constructor only, before anybody else has its address.
unsafe impl Sync for Exported {}

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = construct;

/// Fills the exported object the way the host reads it, as the filter's constructor does.
extern "C" fn construct() {
    // After a panic the object stays the refusing one.
    let _ = guard(|| {
        let object = match host().ok().and_then(|host| host.input.as_ref().ok()) {
            Some(api) => plugin(api.plugin, Some(init)),
            None => plugin(InputPluginLayout::of_unknown(), Some(refuse)),
        };
        // SAFETY: the library isn't loaded yet, so nobody else has the address.
        unsafe { in_kube_audit_plugin.0.get().write(object) };
    });
}

/// The object in a layout, with that start callback. What is not set is null or zero: logs,
/// no flags, no callbacks.
const fn plugin(
    layout: InputPluginLayout,
    start: abi::flb_input_call_fn,
) -> abi::flb_input_plugin_export {
    let mut object = abi::flb_input_plugin_export { words: [0; 64] };
    macro_rules! fill {
        ($layout:ident) => {{
            object.$layout.name = NAME.as_ptr();
            object.$layout.description = DESCRIPTION.as_ptr();
            object.$layout.cb_init = start;
            object.$layout.cb_pause = Some(pause);
            object.$layout.cb_resume = Some(resume);
            object.$layout.cb_exit = Some(exit);
        }};
    }
    match layout {
        InputPluginLayout::V1_9_0 => fill!(v1_9_0),
        InputPluginLayout::V2_0_0 => fill!(v2_0_0),
        InputPluginLayout::V2_0_7 => fill!(v2_0_7),
        InputPluginLayout::V3_2_0 => fill!(v3_2_0),
        InputPluginLayout::V3_2_3 => fill!(v3_2_3),
        InputPluginLayout::V5_1_0 => fill!(v5_1_0),
    }
    object
}

/// The start callback in a host that is not served.
unsafe extern "C" fn refuse(
    _: *mut abi::flb_input_instance,
    _: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(KIND, FAILED, || {
        match host() {
            Err(why) => complain(KIND, &why),
            Ok(host) => {
                if let Err(why) = &host.input {
                    complain(KIND, why);
                }
            }
        }
        FAILED
    })
}

/// Starts an instance.
unsafe extern "C" fn init(
    ins: *mut abi::flb_input_instance,
    config: *mut abi::flb_config,
    _: *mut c_void,
) -> c_int {
    entry(KIND, FAILED, || {
        let host = match host() {
            Ok(host) => host,
            Err(why) => {
                complain(KIND, &why);
                return FAILED;
            }
        };
        let (Ok(api), Some(ins)) = (&host.input, NonNull::new(ins)) else {
            complain(KIND, &"the host gave no instance");
            return FAILED;
        };
        // SAFETY: the host's instance, valid for this call.
        let name = NAMES.take(&unsafe { input_name(api, ins.as_ptr()) });
        let log = Arc::new(InstanceLog::new(host.log_print, KIND, name.as_str()));
        // SAFETY: as above, at its start.
        let started = unsafe { start(host, api, ins, config, &log) };
        let (input, pipeline, signal, collectors) = match started {
            Ok(started) => started,
            Err(error) => {
                log.start_failed(&error);
                return FAILED;
            }
        };
        let metrics = match api.get_cmt_instance {
            // SAFETY: as above.
            Some(get) => unsafe { get(ins.as_ptr()) },
            None => ptr::null_mut(),
        };
        // SAFETY: as above; the instance's exit ends the metrics with the input.
        let metrics =
            unsafe { HostMetrics::start(host, KIND, &name, &*log, metrics.cast(), &input) };
        log.print();
        let live = Live {
            work: Mutex::new(Work { input, metrics }),
            pipeline,
            signal,
            collectors,
        };
        let context = INPUTS.insert(Instance::new(live, log, name));
        // SAFETY: the host keeps the handle and gives it back; it never follows it.
        unsafe { (api.set_context)(ins.as_ptr(), context) };
        STARTED
    })
}

/// The reason why an input does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Section(#[from] SectionError),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("`Tag` is not set, and this Fluent Bit does not accept {0:?}: set another one")]
    Tag(&'static std::ffi::CStr),
    #[error("cannot make an eventfd: {0}")]
    Signal(io::Error),
    #[error("this Fluent Bit does not accept a collector: it has no memory left")]
    Collector,
}

/// Starts the input that a section describes, and adds it to the host's loop.
///
/// # Safety
/// `ins` is an input instance of `host`, at its start, that no other thread changes, and
/// `config` its configuration.
unsafe fn start(
    host: &Host,
    api: &'static InputApi,
    ins: NonNull<abi::flb_input_instance>,
    config: *mut abi::flb_config,
    log: &Arc<InstanceLog>,
) -> Result<(Input, Pipeline, Signal, [c_int; 2]), StartError> {
    const SECONDS: libc::time_t = Input::INTERVAL_MS as libc::time_t / 1000;
    const NANOSECONDS: libc::c_long = Input::INTERVAL_MS as libc::c_long % 1000 * 1_000_000;

    // SAFETY: the caller guarantees it.
    let InputSection {
        section,
        settings,
        tag,
    } = unsafe { read_input(host.version, api, ins.as_ptr()) }?;
    log.set_level(section.log_level);
    log.start(host);
    let input = without_signals(|| {
        let patterns = host.patterns();
        Input::new(&section.properties, settings, patterns, log.clone())
    })?;
    // Outputs are matched with tags after this.
    if tag == Tag::Unset {
        // SAFETY: the caller guarantees the instance; the host copies the strings.
        let set = unsafe { (api.set_property)(ins.as_ptr(), c"tag".as_ptr(), NAME.as_ptr()) };
        if set != 0 {
            return Err(StartError::Tag(NAME));
        }
    }
    let signal = Signal::new().map_err(StartError::Signal)?;
    signal.raise();
    let (instance, descriptor) = (ins.as_ptr(), signal.0.as_raw_fd());
    // SAFETY: the caller guarantees instance and configuration.
    let timer =
        unsafe { (api.set_collector_time)(instance, Some(collect), SECONDS, NANOSECONDS, config) };
    // SAFETY: as above; the exit takes the descriptor out of the loop before it closes it.
    let event = unsafe { (api.set_collector_event)(instance, Some(collect), descriptor, config) };
    if timer < 0 || event < 0 {
        return Err(StartError::Collector);
    }
    let pipeline = Pipeline {
        api,
        version: host.version,
        ins,
        chunks: settings.chunks,
        is_paused: AtomicBool::new(false),
    };
    Ok((input, pipeline, signal, [timer, event]))
}

/// Lets an instance work.
unsafe extern "C" fn collect(
    _: *mut abi::flb_input_instance,
    _: *mut abi::flb_config,
    context: *mut c_void,
) -> c_int {
    entry(KIND, 0, || {
        if let Some(instance) = INPUTS.get(context) {
            instance.call(Live::collect, Live::panicked);
        }
        0
    })
}

/// Stops the records of an instance.
unsafe extern "C" fn pause(context: *mut c_void, _: *mut abi::flb_config) {
    entry(KIND, (), || {
        if let Some(instance) = INPUTS.get(context) {
            instance.plugin().pause();
        }
    });
}

/// Lets the records of an instance go on.
unsafe extern "C" fn resume(context: *mut c_void, _: *mut abi::flb_config) {
    entry(KIND, (), || {
        if let Some(instance) = INPUTS.get(context) {
            instance.plugin().resume();
        }
    });
}

/// Ends an instance.
unsafe extern "C" fn exit(context: *mut c_void, _: *mut abi::flb_config) -> c_int {
    entry(KIND, 0, || {
        if let Some(instance) = INPUTS.remove(context) {
            instance.close(Live::close);
        }
        0
    })
}
