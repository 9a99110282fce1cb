//! Live instances, found by the pointers that the host keeps for the plugin.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use super::guard::{Panicked, guard};
use super::log::InstanceLog;
use super::names::InstanceName;
use kube_audit_plugin::{Log, LogLevel};

/// A plugin at work with its log and its name.
pub(super) struct Instance<P> {
    plugin: P,
    log: Arc<InstanceLog>,
    /// Taken for as long as the instance lives.
    _name: InstanceName,
}

impl<P> Instance<P> {
    /// An instance that writes to that log, under that name.
    pub(super) fn new(plugin: P, log: Arc<InstanceLog>, name: InstanceName) -> Instance<P> {
        Instance {
            plugin,
            log,
            _name: name,
        }
    }

    /// The plugin, for calls that neither panic nor write to the log.
    pub(super) fn plugin(&self) -> &P {
        &self.plugin
    }

    /// Calls the plugin and prints the log. After a panic, `after_panic` counts it, logs
    /// it, and gives the result.
    pub(super) fn call<T>(
        &self,
        body: impl FnOnce(&P) -> T,
        after_panic: impl FnOnce(&P, &Panicked) -> T,
    ) -> T {
        let result = guard(|| body(&self.plugin));
        let result = result.unwrap_or_else(|panic| after_panic(&self.plugin, &panic));
        self.log.print();
        result
    }

    /// Ends the plugin and prints the rest of the log.
    pub(super) fn close(self, body: impl FnOnce(P)) {
        if let Err(panic) = guard(|| body(self.plugin)) {
            self.log.log(LogLevel::Error, &panic.to_string());
        }
        self.log.print();
    }
}

/// The live instances of one plugin kind.
///
/// The host keeps a pointer per instance and gives it back with every call. The
/// pointer is only compared, never followed: after exit, or when the host mixes
/// up its contexts, a call finds nothing instead of freed memory.
pub(super) struct Handles<T>(Mutex<Vec<Arc<T>>>);

impl<T> Handles<T> {
    /// No instances yet.
    pub(super) const fn new() -> Handles<T> {
        Handles(Mutex::new(Vec::new()))
    }

    /// Keeps an instance; the result is the pointer for the host, never null.
    pub(super) fn insert(&self, instance: T) -> *mut c_void {
        let instance = Arc::new(instance);
        let handle = handle(&instance);
        self.lock().push(instance);
        handle
    }

    /// The instance of a handle.
    pub(super) fn get(&self, wanted: *const c_void) -> Option<Arc<T>> {
        self.find(|live| handle(live) == wanted.cast_mut())
    }

    /// The first instance that fits.
    pub(super) fn find(&self, fits: impl Fn(&Arc<T>) -> bool) -> Option<Arc<T>> {
        self.lock().iter().find(|live| fits(live)).cloned()
    }

    /// Forgets an instance and gives it back, unless a call still uses it: then
    /// that call ends it.
    pub(super) fn remove(&self, wanted: *const c_void) -> Option<T> {
        let mut live = self.lock();
        let at = live
            .iter()
            .position(|live| handle(live) == wanted.cast_mut())?;
        Arc::into_inner(live.swap_remove(at))
    }

    /// The number of live instances.
    #[cfg(any(feature = "output", test))]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handle<T>(instance: &Arc<T>) -> *mut c_void {
    Arc::as_ptr(instance).cast_mut().cast()
}

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "tests")]
mod tests {
    use super::*;
    use crate::ffi::PluginKind;
    use crate::ffi::guard::entry;
    use crate::ffi::log::fake;
    use crate::ffi::names::Names;
    use std::ptr;

    #[test]
    fn only_live_handles_are_found() {
        let handles = Handles::new();
        let a = handles.insert("a".to_owned());
        let b = handles.insert("b".to_owned());
        assert_eq!(handles.get(a).as_deref().map(String::as_str), Some("a"));
        assert_eq!(handles.remove(a), Some("a".to_owned()));
        assert_eq!(handles.remove(a), None);
        assert!(handles.get(a).is_none());
        assert!(handles.get(ptr::null()).is_none());
        assert_eq!(handles.len(), 1);

        let in_use = handles.get(b);
        assert_eq!(handles.remove(b), None);
        assert_eq!(in_use.as_deref().map(String::as_str), Some("b"));
    }

    /// A coroutine of the hosts before 5.1.0, of which the callback may use this much.
    const STACK: usize = 24 * 1024;
    const MOST_STACK: usize = 16 * 1024;

    #[test]
    fn a_panic_and_its_log_line_fit_a_coroutine() {
        static NAMES: Names = Names::new();
        let log = Arc::new(InstanceLog::new(fake::PRINTER, PluginKind::Filter, "test"));
        let instance = Instance::new((), Arc::clone(&log), NAMES.take("test"));
        // The hook that entry points put in place.
        assert_eq!(entry(PluginKind::Filter, 0, || 1), 1);
        let used = stack::used(STACK, || {
            let result = instance.call(
                |()| -> u32 { panic!("{} of {}", 1, "many") },
                |(), panic| {
                    log.log(LogLevel::Error, &format!("{panic}; nothing is lost"));
                    7
                },
            );
            assert_eq!(result, 7);
        });
        assert!(used <= MOST_STACK, "{used} bytes");
        let lines = fake::printed();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let (start, end) = (
            "[filter:kube_audit:test] internal error: ",
            "1 of many; nothing is lost",
        );
        assert!(
            lines[0].starts_with(start) && lines[0].contains(end),
            "{lines:?}"
        );
    }

    /// Calls on a fresh stack.
    mod stack {
        use std::ffi::c_void;
        use std::mem::MaybeUninit;
        use std::ptr;

        /// Runs `body` on a fresh stack of that size; the result is the number of bytes used.
        pub fn used(size: usize, body: impl FnOnce()) -> usize {
            const PAINT: u8 = 0x5c;
            let mut stack = vec![PAINT; size];
            let mut body = Some(body);
            run(&mut stack, &mut || {
                if let Some(body) = body.take() {
                    body();
                }
            });
            let untouched = stack.iter().take_while(|&&byte| byte == PAINT).count();
            assert!(untouched > 0, "the stack overflowed");
            size - untouched
        }

        fn run(stack: &mut [u8], body: &mut dyn FnMut()) {
            extern "C" fn trampoline(low: u32, high: u32) {
                let address = u64::from(high) << 32 | u64::from(low);
                let body: *mut &mut dyn FnMut() =
                    ptr::with_exposed_provenance_mut(address as usize);
                // SAFETY: `run` passed the address of its own variable and waits for us.
                unsafe { (*body)() }
            }
            let mut body = body;
            let address = (&raw mut body).expose_provenance() as u64;
            // SAFETY: both contexts live until the switch comes back here, which it
            // does when the trampoline returns; the stack outlives it.
            unsafe {
                let mut here = MaybeUninit::<libc::ucontext_t>::uninit();
                let mut there = MaybeUninit::<libc::ucontext_t>::uninit();
                assert_eq!(libc::getcontext(there.as_mut_ptr()), 0);
                let there = there.as_mut_ptr();
                (*there).uc_stack.ss_sp = stack.as_mut_ptr().cast::<c_void>();
                (*there).uc_stack.ss_size = stack.len();
                (*there).uc_link = here.as_mut_ptr();
                libc::makecontext(
                    there,
                    std::mem::transmute::<extern "C" fn(u32, u32), extern "C" fn()>(trampoline),
                    2,
                    address as u32,
                    (address >> 32) as u32,
                );
                assert_eq!(libc::swapcontext(here.as_mut_ptr(), there), 0);
            }
        }
    }
}
