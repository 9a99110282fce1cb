//! A receiver with everything that is set for it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::endpoint::{Endpoint, EndpointError};
use crate::protocol::compression::Compression;
use crate::protocol::handshake::Auth;

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
    /// How frames for it are compressed. Default not at all.
    pub compression: Compression,
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
            compression: Compression::None,
        }
    }

    /// Reads endpoints separated by commas; there must be at least one. Those
    /// written as `tls://host:port` are spoken to by TLS, with its defaults.
    pub fn parse_list(text: &str) -> Result<Vec<Node>, EndpointError> {
        let node = |text: &str| {
            let (tls, rest) = match Endpoint::strip_tls(text) {
                Some(rest) => (Some(Tls::default()), rest),
                None => (None, text),
            };
            let endpoint = rest.parse()?;
            Ok(Node {
                tls,
                ..Node::new(endpoint)
            })
        };
        text.split(',').map(node).collect()
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    /// Takes its share whenever it is up.
    Primary,
    /// Used only while no primary is up.
    Standby,
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

impl Default for Tls {
    /// Verified by the authorities of the system, without a certificate of our own.
    fn default() -> Tls {
        Tls {
            verify: true,
            vhost: None,
            ca_file: None,
            ca_path: None,
            identity: None,
            versions: Versions::Both,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_can_ask_for_tls() {
        let nodes = Node::parse_list("tls://logs.example:1, TLS://[::1], logs.example").unwrap();
        let names: Vec<_> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(
            names,
            ["logs.example:1", "[::1]:24224", "logs.example:24224"]
        );
        let tls: Vec<_> = nodes.iter().map(|node| node.tls.is_some()).collect();
        assert_eq!(tls, [true, true, false]);
        let tls = nodes[0].tls.as_ref().unwrap();
        assert!(tls.verify && *tls == Tls::default());
        assert!(matches!(
            Node::parse_list("tls://logs.example:0"),
            Err(EndpointError::Port(_))
        ));
    }
}
