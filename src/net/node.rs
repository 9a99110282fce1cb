//! A receiver with everything that is set for it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::endpoint::Endpoint;

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What the log calls it: its endpoint, or its name in an upstream file.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Its share of the load beside the other ones. Default 1.
    pub weight: NonZeroU32,
    /// What it is there for.
    pub role: Role,
    /// The handshake that it wants; `None` for none.
    pub auth: Option<Auth>,
    /// TLS on the way to it; `None` for none.
    pub tls: Option<Tls>,
}

impl Node {
    /// A primary of weight 1, without handshake and TLS.
    pub fn new(endpoint: Endpoint) -> Node {
        Node {
            name: endpoint.to_string(),
            endpoint,
            weight: NonZeroU32::MIN,
            role: Role::Primary,
            auth: None,
            tls: None,
        }
    }
}

impl fmt::Display for Node {
    /// Endpoint, after the name if it has one of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.to_string();
        if self.name == endpoint {
            f.write_str(&endpoint)
        } else {
            write!(f, "{} at {endpoint}", self.name)
        }
    }
}

/// What a receiver is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes its share whenever it is up.
    Primary,
    /// Used only while no primary is up.
    Standby,
}

/// What the client shows and checks in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `Shared_Key`; an empty one is a key too.
    pub shared_key: Secret,
    /// `Self_Hostname`.
    pub self_hostname: String,
    /// `Username` and `Password`.
    pub user: Option<(String, Secret)>,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whether the receiver's certificate, its name included, is verified. Default on.
    pub verify: bool,
    /// The name to verify and to ask for, where it is not the endpoint's host.
    pub vhost: Option<String>,
    /// Authorities in a PEM file; without it and `ca_path` those of the system.
    pub ca_file: Option<PathBuf>,
    /// Authorities in a directory of PEM files.
    pub ca_path: Option<PathBuf>,
    /// The client's certificate chain and key, PEM.
    pub identity: Option<Identity>,
    /// Oldest and newest version that is spoken. Default TLS 1.2 and 1.3.
    pub versions: Versions,
}

/// A certificate chain and its key, in PEM files that are read anew when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The chain, the client's own certificate first.
    pub crt_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
}

/// Something that never goes into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Hides the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes, to be hashed.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
