//! Rules that never decide, because an earlier one always does.

use super::model::url_prefix;
use super::{GroupResources, Policy, Rule};

/// Rule that never decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Number of the rule, counted from 0.
    pub rule: usize,
    /// Number of an earlier rule that matches every request that this one matches.
    pub by: usize,
}

impl Policy {
    /// Finds rules that one earlier rule leaves no request for. Each finding is certain;
    /// rules that only several others cover together are not found.
    pub fn shadowed(&self) -> Vec<Shadow> {
        let rules = self.rules().iter().enumerate();
        rules
            .filter_map(|(index, rule)| {
                let mut earlier = self.rules().iter().take(index);
                let by = earlier.position(|earlier| earlier.covers(rule))?;
                Some(Shadow { rule: index, by })
            })
            .collect()
    }
}

impl Rule {
    /// True if the rule matches every request that the other one matches.
    fn covers(&self, other: &Rule) -> bool {
        lists_all(&self.users, &other.users)
            && lists_all(&self.user_groups, &other.user_groups)
            && lists_all(&self.verbs, &other.verbs)
            && self.covers_targets(other)
    }

    fn covers_targets(&self, other: &Rule) -> bool {
        if !self.non_resource_urls.is_empty() {
            let covered = |url: &String| {
                self.non_resource_urls
                    .iter()
                    .any(|own| url_covers(own, url))
            };
            return !other.non_resource_urls.is_empty()
                && other.non_resource_urls.iter().all(covered);
        }
        if self.resources.is_empty() && self.namespaces.is_empty() {
            return true;
        }
        let of_resources = !(other.resources.is_empty() && other.namespaces.is_empty());
        of_resources
            && lists_all(&self.namespaces, &other.namespaces)
            && (self.resources.is_empty()
                || !other.resources.is_empty()
                    && other.resources.iter().all(|entry| self.covers_entry(entry)))
    }

    /// True if some entry covers each pattern of the other entry, with each of its names.
    fn covers_entry(&self, other: &GroupResources) -> bool {
        let names = || match other.resource_names.is_empty() {
            true => vec![None],
            false => other.resource_names.iter().map(Some).collect(),
        };
        let patterns: Vec<&str> = match other.resources.is_empty() {
            true => vec!["*"],
            false => other.resources.iter().map(String::as_str).collect(),
        };
        patterns.iter().all(|pattern| {
            names().into_iter().all(|name| {
                self.resources
                    .iter()
                    .any(|own| own.covers(&other.group, pattern, name))
            })
        })
    }
}

impl GroupResources {
    /// True if the entry matches all requests of a group that fit a pattern and, if given, a name.
    fn covers(&self, group: &str, pattern: &str, name: Option<&String>) -> bool {
        (self.group == "*" || self.group == group)
            && (self.resources.is_empty()
                || (self.resource_names.is_empty()
                    || name.is_some_and(|name| self.resource_names.contains(name)))
                    && self
                        .resources
                        .iter()
                        .any(|own| pattern_covers(own, pattern)))
    }
}

/// True if a selector accepts everything that the other one accepts.
fn lists_all(list: &[String], other: &[String]) -> bool {
    list.is_empty() || !other.is_empty() && other.iter().all(|item| list.contains(item))
}

/// True if a pattern of resources matches everything that the other one matches. Names of
/// resources and subresources are segments of a path, so they have no slash.
fn pattern_covers(pattern: &str, other: &str) -> bool {
    if pattern == "*" || pattern == other {
        return true;
    }
    match (pattern.split_once('/'), other.split_once('/')) {
        // `pods/*` is also `pods`.
        (Some((resource, "*")), None) => other != "*" && resource == other,
        (Some((resource, "*")), Some((other, subresource))) => {
            other != "*" && resource == other && !subresource.contains('/')
        }
        (Some(("*", subresource)), Some((_, other))) => {
            other != "*" && !other.is_empty() && subresource == other
        }
        _ => false,
    }
}

/// True if a URL, with or without a final `*`, matches everything that the other one matches.
fn url_covers(url: &str, other: &str) -> bool {
    match (url_prefix(url), url_prefix(other)) {
        (Some(prefix), Some(other)) => other.starts_with(prefix),
        (Some(prefix), None) => other.starts_with(prefix),
        (None, _) => url == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Syntax;

    fn shadows(rules: &str) -> Vec<(usize, usize)> {
        let text = format!("{{apiVersion: audit.k8s.io/v1, rules: [{rules}]}}");
        let parsed = Policy::parse("p", text.as_bytes(), Syntax::Inline).unwrap();
        let shadows = parsed.policy.shadowed();
        shadows
            .iter()
            .map(|shadow| (shadow.rule, shadow.by))
            .collect()
    }

    fn covers(first: &str, second: &str) -> bool {
        let rule = |selectors: &str| match selectors {
            "" => "{level: None}".to_owned(),
            _ => format!("{{level: None, {selectors}}}"),
        };
        shadows(&format!("{}, {}", rule(first), rule(second))) == [(1, 0)]
    }

    #[test]
    fn rules_that_are_covered() {
        for (first, second) in [
            ("", "users: [a]"),
            ("", "nonResourceURLs: ['*']"),
            ("verbs: [get, list]", "verbs: [list], users: [a]"),
            ("userGroups: [g]", "userGroups: [g], namespaces: [x]"),
            (
                "namespaces: [a, b]",
                "namespaces: [b], resources: [{group: ''}]",
            ),
            (
                "resources: [{group: '*'}]",
                "resources: [{group: apps, resources: [x/y]}]",
            ),
            (
                "resources: [{group: ''}]",
                "resources: [{resources: ['*']}]",
            ),
            (
                "resources: [{resources: ['*']}]",
                "resources: [{group: ''}]",
            ),
            (
                "resources: [{resources: ['pods/*']}]",
                "resources: [{resources: [pods, pods/log]}]",
            ),
            (
                "resources: [{resources: ['*/scale']}]",
                "resources: [{resources: [a/scale]}]",
            ),
            (
                "resources: [{resources: [a]}, {resources: [b], resourceNames: [x]}]",
                "resources: [{resources: [a, b], resourceNames: [x]}]",
            ),
            (
                "nonResourceURLs: ['/a*', '/b']",
                "nonResourceURLs: ['/a/*', '/b', '/a']",
            ),
            (
                "nonResourceURLs: ['*']",
                "nonResourceURLs: ['/healthz'], verbs: [get]",
            ),
        ] {
            assert!(covers(first, second), "{first} before {second}");
        }
    }

    #[test]
    fn rules_that_are_not() {
        for (first, second) in [
            ("users: [a]", ""),
            ("users: [a]", "userGroups: [a]"),
            ("verbs: [get]", "verbs: [get, list]"),
            ("namespaces: ['']", "nonResourceURLs: ['*']"),
            ("nonResourceURLs: ['*']", "users: [a]"),
            ("resources: [{group: ''}]", ""),
            ("resources: [{group: ''}]", "namespaces: [a]"),
            ("resources: [{group: ''}]", "resources: [{group: '*'}]"),
            (
                "resources: [{resources: [pods]}]",
                "resources: [{resources: [pods/log]}]",
            ),
            (
                "resources: [{resources: [pods]}]",
                "resources: [{group: ''}]",
            ),
            (
                "resources: [{resources: ['*/*']}]",
                "resources: [{resources: ['*/log']}]",
            ),
            (
                "resources: [{resources: ['*/log']}]",
                "resources: [{resources: ['pods/*']}]",
            ),
            (
                "resources: [{resources: ['*/']}]",
                "resources: [{resources: ['pods/']}]",
            ),
            (
                "resources: [{resources: [a], resourceNames: [x]}]",
                "resources: [{resources: [a]}]",
            ),
            (
                "nonResourceURLs: ['/a/*']",
                "nonResourceURLs: ['/a', '/a*']",
            ),
            ("nonResourceURLs: ['/a']", "nonResourceURLs: ['/a*']"),
        ] {
            assert!(!covers(first, second), "{first} before {second}");
        }
        // Only together.
        assert_eq!(
            shadows(
                "{level: None, verbs: [get]}, {level: None, verbs: [list]}, {level: None, verbs: [get, list]}"
            ),
            []
        );
    }
}
