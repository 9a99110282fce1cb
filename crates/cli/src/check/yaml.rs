//! Fluent Bit's YAML files as pipelines.

use crate::finding::{Code, Findings};
use kube_audit_core::text::{Entry, Node, Value};

use super::pipeline::{Kind, Pipeline, Property, Section};

/// What a file of Fluent Bit may have at its top.
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

/// Whether a document looks like one of Fluent Bit.
pub fn looks_like(document: &Node) -> bool {
    let entries = document.entries();
    entries.iter().any(|entry| entry.key == "pipeline")
        || !entries.is_empty()
            && entries
                .iter()
                .all(|entry| FIELDS.contains(&entry.key.as_str()))
}

/// Reads a document.
pub fn read(document: &Node, findings: &mut Findings<'_>) -> Pipeline {
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
                                "`{key}` is no part of a pipeline: inputs, filters and outputs are"
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

/// An input, filter or output, and the processors in it.
fn instance(kind: Kind, node: &Node, pipeline: &mut Pipeline) {
    pipeline.sections.push(section(kind, node));
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
