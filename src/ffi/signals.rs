//! Threads of the plugin take none of the host's signals.

use std::mem::MaybeUninit;
use std::ptr;

/// Calls `body` with all signals blocked, so that threads started by it never
/// take one. Signals are the host's: 2.1 even reloads inside its signal handler, and
/// on a thread of the plugin would wait there for that thread to end.
pub(super) fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: a place for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set is filled, and `before` is a place for another one; the mask is that
    // of this thread alone.
    let changed =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr()) };
    let result = body();
    if changed == 0 {
        // SAFETY: the mask was written by the call above, which succeeded.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    }
    result
}
