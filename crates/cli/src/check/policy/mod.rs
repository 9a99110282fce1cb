//! Checks of audit policies: what kube-apiserver refuses or warns about, and what it
//! accepts without a word although it does nothing, or too much.
//!
//! | module | checks |
//! |---|---|
//! | `selectors` | values of selectors, each for itself |
//! | `api` | known resources: groups, scopes, other names |
//! | `effect` | what a rule as a whole does |
//! | `secrets` | bodies that hold secrets |
//! | `probe` | requests that are made up to ask a policy for its decision |

mod api;
mod effect;
mod probe;
mod secrets;
mod selectors;

use crate::finding::{Code, Finding, Findings};
use kube_audit_core::policy::{Level, Parsed, Policy, Rule, Ruleset, Syntax, WarningKind};
use kube_audit_core::stage::detect::Detector;
use kube_audit_text::{Node, Path, Source, Value, shown};

/// True if a document is a policy, or was meant to be one.
pub(super) fn looks_like(document: &Node) -> bool {
    let of_audit = |node: &Node| {
        node.text()
            .is_some_and(|text| text.starts_with("audit.k8s.io"))
    };
    document.get("apiVersion").is_some_and(of_audit)
        || document.get("kind").and_then(Node::text) == Some("Policy")
        || document.get("rules").is_some() && document.get("apiVersion").is_none()
}

/// Checks a policy: the text as kube-apiserver reads it, then the tree as it is written.
pub(super) fn check(
    name: &str,
    content: &str,
    syntax: Syntax,
    documents: &[Node],
    findings: &mut Findings<'_>,
) {
    let (warnings, parsed) = match Policy::parse(name, content.as_bytes(), syntax) {
        Ok(mut parsed) => (std::mem::take(&mut parsed.warnings), Some(parsed)),
        Err(error) => {
            for problem in error.problems() {
                findings.add(
                    &problem.place,
                    Code::PolicyRefused,
                    &problem.path,
                    &problem.message,
                );
            }
            (error.warnings().to_vec(), None)
        }
    };
    for warning in warnings {
        let code = match warning.kind {
            WarningKind::UnknownField => Code::PolicyUnknownField,
            WarningKind::DuplicateKey => Code::PolicyRepeatedKey,
        };
        findings.add(&warning.place, code, &warning.path, &warning.message);
    }
    let (Some(parsed), Some(document)) = (parsed, documents.first()) else {
        return;
    };
    let later = documents
        .iter()
        .skip(1)
        .find(|later| later.value != Value::Null);
    if let Some(later) = later {
        let message = "kube-apiserver reads the first document of a policy file only";
        findings.push(later.at, Code::PolicyLaterDocument, "", message);
    }
    version(document, findings);
    rules(&parsed, findings);
    let nodes = document.get("rules").map_or(&[][..], Node::items);
    let ruleset = Ruleset::compile(&parsed.policy);
    for (index, (rule, node)) in parsed.policy.rules().iter().zip(nodes).enumerate() {
        let path = Path::Root.field("rules");
        let rule = Checked {
            index,
            rule,
            node,
            path: path.item(index),
            policy: &parsed.policy,
            ruleset: &ruleset,
        };
        selectors::check(&rule, findings);
        effect::check(&rule, findings);
        secrets::check(&rule, findings);
    }
}

/// Finds the detections that cannot see all that they are about, if the text is a policy
/// and an API server logs by it.
pub(super) fn blind(name: &str, content: &str, detector: &Detector) -> Vec<Finding> {
    let source = Source::new(name, content.as_bytes());
    let mut findings = Findings::new(&source);
    let Ok(parsed) = Policy::parse(name, content.as_bytes(), Syntax::File) else {
        return Vec::new();
    };
    for spot in detector.blind_spots(&Ruleset::compile(&parsed.policy)) {
        let Some(first) = spot.missed.first() else {
            continue;
        };
        let logged = match first.level {
            Level::None => "is not logged".to_owned(),
            level => format!("is logged at {}", level.name()),
        };
        let needs = format!(
            "`{}` {logged} and would have to be at {}",
            first.request,
            first.needs.name()
        );
        let (id, severity) = (&spot.id, spot.severity);
        let (code, message) = match spot.is_total() {
            true => (
                Code::BlindDetection,
                format!("detection {id} ({severity}) sees nothing: {needs}"),
            ),
            false => (
                Code::HalfBlindDetection,
                format!(
                    "detection {id} ({severity}) misses {} of {} sorts of requests: {needs}",
                    spot.missed.len(),
                    spot.tried
                ),
            ),
        };
        findings.push(0, code, "", message);
    }
    findings.into_sorted()
}

/// Rule with what its checks need.
struct Checked<'a> {
    /// Number of the rule, counted from 0.
    index: usize,
    rule: &'a Rule,
    /// The rule as it is written.
    node: &'a Node,
    path: Path<'a>,
    policy: &'a Policy,
    ruleset: &'a Ruleset,
}

fn version(document: &Node, findings: &mut Findings<'_>) {
    if let Some(node) = document.get("apiVersion")
        && let Some(version) = node.text()
        && version != "audit.k8s.io/v1"
    {
        let message = format!(
            "kube-apiserver 1.24 and later refuse `{}`: write `audit.k8s.io/v1`",
            shown(version)
        );
        findings.push(node.at, Code::PolicyOldVersion, "apiVersion", message);
    }
}

/// Checks the rules together.
fn rules(parsed: &Parsed, findings: &mut Findings<'_>) {
    let Parsed { policy, places, .. } = parsed;
    for shadow in policy.shadowed() {
        let (Some(place), Some(by)) = (places.get(shadow.rule), places.get(shadow.by)) else {
            continue;
        };
        let message = format!(
            "this rule never decides: rules[{}] on line {} comes before it and matches all that it \
             does; move this one up, or remove it",
            shadow.by, by.line
        );
        findings.add(
            place,
            Code::PolicyShadowedRule,
            format!("rules[{}]", shadow.rule),
            message,
        );
    }
    let rules = policy.rules();
    let Some(place) = places.last() else { return };
    if rules.iter().all(|rule| rule.level == Level::None) {
        let message = "all rules have level None: nothing is logged";
        findings.add(place, Code::PolicyLogsNothing, "rules", message);
    } else if !rules.iter().any(is_unconditional) {
        let message = "what no rule matches is not logged: add `- level: Metadata` (or None) as the \
                       last rule to say what is meant";
        findings.add(place, Code::PolicyNoCatchAll, "rules", message);
    }
}

fn is_unconditional(rule: &Rule) -> bool {
    rule.users.is_empty() && rule.user_groups.is_empty() && applies_to_all_requests(rule)
}

/// True if only users and groups restrict the rule.
fn applies_to_all_requests(rule: &Rule) -> bool {
    rule.verbs.is_empty()
        && rule.resources.is_empty()
        && rule.namespaces.is_empty()
        && rule.non_resource_urls.is_empty()
}

/// Yields the items of a list field with their indices; none without the field.
fn list<'n>(node: &'n Node, key: &str) -> impl Iterator<Item = (usize, &'n Node)> {
    node.get(key)
        .map_or(&[][..], Node::items)
        .iter()
        .enumerate()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::documents;
    use kube_audit_text::Source;

    /// Codes and messages of the findings about rules, a rule a line.
    fn found(rules: &str) -> Vec<(&'static str, String)> {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}");
        let source = Source::new("policy", text.as_bytes());
        let mut findings = Findings::new(&source);
        let documents = documents(&text, &mut findings);
        check("policy", &text, Syntax::File, &documents, &mut findings);
        let findings = findings.into_sorted().into_iter();
        findings
            .map(|finding| (finding.code.name(), finding.message))
            .collect()
    }

    #[track_caller]
    fn finds(rules: &str, code: &str, parts: &[&str]) {
        let found = found(&format!("{rules}\n- level: Metadata\n"));
        assert!(
            found
                .iter()
                .any(|(name, message)| *name == code
                    && parts.iter().all(|part| message.contains(part))),
            "{rules}: {found:?}"
        );
    }

    #[track_caller]
    fn is_quiet(rules: &str) {
        let found = found(&format!("{rules}\n- level: Metadata\n"));
        assert!(found.is_empty(), "{rules}: {found:?}");
    }

    #[test]
    fn resources_that_the_group_does_not_have() {
        let entry = |group: &str, resources: &str| {
            format!(
                "- {{level: None, resources: [{{group: \"{group}\", resources: [{resources}]}}]}}"
            )
        };
        finds(&entry("", "pod"), "policy-resource", &["write `pods`"]);
        finds(
            &entry("", "PersistentVolume/status"),
            "policy-resource",
            &["`persistentvolumes`"],
        );
        finds(
            &entry("apps", "deploy"),
            "policy-resource",
            &["write `deployments`"],
        );
        finds(
            &entry("", "secretes"),
            "policy-resource",
            &["did you mean `secrets`?"],
        );
        finds(
            &entry("", "statefulsets"),
            "policy-wrong-group",
            &["it is in `apps`"],
        );
        finds(
            &entry("apps", "pods/log"),
            "policy-wrong-group",
            &["it is in the core group"],
        );
        finds(
            &entry("v1", "leases"),
            "policy-core-group",
            &["a version", "`group: coordination.k8s.io`"],
        );
        finds(
            &entry("rbac", "roles, pods"),
            "policy-core-group",
            &["`rbac.authorization.k8s.io`, the core group"],
        );
        finds(
            &entry("core", "events"),
            "policy-core-group",
            &["written `\"\"`"],
        );
        for (group, resources) in [
            ("", "pods, pods/log, 'services/*', '*/scale', '*'"),
            ("extensions", "deployments, ingresses"),
            ("events.k8s.io", "events"),
            ("metrics.k8s.io", "pods, nodes"),
            // Custom resources, of which nothing is known.
            ("serving.knative.dev", "services, service"),
            ("example.com", "pods"),
        ] {
            is_quiet(&entry(group, resources));
        }
    }

    #[test]
    fn users_and_groups() {
        for (selector, part) in [
            ("users: [\"system:masters\"]", "under `userGroups`"),
            (
                "users: [\"system:serviceaccounts:kube-system\"]",
                "under `userGroups`",
            ),
            ("users: [\"system:node\"]", "`system:nodes`"),
            (
                "users: [\"system:serviceaccount:kube-system\"]",
                "NAMESPACE:NAME",
            ),
            ("userGroups: [\"system:kube-proxy\"]", "under `users`"),
            (
                "userGroups: [\"system:serviceaccount:a:b\"]",
                "under `users`",
            ),
            ("userGroups: [\"system:node\"]", "write `system:nodes`"),
        ] {
            finds(
                &format!("- {{level: None, {selector}}}"),
                "policy-user-or-group",
                &[part],
            );
        }
        is_quiet(
            "- {level: None, users: [\"system:kube-proxy\", \"system:node:n-1\", kubelet, \
             \"system:serviceaccount:a:b\", \"system:node-problem-detector\"]}\n\
             - {level: None, userGroups: [\"system:nodes\", \"system:serviceaccounts:a\", admins]}",
        );
    }

    #[test]
    fn everybody_is_dropped() {
        finds(
            "- {level: None, userGroups: [\"system:nodes\", \"system:authenticated\"]}",
            "policy-drops-everybody",
            &["only requests without credentials"],
        );
        for rest in [
            "verbs: [watch]",
            "nonResourceURLs: [\"/api*\"]",
            "users: [bob]",
        ] {
            is_quiet(&format!(
                "- {{level: None, userGroups: [\"system:authenticated\"], {rest}}}"
            ));
        }
    }

    #[test]
    fn paths_of_resources_among_urls() {
        let rule = |url: &str| format!("- {{level: None, nonResourceURLs: [\"{url}\"]}}");
        for (url, part) in [
            ("/api/v1/pods", "{group: \"\", resources: [pods]}"),
            (
                "/apis/apps/v1/namespaces/x/deployments*",
                "{group: \"apps\", resources: [deployments]}",
            ),
            ("/api/v1/watch/events*", "[events]"),
            ("/api/v1/namespaces", "[namespaces]"),
        ] {
            finds(&rule(url), "policy-resource-url", &[part]);
        }
        for url in ["/apis/batch*", "/apis/coordination.k8s.io/v1"] {
            finds(
                &rule(url),
                "policy-discovery-url",
                &["in a rule of its own"],
            );
        }
        for url in [
            "*",
            "/",
            "/healthz*",
            "/api",
            "/api*",
            "/api/v1",
            "/apis/*",
            "/openapi/v3*",
            "/metrics",
        ] {
            is_quiet(&rule(url));
        }
    }

    #[test]
    fn cluster_scoped_resources_in_namespaces() {
        let rule = |namespaces: &str, resources: &str| {
            format!(
                "- {{level: None, namespaces: [{namespaces}], resources: [{{resources: [{resources}]}}]}}"
            )
        };
        finds(
            &rule("a", "pods, nodes/status"),
            "policy-cluster-scoped",
            &["`nodes`"],
        );
        is_quiet(&rule("a", "pods, namespaces"));
        is_quiet(&rule("a, \"\"", "nodes"));
    }

    #[test]
    fn names_of_requests_without_one() {
        let rule = |verbs: &str, resources: &str, names: &str| {
            format!(
                "- {{level: None, verbs: [{verbs}], resources: [{{resources: [{resources}], resourceNames: [{names}]}}]}}"
            )
        };
        finds(
            &rule("create", "secrets", "a"),
            "policy-nameless-verb",
            &["`create`"],
        );
        is_quiet(&rule("create, update", "secrets", "a"));
        is_quiet(&rule("create", "pods/exec", "a"));
        is_quiet(&rule("create", "secrets", "\"\""));
    }

    #[test]
    fn connections_over_websocket() {
        let rule = |level: &str, verbs: &str| {
            format!(
                "- {{level: {level}, verbs: [{verbs}], resources: [{{resources: [pods/exec, pods/log]}}]}}"
            )
        };
        finds(
            &rule("Request", "create"),
            "policy-websocket",
            &["`pods/exec`", "add `get`"],
        );
        is_quiet(&rule("Request", "create, get"));
        is_quiet(&rule("None", "create"));
        // `get` is logged as much by a later rule.
        is_quiet(&rule("Metadata", "create"));
    }

    #[test]
    fn bodies_with_secrets() {
        let rule = |level: &str, verbs: &str, entry: &str| {
            format!("- {{level: {level}, verbs: [{verbs}], resources: [{{{entry}}}]}}")
        };
        let code = "policy-logs-secrets";
        finds(
            &rule("Request", "create", "resources: [secrets]"),
            code,
            &["`secrets`", "level Metadata"],
        );
        finds(
            &rule("RequestResponse", "get", "group: \"\""),
            code,
            &["`secrets`"],
        );
        finds(
            &rule(
                "RequestResponse",
                "create",
                "resources: [serviceaccounts/token]",
            ),
            code,
            &["[{group: \"\", resources: [serviceaccounts/token]}]"],
        );
        finds(
            &rule("Request", "create", "group: authentication.k8s.io"),
            code,
            &["tokenreviews"],
        );
        finds(
            &rule(
                "Request",
                "update",
                "resources: [secrets], resourceNames: [db]",
            ),
            code,
            &["`secrets`"],
        );
        let code = "policy-logs-sensitive";
        finds(
            &rule("Request", "patch", "resources: [configmaps]"),
            code,
            &["credentials"],
        );
        finds(
            &rule("Request", "create", "group: certificates.k8s.io"),
            code,
            &["certificatesigningrequests"],
        );
        for quiet in [
            rule("Metadata", "create", "resources: [secrets]"),
            // Their bodies are in the responses.
            rule(
                "Request",
                "get, list, watch, delete",
                "resources: [secrets]",
            ),
            rule("Request", "create", "resources: [serviceaccounts/token]"),
            // Watches are logged without bodies.
            rule("RequestResponse", "watch", "resources: [secrets]"),
            rule(
                "RequestResponse",
                "update",
                "resources: [secrets], resourceNames: [usersshkeys]",
            ),
            format!(
                "{}\n{}",
                rule(
                    "Metadata",
                    "",
                    "resources: [secrets, configmaps, serviceaccounts/token]"
                ),
                rule("RequestResponse", "create, get", "group: \"\"")
            ),
        ] {
            is_quiet(&quiet);
        }
    }

    #[test]
    fn presets_are_good() {
        for preset in kube_audit_core::policy::Preset::ALL {
            let rules = preset
                .text()
                .split_once("rules:\n")
                .map_or("", |(_, rules)| rules);
            for (code, message) in found(rules) {
                // Giant Swarm's policy does log tokens; the others log nothing secret.
                let known = matches!(
                    (preset.name(), code),
                    (_, "policy-no-catch-all" | "policy-logs-sensitive")
                        | ("giantswarm", "policy-logs-secrets")
                );
                assert!(known, "{}: {code}: {message}", preset.name());
            }
        }
    }
}
