//! The YAML form of upstream files, as Fluent Bit reads it from 3.2 on.
//!
//! ```text
//! upstream_servers:
//!   - name: aggregators
//!     nodes:
//!       - name: first
//!         host: logs-1.example
//!         port: 24224
//! ```
//!
//! What else the file holds is passed over: it may be the host's own configuration.

use kube_audit_core::text::{Entry, Fault, Node, Source, Value, read_yaml};

/// Keys and values of one mapping, with scalars as they are spelt.
pub struct Mapping {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// Its scalars: line, key, value.
    pub scalars: Vec<(usize, String, String)>,
}

/// An item of `upstream_servers`.
pub struct Server {
    /// Its own keys.
    pub own: Mapping,
    /// Its nodes.
    pub nodes: Vec<Mapping>,
}

/// What is wrong, and in which line.
pub type Wrong = (usize, String);

/// Reads `upstream_servers` of a text.
pub fn servers(text: &str) -> Result<Vec<Server>, Wrong> {
    let source = Source::new("", text.as_bytes());
    let not_yaml = |fault: Fault| {
        (
            source.line(fault.at),
            format!("not YAML: {}", fault.message),
        )
    };
    let Value::Map(entries) = read_yaml(text).map_err(not_yaml)?.value else {
        return Ok(Vec::new());
    };
    let mut servers = Vec::new();
    for entry in entries.iter().filter(|entry| is(entry, "upstream_servers")) {
        for item in items(&source, entry)? {
            servers.push(server(&source, item)?);
        }
    }
    Ok(servers)
}

fn server(source: &Source, item: Item) -> Result<Server, Wrong> {
    let (lists, own): (Vec<_>, Vec<_>) = item.entries.iter().partition(|entry| is(entry, "nodes"));
    let mut nodes = Vec::new();
    for list in lists {
        for node in items(source, list)? {
            nodes.push(mapping(source, node.at, node.entries)?);
        }
    }
    let own = mapping(source, item.at, own)?;
    Ok(Server { own, nodes })
}

fn mapping<'n>(
    source: &Source,
    at: usize,
    entries: impl IntoIterator<Item = &'n Entry>,
) -> Result<Mapping, Wrong> {
    let mut scalars = Vec::new();
    for entry in entries {
        let line = source.line(entry.at);
        let key = entry.key.to_ascii_lowercase();
        let value = match &entry.value.value {
            Value::Null => String::new(),
            Value::Bool { spelling, .. } | Value::Number { spelling, .. } => spelling.clone(),
            Value::Text(text) => text.clone(),
            Value::List(_) | Value::Map(_) => {
                return Err((line, format!("`{key}` needs one value, in the same line")));
            }
        };
        scalars.push((line, key, value));
    }
    let line = source.line(at);
    Ok(Mapping { line, scalars })
}

/// A mapping in a list.
struct Item<'n> {
    at: usize,
    entries: &'n [Entry],
}

fn items<'n>(source: &Source, entry: &'n Entry) -> Result<Vec<Item<'n>>, Wrong> {
    let wrong = |at| {
        let key = &entry.key;
        let text = format!("`{key}` needs a list: write `- name: …` below it for each of them");
        (source.line(at), text)
    };
    let Value::List(nodes) = &entry.value.value else {
        return Err(wrong(entry.at));
    };
    let item = |node: &'n Node| match &node.value {
        Value::Map(entries) => Ok(Item {
            at: node.at,
            entries,
        }),
        _ => Err(wrong(node.at)),
    };
    nodes.iter().map(item).collect()
}

/// Names are compared without regard to case.
fn is(entry: &Entry, name: &str) -> bool {
    entry.key.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name of each server, and the lines and scalars of its nodes.
    fn read(text: &str) -> Result<Vec<String>, Wrong> {
        let scalars = |mapping: &Mapping| {
            let scalars = mapping.scalars.iter();
            let scalars = scalars.map(|(line, key, value)| format!("{line}:{key}={value}"));
            scalars.collect::<Vec<_>>().join(" ")
        };
        let server = |server: &Server| {
            let nodes: Vec<_> = server.nodes.iter().map(scalars).collect();
            format!("{} [{}]", scalars(&server.own), nodes.join("; "))
        };
        Ok(servers(text)?.iter().map(server).collect())
    }

    #[test]
    fn servers_of_a_configuration() {
        let text = "\
# of a host
service:
  flush: 1
pipeline:
  inputs: [{name: tail, upstream_servers: x}]
upstream_servers:
  - name: one
    nodes:
      - Name: a
        port: 0123
        tls: on
      - {name: b, tls.verify: 'off'}
  - nodes: []
    name: two
parsers:
";
        let expected = [
            "7:name=one [9:name=a 10:port=0123 11:tls=on; 12:name=b 12:tls.verify=off]",
            "14:name=two []",
        ];
        assert_eq!(read(text).unwrap(), expected);
        for none in ["", "a: b", "- x", "upstream_servers: []"] {
            assert_eq!(read(none).unwrap(), [""; 0], "{none}");
        }
    }

    #[test]
    fn names_the_line_and_what_would_be_right() {
        for (text, line, part) in [
            (
                "upstream_servers:\n  name: x",
                1,
                "`upstream_servers` needs a list",
            ),
            (
                "upstream_servers:\n- x",
                2,
                "`upstream_servers` needs a list",
            ),
            (
                "upstream_servers:\n- name: x\n  nodes: y",
                3,
                "`nodes` needs a list",
            ),
            (
                "upstream_servers:\n- nodes:\n  - host: [a]",
                3,
                "`host` needs one value",
            ),
            ("upstream_servers:\n- [a]: b", 2, "a list can't be a key"),
            ("a: [", 1, "not YAML"),
        ] {
            let (at, problem) = read(text).expect_err(text);
            assert!(problem.contains(part), "{text}: {problem}");
            assert_eq!(at, line, "{text}: {problem}");
        }
    }
}
