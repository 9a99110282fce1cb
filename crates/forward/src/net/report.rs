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
use crate::protocol::session::Doubt;
use crate::protocol::wire::WireError;

/// Where news and counts go. Called on the client's thread, between I/O; it
/// should not take long.
pub trait Report: Send + Sync {
    /// Something worth a log line. `repeated` news of the same kind and peer
    /// were held back since the last one, because there is one a minute at most.
    fn news(&self, news: &News, repeated: u64);

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
    /// A frame that a receiver may have was cut in halves, as [`News::FrameSplit`] says it.
    FrameSplit,
    /// A connection was made.
    ConnectionMade,
    /// A connection was lost, as [`News::ConnectionLost`] says it.
    ConnectionLost,
}

/// Something worth a log line; `Display` gives the line.
#[derive(Debug)]
pub enum News {
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
        error: Loss,
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
        loss: Loss,
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
pub enum Loss {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// We closed it, because the peer can't be trusted.
    #[error(transparent)]
    Doubt(#[from] Doubt),
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

impl Loss {
    /// Whether somebody has to change a key or a setting before trying again
    /// makes sense.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Loss::Handshake(error) => error.is_lasting(),
            Loss::Doubt(Doubt::Wire(error)) => {
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

impl News {
    /// The peer that it is about.
    fn subject(&self) -> &str {
        match self {
            News::Connected { to }
            | News::ConnectFailed { to, .. }
            | News::ConnectionLost { to, .. }
            | News::Silent { to, .. }
            | News::ClosedWhileIdle { to }
            | News::FrameSplit { to, .. }
            | News::FrameParked { to, .. } => to,
            News::NotVerified { nodes } => nodes,
            News::TlsReloaded { node } | News::TlsNotReloaded { node, .. } => node,
            News::PrepareFailed(_) => "",
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Connected { to } => write!(f, "connected to {to}"),
            News::ConnectFailed { to, error } => write!(f, "cannot connect to {to}: {error}"),
            News::NotVerified { nodes } => write!(
                f,
                "the certificate of {nodes} is not verified: anybody on the way can read and change what is sent"
            ),
            News::TlsReloaded { node } => {
                write!(f, "certificates and keys for {node} were read anew")
            }
            News::TlsNotReloaded { node, error } => write!(
                f,
                "certificates or keys for {node} have changed and are no good, the former ones stay in use: {error}"
            ),
            News::ConnectionLost { to, loss, unacked } => {
                write!(
                    f,
                    "lost the connection to {to}: {loss}; {unacked} frames are sent again"
                )
            }
            News::Silent {
                to,
                silence,
                frames,
            } => write!(
                f,
                "no sign of life from {to} for {silence:.1?}; {frames} frames are sent to another \
                 receiver"
            ),
            News::ClosedWhileIdle { to } => write!(f, "{to} closed the idle connection"),
            News::FrameSplit { to, bytes, records } => write!(
                f,
                "{to} takes smaller frames, and repeatedly not one of {records} records and {bytes} \
                 bytes: that is sent in halves; raise the receiver's limit, or lower `Max_Frame` \
                 (`buffer_max_size` of Fluent Bit, `chunk_size_limit` of Fluentd)"
            ),
            News::FrameParked { to, bytes, records } => write!(
                f,
                "a frame of {records} records and {bytes} bytes is given back: {to} does not \
                 take it"
            ),
            News::PrepareFailed(error) => write!(f, "a chunk is given back: {error}"),
        }
    }
}

/// A kind of news about a peer is reported at once, then at most once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// Passes news on at a bounded rate.
pub(super) struct Reporter {
    report: Arc<dyn Report>,
    /// Tells the caller that there is something to read in its log.
    signal: Arc<Waker>,
    kinds: HashMap<(Discriminant<News>, String), Kind>,
    nodes: HashMap<usize, NodeState>,
}

struct Kind {
    reported: Instant,
    held_back: u64,
}

impl Reporter {
    pub(super) fn new(report: Arc<dyn Report>, signal: Arc<Waker>) -> Reporter {
        Reporter {
            report,
            signal,
            kinds: HashMap::new(),
            nodes: HashMap::new(),
        }
    }

    pub(super) fn news(&mut self, news: &News, now: Instant) {
        match news {
            News::Connected { .. } => self.count(Count::ConnectionMade),
            News::ConnectionLost { .. } => self.count(Count::ConnectionLost),
            _ => {}
        }
        let key = (discriminant(news), news.subject().to_owned());
        let held_back = match self.kinds.get_mut(&key) {
            Some(kind) if now < kind.reported + QUIET => {
                kind.held_back += 1;
                return;
            }
            Some(kind) => kind.held_back,
            None => 0,
        };
        // Addresses come and go; those of long ago are not kept.
        self.kinds
            .retain(|_, kind| kind.held_back > 0 || now < kind.reported + QUIET);
        self.kinds.insert(
            key,
            Kind {
                reported: now,
                held_back: 0,
            },
        );
        self.report.news(news, held_back);
        self.signal.wake();
    }

    pub(super) fn record_lost(&self, error: &RecordTooLarge, entry: &[u8]) {
        self.report.record_lost(error, entry);
        self.signal.wake();
    }

    pub(super) fn count(&self, count: Count) {
        self.report.count(count);
    }

    pub(super) fn node(&mut self, node: usize, state: NodeState) {
        if self.nodes.insert(node, state) != Some(state) {
            self.report.node(node, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(String, u64)>>, Mutex<Vec<Count>>);

    impl Report for Lines {
        fn news(&self, news: &News, repeated: u64) {
            self.0.lock().unwrap().push((news.to_string(), repeated));
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
            Arc::clone(&lines) as Arc<dyn Report>,
            Arc::new(Waker::new().unwrap()),
        );
        let start = Instant::now();
        let idle = News::ClosedWhileIdle { to: "a:1".into() };
        for second in 0..125 {
            reporter.news(&idle, start + Duration::from_secs(second));
        }
        reporter.news(&News::ClosedWhileIdle { to: "b:1".into() }, start);
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
            Arc::clone(&lines) as Arc<dyn Report>,
            Arc::new(Waker::new().unwrap()),
        );
        let now = Instant::now();
        for _ in 0..2 {
            reporter.news(&News::Connected { to: "a:1".into() }, now);
            let (loss, unacked) = (Loss::Closed, 1);
            let to = "a:1".into();
            reporter.news(&News::ConnectionLost { to, loss, unacked }, now);
        }
        assert_eq!(lines.0.lock().unwrap().len(), 2);
        assert_eq!(
            *lines.1.lock().unwrap(),
            [Count::ConnectionMade, Count::ConnectionLost].repeat(2)
        );
    }
}
