//! Requests that are made up to ask a policy for its decision.

use kube_audit_core::policy::{Attributes, Resource, Rule, Target, User};

/// Request that a rule's selectors accept as far as user, namespace and name go.
///
/// Where a selector is absent, the request has a value that no policy is likely to name.
pub(super) struct Probe<'a> {
    user: &'a [u8],
    groups: Vec<&'a [u8]>,
    resource: Resource<'a>,
    /// Name of the object, for requests that have one.
    name: &'a [u8],
}

impl<'a> Probe<'a> {
    /// Makes a request for a resource; its namespace and name are taken from the rule.
    pub(super) fn of(rule: &'a Rule, resource: Resource<'a>) -> Probe<'a> {
        let first = |list: &'a [String], otherwise: &'static str| {
            list.first().map_or(otherwise, String::as_str).as_bytes()
        };
        let groups = vec![first(&rule.user_groups, "system:authenticated")];
        let entry = rule.resources.iter().find(|entry| {
            let name = first(&entry.resource_names, "");
            entry.matches(&Resource { name, ..resource })
        });
        Probe {
            user: first(&rule.users, "someone@kube-audit.invalid"),
            groups,
            resource: Resource {
                namespace: match resource.namespace {
                    b"" => first(&rule.namespaces, "kube-audit-invalid"),
                    namespace => namespace,
                },
                ..resource
            },
            name: entry.map_or(b"kube-audit-invalid", |entry| {
                first(&entry.resource_names, "kube-audit-invalid")
            }),
        }
    }

    /// True if the request with a verb is for the object of that name.
    pub(super) fn is_for(&self, verb: &'a str, name: &str) -> bool {
        match self.attributes(verb).target {
            Target::Resource(resource) => resource.name == name.as_bytes(),
            Target::NonResource { .. } => false,
        }
    }

    /// Returns the attributes of the request with a verb. As in requests to kube-apiserver,
    /// objects that are created, listed or deleted together have no name.
    pub(super) fn attributes(&self, verb: &'a str) -> Attributes<'_> {
        let nameless = self.resource.subresource.is_empty()
            && matches!(verb, "create" | "list" | "deletecollection");
        Attributes {
            user: Some(User {
                name: self.user,
                groups: &self.groups,
            }),
            verb: verb.as_bytes(),
            target: Target::Resource(Resource {
                name: if nameless { b"" } else { self.name },
                ..self.resource
            }),
        }
    }
}
