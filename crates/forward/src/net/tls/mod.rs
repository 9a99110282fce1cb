//! TLS connections to receivers.
//!
//! Two files have the same interface: `client` implements it with rustls, `absent`
//! replaces it if the feature `tls` is off, and refuses receivers that want TLS.

mod error;

#[cfg_attr(not(feature = "tls"), path = "absent.rs")]
mod client;

#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod verifier;

pub(super) use client::{Connector, Stream};
pub use error::{TlsError, TlsSetupError};

/// Result of looking for changed files.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "nothing to reload"))]
pub(super) enum Refresh {
    /// No file has changed.
    Unchanged,
    /// Files were read again; the next connection uses them.
    Reloaded,
    /// Changed files are invalid; the previous ones stay in use.
    Failed(TlsSetupError),
}
