//! TLS on the way to a receiver.
//!
//! Two files with the same surface: `client` speaks TLS, `absent` stands in for
//! it where the feature `tls` is off, and refuses receivers that want it.

mod error;

#[cfg_attr(not(feature = "tls"), path = "absent.rs")]
mod client;

#[cfg(feature = "tls")]
mod files;

pub(super) use client::{Connector, Stream};
pub use error::{TlsError, TlsSetupError};

/// What became of files that may have changed.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing to reload"))]
pub(super) enum Refresh {
    /// They have not.
    Unchanged,
    /// They have, and the next connection uses them.
    Reloaded,
    /// They have, and are no good: what was read before is used.
    Failed(TlsSetupError),
}
