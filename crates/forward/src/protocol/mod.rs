//! The Fluent Forward protocol as bytes and state machines. Pure, sans-IO.
//!
//! | file | duty |
//! |---|---|
//! | [`wire`] | messages as bytes: a strict writer, a tolerant reader |
//! | [`compression`] | compression of the entries in a frame |
//! | [`handshake`] | shared-key handshake before the first frame |
//! | [`frames`] | batches of entries, and the frames that they are split into |
//! | [`chunk`] | one chunk: which of its frames wait, are in flight or acknowledged |
//! | [`send_queue`] | all chunks: what is sent next, and what lost frames teach |
//! | [`capacity`] | the frame sizes that a node is known to accept |
//! | [`session`] | one connection: its window of frames and its timers |
//!
//! Nothing here reads a clock, makes random numbers or touches a socket: times and
//! ids are parameters, bytes are passed in and out as slices.
//!
//! **Invariants.** A frame counts as delivered only when an acknowledgement named
//! its id on the connection that carried it. After any violation of the protocol
//! the connection is closed, and its unacknowledged frames are sent again with the
//! same ids. A frame that a receiver may have stored keeps its id, except when it is
//! split as [`send_queue::SendQueue`] describes.

pub mod capacity;
pub mod chunk;
pub mod compression;
pub mod frames;
pub mod handshake;
pub mod send_queue;
pub mod session;
pub mod wire;

mod frame_id;

pub use frame_id::FrameId;
