//! The client as its caller sees it: start, flush, shut down.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::config::{Config, StartError};
use super::connection::Opener;
use super::ledger::{Ledger, Standing};
use super::node::Node;
use super::report::{News, Report, Reporter};
use super::rng::Rng;
use super::shared::{Peer, Phase, Shared, State};
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
    flush_wait: Duration,
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
                peer: Peer::Prompt,
                phase: Phase::Running,
            }),
            changed: Condvar::new(),
            waker: Arc::new(Waker::new()?),
        });
        let flush_wait = config.flush_wait;
        let worker = Worker::new(config, openers, Arc::clone(&shared), prepare, reporter, rng);
        let thread = Builder::new()
            .name("kube-audit-fwd".into())
            .spawn(move || worker.run())?;
        Ok(Client {
            shared,
            flush_wait,
            thread: Some(thread),
        })
    }

    /// Hands a chunk over and waits for it, but no longer than
    /// [`Config::flush_wait`], and only until it is prepared while the peer is
    /// known to be slower than that or away.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Flushed {
        let mut state = self.shared.lock();
        if state.phase == Phase::Ended {
            return Flushed::Retry(Reason::Ended);
        }
        let Some(call) = state.ledger.attach(tag, chunk) else {
            return Flushed::Retry(Reason::Full);
        };
        self.shared.waker.wake();
        let (mut state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, self.flush_wait, |state| {
                let worth_while = match state.ledger.standing(&call) {
                    // Perhaps nothing of it is to be sent.
                    Standing::Unprepared => true,
                    Standing::UnderWay => state.peer == Peer::Prompt,
                    Standing::Parked | Standing::Delivered => false,
                };
                worth_while && state.phase != Phase::Ended
            })
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            state.peer = Peer::Slow;
        }
        match state.ledger.detach(call, tag, chunk) {
            Standing::Delivered => Flushed::Delivered,
            Standing::Unprepared | Standing::UnderWay => Flushed::Retry(Reason::UnderWay),
            Standing::Parked => Flushed::Retry(Reason::GivenBack),
        }
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
