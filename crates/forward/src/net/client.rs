//! Public interface of the client: start, flush, resume, shut down.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::chunk_table::{ChunkState, ChunkTable};
use super::config::{Config, StartError};
use super::connection::Opener;
use super::node::Node;
use super::observer::{ClientEvent, Observer, Reporter};
use super::rng::Rng;
use super::shared::{Flow, Phase, Shared, State};
use super::socket::Waker;
use super::worker::Worker;
use crate::protocol::chunk::{ChunkKey, ChunkStatus};
use crate::protocol::frames::Batch;
use crate::time::after;

/// Longest time that a flush blocks its caller for want of memory.
const HOLD: Duration = Duration::from_millis(50);

/// Result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Every record was acknowledged, or there was none to send.
    Delivered,
    /// Not delivered yet: hand the same tag and chunk over again later.
    Retry(Reason),
    /// Not delivered yet: keep tag and chunk, and [resume](Client::resume) the call
    /// once [`Client::ready`] returns it.
    Waits(Call),
}

/// Handle of a flush that waits for its chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call(ChunkKey);

/// Reason why a chunk is not delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The client is sending the chunk.
    #[error("not acknowledged yet; delivery continues in the background")]
    UnderWay,
    /// The client waits for the host to hand the chunk over again.
    #[error("refused by the receiver, or repeatedly lost with the connection")]
    GivenBack,
    /// The client has no memory left for the chunk.
    #[error("no memory left: too many bytes wait for their acknowledgement")]
    Full,
    /// The client's thread has ended.
    #[error("the client has ended")]
    Ended,
}

/// Client of the Forward protocol with a thread of its own; see the
/// [module](super).
pub struct Client {
    shared: Arc<Shared>,
    flush_wait: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts the thread, which connects at once. The thread calls `prepare` to turn
    /// a tag and a chunk into entries, one batch for each tag that they are sent
    /// with. A chunk without entries counts as delivered.
    pub fn start(
        config: Config,
        prepare: impl FnMut(&[u8], &[u8]) -> Vec<Batch> + Send + 'static,
        observer: Arc<dyn Observer>,
    ) -> Result<Client, StartError> {
        if config.nodes.is_empty() {
            return Err(StartError::NoEndpoint);
        }
        let openers = config
            .connections()
            .map(|node| Opener::new(node, &config))
            .collect::<Result<Vec<_>, _>>()?;
        let signal = Arc::new(Waker::new()?);
        let mut reporter = Reporter::new(observer, Arc::clone(&signal));
        let unverified = |node: &&Node| node.tls.as_ref().is_some_and(|tls| !tls.verify);
        let nodes: Vec<_> = config.nodes.iter().filter(unverified).collect();
        if !nodes.is_empty() {
            let nodes: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
            let nodes = nodes.join(", ");
            reporter.event(&ClientEvent::NotVerified { nodes }, Instant::now());
        }
        let rng = Rng::new().map_err(StartError::Random)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                chunk_table: ChunkTable::new(config.memory),
                flow: Flow::Flowing,
                phase: Phase::Running,
            }),
            changed: Condvar::new(),
            waker: Arc::new(Waker::new()?),
            signal,
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

    /// Hands a chunk over. Blocks the caller for up to 50 ms if there is no memory
    /// left while other chunks are being delivered, so that a host that reads
    /// without limit slows down to the pace of its receivers.
    pub fn flush(&self, tag: &[u8], chunk: &[u8]) -> Flushed {
        let mut state = self.shared.lock();
        if state.phase == Phase::Ended {
            return Flushed::Retry(Reason::Ended);
        }
        let until = after(Instant::now(), self.flush_wait);
        let key = state.chunk_table.attach(tag, chunk, until);
        if state.chunk_table.is_next(key) && state.flow == Flow::Flowing {
            state = self.hold(state, key);
        }
        self.answer(state, key, tag, chunk)
    }

    /// Continues a flush, with the same tag and chunk.
    pub fn resume(&self, call: Call, tag: &[u8], chunk: &[u8]) -> Flushed {
        self.answer(self.shared.lock(), call.0, tag, chunk)
    }

    /// Returns the calls to resume now.
    pub fn ready(&self) -> Vec<Call> {
        self.shared.signal.rest();
        let ready = self.shared.lock().chunk_table.take_ready();
        ready.into_iter().map(Call).collect()
    }

    /// Returns a descriptor that becomes readable when there are calls to
    /// [resume](Client::ready), or events were observed, and unreadable when
    /// [`Client::ready`] is called.
    pub fn signal(&self) -> BorrowedFd<'_> {
        self.shared.signal.as_fd()
    }

    /// Waits for memory, for [`HOLD`] at most.
    fn hold<'a>(&self, state: MutexGuard<'a, State>, key: ChunkKey) -> MutexGuard<'a, State> {
        let waits =
            |state: &mut State| state.chunk_table.is_next(key) && state.phase != Phase::Ended;
        let waited = self.shared.changed.wait_timeout_while(state, HOLD, waits);
        let (mut state, ended) = waited.unwrap_or_else(PoisonError::into_inner);
        if ended.timed_out() {
            state.flow = Flow::Stuck;
        }
        state
    }

    fn answer(
        &self,
        mut state: MutexGuard<'_, State>,
        key: ChunkKey,
        tag: &[u8],
        chunk: &[u8],
    ) -> Flushed {
        state.chunk_table.hand_over(key, tag, chunk);
        let overdue = state.chunk_table.is_overdue(key);
        let flushed = match state.chunk_table.state(key) {
            ChunkState::Taken(ChunkStatus::Delivered) => Flushed::Delivered,
            ChunkState::Taken(ChunkStatus::Parked) | ChunkState::Released => {
                Flushed::Retry(Reason::GivenBack)
            }
            _ if state.phase == Phase::Ended => Flushed::Retry(Reason::Ended),
            ChunkState::Queued | ChunkState::Invited if overdue => Flushed::Retry(Reason::Full),
            ChunkState::Taken(ChunkStatus::Sending) if overdue => Flushed::Retry(Reason::UnderWay),
            ChunkState::Queued | ChunkState::Invited | ChunkState::Taken(ChunkStatus::Sending) => {
                Flushed::Waits(Call(key))
            }
        };
        let waits = matches!(flushed, Flushed::Waits(_));
        if !waits {
            state.chunk_table.detach(key, tag, chunk);
        }
        if state.chunk_table.has_ready() {
            self.shared.signal.wake();
        }
        if waits || state.chunk_table.has_commands() {
            self.shared.waker.wake();
        }
        flushed
    }

    /// Ends the thread. Waits for up to 2 s for acknowledgements if frames are in
    /// flight.
    pub fn shutdown(self) {}
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.change(|state| state.phase = Phase::Stopping);
        self.shared.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}
