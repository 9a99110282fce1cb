//! Bodies that hold secrets: rules that log them.

use std::collections::BTreeSet;

use kube_audit_core::policy::{Level, Resource};
use kube_audit_text::Node;

use super::probe::Probe;
use super::{Checked, list};
use crate::finding::{Code, Findings};

/// Resource whose bodies hold secrets.
struct Sensitive {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// Verbs whose request body holds them, logged from level Request on.
    in_request: &'static [&'static str],
    /// Verbs whose response body holds them, logged at level RequestResponse.
    in_response: &'static [&'static str],
    code: Code,
    /// What bodies hold.
    holds: &'static str,
}

// Responses to watches are not logged, at any level.
const SENSITIVE: [Sensitive; 5] = [
    Sensitive {
        group: "",
        resource: "secrets",
        subresource: "",
        in_request: &["create", "update", "patch"],
        in_response: &["get", "list", "delete", "deletecollection"],
        code: Code::PolicyLogsSecrets,
        holds: "the secrets themselves",
    },
    Sensitive {
        group: "",
        resource: "serviceaccounts",
        subresource: "token",
        in_request: &[],
        in_response: &["create"],
        code: Code::PolicyLogsSecrets,
        holds: "a new token of the service account",
    },
    Sensitive {
        group: "authentication.k8s.io",
        resource: "tokenreviews",
        subresource: "",
        in_request: &["create"],
        in_response: &[],
        code: Code::PolicyLogsSecrets,
        holds: "the token of a user",
    },
    Sensitive {
        group: "",
        resource: "configmaps",
        subresource: "",
        in_request: &["create", "update", "patch"],
        in_response: &["get", "list", "delete", "deletecollection"],
        code: Code::PolicyLogsSensitive,
        holds: "whatever people keep there, often credentials",
    },
    Sensitive {
        group: "certificates.k8s.io",
        resource: "certificatesigningrequests",
        subresource: "",
        in_request: &["create", "update", "patch"],
        in_response: &["get", "list", "delete", "deletecollection"],
        code: Code::PolicyLogsSensitive,
        holds: "names of users and hosts",
    },
];

/// Secrets by name that hold nothing secret: the public SSH keys that Kubermatic KKP
/// installs on nodes, which its presets log.
const PUBLIC: [&str; 1] = ["usersshkeys"];

impl Sensitive {
    fn name(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// True if some request for the resource is decided by this rule, at a level with a body
    /// that holds secrets.
    fn is_logged_by(&self, checked: &Checked<'_>) -> bool {
        let rule = checked.rule;
        let probe = Probe::of(
            rule,
            Resource {
                group: self.group.as_bytes(),
                resource: self.resource.as_bytes(),
                subresource: self.subresource.as_bytes(),
                ..Resource::default()
            },
        );
        let request = self.in_request.iter();
        let response = self.in_response.iter();
        let response = response.take(match rule.level {
            Level::RequestResponse => usize::MAX,
            _ => 0,
        });
        request.chain(response).any(|verb| {
            let decision = checked.ruleset.decide(&probe.attributes(verb));
            let decides = decision.rule.map(usize::try_from) == Some(Ok(checked.index));
            decides && !PUBLIC.iter().any(|name| probe.is_for(verb, name))
        })
    }
}

/// Finds rules that log bodies with secrets.
pub(super) fn check(checked: &Checked<'_>, findings: &mut Findings<'_>) {
    if checked.rule.level < Level::Request {
        return;
    }
    for code in [Code::PolicyLogsSecrets, Code::PolicyLogsSensitive] {
        let logged: Vec<&Sensitive> = SENSITIVE
            .iter()
            .filter(|sensitive| sensitive.code == code && sensitive.is_logged_by(checked))
            .collect();
        let Some(first) = logged.first() else {
            continue;
        };
        let bodies: Vec<String> = logged
            .iter()
            .map(|sensitive| format!("`{}` ({})", sensitive.name(), sensitive.holds))
            .collect();
        let message = format!(
            "level {} logs the bodies of {}: write a rule of level Metadata before this one, with \
             `resources: [{}]`",
            checked.rule.level.name(),
            bodies.join(", "),
            entries(&logged),
        );
        findings.push(place(checked.node, first), code, checked.path, message);
    }
}

/// Writes entries of `resources` for them, one for each group.
fn entries(logged: &[&Sensitive]) -> String {
    let groups: BTreeSet<&str> = logged.iter().map(|sensitive| sensitive.group).collect();
    let entry = |group: &str| {
        let of_group = logged.iter().filter(|sensitive| sensitive.group == group);
        let names: Vec<String> = of_group.map(|sensitive| sensitive.name()).collect();
        format!("{{group: \"{group}\", resources: [{}]}}", names.join(", "))
    };
    groups.into_iter().map(entry).collect::<Vec<_>>().join(", ")
}

/// Returns the byte offset at which a rule names a resource; of the rule, if it does not.
fn place(rule: &Node, sensitive: &Sensitive) -> usize {
    let name = sensitive.name();
    let mut items = list(rule, "resources").flat_map(|(_, entry)| list(entry, "resources"));
    items
        .find(|(_, item)| item.text() == Some(&name))
        .map_or(rule.at, |(_, item)| item.at)
}
