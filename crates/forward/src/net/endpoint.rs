//! Endpoints of receivers as users write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use kube_audit_core::options::without_credentials;

/// Port of the Forward protocol, the default of endpoints without a port.
pub const DEFAULT_PORT: u16 = 24224;

/// Longest path of a Unix socket, in bytes: `sun_path` has 108 with its final NUL.
const MAX_UNIX_PATH: usize = 107;

/// Endpoint of a receiver: `host`, `host:port`, `tcp://host:port`, `[::1]:port` or
/// `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and a TCP port.
    Tcp {
        /// Name or address.
        host: Host,
        /// Port, never 0.
        port: u16,
    },
    /// Absolute path of a Unix socket.
    Unix(PathBuf),
}

/// A host as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, which is looked up for every connection.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// An invalid endpoint; the message names a valid one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// An empty text.
    #[error("an endpoint is empty; write `host:port`, `tcp://host:port` or `unix:/path`")]
    Empty,
    /// The scheme `tls://`, where TLS is configured by other means.
    #[error("`{0}` asks for TLS, which is not part of the endpoint here; write `host:port`")]
    Tls(String),
    /// An unknown scheme.
    #[error("`{0}` has an unknown scheme; `tcp://host:port` and `unix:/path` are known")]
    Scheme(String),
    /// A path that does not begin with a slash.
    #[error("`{0}` has no absolute path; write `unix:/path`")]
    RelativePath(String),
    /// A path that does not fit into a socket address.
    #[error("the path of `{0}` is longer than the {MAX_UNIX_PATH} bytes of a Unix socket")]
    LongPath(String),
    /// An invalid port.
    #[error("`{0}` has no valid port; write a number from 1 to 65535 after the last colon")]
    Port(String),
    /// An IPv6 address without brackets.
    #[error("`{0}` has an IPv6 address without brackets; write `[::1]:24224`")]
    BareIpv6(String),
    /// Brackets without an IPv6 address.
    #[error("`{0}` has no valid IPv6 address in its brackets; write `[::1]:24224`")]
    Ipv6(String),
    /// An invalid host name.
    #[error("`{0}` has no valid host; a host has letters, digits, `-`, `_` and `.`")]
    Host(String),
}

impl Endpoint {
    /// Reads endpoints separated by commas; there must be at least one.
    pub fn parse_list(text: &str) -> Result<Vec<Endpoint>, EndpointError> {
        text.split(',').map(str::parse).collect()
    }

    /// Returns the text after `tls://`, if it begins with that.
    pub(super) fn strip_tls(text: &str) -> Option<&str> {
        after_scheme(text.trim(), "tls://")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let text = text.trim();
        let wrong =
            |error: fn(String) -> EndpointError| error(without_credentials(text).into_owned());
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        let scheme = |prefix: &str| after_scheme(text, prefix);
        if scheme("tls://").is_some() {
            return Err(wrong(EndpointError::Tls));
        }
        if let Some(path) = scheme("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                _ if !path.starts_with('/') => Err(wrong(EndpointError::RelativePath)),
                _ if path.len() > MAX_UNIX_PATH => Err(wrong(EndpointError::LongPath)),
                _ => Ok(Endpoint::Unix(path.into())),
            };
        }
        let address = scheme("tcp://").unwrap_or(text);
        if address.contains("://") {
            return Err(wrong(EndpointError::Scheme));
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (ip, port) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong(EndpointError::Ipv6))?;
                let ip: Ipv6Addr = ip.parse().map_err(|_| wrong(EndpointError::Ipv6))?;
                let port = match port {
                    "" => None,
                    _ => Some(
                        port.strip_prefix(':')
                            .ok_or_else(|| wrong(EndpointError::Port))?,
                    ),
                };
                (Host::Ip(ip.into()), port)
            }
            None => {
                if address.parse::<Ipv6Addr>().is_ok() {
                    return Err(wrong(EndpointError::BareIpv6));
                }
                let (host, port) = match address.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (address, None),
                };
                (
                    parse_host(host).ok_or_else(|| wrong(EndpointError::Host))?,
                    port,
                )
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(wrong(EndpointError::Port)),
                Ok(port) => port,
            },
        };
        Ok(Endpoint::Tcp { host, port })
    }
}

fn after_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    match text.split_at_checked(scheme.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => Some(rest),
        _ => None,
    }
}

fn parse_host(host: &str) -> Option<Host> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if host.is_empty() || !host.bytes().all(known) {
        return None;
    }
    Some(
        host.parse()
            .map_or_else(|_| Host::Name(host.to_owned()), Host::Ip),
    )
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp {
                host: Host::Name(name),
                port,
            } => write!(f, "{name}:{port}"),
            Endpoint::Tcp {
                host: Host::Ip(ip),
                port,
            } => {
                write!(f, "{}", std::net::SocketAddr::new(*ip, *port))
            }
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_users_write() {
        let cases = [
            ("logs.example:5000", "logs.example:5000"),
            (" logs.example ", "logs.example:24224"),
            ("tcp://logs.example:1", "logs.example:1"),
            ("TCP://10.0.0.1:65535", "10.0.0.1:65535"),
            ("[::1]:5000", "[::1]:5000"),
            ("[fd00::1]", "[fd00::1]:24224"),
            ("unix:/run/logs.sock", "unix:/run/logs.sock"),
            ("unix:///run/logs.sock", "unix:/run/logs.sock"),
        ];
        for (text, display) in cases {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), display, "{text}");
            assert_eq!(display.parse(), Ok(endpoint), "{display} reads back");
        }
        assert_eq!(Endpoint::parse_list("a:1, b:2").unwrap().len(), 2);
    }

    #[test]
    fn names_what_is_wrong() {
        let long = format!("unix:/{}", "x".repeat(107));
        type Wrong = fn(String) -> EndpointError;
        let cases: [(&str, Wrong); 17] = [
            ("tls://logs.example:1", EndpointError::Tls),
            ("http://logs.example", EndpointError::Scheme),
            ("unix:run/x", EndpointError::RelativePath),
            ("unix:", EndpointError::RelativePath),
            (&long, EndpointError::LongPath),
            ("a:0", EndpointError::Port),
            ("a:65536", EndpointError::Port),
            ("a:", EndpointError::Port),
            ("a:b", EndpointError::Port),
            ("a:1/path", EndpointError::Port),
            ("[::1]5000", EndpointError::Port),
            ("::1", EndpointError::BareIpv6),
            ("[::1", EndpointError::Ipv6),
            ("[logs]:1", EndpointError::Ipv6),
            (":24224", EndpointError::Host),
            ("tcp://", EndpointError::Host),
            ("log s:1", EndpointError::Host),
        ];
        for (text, error) in cases {
            assert_eq!(
                text.parse::<Endpoint>(),
                Err(error(text.to_owned())),
                "{text}"
            );
        }
        for text in ["", "  ", "a:1,", ",a:1"] {
            assert_eq!(
                Endpoint::parse_list(text),
                Err(EndpointError::Empty),
                "{text}"
            );
        }
    }
}
