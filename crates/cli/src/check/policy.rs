//! Audit policies: what the API server refuses or warns about, and what is accepted
//! without a word and does nothing.

use crate::finding::{Code, Findings};
use kube_audit_core::policy::{Level, Parsed, Policy, Rule, Stage, Syntax, WarningKind};
use kube_audit_core::text::{Node, Path, Value, shown};

/// Whether a document is a policy, or was meant to be one.
pub fn looks_like(document: &Node) -> bool {
    let of_audit = |node: &Node| {
        node.text()
            .is_some_and(|text| text.starts_with("audit.k8s.io"))
    };
    document.get("apiVersion").is_some_and(of_audit)
        || document.get("kind").and_then(Node::text) == Some("Policy")
        || document.get("rules").is_some() && document.get("apiVersion").is_none()
}

/// Checks a text as the API server reads it, and its tree as it is written.
pub fn check(
    name: &str,
    content: &str,
    syntax: Syntax,
    documents: &[Node],
    findings: &mut Findings<'_>,
) {
    let (warnings, parsed) = match Policy::parse(name, content.as_bytes(), syntax) {
        Ok(mut parsed) => (std::mem::take(&mut parsed.warnings), Some(parsed)),
        Err(error) => {
            for problem in error.problems() {
                findings.add(
                    &problem.place,
                    Code::PolicyRefused,
                    &problem.path,
                    &problem.message,
                );
            }
            (error.warnings().to_vec(), None)
        }
    };
    for warning in warnings {
        let code = match warning.kind {
            WarningKind::UnknownField => Code::PolicyUnknownField,
            WarningKind::DuplicateKey => Code::PolicyRepeatedKey,
        };
        findings.add(&warning.place, code, &warning.path, &warning.message);
    }
    let (Some(parsed), Some(document)) = (parsed, documents.first()) else {
        return;
    };
    let later = documents
        .iter()
        .skip(1)
        .find(|later| later.value != Value::Null);
    if let Some(later) = later {
        let message = "kube-apiserver reads the first document of a policy file only";
        findings.push(later.at, Code::PolicyLaterDocument, "", message);
    }
    version(document, findings);
    rules(&parsed, findings);
    let nodes = document.get("rules").map_or(&[][..], Node::items);
    for (index, (rule, node)) in parsed.policy.rules().iter().zip(nodes).enumerate() {
        let path = Path::Root.field("rules");
        let path = path.item(index);
        selectors(rule, node, path, findings);
        effect(&parsed.policy, rule, node, path, findings);
    }
}

fn version(document: &Node, findings: &mut Findings<'_>) {
    if let Some(node) = document.get("apiVersion")
        && let Some(version) = node.text()
        && version != "audit.k8s.io/v1"
    {
        let message = format!(
            "kube-apiserver 1.24 and later refuse `{}`: write `audit.k8s.io/v1`",
            shown(version)
        );
        findings.push(node.at, Code::PolicyOldVersion, "apiVersion", message);
    }
}

/// What can be said of the rules together.
fn rules(parsed: &Parsed, findings: &mut Findings<'_>) {
    let Parsed { policy, places, .. } = parsed;
    for shadow in policy.shadowed() {
        let (Some(place), Some(by)) = (places.get(shadow.rule), places.get(shadow.by)) else {
            continue;
        };
        let message = format!(
            "this rule never decides: rules[{}] on line {} comes before it and matches all that it \
             does; move this one up, or remove it",
            shadow.by, by.line
        );
        findings.add(
            place,
            Code::PolicyShadowedRule,
            format!("rules[{}]", shadow.rule),
            message,
        );
    }
    let rules = policy.rules();
    let Some(place) = places.last() else { return };
    if rules.iter().all(|rule| rule.level == Level::None) {
        let message = "all rules have level None: nothing is logged";
        findings.add(place, Code::PolicyLogsNothing, "rules", message);
    } else if !rules.iter().any(is_unconditional) {
        let message = "what no rule matches is not logged: add `- level: Metadata` (or None) as the \
                       last rule to say what is meant";
        findings.add(place, Code::PolicyNoCatchAll, "rules", message);
    }
}

fn is_unconditional(rule: &Rule) -> bool {
    rule.users.is_empty()
        && rule.user_groups.is_empty()
        && rule.verbs.is_empty()
        && rule.resources.is_empty()
        && rule.namespaces.is_empty()
        && rule.non_resource_urls.is_empty()
}

/// Verbs of requests for resources.
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

/// Verbs that only requests for resources have.
const RESOURCE_VERBS: [&str; 5] = ["create", "deletecollection", "list", "update", "watch"];

/// Values of selectors that are taken literally and fit nothing.
fn selectors(rule: &Rule, node: &Node, path: Path<'_>, findings: &mut Findings<'_>) {
    for name in ["users", "userGroups", "verbs", "namespaces"] {
        for (index, item) in list(node, name) {
            if let Some(value) = item.text().filter(|value| value.contains('*')) {
                star(value, name, item.at, path.field(name).item(index), findings);
            }
        }
    }
    for (index, item) in list(node, "verbs") {
        let Some(verb) = item.text().filter(|verb| !verb.contains('*')) else {
            continue;
        };
        let of_resources = !(rule.resources.is_empty() && rule.namespaces.is_empty());
        let of_urls = !rule.non_resource_urls.is_empty();
        let right = if verb.chars().any(|c| c.is_ascii_uppercase()) {
            "verbs are lower-case".to_owned()
        } else if of_resources && !verb.is_empty() && !VERBS.contains(&verb) {
            format!("requests for resources have the verbs {}", VERBS.join(", "))
        } else if of_urls && RESOURCE_VERBS.contains(&verb) {
            "requests for other URLs have the lower-case HTTP method as their verb, such as get or \
             post"
                .to_owned()
        } else {
            continue;
        };
        let message = format!("no request has the verb `{}` here: {right}", shown(verb));
        findings.push(
            item.at,
            Code::PolicyVerb,
            path.field("verbs").item(index),
            message,
        );
    }
    for (index, entry) in list(node, "resources") {
        let list_path = path.field("resources");
        entry_of_resources(entry, list_path.item(index), findings);
    }
}

fn entry_of_resources(node: &Node, path: Path<'_>, findings: &mut Findings<'_>) {
    if let Some(group) = node.get("group") {
        let (code, message) = match group.text() {
            Some("core") => (
                Code::PolicyCoreGroup,
                "the core group is written `\"\"`; no request has the group `core`",
            ),
            Some("v1") => (
                Code::PolicyCoreGroup,
                "this is a version; the core group is written `\"\"`",
            ),
            Some("*") => (
                Code::PolicyAnyGroup,
                "kube-apiserver before 1.36 refuses the group `*`",
            ),
            _ => (Code::PolicyCoreGroup, ""),
        };
        if !message.is_empty() {
            findings.push(group.at, code, path.field("group"), message);
        }
    }
    for (index, item) in list(node, "resources") {
        let Some(pattern) = item.text() else { continue };
        let right = if pattern.chars().any(|c| c.is_ascii_uppercase()) {
            "resources are lower-case plurals, such as `pods`"
        } else if pattern == "*/*" {
            "`*` stands for all resources with their subresources"
        } else if pattern.matches('/').count() > 1 {
            "a subresource is one word, such as `pods/proxy`"
        } else if pattern.ends_with('/') || pattern.starts_with('/') || pattern.is_empty() {
            "write `RESOURCE`, `RESOURCE/SUBRESOURCE`, `RESOURCE/*`, `*/SUBRESOURCE` or `*`"
        } else if star_inside(pattern) {
            "`*` stands for a whole word: `*`, `pods/*` or `*/scale`"
        } else {
            continue;
        };
        let message = format!("`{}` matches no request: {right}", shown(pattern));
        let list_path = path.field("resources");
        findings.push(
            item.at,
            Code::PolicyResource,
            list_path.item(index),
            message,
        );
    }
    for (index, item) in list(node, "resourceNames") {
        if let Some(value) = item.text().filter(|value| value.contains('*')) {
            let list_path = path.field("resourceNames");
            star(
                value,
                "resourceNames",
                item.at,
                list_path.item(index),
                findings,
            );
        }
    }
}

/// Whether a pattern has a `*` that is compared literally.
fn star_inside(pattern: &str) -> bool {
    pattern
        .split('/')
        .any(|word| word != "*" && word.contains('*'))
}

fn star(value: &str, selector: &str, at: usize, path: Path<'_>, findings: &mut Findings<'_>) {
    let right = match value {
        "*" => format!("leave `{selector}` out to select all"),
        _ => "write each value out".to_owned(),
    };
    let message = format!(
        "`{}` is compared literally, there are no wildcards in `{selector}`: {right}",
        shown(value)
    );
    findings.push(at, Code::PolicyLiteralStar, path, message);
}

/// Settings of a rule that change nothing, or everything.
fn effect(policy: &Policy, rule: &Rule, node: &Node, path: Path<'_>, findings: &mut Findings<'_>) {
    let omits = |stage| rule.omit_stages.union(policy.omit_stages()).contains(stage);
    if rule.level != Level::None && Stage::ALL.into_iter().all(omits) {
        let message = "all stages are omitted, so this rule logs nothing: use level None";
        findings.push(node.at, Code::PolicyOmitsAll, path, message);
    }
    for name in ["omitStages", "omitManagedFields"] {
        let does_something = |field: &&Node| match &field.value {
            Value::List(items) => !items.is_empty(),
            Value::Bool { value, .. } => *value,
            _ => false,
        };
        let Some(field) = node.get(name).filter(does_something) else {
            continue;
        };
        let why = match (rule.level, name) {
            (Level::None, _) => "level None logs nothing anyway",
            (Level::Metadata, "omitManagedFields") => {
                "level Metadata has no bodies, where managed fields are"
            }
            _ => continue,
        };
        let message = format!("no effect: {why}");
        findings.push(field.at, Code::PolicyNoEffect, path.field(name), message);
    }
}

fn list<'n>(node: &'n Node, key: &str) -> impl Iterator<Item = (usize, &'n Node)> {
    node.get(key)
        .map_or(&[][..], Node::items)
        .iter()
        .enumerate()
}
