//! Checks `auditLogging` of KKP: the effects of its template, and the pipeline that results.

use crate::finding::{Code, Findings};
use crate::kkp::{AuditLogging, Origin, Pair, Release, Section, escape, render};
use kube_audit_core::options::table::{self, Entities};
use kube_audit_text::shown;

use super::pipeline::{Kind, Pipeline};
use super::{classic, ours};

/// Checks `auditLogging`, and reads the file that KKP writes for it as a pipeline.
pub(super) fn check(
    mut logging: AuditLogging,
    release: Release,
    findings: &mut Findings<'_>,
) -> Pipeline {
    enabled(&logging, findings);
    variables(&logging, release, findings);
    if release.has_variables() {
        // The name of a cluster has no characters that matter.
        let unknown = [("CLUSTER_ID".to_owned(), "cluster-id".to_owned())];
        let given = if logging.cluster.is_none() {
            &unknown[..]
        } else {
            &[]
        };
        let variables = logging.variables(given);
        logging.substitute(&variables);
    }
    for (kind, section) in sections(&logging) {
        for pair in &section.entries {
            template(kind, section, pair, release, findings);
        }
    }
    let rendered = render(&logging.config);
    let places = Places {
        origins: &rendered.origins,
        elsewhere: logging.at,
    };
    let mut pipeline = classic::read(&rendered.text, &places, findings);
    pipeline.kkp = Some(release);
    pipeline
}

/// The sections of a manifest.
fn sections(logging: &AuditLogging) -> impl Iterator<Item = (Kind, &Section)> {
    let config = &logging.config;
    let service = std::iter::once((Kind::Service, &config.service));
    let filters = config.filters.iter().map(|filter| (Kind::Filter, filter));
    let outputs = config.outputs.iter().map(|output| (Kind::Output, output));
    service.chain(filters).chain(outputs)
}

fn enabled(logging: &AuditLogging, findings: &mut Findings<'_>) {
    let configured = sections(logging).any(|(_, section)| !section.entries.is_empty());
    if logging.enabled == Some(false) && configured {
        let message = "audit logging is off, and the sidecar with it: set `enabled: true`";
        findings.push(logging.at, Code::AuditLoggingOff, "", message);
    }
}

fn variables(logging: &AuditLogging, release: Release, findings: &mut Findings<'_>) {
    if let (Some(env), false) = (logging.extra_envs.first(), release.has_variables()) {
        let message = "KKP before 2.28 has no `extraEnvs`: write the values themselves";
        findings.push(env.at, Code::NoVariables, "", message);
    }
    let known =
        |name: &str| name == "CLUSTER_ID" || logging.extra_envs.iter().any(|env| env.name == name);
    for env in &logging.extra_envs {
        if env.name == "CLUSTER_ID" {
            let message =
                "KKP sets CLUSTER_ID itself, to the name of the cluster: this value has no effect";
            findings.push(env.at, Code::ReservedVariable, "", message);
        }
    }
    for (kind, section) in sections(logging) {
        for pair in &section.entries {
            for name in references(&pair.value) {
                let env = logging.extra_envs.iter().rfind(|env| env.name == name);
                let from = env.and_then(|env| env.value_from);
                if !release.has_variables() {
                    if known(name) {
                        let message = format!(
                            "KKP before 2.28 does not set `{name}`, so it becomes nothing: write \
                             the value itself"
                        );
                        findings.push(pair.value_at, Code::NoVariables, "", message);
                    }
                } else if let (Kind::Filter, Some(at), true) = (kind, from, name != "CLUSTER_ID") {
                    let message = format!(
                        "KKP replaces `${{{name}}}` in filters by nothing, because it does not read \
                         `valueFrom`: use `value`"
                    );
                    findings.push(at, Code::ValueFromInFilter, "", message);
                } else if !known(name) && !of_any_pod(name) {
                    let message = format!(
                        "`{name}` is not set, so it becomes nothing: KKP sets CLUSTER_ID and what \
                         `sidecar.extraEnvs` has"
                    );
                    findings.push(pair.value_at, Code::UnknownVariable, "", message);
                }
            }
        }
    }
}

/// The names of variables in a text, written `${NAME}`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("${").skip(1);
    parts.filter_map(|part| {
        let (name, _) = part.split_once('}')?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (!name.is_empty() && name.bytes().all(word)).then_some(name)
    })
}

/// True for variables that Kubernetes, the image or the shell may set in any container.
fn of_any_pod(name: &str) -> bool {
    ["HOME", "HOSTNAME", "PATH", "PWD", "FLUENT_BIT_VERSION"].contains(&name)
        || ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"]
            .iter()
            .any(|end| name.ends_with(end))
        || name.contains("_PORT_")
        || name.contains("_SERVICE_PORT_")
}

/// Checks the effects of the template on a key and its value.
fn template(
    kind: Kind,
    section: &Section,
    pair: &Pair,
    release: Release,
    findings: &mut Findings<'_>,
) {
    let key = pair.key.as_str();
    if key.trim().is_empty() || key.starts_with(['#', '[']) {
        let message = format!("`{}` is not a key in fluent-bit.conf", shown(key));
        findings.push(pair.key_at, Code::UnusableKey, "", message);
        return;
    }
    // The rest is a value, which may be secret.
    if let Some((first, _)) = key.split_once(char::is_whitespace) {
        let message = format!(
            "Fluent Bit reads `{}` as the key, and the words after it as a part of the value",
            shown(first),
        );
        findings.push(pair.key_at, Code::SplitKey, "", message);
    }
    if let Some((_, rest)) = pair.value.split_once('\n') {
        let rest = rest.trim();
        if rest.starts_with('[') {
            let message = "the lines after the first one become sections of fluent-bit.conf, because \
                           KKP writes line breaks as they are";
            findings.push(pair.value_at, Code::InjectedSection, "", message);
        } else if !rest.is_empty() {
            let message = "the value has line breaks: the lines after the first one become lines of \
                           fluent-bit.conf (use `Records` with `;` for several pairs)";
            findings.push(pair.value_at, Code::LineBreak, "", message);
        }
    }
    let is_ours = section.entries.iter().any(|entry| {
        entry.key.eq_ignore_ascii_case("name")
            && entry.value.trim().eq_ignore_ascii_case(ours::NAME)
    });
    let undone = is_ours && table::find(key).is_some_and(|def| def.entities != Entities::Keep);
    for (text, at, undone) in [
        (key, pair.key_at, false),
        (&*pair.value, pair.value_at, undone),
    ] {
        let mut special: Vec<char> = text
            .chars()
            .filter(|c| escape(&c.to_string()) != c.to_string())
            .collect();
        special.sort_unstable();
        special.dedup();
        if special.is_empty() || undone {
            continue;
        }
        let written: Vec<String> = special
            .iter()
            .map(|c| {
                format!(
                    "`{}` for `{}`",
                    escape(&c.to_string()),
                    shown(&c.to_string())
                )
            })
            .collect();
        let message = format!(
            "KKP writes {}: {}",
            written.join(", "),
            remedy(kind, is_ours, key, release)
        );
        findings.push(at, Code::Mangled, "", message);
    }
}

fn remedy(kind: Kind, is_ours: bool, key: &str, release: Release) -> String {
    if is_ours && key.eq_ignore_ascii_case("record") {
        return "kube_audit undoes it in `Records`".to_owned();
    }
    let elsewhere = match (kind, release.has_variables()) {
        (Kind::Filter, _) | (_, false) => "do without these characters",
        _ => "put the value into `sidecar.extraEnvs` and write `${NAME}` here",
    };
    match is_ours {
        true => format!(
            "kube_audit undoes it in {} only; {elsewhere}",
            entities_undone().join(", ")
        ),
        false if matches!(key.to_ascii_lowercase().as_str(), "regex" | "exclude") => {
            "write `.`, which matches any character, instead of them".to_owned()
        }
        false => elsewhere.to_owned(),
    }
}

/// The options in which the plugin undoes the entities.
fn entities_undone() -> Vec<String> {
    let undone = table::TABLE
        .iter()
        .filter(|def| def.entities != Entities::Keep);
    undone.map(|def| format!("`{}`", def.name)).collect()
}

/// Maps lines of the rendered file to places in the manifest.
struct Places<'o> {
    origins: &'o [Option<Origin>],
    elsewhere: usize,
}

impl Places<'_> {
    fn origin(&self, line: usize) -> Option<Origin> {
        self.origins.get(line.checked_sub(1)?).copied().flatten()
    }
}

impl classic::Places for Places<'_> {
    fn key(&self, line: usize, _: usize) -> usize {
        self.origin(line)
            .map_or(self.elsewhere, |origin| match origin.injected {
                true => origin.value_at,
                false => origin.key_at,
            })
    }

    fn value(&self, line: usize, _: usize) -> usize {
        self.origin(line)
            .map_or(self.elsewhere, |origin| origin.value_at)
    }
}
