//! PEM files of a receiver, and how a change of them is noticed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kube_audit_files::read_regular_file;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsSetupError;
use crate::net::node::{Identity, Tls};

/// The largest PEM file that is read, in bytes; the authorities of a system have about 220 kB.
const MAX_FILE: u64 = 8 << 20;

/// Stamps that differ if a file has changed, also if a symbolic link on its path
/// was swapped, as Kubernetes does with mounted secrets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

/// Device, inode, size, and time of the last change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl Stamps {
    pub(super) fn take(tls: &Tls) -> Stamps {
        let mut paths = Vec::new();
        paths.extend(tls.ca_file.clone());
        if let Some(directory) = &tls.ca_path {
            paths.extend(files_in(directory).unwrap_or_default());
        }
        if let Some(Identity { crt_file, key_file }) = &tls.identity {
            paths.extend([crt_file.clone(), key_file.clone()]);
        }
        Stamps(paths.iter().map(|path| stamp(path)).collect())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
    ))
}

/// Reads the certificate authorities that receivers are verified with.
pub(super) fn roots(tls: &Tls) -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    if tls.ca_file.is_none() && tls.ca_path.is_none() {
        let found = rustls_native_certs::load_native_certs();
        // System stores contain certificates that rustls rejects; the others do.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(TlsSetupError::NoSystemRoots(errors.join("; ")));
        }
        return Ok(roots);
    }
    if let Some(path) = &tls.ca_file {
        // As for OpenSSL, one certificate that can't be read does not spoil the others.
        roots.add_parsable_certificates(certificates(path)?);
        if roots.is_empty() {
            return Err(content(path, "has no certificate of an authority"));
        }
    }
    if let Some(directory) = &tls.ca_path {
        for path in files_in(directory)? {
            // Such directories also contain revocation lists and notes.
            roots.add_parsable_certificates(certificates(&path).unwrap_or_default());
        }
        if roots.is_empty() {
            return Err(content(directory, "has no file with a certificate"));
        }
    }
    Ok(roots)
}

/// Reads the client's certificate chain and key.
pub(super) fn identity(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsSetupError> {
    let chain = certificates(&identity.crt_file)?;
    let path = &identity.key_file;
    let pem = read(path)?;
    if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        let flaw = "has a key with a password, which is not supported; store it without one, readable for Fluent Bit alone";
        return Err(content(path, flaw));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| content(path, format!("has no private key in PEM: {error}")))?;
    Ok((chain, key))
}

/// Reads the certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(path, format!("is not valid PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(content(path, "has no certificate in PEM"));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    read_regular_file(path, MAX_FILE).map_err(|error| TlsSetupError::File {
        path: path.to_owned(),
        error,
    })
}

/// Lists the files of a directory, sorted.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, TlsSetupError> {
    let list = || {
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_file() {
                paths.insert(paths.partition_point(|before| *before < path), path);
            }
        }
        Ok(paths)
    };
    list().map_err(|error| TlsSetupError::File {
        path: directory.to_owned(),
        error,
    })
}

fn content(path: &Path, flaw: impl Into<String>) -> TlsSetupError {
    TlsSetupError::Content {
        path: path.to_owned(),
        flaw: flaw.into(),
    }
}
