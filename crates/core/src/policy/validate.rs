//! Validation of a policy as kube-apiserver does it: same checks, same order, all problems at once.

use super::decode::{GroupResourcesDoc, PolicyDoc, RuleDoc, Spanned};
use super::error::Findings;
use super::version::ApiVersion;
use super::{GroupResources, Level, Policy, ProblemKind, Rule, Stage, StageSet};
use kube_audit_text::suggest::nearest;
use kube_audit_text::{Path, shown};

/// Validates a document as servers that read its version do.
pub(super) fn validate(
    doc: PolicyDoc,
    version: ApiVersion,
) -> Result<Policy, Findings<ProblemKind>> {
    let mut problems = Findings::new();
    let omit_stages = stages(&doc.omit_stages, Path::Root, &mut problems);
    let rules_path = Path::Root.field("rules");
    let rules_at = doc.rules_at;
    let rules: Vec<Rule> = doc
        .rules
        .into_iter()
        .enumerate()
        .map(|(i, doc)| rule(doc, version, rules_path.item(i), &mut problems))
        .collect();
    if problems.is_empty() && rules.is_empty() {
        let message = "a policy needs at least one rule".to_owned();
        problems.push(rules_at, rules_path, ProblemKind::NoRules, message);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Policy {
        rules,
        omit_stages,
        omit_managed_fields: doc.omit_managed_fields,
    })
}

/// Validates a rule that is not part of a policy, as the newest servers read rules.
pub(super) fn rule_alone(doc: RuleDoc, path: Path<'_>) -> (Rule, Findings<ProblemKind>) {
    let mut problems = Findings::new();
    let rule = rule(doc, ApiVersion::V1, path, &mut problems);
    (rule, problems)
}

fn rule(
    doc: RuleDoc,
    version: ApiVersion,
    path: Path<'_>,
    problems: &mut Findings<ProblemKind>,
) -> Rule {
    let level = level(&doc, path, problems);
    let urls_path = path.field("nonResourceURLs");
    for (i, url) in doc.non_resource_urls.iter().enumerate() {
        non_resource_url(url, urls_path.item(i), problems);
    }
    let resources_path = path.field("resources");
    for (i, entry) in doc.resources.iter().enumerate() {
        group_resources(entry, version, resources_path.item(i), problems);
    }
    let omit_stages = stages(&doc.omit_stages, path, problems);
    if let Some(url) = doc.non_resource_urls.first()
        && !(doc.resources.is_empty() && doc.namespaces.is_empty())
    {
        let message = "a rule can't have both `nonResourceURLs` and `resources` or `namespaces`: \
                       make two rules of it";
        problems.push(url.at, urls_path, ProblemKind::Invalid, message.to_owned());
    }
    Rule {
        level,
        users: texts(doc.users),
        user_groups: texts(doc.user_groups),
        verbs: texts(doc.verbs),
        resources: doc
            .resources
            .into_iter()
            .map(|entry| GroupResources {
                group: entry.group.value,
                resources: texts(entry.resources),
                resource_names: texts(entry.resource_names),
            })
            .collect(),
        namespaces: texts(doc.namespaces),
        non_resource_urls: texts(doc.non_resource_urls),
        omit_stages,
        omit_managed_fields: doc.omit_managed_fields,
    }
}

fn texts(texts: Vec<Spanned>) -> Vec<String> {
    texts.into_iter().map(|text| text.value).collect()
}

fn level(rule: &RuleDoc, path: Path<'_>, problems: &mut Findings<ProblemKind>) -> Level {
    let Spanned { value, at } = &rule.level;
    let path = path.field("level");
    let names = Level::ALL.map(Level::name);
    let listed = names.join(", ");
    if let Some(level) = Level::from_name(value.as_bytes()) {
        return level;
    }
    if value.is_empty() {
        let at = if *at == 0 { rule.at } else { *at };
        let message = format!("missing: every rule needs a level (levels are {listed})");
        problems.push(at, path, ProblemKind::Required, message);
    } else {
        let remedy = remedy(value, &names, "levels");
        let message = format!("unsupported value `{}`: {remedy}", shown(value));
        problems.push(*at, path, ProblemKind::NotSupported, message);
    }
    Level::None
}

fn stages(list: &[Spanned], path: Path<'_>, problems: &mut Findings<ProblemKind>) -> StageSet {
    let path = path.field("omitStages");
    let mut set = StageSet::default();
    for (i, Spanned { value, at }) in list.iter().enumerate() {
        match Stage::from_name(value.as_bytes()) {
            Some(stage) => set.insert(stage),
            None => {
                let remedy = remedy(value, &Stage::ALL.map(Stage::name), "stages");
                let message = format!("invalid value `{}`: {remedy}", shown(value));
                problems.push(*at, path.item(i), ProblemKind::Invalid, message);
            }
        }
    }
    set
}

/// "use `Metadata` (levels are None, …)"
fn remedy(found: &str, names: &[&str], what: &str) -> String {
    let all = names.join(", ");
    match nearest(found, names.iter().copied()) {
        Some(name) => format!("use `{name}` ({what} are {all})"),
        None => format!("{what} are {all}"),
    }
}

fn non_resource_url(url: &Spanned, path: Path<'_>, problems: &mut Findings<ProblemKind>) {
    let Spanned { value, at } = url;
    if value == "*" {
        return;
    }
    let spelled = shown(value);
    if !value.starts_with('/') {
        let message = format!("invalid value `{spelled}`: it must begin with `/`, or be `*` alone");
        problems.push(*at, path, ProblemKind::Invalid, message);
    }
    if value.strip_suffix('*').unwrap_or(value).contains('*') {
        let message =
            format!("invalid value `{spelled}`: `*` is allowed as the last character only");
        problems.push(*at, path, ProblemKind::Invalid, message);
    }
}

fn group_resources(
    entry: &GroupResourcesDoc,
    version: ApiVersion,
    path: Path<'_>,
    problems: &mut Findings<ProblemKind>,
) {
    let Spanned { value: group, at } = &entry.group;
    let group_path = path.field("group");
    let mut invalid = |message| problems.push(*at, group_path, ProblemKind::Invalid, message);
    match group.as_str() {
        "" => {}
        "*" if version.has_any_group() => {}
        "*" => invalid(format!(
            "invalid value `*`: every kube-apiserver that reads `{}` refuses it; name each group, \
             or write `apiVersion: {}` for kube-apiserver 1.36 and later",
            version.name(),
            ApiVersion::V1.name()
        )),
        _ => {
            let spelled = shown(group);
            if group.len() > MAX_SUBDOMAIN {
                invalid(format!(
                    "invalid value `{spelled}`: it must not be longer than {MAX_SUBDOMAIN} bytes"
                ));
            }
            if !group.split('.').all(is_label) {
                invalid(format!(
                    "invalid value `{spelled}`: {}",
                    group_remedy(group)
                ));
            }
        }
    }
    if let Some(name) = entry.resource_names.first()
        && entry.resources.is_empty()
    {
        let names: Vec<&str> = entry
            .resource_names
            .iter()
            .map(|name| name.value.as_str())
            .collect();
        let names = shown(&names.join(", "));
        let message = format!("`{names}` need at least one entry in `resources` beside them");
        problems.push(
            name.at,
            path.field("resourceNames"),
            ProblemKind::Invalid,
            message,
        );
    }
}

/// Longest DNS subdomain (RFC 1123), without the usual limit of 63 for each label.
const MAX_SUBDOMAIN: usize = 253;

fn is_label(label: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = label.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn group_remedy(group: &str) -> String {
    let without_version = group
        .split('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if without_version != group && without_version.split('.').all(is_label) {
        return format!("use `{without_version}`, the lower-case name without a version");
    }
    "an API group has lower-case letters, digits, `-` and `.` only, as in `apps` or `batch.example.com`"
        .to_owned()
}
