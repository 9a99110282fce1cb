//! The host's engine: coroutines that wait, and a descriptor that the engine's loop
//! watches meanwhile.
//!
//! The host runs each flush in a coroutine on its engine's thread. One that waits
//! switches to the thread's own stack, where the loop goes on; the handler of the
//! descriptor switches back to it. At an exit the host forgets coroutines that
//! still wait: values on their stacks are never dropped. So no lock and no value that
//! has to be dropped lives across [`Engine::pause`], nor a floating-point number: on
//! aarch64 the host's switch does not save those registers.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use once_cell::sync::OnceCell;

use super::bindings as abi;
use super::host::{Function, Refusal, function};

/// The host's event loop and coroutines.
pub(super) struct EngineApi {
    loop_get: Function<abi::flb_engine_evl_get_fn>,
    event_add: Function<abi::mk_event_add_fn>,
    event_del: Function<abi::mk_event_del_fn>,
    stack_active: Function<abi::co_active_fn>,
    stack_switch: Function<abi::co_switch_fn>,
    coroutine_get: Function<abi::flb_coro_get_fn>,
    coroutine_set: Function<abi::flb_coro_set_fn>,
}

impl EngineApi {
    /// Functions of this process.
    pub(super) fn get() -> Result<&'static EngineApi, Refusal> {
        static ENGINE: OnceCell<EngineApi> = OnceCell::new();
        ENGINE.get_or_try_init(|| {
            Ok(EngineApi {
                loop_get: function!(c"flb_engine_evl_get": abi::flb_engine_evl_get_fn),
                event_add: function!(c"mk_event_add": abi::mk_event_add_fn),
                event_del: function!(c"mk_event_del": abi::mk_event_del_fn),
                stack_active: function!(c"co_active": abi::co_active_fn),
                stack_switch: function!(c"co_switch": abi::co_switch_fn),
                coroutine_get: function!(c"flb_coro_get": abi::flb_coro_get_fn),
                coroutine_set: function!(c"flb_coro_set": abi::flb_coro_set_fn),
            })
        })
    }
}

/// The engine's thread: its loop, and the stack on which that runs.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    api: &'static EngineApi,
    event_loop: NonNull<abi::mk_event_loop>,
    stack: NonNull<c_void>,
}

// SAFETY: the pointers are the host's, for its engine's thread; the functions that
// give them back to the host are unsafe, and called on that thread alone.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

/// A coroutine of the host that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coroutine {
    coro: NonNull<abi::flb_coro>,
    stack: NonNull<c_void>,
}

// SAFETY: both pointers are given back to the host on the engine's thread only.
unsafe impl Send for Coroutine {}

impl Engine {
    /// The engine of this thread, which runs on its own stack now; `None` if the
    /// thread has no loop.
    pub(super) fn of_this_thread(api: &'static EngineApi) -> Option<Engine> {
        // SAFETY: may be called on any thread.
        let event_loop = unsafe { (api.loop_get)() };
        // SAFETY: as above.
        let stack = unsafe { (api.stack_active)() };
        Some(Engine {
            api,
            event_loop: NonNull::new(event_loop)?,
            stack: NonNull::new(stack)?,
        })
    }

    /// The calling coroutine; `None` outside of coroutines of this engine.
    pub(super) fn coroutine(&self) -> Option<Coroutine> {
        // SAFETY: may be called on any thread.
        let coro = unsafe { (self.api.coroutine_get)() };
        // SAFETY: as above.
        let stack = unsafe { (self.api.stack_active)() };
        let stack = NonNull::new(stack)?;
        (self.is_here() && stack != self.stack).then_some(Coroutine {
            coro: NonNull::new(coro)?,
            stack,
        })
    }

    fn is_here(&self) -> bool {
        // SAFETY: may be called on any thread.
        let event_loop = unsafe { (self.api.loop_get)() };
        event_loop == self.event_loop.as_ptr()
    }

    /// Lets the engine go on; returns when the calling coroutine is resumed.
    ///
    /// # Safety
    /// The caller runs in a [coroutine](Engine::coroutine) of this engine that the
    /// host has begun, holds no lock, and has no value on its stack that has to be
    /// dropped: it may never be resumed.
    pub(super) unsafe fn pause(&self) {
        // SAFETY: the caller is on another stack of the engine's thread, and the code on
        // the thread's own stack waits in a switch to it: the host's, which began the
        // coroutine, or that of `resume`.
        unsafe { (self.api.stack_switch)(self.stack.as_ptr()) }
    }

    /// Goes on with a coroutine until it pauses or ends.
    ///
    /// # Safety
    /// The caller runs on the engine's own stack; the coroutine [pauses](Engine::pause),
    /// and its instance has not ended.
    pub(super) unsafe fn resume(&self, coroutine: Coroutine) {
        // SAFETY: the host's own way to resume one: it looks the coroutine up when
        // that ends.
        unsafe { (self.api.coroutine_set)(coroutine.coro.as_ptr()) };
        // SAFETY: the caller guarantees that the coroutine waits for the switch. The
        // stack to return to, which the host noted when it began it, is this one.
        unsafe { (self.api.stack_switch)(coroutine.stack.as_ptr()) };
    }

    /// Makes the engine call `handler` on its own stack, with the watch's
    /// [event](Watch::is), whenever the descriptor is readable. `None` if the loop
    /// does not accept it.
    ///
    /// # Safety
    /// This is the engine's thread, and the watch is dropped on it, before the loop
    /// ends and before the descriptor is closed.
    pub(super) unsafe fn watch(
        &self,
        descriptor: BorrowedFd<'_>,
        handler: Handler,
    ) -> Option<Watch> {
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

/// A function that the engine's loop calls.
pub(super) type Handler = unsafe extern "C" fn(event: *mut c_void) -> c_int;

/// A descriptor in the engine's loop.
pub(super) struct Watch {
    engine: Engine,
    event: NonNull<abi::mk_event>,
}

// SAFETY: the event is the loop's until the watch is dropped, which its maker
// does on the engine's thread; here it is only compared.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

impl Watch {
    /// Compares with the event that a handler was called with.
    pub(super) fn is(&self, event: *const c_void) -> bool {
        ptr::eq(self.event.as_ptr().cast(), event)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (event_loop, event) = (self.engine.event_loop.as_ptr(), self.event.as_ptr());
        // SAFETY: the maker of the watch guarantees the thread; an event that is
        // not in the loop is left alone.
        unsafe { (self.engine.api.event_del)(event_loop, event) };
        // SAFETY: nobody else has the event now, which came out of a box.
        drop(unsafe { Box::from_raw(event) });
    }
}
