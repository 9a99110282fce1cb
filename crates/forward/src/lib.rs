//! The Forward protocol: bytes and state machines without I/O, and the client that drives them.
//!
//! | module | duty |
//! |---|---|
//! | [`protocol`] | the protocol as bytes and state machines, without I/O |
//! | [`net`] | the client: sockets, its thread, timers |
//! | [`options`] | options of the output, read into a [`net::Config`] |
#![forbid(unsafe_code)]
// A panic here would end the host process.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented
)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice))]

pub mod net;
pub mod options;
pub mod protocol;
