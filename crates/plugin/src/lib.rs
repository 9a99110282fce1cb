//! The input, the filter and the output of kube-audit, independent of any host's ABI.
//!
//! The host's side (`src/ffi` of the root package) hands over [`Properties`] and a
//! [`Log`], turns a [`Verdict`] or a [`Flushed`] into the host's code, and each
//! [`Metric`] into one of the host's metrics. It catches panics, and asks the plugin
//! what a chunk becomes after one.

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
#![cfg_attr(
    not(feature = "output"),
    allow(dead_code, reason = "the filter alone uses a part")
)]

#[cfg(feature = "output")]
mod batches;
#[cfg(feature = "output")]
mod delivery;
mod detect_watch;
mod engine;
mod filter;
#[cfg(feature = "input")]
mod input;
mod log;
mod metrics;
#[cfg(feature = "output")]
mod output;
mod panics;
mod policy_watch;
#[cfg(test)]
mod test;
mod text_watch;

pub use filter::Filter;
#[cfg(feature = "input")]
pub use input::{ChunkList, Collected, Ingest, Input, InputSettings, Refused, Storage};
pub use kube_audit_core::options::{HostSettings, HostTls, OptionError, Patterns, Properties};
pub use kube_audit_core::stage::Pattern;
#[cfg(feature = "output")]
pub use kube_audit_forward::net::{Call, Flushed};
pub use log::{Log, LogLevel, one_line};
pub use metrics::{Label, Metric, MetricKind, Metrics};
#[cfg(feature = "output")]
pub use output::Output;

/// The result of filtering a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The chunk stays as it is.
    Untouched,
    /// These bytes replace the chunk; none if every record was dropped.
    Replaced(Vec<u8>),
}
