//! Sections of kube_audit itself: the words are those of a start.

use crate::document::documents;
use crate::finding::{Code, Findings};
use crate::kkp::Release;
use kube_audit_core::options::Properties;

use super::section::{Door, check, unknown_option};
use kube_audit_core::policy::Syntax;
use kube_audit_core::text::Source;

use super::pipeline::{Kind, Pipeline, Property, Section};
use super::policy;

/// The plugin's name.
pub const NAME: &str = "kube_audit";

/// Checks all sections of ours.
pub fn all(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    second_output(pipeline, findings);
    let ours = pipeline.sections.iter().filter(|section| section.is(NAME));
    for section in ours {
        match section.kind {
            Kind::Filter | Kind::Processor => options(Door::Filter, section, findings),
            Kind::Output => options(Door::Output, section, findings),
            _ => continue,
        }
        if !pipeline.loads_plugins() && !pipeline.includes {
            not_loaded(pipeline, section, findings);
        }
    }
}

/// A second output in a Fluent Bit that would crash with it.
fn second_output(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    if pipeline.kkp.map(Release::fluent_bit) != Some("1.9.5") {
        return;
    }
    for output in pipeline
        .of(Kind::Output)
        .filter(|output| output.is(NAME))
        .skip(1)
    {
        let message = "with the Fluent Bit 1.9.5 of KKP before 2.28 there can be one output \
                       kube_audit: name several receivers in its `Endpoint`";
        findings.push(output.at, Code::SecondOutput, "", message);
    }
}

fn not_loaded(pipeline: &Pipeline, section: &Section, findings: &mut Findings<'_>) {
    let at = section.get("name").map_or(section.at, |name| name.value_at);
    let (code, message) = match pipeline.kkp {
        Some(_) => (
            Code::PluginNotLoaded,
            "nothing loads this plugin, so Fluent Bit does not start: set `plugins_file` in \
             `service` to the path of a plugins.conf",
        ),
        None => (
            Code::PluginFromElsewhere,
            "nothing in this file loads this plugin: set `Plugins_File` in [SERVICE] (`plugins` in \
             YAML), or start Fluent Bit with `-e`",
        ),
    };
    findings.push(at, code, "", message);
}

fn options(door: Door, section: &Section, findings: &mut Findings<'_>) {
    let mut known: Vec<&Property> = Vec::new();
    for property in &section.properties {
        match unknown_option(door, &property.key) {
            None => known.push(property),
            Some(error) => findings.push(property.key_at, Code::BadOption, "", error.to_string()),
        }
    }
    let checked = loop {
        let error = match check(door, &properties(&known)) {
            Ok(checked) => break checked,
            Err(error) => error.to_string(),
        };
        let guilty = known
            .iter()
            .position(|property| blames(&error, &property.key));
        // Where a variable's value decides, nothing can be said.
        let certain = guilty.is_none_or(|index| !has_variable(&known[index].value));
        if certain {
            let at = guilty.map_or(section.at, |index| known[index].value_at);
            for line in error.lines() {
                findings.push(at, Code::BadOption, "", line);
            }
        }
        // A filter's options do not need each other: without this one the others can be judged.
        match guilty {
            Some(index) if door == Door::Filter || !certain && !is_receiver(&known[index].key) => {
                known.remove(index);
            }
            _ => return,
        }
    };
    let place = |key: &str| {
        let named = known
            .iter()
            .find(|property| property.key.eq_ignore_ascii_case(key));
        named.map_or(section.at, |property| property.value_at)
    };
    for remark in checked.remarks {
        let named = known.iter().find(|property| blames(remark, &property.key));
        let at = named.map_or(section.at, |property| property.value_at);
        findings.push(at, Code::OptionRemark, "", remark);
    }
    if let Some(text) = checked.inline_policy {
        inline_policy(&text, place("policy"), findings);
    }
}

/// What there is to say of a policy in an option, which the plugin takes.
fn inline_policy(text: &str, at: usize, findings: &mut Findings<'_>) {
    let source = Source::new("Policy", text.as_bytes());
    let mut own = Findings::new(&source);
    let documents = documents(text, &mut own);
    policy::check("Policy", text, Syntax::Inline, &documents, &mut own);
    for finding in own.into_sorted() {
        let message = format!("{}: {}", finding.place, finding.message);
        findings.push(at, finding.code, finding.path, message);
    }
}

/// Whether an output cannot be judged without an option.
fn is_receiver(key: &str) -> bool {
    ["endpoint", "host", "port", "unix_path"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(key))
}

/// What the plugin would get, with `1` for each variable: it can be a part of most values.
fn properties(known: &[&Property]) -> Properties {
    let pairs = known
        .iter()
        .filter(|property| !property.key.eq_ignore_ascii_case("name"));
    pairs
        .map(
            |property| match property.key.to_ascii_lowercase().as_str() {
                // The file is the host's own.
                "upstream" => ("endpoint".to_owned(), "upstream".to_owned()),
                _ => (property.key.clone(), without_variables(&property.value)),
            },
        )
        .collect()
}

fn has_variable(value: &str) -> bool {
    value.contains("${")
}

fn without_variables(value: &str) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, reference)) = rest.split_once("${") {
        out.push_str(before);
        out.push('1');
        rest = reference.split_once('}').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// Whether a message is about an option: it begins with its name, as `Name` or `Name:1:2`.
fn blames(message: &str, key: &str) -> bool {
    let named = match message.split_once('`') {
        Some(("", rest)) => rest.split_once('`').map(|(name, _)| name),
        _ => message.split_once(':').map(|(name, _)| name),
    };
    named.is_some_and(|name| name.eq_ignore_ascii_case(key))
}
