//! Options of one receiver: of the output's section, or of a node of an `Upstream` file.

use std::fmt;

use kube_audit_core::options::{Choice, Given, OptionDef, OptionError, Options, table};

use crate::net::{Auth, Endpoint, Identity, Role, Secret, Tls, Versions};
use crate::protocol::compression::Compression;

/// Something about an option that a user should know, though it stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The option's name.
    pub option: &'static str,
    /// The sentence.
    pub text: String,
}

impl Remark {
    pub(super) fn new(given: &Given<'_>, text: &str) -> Remark {
        let place = given.place().map(|place| format!("{place}: "));
        Remark {
            option: given.def().name,
            text: format!(
                "{}`{} {}` {text}",
                place.unwrap_or_default(),
                given.def().name,
                &**given
            ),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Choice for Role {
    const CHOICES: &'static [(&'static str, Role)] =
        &[("primary", Role::Primary), ("standby", Role::Standby)];
}

/// The options that make up a receiver's handshake and TLS.
pub(super) const OF_A_RECEIVER: [&OptionDef; 17] = [
    table::HOST,
    table::PORT,
    table::SHARED_KEY,
    table::EMPTY_SHARED_KEY,
    table::USERNAME,
    table::PASSWORD,
    table::SELF_HOSTNAME,
    table::TLS_VERIFY,
    table::TLS_VHOST,
    table::TLS_CA_PATH,
    table::TLS_CA_FILE,
    table::TLS_CRT_FILE,
    table::TLS_KEY_FILE,
    table::TLS_KEY_PASSWD,
    table::TLS_MIN_VERSION,
    table::TLS_MAX_VERSION,
    table::TLS_CIPHERS,
];

/// `Host` and `Port`.
pub(super) fn address(options: &Options<'_>) -> Result<Option<Endpoint>, OptionError> {
    let port = options.number(table::PORT)?;
    let Some(host) = options.one(table::HOST)? else {
        return Ok(None);
    };
    // An IPv6 address has no brackets here.
    let name = match host.contains(':') {
        true => format!("[{}]", &*host),
        false => host.to_string(),
    };
    let address = match port {
        Some(port) => format!("tcp://{name}:{port}"),
        None => format!("tcp://{name}"),
    };
    let endpoint = address.parse().map_err(|error| host.rejected(error))?;
    Ok(Some(endpoint))
}

/// `Compress`; `default` where it is not set.
pub(super) fn compression(
    options: &Options<'_>,
    default: Compression,
) -> Result<Compression, OptionError> {
    Ok(options.parse(table::COMPRESS)?.unwrap_or(default))
}

/// The handshake, if there is a key for it.
pub(super) fn auth(options: &Options<'_>) -> Result<Option<Auth>, OptionError> {
    let key = options.one(table::SHARED_KEY)?;
    let empty = options.flag(table::EMPTY_SHARED_KEY)?.unwrap_or(false);
    let username = options.one(table::USERNAME)?;
    let password = options.one(table::PASSWORD)?;
    let hostname = options.one(table::SELF_HOSTNAME)?;
    let key = match (key, empty) {
        (Some(key), true) => {
            let expected = "a key is empty or not: leave one of them out";
            return Err(key.conflict(table::EMPTY_SHARED_KEY, expected));
        }
        (Some(key), false) => key.into_value(),
        (None, true) => String::new(),
        (None, false) => {
            let expected = "it is used only in the handshake, which the key turns on \
                            (`Empty_Shared_Key on` for an empty one)";
            return match username.or(password).or(hostname) {
                Some(given) => Err(given.requires(table::SHARED_KEY, expected)),
                None => Ok(None),
            };
        }
    };
    let both = "the receiver asks for both";
    let user = match (&username, password) {
        (None, None) => None,
        (Some(name), Some(password)) => {
            Some((name.to_string(), Secret::new(password.into_value())))
        }
        (Some(name), None) => return Err(name.requires(table::PASSWORD, both)),
        (None, Some(password)) => return Err(password.requires(table::USERNAME, both)),
    };
    let name = hostname.as_deref().unwrap_or("localhost").to_owned();
    match Auth::new(Secret::new(key), name, user) {
        Ok(auth) => Ok(Some(auth)),
        // Only a name can be too long.
        Err(error) => Err(match hostname.or(username) {
            Some(given) => given.caused_by(error),
            None => OptionError::caused_by(table::SHARED_KEY, error),
        }),
    }
}

/// TLS, if it is on.
pub(super) fn tls(options: &Options<'_>) -> Result<Option<Tls>, OptionError> {
    if let Some(given) = options.one(table::TLS_KEY_PASSWD)? {
        return Err(given.unsupported(
            "keys with a password are not read; store the key without one, readable for Fluent \
             Bit alone",
        ));
    }
    if let Some(given) = options.one(table::TLS_CIPHERS)? {
        return Err(given.unsupported(
            "cipher suites cannot be chosen, all that are offered are safe; leave it out",
        ));
    }
    let unverified = options.switched_off(table::TLS_VERIFY)?;
    let any_name = options.switched_off(table::TLS_VERIFY_HOSTNAME)?;
    let vhost = options.one(table::TLS_VHOST)?;
    let ca_file = options.one(table::TLS_CA_FILE)?;
    let ca_path = options.one(table::TLS_CA_PATH)?;
    let certificate = options.one(table::TLS_CRT_FILE)?;
    let key = options.one(table::TLS_KEY_FILE)?;
    let min = options.one(table::TLS_MIN_VERSION)?;
    let max = options.one(table::TLS_MAX_VERSION)?;
    if !options.flag(table::TLS)?.unwrap_or(false) {
        let all = [
            unverified,
            any_name,
            vhost,
            ca_file,
            ca_path,
            certificate,
            key,
            min,
            max,
        ];
        let expected = "TLS is off without it; write `tls on`, or leave this out";
        return match all.into_iter().flatten().next() {
            Some(given) => Err(given.requires(table::TLS, expected)),
            None => Ok(None),
        };
    }
    if let (Some(given), None) = (any_name, &unverified) {
        return Err(given.invalid(
            "the name is always verified; set `tls.vhost` to the name in the certificate, or \
             `tls.verify off`",
        ));
    }
    let together = "a certificate and its key belong together";
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(Identity {
            crt_file: certificate.into_value().into(),
            key_file: key.into_value().into(),
        }),
        (Some(certificate), None) => {
            return Err(certificate.requires(table::TLS_KEY_FILE, together));
        }
        (None, Some(key)) => return Err(key.requires(table::TLS_CRT_FILE, together)),
    };
    Ok(Some(Tls {
        verify: unverified.is_none(),
        vhost: vhost.map(Given::into_value),
        ca_file: ca_file.map(|path| path.into_value().into()),
        ca_path: ca_path.map(|path| path.into_value().into()),
        identity,
        versions: versions(min.as_ref(), max.as_ref())?,
    }))
}

/// A version of TLS that is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Tls12,
    Tls13,
}

/// Reads `1.2`, `TLSv1.2` and the like.
fn version(given: &Given<'_>) -> Result<Version, OptionError> {
    let lower = given.to_ascii_lowercase();
    let number = lower
        .trim_start_matches("tls")
        .trim_start_matches(['v', '_']);
    match number {
        // The oldest that is allowed may be older than the oldest that is spoken.
        "1" | "1.0" | "1.1" if given.def().is(table::TLS_MIN_VERSION.name) => Ok(Version::Tls12),
        "1.2" => Ok(Version::Tls12),
        "1.3" => Ok(Version::Tls13),
        _ => Err(given.invalid("use `1.2` or `1.3`, the versions that are spoken")),
    }
}

fn versions(min: Option<&Given<'_>>, max: Option<&Given<'_>>) -> Result<Versions, OptionError> {
    let oldest = min.map(version).transpose()?.unwrap_or(Version::Tls12);
    let newest = max.map(version).transpose()?.unwrap_or(Version::Tls13);
    match (oldest, newest, min) {
        (Version::Tls12, Version::Tls13, _) => Ok(Versions::Both),
        (Version::Tls12, Version::Tls12, _) => Ok(Versions::Tls12),
        (Version::Tls13, Version::Tls13, _) => Ok(Versions::Tls13),
        (Version::Tls13, Version::Tls12, Some(min)) => {
            Err(min.invalid("it is above `tls.max_version`; swap them"))
        }
        (Version::Tls13, Version::Tls12, None) => Ok(Versions::Tls12),
    }
}

/// Remarks about options of a receiver.
pub(super) fn remarks(options: &Options<'_>) -> Result<Vec<Remark>, OptionError> {
    let given = options.switched_off(table::SEND_OPTIONS)?;
    let text = "has no effect: receivers need the options to acknowledge and to inflate";
    Ok(given.iter().map(|given| Remark::new(given, text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube_audit_core::options::{Properties, SectionKind, table::Value};

    /// Lines, and a part of the error about them; an empty one for none.
    const CASES: &[(&[(&str, &str)], &str)] = &[
        (
            &[("Shared_Key", "k"), ("Username", "u"), ("Password", "p")],
            "",
        ),
        (&[("Empty_Shared_Key", "on")], ""),
        (&[("Shared_Key", "")], "`Shared_Key` is empty"),
        (
            &[("Shared_Key", "k"), ("Username", "u")],
            "`Username` is set without `Password`",
        ),
        (
            &[("Shared_Key", "k"), ("Password", "p")],
            "`Password` is set without `Username`",
        ),
        (
            &[("Shared_Key", "k"), ("Empty_Shared_Key", "on")],
            "`Shared_Key` and `Empty_Shared_Key` are both set",
        ),
        (
            &[("Username", "u")],
            "`Username` is set without `Shared_Key`",
        ),
        (
            &[("Password", "p")],
            "`Password` is set without `Shared_Key`",
        ),
        (
            &[("Self_Hostname", "me")],
            "`Self_Hostname` is set without `Shared_Key`",
        ),
        (&[("tls", "on")], ""),
        (&[("tls", "maybe")], "`tls` is `maybe`: use `on` or `off`"),
        (&[("tls.enable", "on")], "did you mean `tls`?"),
        (
            &[("tls.ca_file", "/ca.pem")],
            "`tls.ca_file` is set without `tls`: TLS is off without it",
        ),
        (
            &[("tls", "off"), ("tls.verify", "off")],
            "`tls.verify` is set without `tls`",
        ),
        (
            &[("tls", "on"), ("tls.verify_hostname", "off")],
            "`tls.verify_hostname` is `off`: the name is always verified",
        ),
        (
            &[
                ("tls", "on"),
                ("tls.verify", "off"),
                ("tls.verify_hostname", "off"),
            ],
            "",
        ),
        (
            &[("tls", "on"), ("tls.key_passwd", "hunter2")],
            "`tls.key_passwd` is not supported",
        ),
        (
            &[("tls", "on"), ("tls.ciphers", "x")],
            "`tls.ciphers` is not supported: cipher suites",
        ),
        (
            &[("tls", "on"), ("tls.crt_file", "x")],
            "`tls.crt_file` is set without `tls.key_file`",
        ),
        (
            &[("tls", "on"), ("tls.key_file", "x")],
            "`tls.key_file` is set without `tls.crt_file`",
        ),
        (&[("tls", "on"), ("tls.min_version", "TLSv1.1")], ""),
        (
            &[("tls", "on"), ("tls.max_version", "tlsv1.1")],
            "`tls.max_version` is `tlsv1.1`: use `1.2` or `1.3`",
        ),
        (
            &[
                ("tls", "on"),
                ("tls.min_version", "1.3"),
                ("tls.max_version", "tlsv1.2"),
            ],
            "swap them",
        ),
        (
            &[("Compress", "lz4")],
            "`Compress` is `lz4`: use one of gzip",
        ),
        (
            &[("Host", "a"), ("Port", "0")],
            "`Port` is `0`: use a number",
        ),
        (
            &[("Host", "a"), ("Port", "abc")],
            "`Port` is `abc`: use a number",
        ),
        (&[("Host", "u:p@h")], "valid IPv6 address"),
        (&[("Host", "hunter2@h")], "has no valid host"),
    ];

    fn receiver(options: &Options<'_>) -> Result<(), OptionError> {
        address(options)?;
        auth(options)?;
        tls(options)?;
        compression(options, Compression::None)?;
        Ok(())
    }

    #[test]
    fn sections_and_nodes_have_the_same_rules() {
        for &(lines, message) in CASES {
            let section: Properties = lines
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            let entries = section.iter().cloned().zip(8..);
            let entries: Vec<_> = entries
                .map(|((name, value), line)| (line, name.to_ascii_lowercase(), value))
                .collect();
            let section = Options::section(SectionKind::Output, &section);
            let section = section.and_then(|options| receiver(&options));
            let node = Options::node("nodes.conf", 7, entries);
            let node = node.and_then(|options| receiver(&options));
            for (result, place) in [(section, ""), (node, "nodes.conf:")] {
                let text = result
                    .as_ref()
                    .map_or_else(ToString::to_string, |()| String::new());
                assert_eq!(message.is_empty(), text.is_empty(), "{lines:?}: {text}");
                let right = text.is_empty() || text.starts_with(place) && text.contains(message);
                assert!(right, "{lines:?}: {text}, not {message}");
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
    }

    #[test]
    fn the_table_has_the_words_of_these_types() {
        let words = |def: &OptionDef| match &def.value {
            Value::Choice(words) => words(),
            other => panic!("{other:?}"),
        };
        let roles: Vec<_> = Role::CHOICES.iter().map(|&(word, _)| word).collect();
        assert_eq!(words(table::ROLE), roles);
        for word in words(table::COMPRESS) {
            let known = word.parse::<Compression>();
            assert!(known.is_ok() || word == "zstd", "{word}");
        }
    }
}
