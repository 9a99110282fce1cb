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
//! Other parts of the file are passed over: it may be the host's own configuration.

use std::mem;

use kube_audit_core::options::{OptionError, may_hold_secret, printable};
use kube_audit_text::{Entry, Node, Source, Value, read_yaml};

use super::upstream::{Kind, Section, error_at};

/// Reads `upstream_servers` of a text as the sections of the classic form.
pub(super) fn sections(file: &str, text: &str) -> Result<Vec<Section>, OptionError> {
    let reader = Reader {
        file,
        source: Source::new("", text.as_bytes()),
    };
    let root = read_yaml(text).map_err(|fault| {
        let index = reader.source.line(fault.at).saturating_sub(1);
        let line = text.lines().nth(index).unwrap_or_default();
        // Messages of the parser quote what they are about.
        let message = match may_hold_secret(line) {
            true => "this line is refused, and not shown because it may hold a secret".to_owned(),
            false => fault.message,
        };
        reader.error(fault.at, "the file is not YAML", message)
    })?;
    let mut sections = Vec::new();
    let mut has_server = false;
    for entry in root
        .entries()
        .iter()
        .filter(|entry| is(entry, "upstream_servers"))
    {
        for server in reader.items(entry)? {
            if mem::replace(&mut has_server, true) {
                let expected = "write all nodes into one, or a file for each";
                return Err(reader.error(server.at, "this is a second upstream", expected));
            }
            let (lists, own): (Vec<_>, Vec<_>) = server
                .entries()
                .iter()
                .partition(|entry| is(entry, "nodes"));
            sections.push(reader.section(Kind::Upstream, server.at, own)?);
            for list in lists {
                for node in reader.items(list)? {
                    sections.push(reader.section(Kind::Node, node.at, node.entries())?);
                }
            }
        }
    }
    Ok(sections)
}

struct Reader<'t> {
    file: &'t str,
    source: Source<'t>,
}

impl Reader<'_> {
    fn error(
        &self,
        at: usize,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> OptionError {
        error_at(self.file, self.source.line(at), found, expected)
    }

    /// The maps in a list.
    fn items<'n>(&self, entry: &'n Entry) -> Result<&'n [Node], OptionError> {
        let wrong = |at| {
            let found = format!("`{}` has no list of maps", printable(&entry.key));
            self.error(at, found, "write `- name: …` below it for each of them")
        };
        let Value::List(items) = &entry.value.value else {
            return Err(wrong(entry.at));
        };
        match items
            .iter()
            .find(|item| !matches!(item.value, Value::Map(_)))
        {
            Some(other) => Err(wrong(other.at)),
            None => Ok(items),
        }
    }

    /// A map as a section, with scalars as they are spelt.
    fn section<'n>(
        &self,
        kind: Kind,
        at: usize,
        entries: impl IntoIterator<Item = &'n Entry>,
    ) -> Result<Section, OptionError> {
        let entry = |Entry { key, at, value, .. }: &Entry| {
            let value = match &value.value {
                Value::Null => String::new(),
                Value::Bool { spelling, .. } | Value::Number { spelling, .. } => spelling.clone(),
                Value::Text(text) => text.clone(),
                Value::List(_) | Value::Map(_) => {
                    let found = format!("`{}` has several values", printable(key));
                    return Err(self.error(*at, found, "write one, in the same line"));
                }
            };
            Ok((self.source.line(*at), key.clone(), value))
        };
        Ok(Section {
            kind,
            line: self.source.line(at),
            entries: entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        })
    }
}

/// Letter case of names does not count.
fn is(entry: &Entry, name: &str) -> bool {
    entry.key.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines and scalars of each section.
    fn read(text: &str) -> Result<Vec<String>, String> {
        let line = |section: &Section| {
            let entries = section.entries.iter();
            let entries = entries.map(|(line, name, value)| format!("{line}:{name}={value}"));
            format!(
                "{:?} {}",
                section.kind,
                entries.collect::<Vec<_>>().join(" ")
            )
        };
        match sections("f", text) {
            Ok(sections) => Ok(sections.iter().map(line).collect()),
            Err(error) => Err(error.to_string()),
        }
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
parsers:
";
        let expected = [
            "Upstream 7:name=one",
            "Node 9:Name=a 10:port=0123 11:tls=on",
            "Node 12:name=b 12:tls.verify=off",
        ];
        assert_eq!(read(text).unwrap(), expected);
        for none in ["", "a: b", "- x", "upstream_servers: []"] {
            assert_eq!(read(none).unwrap(), [""; 0], "{none}");
        }
    }

    #[test]
    fn names_the_line_and_what_would_be_right() {
        for (text, part) in [
            (
                "upstream_servers:\n  name: x",
                "f:1: `upstream_servers` has no list",
            ),
            (
                "upstream_servers:\n- x",
                "f:2: `upstream_servers` has no list",
            ),
            (
                "upstream_servers:\n- name: x\n  nodes: y",
                "f:3: `nodes` has no list",
            ),
            (
                "upstream_servers:\n- nodes:\n  - host: [a]",
                "f:3: `host` has several values",
            ),
            (
                "upstream_servers:\n- name: a\n- name: b",
                "f:3: this is a second upstream",
            ),
            (
                "upstream_servers:\n- [a]: b",
                "f:2: the file is not YAML: a list can't be a key",
            ),
            ("a: [", "f:1: the file is not YAML"),
        ] {
            let found = read(text).expect_err(text);
            assert!(found.starts_with(part), "{text}: {found}");
        }
    }

    #[test]
    fn messages_show_no_secret() {
        for value in [
            "*hunter2",
            "&hunter2 *hunter3",
            "!hunter2 x",
            "!!int hunter2",
            "@hunter2",
            "`hunter2",
            "%hunter2",
            "|hunter2",
            ">hunter2",
            "\"hunter2",
            "\"\\hunter2\"",
            "'hunter2",
            "'a' hunter2",
            "[hunter2",
            "{hunter2",
            "{hunter2: [x]}",
            "a: hunter2",
            "- hunter2",
            "\thunter2\n hunter2: x",
            "hunter2\n  hunter2",
            "x\n    shared_key: hunter2",
            "x\n    shared_key=hunter2: [y]",
            "x\n    shared_key=hunter2",
        ] {
            let text = format!("upstream_servers:\n- nodes:\n  - shared_key: {value}\n");
            if let Err(error) = read(&text) {
                assert!(!error.contains("hunter"), "{error}");
            }
        }
    }
}
