//! Conditions on roles and bindings.

use super::body::{Body, Value};
use super::names::fits;
use crate::doc::Doc;
use crate::doc::keys::Keys;

/// API group of roles and bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

/// Members of a rule of a role, in the order in which they are mostly written.
const RULE: &Keys<5> = &Keys::new([
    "verbs",
    "apiGroups",
    "resources",
    "resourceNames",
    "nonResourceURLs",
]);

/// A rule of a role: its lists of strings.
#[derive(Clone, Copy)]
struct Rule<'p, D> {
    verbs: Option<Value<'p, D>>,
    groups: Option<Value<'p, D>>,
    resources: Option<Value<'p, D>>,
    names: Option<Value<'p, D>>,
    urls: Option<Value<'p, D>>,
}

impl<'p, 'a, D: Doc<'a>> Rule<'p, D> {
    fn of(rule: Value<'p, D>) -> Rule<'p, D> {
        let [verbs, groups, resources, names, urls] = rule.fields(RULE);
        Rule {
            verbs,
            groups,
            resources,
            names,
            urls,
        }
    }
}

/// Permissions with which more permissions are to be had.
struct Escalation {
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    verbs: &'static [&'static str],
}

const fn escalation(
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    verbs: &'static [&'static str],
) -> Escalation {
    Escalation {
        group,
        resource,
        subresource,
        verbs,
    }
}

const ESCALATIONS: [Escalation; 10] = [
    escalation(RBAC, "roles", "", &["escalate", "bind"]),
    escalation(RBAC, "clusterroles", "", &["escalate", "bind"]),
    escalation("", "users", "", &["impersonate"]),
    escalation("", "groups", "", &["impersonate"]),
    escalation("", "serviceaccounts", "", &["impersonate"]),
    escalation("", "pods", "exec", &["create", "get"]),
    escalation("", "pods", "attach", &["create", "get"]),
    escalation("", "nodes", "proxy", &["create", "get"]),
    escalation("", "serviceaccounts", "token", &["create"]),
    escalation(
        "certificates.k8s.io",
        "certificatesigningrequests",
        "approval",
        &["update", "patch"],
    ),
];

/// Reading all secrets; a role for one namespace does that all the time.
const ALL_SECRETS: Escalation = escalation("", "secrets", "", &["get", "list", "watch"]);

impl Escalation {
    /// Says whether a rule gives it, as RBAC reads rules: `pods/*` gives nothing, and
    /// `*/exec` gives `exec` of everything.
    fn is_given_by<'a, D: Doc<'a>>(&self, rule: Rule<'_, D>) -> bool {
        let resource = |name: &[u8]| match self.subresource {
            "" => name == self.resource.as_bytes(),
            subresource => name
                .strip_suffix(subresource.as_bytes())
                .and_then(|name| name.strip_suffix(b"/"))
                .is_some_and(|name| name == b"*" || name == self.resource.as_bytes()),
        };
        let verb = |name: &[u8]| self.verbs.iter().any(|verb| verb.as_bytes() == name);
        has(rule.verbs, |name| name == b"*" || verb(name))
            && has(rule.groups, |name| {
                name == b"*" || name == self.group.as_bytes()
            })
            && has(rule.resources, |name| name == b"*" || resource(name))
    }
}

/// Says whether a list of strings has one that fits.
fn has<'a, D: Doc<'a>>(list: Option<Value<'_, D>>, fits: impl Fn(&[u8]) -> bool) -> bool {
    let items = list.into_iter().flat_map(Value::items);
    items
        .filter_map(Value::text)
        .any(|text| fits(&text.value()))
}

/// Says whether a rule gives everything: on a resource of any group or the core group, or
/// on all paths.
pub(super) fn is_wildcard<'a, D: Doc<'a>>(rule: Value<'_, D>) -> bool {
    let rule = Rule::of(rule);
    let star = |list| has(list, |name| name == b"*");
    star(rule.verbs)
        && (star(rule.urls)
            || star(rule.resources) && has(rule.groups, |name| matches!(name, b"" | b"*")))
}

/// Says whether a rule gives permissions with which more are to be had.
pub(super) fn is_escalation<'a, D: Doc<'a>>(rule: Value<'_, D>, cluster_wide: bool) -> bool {
    let rule = Rule::of(rule);
    let any = ESCALATIONS.iter().any(|given| given.is_given_by(rule));
    let named = || has(rule.names, |_| true);
    any || cluster_wide && !named() && ALL_SECRETS.is_given_by(rule)
}

/// Says whether a role of the request has a rule that fits.
///
/// A JSON patch may touch one word of a rule: then the role as it is now, which the
/// response shows, has the rule.
pub(super) fn any_rule<'a, D: Doc<'a>>(
    body: Body<'a, D>,
    response: Option<Value<'a, D>>,
    fits: impl Fn(Value<'_, D>) -> bool,
) -> bool {
    let rules = response.and_then(|response| response.get("rules"));
    match rules.filter(|rules| rules.is_list()) {
        Some(rules) if body.is_json_patch() && body.any(|piece| piece.get("rules").is_some()) => {
            rules.items().any(fits)
        }
        _ => body.any(|piece| piece.list("rules").any(&fits)),
    }
}

/// Says whether a binding refers to a cluster role of a name that fits.
///
/// A patch of the subjects has no reference: then the response shows it.
pub(super) fn binds<'a, D: Doc<'a>>(
    body: Body<'a, D>,
    response: Option<Value<'a, D>>,
    roles: &[&str],
) -> bool {
    let named = |binding: Value<'_, D>| {
        let Some(reference) = binding.get("roleRef") else {
            return false;
        };
        let name = reference.text_of("name").value();
        reference.has_text("kind", "ClusterRole") && roles.iter().any(|role| fits(role, &name))
    };
    if body.any(|piece| piece.get("roleRef").is_some()) {
        body.any(named)
    } else {
        response.is_some_and(named)
    }
}

/// Says whether a binding has a subject that stands for everybody.
pub(super) fn binds_everyone<'a, D: Doc<'a>>(body: Body<'a, D>) -> bool {
    let everyone = |subject: Value<'_, D>| {
        let is = |kind, name| subject.has_text("kind", kind) && subject.has_text("name", name);
        is("User", "system:anonymous")
            || is("Group", "system:unauthenticated")
            || is("Group", "system:authenticated")
            || is("Group", "system:serviceaccounts")
    };
    body.any(|piece| piece.list("subjects").any(everyone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doc::json::Json;

    fn rule(verbs: &str, groups: &str, resources: &str, rest: &str) -> String {
        format!(r#"{{"verbs":{verbs},"apiGroups":{groups},"resources":{resources}{rest}}}"#)
    }

    #[test]
    fn wildcards() {
        for (verbs, groups, resources, rest, want) in [
            (r#"["*"]"#, r#"["*"]"#, r#"["*"]"#, "", true),
            (
                r#"["get","*"]"#,
                r#"["apps",""]"#,
                r#"["pods","*"]"#,
                "",
                true,
            ),
            (r#"["*"]"#, r#"["mine.example"]"#, r#"["*"]"#, "", false),
            (r#"["get"]"#, r#"["*"]"#, r#"["*"]"#, "", false),
            (r#"["*"]"#, r#"["*"]"#, r#"["pods"]"#, "", false),
            (r#"["*"]"#, "[]", "[]", r#","nonResourceURLs":["*"]"#, true),
            (
                r#"["get"]"#,
                "[]",
                "[]",
                r#","nonResourceURLs":["*"]"#,
                false,
            ),
            (
                r#"["*"]"#,
                "[]",
                "[]",
                r#","nonResourceURLs":["/healthz*"]"#,
                false,
            ),
            (r#""*""#, r#"["*"]"#, r#"["*"]"#, "", false),
            (r#"[7,null,["*"]]"#, r#"["*"]"#, r#"["*"]"#, "", false),
        ] {
            let rule = rule(verbs, groups, resources, rest);
            let value = Value::new(Json(rule.as_bytes()), 0);
            assert_eq!(is_wildcard(value), want, "{rule}");
        }
    }

    #[test]
    fn permissions_that_give_more() {
        for (verbs, groups, resources, want) in [
            ("escalate", RBAC, "clusterroles", true),
            ("bind", RBAC, "roles", true),
            ("bind", "", "roles", false),
            ("create", RBAC, "roles", false),
            ("impersonate", "", "users", true),
            ("impersonate", "", "groups", true),
            ("impersonate", "*", "serviceaccounts", true),
            ("impersonate", "authentication.k8s.io", "userextras", false),
            ("create", "", "pods/exec", true),
            ("get", "", "pods/exec", true),
            ("create", "", "pods", false),
            ("create", "", "pods/*", false),
            ("create", "", "*/exec", true),
            ("get", "", "pods/attach", true),
            ("create", "", "nodes/proxy", true),
            ("get", "", "services/proxy", false),
            ("create", "", "serviceaccounts/token", true),
            ("get", "", "serviceaccounts/token", false),
            (
                "update",
                "certificates.k8s.io",
                "certificatesigningrequests/approval",
                true,
            ),
            (
                "create",
                "certificates.k8s.io",
                "certificatesigningrequests/approval",
                false,
            ),
            ("get", "", "*", true),
            ("*", "", "pods/exec", true),
            ("list", "", "configmaps", false),
        ] {
            let words = [verbs, groups, resources].map(|word| format!("[\"{word}\"]"));
            let rule = rule(&words[0], &words[1], &words[2], "");
            let value = Value::new(Json(rule.as_bytes()), 0);
            assert_eq!(is_escalation(value, false), want, "{rule}");
        }
    }

    #[test]
    fn all_secrets_of_the_cluster() {
        for verb in ["get", "list", "watch", "create"] {
            for (rest, cluster_wide) in [
                ("", true),
                ("", false),
                (r#","resourceNames":["one"]"#, true),
                (r#","resourceNames":[]"#, true),
            ] {
                let rule = rule(&format!("[\"{verb}\"]"), "[\"\"]", "[\"secrets\"]", rest);
                let value = Value::new(Json(rule.as_bytes()), 0);
                let want = verb != "create" && cluster_wide && !rest.contains("one");
                assert_eq!(
                    is_escalation(value, cluster_wide),
                    want,
                    "{rule} {cluster_wide}"
                );
            }
        }
    }

    fn parts<'a>(
        body: &'a str,
        response: &'a str,
    ) -> (Body<'a, Json<'a>>, Option<Value<'a, Json<'a>>>) {
        let response = (!response.is_empty()).then(|| Value::new(Json(response.as_bytes()), 0));
        (Body::new(Json(body.as_bytes()), Some(0)), response)
    }

    #[test]
    fn references_of_the_patch_come_first() {
        let admin = r#"{"roleRef":{"kind":"ClusterRole","name":"admin"}}"#;
        let view = r#"{"roleRef":{"kind":"ClusterRole","name":"view"}}"#;
        let role = r#"{"roleRef":{"kind":"Role","name":"admin"}}"#;
        for (body, response, want) in [
            (admin, "", true),
            (view, "", false),
            (role, "", false),
            (r#"{"subjects":[]}"#, admin, true),
            (r#"{"subjects":[]}"#, view, false),
            (view, admin, false),
            (r#"{"roleRef":null}"#, admin, false),
            (
                r#"[{"op":"add","path":"/subjects/-","value":{}}]"#,
                admin,
                true,
            ),
        ] {
            let (body_read, response_read) = parts(body, response);
            assert_eq!(
                binds(body_read, response_read, &["admin"]),
                want,
                "{body} {response}"
            );
        }
        let (body, response) = parts(r#"{"roleRef":{"kind":"ClusterRole","name":"a:b"}}"#, "");
        assert!(binds(body, response, &["x", "a:*"]));
    }

    #[test]
    fn rules_of_a_json_patch_are_those_of_the_response() {
        let touched = r#"[{"op":"add","path":"/rules/0/verbs/-","value":"*"}]"#;
        let labels = r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#;
        let now = r#"{"rules":[{"verbs":["get","*"],"apiGroups":["*"],"resources":["*"]}]}"#;
        for (body, response, want) in [
            (touched, now, true),
            (touched, "", false),
            (touched, r#"{"rules":7}"#, false),
            (labels, now, false),
            (r#"{"rules":[]}"#, now, false),
            (now, "", true),
        ] {
            let (body_read, response_read) = parts(body, response);
            assert_eq!(
                any_rule(body_read, response_read, is_wildcard),
                want,
                "{body} {response}"
            );
        }
    }

    #[test]
    fn subjects_that_are_everybody() {
        for (kind, name, want) in [
            ("User", "system:anonymous", true),
            ("Group", "system:unauthenticated", true),
            ("Group", "system:authenticated", true),
            ("Group", "system:serviceaccounts", true),
            ("Group", "system:serviceaccounts:shop", false),
            ("User", "system:authenticated", false),
            ("ServiceAccount", "default", false),
        ] {
            let body = format!(r#"{{"subjects":[null,{{"kind":"{kind}","name":"{name}"}}]}}"#);
            assert_eq!(binds_everyone(parts(&body, "").0), want, "{body}");
        }
    }
}
