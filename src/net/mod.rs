//! The only sockets, threads and clocks.
//!
//! [`Client`] takes chunks from the host's thread and delivers them by the
//! Forward protocol from a thread of its own.
//!
//! | file | duty |
//! |---|---|
//! | `client` | start, flush, shut down; what caller and thread share |
//! | `ledger` | the chunks that were taken over, known again by their content |
//! | `worker` | the thread: prepares chunks, spreads frames over the nodes, settles |
//! | `choice` | which node gets the next frame, and which nodes are needed |
//! | `health` | when a node is tried again, and how far it is trusted |
//! | `lane` | a node at work: connecting → establishing → ready → lost |
//! | `dial` | one round of connecting to a node |
//! | `lookup` | host names to addresses, without waiting and without asking too often |
//! | `connection` | from connected to ready to lost: TLS, [handshake](crate::forward::handshake), [session](crate::forward::session) |
//! | `stream`, `tls` | bytes with TLS or without |
//! | `socket` | sockets that never block, and the thread's waker |
//! | `endpoint`, `node` | receivers as the user writes them, and what is set for each |
//! | `report` | news and counts for the caller |
//! | `rng` | ids and jitter |
//!
//! # What a flush costs
//!
//! A flush stops the host's engine, so it waits for [`Config::flush_wait`] at
//! most. When that runs out, or the peer can't be reached, later flushes only
//! wait for their chunk to be prepared (there may be nothing left to send),
//! until a chunk was acknowledged within that time again. Delivery goes on
//! behind them. When the host hands such a chunk
//! over again, it is known by its content and answered without being sent twice.
//!
//! # What is held
//!
//! At most [`Config::memory`] bytes of chunks (or one chunk, if it alone is
//! larger), each as the host gave it until it is prepared and as entries from
//! then on, and one frame as it is written. Beyond that a chunk is not taken
//! and the host keeps it. Of delivered chunks that the host has not asked for
//! again, a fingerprint is kept: 1024 of them at most.
//!
//! # When a chunk is sent twice
//!
//! Frames that a lost connection left unacknowledged are sent again with the
//! same id, because the peer may or may not have them. Acknowledged ones are
//! not, even if the host has to hand the chunk over again, with these
//! exceptions: more than 1024 delivered chunks are waiting for the host to ask;
//! a chunk that was given back had to make room for others; or the process ends
//! before the host has asked.

mod choice;
mod client;
mod connection;
mod dial;
mod endpoint;
mod health;
mod lane;
mod ledger;
mod lookup;
mod node;
mod report;
mod rng;
mod socket;
mod stream;
mod tls;
mod worker;

pub use crate::forward::handshake::{Auth, AuthError, Secret};
pub use choice::Delivery;
pub use client::{Client, Config, Flushed, Reason, StartError};
pub use connection::Timers;
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError, Host};
pub use lookup::{Addresses, Resolver};
pub use node::{Identity, Node, Role, Tls, Versions};
pub use report::{Count, Loss, News, PrepareError, Report};
pub use tls::{TlsError, TlsSetupError};
