//! Configuration of a client, and errors of its start.

use std::io;
use std::iter::repeat_n;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use super::balancer::Delivery;
use super::lookup::Resolver;
use super::node::Node;
use super::tls::TlsSetupError;
use crate::protocol::frames::Caps;
use crate::protocol::handshake;
use crate::protocol::session::Limits;
use crate::protocol::wire::ExtraOption;

/// Configuration of a client.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receivers; at least one.
    pub nodes: Vec<Node>,
    /// Distribution of frames over the receivers. Default by weight.
    pub delivery: Delivery,
    /// Longest time that a flush waits for its chunk to be acknowledged before the
    /// host is asked to hand it over again. Default 10 s, enough for a receiver to
    /// restart. The host is not blocked in the meantime.
    pub flush_wait: Duration,
    /// Time limit of a name look-up, and of connecting to one address. Default 5 s.
    pub connect_timeout: Duration,
    /// Longest time without progress before a node's frames are also sent to
    /// another node that is up. Default 3 s; `suspect_after` for a node that has
    /// acknowledged nothing since it failed. After twice this time the silent
    /// node's connection is closed.
    pub failover_after: Duration,
    /// Time without progress after which other nodes are preferred. Default 250 ms.
    pub suspect_after: Duration,
    /// Idle time after which a connection is closed. Default 30 s, because load
    /// balancers drop idle connections silently.
    pub idle_timeout: Duration,
    /// Age at which a connection is replaced by a new one, between frames, so that
    /// added receivers get their share. Default 10 minutes. Each connection's age
    /// is shortened at random, by half at most.
    pub rotate_after: Duration,
    /// Resolver of host names. Default the system's.
    pub resolver: Resolver,
    /// Time limits until a connection is ready.
    pub timers: Timers,
    /// Window and timers of a connection.
    pub limits: Limits,
    /// Largest frames.
    pub caps: Caps,
    /// The user's own options in every frame. Default none.
    pub extra_options: Arc<[ExtraOption]>,
    /// Number of rejections by working receivers after which a single record is given
    /// up and reported as lost. Default none: the host decides, by its retries.
    pub give_up_after: Option<NonZeroU32>,
    /// Connections to each receiver, for receivers that spread connections over
    /// workers. Frames on a slow connection are not sent over another one to the same
    /// receiver. Default 1, and of no effect with [`Delivery::Ordered`].
    pub connections: NonZeroUsize,
    /// Memory for chunks, in bytes. Default 8 MiB, about four chunks.
    pub memory: usize,
}

impl Config {
    /// Creates the default configuration for these receivers.
    pub fn new(nodes: Vec<Node>) -> Config {
        Config {
            nodes,
            delivery: Delivery::default(),
            flush_wait: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            failover_after: Duration::from_secs(3),
            suspect_after: Duration::from_millis(250),
            idle_timeout: Duration::from_secs(30),
            rotate_after: Duration::from_secs(600),
            resolver: Resolver::default(),
            timers: Timers::default(),
            limits: Limits::default(),
            caps: Caps::default(),
            extra_options: Arc::default(),
            give_up_after: None,
            connections: NonZeroUsize::MIN,
            memory: 8 << 20,
        }
    }
}

impl Config {
    /// Returns the node of each connection, the connections of a node in a row.
    pub(super) fn connections(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter();
        nodes.flat_map(|node| repeat_n(node, self.connections.get()))
    }
}

/// Reason why a client could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No receiver is configured.
    #[error("no endpoint is given; write `host:port`, `tcp://host:port` or `unix:/path`")]
    NoEndpoint,
    /// TLS to a receiver cannot be set up.
    #[error("{node}: {error}")]
    Tls {
        /// Name of the receiver.
        node: String,
        /// Cause.
        error: TlsSetupError,
    },
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// The system refused a thread or a file descriptor.
    #[error("cannot start the thread: {0}")]
    Thread(#[from] io::Error),
}

/// Time limits until a connection is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Of the TLS handshake. Default 10 s.
    pub tls: Duration,
    /// Of the shared-key handshake.
    pub handshake: handshake::Timers,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            tls: Duration::from_secs(10),
            handshake: handshake::Timers::default(),
        }
    }
}
