//! Fluent Bit's upstream files: several receivers in a file of their own.
//!
//! ```text
//! [UPSTREAM]
//!     name       aggregators
//!
//! [NODE]
//!     name       first
//!     host       logs-1.example
//!     port       24224
//!     tls        on
//!     shared_key ${FORWARD_KEY}
//! ```
//!
//! A file whose name ends with `.yaml` or `.yml` is read in its
//! [YAML form](super::upstream_yaml) instead. A node takes the options that the table has
//! for it.

use std::num::NonZeroU32;

use kube_audit_core::options::{
    FileLine, Given, OptionError, Options, Problem, printable, table, without_credentials,
};
use kube_audit_files::read_regular_file;
use kube_audit_text::classic::{self, Content};

use crate::net::Node;
use crate::protocol::compression::Compression;

use super::receiver::{self, Remark};
use super::upstream_yaml;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Nodes, and remarks about their options.
pub(super) type Nodes = (Vec<Node>, Vec<Remark>);

/// A section of a file, as it is written.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) kind: Kind,
    /// The line of its head.
    pub(super) line: usize,
    /// Lines, names and values.
    pub(super) entries: Vec<(usize, String, String)>,
}

/// The kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Upstream,
    Node,
}

/// An error about a line of a file.
pub(super) fn error_at(
    file: &str,
    line: usize,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> OptionError {
    let problem = Problem::Other {
        found: found.into(),
        expected: expected.into(),
    };
    let file = file.to_owned();
    OptionError::new(table::UPSTREAM.name, problem).at(Some(FileLine { file, line }))
}

/// Reads the file that `Upstream` names. Nodes that do not say otherwise have that compression.
pub(super) fn read(upstream: &Given<'_>, compression: Compression) -> Result<Nodes, OptionError> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        upstream.invalid(format!("the file cannot be read ({reason})"))
    };
    let text = read_regular_file(&**upstream, MAX_FILE)
        .map_err(|error| unreadable(&error).with_source(error))?;
    let text = String::from_utf8(text)
        .map_err(|error| unreadable(&error.utf8_error()).with_source(error.utf8_error()))?;
    parse(upstream, &text, compression, |name| {
        std::env::var(name).ok()
    })
}

/// Reads the text of the file of that name; `variable` is the value of `${NAME}`.
fn parse(
    file: &str,
    text: &str,
    compression: Compression,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Nodes, OptionError> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| file.ends_with(end));
    let sections = match is_yaml {
        true => upstream_yaml::sections(file, text)?,
        false => sections(file, text)?,
    };
    let (mut nodes, mut remarks) = (Vec::new(), Vec::new());
    for section in &sections {
        let entries = section.entries.iter().map(|(line, name, value)| {
            let value = expand(value, &variable)
                .map_err(|(found, expected)| error_at(file, *line, found, expected))?;
            Ok((*line, name.clone(), value))
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        match section.kind {
            Kind::Upstream => upstream_section(file, &entries)?,
            Kind::Node => {
                let options = Options::node(file, section.line, entries)?;
                nodes.push(node(&options, compression)?);
                remarks.extend(receiver::remarks(&options)?);
            }
        }
    }
    let has_upstream = sections
        .iter()
        .any(|section| section.kind == Kind::Upstream);
    let expected = match is_yaml {
        true => "write `upstream_servers`, with a `name` and a list of `nodes`",
        false => "write `[UPSTREAM]` with a `name`, and a `[NODE]` for each receiver",
    };
    let found = match (has_upstream, nodes.is_empty()) {
        (true, false) => return Ok((nodes, remarks)),
        (false, _) if !is_yaml => "there is no section `[UPSTREAM]`",
        _ => "there is no receiver",
    };
    let end = text.lines().count().max(1);
    Err(error_at(file, end, found, expected))
}

/// The sections of a classic file.
fn sections(file: &str, text: &str) -> Result<Vec<Section>, OptionError> {
    let mut sections: Vec<Section> = Vec::new();
    for line in classic::lines(text) {
        let wrong = |found: String, expected| Err(error_at(file, line.number, found, expected));
        match line.content {
            Content::Directive(text) => {
                let name = text.split_whitespace().next().unwrap_or_default();
                let found = format!("`{}` is not read in an upstream file", printable(name));
                return wrong(found, "use environment variables, `${NAME}`");
            }
            Content::Header(name) => {
                let name = name.split(']').next().unwrap_or_default().trim();
                let kind = match name.to_ascii_lowercase().as_str() {
                    "upstream" => Kind::Upstream,
                    "node" => Kind::Node,
                    _ => {
                        let name = printable(name);
                        let found = format!("`[{name}]` is not a section of an upstream file");
                        return wrong(found, "use `[UPSTREAM]` and `[NODE]`");
                    }
                };
                sections.push(Section {
                    kind,
                    line: line.number,
                    entries: Vec::new(),
                });
            }
            Content::Entry(name, _) if name.starts_with("upstream_servers:") => {
                let found = "the file is in the YAML form".to_owned();
                return wrong(found, "give it a name that ends with `.yaml`");
            }
            Content::Entry(name, value) => match sections.last_mut() {
                Some(section) => {
                    let entry = (line.number, name.to_owned(), value.to_owned());
                    section.entries.push(entry);
                }
                None => {
                    let found = format!("`{}` precedes the first section", printable(name));
                    return wrong(found, "write `[UPSTREAM]` above it");
                }
            },
        }
    }
    Ok(sections)
}

/// Checks `[UPSTREAM]`, which has a name that nothing depends on.
fn upstream_section(file: &str, entries: &[(usize, String, String)]) -> Result<(), OptionError> {
    let other = entries.iter().find(|(_, name, _)| !table::NAME.is(name));
    match other {
        None => Ok(()),
        Some((line, name, _)) => {
            let found = format!("`{}` is not an option of `[UPSTREAM]`", printable(name));
            let expected = "it takes a `name` alone; the option may belong to a `[NODE]`";
            Err(error_at(file, *line, found, expected))
        }
    }
}

/// Puts values in the place of `${NAME}`; otherwise what is wrong, and what would be right.
fn expand(
    value: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, (String, &'static str)> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, (name, after))) = rest
        .split_once("${")
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        let value = variable(name).ok_or_else(|| {
            // What is not a name may be a part of a password.
            let name = printable(name);
            let found = format!("the environment variable `{name}` is not set");
            (found, "set it for Fluent Bit, or write the value itself")
        })?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn node(options: &Options<'_>, compression: Compression) -> Result<Node, OptionError> {
    if let Some(given) = options.switched_off(table::REQUIRE_ACK_RESPONSE)? {
        let expected =
            "it cannot be set for a single node; write it into the section of the output";
        return Err(given.invalid(expected));
    }
    let missing = |name: &str| {
        let found = format!("this node has no `{name}`");
        options.missing(found, "write `name`, `host` and `port`")
    };
    let name = options.text(table::NAME)?.ok_or_else(|| missing("name"))?;
    let endpoint = receiver::address(options)?.ok_or_else(|| missing("host"))?;
    if options.one(table::PORT)?.is_none() {
        return Err(missing("port"));
    }
    let weight = options.number(table::WEIGHT)?.map(u32::try_from);
    let weight = weight.and_then(Result::ok).and_then(NonZeroU32::new);
    Ok(Node {
        // It is shown in the log.
        name: without_credentials(&name).into_owned(),
        weight: weight.unwrap_or(NonZeroU32::MIN),
        role: options.choice(table::ROLE)?,
        auth: receiver::auth(options)?,
        tls: receiver::tls(options)?,
        compression: receiver::compression(options, compression)?,
        ..Node::new(endpoint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Auth, Identity, Role, Secret, Tls, Versions};

    fn read(file: &str, text: &str) -> Result<Vec<Node>, String> {
        let variable = |name: &str| (name == "KEY").then(|| "from the environment".to_owned());
        match super::parse(file, text, Compression::None, variable) {
            Ok((nodes, _)) => Ok(nodes),
            Err(error) => Err(error.to_string()),
        }
    }

    fn parse(text: &str) -> Result<Vec<Node>, String> {
        read("nodes.conf", text)
    }

    #[test]
    fn reads_what_out_forward_reads() {
        let text = "\
# All of them
[UPSTREAM]
    name aggregators

[NODE]
    Name       first
    Host       logs-1.example
    Port       24224
[node]
    name       second
    host       fd00::2
    port       24225
    weight     3
    role       standby
    tls        on
    tls.verify off
    tls.vhost  logs.example
    tls.ca_file /etc/ca.pem
    tls.crt_file /etc/crt.pem
    tls.key_file /etc/key.pem
    tls.min_version 1.3
    shared_key ${KEY}!
    self_hostname me
    username   user
    password   two words
    compress   gzip
    send_options on
    require_ack_response on
";
        let nodes = parse(text).unwrap();
        let first = Node {
            name: "first".into(),
            ..Node::new("logs-1.example:24224".parse().unwrap())
        };
        let second = Node {
            name: "second".into(),
            weight: 3.try_into().unwrap(),
            role: Role::Standby,
            auth: Auth::new(
                Secret::new("from the environment!"),
                "me".into(),
                Some(("user".into(), Secret::new("two words"))),
            )
            .ok(),
            tls: Some(Tls {
                verify: false,
                vhost: Some("logs.example".into()),
                ca_file: Some("/etc/ca.pem".into()),
                ca_path: None,
                identity: Some(Identity {
                    crt_file: "/etc/crt.pem".into(),
                    key_file: "/etc/key.pem".into(),
                }),
                versions: Versions::Tls13,
            }),
            compression: Compression::Gzip,
            ..Node::new("[fd00::2]:24225".parse().unwrap())
        };
        assert_eq!(nodes, [first, second]);
    }

    #[test]
    fn nodes_are_compressed_like_the_output_unless_they_say_otherwise() {
        let text = "[UPSTREAM]\nname x\n[NODE]\nname a\nhost b\nport 1\n";
        for (line, expected) in [("", Compression::Gzip), ("compress off", Compression::None)] {
            let text = format!("{text}{line}");
            let (nodes, _) = super::parse("n", &text, Compression::Gzip, |_| None).unwrap();
            assert_eq!(nodes[0].compression, expected);
        }
    }

    #[test]
    fn the_yaml_form_says_the_same() {
        let yaml = "\
upstream_servers:
  - name: aggregators
    nodes:
      - name: first
        host: logs-1.example
        port: 24224
      - name: second
        host: fd00::2
        port: 24225
        weight: 3
        role: standby
        shared_key: ${KEY}
";
        let classic = "[UPSTREAM]\nname aggregators\n\
            [NODE]\nname first\nhost logs-1.example\nport 24224\n\
            [NODE]\nname second\nhost fd00::2\nport 24225\nweight 3\nrole standby\nshared_key ${KEY}";
        let yaml = read("nodes.yaml", yaml).unwrap();
        assert_eq!(yaml, parse(classic).unwrap());
        for (text, error) in [
            ("", "nodes.yaml:1: there is no receiver"),
            ("a: b\n", "nodes.yaml:1: there is no receiver"),
            (
                "upstream_servers:\n- name: a\n  nodes:\n  - hots: b",
                "nodes.yaml:4: unknown option `hots`: did you mean `Host`?",
            ),
            (
                "upstream_servers:\n- name: a\n  nodes:\n  - name: b",
                "nodes.yaml:4: this node has no `host`",
            ),
            (
                "upstream_servers:\n- name: a\n- name: b",
                "nodes.yaml:3: this is a second upstream",
            ),
            (
                "upstream_servers: a",
                "nodes.yaml:1: `upstream_servers` has no list",
            ),
        ] {
            let found = read("nodes.yaml", text).expect_err(text);
            assert!(found.starts_with(error), "{found}, not {error}");
        }
    }

    #[test]
    fn names_the_line_and_what_would_be_right() {
        let node = "[UPSTREAM]\nname x\n[NODE]\nname a\nhost b\nport 1\n";
        let cases = [
            ("", "nodes.conf:1: there is no section `[UPSTREAM]`"),
            (
                "[NODE]\nname a\nhost b\nport 1\n",
                "nodes.conf:4: there is no section `[UPSTREAM]`",
            ),
            (
                "[UPSTREAM]\nname x\n",
                "nodes.conf:2: there is no receiver: write `[UPSTREAM]`",
            ),
            (
                "[OUTPUT]",
                "nodes.conf:1: `[OUTPUT]` is not a section of an upstream file",
            ),
            (
                "upstream_servers:",
                "nodes.conf:1: the file is in the YAML form: give it a name that ends with `.yaml`",
            ),
            (
                "[UPSTREAM]\nhost x",
                "nodes.conf:2: `host` is not an option of `[UPSTREAM]`",
            ),
            (
                "[UPSTREAM]\nname x\n[NODE]\nname a\nport 1",
                "nodes.conf:3: this node has no `host`",
            ),
            (
                "[UPSTREAM]\nname x\n[NODE]\nname a\nhost b",
                "nodes.conf:3: this node has no `port`",
            ),
        ];
        let lines = [
            ("hots c", "unknown option `hots`: did you mean `Host`?"),
            ("weight 0", "`Weight` is `0`: use a number from 1"),
            (
                "role backup",
                "`Role` is `backup`: use one of primary, standby",
            ),
            (
                "require_ack_response off",
                "`Require_ack_response` is `off`: it cannot be set for a single node",
            ),
            ("tag x", "`Tag` is not an option of a node"),
            (
                "shared_key ${NO_KEY}",
                "the environment variable `NO_KEY` is not set",
            ),
            ("tls", "`tls` is empty"),
        ];
        let lines =
            lines.map(|(line, error)| (format!("{node}{line}"), format!("nodes.conf:7: {error}")));
        let cases = cases.map(|(text, error)| (text.to_owned(), error.to_owned()));
        for (text, error) in cases.into_iter().chain(lines) {
            let found = parse(&text).unwrap_err();
            assert!(found.starts_with(&error), "{found}, not {error}");
        }
        assert_eq!(
            parse(&format!("{node}host c")).unwrap_err(),
            "nodes.conf:7: `Host` is set already, in line 5: set it once"
        );
    }

    #[test]
    fn messages_show_no_secret() {
        let node = "[UPSTREAM]\nname x\n[NODE]\nname a\nhost b\nport 1\n";
        let after_node = |line: &str| format!("{node}{line}");
        for text in [
            "shared_key hunter2\n".to_owned(),
            "shared_key=hunter2\n".to_owned(),
            "@SET KEY=hunter2\n".to_owned(),
            "[UPSTREAM]\nshared_key hunter2\n".to_owned(),
            "[shared_key=hunter2]\n".to_owned(),
            "[shared_key hunter2\n".to_owned(),
            after_node("shared_key hunter2\nshared_key hunter3"),
            after_node("shared_key=hunter2"),
            after_node("password hunter2"),
            after_node("shared_key k\nempty_shared_key on\npassword hunter2"),
            after_node("shared_key a${hunter2"),
            after_node("shared_key ${b=hunter2}"),
            after_node("endpoint tcp://u:hunter2@host"),
            after_node("tls.key_passwd hunter2"),
            node.replace("host b", "host u:hunter2@h"),
            node.replace("host b", "host hunter2@h"),
        ] {
            match parse(&text) {
                Ok(nodes) => assert!(!format!("{nodes:?}").contains("hunter"), "{text}"),
                Err(error) => assert!(!error.contains("hunter"), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn remarks_name_the_line() {
        let text = "[UPSTREAM]\nname x\n[NODE]\nname a\nhost b\nport 1\nsend_options off";
        let (_, remarks) = super::parse("n", text, Compression::None, |_| None).unwrap();
        assert_eq!(remarks.len(), 1);
        assert!(
            remarks[0]
                .text
                .starts_with("n:7: `Send_options off` has no effect")
        );
    }
}
