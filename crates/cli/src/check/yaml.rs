//! Reads Fluent Bit's YAML files as pipelines.

use crate::finding::{Code, Findings};
use kube_audit_text::{Entry, Node, Value};

use super::pipeline::{Kind, Pipeline, Property, Section};

/// The keys that a file of Fluent Bit may have at its top.
const FIELDS: [&str; 10] = [
    "customs",
    "env",
    "includes",
    "multiline_parsers",
    "parsers",
    "pipeline",
    "plugins",
    "service",
    "stream_processor",
    "upstream_servers",
];

/// True if a document looks like a file of Fluent Bit.
pub(super) fn looks_like(document: &Node) -> bool {
    let entries = document.entries();
    entries.iter().any(|entry| entry.key == "pipeline")
        || !entries.is_empty()
            && entries
                .iter()
                .all(|entry| FIELDS.contains(&entry.key.as_str()))
}

/// Reads a document.
pub(super) fn read(document: &Node, findings: &mut Findings<'_>) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for Entry { key, value, .. } in document.entries() {
        match key.as_str() {
            "service" => pipeline.sections.push(section(Kind::Service, value)),
            "plugins" => pipeline.names_plugins = true,
            "includes" => pipeline.includes = true,
            "pipeline" => {
                for Entry { key, at, value, .. } in value.entries() {
                    let kind = match key.as_str() {
                        "inputs" => Kind::Input,
                        "filters" => Kind::Filter,
                        "outputs" => Kind::Output,
                        _ => {
                            let message = format!(
                                "`{key}` is not a part of a pipeline: use inputs, filters and outputs"
                            );
                            findings.push(*at, Code::Syntax, "", message);
                            continue;
                        }
                    };
                    for item in value.items() {
                        instance(kind, item, &mut pipeline);
                    }
                }
            }
            _ => {}
        }
    }
    pipeline
}

/// Adds an input, filter or output, with its processors and routes.
fn instance(kind: Kind, node: &Node, pipeline: &mut Pipeline) {
    pipeline.sections.push(section(kind, node));
    routes(node, &mut pipeline.routed);
    let processors = node
        .entries()
        .iter()
        .filter(|entry| entry.key == "processors");
    for Entry { value, .. } in processors.flat_map(|entry| entry.value.entries()) {
        let items = value.items().iter();
        let processors = items.map(|item| section(Kind::Processor, item));
        pipeline.sections.extend(processors);
    }
}

/// The outputs that an input's routes name, and their fallbacks: `routes` has a list of routes
/// for each signal, and a route has `to: {outputs: […]}` (Fluent Bit 4.2 and later).
fn routes(input: &Node, names: &mut Vec<String>) {
    let routes = named(input, "routes")
        .flat_map(|signals| signals.entries())
        .flat_map(|signal| signal.value.items());
    let outputs = routes
        .flat_map(|route| named(route, "to"))
        .flat_map(|to| named(to, "outputs"))
        .flat_map(|outputs| outputs.items());
    for output in outputs {
        let of_map = ["name", "fallback"]
            .into_iter()
            .flat_map(|key| named(output, key));
        for node in [output].into_iter().chain(of_map) {
            if let Value::Text(name) = &node.value {
                names.push(name.clone());
            }
        }
    }
}

/// The values of a key.
fn named<'n>(node: &'n Node, key: &'static str) -> impl Iterator<Item = &'n Node> {
    let entries = node.entries().iter();
    entries
        .filter(move |entry| entry.key == key)
        .map(|entry| &entry.value)
}

fn section(kind: Kind, node: &Node) -> Section {
    let mut properties = Vec::new();
    for Entry { key, at, value, .. } in node.entries() {
        // A list gives a property several values.
        let values = match &value.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(value),
        };
        for value in values {
            let text = match &value.value {
                Value::Text(text) => text.clone(),
                Value::Bool { spelling, .. } | Value::Number { spelling, .. } => spelling.clone(),
                Value::Null => String::new(),
                // Processors, routes and conditions.
                Value::List(_) | Value::Map(_) => continue,
            };
            properties.push(Property {
                key: key.clone(),
                value: text,
                key_at: *at,
                value_at: value.at,
            });
        }
    }
    Section {
        kind,
        at: node.at,
        properties,
    }
}

#[cfg(test)]
mod tests {
    use crate::finding::Code;
    use crate::kkp::Release;

    #[test]
    fn outputs_that_routes_name_need_no_match() {
        let text = "\
pipeline:
  inputs:
    - name: tail
      path: /var/log/audit.log
      skip_long_lines: on
      buffer_max_size: 16M
      routes:
        logs:
          - name: all
            condition: {default: true}
            to:
              outputs: [siem, {name: stdout.0, fallback: file}]
  outputs:
    - {name: counter, alias: siem}
    - {name: stdout}
    - {name: file}
    - {name: counter, alias: other}
";
        let findings = crate::check::check("file", text, Release::NEWEST);
        let found: Vec<_> = findings
            .iter()
            .filter(|finding| finding.code == Code::NoMatch)
            .map(|finding| finding.place.line)
            .collect();
        assert_eq!(found, [17], "{findings:?}");
    }
}
