//! Verification of receivers, which takes what OpenSSL takes as far as that is safe.
//!
//! webpki judges chains. It refuses two kinds that are common and harmless, which are
//! judged here: a certificate authority's certificate that a receiver uses as its own
//! (`openssl req -x509`), and version 1 (`openssl x509 -req` without extensions).

use std::sync::Arc;

use memchr::memmem;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::TlsError;
use super::certificate::{Certificate, CommonName, Form, key_parts};

/// Name constraints in an extension of a certificate.
const NAME_CONSTRAINTS: &[u8] = &[0x06, 0x03, 0x55, 0x1d, 0x1e];

/// Verifies a receiver's certificate, and that the receiver owns its key.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The authorities; `None` to accept any certificate (`tls.verify off`).
    pub(super) roots: Option<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn verify(
        &self,
        roots: &RootCertStore,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let Some(certificate) = Certificate::parse(der) else {
            return Err(TlsError::Certificate("it cannot be read".into()));
        };
        if self.is_vouched_for(&certificate, roots) {
            if now.as_secs() < certificate.not_before {
                return Err(TlsError::NotYetValid);
            }
            if now.as_secs() > certificate.not_after {
                return Err(TlsError::Expired);
            }
        } else {
            ParsedCertificate::try_from(der)
                .and_then(|parsed| {
                    let algorithms = self.algorithms.all;
                    verify_server_cert_signed_by_trust_anchor(
                        &parsed,
                        roots,
                        intermediates,
                        now,
                        algorithms,
                    )
                })
                .map_err(|error| flaw(error, &certificate))?;
        }
        let constrained = |der: &CertificateDer<'_>| memmem::find(der, NAME_CONSTRAINTS).is_some();
        let common = match roots
            .roots
            .iter()
            .any(|root| root.name_constraints.is_some())
            || intermediates.iter().any(constrained)
        {
            true => CommonName::Ignored,
            false => CommonName::Counts,
        };
        match certificate.is_for(name, common) {
            true => Ok(()),
            false => Err(TlsError::WrongName {
                wanted: name.to_str().into_owned(),
                names: certificate.names(common),
            }),
        }
    }

    /// Returns true if the receiver's key is the one of a configured certificate, or a
    /// configured authority has itself issued a certificate that webpki does not accept.
    fn is_vouched_for(&self, certificate: &Certificate<'_>, roots: &RootCertStore) -> bool {
        let algorithms = self.algorithms.all.iter();
        let algorithms =
            algorithms.filter(|it| it.signature_alg_id().as_ref() == certificate.algorithm);
        let has_issued = |issuer: &[u8], key| {
            let algorithms = algorithms.clone();
            certificate.form != Form::Usual
                && issuer == certificate.issuer
                && has_signed(key, algorithms, certificate.signed, certificate.signature)
        };
        roots.roots.iter().any(|root| {
            let key = root.subject_public_key_info.as_ref();
            key == certificate.key.content || has_issued(root.subject.as_ref(), key)
        })
    }

    /// Returns the algorithms for signatures of handshakes.
    fn algorithms_of(
        &self,
        scheme: SignatureScheme,
    ) -> impl Iterator<Item = &'static &'static dyn SignatureVerificationAlgorithm> {
        let mapping = self.algorithms.mapping.iter();
        let mapping = mapping.filter(move |(other, _)| *other == scheme);
        mapping.flat_map(|(_, algorithms)| algorithms.iter())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            self.verify(roots, der, intermediates, name, now)
                .map_err(refusal)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = match version_1(der) {
            None => verify_tls12_signature(message, der, signature, &self.algorithms),
            Some(certificate) => {
                let (key, algorithms) = (
                    certificate.key.content,
                    self.algorithms_of(signature.scheme),
                );
                match has_signed(key, algorithms, message, signature.signature()) {
                    true => Ok(HandshakeSignatureValid::assertion()),
                    false => Err(CertificateError::BadSignature.into()),
                }
            }
        };
        verified.map_err(|_| refusal(TlsError::Key))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        der: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = match version_1(der) {
            None => verify_tls13_signature(message, der, signature, &self.algorithms),
            Some(certificate) => {
                let key = SubjectPublicKeyInfoDer::from(certificate.key.whole);
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
            }
        };
        verified.map_err(|_| refusal(TlsError::Key))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn version_1<'a>(der: &'a CertificateDer<'_>) -> Option<Certificate<'a>> {
    Certificate::parse(der).filter(|certificate| certificate.form == Form::Version1)
}

/// Returns true if the owner of a key, a `SubjectPublicKeyInfo` without its header,
/// has signed a message.
fn has_signed(
    key: &[u8],
    mut algorithms: impl Iterator<Item = &'static &'static dyn SignatureVerificationAlgorithm>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    key_parts(key).is_some_and(|(algorithm, key)| {
        algorithms.any(|it| {
            it.public_key_alg_id().as_ref() == algorithm
                && it.verify_signature(key, message, signature).is_ok()
        })
    })
}

/// Passes an error through rustls; [`reason`] gets it back.
fn refusal(error: TlsError) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

/// Returns the reason of a refusal.
pub(super) fn reason(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::Other(OtherError(error)) => error.downcast_ref().cloned(),
        _ => None,
    }
    .unwrap_or_else(|| TlsError::Certificate(error.to_string()))
}

/// Translates an error about a chain.
fn flaw(error: Error, certificate: &Certificate<'_>) -> TlsError {
    let Error::InvalidCertificate(error) = error else {
        return TlsError::Other(error.to_string());
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotYetValid
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsError::NotForServers
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            TlsError::SignatureAlgorithm
        }
        // A signature is wrong where another authority has the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            TlsError::UnknownAuthority(certificate.issuer_name())
        }
        // What webpki says about the form is beside the point.
        _ if certificate.form != Form::Usual => {
            TlsError::UnknownAuthority(certificate.issuer_name())
        }
        other => TlsError::Certificate(other.to_string()),
    }
}
