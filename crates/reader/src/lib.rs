//! Reads a log through its rotations, and knows up to where it is acknowledged.
//!
//! The audit log on disk is the buffer: a reader that finds the files into which the API
//! server, logrotate or the kubelet have rotated it, and that keeps its position only for
//! what was delivered, loses nothing that is still on the disk.
//!
//! | module | duty |
//! |---|---|
//! | [`disk`] | what the reader asks of a file system |
//! | `names` | rotated files by their names, in the order in which they were written |
//! | `position` | a place in the log that survives renames, compression and restarts |
//! | `reader` | which file is read, from where, and what comes after it |
//! | `ledger` | what was handed on, and up to where all of it is done with |
//!
//! Nothing here opens a file, reads a clock or starts a thread.

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

pub mod disk;
mod ledger;
mod names;
mod position;
mod reader;
#[cfg(test)]
mod simulation;

pub use ledger::Ledger;
pub use position::{Checkpoint, CheckpointError, Fingerprint, Position};
pub use reader::{
    Counters, Lag, Notice, Reader, ReaderOptions, Start, Step, last_event_time, split_lines,
};
