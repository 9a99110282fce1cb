//! Errors of TLS, by cause.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Reason why TLS for a receiver cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The library was built without TLS.
    #[error("this library is built without TLS (feature `tls`)")]
    Absent,
    /// A file cannot be read.
    #[error("cannot read `{}`: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
    /// A file has invalid content.
    #[error("`{}` {flaw}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Defect of the file.
        flaw: String,
    },
    /// Certificate and key do not match, or are of an unknown kind.
    #[error("certificate `{}` and key `{}` can't be used: {flaw}", .crt_file.display(), .key_file.display())]
    Identity {
        /// The certificate.
        crt_file: PathBuf,
        /// The key.
        key_file: PathBuf,
        /// Cause.
        flaw: String,
    },
    /// The system has no certificate authorities.
    #[error("the system has no certificate authorities ({0}); set a CA file")]
    NoSystemRoots(String),
    /// A name that a certificate cannot have.
    #[error("a certificate cannot be verified for `{0}`; set the name to verify")]
    Name(String),
    /// Any other cause.
    #[error("TLS cannot be set up: {0}")]
    Other(String),
}

/// Reason why a TLS connection failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The receiver's certificate has expired.
    #[error("the receiver's certificate has expired; renew it")]
    Expired,
    /// The receiver's certificate is not valid yet, or the clock is wrong.
    #[error("the receiver's certificate is not valid yet (or the clock here is wrong)")]
    NotYetValid,
    /// The receiver's certificate is for other names.
    #[error(
        "the receiver's certificate is not for `{wanted}`{}; set `tls.vhost` to a name in the \
         certificate, or issue one with `subjectAltName`",
        presented(.names)
    )]
    WrongName {
        /// Name that was verified.
        wanted: String,
        /// Names in the certificate, if known.
        names: Vec<String>,
    },
    /// No configured authority has issued the receiver's certificate.
    #[error(
        "the receiver's certificate is from an unknown authority (`{0}`); name that authority's \
         certificate in `tls.ca_file`, and let the receiver send intermediate ones with its own"
    )]
    UnknownAuthority(String),
    /// The receiver's certificate is for other purposes than a server's.
    #[error(
        "the receiver's certificate is not for servers: its `extendedKeyUsage` lacks \
         `serverAuth`; issue one with it, or without `extendedKeyUsage`"
    )]
    NotForServers,
    /// A certificate of the chain has an unsafe or unusual signature.
    #[error(
        "a certificate of the receiver's chain has a signature that is not supported, such as \
         SHA-1 or P-521; issue it with `-sha256` by an RSA (2048 bits or more), P-256, P-384 or \
         Ed25519 key"
    )]
    SignatureAlgorithm,
    /// The handshake is not signed with the certificate's key, or that key is not
    /// supported.
    #[error(
        "the receiver does not prove that it owns its certificate's key, or that key is not \
         supported; use RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519"
    )]
    Key,
    /// Any other defect of the receiver's certificate.
    #[error("the receiver's certificate is invalid: {0}")]
    Certificate(String),
    /// The receiver does not speak TLS.
    #[error("the receiver does not speak TLS on this port")]
    NotTls,
    /// The receiver closed the connection during the TLS handshake.
    #[error(
        "the receiver closed the connection during the TLS handshake; does it speak TLS on this port?"
    )]
    ClosedEarly,
    /// The TLS handshake took too long.
    #[error(
        "the TLS handshake did not complete within {0:?}; does the receiver speak TLS on this port?"
    )]
    Timeout(Duration),
    /// The receiver refused the client's certificate.
    #[error("the receiver refused this client's certificate (alert {0})")]
    ClientRefused(String),
    /// The receiver asked for a client certificate, and none is configured.
    #[error(
        "the receiver wants a client certificate and none is configured (alert {0}); set \
         `tls.crt_file` and `tls.key_file`"
    )]
    NoClientCertificate(String),
    /// Client and receiver have no version, cipher or kind of key in common.
    #[error(
        "client and receiver have no TLS version, cipher or kind of key in common ({0}); TLS 1.2 \
         and 1.3 are spoken, with RSA of 2048 bits or more, P-256, P-384 or Ed25519"
    )]
    Incompatible(String),
    /// Any other alert of the receiver.
    #[error("the receiver ended TLS with alert {0}")]
    Alert(String),
    /// Any other cause.
    #[error("TLS failed: {0}")]
    Other(String),
}

fn presented(names: &[String]) -> String {
    /// Number of names of a certificate in a log line.
    const SHOWN: usize = 4;
    match names.get(..SHOWN) {
        _ if names.is_empty() => String::new(),
        None => format!(", only for {}", names.join(", ")),
        Some(shown) => format!(", only for {}, …", shown.join(", ")),
    }
}
