//! The Forward protocol: bytes and state machines without I/O, and the client that drives them.
//!
//! | module | duty |
//! |---|---|
//! | [`protocol`] | the protocol as bytes and state machines, without I/O |
//! | [`net`] | the client: sockets, its thread, timers |
//! | [`options`] | options of the output, read into a [`net::Config`] |
#![forbid(unsafe_code)]
// Nothing here may end the host with a panic, or go on with a number that wrapped.
#![cfg_attr(
    not(test),
    deny(
        unreachable_pub,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::todo,
        clippy::unimplemented,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

pub mod net;
pub mod options;
pub mod protocol;

mod time;
