//! The output door: the entry points of an external ("Go") plugin.
//!
//! A flush hands its chunk to the output and pauses its coroutine, so that the
//! engine goes on. The output's descriptor tells the engine's loop when something
//! has come of it: [`on_signal`] then resumes the flushes that it is about.
//!
//! Entry points that the host calls only when they exist, and that have nothing
//! to do here, are not exported: `FLBPluginPreRegister`, `FLBPluginOutputPreRun`,
//! `FLBPluginOutputPreExit`, `FLBPluginUnregister`; `FLBPluginFlush` and
//! `FLBPluginExit` are the older forms of the two with a context.

use std::collections::VecDeque;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bindings as abi;
use super::engine::{Coroutine, Engine, Watch};
use super::guard::entry;
use super::handles::{Handles, Instance};
use super::host::{Host, MetricsApi, Version, engine, host, optional};
use super::instance::{self, OutputSection, RetryLimit};
use super::log::{InstanceLog, complain};
use super::metrics::HostMetrics;
use super::{DESCRIPTION, NAME, lent};
use kube_audit_plugin::{Call, Flushed, Log, LogLevel, Output};

const DOOR: &str = "output";
/// What FLBPluginRegister answers.
const REGISTERED: c_int = 0;
/// What FLBPluginInit answers: success is more than 0.
const STARTED: c_int = 1;
const FAILED: c_int = -1;

/// The live outputs.
static OUTPUTS: Handles<Instance<Live>> = Handles::new();

/// An output at work.
struct Live {
    /// Of the output's descriptor: it goes first.
    watch: Watch,
    output: Output,
    engine: Engine,
    log: Arc<InstanceLog>,
    metrics: Mutex<Option<HostMetrics>>,
    flushes: Mutex<Flushes>,
}

/// Flushes that pause.
#[derive(Default)]
struct Flushes {
    waiting: Vec<(Call, Coroutine)>,
    /// Those that are to be resumed.
    ready: VecDeque<Coroutine>,
}

impl Live {
    /// Looks what the output has for the host.
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
            metrics.set(&self.output.metrics());
        }
    }

    /// Goes on with a flush, or begins it.
    fn flush(&self, call: Option<Call>, tag: &[u8], chunk: &[u8]) -> Step {
        let Some(coroutine) = self.engine.coroutine() else {
            let line = "a flush outside of the engine's coroutines, in which it could wait: the \
                        chunk is tried again";
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

/// How a flush goes on. It lies on the stack of a flush that pauses, so there is
/// nothing in it to be dropped.
#[derive(Clone, Copy)]
enum Step {
    /// It ends with this answer.
    Answer(c_int),
    /// It pauses, until the output has something for this call.
    Pause(Engine, Call),
}

/// Introduces the output. Comes again on every hot reload, while the old
/// instances still run.
///
/// # Safety
/// `def` is null or the host's definition to fill, at least 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn FLBPluginRegister(def: *mut abi::flb_plugin_proxy_def) -> c_int {
    entry(DOOR, FAILED, || {
        if let Err(why) = host() {
            complain(DOOR, &why);
            return FAILED;
        }
        if def.is_null() {
            return FAILED;
        }
        // SAFETY: not null; every known host gives these 32 bytes to the plugin.
        // What is behind them in later hosts (event types, options) stays zero.
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
pub unsafe extern "C" fn FLBPluginInit(plugin: *mut abi::flbgo_output_plugin) -> c_int {
    let answer = entry(DOOR, FAILED, || {
        let host = match host() {
            Ok(host) => host,
            Err(why) => {
                complain(DOOR, &why);
                return FAILED;
            }
        };
        if plugin.is_null() {
            return FAILED;
        }
        // SAFETY: not null; the host overwrites the object for the next instance,
        // so both pointers are copied.
        let (ins, context) = unsafe { ((*plugin).o_ins, (*plugin).context) };
        if ins.is_null() || context.is_null() {
            return FAILED;
        }
        // SAFETY: the instance that the host is starting, on this thread.
        let name = unsafe { instance::output_name(host, ins) };
        let log = Arc::new(InstanceLog::new(host.api.log_print, DOOR, &name));
        // SAFETY: as above.
        let started = unsafe { start(host, ins, &log) };
        let (output, engine, watch) = match started {
            Ok(started) => started,
            Err(wrong) => {
                log.start_failed(&wrong);
                return FAILED;
            }
        };
        // SAFETY: as above; the instance's exit ends the metrics with the output.
        let metrics = unsafe {
            let context = |api: &MetricsApi| (api.output_get_cmt_instance)(ins).cast();
            HostMetrics::start(host, DOOR, &name, &*log, context, &output.metrics())
        };
        log.print();
        let live = Live {
            watch,
            output,
            engine,
            log: Arc::clone(&log),
            metrics: Mutex::new(metrics),
            flushes: Mutex::default(),
        };
        let handle = OUTPUTS.insert(Instance::new(live, log));
        // SAFETY: not null; the field is the plugin's own.
        unsafe { (*context).remote_context = handle };
        STARTED
    });
    if answer == FAILED {
        stop_where_a_failure_is_ignored();
    }
    answer
}

/// 2.2.0 frees the plugin after a failed start and then uses it all the same.
fn stop_where_a_failure_is_ignored() {
    if host().is_ok_and(|host| host.version == Version(2, 2, 0)) {
        complain(DOOR, &"Fluent Bit 2.2.0 can't stop by itself, stopping it");
        // SAFETY: ends the process without running code of others; the status is
        // the one that other versions exit with.
        unsafe { libc::_exit(255) }
    }
}

/// The output that a section describes, in the engine's loop.
///
/// # Safety
/// `ins` is a live output instance of `host` that no other thread changes; this is
/// the engine's thread, and the output's exit comes on it too.
unsafe fn start(
    host: &Host,
    ins: *mut abi::flb_output_instance,
    log: &Arc<InstanceLog>,
) -> Result<(Output, Engine, Watch), String> {
    let engine = engine().map_err(|why| why.to_string())?;
    let engine = Engine::of_this_thread(engine)
        .ok_or("this Fluent Bit starts outputs on a thread without an event loop")?;
    // SAFETY: the caller guarantees it.
    let OutputSection {
        section,
        settings,
        retry_limit,
        workers,
    } = unsafe { instance::output(host, ins) }.map_err(|wrong| wrong.to_string())?;
    log.set_level(section.log_level);
    log.start(host);
    if host.version < Version(2, 0, 7) && OUTPUTS.len() > 0 {
        return Err(format!(
            "Fluent Bit {} crashes at its end with two outputs of one external plugin (fixed in \
             2.0.7): use one kube_audit output, or kube_audit filters",
            host.version
        ));
    }
    // SAFETY: the caller guarantees the instance; the host copies the strings.
    let set = |key: &CStr, value: &CStr| unsafe {
        (host.api.output_set_property)(ins, key.as_ptr(), value.as_ptr())
    };
    lift_retry_limit(host.version, retry_limit, log, set);
    forbid_workers(workers, log, set)?;
    let output = without_signals(|| {
        let patterns = host.patterns();
        Output::new(&section.properties, &settings, patterns, log.clone())
    })
    .map_err(|wrong| wrong.to_string())?;
    // SAFETY: the caller guarantees the thread; the exit drops the watch before the
    // output, which has the descriptor.
    let watch = unsafe { engine.watch(output.signal(), on_signal) }
        .ok_or("the event loop of this Fluent Bit takes no descriptor more")?;
    Ok((output, engine, watch))
}

/// Does something with all signals blocked, so that threads started by it never
/// take one. They are the host's: 2.1 even reloads inside its signal handler, and
/// on a thread of ours would wait there for that thread to end.
fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the set is filled before it is read, and both outlive the calls;
    // the mask is that of this thread alone.
    let blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let result = body();
    if blocked {
        // SAFETY: the mask was written by the call above, which succeeded.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    result
}

/// The host gives up a chunk after one retry unless it is told otherwise.
fn lift_retry_limit(
    version: Version,
    limit: RetryLimit,
    log: &InstanceLog,
    set: impl Fn(&CStr, &CStr) -> c_int,
) {
    let lifted = match limit {
        RetryLimit::Chosen(abi::FLB_OUT_RETRY_UNLIMITED) => return,
        RetryLimit::Chosen(limit) => {
            let line = format!("`Retry_Limit`: a chunk is lost after {limit} retries");
            log.log(LogLevel::Warn, &line);
            return;
        }
        RetryLimit::Unset => "`Retry_Limit` is not set: no_limits, so that no chunk is lost",
        RetryLimit::UnsetOrDefault => {
            "`Retry_Limit` is not set or 1, which this Fluent Bit does not tell apart: no_limits, \
             so that no chunk is lost (no_retries, 2 and more are kept)"
        }
    };
    if set(c"retry_limit", c"no_limits") == 0 {
        log.log(LogLevel::Info, lifted);
        // These answer every flush of an external plugin with "retry" once a hot
        // reload has begun, and end it when nothing is left to flush.
        if (Version(2, 2, 0)..Version(3, 2, 3)).contains(&version) {
            let line = "a hot reload of this Fluent Bit waits forever for chunks that are not \
                        delivered before it: set `hot_reload.ensure_thread_safety off`";
            log.log(LogLevel::Info, line);
        }
    } else {
        let line = "`Retry_Limit`: the default could not be lifted, a chunk is lost after 1 retry";
        log.log(LogLevel::Warn, line);
    }
}

/// Flushes pause in the engine's loop, which workers do not run. From 2.2.0 on the
/// host also starts the workers of an external plugin twice, and the first set
/// outlives the instance at a hot reload.
fn forbid_workers(
    workers: Option<c_int>,
    log: &InstanceLog,
    set: impl Fn(&CStr, &CStr) -> c_int,
) -> Result<(), &'static str> {
    if set(c"workers", c"0") != 0 {
        return Err("`Workers`: this Fluent Bit does not let them be 0");
    }
    if workers.is_some_and(|workers| workers != 0) {
        let line = "`Workers` is not used: the output works on a thread of its own, and nothing \
                    of Fluent Bit waits for it";
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
pub unsafe extern "C" fn FLBPluginFlushCtx(
    context: *mut c_void,
    data: *const c_void,
    size: usize,
    tag: *const c_char,
) -> c_int {
    let mut call = None;
    loop {
        let step = entry(DOOR, Step::Answer(abi::FLB_RETRY), || {
            // SAFETY: the caller guarantees it, also for a call that pauses.
            let (tag, chunk) = unsafe { (optional(tag).unwrap_or_default(), lent(data, size)) };
            flush(context, call, tag.to_bytes(), chunk)
        });
        match step {
            Step::Answer(answer) => return answer,
            Step::Pause(engine, waits) => {
                call = Some(waits);
                // SAFETY: `flush` has found the coroutine; no lock is held here, and
                // nothing here has to be dropped.
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
    instance
        .call("the chunk is tried again", |live| {
            live.flush(call, tag, chunk)
        })
        .unwrap_or(RETRY)
}

/// What the engine's loop calls when an output has something for the host.
///
/// # Safety
/// The loop calls it on its own stack; the event is only compared.
unsafe extern "C" fn on_signal(event: *mut c_void) -> c_int {
    let instance = || OUTPUTS.find(|instance| instance.plugin().watch.is(event));
    entry(DOOR, (), || {
        if let Some(instance) = instance() {
            instance.call("flushes wait until their time is over", Live::look);
        }
    });
    // Resuming one runs code of the host, so each is looked up anew, and held by nobody.
    let next = || {
        let instance = instance()?;
        let live = instance.plugin();
        let coroutine = live.flushes().ready.pop_front()?;
        Some((live.engine, coroutine))
    };
    while let Some((engine, coroutine)) = entry(DOOR, None, next) {
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
pub unsafe extern "C" fn FLBPluginExitCtx(context: *mut c_void) -> c_int {
    entry(DOOR, abi::FLB_OK, || {
        if let Some(instance) = OUTPUTS.remove(context) {
            instance.close(|live| {
                drop(live.watch);
                live.output.close();
            });
        }
        abi::FLB_OK
    })
}
