//! The client as its caller sees it: start, flush, shut down.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::choice::Delivery;
use super::connection::{Opener, Timers};
use super::ledger::{Command, Ledger, Standing};
use super::lookup::Resolver;
use super::node::Node;
use super::report::{News, Report, Reporter};
use super::rng::Rng;
use super::socket::Waker;
use super::tls::TlsSetupError;
use super::worker::Worker;
use crate::forward::frames::{Batch, Caps};
use crate::forward::session::Limits;
use crate::forward::wire::ExtraOption;

/// How a client works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receivers; at least one.
    pub nodes: Vec<Node>,
    /// How frames are spread over them. Default by weight.
    pub delivery: Delivery,
    /// How long a flush waits at most. Default 500 ms: it stops all of Fluent
    /// Bit in the meantime.
    pub flush_wait: Duration,
    /// How long a look-up, or one address of a receiver, may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long a node may keep silent with frames of ours before another one
    /// that is up gets them too. Default 3 s. A node that has yet to acknowledge
    /// its first frame since it failed has a half of `flush_wait`. After twice
    /// this time its connection is given up.
    pub failover_after: Duration,
    /// After how long without use a connection is closed. Default 30 s: load
    /// balancers forget idle ones without a word.
    pub idle_timeout: Duration,
    /// After how long a connection makes room for a new one, between frames, so
    /// that receivers which were added get their share. Default 10 minutes; the
    /// time of each connection is shortened by up to a half by chance.
    pub rotate_after: Duration,
    /// How names become addresses. Default the system's way.
    pub resolver: Resolver,
    /// Timers until a connection is ready.
    pub timers: Timers,
    /// Window and timers of a connection.
    pub limits: Limits,
    /// Sizes of frames.
    pub caps: Caps,
    /// What every frame says besides what the protocol needs. Default nothing.
    pub extra_options: Arc<[ExtraOption]>,
    /// Bytes of chunks that may be held. Default 8 MiB, about four chunks.
    pub memory: usize,
}

impl Config {
    /// The defaults for these receivers.
    pub fn new(nodes: Vec<Node>) -> Config {
        Config {
            nodes,
            delivery: Delivery::default(),
            flush_wait: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(5),
            failover_after: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(30),
            rotate_after: Duration::from_secs(600),
            resolver: Resolver::default(),
            timers: Timers::default(),
            limits: Limits::default(),
            caps: Caps::default(),
            extra_options: Arc::default(),
            memory: 8 << 20,
        }
    }

    /// How long a node may owe progress before others are preferred: late
    /// enough to tell a stall, early enough for a flush to end well elsewhere.
    pub(super) fn least_patience(&self) -> Duration {
        self.flush_wait / 2
    }
}

/// Why a client could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nobody to send to.
    #[error("no endpoint is given; write `host:port`, `tcp://host:port` or `unix:/path`")]
    NoEndpoint,
    /// TLS to a receiver cannot be set up.
    #[error("{node}: {error}")]
    Tls {
        /// Its name.
        node: String,
        /// Why.
        error: TlsSetupError,
    },
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// The system gives no thread or descriptor.
    #[error("cannot start the thread: {0}")]
    Thread(#[from] io::Error),
}

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
    /// makes entries of a tag and a chunk. An empty batch is delivered.
    pub fn start(
        config: Config,
        prepare: impl FnMut(&[u8], &[u8]) -> Batch + Send + 'static,
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

/// What callers and the thread share.
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    waker: Arc<Waker>,
}

/// What callers and the thread know.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) peer: Peer,
    pub(super) phase: Phase,
}

/// Whether waiting for the peer is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// As far as known, it answers within a flush.
    Prompt,
    /// It took longer the last time, or can't be reached.
    Slow,
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
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
