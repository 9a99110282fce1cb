//! TLS with rustls and the cryptography of ring.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    Error, SignatureScheme, SupportedProtocolVersion,
};

use super::files::{self, Stamps};
use super::{Refresh, TlsError, TlsSetupError};
use crate::net::endpoint::{Endpoint, Host};
use crate::net::node::{Tls, Versions};
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
        let tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| cause(error, &self.name))?;
        Ok(Stream {
            socket,
            tls,
            name: self.name.clone(),
            wanted: Arc::clone(&self.wanted),
        })
    }
}

fn config(tls: &Tls, wanted: &Arc<CertificateWanted>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let other = |error: &dyn std::error::Error| TlsSetupError::Other(error.to_string());
    let versions: &[&SupportedProtocolVersion] = match tls.versions {
        Versions::Both => &[&TLS13, &TLS12],
        Versions::Tls12 => &[&TLS12],
        Versions::Tls13 => &[&TLS13],
    };
    let provider = provider();
    let verifier: Arc<dyn ServerCertVerifier> = if tls.verify {
        let roots = Arc::new(files::roots(tls)?);
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| other(&error))?
    } else {
        Arc::new(AnyCertificate(Arc::clone(&provider)))
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| other(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.identity {
        None => {
            let resolver: Arc<dyn ResolvesClientCert> = Arc::<CertificateWanted>::clone(wanted);
            builder.with_client_cert_resolver(resolver)
        }
        Some(identity) => {
            let (chain, key) = files::identity(identity)?;
            let built = builder.with_client_auth_cert(chain, key);
            built.map_err(|error| TlsSetupError::Identity {
                crt_file: identity.crt_file.clone(),
                key_file: identity.key_file.clone(),
                flaw: error.to_string(),
            })?
        }
    };
    // Connections are few and long, so resumption would gain little; and servers
    // with OpenSSL that want client certificates may refuse it.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Nonblocking TLS stream. Operations that would block return `None`.
pub(in crate::net) struct Stream {
    socket: Socket,
    tls: ClientConnection,
    name: ServerName<'static>,
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
                    error => cause(error, &self.name),
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

fn cause(error: Error, name: &ServerName<'_>) -> TlsError {
    use AlertDescription as Alert;
    use CertificateError as Certificate;
    let wrong_name = |names| TlsError::WrongName {
        wanted: name.to_str().into_owned(),
        names,
    };
    match error {
        Error::InvalidCertificate(error) => match error {
            Certificate::Expired | Certificate::ExpiredContext { .. } => TlsError::Expired,
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                TlsError::NotYetValid
            }
            Certificate::NotValidForName => wrong_name(Vec::new()),
            Certificate::NotValidForNameContext { presented, .. } => wrong_name(presented),
            // A signature is wrong where another authority has the same name.
            Certificate::UnknownIssuer | Certificate::BadSignature => TlsError::UnknownAuthority,
            other => TlsError::Certificate(other.to_string()),
        },
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

/// `tls.verify off`: accepts any certificate, but checks that the receiver owns its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
