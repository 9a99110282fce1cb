//! What callers and the client's thread share.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::ledger::{Command, Ledger};
use super::patience::Patience;
use super::socket::Waker;

/// What callers and the thread share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
    pub(super) waker: Arc<Waker>,
}

/// What callers and the thread know.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) patience: Patience,
    pub(super) phase: Phase,
}

/// Life of the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Stopping,
    Ended,
}

impl Shared {
    /// Changes the state and lets waiting calls look at it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// What the thread has to do, and whether it goes on.
    pub(super) fn take_commands(&self) -> (Vec<Command>, Phase) {
        let mut state = self.lock();
        (state.ledger.take_commands(), state.phase)
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
