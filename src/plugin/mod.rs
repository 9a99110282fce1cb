//! What filter and output do, in terms of no particular host.
//!
//! The host side (`ffi`) hands over [`Properties`] and a [`Log`], and turns
//! [`Verdict`] and [`Outcome`] into the host's codes, and each [`Metric`] into one of its
//! metrics. Nothing here knows an ABI.

#[cfg(feature = "output")]
mod batches;
#[cfg(feature = "cli")]
mod check;
#[cfg(feature = "output")]
pub mod classic;
mod conditions;
#[cfg_attr(
    not(feature = "output"),
    allow(dead_code, reason = "what the output needs")
)]
mod engine;
mod entities;
mod filter;
#[cfg(feature = "output")]
mod forward_options;
mod host_settings;
mod metrics;
mod option_error;
mod options;
#[cfg(feature = "output")]
mod output;
mod policy_source;
#[cfg(feature = "output")]
mod upstream;
#[cfg(feature = "output")]
mod upstream_yaml;

#[cfg(feature = "output")]
pub use crate::net::Call;
#[cfg(feature = "cli")]
pub use check::{Checked, Door, ENTITIES_UNDONE, check, unknown_option};
pub use conditions::{Pattern, Patterns};
pub use filter::Filter;
pub use host_settings::{HostSettings, HostTls};
pub use metrics::{Metric, MetricKind};
pub use option_error::OptionError;
pub use options::Options;
#[cfg(feature = "output")]
pub use output::Output;

/// The options of one plugin section, in the order of the configuration file.
/// Keys are compared without regard to case; a key may repeat.
pub type Properties = Vec<(String, String)>;

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

/// What became of a chunk given to the output.
#[cfg(feature = "output")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything in it was acknowledged (or nothing was left to send).
    Delivered,
    /// Not delivered yet; the host should hand it over again.
    Retry,
    /// Not delivered yet; the host should keep it until the call is
    /// [ready](Output::ready), and then [resume](Output::resume) that.
    Waits(Call),
}
