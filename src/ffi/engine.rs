//! The host's engine as an output needs it: a coroutine that waits, and a
//! descriptor that the engine's loop watches meanwhile.
//!
//! The host runs each flush in a coroutine on its engine's thread. One that waits
//! switches to the thread's own stack, where the loop goes on; the handler of the
//! descriptor switches back to it. At an exit the host forgets coroutines that
//! still wait: what they have on their stacks is never dropped. So nothing that has
//! to be dropped, and no lock, lives across [`Engine::pause`]. Nor does a number
//! with a fraction: on aarch64 the host's switch keeps no registers of those.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use super::bindings as abi;
use super::host::EngineApi;

/// The engine's thread: its loop, and the stack on which that runs.
#[derive(Clone, Copy)]
pub struct Engine {
    api: &'static EngineApi,
    event_loop: NonNull<abi::mk_event_loop>,
    stack: NonNull<c_void>,
}

// SAFETY: the pointers are names of the host's, which it gave for its engine's
// thread; what gives them back to the host is unsafe, for that thread alone.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

/// A coroutine of the host that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coroutine {
    coro: NonNull<abi::flb_coro>,
    stack: NonNull<c_void>,
}

// SAFETY: both are names of the host's, that are given back to it on the engine's
// thread only.
unsafe impl Send for Coroutine {}

impl Engine {
    /// The engine of this thread, which runs on its own stack now; `None` if the
    /// thread has no loop.
    pub fn of_this_thread(api: &'static EngineApi) -> Option<Engine> {
        // SAFETY: both may be called on any thread.
        let (event_loop, stack) = unsafe { ((api.loop_get)(), (api.stack_active)()) };
        Some(Engine {
            api,
            event_loop: NonNull::new(event_loop)?,
            stack: NonNull::new(stack)?,
        })
    }

    /// The coroutine that calls; `None` where there is none that could wait.
    pub fn coroutine(&self) -> Option<Coroutine> {
        // SAFETY: both may be called on any thread.
        let (coro, stack) = unsafe { ((self.api.coroutine_get)(), (self.api.stack_active)()) };
        let stack = NonNull::new(stack)?;
        (self.is_here() && stack != self.stack).then_some(Coroutine {
            coro: NonNull::new(coro)?,
            stack,
        })
    }

    fn is_here(&self) -> bool {
        // SAFETY: may be called on any thread.
        unsafe { (self.api.loop_get)() == self.event_loop.as_ptr() }
    }

    /// Lets the engine go on; returns when the coroutine that calls is resumed.
    ///
    /// # Safety
    /// The caller runs in a [coroutine](Engine::coroutine) of this engine that the
    /// host has begun, holds no lock, and has nothing on its stack that has to be
    /// dropped: it may never be resumed.
    pub unsafe fn pause(&self) {
        // SAFETY: the caller is on another stack of the engine's thread, and what
        // runs on the thread's own stack waits in a switch to it: that of the host
        // which began the coroutine, or that of `resume`.
        unsafe { (self.api.stack_switch)(self.stack.as_ptr()) }
    }

    /// Goes on with a coroutine until it pauses or ends.
    ///
    /// # Safety
    /// The caller runs on the engine's own stack; the coroutine [pauses](Engine::pause),
    /// and its instance has not ended.
    pub unsafe fn resume(&self, coroutine: Coroutine) {
        // SAFETY: the host's own way to resume one: it looks the coroutine up when
        // that ends. The caller guarantees that it waits for the switch. The host
        // noted the stack to return to when it began the coroutine, which is ours too.
        unsafe {
            (self.api.coroutine_set)(coroutine.coro.as_ptr());
            (self.api.stack_switch)(coroutine.stack.as_ptr());
        }
    }

    /// Has `handler` called on the engine's own stack, with the watch's
    /// [event](Watch::is), whenever the descriptor is readable. `None` if the loop
    /// does not take it.
    ///
    /// # Safety
    /// This is the engine's thread, and the watch is dropped on it, before the loop
    /// ends and before the descriptor is closed.
    pub unsafe fn watch(&self, descriptor: BorrowedFd<'_>, handler: Handler) -> Option<Watch> {
        let no_list = abi::mk_list {
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
        };
        let event = Box::new(abi::mk_event {
            fd: -1,
            type_: abi::MK_EVENT_CUSTOM,
            mask: abi::MK_EVENT_EMPTY as u32,
            status: abi::MK_EVENT_NONE as u8,
            data: ptr::null_mut(),
            handler: Some(handler),
            _head: no_list,
            _priority_head: no_list,
            priority: 0,
        });
        let watch = Watch {
            engine: *self,
            event: NonNull::from(Box::leak(event)),
        };
        // SAFETY: the caller guarantees thread and descriptor; the event lives
        // until the watch takes it out of the loop.
        let added = unsafe {
            (self.api.event_add)(
                self.event_loop.as_ptr(),
                descriptor.as_raw_fd(),
                abi::MK_EVENT_CUSTOM,
                abi::MK_EVENT_READ as u32,
                watch.event.as_ptr().cast(),
            )
        };
        (added == 0).then_some(watch)
    }
}

/// What the engine's loop calls.
pub type Handler = unsafe extern "C" fn(event: *mut c_void) -> c_int;

/// A descriptor in the engine's loop.
pub struct Watch {
    engine: Engine,
    event: NonNull<abi::mk_event>,
}

// SAFETY: the event is the loop's until the watch is dropped, which its maker
// does on the engine's thread; here it is only compared.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    /// Whether this is the event that a handler was called with.
    pub fn is(&self, event: *const c_void) -> bool {
        ptr::eq(self.event.as_ptr().cast(), event)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: whoever made the watch guarantees the thread; an event that is
        // not in the loop is left alone. Afterwards nobody else has the event,
        // which came out of a box.
        unsafe {
            (self.engine.api.event_del)(self.engine.event_loop.as_ptr(), self.event.as_ptr());
            drop(Box::from_raw(self.event.as_ptr()));
        }
    }
}
