//! From a tree to the fields of a policy, not yet validated.
//!
//! Decoding works like Go's `encoding/json`, which fills what is already there:
//! null leaves a string alone, and where JSON text repeats a key the second value
//! is written over the first, element by element.

use kube_audit_text::{Entry, Node, Value};

/// A policy as written.
#[derive(Debug, Default)]
pub(super) struct PolicyDoc {
    pub rules: Vec<RuleDoc>,
    pub omit_stages: Vec<Spanned>,
    pub omit_managed_fields: bool,
    /// Byte offset of `rules`; 0 without it.
    pub rules_at: usize,
}

/// A rule as written.
#[derive(Debug, Default)]
pub(super) struct RuleDoc {
    pub at: usize,
    pub level: Spanned,
    pub users: Vec<Spanned>,
    pub user_groups: Vec<Spanned>,
    pub verbs: Vec<Spanned>,
    pub resources: Vec<GroupResourcesDoc>,
    pub namespaces: Vec<Spanned>,
    pub non_resource_urls: Vec<Spanned>,
    pub omit_stages: Vec<Spanned>,
    pub omit_managed_fields: Option<bool>,
}

/// An entry of `resources` as written.
#[derive(Debug, Default)]
pub(super) struct GroupResourcesDoc {
    pub group: Spanned,
    pub resources: Vec<Spanned>,
    pub resource_names: Vec<Spanned>,
}

/// A string with the byte offset at which it begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Spanned {
    pub value: String,
    pub at: usize,
}

impl Spanned {
    /// Takes over a string; null leaves the value as it is.
    pub(super) fn fill(&mut self, node: &Node) {
        self.at = node.at;
        if let Value::Text(text) = &node.value {
            self.value.clone_from(text);
        }
    }
}

/// Decodes a document whose types were checked; unknown fields are skipped.
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

fn text(node: &Node, into: &mut Spanned) {
    into.fill(node);
}

fn bool(node: &Node) -> Option<bool> {
    match node.value {
        Value::Bool { value, .. } => Some(value),
        _ => None,
    }
}
