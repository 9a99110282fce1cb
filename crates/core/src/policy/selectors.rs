//! Selectors of rules outside of policies: whatever else matches requests does it the
//! way policies do.

use super::decode::{self, RuleDoc, Spanned};
use super::{Attributes, Level, Rule, Selector, validate};
use kube_audit_text::{Node, Path};

/// Selectors, as a rule of a policy has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selectors(Rule);

/// Something wrong with a selector: byte offset, field and message.
pub(crate) type SelectorProblem = (usize, String, String);

impl Selectors {
    /// Names of the fields, in the order in which policies document them.
    pub(crate) const FIELDS: [&str; 6] = [
        "users",
        "userGroups",
        "verbs",
        "namespaces",
        "resources",
        "nonResourceURLs",
    ];

    /// Reads the selectors of a mapping whose values have the right types; its other
    /// fields are passed over. Problems are those that the API server finds in a rule.
    pub(crate) fn read(node: &Node, path: Path<'_>) -> (Selectors, Vec<SelectorProblem>) {
        let mut doc = RuleDoc::default();
        decode::rule(node, &mut doc);
        doc.level = Spanned {
            value: Level::Metadata.name().to_owned(),
            at: node.at,
        };
        let (rule, problems) = validate::rule_alone(doc, path);
        let problems = problems.into_iter();
        let problems = problems.map(|found| (found.at, found.path, found.message));
        (Selectors(rule), problems.collect())
    }

    /// Says whether they let every request through.
    pub(crate) fn is_empty(&self) -> bool {
        let rule = &self.0;
        !self.names_users()
            && rule.verbs.is_empty()
            && rule.namespaces.is_empty()
            && rule.resources.is_empty()
            && rule.non_resource_urls.is_empty()
    }

    /// Says whether they look at who makes a request.
    pub(crate) fn names_users(&self) -> bool {
        !(self.0.users.is_empty() && self.0.user_groups.is_empty())
    }

    /// Says whether they are about requests for such a resource or path, whoever makes them.
    pub(crate) fn concerns(&self, request: &Attributes<'_>) -> bool {
        let rule = Rule {
            users: Vec::new(),
            user_groups: Vec::new(),
            verbs: Vec::new(),
            namespaces: Vec::new(),
            ..self.0.clone()
        };
        rule.matches(request)
    }

    /// Returns the first selector that does not let a request through.
    pub(crate) fn mismatch(&self, request: &Attributes<'_>) -> Option<Selector> {
        self.0.mismatch(request)
    }

    /// Says whether they let a request through.
    pub(crate) fn matches(&self, request: &Attributes<'_>) -> bool {
        self.0.matches(request)
    }
}
