//! TLS with rustls and the cryptography of ring.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, SignatureScheme,
    SupportedProtocolVersion,
};

use super::certificate::Certificate;
use super::files::{self, Stamps};
use super::verifier::{Verifier, reason};
use super::{Refresh, TlsError, TlsSetupError};
use crate::net::endpoint::{Endpoint, Host};
use crate::net::node::{Identity, Tls, Versions};
use crate::net::observer::ConnectionError;
use crate::net::socket::Socket;

/// Bytes that are encrypted at once: the content of one TLS record.
const RECORD: usize = 16 << 10;

/// Returns the cryptography; the only place that names its provider.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Opens TLS connections to one receiver.
pub(in crate::net) struct Connector {
    tls: Tls,
    name: ServerName<'static>,
    /// Stamps of the files that `config` was made from.
    stamps: Stamps,
    config: Arc<ClientConfig>,
    wanted: Arc<CertificateWanted>,
}

impl Connector {
    /// Reads all files, and the system's authorities if none are configured.
    pub(in crate::net) fn new(tls: &Tls, endpoint: &Endpoint) -> Result<Connector, TlsSetupError> {
        let name = match (&tls.vhost, endpoint) {
            (Some(vhost), _) => vhost.clone(),
            (None, Endpoint::Tcp { host, .. }) => match host {
                Host::Name(name) => name.clone(),
                Host::Ip(ip) => ip.to_string(),
            },
            (None, Endpoint::Unix(_)) => endpoint.to_string(),
        };
        let stamps = Stamps::take(tls);
        let wanted = Arc::default();
        Ok(Connector {
            tls: tls.clone(),
            name: ServerName::try_from(name.clone()).map_err(|_| TlsSetupError::Name(name))?,
            stamps,
            config: config(tls, &wanted)?,
            wanted,
        })
    }

    /// Reads the files again if they have changed.
    pub(in crate::net) fn refresh(&mut self) -> Refresh {
        let stamps = Stamps::take(&self.tls);
        if stamps == self.stamps {
            return Refresh::Unchanged;
        }
        match config(&self.tls, &self.wanted) {
            Ok(config) => {
                self.stamps = stamps;
                self.config = config;
                Refresh::Reloaded
            }
            Err(error) => Refresh::Failed(error),
        }
    }

    /// Starts TLS on a connected socket.
    pub(in crate::net) fn connect(&self, socket: Socket) -> Result<Stream, ConnectionError> {
        self.wanted.0.store(false, Ordering::Relaxed);
        let tls =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(cause)?;
        Ok(Stream {
            socket,
            tls,
            wanted: Arc::clone(&self.wanted),
        })
    }
}

fn config(tls: &Tls, wanted: &Arc<CertificateWanted>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let versions: &[&SupportedProtocolVersion] = match tls.versions {
        Versions::Both => &[&TLS13, &TLS12],
        Versions::Tls12 => &[&TLS12],
        Versions::Tls13 => &[&TLS13],
    };
    let provider = provider();
    let verifier = Verifier {
        roots: tls.verify.then(|| files::roots(tls)).transpose()?,
        algorithms: provider.signature_verification_algorithms,
    };
    let resolver: Arc<dyn ResolvesClientCert> = match &tls.identity {
        None => Arc::<CertificateWanted>::clone(wanted),
        Some(identity) => Arc::new(SingleCertAndKey::from(client_key(identity, &provider)?)),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| TlsSetupError::Other(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(resolver);
    // Connections are few and long, so resumption would gain little; and servers
    // with OpenSSL that want client certificates may refuse it.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Reads the client's certificate, of any version, and its key.
fn client_key(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsSetupError> {
    let flawed = |flaw: &str| TlsSetupError::Identity {
        crt_file: identity.crt_file.clone(),
        key_file: identity.key_file.clone(),
        flaw: flaw.into(),
    };
    let (chain, key) = files::identity(identity)?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        flawed("the key is not supported; use RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519")
    })?;
    let own = chain.first().and_then(|der| Certificate::parse(der));
    let own = own.ok_or_else(|| flawed("the certificate cannot be read"))?;
    match key.public_key() {
        Some(public) if public.as_ref() != own.key.whole => {
            Err(flawed("the key is the one of another certificate"))
        }
        _ => Ok(CertifiedKey::new(chain, key)),
    }
}

/// Nonblocking TLS stream. Operations that would block return `None`.
pub(in crate::net) struct Stream {
    socket: Socket,
    tls: ClientConnection,
    wanted: Arc<CertificateWanted>,
}

impl Stream {
    pub(in crate::net) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Reads received bytes; 0 at the end of the stream.
    pub(in crate::net) fn read(
        &mut self,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, ConnectionError> {
        loop {
            match self.tls.reader().read(buffer) {
                // A missing close_notify does not matter: only acknowledgements count.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Ok(Some(read?)),
            }
            match self.tls.read_tls(&mut self.socket) {
                Ok(_) => self.process()?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes a part of the bytes, and writes as much as the socket takes. Up to one
    /// record stays buffered until [`Stream::flush`].
    pub(in crate::net) fn write(&mut self, bytes: &[u8]) -> Result<Option<usize>, ConnectionError> {
        self.flush()?;
        if !self.is_flushed() {
            return Ok(None);
        }
        let length = self
            .tls
            .writer()
            .write(bytes.get(..RECORD).unwrap_or(bytes))?;
        self.flush()?;
        Ok(Some(length))
    }

    /// Writes buffered bytes as far as the socket takes them.
    pub(in crate::net) fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sends close_notify, so that the receiver does not take the end for an attack
    /// and log an error. Best effort: the socket may be full, or closed by the peer.
    pub(in crate::net) fn close(&mut self) {
        self.tls.send_close_notify();
        let _ = self.flush();
    }

    /// Returns true if no byte is buffered.
    pub(in crate::net) fn is_flushed(&self) -> bool {
        !self.tls.wants_write()
    }

    fn process(&mut self) -> Result<(), ConnectionError> {
        match self.tls.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // Sends the alert that rustls queued, if the socket takes it.
                let _ = self.tls.write_tls(&mut self.socket);
                Err(match error {
                    Error::AlertReceived(alert) if self.wanted.0.load(Ordering::Relaxed) => {
                        TlsError::NoClientCertificate(format!("{alert:?}"))
                    }
                    error => cause(error),
                }
                .into())
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn cause(error: Error) -> TlsError {
    use AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(error) => reason(&error),
        Error::InvalidMessage(_) => TlsError::NotTls,
        Error::AlertReceived(alert) => match alert {
            Alert::ProtocolVersion | Alert::InsufficientSecurity => {
                TlsError::Incompatible(format!("{alert:?}"))
            }
            Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError => TlsError::ClientRefused(format!("{alert:?}")),
            Alert::HandshakeFailure => TlsError::Incompatible(format!("{alert:?}")),
            other => TlsError::Alert(format!("{other:?}")),
        },
        Error::PeerIncompatible(reason) => TlsError::Incompatible(format!("{reason:?}")),
        other => TlsError::Other(other.to_string()),
    }
}

/// Client without a certificate, which notices if the receiver asks for one: the
/// alert that follows may be as vague as `HandshakeFailure`.
#[derive(Debug, Default)]
struct CertificateWanted(AtomicBool);

impl ResolvesClientCert for CertificateWanted {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
