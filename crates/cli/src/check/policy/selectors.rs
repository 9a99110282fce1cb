//! Values of selectors, each for itself.

use kube_audit_core::policy::Rule;
use kube_audit_text::{Node, Path, shown};

use super::{Checked, api, list};
use crate::finding::{Code, Findings};

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

/// Finds values of selectors that match no request, or other requests than intended.
pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    let &Checked {
        rule, node, path, ..
    } = checked;
    for name in ["users", "userGroups", "verbs", "namespaces"] {
        for (index, item) in list(node, name) {
            if let Some(value) = item.text().filter(|value| value.contains('*')) {
                star(value, name, item.at, path.field(name).item(index), findings);
            }
        }
    }
    identities(checked, "users", wrong_user, findings);
    identities(checked, "userGroups", wrong_group, findings);
    verbs(rule, node, path, findings);
    urls(node, path, findings);
    for (index, entry) in list(node, "resources") {
        let list_path = path.field("resources");
        resources(entry, list_path.item(index), findings);
    }
}

fn verbs(rule: &Rule, node: &Node, path: Path<'_>, findings: &mut Findings<'_>) {
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
}

/// Finds names in a list that `wrong` has something against. They are names that
/// Kubernetes itself gives.
fn identities(
    checked: &Checked<'_>,
    field: &str,
    wrong: impl Fn(&str) -> Option<String>,
    findings: &mut Findings<'_>,
) {
    for (index, item) in list(checked.node, field) {
        let name = item.text().filter(|name| !name.contains('*'));
        if let Some(message) = name.and_then(&wrong) {
            let path = checked.path.field(field);
            findings.push(item.at, Code::PolicyUserOrGroup, path.item(index), message);
        }
    }
}

/// Groups that Kubernetes and kubeadm know by name.
const GROUPS: [&str; 8] = [
    "kubeadm:cluster-admins",
    "system:authenticated",
    "system:bootstrappers",
    "system:masters",
    "system:monitoring",
    "system:nodes",
    "system:serviceaccounts",
    "system:unauthenticated",
];

/// Users that Kubernetes knows by name.
const USERS: [&str; 7] = [
    "system:admin",
    "system:anonymous",
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-proxy",
    "system:kube-scheduler",
    "system:unsecured",
];

/// Returns what is wrong with the name of a user.
fn wrong_user(name: &str) -> Option<String> {
    let name_shown = shown(name);
    if GROUPS.contains(&name)
        || name.starts_with("system:serviceaccounts:")
        || name.starts_with("system:bootstrappers:")
    {
        return Some(format!(
            "`{name_shown}` is a group, so no user has this name: write it under `userGroups`"
        ));
    }
    if matches!(name, "system:node" | "system:node:") {
        return Some(format!(
            "no user has the name `{name_shown}`: kubelets are `system:node:NAME`, and all of them \
             are in the group `system:nodes`; write `userGroups: [\"system:nodes\"]`"
        ));
    }
    let account = name.strip_prefix("system:serviceaccount:");
    let is_account = |account: &str| {
        let mut words = account.split(':');
        let named = |word: Option<&str>| word.is_some_and(|word| !word.is_empty());
        named(words.next()) && named(words.next()) && words.next().is_none()
    };
    if name == "system:serviceaccount" || account.is_some_and(|account| !is_account(account)) {
        return Some(format!(
            "no user has the name `{name_shown}`: a service account is \
             `system:serviceaccount:NAMESPACE:NAME`"
        ));
    }
    None
}

/// Returns what is wrong with the name of a group.
fn wrong_group(name: &str) -> Option<String> {
    let name_shown = shown(name);
    if USERS.contains(&name)
        || name.starts_with("system:serviceaccount:")
        || name.starts_with("system:node:")
    {
        return Some(format!(
            "`{name_shown}` is a user, so no group has this name: write it under `users`"
        ));
    }
    let plural = match name {
        "system:node" => "system:nodes",
        "system:serviceaccount" => "system:serviceaccounts",
        "system:master" => "system:masters",
        "system:bootstrapper" => "system:bootstrappers",
        _ => return None,
    };
    Some(format!(
        "no group has the name `{name_shown}`: write `{plural}`"
    ))
}

/// Finds paths of resources among `nonResourceURLs`.
fn urls(node: &Node, path: Path<'_>, findings: &mut Findings<'_>) {
    for (index, item) in list(node, "nonResourceURLs") {
        let Some(url) = item.text() else { continue };
        let Some(group) = group_of_path(url) else {
            continue;
        };
        let (code, message) = match group {
            PathKind::Resource { group, resource } => (
                Code::PolicyResourceUrl,
                format!(
                    "`{}` is the path of a resource, and such requests are not compared with \
                     `nonResourceURLs`: write `resources: [{{group: \"{}\", resources: [{}]}}]` in a \
                     rule of its own",
                    shown(url),
                    shown(group),
                    shown(resource),
                ),
            ),
            PathKind::Discovery { group } => (
                Code::PolicyDiscoveryUrl,
                format!(
                    "`{}` matches requests that ask what the group `{1}` has, and none for its \
                     resources: for those write `resources: [{{group: \"{1}\"}}]` in a rule of its own",
                    shown(url),
                    shown(group),
                ),
            ),
        };
        let list_path = path.field("nonResourceURLs");
        findings.push(item.at, code, list_path.item(index), message);
    }
}

/// Kind of a path below `/api` or `/apis`.
enum PathKind<'u> {
    /// `/api/v1/nodes`, `/apis/apps/v1/deployments`
    Resource { group: &'u str, resource: &'u str },
    /// `/apis/apps`, `/apis/apps/v1`
    Discovery { group: &'u str },
}

/// Reads a path as kube-apiserver does: with three segments below `/api`, or four below
/// `/apis`, it is the path of a resource.
fn group_of_path(url: &str) -> Option<PathKind<'_>> {
    let path = url.strip_suffix('*').unwrap_or(url);
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let group = match segments.next()? {
        "api" => "",
        "apis" => segments.next()?,
        _ => return None,
    };
    segments.next();
    let mut rest = segments.skip_while(|segment| *segment == "watch");
    match (rest.next(), rest.next(), rest.next()) {
        (Some("namespaces"), Some(_), Some(resource)) | (Some(resource), _, _) => {
            Some(PathKind::Resource { group, resource })
        }
        // A prefix such as `/apis/*` names no group.
        (None, ..) if !group.is_empty() => Some(PathKind::Discovery { group }),
        _ => None,
    }
}

/// Checks an entry of `resources`.
fn resources(node: &Node, path: Path<'_>, findings: &mut Findings<'_>) {
    let group = node.get("group");
    let name = group.and_then(Node::text).unwrap_or_default();
    let patterns: Vec<(usize, &Node, &str)> = list(node, "resources")
        .filter_map(|(index, item)| Some((index, item, item.text()?)))
        .collect();
    if let Some(group) = group {
        if name == "*" {
            let message = "kube-apiserver before 1.36 refuses the group `*`";
            findings.push(group.at, Code::PolicyAnyGroup, path.field("group"), message);
        } else if let Some(remedy) = unknown_group(name, &patterns) {
            let message = format!("no request has the group `{}`: {remedy}", shown(name));
            findings.push(
                group.at,
                Code::PolicyCoreGroup,
                path.field("group"),
                message,
            );
        }
    }
    for &(index, item, pattern) in &patterns {
        let found = form(name, pattern)
            .map(|remedy| {
                (
                    Code::PolicyResource,
                    format!("`{}` matches no request: {remedy}", shown(pattern)),
                )
            })
            .or_else(|| in_group(name, pattern));
        if let Some((code, message)) = found {
            let list_path = path.field("resources");
            findings.push(item.at, code, list_path.item(index), message);
        }
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

/// Returns the remedy for a group that no API server can have: it has no dot, which groups
/// of custom resources need, and is not one of Kubernetes' own.
fn unknown_group(group: &str, patterns: &[(usize, &Node, &str)]) -> Option<String> {
    if group.contains('.') || api::is_group(group) {
        return None;
    }
    let is_version = group
        .strip_prefix('v')
        .is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
    let mut groups: Vec<&str> = patterns
        .iter()
        .filter_map(|(_, _, pattern)| api::groups_of(resource_of(pattern)).first().copied())
        .collect();
    groups.dedup();
    let what = if is_version { "it is a version; " } else { "" };
    Some(match (group, groups.as_slice()) {
        (_, [right]) if !right.is_empty() => format!("{what}write `group: {right}`"),
        ("core", _) | (_, [_]) => format!("{what}the core group is written `\"\"`"),
        (_, []) => format!("{what}the core group is written `\"\"`, others have names like `apps`"),
        (_, rights) => format!(
            "{what}the resources here are in {}: write an entry for each",
            quoted(rights)
        ),
    })
}

/// Returns the remedy for a pattern that can match nothing, by its form alone.
fn form(group: &str, pattern: &str) -> Option<String> {
    // The plural of a custom resource may look like a singular of Kubernetes'.
    let is_ours = api::is_group(group) || !group.contains('.');
    let plural = api::plural_of(resource_of(pattern)).filter(|_| is_ours);
    Some(match plural {
        Some(plural) if pattern.chars().any(|c| c.is_ascii_uppercase()) => {
            format!("resources are lower-case plurals, write `{plural}`")
        }
        Some(plural) => format!("resources are plurals, write `{plural}`"),
        None if pattern.chars().any(|c| c.is_ascii_uppercase()) => {
            "resources are lower-case plurals, such as `pods`".to_owned()
        }
        None if pattern == "*/*" => "`*` selects all resources with their subresources".to_owned(),
        None if pattern.matches('/').count() > 1 => {
            "a subresource is one word, such as `pods/proxy`".to_owned()
        }
        None if pattern.ends_with('/') || pattern.starts_with('/') || pattern.is_empty() => {
            "write `RESOURCE`, `RESOURCE/SUBRESOURCE`, `RESOURCE/*`, `*/SUBRESOURCE` or `*`"
                .to_owned()
        }
        None if star_inside(pattern) => {
            "`*` stands for a whole word: `*`, `pods/*` or `*/scale`".to_owned()
        }
        None => return None,
    })
}

/// Finds a resource that its group does not have. Nothing is known about groups that are
/// not Kubernetes' own.
fn in_group(group: &str, pattern: &str) -> Option<(Code, String)> {
    let resource = resource_of(pattern);
    if resource == "*" || !api::is_group(group) || api::find(group, resource).is_some() {
        return None;
    }
    let of = match group {
        "" => "the core group".to_owned(),
        group => format!("the group `{group}`"),
    };
    let elsewhere = api::groups_of(resource);
    if let Some(right) = elsewhere.first() {
        let message = format!(
            "{of} has no `{}`, so this matches no request: it is in {}; write an entry with `group: {}`",
            shown(resource),
            quoted(&elsewhere),
            if right.is_empty() { "\"\"" } else { right }
        );
        return Some((Code::PolicyWrongGroup, message));
    }
    let meant = api::nearest_in(group, resource)?;
    let message = format!(
        "{of} has no `{}`, so this matches no request: did you mean `{meant}`?",
        shown(resource)
    );
    Some((Code::PolicyResource, message))
}

/// Returns the resource of a pattern such as `pods/log`.
fn resource_of(pattern: &str) -> &str {
    pattern.split('/').next().unwrap_or_default()
}

/// "`apps`, `extensions`"
fn quoted(groups: &[&str]) -> String {
    let quoted = groups.iter().map(|group| match *group {
        "" => "the core group".to_owned(),
        group => format!("`{group}`"),
    });
    quoted.collect::<Vec<_>>().join(", ")
}
/// True if a pattern has a `*` that is compared literally.
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
