//! The Forward protocol: bytes and state machines without I/O, and the client that drives them.
//!
//! | module | duty |
//! |---|---|
//! | [`protocol`] | the protocol as bytes and state machines, without I/O |
//! | [`net`] | sockets, threads and clocks |
//! | [`options`] | options of the output, read into a [`net::Config`] |
#![forbid(unsafe_code)]
// Nothing here may take the host down with it.
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
