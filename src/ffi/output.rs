//! The output: the entry points of an external ("Go") plugin.
//!
//! A flush hands its chunk to the output and pauses its coroutine, so that the
//! engine goes on. The output's descriptor becomes readable when a chunk is delivered
//! or given back: the engine's loop then calls [`on_signal`], which resumes its flush.
//!
//! Entry points that the host calls only if they exist, and that would do nothing
//! here, are not exported: `FLBPluginPreRegister`, `FLBPluginOutputPreRun`,
//! `FLBPluginOutputPreExit`, `FLBPluginUnregister`; `FLBPluginFlush` and
//! `FLBPluginExit` are the older forms of the two with a context.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bindings as abi;
use super::engine::{Coroutine, Engine, EngineApi, Watch};
use super::guard::entry;
use super::handles::{Handles, Instance};
use super::host::{Host, Refusal, Version, host, optional};
use super::instance::{
    OutputSection, RetryLimit, SectionError, output_name, outputs_beside, read_output,
};
use super::log::{InstanceLog, complain};
use super::metrics::HostMetrics;
use super::names::Names;
use super::signals::without_signals;
use super::{DESCRIPTION, NAME, PluginKind, lent};
use kube_audit_plugin::{Call, Flushed, Log, LogLevel, OptionError, Output};

const KIND: PluginKind = PluginKind::Output;
/// The answer of FLBPluginRegister.
const REGISTERED: c_int = 0;
/// Answers of FLBPluginInit: success is more than 0.
const STARTED: c_int = 1;
const FAILED: c_int = -1;

/// The live outputs.
static OUTPUTS: Handles<Instance<Live>> = Handles::new();

/// The names of the live outputs.
static NAMES: Names = Names::new();

/// An output at work.
struct Live {
    /// Watches the output's descriptor, so it is dropped first.
    watch: Watch,
    output: Output,
    engine: Engine,
    log: Arc<InstanceLog>,
    metrics: Mutex<Option<HostMetrics>>,
    flushes: Mutex<Flushes>,
}

/// Paused flushes.
#[derive(Default)]
struct Flushes {
    waiting: Vec<(Call, Coroutine)>,
    /// Flushes to resume.
    ready: VecDeque<Coroutine>,
}

impl Live {
    /// Notes the flushes that are ready, and updates the metrics.
    fn look(&self) {
        let ready = self.output.ready();
        let mut flushes = self.flushes();
        for call in ready {
            let place = flushes.waiting.iter().position(|(other, _)| *other == call);
            if let Some(place) = place {
                let (_, coroutine) = flushes.waiting.swap_remove(place);
                flushes.ready.push_back(coroutine);
            }
        }
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = &mut *metrics {
            metrics.set(&self.output);
        }
    }

    /// Begins a flush, or goes on with the one of a call.
    fn flush(&self, call: Option<Call>, tag: &[u8], chunk: &[u8]) -> Step {
        let Some(coroutine) = self.engine.coroutine() else {
            let line = "this Fluent Bit flushes outside of its engine's coroutines, where a flush \
                        cannot wait: the chunk is retried";
            self.log.log(LogLevel::Error, line);
            return Step::Answer(abi::FLB_RETRY);
        };
        let outcome = match call {
            None => self.output.flush(tag, chunk),
            Some(call) => self.output.resume(call, tag, chunk),
        };
        match outcome {
            Flushed::Delivered => Step::Answer(abi::FLB_OK),
            Flushed::Retry(_) => Step::Answer(abi::FLB_RETRY),
            Flushed::Waits(call) => {
                self.flushes().waiting.push((call, coroutine));
                Step::Pause(self.engine, call)
            }
        }
    }

    fn flushes(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next step of a flush. It is on the stack of a flush that pauses, so it holds
/// nothing that has to be dropped.
#[derive(Clone, Copy)]
enum Step {
    /// Ends with this answer.
    Answer(c_int),
    /// Pauses until the call is ready.
    Pause(Engine, Call),
}

/// Introduces the output. Called again on every hot reload, while the old
/// instances still run.
///
/// # Safety
/// `def` is null or the host's definition to fill, at least 32 bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn FLBPluginRegister(def: *mut abi::flb_plugin_proxy_def) -> c_int {
    entry(KIND, FAILED, || {
        if let Err(why) = host() {
            complain(KIND, &why);
            return FAILED;
        }
        if def.is_null() {
            return FAILED;
        }
        // SAFETY: not null; every known host gives these 32 bytes to the plugin. The
        // rest of them in later hosts (event types, options) stays zero.
        unsafe {
            def.write(abi::flb_plugin_proxy_def {
                type_: abi::FLB_PROXY_OUTPUT_PLUGIN,
                proxy: abi::FLB_PROXY_GOLANG,
                flags: abi::FLB_IO_OPT_TLS,
                name: NAME.as_ptr(),
                description: DESCRIPTION.as_ptr(),
            });
        }
        REGISTERED
    })
}

/// Starts an instance.
///
/// # Safety
/// `plugin` is null or the host's plugin object, set up for a live output instance.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn FLBPluginInit(plugin: *mut abi::flbgo_output_plugin) -> c_int {
    let answer = entry(KIND, FAILED, || {
        let host = match host() {
            Ok(host) => host,
            Err(why) => {
                complain(KIND, &why);
                return FAILED;
            }
        };
        if plugin.is_null() {
            return FAILED;
        }
        // The host overwrites the object for the next instance, so it is not kept.
        // SAFETY: not null, and set up for this call.
        let ins = unsafe { (*plugin).o_ins };
        // SAFETY: as above.
        let context = unsafe { (*plugin).context };
        if ins.is_null() || context.is_null() {
            return FAILED;
        }
        // SAFETY: the instance that the host is starting, on this thread.
        let name = NAMES.take(&unsafe { output_name(host, ins) });
        let log = Arc::new(InstanceLog::new(host.log_print, KIND, name.as_str()));
        // SAFETY: as above.
        let started = unsafe { start(host, ins, &log) };
        let (output, engine, watch) = match started {
            Ok(started) => started,
            Err(error) => {
                log.start_failed(&error);
                return FAILED;
            }
        };
        let metrics = match host.output.get_cmt_instance {
            // SAFETY: as above.
            Some(get) => unsafe { get(ins) },
            None => ptr::null_mut(),
        };
        // SAFETY: as above; the instance's exit ends the metrics with the output.
        let metrics =
            unsafe { HostMetrics::start(host, KIND, &name, &*log, metrics.cast(), &output) };
        log.print();
        let live = Live {
            watch,
            output,
            engine,
            log: Arc::clone(&log),
            metrics: Mutex::new(metrics),
            flushes: Mutex::default(),
        };
        let handle = OUTPUTS.insert(Instance::new(live, log, name));
        // SAFETY: not null; the field is the plugin's own.
        unsafe { (*context).remote_context = handle };
        STARTED
    });
    if answer == FAILED {
        stop_where_a_failure_is_ignored();
    }
    answer
}

/// Ends the process in Fluent Bit 2.2.0, which after a failed start frees the plugin
/// and then uses it all the same.
fn stop_where_a_failure_is_ignored() {
    if host().is_ok_and(|host| host.version == Version(2, 2, 0)) {
        complain(
            KIND,
            &"Fluent Bit 2.2.0 cannot stop after a failed start: ending it",
        );
        // SAFETY: ends the process without running code of others; the status is
        // the one that other versions exit with.
        unsafe { libc::_exit(255) }
    }
}

/// The reason why an output does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Host(#[from] Refusal),
    #[error("this Fluent Bit starts outputs on a thread without an event loop: use a release")]
    NoEventLoop,
    #[error(transparent)]
    Section(#[from] SectionError),
    #[error(
        "Fluent Bit {0} crashes at its end with two outputs of one external plugin (fixed in \
         2.0.7): use one kube_audit output, or kube_audit filters"
    )]
    SecondOutput(Version),
    #[error("`Workers`: this Fluent Bit does not accept 0, and the output needs it")]
    Workers,
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("cannot add a file descriptor to Fluent Bit's event loop")]
    EventLoop,
}

/// Starts the output that a section describes, and adds it to the engine's loop.
///
/// # Safety
/// `ins` is a live output instance of `host` that no other thread changes; this is
/// the engine's thread, and the output's exit comes on it too.
unsafe fn start(
    host: &Host,
    ins: *mut abi::flb_output_instance,
    log: &Arc<InstanceLog>,
) -> Result<(Output, Engine, Watch), StartError> {
    let engine = Engine::of_this_thread(EngineApi::get()?).ok_or(StartError::NoEventLoop)?;
    // SAFETY: the caller guarantees it.
    let OutputSection {
        section,
        settings,
        retry_limit,
        workers,
        storage_limit,
    } = unsafe { read_output(host, ins) }?;
    log.set_level(section.log_level);
    log.start(host);
    if host.version < Version(2, 0, 7) && OUTPUTS.len() > 0 {
        return Err(StartError::SecondOutput(host.version));
    }
    // SAFETY: the caller guarantees the instance; the host copies the strings.
    let set = |key: &CStr, value: &CStr| unsafe {
        (host.output.set_property)(ins, key.as_ptr(), value.as_ptr())
    };
    if storage_limit.is_some_and(|limit| limit > 0) {
        let line = "Fluent Bit 1.9 crashes when `storage.total_limit_size` is reached without \
                    `storage.path`: set that in the service section, or remove the limit";
        log.log(LogLevel::Warn, line);
    }
    lift_retry_limit(host.version, retry_limit, log, set);
    forbid_workers(workers, log, set)?;
    let output = without_signals(|| {
        let patterns = host.patterns();
        Output::new(&section.properties, &settings, patterns, log.clone())
    })?;
    // SAFETY: the caller guarantees the thread; the exit drops the watch before the
    // output, which has the descriptor.
    let watch = unsafe { engine.watch(output.signal(), on_signal) };
    Ok((output, engine, watch.ok_or(StartError::EventLoop)?))
}

/// Checks the sections of the outputs in the configuration of a filter, and logs what is
/// wrong; true if nothing is.
///
/// # Safety
/// `filter` is a live filter instance of `host`, and `config` its configuration; no other
/// thread changes them.
pub(super) unsafe fn check_beside(
    host: &Host,
    filter: *mut abi::flb_filter_instance,
    config: *const abi::flb_config,
) -> bool {
    // SAFETY: the caller guarantees it.
    let outputs = unsafe { outputs_beside(host, filter, config) };
    let is_right = |&ins: &*mut abi::flb_output_instance| {
        // SAFETY: an instance in the configuration.
        let name = unsafe { output_name(host, ins) };
        let log = Arc::new(InstanceLog::new(host.log_print, KIND, &name));
        log.set_level(abi::FLB_LOG_ERROR);
        // SAFETY: as above.
        let checked = unsafe { check(host, ins, &log) };
        if let Err(error) = &checked {
            log.start_failed(error);
        }
        checked.is_ok()
    };
    outputs.iter().all(is_right)
}

/// Checks a section as [`start`] does, and starts nothing.
///
/// # Safety
/// `ins` is a live output instance of `host` that no other thread changes.
unsafe fn check(
    host: &Host,
    ins: *mut abi::flb_output_instance,
    log: &InstanceLog,
) -> Result<(), StartError> {
    // SAFETY: the caller guarantees it.
    let OutputSection {
        section, settings, ..
    } = unsafe { read_output(host, ins) }?;
    Ok(Output::check(
        &section.properties,
        &settings,
        host.patterns(),
        log,
    )?)
}

/// Sets `Retry_Limit no_limits` unless another value is configured: by default the host
/// gives up a chunk after one retry.
fn lift_retry_limit(
    version: Version,
    limit: RetryLimit,
    log: &InstanceLog,
    set: impl Fn(&CStr, &CStr) -> c_int,
) {
    let lifted = match limit {
        RetryLimit::Chosen(abi::FLB_OUT_RETRY_UNLIMITED) => return,
        RetryLimit::Chosen(limit) => {
            let line = format!(
                "`Retry_Limit` is {limit}: a chunk is lost after that many retries; set no_limits \
                 to keep it"
            );
            log.log(LogLevel::Warn, &line);
            return;
        }
        RetryLimit::Unset => "`Retry_Limit` is not set: using no_limits, so that no chunk is lost",
        RetryLimit::UnsetOrDefault => {
            "`Retry_Limit` is not set or 1, which this Fluent Bit does not distinguish: using \
             no_limits, so that no chunk is lost (no_retries and limits from 2 on are respected)"
        }
    };
    if set(c"retry_limit", c"no_limits") == 0 {
        log.log(LogLevel::Info, lifted);
        // These answer every flush of an external plugin with "retry" once a hot
        // reload has begun, and end it when nothing is left to flush.
        if (Version(2, 2, 0)..Version(3, 2, 3)).contains(&version) {
            let line = "a hot reload of this Fluent Bit waits forever for chunks that are not \
                        delivered before it: set `hot_reload.ensure_thread_safety off`, and \
                        `storage.type filesystem` at the inputs, or else it loses them";
            log.log(LogLevel::Info, line);
        }
    } else {
        let line =
            "cannot change `Retry_Limit`: a chunk is lost after 1 retry; set it to no_limits";
        log.log(LogLevel::Warn, line);
    }
}

/// Sets `Workers 0`: flushes pause in the engine's loop, which workers do not run. From
/// 2.2.0 on the host also starts the workers of an external plugin twice, and the first
/// set outlives the instance at a hot reload.
fn forbid_workers(
    workers: Option<c_int>,
    log: &InstanceLog,
    set: impl Fn(&CStr, &CStr) -> c_int,
) -> Result<(), StartError> {
    if set(c"workers", c"0") != 0 {
        return Err(StartError::Workers);
    }
    if workers.is_some_and(|workers| workers != 0) {
        let line = "`Workers` has no effect: the output has a thread of its own, and never blocks \
                    Fluent Bit";
        log.log(LogLevel::Info, line);
    }
    Ok(())
}

/// Hands a chunk to an instance.
///
/// # Safety
/// `data` is null or has `size` bytes, `tag` is null or NUL-terminated, both
/// unchanged during the call. The call runs in a coroutine that the host began on
/// its engine's thread, and may never return from a pause once the instance ends.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn FLBPluginFlushCtx(
    context: *mut c_void,
    data: *const c_void,
    size: usize,
    tag: *const c_char,
) -> c_int {
    let mut call = None;
    loop {
        let step = entry(KIND, Step::Answer(abi::FLB_RETRY), || {
            // SAFETY: the caller guarantees it, also for a call that pauses.
            let tag = unsafe { optional(tag) }.unwrap_or_default();
            // SAFETY: as above.
            let chunk = unsafe { lent(data, size) };
            flush(context, call, tag.to_bytes(), chunk)
        });
        match step {
            Step::Answer(answer) => return answer,
            Step::Pause(engine, waits) => {
                call = Some(waits);
                // SAFETY: `flush` has found the coroutine; no lock is held here, and
                // no value here has to be dropped.
                unsafe { engine.pause() };
            }
        }
    }
}

fn flush(context: *const c_void, call: Option<Call>, tag: &[u8], chunk: &[u8]) -> Step {
    const RETRY: Step = Step::Answer(abi::FLB_RETRY);

    let Some(instance) = OUTPUTS.get(context) else {
        return RETRY;
    };
    instance.call(
        |live| live.flush(call, tag, chunk),
        |live, panic| {
            live.output.report_panic(panic, "a chunk is retried");
            RETRY
        },
    )
}

/// Resumes the flushes that are ready; the engine's loop calls it when an output's
/// descriptor is readable.
///
/// # Safety
/// The loop calls it on its own stack; the event is only compared.
unsafe extern "C" fn on_signal(event: *mut c_void) -> c_int {
    let instance = || OUTPUTS.find(|instance| instance.plugin().watch.is(event));
    entry(KIND, (), || {
        if let Some(instance) = instance() {
            instance.call(Live::look, |live, panic| {
                let consequence = "waiting flushes end when their time is over";
                live.output.report_panic(panic, consequence);
            });
        }
    });
    // Resuming one runs code of the host, which may end the instance: each is looked up
    // anew, and not held.
    let next = || {
        let instance = instance()?;
        let live = instance.plugin();
        let coroutine = live.flushes().ready.pop_front()?;
        Some((live.engine, coroutine))
    };
    while let Some((engine, coroutine)) = entry(KIND, None, next) {
        // SAFETY: the caller guarantees the stack; the coroutine waits in
        // `FLBPluginFlushCtx`, and its instance was alive just now.
        unsafe { engine.resume(coroutine) };
    }
    0
}

/// Ends an instance.
///
/// # Safety
/// None: the context is only compared.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn FLBPluginExitCtx(context: *mut c_void) -> c_int {
    entry(KIND, abi::FLB_OK, || {
        if let Some(instance) = OUTPUTS.remove(context) {
            instance.close(|live| {
                drop(live.watch);
                live.output.close();
            });
        }
        abi::FLB_OK
    })
}
