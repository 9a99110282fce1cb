//! Configuration of one receiver.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::endpoint::{Endpoint, EndpointError};
use crate::protocol::compression::Compression;
use crate::protocol::handshake::Auth;

/// Configuration of one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name in log and metrics: the endpoint, or the name in an upstream file.
    pub name: String,
    /// Address.
    pub endpoint: Endpoint,
    /// Share of the load, relative to the other receivers. Default 1.
    pub weight: NonZeroU32,
    /// Primary or standby.
    pub role: Role,
    /// Credentials of the shared-key handshake; `None` for no handshake.
    pub auth: Option<Auth>,
    /// TLS settings; `None` for no TLS.
    pub tls: Option<Tls>,
    /// Compression of frames. Default none.
    pub compression: Compression,
}

impl Node {
    /// Creates a primary of weight 1, without handshake and TLS.
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

    /// Parses endpoints separated by commas, at least one. `tls://host:port` means
    /// TLS with its default settings.
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
    /// Writes the name, if it has one of its own, and the endpoint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.endpoint.to_string();
        if self.name == endpoint {
            f.write_str(&endpoint)
        } else {
            write!(f, "{} at {endpoint}", self.name)
        }
    }
}

/// Role of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Gets its share of the frames whenever it is up.
    #[default]
    Primary,
    /// Used only while no primary is up.
    Standby,
}

/// TLS settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// True to verify the receiver's certificate and its name. Default true.
    pub verify: bool,
    /// Name to verify and to ask for, if it is not the endpoint's host.
    pub vhost: Option<String>,
    /// PEM file of certificate authorities. Without it and `ca_path` the system's
    /// are used.
    pub ca_file: Option<PathBuf>,
    /// Directory of PEM files of certificate authorities.
    pub ca_path: Option<PathBuf>,
    /// The client's own certificate and key.
    pub identity: Option<Identity>,
    /// Versions of TLS. Default 1.2 and 1.3.
    pub versions: Versions,
}

impl Default for Tls {
    /// Verifies with the system's authorities, without a client certificate.
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

/// PEM files of a certificate chain and its key. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain, the client's own certificate first.
    pub crt_file: PathBuf,
    /// Private key.
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
