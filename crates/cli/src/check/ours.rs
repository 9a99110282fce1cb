//! Sections of kube_audit itself, with the errors and warnings of a start.

use crate::document::documents;
use crate::finding::{Code, Findings};
use crate::kkp::Release;
use kube_audit_core::options::{Problem, Properties, SectionKind, table};
use kube_audit_core::policy::Syntax;
use kube_audit_text::Source;

use super::pipeline::{Kind, Pipeline, Property, Section};
use super::policy;
use super::section::check;

/// The plugin's name.
pub(super) const NAME: &str = "kube_audit";

/// Checks all sections of ours.
pub(super) fn all(pipeline: &Pipeline, findings: &mut Findings<'_>) {
    second_output(pipeline, findings);
    let ours = pipeline.sections.iter().filter(|section| section.is(NAME));
    for section in ours {
        match section.kind {
            Kind::Filter | Kind::Processor => options(SectionKind::Filter, section, findings),
            Kind::Output => options(SectionKind::Output, section, findings),
            Kind::Input => options(SectionKind::Input, section, findings),
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

fn options(kind: SectionKind, section: &Section, findings: &mut Findings<'_>) {
    let mut known: Vec<&Property> = Vec::new();
    for property in &section.properties {
        match table::lookup(kind, &property.key) {
            Ok(_) => known.push(property),
            Err(error) => findings.push(property.key_at, Code::BadOption, "", error.to_string()),
        }
    }
    let place = |known: &[&Property], option: &str| {
        let property = known.iter().find(|property| is(property, option));
        property.map_or(section.at, |property| property.value_at)
    };
    // Options without a value that is known here: they cannot be judged.
    let mut unsure: Vec<&Property> = Vec::new();
    let checked = loop {
        let error = match check(kind, &properties(&known)) {
            Ok(checked) => break checked,
            Err(error) => error,
        };
        let guilty = error
            .option()
            .and_then(|option| known.iter().position(|property| is(property, option)));
        let found = guilty.and_then(|index| known.get(index).copied());
        let depends = match error.problem() {
            Problem::Requires { needs, .. } => unsure.iter().any(|property| is(property, needs)),
            _ => false,
        };
        let certain = !depends && found.is_none_or(|property| !has_variable(&property.value));
        if certain {
            let at = place(&known, error.option().unwrap_or_default());
            for line in error.to_string().lines() {
                findings.push(at, Code::BadOption, "", line);
            }
        }
        // Options of filters and inputs do not need each other: without this one the others can be judged.
        match guilty {
            Some(index)
                if kind != SectionKind::Output
                    || !certain && found.is_some_and(|property| !is_receiver(property)) =>
            {
                unsure.push(known.remove(index));
            }
            _ => return,
        }
    };
    for remark in checked.remarks {
        let at = place(&known, remark.option);
        findings.push(at, Code::OptionRemark, "", remark.text);
    }
    if let Some(text) = checked.inline_policy {
        inline_policy(&text, place(&known, table::POLICY.name), findings);
    }
}

/// True if a property sets the option of that name.
fn is(property: &Property, option: &str) -> bool {
    table::find(&property.key).is_some_and(|def| def.is(option))
}

/// Checks a policy in an option beyond what stops a start.
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

/// True if an output cannot be judged without the option.
fn is_receiver(property: &Property) -> bool {
    [table::ENDPOINT, table::HOST, table::PORT, table::UNIX_PATH]
        .iter()
        .any(|def| def.is(&property.key))
}

/// Value that the plugin would get, with `1` for each variable: it can be a part of most values.
fn properties(known: &[&Property]) -> Properties {
    let pair = |property: &&Property| {
        let value = without_variables(&property.value);
        (property.key.clone(), value)
    };
    known.iter().map(pair).collect()
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

#[cfg(test)]
mod tests {
    use crate::finding::Code;
    use crate::kkp::Release;

    /// Lines, codes and messages for a classic file with an output of ours.
    fn findings(lines: &str) -> Vec<(usize, Code, String)> {
        let text = format!(
            "[SERVICE]\n  Plugins_File /p\n[OUTPUT]\n  Name kube_audit\n  Match *\n{lines}"
        );
        let findings = super::super::check("file", &text, Release::NEWEST);
        let finding = findings.into_iter();
        finding
            .map(|finding| (finding.place.line, finding.code, finding.message))
            .collect()
    }

    #[test]
    fn options_that_the_host_takes_as_they_are() {
        for (lines, line, message) in [
            (
                "  Hots a\n",
                6,
                "unknown option `Hots`: did you mean `Host`?",
            ),
            (
                "  Host a\n  Port abc\n",
                7,
                "`Port` is `abc`: use a number from 1 to 65535",
            ),
            (
                "  Host a\n  Port 0\n",
                7,
                "`Port` is `0`: use a number from 1 to 65535",
            ),
            (
                "  Host a\n  tls.enable on\n",
                7,
                "unknown option `tls.enable`: did you mean `tls`?",
            ),
            (
                "  Host a\n  tls.ca_file /ca.pem\n",
                7,
                "`tls.ca_file` is set without `tls`",
            ),
            (
                "  Host a\n  Tls maybe\n",
                7,
                "`tls` is `maybe`: use `on` or `off`",
            ),
        ] {
            let found = findings(lines);
            assert!(
                found.iter().any(|(at, code, text)| {
                    (*at, *code) == (line, Code::BadOption) && text.starts_with(message)
                }),
                "{lines}: {found:?}"
            );
        }
    }

    #[test]
    fn nothing_is_said_where_a_variable_decides() {
        for lines in [
            "  Host a\n  Port ${PORT}\n",
            "  Host a\n  tls ${TLS}\n  tls.ca_file /ca.pem\n",
            "  Host a\n  Shared_Key k\n  Empty_Shared_Key ${EMPTY}\n",
            "  Upstream ${FILE}\n",
            "  Host a\n  Max_Frame ${SIZE}\n  Compress ${COMPRESSION}\n",
        ] {
            assert_eq!(findings(lines), [], "{lines}");
        }
    }

    #[test]
    fn messages_show_no_secret() {
        for lines in [
            "  Host a\n  Shared_Key=hunter2\n",
            "  Host a\n  Shared_Key=hunter2 x\n",
            "  Host a\n Shared_Key=hunter2 x\n",
            "  Host a\nShared_Key=hunter2\n",
            "  Host a\n  Shared_Key hunter2\n  shared_key hunter3\n",
            "  Host a\n  Password hunter2\n  Password hunter3\n",
            "  Endpoint https://user:hunter2@host\n",
            "  Endpoint tcp://user:hunter2@host\n",
            "  Endpoint a\n  Endpoint tcp://user:hunter2@host\n",
            "  Host a\n  tls on\n  tls.key_passwd hunter2\n",
            "  Host a\n[shared_key hunter2\n",
        ] {
            let found = findings(lines);
            assert!(!found.is_empty(), "{lines}");
            assert!(!format!("{found:?}").contains("hunter"), "{found:?}");
        }
    }
}
