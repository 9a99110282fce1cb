//! A policy compiled to answer for many requests.
//!
//! | module | duty |
//! |---|---|
//! | `block` | a block of rules: the search for the first one that matches |
//! | `lookup` | for every selector, the rules that accept a value of a request |
//! | `table` | hash tables from strings to sets of rules |
//! | `bitset` | sets of rules as bits |
//!
//! A decision looks up the few strings of a request, intersects the sets and takes the
//! first rule that is left. The number of rules matters little: rules with the same kinds
//! of selectors are neighbours in the sets, so a selector that fails rules out whole words
//! of 64 rules, and the summaries of the sets show which.

mod bitset;
mod block;
mod lookup;
mod table;

use self::bitset::CAPACITY;
use self::block::{Block, Found};
use super::{Attributes, Level, Policy, Rule, StageSet};

/// Decision of a policy on one request; all stages of the request share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Number of the rule that matched, counted from 0; `None` if none did.
    pub rule: Option<u32>,
    /// The most that may be logged; [`Level::None`] without a rule.
    pub level: Level,
    /// Stages at which nothing is logged: those of the policy and those of the rule.
    pub omit_stages: StageSet,
    /// True if managed fields are removed from bodies.
    pub omit_managed_fields: bool,
}

/// Immutable, compiled form of a policy; share it in an `Arc`.
///
/// ```
/// use kube_audit_core::policy::{Attributes, Level, Preset, Ruleset, Target};
///
/// let ruleset = Ruleset::compile(&Preset::Gce.policy().unwrap());
/// let decision = ruleset.decide(&Attributes {
///     user: None,
///     verb: b"get",
///     target: Target::NonResource { path: b"/healthz" },
/// });
/// assert_eq!((decision.rule, decision.level), (Some(8), Level::None));
/// ```
#[derive(Debug)]
pub struct Ruleset {
    blocks: Box<[Block]>,
    rules: Box<[Rule]>,
    /// By rule.
    decisions: Box<[Decision]>,
    /// When no rule matches.
    fallback: Decision,
}

impl Ruleset {
    /// Compiles a policy. Takes a few milliseconds for a thousand rules.
    pub fn compile(policy: &Policy) -> Ruleset {
        let fallback = Decision {
            rule: None,
            level: Level::None,
            omit_stages: policy.omit_stages,
            omit_managed_fields: policy.omit_managed_fields,
        };
        let decision = |(number, rule): (u32, &Rule)| Decision {
            rule: Some(number),
            level: rule.level,
            omit_stages: rule.omit_stages.union(policy.omit_stages),
            omit_managed_fields: rule
                .omit_managed_fields
                .unwrap_or(policy.omit_managed_fields),
        };
        let starts = (0..policy.rules.len()).step_by(CAPACITY);
        let blocks = starts.zip(policy.rules.chunks(CAPACITY));
        Ruleset {
            blocks: blocks
                .map(|(start, rules)| Block::new(start, rules))
                .collect(),
            rules: policy.rules.clone().into(),
            decisions: (0..).zip(&policy.rules).map(decision).collect(),
            fallback,
        }
    }

    /// Returns the number of rules.
    pub fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Decides on a request by the first rule that matches; without one the level is
    /// [`Level::None`]. Does not allocate.
    pub fn decide(&self, request: &Attributes<'_>) -> Decision {
        let rule = match self
            .blocks
            .iter()
            .find_map(|block| block.first(request, &self.rules))
        {
            Some(Found::Rule(rule)) => Some(rule),
            Some(Found::NotIndexed) => self.scan(request),
            None => None,
        };
        rule.and_then(|rule| self.decisions.get(rule))
            .copied()
            .unwrap_or(self.fallback)
    }

    #[cold]
    fn scan(&self, request: &Attributes<'_>) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(request))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Syntax, Target, User};
    use super::*;

    #[test]
    fn is_shared_between_threads() {
        fn assert<T: Send + Sync>() {}
        assert::<Ruleset>();
    }

    fn policy(rules: &[String]) -> Policy {
        let text = format!(
            "---\n{{apiVersion: audit.k8s.io/v1, rules: [{}]}}",
            rules.join(",")
        );
        let parsed = Policy::parse("p", text.as_bytes(), Syntax::File);
        parsed.unwrap().policy
    }

    #[test]
    fn users_in_many_of_the_groups_named() {
        let rule =
            |i: usize| format!("{{level: Metadata, userGroups: [group-{i}], verbs: [verb-{i}]}}");
        let rules: Vec<String> = (0..100).map(rule).collect();
        let ruleset = Ruleset::compile(&policy(&rules));
        let names: Vec<String> = (0..100).map(|i| format!("group-{i}")).collect();
        let groups: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        for (count, expected) in [(0, None), (90, None), (98, Some(97)), (100, Some(97))] {
            let user = Some(User {
                name: b"alice",
                groups: &groups[..count],
            });
            let target = Target::NonResource { path: b"/" };
            let decision = ruleset.decide(&Attributes {
                user,
                verb: b"verb-97",
                target,
            });
            assert_eq!(decision.rule, expected, "{count} groups");
        }
    }
}
