//! How a client works, and why it may not start.

use std::io;
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

/// How a client works.
#[derive(Clone, Debug)]
pub struct Config {
    /// Receivers; at least one.
    pub nodes: Vec<Node>,
    /// How frames are spread over them. Default by weight.
    pub delivery: Delivery,
    /// How long a flush waits for its chunk to be acknowledged, before the host is
    /// asked to hand it over again. Default 10 s: long enough for a receiver that
    /// restarts, and nothing of the host stands still in the meantime.
    pub flush_wait: Duration,
    /// How long a look-up, or one address of a receiver, may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long a node may keep silent with frames of ours before another one
    /// that is up gets them too. Default 3 s. A node that has yet to acknowledge
    /// its first frame since it failed has `suspect_after`. After twice this time
    /// its connection is given up.
    pub failover_after: Duration,
    /// How long a node may owe progress before others are preferred. Default 250 ms.
    pub suspect_after: Duration,
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
            memory: 8 << 20,
        }
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

/// How long a node may take before its connection is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// For the handshake of TLS. Default 10 s.
    pub tls: Duration,
    /// For the handshake of the Forward protocol.
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
