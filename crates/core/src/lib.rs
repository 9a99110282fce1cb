//! The engine of kube-audit: from the records of a chunk to the records that stay.
//!
//! | module | duty |
//! |---|---|
//! | [`policy`] | audit policy text → model → compiled rule set → decision |
//! | [`doc`] | JSON and msgpack documents, read and edited in place |
//! | [`chunk`] | the host's framing: records, times, tags, and sinks for what is written |
//! | [`input`] | from records to events: container runtime prefixes, assembly, recognition |
//! | [`event`] | views of an event |
//! | [`stage`] | what is done to an event, a file for each stage |
//! | [`pipeline`] | the way of a record through all of them |
//! | [`stats`] | counters |
//! | [`options`] | options of a plugin section, read into types |
//!
//! Pure: no I/O, no clock, no randomness, no unsafe code.
#![forbid(unsafe_code)]
// Nothing here may take the host down with it, or go on with a number that wrapped.
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

pub mod chunk;
pub mod doc;
pub mod event;
pub mod input;
pub mod options;
pub mod pipeline;
pub mod policy;
pub mod stage;
pub mod stats;

mod available;
mod bytes;
mod order;
mod redactor;
