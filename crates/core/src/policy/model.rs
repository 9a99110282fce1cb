//! A policy as it was read: valid, its rules in order, not yet compiled.

use super::{Attributes, Level, Resource, StageSet, Target};

/// Valid audit policy; made by [`Policy::parse`] or from a [`Preset`](super::Preset).
///
/// A policy has at least one rule, and every rule passed the validation of kube-apiserver: it
/// selects resources or non-resource URLs, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) omit_stages: StageSet,
    pub(super) omit_managed_fields: bool,
}

impl Policy {
    /// Returns the rules; the first that matches a request decides.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the stages that are omitted whatever rule matches.
    pub fn omit_stages(&self) -> StageSet {
        self.omit_stages
    }

    /// True if managed fields are removed where a rule has no setting of its own.
    pub fn omit_managed_fields(&self) -> bool {
        self.omit_managed_fields
    }
}

/// Rule of a policy. An empty list selects everything; all comparisons are byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Amount that is logged of a request that matches.
    pub level: Level,
    /// User names; no wildcards.
    pub users: Vec<String>,
    /// User groups; the user must be in one of them; no wildcards.
    pub user_groups: Vec<String>,
    /// Verbs; no wildcards.
    pub verbs: Vec<String>,
    /// API resources; one entry must match.
    pub resources: Vec<GroupResources>,
    /// Namespaces; `""` selects requests without one; no wildcards.
    pub namespaces: Vec<String>,
    /// Paths of non-resource requests; a final `*` matches any rest.
    pub non_resource_urls: Vec<String>,
    /// Stages omitted in addition to the policy's.
    pub omit_stages: StageSet,
    /// Overrides the policy's `omitManagedFields`.
    pub omit_managed_fields: Option<bool>,
}

/// Entry of `resources`: resources of one API group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupResources {
    /// API group; `""` is the core group, `*` is any.
    pub group: String,
    /// `pods`, `pods/log`, `pods/*` (with and without subresource), `*/scale` or `*`;
    /// empty means all resources and subresources of the group.
    pub resources: Vec<String>,
    /// Object names; no wildcards, empty means all.
    pub resource_names: Vec<String>,
}

/// Selector of a rule, in the order in which they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `users`
    Users,
    /// `userGroups`
    UserGroups,
    /// `verbs`
    Verbs,
    /// `nonResourceURLs`
    NonResourceUrls,
    /// `namespaces`
    Namespaces,
    /// `resources`, with `resourceNames`
    Resources,
}

impl Selector {
    /// Returns the name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Selector::Users => "users",
            Selector::UserGroups => "userGroups",
            Selector::Verbs => "verbs",
            Selector::NonResourceUrls => "nonResourceURLs",
            Selector::Namespaces => "namespaces",
            Selector::Resources => "resources",
        }
    }
}

impl Rule {
    /// True if the rule matches, compared one selector after the other.
    ///
    /// [`Ruleset`](super::Ruleset) uses this slow, plain form for what its tables don't have.
    pub(super) fn matches(&self, request: &Attributes<'_>) -> bool {
        self.mismatch(request).is_none()
    }

    /// Finds the first selector that keeps the rule from matching; `None` if it matches.
    pub fn mismatch(&self, request: &Attributes<'_>) -> Option<Selector> {
        let named = match request.user {
            Some(user) => lists(&self.users, user.name),
            None => self.users.is_empty(),
        };
        if !named {
            return Some(Selector::Users);
        }
        let groups = request.user.map_or(&[][..], |user| user.groups);
        let in_group = |group: &&[u8]| self.user_groups.iter().any(|own| own.as_bytes() == *group);
        if !(self.user_groups.is_empty() || groups.iter().any(in_group)) {
            return Some(Selector::UserGroups);
        }
        if !lists(&self.verbs, request.verb) {
            return Some(Selector::Verbs);
        }
        match request.target {
            Target::Resource(resource) => {
                if !self.non_resource_urls.is_empty() {
                    return Some(Selector::NonResourceUrls);
                }
                if !lists(&self.namespaces, resource.namespace) {
                    return Some(Selector::Namespaces);
                }
                (!self.selects(&resource)).then_some(Selector::Resources)
            }
            Target::NonResource { path } => {
                if !self.namespaces.is_empty() {
                    return Some(Selector::Namespaces);
                }
                if !self.resources.is_empty() {
                    return Some(Selector::Resources);
                }
                let urls = &self.non_resource_urls;
                let fits = urls.is_empty() || urls.iter().any(|spec| spec_matches(spec, path));
                (!fits).then_some(Selector::NonResourceUrls)
            }
        }
    }

    /// True if the rule's `resources` match.
    pub(super) fn selects(&self, resource: &Resource<'_>) -> bool {
        self.resources.is_empty() || self.resources.iter().any(|entry| entry.matches(resource))
    }
}

impl GroupResources {
    /// True if the entry matches a request for a resource.
    pub fn matches(&self, request: &Resource<'_>) -> bool {
        (self.group == "*" || self.group.as_bytes() == request.group)
            && (self.resources.is_empty()
                || (lists(&self.resource_names, request.name)
                    && self
                        .resources
                        .iter()
                        .any(|pattern| pattern_matches(pattern.as_bytes(), request))))
    }
}

/// True if a selector accepts a value.
fn lists(list: &[String], value: &[u8]) -> bool {
    list.is_empty() || list.iter().any(|item| item.as_bytes() == value)
}

fn pattern_matches(pattern: &[u8], request: &Resource<'_>) -> bool {
    let exact = if request.subresource.is_empty() {
        pattern == request.resource
    } else {
        pattern
            .strip_prefix(request.resource)
            .and_then(|rest| rest.strip_prefix(b"/"))
            .is_some_and(|rest| rest == request.subresource)
    };
    exact
        || pattern == b"*"
        || pattern
            .strip_suffix(b"/*")
            .is_some_and(|resource| resource == request.resource)
        || (!request.subresource.is_empty()
            && pattern
                .strip_prefix(b"*/")
                .is_some_and(|sub| sub == request.subresource))
}

fn spec_matches(spec: &str, path: &[u8]) -> bool {
    match url_prefix(spec) {
        Some(prefix) => path.starts_with(prefix.as_bytes()),
        None => spec.as_bytes() == path,
    }
}

/// Returns the prefix of a non-resource URL with a final `*`.
pub(super) fn url_prefix(spec: &str) -> Option<&str> {
    spec.strip_suffix('*')
        .map(|prefix| prefix.trim_end_matches('*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, resource, subresource, expected) in [
            ("pods", "pods", "", true),
            ("pods", "pods", "log", false),
            ("pods/log", "pods", "log", true),
            ("pods/log", "pods/log", "", true),
            ("pods/*", "pods", "log", true),
            ("pods/*", "pods", "", true),
            ("*/log", "pods", "log", true),
            ("*/", "pods", "", false),
            ("*/*", "pods", "log", false),
            ("log", "pods", "log", false),
            ("*", "pods", "log", true),
            ("/*", "", "x", true),
            ("a/b/c", "a", "b/c", true),
            ("a/b/c", "a/b", "c", true),
            ("pods/", "pods", "", false),
        ] {
            let request = Resource {
                resource: resource.as_bytes(),
                subresource: subresource.as_bytes(),
                ..Resource::default()
            };
            assert_eq!(
                pattern_matches(pattern.as_bytes(), &request),
                expected,
                "{pattern} on {resource} {subresource}"
            );
        }
    }

    #[test]
    fn urls() {
        for (spec, path, expected) in [
            ("*", "", true),
            ("/healthz*", "/healthzfoo", true),
            ("/healthz/*", "/healthz", false),
            ("/healthz", "/healthz/", false),
            ("/a*", "/a*", true),
        ] {
            assert_eq!(
                spec_matches(spec, path.as_bytes()),
                expected,
                "{spec} on {path}"
            );
        }
    }
}
