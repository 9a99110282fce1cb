//! What filter and output do, in terms of no particular host.
//!
//! The host side (`ffi`) hands over [`Properties`] and a [`Log`], and turns
//! [`Verdict`] and [`Flushed`] into the host's codes, and each [`Metric`] into one of its
//! metrics. Nothing here knows an ABI.

#![forbid(unsafe_code)]
// Nothing here may take the host down with it.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::todo,
    clippy::unimplemented
)]

#[cfg(feature = "output")]
mod batches;
#[cfg_attr(
    not(feature = "output"),
    allow(dead_code, reason = "what the output needs")
)]
mod engine;
mod filter;
mod metrics;
#[cfg(feature = "output")]
mod output;
mod policy_watch;

pub use filter::Filter;
pub use kube_audit_core::options::{HostSettings, HostTls, OptionError, Patterns, Properties};
pub use kube_audit_core::stage::Pattern;
#[cfg(feature = "output")]
pub use kube_audit_forward::net::{Call, Flushed};
pub use metrics::{Metric, MetricKind};
#[cfg(feature = "output")]
pub use output::Output;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Start-up fails or data is at risk.
    Error,
    /// Something needs a look.
    Warn,
    /// Normal news.
    Info,
    /// For debugging.
    Debug,
}

/// Where log lines go.
pub trait Log: Send + Sync {
    /// Writes one line; the host adds time and instance name.
    fn log(&self, level: LogLevel, message: &str);
}

/// What a filter call made of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The chunk stays as it is.
    Untouched,
    /// These bytes replace the chunk; empty means that every record was dropped.
    Replaced(Vec<u8>),
}
