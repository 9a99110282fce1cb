//! Tree → the fields of a policy, not yet validated.
//!
//! Decoding works like Go's `encoding/json`, which fills what is already there:
//! null leaves a string alone, and where JSON text repeats a key the second value
//! is written over the first, element by element.

use super::ProblemKind;
use super::error::Findings;
use crate::text::suggest::nearest;
use crate::text::{Entry, Node, Value, shown};

/// A policy as written.
#[derive(Debug, Default)]
pub(super) struct PolicyDoc {
    pub rules: Vec<RuleDoc>,
    pub omit_stages: Vec<Text>,
    pub omit_managed_fields: bool,
    /// Where `rules` is, if it is there.
    pub rules_at: usize,
}

/// A rule as written.
#[derive(Debug, Default)]
pub(super) struct RuleDoc {
    pub at: usize,
    pub level: Text,
    pub users: Vec<Text>,
    pub user_groups: Vec<Text>,
    pub verbs: Vec<Text>,
    pub resources: Vec<GroupResourcesDoc>,
    pub namespaces: Vec<Text>,
    pub non_resource_urls: Vec<Text>,
    pub omit_stages: Vec<Text>,
    pub omit_managed_fields: Option<bool>,
}

/// An entry of `resources` as written.
#[derive(Debug, Default)]
pub(super) struct GroupResourcesDoc {
    pub group: Text,
    pub resources: Vec<Text>,
    pub resource_names: Vec<Text>,
}

/// A string and where it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    pub value: String,
    pub at: usize,
}

/// The fields of a policy that has the right types; anything else is passed over.
pub(super) fn decode(node: &Node) -> PolicyDoc {
    let mut policy = PolicyDoc::default();
    for Entry { key, value, .. } in node.entries() {
        match key.as_str() {
            "rules" => {
                policy.rules_at = value.at;
                list(value, &mut policy.rules, rule);
            }
            "omitStages" => list(value, &mut policy.omit_stages, text),
            "omitManagedFields" => {
                policy.omit_managed_fields = bool(value).unwrap_or(policy.omit_managed_fields);
            }
            _ => {}
        }
    }
    policy
}

/// Fills in the fields of a rule that have the right types.
pub(super) fn rule(node: &Node, rule: &mut RuleDoc) {
    rule.at = node.at;
    for Entry { key, value, .. } in node.entries() {
        match key.as_str() {
            "level" => text(value, &mut rule.level),
            "users" => list(value, &mut rule.users, text),
            "userGroups" => list(value, &mut rule.user_groups, text),
            "verbs" => list(value, &mut rule.verbs, text),
            "resources" => list(value, &mut rule.resources, group_resources),
            "namespaces" => list(value, &mut rule.namespaces, text),
            "nonResourceURLs" => list(value, &mut rule.non_resource_urls, text),
            "omitStages" => list(value, &mut rule.omit_stages, text),
            "omitManagedFields" => rule.omit_managed_fields = bool(value),
            _ => {}
        }
    }
}

fn group_resources(node: &Node, entry: &mut GroupResourcesDoc) {
    for Entry { key, value, .. } in node.entries() {
        match key.as_str() {
            "group" => text(value, &mut entry.group),
            "resources" => list(value, &mut entry.resources, text),
            "resourceNames" => list(value, &mut entry.resource_names, text),
            _ => {}
        }
    }
}

fn list<T: Default>(node: &Node, into: &mut Vec<T>, fill: impl Fn(&Node, &mut T)) {
    match &node.value {
        Value::List(items) => {
            into.resize_with(items.len(), T::default);
            for (item, into) in items.iter().zip(into) {
                fill(item, into);
            }
        }
        _ => into.clear(),
    }
}

fn text(node: &Node, into: &mut Text) {
    into.at = node.at;
    if let Value::Text(text) = &node.value {
        into.value.clone_from(text);
    }
}

fn bool(node: &Node) -> Option<bool> {
    match node.value {
        Value::Bool { value, .. } => Some(value),
        _ => None,
    }
}

/// `apiVersion`s of a policy; kube-apiserver 1.24 and later know only the first.
const API_VERSIONS: [&str; 3] = [
    "audit.k8s.io/v1",
    "audit.k8s.io/v1beta1",
    "audit.k8s.io/v1alpha1",
];

/// Whether a document must say which version of a policy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    Required,
    Optional,
}

/// Whether the document says that it is a policy. These two keys alone are found
/// without regard to case, because Go's own JSON decoder looks for them.
pub(super) fn check_version(
    node: &Node,
    order: KeyOrder,
    required: ApiVersion,
) -> Findings<ProblemKind> {
    let mut problems = Findings::new();
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        let message = format!("found {}, expected a mapping with `apiVersion`", node.value);
        problems.push(node.at, "", ProblemKind::Type, message);
        return problems;
    }
    let api_version = find(node, "apiVersion", order, &mut problems);
    let kind = find(node, "kind", order, &mut problems);
    if !problems.is_empty() {
        return problems;
    }
    let at = api_version.at;
    let may_be_missing = required == ApiVersion::Optional && api_version.value.is_empty();
    if !may_be_missing && !API_VERSIONS.contains(&api_version.value.as_str()) {
        let message = match api_version.value.as_str() {
            "" => format!("missing: write `apiVersion: {}`", API_VERSIONS[0]),
            other => {
                let meant = nearest(other, API_VERSIONS).unwrap_or(API_VERSIONS[0]);
                format!("unknown version `{}`: write `{meant}`", shown(other))
            }
        };
        problems.push(at, "apiVersion", ProblemKind::Version, message);
    } else if !matches!(kind.value.as_str(), "" | "Policy") {
        let message = format!("found `{}`, expected `Policy`", shown(&kind.value));
        problems.push(kind.at, "kind", ProblemKind::Version, message);
    }
    problems
}

/// The order in which keys that differ only in case overwrite each other.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum KeyOrder {
    /// As in the text (JSON).
    Written,
    /// Sorted, as the conversion from YAML to JSON leaves them.
    Sorted,
}

fn find(node: &Node, name: &str, order: KeyOrder, problems: &mut Findings<ProblemKind>) -> Text {
    let mut found: Vec<&Entry> = node
        .entries()
        .iter()
        .filter(|entry| equal_fold(&entry.key, name))
        .collect();
    if order == KeyOrder::Sorted {
        found.sort_by(|a, b| a.key.cmp(&b.key));
    }
    let mut into = Text {
        value: String::new(),
        at: node.at,
    };
    for entry in found {
        if !matches!(entry.value.value, Value::Text(_) | Value::Null) {
            let message = format!("found {}, expected a string", entry.value.value);
            problems.push(entry.value.at, name, ProblemKind::Type, message);
        }
        text(&entry.value, &mut into);
    }
    into
}

/// Equality without regard to case, with the two letters beyond ASCII that fold into it.
fn equal_fold(key: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}
