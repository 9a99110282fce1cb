//! State shared between callers and the client's thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::chunk_table::{ChunkTable, Command};
use super::socket::Waker;

/// State shared between callers and the client's thread, and how they wake each other.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Wakes the thread.
    pub(super) waker: Arc<Waker>,
    /// Wakes the caller: calls are ready, or events were observed.
    pub(super) signal: Arc<Waker>,
}

/// State behind the lock.
pub(super) struct State {
    pub(super) chunk_table: ChunkTable,
    pub(super) flow: Flow,
    pub(super) phase: Phase,
}

/// Worth of blocking a caller until there is memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// A chunk was delivered since a caller last waited in vain.
    Flowing,
    /// No chunk was delivered since then.
    Stuck,
}

/// Phase of the thread's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Stopping,
    Ended,
}

/// Work for the thread.
pub(super) struct Orders {
    pub(super) commands: Vec<Command>,
    pub(super) phase: Phase,
    /// Time at which the next waiting call expires.
    pub(super) deadline: Option<Instant>,
}

impl Shared {
    /// Changes the state, and wakes callers if that concerns them.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let has_ready = state.chunk_table.has_ready();
        drop(state);
        self.changed.notify_all();
        if has_ready {
            self.signal.wake();
        }
        result
    }

    /// Returns the work for the thread, and expires waiting calls.
    pub(super) fn orders(&self, now: Instant) -> Orders {
        self.change(|state| {
            state.chunk_table.expire(now);
            Orders {
                commands: state.chunk_table.take_commands(),
                phase: state.phase,
                deadline: state.chunk_table.deadline(),
            }
        })
    }

    /// Returns the thread's waker.
    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Locks the state. A poisoned state is sound, because no change panics halfway.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
