//! Events and counts that the client reports to its caller.

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
use crate::time::after;

/// Receiver of events and counts. Called on the client's thread, between I/O, so
/// its methods should return quickly.
pub trait Observer: Send + Sync {
    /// Handles an event that is worth a log line. At most one event of a kind and
    /// peer is passed on per minute; `suppressed` counts those held back since.
    fn event(&self, event: &ClientEvent, suppressed: u64);

    /// Handles a record that will never be delivered. Not limited in rate, because
    /// each one is lost data. `entry` is its `[EventTime, map]` entry.
    fn record_lost(&self, reason: &LostRecord, entry: &[u8]);

    /// Counts something.
    fn count(&self, count: Count);

    /// Handles a changed state of a node, which `node` indexes in
    /// [`Config::nodes`](super::Config::nodes). Not called before the node was
    /// first tried.
    fn node(&self, node: usize, state: NodeState);
}

/// Reason why a record is lost.
#[derive(Debug, thiserror::Error)]
pub enum LostRecord {
    /// The record is larger than any frame may be.
    #[error(transparent)]
    TooLarge(#[from] RecordTooLarge),
    /// A receiver rejected the record so often that it is given up, as configured.
    #[error("{to} rejected a record of {bytes} bytes {attempts} times")]
    Rejected {
        /// Endpoint and address.
        to: String,
        /// Size of the record.
        bytes: usize,
        /// Number of attempts.
        attempts: u32,
    },
}

/// State of a node for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Connected, or not connected because nothing had to be sent.
    Up,
    /// Not reachable, not connected since a failure, or without progress for so
    /// long that other nodes got its frames.
    Down,
}

/// Increment of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A frame, of this many bytes of entries, was given to a connection for the
    /// first time.
    FrameSent(usize),
    /// A frame, of this many bytes of entries, was given to a connection again.
    FrameResent(usize),
    /// A frame of this many records was acknowledged.
    FrameAcked(usize),
    /// A frame was split, see [`ClientEvent::FrameTooLarge`] and
    /// [`ClientEvent::FrameSplit`].
    FrameSplit,
    /// A connection was made, see [`ClientEvent::Connected`].
    ConnectionMade,
    /// A connection was lost, see [`ClientEvent::ConnectionLost`].
    ConnectionLost,
}

/// Event that is worth a log line; `Display` writes the line.
#[derive(Debug)]
pub enum ClientEvent {
    /// A connection was made, including TLS and handshake if they are configured.
    Connected {
        /// Endpoint and address.
        to: String,
    },
    /// A connection could not be made.
    ConnectFailed {
        /// Endpoint and address.
        to: String,
        /// Cause.
        error: ConnectionError,
    },
    /// Certificates of receivers are not verified. Observed once, at start.
    NotVerified {
        /// Names of the receivers, separated by commas.
        nodes: String,
    },
    /// Changed TLS files were read and are used from now on.
    TlsReloaded {
        /// Name of the receiver.
        node: String,
    },
    /// Changed TLS files are invalid; the previous ones stay in use.
    TlsNotReloaded {
        /// Name of the receiver.
        node: String,
        /// Cause.
        error: TlsSetupError,
    },
    /// A connection ended with frames in flight, or because its peer misbehaved.
    ConnectionLost {
        /// Endpoint and address.
        to: String,
        /// Cause.
        error: ConnectionError,
        /// Number of frames that have to be sent again.
        unacked: usize,
    },
    /// A node made no progress for so long that its frames go to another one.
    Silent {
        /// Endpoint and address.
        to: String,
        /// Time without progress.
        silence: Duration,
        /// Number of frames.
        frames: usize,
    },
    /// The peer closed a connection without frames in flight. A new one is made
    /// when it is needed.
    ClosedWhileIdle {
        /// Endpoint and address.
        to: String,
    },
    /// The peer closes its connections after an acknowledgement, so that each one
    /// carries a single frame from now on.
    UsedOnce {
        /// Endpoint and address.
        to: String,
    },
    /// An acknowledgement timed out, and the node has never sent one.
    NeverAcknowledged {
        /// Endpoint and address.
        to: String,
    },
    /// The node has closed several connections over their first frame, and has never
    /// sent an acknowledgement.
    ClosedUnacknowledged {
        /// Endpoint and address.
        to: String,
    },
    /// A peer did not acknowledge a frame that is larger than all that it did
    /// acknowledge. Smaller frames are sent from now on.
    FrameTooLarge {
        /// Endpoint and address.
        to: String,
        /// Bytes of entries in the frame.
        bytes: usize,
        /// Records in the frame.
        records: usize,
    },
    /// A peer that works repeatedly did not acknowledge a frame, which is split to
    /// isolate the record that it cannot store.
    FrameSplit {
        /// Endpoint and address.
        to: String,
        /// Bytes of entries in the frame.
        bytes: usize,
        /// Records in the frame.
        records: usize,
    },
    /// A frame waits until the host hands its chunk over again, because a peer
    /// refused it or repeatedly closed the connection over it.
    FrameParked {
        /// Endpoint and address.
        to: String,
        /// Bytes of entries in the frame.
        bytes: usize,
        /// Records in the frame.
        records: usize,
    },
    /// A chunk could not be turned into entries. It waits for the host to hand it
    /// over again.
    PrepareFailed(PrepareError),
    /// The client's thread had an internal error and began anew. What was not
    /// acknowledged waits for the host to hand it over again.
    Panicked,
}

/// Reason why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// Error of the operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The peer took too long.
    #[error(transparent)]
    Timeout(#[from] Timeout),
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The shared-key handshake failed. No frame was sent.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The peer acknowledged a frame, and not the one before it.
    #[error("the peer skipped a frame, and acknowledged the next one")]
    Skipped,
    /// The connection has carried the one frame that the receiver allows.
    #[error("the receiver takes one frame per connection")]
    Spent,
}

impl ConnectionError {
    /// Returns true if an operator has to change a key or a setting before another
    /// attempt can succeed.
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

/// Reason why a chunk could not be turned into entries.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The function that prepares chunks panicked.
    #[error("preparing it panicked")]
    Panicked,
    /// The function that prepares chunks returned an inconsistent batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl ClientEvent {
    /// Returns the peer of the event.
    fn subject(&self) -> &str {
        match self {
            ClientEvent::Connected { to }
            | ClientEvent::ConnectFailed { to, .. }
            | ClientEvent::ConnectionLost { to, .. }
            | ClientEvent::Silent { to, .. }
            | ClientEvent::ClosedWhileIdle { to }
            | ClientEvent::UsedOnce { to }
            | ClientEvent::NeverAcknowledged { to }
            | ClientEvent::ClosedUnacknowledged { to }
            | ClientEvent::FrameTooLarge { to, .. }
            | ClientEvent::FrameSplit { to, .. }
            | ClientEvent::FrameParked { to, .. } => to,
            ClientEvent::NotVerified { nodes } => nodes,
            ClientEvent::TlsReloaded { node } | ClientEvent::TlsNotReloaded { node, .. } => node,
            ClientEvent::PrepareFailed(_) | ClientEvent::Panicked => "",
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
                "the certificate of {nodes} is not verified: anyone on the way can read and \
                 change what is sent; turn `tls.verify` on"
            ),
            ClientEvent::TlsReloaded { node } => write!(f, "reloaded the TLS files for {node}"),
            ClientEvent::TlsNotReloaded { node, error } => write!(
                f,
                "cannot reload the TLS files for {node}, keeping the previous ones: {error}"
            ),
            ClientEvent::ConnectionLost { to, error, unacked } => write!(
                f,
                "lost the connection to {to}: {error}; {unacked} frames will be sent again"
            ),
            ClientEvent::Silent {
                to,
                silence,
                frames,
            } => write!(
                f,
                "no progress from {to} for {silence:.1?}; sending {frames} frames to another \
                 receiver"
            ),
            ClientEvent::ClosedWhileIdle { to } => write!(f, "{to} closed the idle connection"),
            ClientEvent::UsedOnce { to } => write!(
                f,
                "{to} closes the connection after an acknowledgement; sending one frame per \
                 connection (Fluentd: `deny_keepalive`)"
            ),
            ClientEvent::NeverAcknowledged { to } => write!(
                f,
                "{to} has never acknowledged a frame; if it cannot (Fluentd's `in_unix`), set \
                 `Require_ack_response off`"
            ),
            ClientEvent::ClosedUnacknowledged { to } => write!(
                f,
                "{to} closes each connection over its first frame and has never acknowledged one; \
                 if it takes no times with nanoseconds (Logstash without `nanosecond_precision`), \
                 set `Time_as_Integer on`; else see what it logs, and its limit for a frame"
            ),
            ClientEvent::FrameTooLarge { to, bytes, records } => write!(
                f,
                "{to} did not acknowledge a frame of {records} records ({bytes} bytes), maybe \
                 because of its size; sending smaller ones. Raise the receiver's limit \
                 (`buffer_max_size` of Fluent Bit, `chunk_size_limit` of Fluentd), or lower \
                 `Max_Frame`"
            ),
            ClientEvent::FrameSplit { to, bytes, records } => write!(
                f,
                "{to} repeatedly rejected a frame of {records} records ({bytes} bytes) but accepts \
                 others; splitting it to find the record that it cannot store"
            ),
            ClientEvent::FrameParked { to, bytes, records } => write!(
                f,
                "{to} does not accept a frame of {records} records ({bytes} bytes); it is retried \
                 with its chunk. Compare the size with the receiver's limits (`chunk_limit_size` \
                 of Fluentd's buffer)"
            ),
            ClientEvent::PrepareFailed(error) => {
                write!(f, "cannot prepare a chunk, it will be retried: {error}")
            }
            ClientEvent::Panicked => f.write_str(
                "internal error of the sender: connections begin anew, and chunks will be \
                 retried; this is a bug of the plugin, please report it",
            ),
        }
    }
}

/// Minimum time between two events of a kind about a peer.
const QUIET: Duration = Duration::from_secs(60);

/// Passes events on at a bounded rate.
pub(super) struct Reporter {
    observer: Arc<dyn Observer>,
    /// Wakes the caller, because the observer may have queued log lines.
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
            Some(kind) if now < after(kind.reported, QUIET) => {
                kind.suppressed = kind.suppressed.saturating_add(1);
                return;
            }
            Some(kind) => kind.suppressed,
            None => 0,
        };
        // Peers come and go, so kinds without recent events are dropped.
        self.kinds
            .retain(|_, kind| kind.suppressed > 0 || now < after(kind.reported, QUIET));
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

    pub(super) fn record_lost(&self, reason: &LostRecord, entry: &[u8]) {
        self.observer.record_lost(reason, entry);
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

        fn record_lost(&self, _: &LostRecord, _: &[u8]) {}

        fn count(&self, count: Count) {
            self.1.lock().unwrap().push(count);
        }

        fn node(&self, _: usize, _: NodeState) {}
    }

    #[test]
    fn case_59_events_come_at_once_and_then_once_a_minute() {
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
    fn suppressed_events_are_counted() {
        let lines = Arc::new(Lines::default());
        let mut reporter = Reporter::new(
            Arc::clone(&lines) as Arc<dyn Observer>,
            Arc::new(Waker::new().unwrap()),
        );
        let now = Instant::now();
        for _ in 0..2 {
            reporter.event(&ClientEvent::Connected { to: "a:1".into() }, now);
            let (error, unacked) = (ConnectionError::Closed, 1);
            let to = "a:1".into();
            reporter.event(&ClientEvent::ConnectionLost { to, error, unacked }, now);
        }
        assert_eq!(lines.0.lock().unwrap().len(), 2);
        assert_eq!(
            *lines.1.lock().unwrap(),
            [Count::ConnectionMade, Count::ConnectionLost].repeat(2)
        );
    }
}
