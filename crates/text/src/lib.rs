//! Configuration text: YAML and JSON as Kubernetes reads them, as trees whose values have
//! positions; lines of Fluent Bit's classic format; "did you mean".
//!
//! A package of its own, since it runs at the start and at reloads only: it is compiled to
//! be small, the engine to be fast.
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

pub mod classic;
mod json;
mod source;
pub mod suggest;
mod tree;
mod yaml;

pub use json::read as read_json;
pub use source::{Place, Source, begins_with_brace, to_utf8};
pub use tree::{Entry, Fault, FaultKind, Node, Path, Value, shown};
pub use yaml::{read as read_yaml, read_all as read_yaml_documents};
