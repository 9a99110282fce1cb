//! Linux audit records, the other audit log that a cluster's machines write: recognised in
//! the forms in which Fluent Bit gets them, put together to events, written as JSON.
//!
//! | module | duty |
//! |---|---|
//! | [`source`](Source) | the text of a record among the fields of a map |
//! | [`header`](Header) | type, time and serial number in front of a record |
//! | [`group`](Grouper) | the records of one event, across chunks |
//! | `body` | the fields of a record |
//! | [`event`](write_event) | the fields of all records of an event as one JSON object |
//! | `slim` | what an event says twice, left out |
//! | `tables` | names of types and system calls |
//!
//! Pure: no I/O, no clock, no unsafe code. What cannot be read is not recognised, and stays
//! as it is.
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

mod body;
mod event;
mod group;
mod header;
mod saddr;
mod slim;
mod source;
mod tables;
mod text;

pub use event::{Content, write_event};
pub use group::{Group, Grouper, Limits, Taken};
pub use header::{Form, Header, Part, Role};
pub use slim::Slim;
pub use source::{Found, Source};
