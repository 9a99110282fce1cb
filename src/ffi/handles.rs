//! Instances behind the pointers that the host keeps for us.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::guard::guard;
use super::host::Host;
use super::log::InstanceLog;
use crate::plugin::{Log, LogLevel};

/// A filter or an output with what surrounds it.
pub struct Instance<P> {
    plugin: P,
    log: Arc<InstanceLog>,
    panics: AtomicU64,
}

impl<P> Instance<P> {
    /// An instance that writes to that log.
    pub fn new(plugin: P, log: Arc<InstanceLog>) -> Instance<P> {
        Instance {
            plugin,
            log,
            panics: AtomicU64::new(0),
        }
    }

    /// Calls the plugin and prints the log. `None` after a panic, which is
    /// counted; the first one is logged with its `consequence`.
    pub fn call<T>(&self, host: &Host, consequence: &str, body: impl FnOnce(&P) -> T) -> Option<T> {
        let result = guard(|| body(&self.plugin));
        if let Err(panic) = &result
            && self.panics.fetch_add(1, Ordering::Relaxed) == 0
        {
            let line = format!("{panic}; {consequence}; the next ones are only counted");
            self.log.log(LogLevel::Error, &line);
        }
        self.log.print(host);
        result.ok()
    }

    /// Ends the plugin and prints the rest of the log.
    pub fn close(self, host: &Host, body: impl FnOnce(P)) {
        if let Err(panic) = guard(|| body(self.plugin)) {
            self.log.log(LogLevel::Error, &panic.to_string());
        }
        let panics = self.panics.into_inner();
        if panics > 0 {
            let line = format!("{panics} calls ended in an internal error");
            self.log.log(LogLevel::Error, &line);
        }
        self.log.print(host);
    }
}

/// The live instances of one door.
///
/// The host keeps a pointer per instance and gives it back with every call. The
/// pointer is only compared, never followed: after exit, or when the host mixes
/// up its contexts, a call finds nothing instead of freed memory.
pub struct Handles<T>(Mutex<Vec<Arc<T>>>);

impl<T> Handles<T> {
    /// No instance yet.
    pub const fn new() -> Handles<T> {
        Handles(Mutex::new(Vec::new()))
    }

    /// Keeps an instance; the result is what the host gets, never null.
    pub fn insert(&self, instance: T) -> *mut c_void {
        let instance = Arc::new(instance);
        let handle = handle(&instance);
        self.lock().push(instance);
        handle
    }

    /// The instance behind a handle.
    pub fn get(&self, wanted: *const c_void) -> Option<Arc<T>> {
        let live = self.lock();
        live.iter()
            .find(|live| handle(live) == wanted.cast_mut())
            .cloned()
    }

    /// Forgets an instance and gives it back, unless a call still uses it: then
    /// that call ends it.
    pub fn remove(&self, wanted: *const c_void) -> Option<T> {
        let mut live = self.lock();
        let at = live
            .iter()
            .position(|live| handle(live) == wanted.cast_mut())?;
        Arc::into_inner(live.swap_remove(at))
    }

    /// How many instances live.
    pub fn len(&self) -> usize {
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
mod tests {
    use super::*;
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
}
