//! What the client has to say: news for the log, counts for metrics.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::socket::Waker;
use super::tls::{TlsError, TlsSetupError};
use crate::protocol::frames::{BatchError, RecordTooLarge};
use crate::protocol::handshake::HandshakeError;
use crate::protocol::session::{ProtocolError, Timeout};
use crate::protocol::wire::WireError;

/// Where news and counts go. Called on the client's thread, between I/O; it
/// should not take long.
pub trait Observer: Send + Sync {
    /// Something worth a log line. `repeated` news of the same kind and peer
    /// were held back since the last one, because there is one a minute at most.
    fn event(&self, event: &ClientEvent, suppressed: u64);

    /// A record will never be sent. Not limited in number: each one is lost data.
    /// `entry` is its `[EventTime, map]` entry.
    fn record_lost(&self, error: &RecordTooLarge, entry: &[u8]);

    /// Something countable happened.
    fn count(&self, count: Count);

    /// A node, by its place in [`Config::nodes`](super::Config::nodes), is from
    /// now on in this state. Nothing is said of one before it was first tried.
    fn node(&self, node: usize, state: NodeState);
}

/// Whether frames find their way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It is connected, or was until the connection was closed without need.
    Up,
    /// It can't be reached, has failed and is not connected again, or keeps
    /// silent so long that others get its frames.
    Down,
}

/// Something countable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A frame of so many bytes of entries was given to a connection for the first time.
    FrameSent(usize),
    /// The same, again after a connection was lost.
    FrameResent(usize),
    /// A frame of so many records was acknowledged.
    FrameAcked(usize),
    /// A frame that a receiver may have was cut in halves, as [`ClientEvent::FrameSplit`] says it.
    FrameSplit,
    /// A connection was made.
    ConnectionMade,
    /// A connection was lost, as [`ClientEvent::ConnectionLost`] says it.
    ConnectionLost,
}

/// Something worth a log line; `Display` gives the line.
#[derive(Debug)]
pub enum ClientEvent {
    /// A connection was made, secured and authenticated as far as that is set.
    Connected {
        /// Endpoint and address.
        to: String,
    },
    /// A connection could not be made.
    ConnectFailed {
        /// Endpoint and address.
        to: String,
        /// Why.
        error: ConnectionError,
    },
    /// Receivers whose certificates are not verified; said once, at start.
    NotVerified {
        /// Their names, separated by commas.
        nodes: String,
    },
    /// The files of a receiver's TLS have changed, and are used from now on.
    TlsReloaded {
        /// Its name.
        node: String,
    },
    /// They have changed, and are no good: the former ones are still used.
    TlsNotReloaded {
        /// Its name.
        node: String,
        /// Why.
        error: TlsSetupError,
    },
    /// A connection that carried unacknowledged frames, or whose peer misbehaved, is gone.
    ConnectionLost {
        /// Endpoint and address.
        to: String,
        /// Why.
        loss: ConnectionError,
        /// Frames that have to be sent again.
        unacked: usize,
    },
    /// A node has been silent for so long that others get the frames it has.
    Silent {
        /// Endpoint and address.
        to: String,
        /// How long.
        silence: Duration,
        /// The number of frames.
        frames: usize,
    },
    /// A connection without anything under way was closed by the peer; a new
    /// one is made when it is needed.
    ClosedWhileIdle {
        /// Endpoint and address.
        to: String,
    },
    /// A frame is sent in halves from now on, because a node that takes smaller
    /// ones repeatedly did not take it.
    FrameSplit {
        /// Endpoint and address.
        to: String,
        /// Bytes of entries of the whole.
        bytes: usize,
        /// Its records.
        records: usize,
    },
    /// A frame waits until the host hands its chunk over again, because the peer
    /// refused it, or loses the connection over its only record.
    FrameParked {
        /// Endpoint and address.
        to: String,
        /// Its bytes of entries.
        bytes: usize,
        /// Its records.
        records: usize,
    },
    /// A chunk could not be turned into entries; it waits for the host too.
    PrepareFailed(PrepareError),
}

/// Why a connection is gone.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The peer took too long.
    #[error(transparent)]
    Timeout(#[from] Timeout),
    /// It could not be secured, or is not any more.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The handshake did not complete. No frame was sent.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It has carried the one frame that the receiver allows on a connection.
    #[error("the receiver takes one frame per connection")]
    Spent,
}

impl ConnectionError {
    /// Whether somebody has to change a key or a setting before trying again
    /// makes sense.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            ConnectionError::Handshake(error) => error.is_lasting(),
            ConnectionError::Protocol(ProtocolError::Wire(error)) => {
                matches!(error, WireError::Handshake | WireError::Tls)
            }
            _ => false,
        }
    }
}

/// Why a chunk could not be turned into entries.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The code that prepares it panicked.
    #[error("preparing it panicked")]
    Panicked,
    /// The code that prepares it contradicts itself.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl ClientEvent {
    /// The peer that it is about.
    fn subject(&self) -> &str {
        match self {
            ClientEvent::Connected { to }
            | ClientEvent::ConnectFailed { to, .. }
            | ClientEvent::ConnectionLost { to, .. }
            | ClientEvent::Silent { to, .. }
            | ClientEvent::ClosedWhileIdle { to }
            | ClientEvent::FrameSplit { to, .. }
            | ClientEvent::FrameParked { to, .. } => to,
            ClientEvent::NotVerified { nodes } => nodes,
            ClientEvent::TlsReloaded { node } | ClientEvent::TlsNotReloaded { node, .. } => node,
            ClientEvent::PrepareFailed(_) => "",
        }
    }
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientEvent::Connected { to } => write!(f, "connected to {to}"),
            ClientEvent::ConnectFailed { to, error } => {
                write!(f, "cannot connect to {to}: {error}")
            }
            ClientEvent::NotVerified { nodes } => write!(
                f,
                "the certificate of {nodes} is not verified: anybody on the way can read and change what is sent"
            ),
            ClientEvent::TlsReloaded { node } => {
                write!(f, "certificates and keys for {node} were read anew")
            }
            ClientEvent::TlsNotReloaded { node, error } => write!(
                f,
                "certificates or keys for {node} have changed and are no good, the former ones stay in use: {error}"
            ),
            ClientEvent::ConnectionLost { to, loss, unacked } => {
                write!(
                    f,
                    "lost the connection to {to}: {loss}; {unacked} frames are sent again"
                )
            }
            ClientEvent::Silent {
                to,
                silence,
                frames,
            } => write!(
                f,
                "no sign of life from {to} for {silence:.1?}; {frames} frames are sent to another \
                 receiver"
            ),
            ClientEvent::ClosedWhileIdle { to } => write!(f, "{to} closed the idle connection"),
            ClientEvent::FrameSplit { to, bytes, records } => write!(
                f,
                "{to} takes smaller frames, and repeatedly not one of {records} records and {bytes} \
                 bytes: that is sent in halves; raise the receiver's limit, or lower `Max_Frame` \
                 (`buffer_max_size` of Fluent Bit, `chunk_size_limit` of Fluentd)"
            ),
            ClientEvent::FrameParked { to, bytes, records } => write!(
                f,
                "a frame of {records} records and {bytes} bytes is given back: {to} does not \
                 take it"
            ),
            ClientEvent::PrepareFailed(error) => write!(f, "a chunk is given back: {error}"),
        }
    }
}

/// A kind of news about a peer is reported at once, then at most once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Passes news on at a bounded rate.
pub(super) struct Reporter {
    observer: Arc<dyn Observer>,
    /// Tells the caller that there is something to read in its log.
    signal: Arc<Waker>,
    kinds: HashMap<(Discriminant<ClientEvent>, String), Kind>,
    nodes: HashMap<usize, NodeState>,
}

struct Kind {
    reported: Instant,
    suppressed: u64,
}

impl Reporter {
    pub(super) fn new(observer: Arc<dyn Observer>, signal: Arc<Waker>) -> Reporter {
        Reporter {
            observer,
            signal,
            kinds: HashMap::new(),
            nodes: HashMap::new(),
        }
    }

    pub(super) fn event(&mut self, event: &ClientEvent, now: Instant) {
        match event {
            ClientEvent::Connected { .. } => self.count(Count::ConnectionMade),
            ClientEvent::ConnectionLost { .. } => self.count(Count::ConnectionLost),
            _ => {}
        }
        let key = (discriminant(event), event.subject().to_owned());
        let suppressed = match self.kinds.get_mut(&key) {
            Some(kind) if now < kind.reported + QUIET => {
                kind.suppressed += 1;
                return;
            }
            Some(kind) => kind.suppressed,
            None => 0,
        };
        // Addresses come and go; those of long ago are not kept.
        self.kinds
            .retain(|_, kind| kind.suppressed > 0 || now < kind.reported + QUIET);
        self.kinds.insert(
            key,
            Kind {
                reported: now,
                suppressed: 0,
            },
        );
        self.observer.event(event, suppressed);
        self.signal.wake();
    }

    pub(super) fn record_lost(&self, error: &RecordTooLarge, entry: &[u8]) {
        self.observer.record_lost(error, entry);
        self.signal.wake();
    }

    pub(super) fn count(&self, count: Count) {
        self.observer.count(count);
    }

    pub(super) fn node(&mut self, node: usize, state: NodeState) {
        if self.nodes.insert(node, state) != Some(state) {
            self.observer.node(node, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(String, u64)>>, Mutex<Vec<Count>>);

    impl Observer for Lines {
        fn event(&self, event: &ClientEvent, suppressed: u64) {
            self.0.lock().unwrap().push((event.to_string(), suppressed));
        }

        fn record_lost(&self, _: &RecordTooLarge, _: &[u8]) {}

        fn count(&self, count: Count) {
            self.1.lock().unwrap().push(count);
        }

        fn node(&self, _: usize, _: NodeState) {}
    }

    #[test]
    fn case_59_news_come_at_once_and_then_once_a_minute() {
        let lines = Arc::new(Lines::default());
        let mut reporter = Reporter::new(
            Arc::clone(&lines) as Arc<dyn Observer>,
            Arc::new(Waker::new().unwrap()),
        );
        let start = Instant::now();
        let idle = ClientEvent::ClosedWhileIdle { to: "a:1".into() };
        for second in 0..125 {
            reporter.event(&idle, start + Duration::from_secs(second));
        }
        reporter.event(&ClientEvent::ClosedWhileIdle { to: "b:1".into() }, start);
        let text = "a:1 closed the idle connection".to_owned();
        let other = "b:1 closed the idle connection".to_owned();
        assert_eq!(
            *lines.0.lock().unwrap(),
            [
                (text.clone(), 0),
                (text.clone(), 59),
                (text, 59),
                (other, 0)
            ]
        );
    }

    #[test]
    fn connections_are_counted_also_where_the_news_are_held_back() {
        let lines = Arc::new(Lines::default());
        let mut reporter = Reporter::new(
            Arc::clone(&lines) as Arc<dyn Observer>,
            Arc::new(Waker::new().unwrap()),
        );
        let now = Instant::now();
        for _ in 0..2 {
            reporter.event(&ClientEvent::Connected { to: "a:1".into() }, now);
            let (loss, unacked) = (ConnectionError::Closed, 1);
            let to = "a:1".into();
            reporter.event(&ClientEvent::ConnectionLost { to, loss, unacked }, now);
        }
        assert_eq!(lines.0.lock().unwrap().len(), 2);
        assert_eq!(
            *lines.1.lock().unwrap(),
            [Count::ConnectionMade, Count::ConnectionLost].repeat(2)
        );
    }
}
