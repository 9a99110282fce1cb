//! The Fluent Forward protocol as bytes and state machines. Pure, sans-IO.
//!
//! | file | duty |
//! |---|---|
//! | [`wire`] | messages as bytes: a strict writer, a tolerant reader |
//! | [`compression`] | entries made smaller |
//! | [`handshake`] | what comes before the first frame where a receiver wants a shared key |
//! | [`frames`] | where a batch of entries is cut into frames |
//! | [`chunk`] | one chunk under way: which of its frames wait, travel or are acknowledged |
//! | [`send_queue`] | all of them: what is sent next, and what losses teach |
//! | [`capacity`] | how large frames may be for one node, as far as it has shown |
//! | [`session`] | one connection: its window of frames and its timers |
//!
//! Nothing here reads a clock, makes randomness or touches a socket: time and
//! ids are parameters, bytes come in and go out as slices.
//!
//! **Invariants.** A frame counts as delivered only when an acknowledgement
//! named its id on the connection that carried it. Any doubt about what a peer
//! says ends the connection; it is never used again, and what was not
//! acknowledged is sent again with the same id. A frame that a receiver may have
//! stored keeps its id, but for the one case that [`send_queue::SendQueue`] describes.

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
