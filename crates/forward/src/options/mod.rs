//! Options of the output alone: receivers, and how the Forward protocol is spoken.

use std::num::{NonZeroU32, NonZeroUsize};

use kube_audit_core::chunk::{EntryForm, EntryMetadata, EntryTime, TagTemplate};
use kube_audit_core::options::{Given, OptionDef, OptionError, Options, table};

use crate::net::{Config, Delivery, Node};
use crate::protocol::compression::Compression;
use crate::protocol::wire::{Acks, ExtraOption};

mod receiver;
mod upstream;
mod upstream_yaml;

pub use receiver::Remark;

/// The way in which an output forwards.
#[derive(Debug)]
pub struct ForwardOptions {
    /// Receivers, timers and sizes.
    pub config: Config,
    /// The form of entries.
    pub form: EntryForm,
    /// The tag under which records are sent, where it is not their own.
    pub tag: Option<TagTemplate>,
    /// Remarks about options that lose something, or have no effect.
    pub remarks: Vec<Remark>,
}

/// The receivers of a section.
enum Receivers<'o> {
    /// Receivers in the section itself.
    Here(Vec<Node>),
    /// Receivers in the file that `Upstream` names.
    File(Given<'o>),
}

impl ForwardOptions {
    /// Reads the options, and the file that `Upstream` names.
    pub fn read(options: &Options<'_>) -> Result<ForwardOptions, OptionError> {
        let compression = receiver::compression(options, Compression::None)?;
        let (nodes, remarks) = match receivers(options, compression)? {
            Receivers::Here(nodes) => (nodes, Vec::new()),
            Receivers::File(upstream) => upstream::read(&upstream, compression)?,
        };
        let mut forward = without_receivers(options)?;
        forward.config.nodes = nodes;
        forward.remarks.extend(remarks);
        Ok(forward)
    }

    /// Checks the options without looking at any file.
    pub fn check(options: &Options<'_>) -> Result<Vec<Remark>, OptionError> {
        let compression = receiver::compression(options, Compression::None)?;
        receivers(options, compression)?;
        Ok(without_receivers(options)?.remarks)
    }
}

/// All but the receivers.
fn without_receivers(options: &Options<'_>) -> Result<ForwardOptions, OptionError> {
    let mut config = Config::new(Vec::new());
    for (def, place) in [
        (table::CONNECT_TIMEOUT, &mut config.connect_timeout),
        (table::WRITE_TIMEOUT, &mut config.limits.write_timeout),
        (table::ACK_TIMEOUT, &mut config.limits.ack_timeout),
        (table::FLUSH_WAIT, &mut config.flush_wait),
        (table::FAILOVER_AFTER, &mut config.failover_after),
        (table::IDLE_TIMEOUT, &mut config.idle_timeout),
        (table::ROTATE_AFTER, &mut config.rotate_after),
    ] {
        if let Some(duration) = options.duration(def)? {
            *place = duration;
        }
    }
    let is_on = |def: &OptionDef| Ok(options.flag(def)?.unwrap_or(false));
    if is_on(table::ORDERED)? {
        config.delivery = Delivery::Ordered;
    }
    if let Some(given) = options.one(table::CONNECTIONS)? {
        let connections = options
            .number(table::CONNECTIONS)?
            .and_then(NonZeroUsize::new);
        config.connections = connections.unwrap_or(NonZeroUsize::MIN);
        if config.delivery == Delivery::Ordered && config.connections > NonZeroUsize::MIN {
            let expected = "records keep their order over one connection alone";
            return Err(given.conflict(table::ORDERED, expected));
        }
    }
    if let Some(window) = options.number(table::ACK_WINDOW)? {
        config.limits.window = window;
    }
    if let Some(frame) = options.number(table::MAX_FRAME)? {
        config.caps.frame = frame;
    }
    config.give_up_after = options
        .number(table::GIVE_UP_AFTER)?
        .and_then(|rejections| NonZeroU32::new(u32::try_from(rejections).ok()?));
    if options.flag(table::REQUIRE_ACK_RESPONSE)? == Some(false) {
        config.limits.acks = Acks::Waived;
    }
    config.extra_options = extra_options(options)?.into();
    let form = EntryForm {
        time: match is_on(table::TIME_AS_INTEGER)? {
            true => EntryTime::Seconds,
            false => EntryTime::EventTime,
        },
        metadata: match is_on(table::RETAIN_METADATA)? {
            true => EntryMetadata::Retain,
            false => EntryMetadata::Drop,
        },
    };
    Ok(ForwardOptions {
        config,
        form,
        tag: tag(options)?,
        remarks: remarks(options)?,
    })
}

fn receivers<'o>(
    options: &'o Options<'_>,
    compression: Compression,
) -> Result<Receivers<'o>, OptionError> {
    if let Some(upstream) = options.one(table::UPSTREAM)? {
        let others = [table::ENDPOINT, table::UNIX_PATH]
            .into_iter()
            .chain(receiver::OF_A_RECEIVER);
        let expected = "with an upstream file, that belongs into its [NODE] sections";
        for def in others {
            if options.one(def)?.is_some() {
                return Err(upstream.conflict(def, expected));
            }
        }
        if options.flag(table::TLS)? == Some(true) {
            return Err(upstream.conflict(table::TLS, expected));
        }
        return Ok(Receivers::File(upstream));
    }
    let mut nodes = here(options)?;
    let auth = receiver::auth(options)?;
    let tls = receiver::tls(options)?;
    for node in &mut nodes {
        node.auth = auth.clone();
        node.tls = tls.clone().or(node.tls.take());
        node.compression = compression;
    }
    Ok(Receivers::Here(nodes))
}

/// The receivers that the section itself names.
fn here(options: &Options<'_>) -> Result<Vec<Node>, OptionError> {
    let endpoint = options.one(table::ENDPOINT)?;
    let unix_path = options.one(table::UNIX_PATH)?;
    let address = receiver::address(options)?;
    match (endpoint, unix_path, address) {
        (Some(endpoint), Some(_), _) => Err(endpoint.conflict(
            table::UNIX_PATH,
            "write all receivers into `Endpoint`, as `unix:/path`, separated by commas",
        )),
        (Some(endpoint), _, Some(_)) => Err(endpoint.conflict(
            table::HOST,
            "write all receivers into `Endpoint`, separated by commas",
        )),
        (Some(endpoint), None, None) => {
            Node::parse_list(&endpoint).map_err(|error| endpoint.rejected(error))
        }
        (None, Some(path), _) => {
            let endpoint = format!("unix:{}", &*path).parse();
            let endpoint = endpoint.map_err(|error| path.rejected(error))?;
            Ok(vec![Node::new(endpoint)])
        }
        (None, None, Some(address)) => Ok(vec![Node::new(address)]),
        (None, None, None) => Err(options.missing(
            "no receiver is set",
            "write `Endpoint host:port` (several separated by commas), or `Host` and `Port`",
        )),
    }
}

/// Options of the protocol that every frame carries.
fn extra_options(options: &Options<'_>) -> Result<Vec<ExtraOption>, OptionError> {
    let mut extra: Vec<ExtraOption> = Vec::new();
    for given in options.all(table::ADD_OPTION)? {
        let (key, value) = given.pair()?;
        if extra.iter().any(|option| option.key() == key) {
            return Err(given.invalid("this key is set already: set it once"));
        }
        let option = ExtraOption::new(key, value);
        extra.push(option.map_err(|error| given.rejected(error))?);
    }
    Ok(extra)
}

/// The tag under which records are sent. The host has put the values of environment variables
/// into it already.
fn tag(options: &Options<'_>) -> Result<Option<TagTemplate>, OptionError> {
    let Some(given) = options.one(table::TAG)? else {
        return Ok(None);
    };
    let template = TagTemplate::parse(&given).map_err(|error| given.rejected(error))?;
    Ok(Some(template))
}

/// Remarks about options that lose something, or have no effect.
fn remarks(options: &Options<'_>) -> Result<Vec<Remark>, OptionError> {
    let mut remarks = receiver::remarks(options)?;
    if let Some(given) = options.switched_off(table::REQUIRE_ACK_RESPONSE)? {
        let text = "loses what is on its way when a connection or the receiver ends, without a \
                    log line";
        remarks.push(Remark::new(&given, text));
    }
    if options.flag(table::RETAIN_METADATA)? == Some(true)
        && let Some(given) = options.one(table::RETAIN_METADATA)?
    {
        let text = "loses records at Fluentd: 1.19 acknowledges and drops such entries, older \
                    versions close the connection; turn it off unless the receiver is Fluent \
                    Bit 2.1 or later";
        remarks.push(Remark::new(&given, text));
    }
    if let Some(given) = options.one(table::COMPRESS)?
        && given.eq_ignore_ascii_case("zstd")
    {
        let text = "loses records at Fluentd before 1.19, which acknowledges such frames and \
                    drops them; use `gzip` unless the receiver is Fluentd 1.19 or Fluent Bit \
                    4.1 or later";
        remarks.push(Remark::new(&given, text));
    }
    if options.flag(table::FLUENTD_COMPAT)? == Some(true)
        && let Some(given) = options.one(table::FLUENTD_COMPAT)?
    {
        remarks.push(Remark::new(&given, "has no effect: only logs are sent"));
    }
    Ok(remarks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use kube_audit_core::options::{HostSettings, HostTls, Properties};

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
        Options::output(&properties, host)
            .and_then(|options| ForwardOptions::read(&options))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn forms_that_some_receivers_acknowledge_and_drop_are_remarked() {
        let remarks = |name, value| {
            let options = read(&[(name, value)], &host(Some("a"))).unwrap();
            let remarks = options.remarks.iter();
            remarks
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        let metadata = remarks("Retain_Metadata_In_Forward_Mode", "on");
        assert!(
            metadata.contains("1.19 acknowledges and drops"),
            "{metadata}"
        );
        assert_eq!(remarks("Retain_Metadata_In_Forward_Mode", "off"), "");
        assert_eq!(remarks("Compress", "gzip"), "");
        #[cfg(feature = "zstd")]
        assert!(remarks("Compress", "zstd").contains("Fluentd before 1.19"));
    }

    #[test]
    fn several_connections_keep_no_order() {
        let count = |lines: &[(&str, &str)]| {
            read(lines, &host(Some("a"))).map(|options| options.config.connections.get())
        };
        assert_eq!(count(&[]), Ok(1));
        assert_eq!(count(&[("Connections", "8")]), Ok(8));
        assert_eq!(count(&[("Connections", "1"), ("Ordered", "on")]), Ok(1));
        let error = count(&[("Connections", "2"), ("Ordered", "on")]).unwrap_err();
        assert!(error.contains("over one connection alone"), "{error}");
    }

    #[test]
    fn a_record_is_given_up_only_if_told_so() {
        let limit =
            |lines: &[(&str, &str)]| read(lines, &host(Some("a"))).unwrap().config.give_up_after;
        assert_eq!(limit(&[]), None);
        assert_eq!(
            limit(&[("Give_Up_After", "3")]).map(NonZeroU32::get),
            Some(3)
        );
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
        assert_eq!(options.remarks.len(), 2);
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
        assert!(beside.unwrap_err().contains("`Upstream` and `Host`"));
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
            &[("Add_Option", "chunk x")],
            &some,
            "`Add_Option` is `chunk x`: the protocol sets `chunk` itself, use a key other than size, \
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
            "`Add_Option` is `a 2`: this key is set already",
        );
        check(
            &[("Tag", "$a['b")],
            &some,
            "`Tag` is `$a['b`: `$a['b` is not a key",
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
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        for text in ["tcp://u:hunter2@h:1", "u:hunter2@h", "https://u:hunter2@h"] {
            let error = read(&[("Endpoint", text)], &host(None)).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("…@h"), "{error}");
        }
    }

    #[test]
    fn tls_that_the_host_keeps() {
        let tls = |tls: HostTls| HostSettings {
            tls: Some(tls),
            ..host(Some("a"))
        };
        let plain = HostTls {
            on: true,
            verify: true,
            vhost: None,
            ca_path: None,
            ca_file: Some("/ca.pem".to_owned()),
            crt_file: None,
            key_file: None,
            key_passwd: None,
            min_version: None,
            max_version: None,
            ciphers: None,
        };
        let options = read(&[], &tls(plain.clone())).unwrap();
        assert!(options.config.nodes[0].tls.as_ref().unwrap().verify);
        let off = HostTls {
            on: false,
            ..plain.clone()
        };
        let error = read(&[], &tls(off)).unwrap_err();
        assert!(
            error.starts_with("`tls.ca_file` is set without `tls`"),
            "{error}"
        );
        // Hosts before 4.0 hand these on.
        let options = read(&[("tls.min_version", "1.3")], &tls(plain.clone())).unwrap();
        let versions = options.config.nodes[0].tls.as_ref().unwrap().versions;
        assert_eq!(versions, crate::net::Versions::Tls13);
        let unverified = HostTls {
            verify: false,
            ..plain
        };
        let options = read(&[], &tls(unverified)).unwrap();
        assert!(!options.config.nodes[0].tls.as_ref().unwrap().verify);
    }

    #[test]
    fn an_upstream_file_that_is_not_a_file() {
        let directory = tempfile::tempdir().unwrap();
        for path in [directory.path().to_str().unwrap(), "/dev/zero"] {
            let error = read(&[("Upstream", path)], &HostSettings::default()).unwrap_err();
            let expected = format!("`Upstream` is `{path}`: the file cannot be read (it is a ");
            assert!(error.starts_with(&expected), "{error}");
        }
        let file = directory.path().join("large");
        fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
        let error = read(
            &[("Upstream", file.to_str().unwrap())],
            &HostSettings::default(),
        );
        assert!(error.unwrap_err().contains("more than 1048576 bytes"));
    }
}
