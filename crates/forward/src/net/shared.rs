//! What callers and the client's thread share.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::chunk_table::{ChunkTable, Command};
use super::socket::Waker;

/// What callers and the thread share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    /// Wakes the thread.
    pub(super) waker: Arc<Waker>,
    /// Tells the caller that calls are ready, or that there is news.
    pub(super) signal: Arc<Waker>,
}

/// What callers and the thread know.
pub(super) struct State {
    pub(super) chunk_table: ChunkTable,
    pub(super) flow: Flow,
    pub(super) phase: Phase,
}

/// Whether waiting for room is worth holding up the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// A chunk was delivered since room was last waited for in vain.
    Flowing,
    /// None was.
    Stuck,
}

/// Life of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Stopping,
    Ended,
}

/// What the thread has to do.
pub(super) struct Orders {
    pub(super) commands: Vec<Command>,
    pub(super) phase: Phase,
    /// When to ask again, because a call will have waited long enough.
    pub(super) deadline: Option<Instant>,
}

impl Shared {
    /// Changes the state, and lets waiting calls look at it.
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

    /// What the thread has to do.
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

    /// What wakes the thread.
    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// No change panics halfway, so that a poisoned state is sound.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
