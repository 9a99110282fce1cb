//! The client: sockets, its thread and its timers.
//!
//! [`Client`] takes chunks on the host's thread and delivers them with the Forward
//! protocol on a thread of its own.
//!
//! | file | duty |
//! |---|---|
//! | `client` | start, flush, resume, shut down |
//! | `config` | configuration, and errors of the start |
//! | `shared` | state shared between callers and the thread |
//! | `chunk_table` | chunks that were taken over, recognised by their content |
//! | `worker` | the thread: prepares chunks, distributes frames, records results |
//! | `balancer` | choice of the node for the next frame, and of the nodes to connect |
//! | `health` | backoff and trust of a node |
//! | `node_connection` | connection of a node: connecting → establishing → ready |
//! | `patience` | how long a node needs for acknowledgements |
//! | `reuse` | whether a receiver keeps its connections |
//! | `dial` | one round of connecting to a node |
//! | `lookup` | host name look-ups that neither block nor flood the name server |
//! | `connection` | TLS, [handshake](crate::protocol::handshake) and [session](crate::protocol::session) on a socket |
//! | `stream`, `tls` | byte stream with or without TLS |
//! | `socket` | nonblocking sockets, and the thread's waker |
//! | `endpoint`, `node` | configuration of a receiver |
//! | `observer` | events and counts for the caller |
//! | `rng` | ids and jitter |
//!
//! # Cost of a flush
//!
//! A flush hands its chunk over and returns; [`Client::signal`] becomes readable
//! when the call can be resumed. The call ends after [`Config::flush_wait`] at the
//! latest, while delivery continues: when the host hands the chunk over again, the
//! client recognises its content and answers without sending it twice. A chunk
//! for which there is no memory waits as well, without a copy.
//!
//! There is one exception, so that a host that reads without limit slows down to the
//! pace of its receivers: a flush that finds no memory blocks its caller for up to
//! 50 ms, and after one such wait in vain not again until a chunk was delivered.
//!
//! # Several nodes
//!
//! Each node has a connection, session and window of its own, all on one thread.
//! The next frame goes to the primary whose turn it is by weight. A node without
//! progress for [`Config::suspect_after`] is passed over while another one is up;
//! after [`Config::failover_after`] its frames are also sent to another node, with
//! the same ids. Frames of a lost connection are given to other nodes at once. A node
//! that has failed is tried again at growing intervals, and gets one frame at a
//! time until it has acknowledged one. It is tried at most about 80 times in the
//! first minute and 60 times in later ones, counted in rounds over the addresses
//! of its name. Standbys are used while no primary is up.
//!
//! # Memory
//!
//! The client holds at most [`Config::memory`] bytes of chunks (or one chunk, if it
//! is larger), each as the host gave it until it is prepared and as entries from
//! then on, and for each node the one frame that is being written. Beyond that
//! chunks stay with the host, however long the receivers are away. Of delivered
//! chunks that the host has not asked for again, a fingerprint is kept, of 1024 at
//! most.
//!
//! # When a chunk is sent twice
//!
//! Frames that a lost connection left unacknowledged are sent again with the same
//! id, because the peer may or may not have stored them; so are frames of a node
//! without progress. After a time-out of an acknowledgement a node gets a single frame,
//! and a longer time-out, until it acknowledges one. A frame gets other ids only if
//! it is split, as [`SendQueue`](crate::protocol::send_queue::SendQueue) describes.
//!
//! Acknowledged frames are not sent again, even if the host hands the chunk over
//! again and its entries had to be dropped in the meantime, with these exceptions:
//! more than 1024 delivered chunks, or 1024 chunks with dropped entries, wait for the
//! host; the chunk is turned into other records, because the policy has changed; or
//! the process ends before the host has asked.

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
mod patience;
mod reuse;
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
pub use observer::{
    ClientEvent, ConnectionError, Count, LostRecord, NodeState, Observer, PrepareError,
};
pub use tls::{TlsError, TlsSetupError};
