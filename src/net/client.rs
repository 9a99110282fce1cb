//! The client as its caller sees it: start, flush, shut down.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::config::{Config, StartError};
use super::connection::Opener;
use super::ledger::{Ledger, Standing};
use super::node::Node;
use super::patience::{Allowance, Patience};
use super::report::{News, Report, Reporter};
use super::rng::Rng;
use super::shared::{Phase, Shared, State};
use super::socket::Waker;
use super::worker::Worker;
use crate::forward::frames::Batch;

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Every record was acknowledged, or there was none to send.
    Delivered,
    /// Not yet: hand the same tag and chunk over again later.
    Retry(Reason),
}

/// Why a chunk is not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The client has it and works on it.
    #[error("not acknowledged yet, delivery goes on")]
    UnderWay,
    /// The client has given up on it for now.
    #[error("refused by the receiver, or lost with the connection repeatedly")]
    GivenBack,
    /// The client holds as much as it may and did not take it.
    #[error("too much is waiting for acknowledgement")]
    Full,
    /// The client's thread has ended.
    #[error("the client has ended")]
    Ended,
}

/// Sends chunks with one thread; see the [module](super).
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts the thread, which connects at once. `prepare` runs on it and
    /// makes entries of a tag and a chunk, a batch for each tag under which they
    /// are sent. A chunk without entries is delivered.
    pub fn start(
        config: Config,
        prepare: impl FnMut(&[u8], &[u8]) -> Vec<Batch> + Send + 'static,
        report: Arc<dyn Report>,
    ) -> Result<Client, StartError> {
        if config.nodes.is_empty() {
            return Err(StartError::NoEndpoint);
        }
        let openers = config
            .nodes
            .iter()
            .map(|node| Opener::new(node, &config))
            .collect::<Result<Vec<_>, _>>()?;
        let mut reporter = Reporter::new(report);
        let unverified = |node: &&Node| node.tls.as_ref().is_some_and(|tls| !tls.verify);
        let nodes: Vec<_> = config.nodes.iter().filter(unverified).collect();
        if !nodes.is_empty() {
            let nodes: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
            let nodes = nodes.join(", ");
            reporter.news(&News::NotVerified { nodes }, Instant::now());
        }
        let rng = Rng::new().map_err(StartError::Random)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                ledger: Ledger::new(config.memory),
                patience: Patience::new(config.flush_wait, config.flush_rest, Instant::now()),
                phase: Phase::Running,
            }),
            changed: Condvar::new(),
            waker: Arc::new(Waker::new()?),
        });
        let worker = Worker::new(config, openers, Arc::clone(&shared), prepare, reporter, rng);
        let thread = Builder::new()
            .name("kube-audit-fwd".into())
            .spawn(move || worker.run())?;
        Ok(Client {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands a chunk over and waits for it, but no longer than
    /// [`Config::flush_wait`] for the peer, and not at all while the peer is known
    /// to be slow or away and [`Config::flush_rest`] goes on.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Flushed {
        let mut state = self.shared.lock();
        if state.phase == Phase::Ended {
            return Flushed::Retry(Reason::Ended);
        }
        let Some(call) = state.ledger.attach(tag, chunk) else {
            return Flushed::Retry(Reason::Full);
        };
        self.shared.waker.wake();
        let begun = Instant::now();
        let allowance = state.patience.allow(begun);
        let (state, _) = self.wait_while(state, allowance.prepared, |state| {
            state.ledger.standing(&call) == Standing::Unprepared
        });
        let prepared = Instant::now();
        let (mut state, timed_out) = self.wait_while(state, allowance.answered, |state| {
            state.ledger.standing(&call) == Standing::UnderWay && state.patience.is_hopeful()
        });
        let ended = Instant::now();
        let waited = Allowance {
            prepared: prepared - begun,
            answered: ended - prepared,
        };
        state.patience.waited(waited, ended);
        if timed_out && !allowance.answered.is_zero() {
            state.patience.disappointed();
        }
        match state.ledger.detach(call, tag, chunk) {
            Standing::Delivered => Flushed::Delivered,
            Standing::Unprepared | Standing::UnderWay => Flushed::Retry(Reason::UnderWay),
            Standing::Parked => Flushed::Retry(Reason::GivenBack),
        }
    }

    /// Waits as long as something is so and the thread runs; whether time ran out.
    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        longest: Duration,
        mut is_so: impl FnMut(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        let waits = |state: &mut State| is_so(state) && state.phase != Phase::Ended;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, longest, waits);
        let (state, ended) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, ended.timed_out())
    }

    /// Ends the thread. Where frames are under way on a connection, it goes on
    /// for up to 2 s to learn what becomes of them.
    pub fn shutdown(self) {}
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.change(|state| state.phase = Phase::Stopping);
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so itself.
            let _ = thread.join();
        }
    }
}
