//! Options of the output alone: receivers, and how the Forward protocol is spoken.

use std::fs;

use crate::net::{Config, Delivery, Identity, Node, Tls, Versions};
use crate::protocol::compression::{Compression, CompressionError};
use crate::protocol::handshake::{Auth, Secret};
use crate::protocol::wire::{Acks, ExtraOption};
use kube_audit_core::chunk::{EntryForm, EntryMetadata, EntryTime, TagTemplate};

mod upstream;
mod upstream_yaml;

use kube_audit_core::options::{HostSettings, HostTls, Options};
use kube_audit_core::options::{OptionError, display_name, wrong};
use upstream::parse_upstream;

/// Options of the output alone. Some of them only so that a configuration of the
/// host's own `forward` output works as it is.
pub const OWN: [&str; 27] = [
    "ack_timeout",
    "ack_window",
    "add_option",
    "compress",
    "connect_timeout",
    "empty_shared_key",
    "endpoint",
    "flush_wait",
    "failover_after",
    "fluentd_compat",
    "idle_timeout",
    "max_frame",
    "ordered",
    "password",
    "require_ack_response",
    "retain_metadata_in_forward_mode",
    "rotate_after",
    "self_hostname",
    "send_options",
    "shared_key",
    "tag",
    "time_as_integer",
    "tls.verify_hostname",
    "unix_path",
    "upstream",
    "username",
    "write_timeout",
];

/// How an output forwards.
#[derive(Debug)]
pub struct ForwardOptions {
    /// Receivers, timers and sizes.
    pub config: Config,
    /// The form of entries.
    pub form: EntryForm,
    /// The tag under which records are sent, where it is not their own.
    pub tag: Option<TagTemplate>,
    /// What a user should know of options that lose something, or are not followed.
    pub remarks: Vec<&'static str>,
}

impl ForwardOptions {
    /// Reads the options.
    pub fn new(options: &Options<'_>, host: &HostSettings) -> Result<ForwardOptions, OptionError> {
        let compression = compression(options)?;
        let nodes = match options.one("upstream")? {
            Some(file) => upstream(file, compression, options, host)?,
            None => {
                let auth = auth(options)?;
                let tls = host.tls.as_ref().map(tls_of).transpose()?;
                let mut nodes = receivers(options, host)?;
                for node in &mut nodes {
                    node.auth = auth.clone();
                    node.tls = tls.clone().or(node.tls.take());
                    node.compression = compression;
                }
                nodes
            }
        };
        let mut config = Config::new(nodes);
        for (name, place) in [
            ("connect_timeout", &mut config.connect_timeout),
            ("write_timeout", &mut config.limits.write_timeout),
            ("ack_timeout", &mut config.limits.ack_timeout),
            ("flush_wait", &mut config.flush_wait),
            ("failover_after", &mut config.failover_after),
            ("idle_timeout", &mut config.idle_timeout),
            ("rotate_after", &mut config.rotate_after),
        ] {
            if let Some(duration) = options.duration(name)? {
                *place = duration;
            }
        }
        if options.flag("ordered")?.unwrap_or(false) {
            config.delivery = Delivery::Ordered;
        }
        if let Some(window) = options.number("ack_window", 1..=1024)? {
            config.limits.window = window;
        }
        // Fluent Bit's receiver cuts and inflates in pieces of 1,024,000 bytes.
        if let Some(frame) = options.number("max_frame", 1_000..=6_000_000)? {
            config.caps.frame = frame;
        }
        if options.flag("require_ack_response")? == Some(false) {
            config.limits.acks = Acks::Waived;
        }
        config.extra_options = extra_options(options)?.into();
        let form = EntryForm {
            time: if options.flag("time_as_integer")?.unwrap_or(false) {
                EntryTime::Seconds
            } else {
                EntryTime::EventTime
            },
            metadata: if options
                .flag("retain_metadata_in_forward_mode")?
                .unwrap_or(false)
            {
                EntryMetadata::Retain
            } else {
                EntryMetadata::Drop
            },
        };
        Ok(ForwardOptions {
            config,
            form,
            tag: tag(options)?,
            remarks: remarks(options)?,
        })
    }
}

fn receivers(options: &Options<'_>, host: &HostSettings) -> Result<Vec<Node>, OptionError> {
    let parse = |name: &str, text: &str| {
        Node::parse_list(text).map_err(|error| wrong(name, text, &error.to_string()))
    };
    let unix_path = options.one("unix_path")?;
    match (options.one("endpoint")?, unix_path, &host.host) {
        (Some(_), Some(path), _) => Err(OptionError(format!(
            "`Endpoint` and `Unix_Path` (`{path}`) are both set: write all receivers into `Endpoint`, \
             as `unix:/path`, separated by commas"
        ))),
        (Some(_), _, Some(host)) => Err(OptionError(format!(
            "`Endpoint` and `Host` (`{host}`) are both set: write all receivers into `Endpoint`, \
             separated by commas"
        ))),
        (Some(endpoint), None, None) => parse("endpoint", endpoint),
        (None, Some(path), _) => parse("unix_path", &format!("unix:{path}")),
        (None, None, Some(name)) => {
            let name = if name.contains(':') { format!("[{name}]") } else { name.clone() };
            let text = host.port.map_or(name.clone(), |port| format!("{name}:{port}"));
            parse("host", &text)
        }
        (None, None, None) => Err(OptionError(
            "no receiver is set: write `Endpoint host:port` (several separated by commas), or `Host` \
             and `Port`"
                .to_owned(),
        )),
    }
}

/// The nodes of an upstream file, to which the options of a receiver belong.
fn upstream(
    file: &str,
    compression: Compression,
    options: &Options<'_>,
    host: &HostSettings,
) -> Result<Vec<Node>, OptionError> {
    const OF_A_NODE: [&str; 7] = [
        "endpoint",
        "unix_path",
        "shared_key",
        "empty_shared_key",
        "username",
        "password",
        "self_hostname",
    ];
    for name in OF_A_NODE {
        if options.one(name)?.is_some() {
            return Err(OptionError(format!(
                "`Upstream` and `{}` are both set: with an upstream file, that belongs into its \
                 [NODE] sections",
                display_name(name)
            )));
        }
    }
    if host.host.is_some() || host.tls.is_some() {
        return Err(OptionError(
            "`Upstream` is set beside `Host` or `tls`: with an upstream file, those belong into its \
             [NODE] sections"
                .to_owned(),
        ));
    }
    let text = fs::read_to_string(file).map_err(|error| {
        wrong(
            "upstream",
            file,
            &format!("the file cannot be read ({error})"),
        )
    })?;
    parse_upstream(file, &text, compression, |name| std::env::var(name).ok())
        .map_err(|error| OptionError(error.to_string()))
}

fn auth(options: &Options<'_>) -> Result<Option<Auth>, OptionError> {
    let key = options.credential("shared_key")?;
    let empty = options.flag("empty_shared_key")?.unwrap_or(false);
    let shared_key = match (key, empty) {
        (Some(_), true) => {
            return Err(OptionError(
                "`Shared_Key` and `Empty_Shared_Key` are both set: a key is empty or not"
                    .to_owned(),
            ));
        }
        (Some(key), false) => key,
        (None, true) => "".into(),
        (None, false) => {
            for name in ["username", "password", "self_hostname"] {
                if options.one(name)?.is_some() {
                    return Err(OptionError(format!(
                        "`{}` is set without `Shared_Key`: it is used only in the handshake, which \
                         the key turns on (`Empty_Shared_Key on` for an empty one)",
                        display_name(name)
                    )));
                }
            }
            return Ok(None);
        }
    };
    let user = match (
        options.credential("username")?,
        options.credential("password")?,
    ) {
        (Some(name), password) => Some((
            name.into_owned(),
            Secret::new(password.unwrap_or_default().into_owned()),
        )),
        (None, Some(_)) => {
            return Err(OptionError(
                "`Password` is set without `Username`: the receiver asks for both".to_owned(),
            ));
        }
        (None, None) => None,
    };
    let hostname = options
        .one("self_hostname")?
        .unwrap_or("localhost")
        .to_owned();
    Auth::new(Secret::new(shared_key.into_owned()), hostname, user)
        .map(Some)
        .map_err(|error| OptionError(error.to_string()))
}

fn compression(options: &Options<'_>) -> Result<Compression, OptionError> {
    let Some(value) = options.one("compress")? else {
        return Ok(Compression::None);
    };
    let wrong = |error: CompressionError| wrong("compress", value, &error.to_string());
    value.parse().map_err(wrong)
}

/// What every frame says on the user's behalf.
fn extra_options(options: &Options<'_>) -> Result<Vec<ExtraOption>, OptionError> {
    const NAME: &str = "add_option";
    let mut extra: Vec<ExtraOption> = Vec::new();
    for (key, value) in options.pairs(NAME)? {
        let text = String::from_utf8_lossy(&key).into_owned();
        if extra.iter().any(|option| option.key() == key) {
            return Err(wrong(NAME, &text, "this key is set already: set it once"));
        }
        let option = ExtraOption::new(key, value);
        extra.push(option.map_err(|error| wrong(NAME, &text, &error.to_string()))?);
    }
    Ok(extra)
}

/// The tag under which records are sent. The host has put the values of
/// environment variables into it already.
fn tag(options: &Options<'_>) -> Result<Option<TagTemplate>, OptionError> {
    let Some(text) = options.one("tag")? else {
        return Ok(None);
    };
    let template = TagTemplate::parse(text);
    let template = template.map_err(|error| wrong("tag", text, &error.to_string()))?;
    Ok(Some(template))
}

/// What the `tls.*` options of the host's own mean here.
fn tls_of(host: &HostTls) -> Result<Tls, OptionError> {
    if host.key_passwd.is_some() {
        return Err(OptionError(
            "`tls.key_passwd` is set: keys with a password are not read here, give the plain key \
             with narrow permissions"
                .to_owned(),
        ));
    }
    if let Some(ciphers) = &host.ciphers {
        return Err(wrong(
            "tls.ciphers",
            ciphers,
            "cipher suites cannot be chosen here, all that are offered are safe: leave it out",
        ));
    }
    let identity = match (&host.crt_file, &host.key_file) {
        (None, None) => None,
        (Some(crt_file), Some(key_file)) => Some(Identity {
            crt_file: crt_file.into(),
            key_file: key_file.into(),
        }),
        _ => {
            return Err(OptionError(
                "`tls.crt_file` and `tls.key_file` belong together: set both or none".to_owned(),
            ));
        }
    };
    Ok(Tls {
        verify: host.verify,
        vhost: host.vhost.clone(),
        ca_file: host.ca_file.as_ref().map(Into::into),
        ca_path: host.ca_path.as_ref().map(Into::into),
        identity,
        versions: versions(host.min_version.as_deref(), host.max_version.as_deref())?,
    })
}

/// A range of TLS versions, written as `1.2`, `TLSv1.2` and the like.
fn versions(min: Option<&str>, max: Option<&str>) -> Result<Versions, OptionError> {
    let minor = |name: &str, text: Option<&str>, unset: u32| {
        let Some(text) = text else { return Ok(unset) };
        let lower = text.to_ascii_lowercase();
        match lower
            .trim_start_matches("tls")
            .trim_start_matches(['v', '_'])
        {
            "1.0" | "1" | "1.1" if name == "tls.min_version" => Ok(2),
            "1.2" => Ok(2),
            "1.3" => Ok(3),
            _ => Err(wrong(
                name,
                text,
                "TLS 1.2 and 1.3 are spoken here: use `1.2` or `1.3`",
            )),
        }
    };
    match (
        minor("tls.min_version", min, 2)?,
        minor("tls.max_version", max, 3)?,
    ) {
        (2, 3) => Ok(Versions::Both),
        (2, _) => Ok(Versions::Tls12),
        (_, 3) => Ok(Versions::Tls13),
        _ => Err(OptionError(
            "`tls.min_version` is above `tls.max_version`: swap them".to_owned(),
        )),
    }
}

/// What a user should know of options that lose something, or are not followed.
fn remarks(options: &Options<'_>) -> Result<Vec<&'static str>, OptionError> {
    let mut remarks = Vec::new();
    if options.flag("require_ack_response")? == Some(false) {
        remarks.push(
            "`Require_ack_response off`: what is on its way when a connection ends, or when the \
             receiver does, is lost without a word",
        );
    }
    if options.flag("send_options")? == Some(false) {
        remarks.push(
            "`Send_options off` is not followed: receivers need the options to acknowledge and to \
             inflate",
        );
    }
    if options.flag("fluentd_compat")? == Some(true) {
        remarks.push("`Fluentd_Compat` has no effect: only logs are sent here");
    }
    if options.flag("tls.verify_hostname")? == Some(false) {
        remarks.push(
            "`tls.verify_hostname off` is not followed: a certificate for another name is another \
             receiver; `tls.verify off` turns all verification off",
        );
    }
    Ok(remarks)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use kube_audit_core::options::Properties;

    fn host(name: Option<&str>) -> HostSettings {
        HostSettings {
            host: name.map(str::to_owned),
            ..HostSettings::default()
        }
    }

    fn read(lines: &[(&str, &str)], host: &HostSettings) -> Result<ForwardOptions, String> {
        let properties: Properties = lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Options::new(&properties, &OWN)
            .and_then(|options| ForwardOptions::new(&options, host))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_section_of_out_forward_works() {
        let options = read(
            &[
                ("Shared_Key", "k"),
                ("Self_Hostname", "me"),
                ("Username", "u"),
                ("Password", "p"),
                ("Time_as_Integer", "true"),
                ("Require_ack_response", "False"),
                ("Send_options", "true"),
                ("Compress", "gzip"),
                ("Tag", "new"),
                ("Fluentd_Compat", "off"),
                ("Retain_Metadata_In_Forward_Mode", "on"),
            ],
            &host(Some("::1")),
        )
        .unwrap();
        assert_eq!(options.config.nodes[0].name, "[::1]:24224");
        assert!(options.config.nodes[0].auth.is_some());
        assert_eq!(options.config.nodes[0].compression, Compression::Gzip);
        assert_eq!(
            options.form,
            EntryForm {
                time: EntryTime::Seconds,
                metadata: EntryMetadata::Retain
            }
        );
        assert_eq!(options.tag, TagTemplate::parse("new").ok());
        assert_eq!(options.config.limits.acks, Acks::Waived);
        assert_eq!(options.remarks.len(), 1);
        assert!(
            !format!("{options:?}").contains("\"p\""),
            "no secret in debug output"
        );
    }

    #[test]
    fn what_out_forward_lacks() {
        let options = read(
            &[
                ("Endpoint", "a:1, tls://b"),
                ("Ack_Window", "16"),
                ("Max_Frame", "500000"),
                ("Ack_Timeout", "5s"),
                ("Flush_Wait", "250ms"),
                ("Add_Option", "cluster c-1"),
                ("add_option", "site \"the north\""),
            ],
            &HostSettings::default(),
        )
        .unwrap();
        let config = options.config;
        assert_eq!((config.limits.window, config.caps.frame), (16, 500_000));
        assert_eq!(config.limits.ack_timeout, Duration::from_secs(5));
        assert_eq!(config.flush_wait, Duration::from_millis(250));
        let extra = [("cluster", "c-1"), ("site", "the north")]
            .map(|(key, value)| ExtraOption::new(key.into(), value.into()).unwrap());
        assert_eq!(*config.extra_options, extra);
        assert_eq!(
            config
                .nodes
                .iter()
                .map(|node| node.tls.is_some())
                .collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn an_upstream_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("upstream.conf");
        let nodes = "[UPSTREAM]\n name u\n[NODE]\n name one\n host a\n port 1\n\
                     [NODE]\n name two\n host b\n port 2\n role standby\n shared_key k\n";
        fs::write(&file, nodes).unwrap();
        let file = file.to_str().unwrap();
        let options = read(
            &[("Upstream", file), ("Ordered", "on")],
            &HostSettings::default(),
        )
        .unwrap();
        let names: Vec<_> = options
            .config
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        assert_eq!(names, ["one", "two"]);
        assert!(options.config.nodes[1].auth.is_some());
        assert_eq!(options.config.delivery, Delivery::Ordered);
        let beside = read(
            &[("Upstream", file), ("Shared_Key", "k")],
            &HostSettings::default(),
        );
        assert!(beside.unwrap_err().contains("`Upstream` and `Shared_Key`"));
        let beside = read(&[("Upstream", file)], &host(Some("a")));
        assert!(beside.unwrap_err().contains("[NODE]"));
        let missing = read(&[("Upstream", "/no/such/file")], &HostSettings::default());
        assert!(
            missing
                .unwrap_err()
                .contains("`Upstream` is `/no/such/file`")
        );
        fs::write(file, "[UPSTREAM]\n name u\n[NODE]\n name one\n hots a\n").unwrap();
        let wrong = read(&[("Upstream", file)], &HostSettings::default()).unwrap_err();
        assert!(wrong.contains("upstream.conf:5"), "{wrong}");
    }

    #[test]
    fn wrong_options_say_what_would_be_right() {
        let check = |lines: &[(&str, &str)], settings: &HostSettings, part: &str| {
            let error = read(lines, settings).expect_err(part);
            assert!(error.contains(part), "{error}");
        };
        let some = host(Some("a"));
        check(&[], &HostSettings::default(), "no receiver is set");
        check(&[("Endpoint", "a:1")], &some, "`Endpoint` and `Host`");
        check(
            &[("Endpoint", "a:1"), ("Unix_Path", "/x")],
            &host(None),
            "`Endpoint` and `Unix_Path`",
        );
        check(&[("Endpoint", "a:x")], &host(None), "`Endpoint` is `a:x`");
        check(&[("Unix_Path", "x")], &host(None), "no absolute path");
        check(
            &[("Username", "u")],
            &some,
            "`Username` is set without `Shared_Key`",
        );
        check(
            &[("Shared_Key", "k"), ("Password", "p")],
            &some,
            "`Password` is set without `Username`",
        );
        check(
            &[("Shared_Key", "k"), ("Empty_Shared_Key", "on")],
            &some,
            "both set",
        );
        check(
            &[("Compress", "lz4")],
            &some,
            "`Compress` is `lz4`: use one of gzip",
        );
        check(
            &[("Add_Option", "chunk x")],
            &some,
            "`Add_Option` is `chunk`: the protocol sets `chunk` itself, use a key other than size, \
             chunk, compressed, fluent_signal",
        );
        check(
            &[("Add_Option", "cluster")],
            &some,
            "`Add_Option` is `cluster`: expected `KEY VALUE`",
        );
        check(
            &[("Add_Option", "a 1"), ("Add_Option", "a 2")],
            &some,
            "`Add_Option` is `a`: this key is set already",
        );
        check(
            &[("Tag", "$a['b")],
            &some,
            "`Tag` is `$a['b`: `$a['b` is no key",
        );
        check(
            &[("Ack_Window", "0")],
            &some,
            "`Ack_Window` is `0`: use a number from 1 to 1024",
        );
        check(&[("Max_Frame", "7M")], &some, "`Max_Frame` is `7M`");
        check(&[("Ack_Timeout", "fast")], &some, "`Ack_Timeout` is `fast`");
        check(
            &[("Time_as_Integer", "perhaps")],
            &some,
            "use `on` or `off`",
        );
        let tls = |tls: HostTls| HostSettings {
            tls: Some(tls),
            ..host(Some("a"))
        };
        let plain = HostTls {
            verify: true,
            vhost: None,
            ca_path: None,
            ca_file: None,
            crt_file: None,
            key_file: None,
            key_passwd: None,
            min_version: None,
            max_version: None,
            ciphers: None,
        };
        assert!(read(&[], &tls(plain.clone())).is_ok());
        let some = |text: &str| Some(text.to_owned());
        check(
            &[],
            &tls(HostTls {
                key_passwd: some("x"),
                ..plain.clone()
            }),
            "`tls.key_passwd`",
        );
        check(
            &[],
            &tls(HostTls {
                crt_file: some("x"),
                ..plain.clone()
            }),
            "belong together",
        );
        check(
            &[],
            &tls(HostTls {
                max_version: some("TLSv1.1"),
                ..plain.clone()
            }),
            "1.2 and 1.3",
        );
        check(
            &[],
            &tls(HostTls {
                ciphers: some("x"),
                ..plain.clone()
            }),
            "cipher suites",
        );
        let swapped = HostTls {
            min_version: some("1.3"),
            max_version: some("tlsv1.2"),
            ..plain
        };
        check(&[], &tls(swapped), "swap them");
    }
}
