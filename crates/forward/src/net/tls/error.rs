//! What can be wrong with TLS, by cause.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why TLS to a receiver cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// It is not built in.
    #[error("TLS is not built into this library (its feature `tls` is off)")]
    Absent,
    /// A file cannot be read.
    #[error("cannot read `{}`: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` {flaw}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        flaw: String,
    },
    /// Certificate and key do not fit together, or are of an unknown kind.
    #[error("certificate `{}` and key `{}` can't be used: {flaw}", .crt_file.display(), .key_file.display())]
    Identity {
        /// The certificate.
        crt_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// Why.
        flaw: String,
    },
    /// The system has no authorities.
    #[error("the system has no certificate authorities ({0}); set a CA file")]
    NoSystemRoots(String),
    /// There is no name to verify.
    #[error("`{0}` is no name that a certificate can have; set the name to verify")]
    Name(String),
    /// Anything else.
    #[error("TLS cannot be set up: {0}")]
    Other(String),
}

/// Why a connection with TLS failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate is too old.
    #[error("the receiver's certificate has expired")]
    Expired,
    /// The certificate is too new, or the clock is wrong.
    #[error("the receiver's certificate is not valid yet (or the clock here is wrong)")]
    NotYetValid,
    /// The certificate is for somebody else.
    #[error("the receiver's certificate is not for `{wanted}`{}", presented(.names))]
    WrongName {
        /// The name that was verified.
        wanted: String,
        /// The names in the certificate, where known.
        names: Vec<String>,
    },
    /// Nobody vouches for the certificate.
    #[error(
        "the receiver's certificate is from an unknown authority; is the CA file the right one?"
    )]
    UnknownAuthority,
    /// Something else is wrong with the certificate.
    #[error("the receiver's certificate is no good: {0}")]
    Certificate(String),
    /// The receiver does not speak TLS.
    #[error("the receiver does not speak TLS on this port")]
    NotTls,
    /// It closed the connection before it was secured.
    #[error(
        "the receiver closed the connection during the TLS handshake; does it speak TLS on this port?"
    )]
    ClosedEarly,
    /// It took too long.
    #[error(
        "the TLS handshake did not complete within {0:?}; does the receiver speak TLS on this port?"
    )]
    Timeout(Duration),
    /// It wants a certificate from us, or another one.
    #[error("the receiver refused this client's certificate, or wants one (alert {0})")]
    ClientRefused(String),
    /// There is no version or cipher that both know.
    #[error("no version or cipher of TLS in common with the receiver: {0}")]
    Incompatible(String),
    /// It ended TLS for another reason.
    #[error("the receiver ended TLS with alert {0}")]
    Alert(String),
    /// Anything else.
    #[error("TLS failed: {0}")]
    Other(String),
}

fn presented(names: &[String]) -> String {
    /// How many names of a certificate go into a log line.
    const SHOWN: usize = 4;
    match names.get(..SHOWN) {
        _ if names.is_empty() => String::new(),
        None => format!(", only for {}", names.join(", ")),
        Some(shown) => format!(", only for {}, …", shown.join(", ")),
    }
}
