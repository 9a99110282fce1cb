//! The effect of a rule as a whole.

use kube_audit_core::policy::{Level, Resource, Rule, Stage};
use kube_audit_text::{Node, Value, shown};

use super::probe::Probe;
use super::{Checked, api, applies_to_all_requests, list};
use crate::finding::{Code, Findings};

/// Finds rules and settings that have no effect, or more than intended.
pub(super) fn check(rule: &Checked<'_>, findings: &mut Findings<'_>) {
    settings(rule, findings);
    everybody(rule, findings);
    cluster_scoped(rule, findings);
    names_of_created_objects(rule, findings);
    websockets(rule, findings);
    patches(rule, findings);
}

/// Finds the first rule that makes an API server lose each event of some changes.
fn patches(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let omitted = checked.policy.omit_stages();
    let is_for_patches = |rule: &Rule| {
        let has_verb = rule.verbs.is_empty() || rule.verbs.iter().any(|verb| verb == "patch");
        has_verb && (!rule.resources.is_empty() || rule.non_resource_urls.is_empty())
    };
    let is_for_all = |rule: &Rule| {
        rule.users.is_empty()
            && rule.user_groups.is_empty()
            && rule.resources.is_empty()
            && rule.namespaces.is_empty()
    };
    let keeps_some = !Stage::ALL.into_iter().all(|stage| omitted.contains(stage));
    let mut rules = checked.policy.rules().iter();
    // Behind a rule for all patches none comes to another one.
    let first = rules.position(|rule| {
        is_for_patches(rule) && (rule.level >= Level::Request || is_for_all(rule))
    });
    let is_this = checked.rule.level >= Level::Request && first == Some(checked.index);
    if !omitted.contains(Stage::RequestReceived) || !keeps_some || !is_this {
        return;
    }
    let message = format!(
        "an API server up to 1.36 that logs by this policy loses the last event of a patch that is \
         no JSON (an apply as YAML or CBOR) at level {}, and `RequestReceived` is omitted, so that \
         nothing tells of the change: log `patch` at Metadata in a rule before this one, or keep \
         that stage",
        checked.rule.level.name()
    );
    findings.push(
        checked.node.at,
        Code::PolicyLosesPatches,
        checked.path,
        message,
    );
}

/// Finds settings that change nothing, and rules that omit all stages.
fn settings(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let &Checked {
        rule,
        node,
        path,
        policy,
        ..
    } = checked;
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

/// Group that every authenticated user is in.
const EVERYBODY: &str = "system:authenticated";

/// Finds a rule of level None that drops the requests of every authenticated user.
fn everybody(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let rule = checked.rule;
    if rule.level != Level::None || !rule.users.is_empty() || !applies_to_all_requests(rule) {
        return;
    }
    let group = list(checked.node, "userGroups").find(|(_, item)| item.text() == Some(EVERYBODY));
    if let Some((index, item)) = group {
        let message = "every authenticated user is in this group, so after this rule only requests \
                       without credentials are logged: name the groups that are meant, or give the \
                       rule `verbs`, `resources` or `nonResourceURLs`";
        let path = checked.path.field("userGroups");
        findings.push(
            item.at,
            Code::PolicyDropsEverybody,
            path.item(index),
            message,
        );
    }
}

/// Finds resources without namespaces in a rule that selects namespaces.
fn cluster_scoped(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let namespaces = &checked.rule.namespaces;
    if namespaces.is_empty() || namespaces.iter().any(String::is_empty) {
        return;
    }
    for (entry_index, entry) in list(checked.node, "resources") {
        let group = entry.get("group").and_then(Node::text).unwrap_or_default();
        for (index, item) in list(entry, "resources") {
            let Some(name) = item.text().and_then(|pattern| pattern.split('/').next()) else {
                continue;
            };
            // A request for a namespace counts as one in that namespace.
            let cluster_scoped = api::find(group, name)
                .is_some_and(|resource| resource.scope == api::Scope::Cluster)
                && name != "namespaces";
            if cluster_scoped {
                let message = format!(
                    "`{0}` have no namespace, so this rule never matches requests for them: select \
                     them in a rule without `namespaces`, or add `\"\"` to `namespaces`",
                    shown(name)
                );
                let path = checked.path.field("resources");
                let path = path.item(entry_index);
                let path = path.field("resources");
                findings.push(
                    item.at,
                    Code::PolicyClusterScoped,
                    path.item(index),
                    message,
                );
            }
        }
    }
}

/// Finds `resourceNames` in a rule for requests that have no name: when an object is
/// created, its name is in the body, and policies look at the URL only.
fn names_of_created_objects(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let verbs = &checked.rule.verbs;
    let nameless = |verb: &String| matches!(verb.as_str(), "create" | "deletecollection");
    if verbs.is_empty() || !verbs.iter().all(nameless) {
        return;
    }
    let entries = list(checked.node, "resources").zip(&checked.rule.resources);
    for ((index, node), entry) in entries {
        // Requests for subresources have a name, with any verb.
        let objects_only = entry
            .resources
            .iter()
            .all(|pattern| pattern != "*" && !pattern.contains('/'));
        let named =
            !entry.resource_names.is_empty() && !entry.resource_names.iter().any(String::is_empty);
        if let (true, true, Some(names)) = (objects_only, named, node.get("resourceNames")) {
            let message = format!(
                "requests with the verb `{}` have no name, so this entry matches none: remove \
                 `resourceNames`, or use verbs such as `update` and `patch`",
                verbs.join("` or `")
            );
            let path = checked.path.field("resources");
            let path = path.item(index);
            findings.push(
                names.at,
                Code::PolicyNamelessVerb,
                path.field("resourceNames"),
                message,
            );
        }
    }
}

/// Subresources that open a connection: `create` over SPDY, `get` over WebSocket, which
/// `kubectl` 1.31 and later use first.
const CONNECTIONS: [&str; 3] = ["exec", "attach", "portforward"];

/// Finds rules that log `create` of connections to pods, where the policy logs less of `get`.
fn websockets(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let rule = checked.rule;
    let has = |verb: &str| rule.verbs.iter().any(|own| own == verb);
    if rule.level == Level::None || !has("create") || has("get") {
        return;
    }
    let Some(verbs) = checked.node.get("verbs") else {
        return;
    };
    let spelled = |subresource: &&&str| {
        let pattern = format!("pods/{subresource}");
        let mut patterns = rule.resources.iter().flat_map(|entry| &entry.resources);
        patterns.any(|own| *own == pattern || own.strip_prefix("*/") == Some(subresource))
    };
    let missed: Vec<String> = CONNECTIONS
        .iter()
        .filter(spelled)
        .filter(|subresource| {
            let resource = Resource {
                resource: b"pods",
                subresource: subresource.as_bytes(),
                ..Resource::default()
            };
            let probe = Probe::of(rule, resource);
            let decided = |verb: &str| checked.ruleset.decide(&probe.attributes(verb));
            decided("create")
                .rule
                .is_some_and(|decides| usize::try_from(decides) == Ok(checked.index))
                && decided("get").level < rule.level
        })
        .map(|subresource| format!("`pods/{subresource}`"))
        .collect();
    if !missed.is_empty() {
        let message = format!(
            "requests for {} have the verb `get` over WebSocket, which kubectl 1.31 and later use, \
             and this rule does not match them: add `get`",
            missed.join(", ")
        );
        findings.push(
            verbs.at,
            Code::PolicyWebSocket,
            checked.path.field("verbs"),
            message,
        );
    }
}
