//! The only sockets, threads and clocks.
//!
//! [`Client`] takes chunks from the host's thread and delivers them by the
//! Forward protocol from a thread of its own.
//!
//! | file | duty |
//! |---|---|
//! | `client` | start, flush, resume, shut down |
//! | `config` | how a client works, and why it may not start |
//! | `shared` | what callers and the thread share |
//! | `chunk_table` | the chunks that were taken over, known again by their content |
//! | `worker` | the thread: prepares chunks, spreads frames over the nodes, settles |
//! | `balancer` | which node gets the next frame, and which nodes are needed |
//! | `health` | when a node is tried again, and how far it is trusted |
//! | `node_connection` | a node at work: connecting → establishing → ready → lost |
//! | `dial` | one round of connecting to a node |
//! | `lookup` | host names to addresses, without waiting and without asking too often |
//! | `connection` | from connected to ready to lost: TLS, [handshake](crate::protocol::handshake), [session](crate::protocol::session) |
//! | `stream`, `tls` | bytes with TLS or without |
//! | `socket` | sockets that never block, and the thread's waker |
//! | `endpoint`, `node` | receivers as the user writes them, and what is set for each |
//! | `observer` | news and counts for the caller |
//! | `rng` | ids and jitter |
//!
//! # What a flush costs
//!
//! A flush hands its chunk over and returns; its caller goes on with other things
//! until [`Client::signal`] says that the call is ready. After [`Config::flush_wait`]
//! the call ends in any case, and delivery goes on behind it: when the host hands
//! such a chunk over again, it is known by its content and answered without being
//! sent twice. A chunk for which there is no room waits as well, without a copy.
//!
//! There is one exception, so that a host which reads without limit reads no faster
//! than its receivers take: a flush that finds no room holds its caller up for 50 ms
//! at most, and after that in vain not again until a chunk was delivered.
//!
//! # Several nodes
//!
//! Each has a connection, session and window of its own, all on one thread. The
//! next frame goes to the primary whose turn it is by weight. A node that owes
//! progress for [`Config::suspect_after`] is passed over while another one
//! is up; after [`Config::failover_after`] the frames that it has go to another
//! one, with the same ids. A lost connection gives them away at once. A node
//! that has failed is tried again by itself, at growing intervals, and gets one
//! frame at a time until it has acknowledged one. However often it fails, it is
//! tried some 80 times in the first minute and 60 in later ones at most, counted
//! per round over the addresses of its name. Standbys are used while no primary
//! is up.
//!
//! # What is held
//!
//! At most [`Config::memory`] bytes of chunks (or one chunk, if it alone is
//! larger), each as the host gave it until it is prepared and as entries from
//! then on, and for each node one frame as it is written. Beyond that a chunk is
//! not taken and the host keeps it, however long the receivers are away. Of
//! delivered chunks that the host has not asked for again, a fingerprint is
//! kept: 1024 of them at most.
//!
//! # When a chunk is sent twice
//!
//! Frames that a lost connection left unacknowledged are sent again with the
//! same id, because the peer may or may not have them; so are those of a node
//! that is silent for too long. A frame that was written as a whole gets other
//! ids only where it is halved, on the evidence that
//! [`SendQueue`](crate::protocol::send_queue::SendQueue) asks for. To come by it, a frame
//! that is larger than 32 KiB and than all that a node has acknowledged of late
//! travels alone.
//!
//! Acknowledged frames are not sent again, even if the host has to hand the chunk
//! over again, with these exceptions: more than 1024 delivered chunks are waiting
//! for the host to ask; a chunk that was given back had to make room for others;
//! or the process ends before the host has asked. In the two latter cases what
//! was not acknowledged gets other ids too.

mod balancer;
mod chunk_table;
mod client;
mod config;
mod connection;
mod dial;
mod endpoint;
mod health;
mod lookup;
mod node;
mod node_connection;
mod observer;
mod rng;
mod shared;
mod socket;
mod stream;
mod tls;
mod worker;

pub use crate::protocol::handshake::{Auth, AuthError, Secret};
pub use balancer::Delivery;
pub use client::{Call, Client, Flushed, Reason};
pub use config::{Config, StartError, Timers};
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError, Host};
pub use lookup::{Addresses, Resolver};
pub use node::{Identity, Node, Role, Tls, Versions};
pub use observer::{ClientEvent, ConnectionError, Count, NodeState, Observer, PrepareError};
pub use tls::{TlsError, TlsSetupError};
