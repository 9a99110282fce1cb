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
//! [YAML form](super::upstream_yaml) instead.
//!
//! Keys are those of out_forward, and two more that it lacks: `weight` (a whole
//! number, default 1) and `role` (`primary`, which is the default, or `standby`).

use std::fmt;
use std::num::NonZeroU32;

use crate::net::{Auth, Endpoint, Identity, Node, Role, Secret, Tls, Versions};
use crate::protocol::compression::{Compression, CompressionError};
use kube_audit_core::text::suggest::nearest;

use super::upstream_yaml;
use kube_audit_core::text::classic::{self, Content, Line};

/// What a node may set.
const KEYS: [&str; 22] = [
    "name",
    "host",
    "port",
    "weight",
    "role",
    "tls",
    "tls.verify",
    "tls.verify_hostname",
    "tls.debug",
    "tls.vhost",
    "tls.ca_path",
    "tls.ca_file",
    "tls.crt_file",
    "tls.key_file",
    "shared_key",
    "empty_shared_key",
    "username",
    "password",
    "self_hostname",
    "compress",
    "send_options",
    "require_ack_response",
];

/// Keys of out_forward that hold for all nodes here, and belong to the section
/// of the output.
const OF_THE_OUTPUT: [&str; 4] = [
    "add_option",
    "tag",
    "time_as_integer",
    "retain_metadata_in_forward_mode",
];

/// Something in an upstream file that is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct UpstreamError {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// In words.
    pub problem: String,
}

/// Reads the text of the file of that name. Nodes that do not say otherwise have
/// that compression. `variable` gives the value of `${NAME}`.
pub fn parse_upstream(
    file: &str,
    text: &str,
    compression: Compression,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Node>, UpstreamError> {
    let wrong = |Problem { line, text }| UpstreamError {
        file: file.to_owned(),
        line,
        problem: text,
    };
    let is_yaml = [".yaml", ".yml"].iter().any(|end| file.ends_with(end));
    let sections = match is_yaml {
        true => yaml_sections(text, variable),
        false => sections(text, variable),
    };
    let sections = sections.map_err(wrong)?;
    let nodes = sections.iter().filter(|section| section.kind == Kind::Node);
    let nodes: Vec<_> = nodes
        .map(|section| section.node(compression))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let end = text.lines().count().max(1);
    let lacks = |kind| sections.iter().all(|section| section.kind != kind);
    if is_yaml && (lacks(Kind::Upstream) || nodes.is_empty()) {
        let text =
            "there is no receiver; write `upstream_servers`, with a `name` and a list of `nodes`";
        return Err(wrong(Problem::new(end, text)));
    }
    if lacks(Kind::Upstream) {
        let text = "there is no section `[UPSTREAM]`; write one with a `name`, and a `[NODE]` for each receiver";
        return Err(wrong(Problem::new(end, text)));
    }
    if nodes.is_empty() {
        let text = "there is no section `[NODE]`; write one with `name`, `host` and `port` for each receiver";
        return Err(wrong(Problem::new(end, text)));
    }
    Ok(nodes)
}

/// What is wrong in a line.
struct Problem {
    line: usize,
    text: String,
}

impl Problem {
    fn new(line: usize, text: impl fmt::Display) -> Problem {
        Problem {
            line,
            text: text.to_string(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upstream,
    Node,
}

struct Section {
    kind: Kind,
    line: usize,
    entries: Vec<Entry>,
}

struct Entry {
    line: usize,
    /// In lower case.
    key: String,
    value: String,
}

fn sections(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Section>, Problem> {
    let mut sections: Vec<Section> = Vec::new();
    for Line {
        number: line,
        content,
        ..
    } in classic::lines(text)
    {
        let (key, value) = match content {
            Content::Entry(key, _) if key.starts_with("upstream_servers:") => {
                let text = "this is the YAML form; give the file a name that ends with `.yaml`";
                return Err(Problem::new(line, text));
            }
            Content::Directive(content) => {
                let text = format!(
                    "`{content}` is not known here; use environment variables, `${{NAME}}`"
                );
                return Err(Problem::new(line, text));
            }
            Content::Header(name) => {
                let kind = match name
                    .trim_end_matches(']')
                    .trim()
                    .to_ascii_lowercase()
                    .as_str()
                {
                    "upstream" => Kind::Upstream,
                    "node" => Kind::Node,
                    _ => {
                        let text = format!(
                            "`[{name}` is no section of an upstream file; `[UPSTREAM]` and `[NODE]` are known"
                        );
                        return Err(Problem::new(line, text));
                    }
                };
                sections.push(Section {
                    kind,
                    line,
                    entries: Vec::new(),
                });
                continue;
            }
            Content::Entry(key, value) => (key, value),
        };
        let Some(section) = sections.last_mut() else {
            let content = format!("{key} {value}");
            let text = format!(
                "`{}` stands before the first section; write `[UPSTREAM]` above it",
                content.trim_end()
            );
            return Err(Problem::new(line, text));
        };
        section.add(
            line,
            key.to_ascii_lowercase(),
            expand(line, value, &variable)?,
        )?;
    }
    Ok(sections)
}

/// The same of the YAML form, where all is one upstream.
fn yaml_sections(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Section>, Problem> {
    let servers = upstream_yaml::servers(text);
    let servers = servers.map_err(|(line, text)| Problem::new(line, text))?;
    if let [_, second, ..] = &*servers {
        let text = "this is a second upstream; write all nodes into one, or a file for each";
        return Err(Problem::new(second.own.line, text));
    }
    let mut sections = Vec::new();
    for server in servers {
        let own = (Kind::Upstream, server.own);
        let nodes = server.nodes.into_iter().map(|node| (Kind::Node, node));
        for (kind, mapping) in [own].into_iter().chain(nodes) {
            let mut section = Section {
                kind,
                line: mapping.line,
                entries: Vec::new(),
            };
            for (line, key, value) in mapping.scalars {
                section.add(line, key, expand(line, &value, &variable)?)?;
            }
            sections.push(section);
        }
    }
    Ok(sections)
}

/// Puts values in the place of `${NAME}`.
fn expand(
    line: usize,
    value: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, Problem> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, (name, after))) = rest
        .split_once("${")
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        let Some(value) = variable(name) else {
            let text = format!("the environment variable `{name}` is not set");
            return Err(Problem::new(line, text));
        };
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

impl Section {
    fn add(&mut self, line: usize, key: String, value: String) -> Result<(), Problem> {
        match self.kind {
            Kind::Upstream if key == "name" => (),
            Kind::Upstream => {
                let text = format!(
                    "`{key}` is no key of `[UPSTREAM]`, which has a `name` alone; it may belong to a `[NODE]`"
                );
                return Err(Problem::new(line, text));
            }
            Kind::Node if OF_THE_OUTPUT.contains(&key.as_str()) => {
                let text = format!(
                    "`{key}` is not set for single nodes; write it into the section of the output"
                );
                return Err(Problem::new(line, text));
            }
            Kind::Node if key == "tls.key_passwd" => {
                let text = "`tls.key_passwd` is not known; give a key without a password, readable by Fluent Bit alone";
                return Err(Problem::new(line, text));
            }
            Kind::Node if !KEYS.contains(&key.as_str()) => {
                let hint = match nearest(&key, KEYS) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("{} are known", KEYS.join(", ")),
                };
                return Err(Problem::new(
                    line,
                    format!("`{key}` is no key of a node; {hint}"),
                ));
            }
            Kind::Node => (),
        }
        if value.is_empty() && key != "shared_key" {
            return Err(Problem::new(line, format!("`{key}` has no value")));
        }
        if let Some(first) = self.entry(&key) {
            let text = format!("`{key}` is set already, in line {}", first.line);
            return Err(Problem::new(line, text));
        }
        self.entries.push(Entry { line, key, value });
        Ok(())
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| entry.value.as_str())
    }

    fn mandatory(&self, key: &str) -> Result<&Entry, Problem> {
        self.entry(key).ok_or_else(|| {
            Problem::new(
                self.line,
                format!("this node has no `{key}`; `name`, `host` and `port` are needed"),
            )
        })
    }

    /// A switch, in all the words of Fluent Bit.
    fn switch(&self, key: &str, default: bool) -> Result<bool, Problem> {
        let Some(entry) = self.entry(key) else {
            return Ok(default);
        };
        match entry.value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(true),
            "off" | "false" | "no" => Ok(false),
            other => {
                let text = format!("`{key}` is `{other}`; write `on` or `off`");
                Err(Problem::new(entry.line, text))
            }
        }
    }

    fn node(&self, compression: Compression) -> Result<Node, Problem> {
        // Options are always sent, and acknowledgements are a matter of the output.
        self.switch("send_options", true)?;
        if !self.switch("require_ack_response", true)?
            && let Some(entry) = self.entry("require_ack_response")
        {
            let text = "`require_ack_response off` is not set for single nodes; write it into the section of the output";
            return Err(Problem::new(entry.line, text));
        }
        let name = self.mandatory("name")?.value.clone();
        let host = self.mandatory("host")?;
        let port = self.mandatory("port")?;
        let address = match host.value.contains(':') {
            true => format!("[{}]:{}", host.value, port.value),
            false => format!("{}:{}", host.value, port.value),
        };
        let endpoint: Endpoint = format!("tcp://{address}")
            .parse()
            .map_err(|error| Problem::new(host.line, error))?;
        Ok(Node {
            name,
            weight: self.weight()?,
            role: self.role()?,
            auth: self.auth()?,
            tls: self.tls()?,
            compression: self.compression(compression)?,
            ..Node::new(endpoint)
        })
    }

    fn compression(&self, default: Compression) -> Result<Compression, Problem> {
        let Some(entry) = self.entry("compress") else {
            return Ok(default);
        };
        entry.value.parse().map_err(|error: CompressionError| {
            let text = format!("`compress` is `{}`; {error}", entry.value);
            Problem::new(entry.line, text)
        })
    }

    fn weight(&self) -> Result<NonZeroU32, Problem> {
        let Some(entry) = self.entry("weight") else {
            return Ok(NonZeroU32::MIN);
        };
        entry.value.parse().map_err(|_| {
            let text = format!(
                "`weight` is `{}`; write a whole number from 1 on",
                entry.value
            );
            Problem::new(entry.line, text)
        })
    }

    fn role(&self) -> Result<Role, Problem> {
        let Some(entry) = self.entry("role") else {
            return Ok(Role::Primary);
        };
        match entry.value.to_ascii_lowercase().as_str() {
            "primary" => Ok(Role::Primary),
            "standby" => Ok(Role::Standby),
            other => {
                let text = format!("`role` is `{other}`; write `primary` or `standby`");
                Err(Problem::new(entry.line, text))
            }
        }
    }

    fn auth(&self) -> Result<Option<Auth>, Problem> {
        let key = match (
            self.value("shared_key"),
            self.switch("empty_shared_key", false)?,
        ) {
            (Some(key), _) => Some(key),
            (None, true) => Some(""),
            (None, false) => None,
        };
        let user = match (self.entry("username"), self.entry("password")) {
            (Some(name), Some(password)) => {
                Some((name.value.clone(), Secret::new(password.value.as_bytes())))
            }
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                let text = "`username` and `password` belong together";
                return Err(Problem::new(alone.line, text));
            }
        };
        let Some(key) = key else {
            let needs_key = ["username", "self_hostname"].into_iter();
            return match needs_key.filter_map(|key| self.entry(key)).next() {
                None => Ok(None),
                Some(entry) => {
                    let text = format!(
                        "`{}` has no effect without a handshake; set `shared_key` too",
                        entry.key
                    );
                    Err(Problem::new(entry.line, text))
                }
            };
        };
        let hostname = self.value("self_hostname").unwrap_or("localhost");
        match Auth::new(Secret::new(key), hostname.to_owned(), user) {
            Ok(auth) => Ok(Some(auth)),
            Err(error) => Err(Problem::new(self.line, error)),
        }
    }

    fn tls(&self) -> Result<Option<Tls>, Problem> {
        let verify = self.switch("tls.verify", true)?;
        if verify
            && !self.switch("tls.verify_hostname", true)?
            && let Some(entry) = self.entry("tls.verify_hostname")
        {
            let text = "the name is always verified with the certificate; set `tls.vhost` to the name that the certificate has";
            return Err(Problem::new(entry.line, text));
        }
        let identity = match (self.entry("tls.crt_file"), self.entry("tls.key_file")) {
            (Some(crt), Some(key)) => Some(Identity {
                crt_file: crt.value.clone().into(),
                key_file: key.value.clone().into(),
            }),
            (None, None) => None,
            (Some(alone), None) | (None, Some(alone)) => {
                let text = "`tls.crt_file` and `tls.key_file` belong together";
                return Err(Problem::new(alone.line, text));
            }
        };
        if !self.switch("tls", false)? {
            return Ok(None);
        }
        Ok(Some(Tls {
            verify,
            vhost: self.value("tls.vhost").map(str::to_owned),
            ca_file: self.value("tls.ca_file").map(Into::into),
            ca_path: self.value("tls.ca_path").map(Into::into),
            identity,
            versions: Versions::default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Node>, String> {
        let variable = |name: &str| (name == "KEY").then(|| "from the environment".to_owned());
        parse_upstream("nodes.conf", text, Compression::None, variable)
            .map_err(|error| error.to_string())
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
                versions: Versions::Both,
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
            let nodes = parse_upstream("nodes.conf", &text, Compression::Gzip, |_| None).unwrap();
            assert_eq!(nodes[0].compression, expected);
        }
    }

    #[test]
    fn an_empty_key_is_a_key() {
        for line in ["shared_key", "empty_shared_key on"] {
            let text = format!("[UPSTREAM]\nname x\n[NODE]\nname a\nhost b\nport 1\n{line}");
            let auth = parse(&text).unwrap().remove(0).auth;
            let expected = Auth::new(Secret::new(""), "localhost".into(), None);
            assert_eq!(auth, expected.ok());
        }
    }

    #[test]
    fn the_yaml_form_says_the_same() {
        let variable = |name: &str| (name == "KEY").then(|| "k".to_owned());
        let read = |text: &str| {
            let nodes = parse_upstream("nodes.yaml", text, Compression::None, variable);
            nodes.map_err(|error| error.to_string())
        };
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
        let expected = parse_upstream("nodes.conf", classic, Compression::None, variable).unwrap();
        assert_eq!(read(yaml).unwrap(), expected);
        for (text, error) in [
            ("", "nodes.yaml:1: there is no receiver"),
            ("a: b\n", "nodes.yaml:1: there is no receiver"),
            (
                "upstream_servers:\n- name: a\n  nodes:\n  - hots: b",
                "nodes.yaml:4: `hots` is no key of a node; did you mean `host`?",
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
                "nodes.yaml:1: `upstream_servers` needs a list",
            ),
        ] {
            let found = read(text).expect_err(text);
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
                "nodes.conf:2: there is no section `[NODE]`",
            ),
            (
                "name x",
                "nodes.conf:1: `name x` stands before the first section",
            ),
            (
                "[OUTPUT]",
                "nodes.conf:1: `[OUTPUT]` is no section of an upstream file",
            ),
            ("@SET a=b", "nodes.conf:1: `@SET a=b` is not known here"),
            (
                "upstream_servers:",
                "nodes.conf:1: this is the YAML form; give the file a name that ends with `.yaml`",
            ),
            (
                "[UPSTREAM]\nhost x",
                "nodes.conf:2: `host` is no key of `[UPSTREAM]`",
            ),
            (
                "[UPSTREAM]\nname x\n[NODE]\nname a\nport 1",
                "nodes.conf:3: this node has no `host`",
            ),
        ];
        let lines = [
            ("hots c", "`hots` is no key of a node; did you mean `host`?"),
            ("host c", "`host` is set already, in line 5"),
            (
                "weight 0",
                "`weight` is `0`; write a whole number from 1 on",
            ),
            (
                "role backup",
                "`role` is `backup`; write `primary` or `standby`",
            ),
            ("tls maybe", "`tls` is `maybe`; write `on` or `off`"),
            ("tls.verify_hostname off", "the name is always verified"),
            ("tls.key_passwd x", "`tls.key_passwd` is not known"),
            (
                "tls.crt_file x",
                "`tls.crt_file` and `tls.key_file` belong together",
            ),
            ("username x", "`username` and `password` belong together"),
            (
                "self_hostname x",
                "`self_hostname` has no effect without a handshake",
            ),
            (
                "compress lz4",
                "`compress` is `lz4`; use one of gzip, zstd, off",
            ),
            ("send_options maybe", "`send_options` is `maybe`"),
            (
                "require_ack_response off",
                "`require_ack_response off` is not set for single nodes",
            ),
            ("tag x", "`tag` is not set for single nodes"),
            (
                "shared_key ${NO_KEY}",
                "the environment variable `NO_KEY` is not set",
            ),
            ("tls", "`tls` has no value"),
        ];
        let lines =
            lines.map(|(line, error)| (format!("{node}{line}"), format!("nodes.conf:7: {error}")));
        let cases = cases.map(|(text, error)| (text.to_owned(), error.to_owned()));
        for (text, error) in cases.into_iter().chain(lines) {
            let found = parse(&text).unwrap_err();
            assert!(found.starts_with(&error), "{found}, not {error}");
        }
        let port = parse("[UPSTREAM]\nname x\n[NODE]\nname a\nhost b\nport x").unwrap_err();
        assert!(
            port.starts_with("nodes.conf:5: `tcp://b:x` has no valid port"),
            "{port}"
        );
    }
}
