//! Conditions on roles and bindings.

use super::body::{Body, Value};
use super::lexicon::{Lexicon, Words};

/// API group of roles and bindings.
const RBAC: &str = "rbac.authorization.k8s.io";

/// Members of a rule of a role.
const RULE: &Lexicon<5> = &Lexicon::new("|verbs|apiGroups|resources|resourceNames|nonResourceURLs");
/// Members of a binding.
const BINDING: &Lexicon<2> = &Lexicon::new("|roleRef|subjects");
/// Members of a binding's reference to a role.
const REFERENCE: &Lexicon<2> = &Lexicon::new("|kind|name");
/// Members of a subject of a binding.
const SUBJECT: &Lexicon<2> = &Lexicon::new("|kind|name");

/// A rule of a role: its lists of strings.
#[derive(Clone, Copy)]
struct Rule<'p, 'a> {
    verbs: Option<Value<'p, 'a>>,
    groups: Option<Value<'p, 'a>>,
    resources: Option<Value<'p, 'a>>,
    names: Option<Value<'p, 'a>>,
    urls: Option<Value<'p, 'a>>,
}

impl<'p, 'a> Rule<'p, 'a> {
    fn of(rule: Value<'p, 'a>) -> Rule<'p, 'a> {
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
    /// Resources, with their subresources.
    resources: Words,
    verbs: Words,
}

const ESCALATIONS: [Escalation; 5] = [
    Escalation {
        group: RBAC,
        resources: Words("roles clusterroles"),
        verbs: Words("escalate bind"),
    },
    Escalation {
        group: "",
        resources: Words("users groups serviceaccounts"),
        verbs: Words("impersonate"),
    },
    Escalation {
        group: "",
        resources: Words("pods/exec pods/attach nodes/proxy */exec */attach */proxy"),
        verbs: Words("create get"),
    },
    Escalation {
        group: "",
        resources: Words("serviceaccounts/token */token"),
        verbs: Words("create"),
    },
    Escalation {
        group: "certificates.k8s.io",
        resources: Words("certificatesigningrequests/approval */approval"),
        verbs: Words("update patch"),
    },
];

/// Reading all secrets; a role for one namespace does that all the time.
const ALL_SECRETS: Escalation = Escalation {
    group: "",
    resources: Words("secrets"),
    verbs: Words("get list watch"),
};

impl Escalation {
    /// Says whether a rule gives it, as RBAC reads rules: `pods/*` gives nothing, and
    /// `*/exec` gives `exec` of everything.
    fn is_given_by(&self, rule: Rule<'_, '_>) -> bool {
        has(rule.verbs, self.verbs)
            && has(rule.groups, Words(self.group))
            && has(rule.resources, self.resources)
    }
}

/// Says whether a list of strings has `*` or one of the words.
#[inline(never)]
fn has(list: Option<Value<'_, '_>>, words: Words) -> bool {
    let items = list.into_iter().flat_map(Value::items);
    items.filter_map(Value::text).any(|text| {
        let text = text.value();
        *text == *b"*" || words.has(&text)
    })
}

/// Says whether a rule gives everything: on a resource of any group or the core group, or
/// on all paths.
pub(super) fn is_wildcard(rule: Value<'_, '_>) -> bool {
    // No list has a word without any letter but this one.
    const NOTHING_BUT_STAR: Words = Words("*");
    let rule = Rule::of(rule);
    has(rule.verbs, NOTHING_BUT_STAR)
        && (has(rule.urls, NOTHING_BUT_STAR)
            || has(rule.resources, NOTHING_BUT_STAR) && has(rule.groups, Words("")))
}

/// Says whether a rule gives permissions with which more are to be had.
pub(super) fn is_escalation(rule: Value<'_, '_>, cluster_wide: bool) -> bool {
    let rule = Rule::of(rule);
    let any = ESCALATIONS.iter().any(|given| given.is_given_by(rule));
    let mut names = rule.names.into_iter().flat_map(Value::items);
    let mut named = || names.any(|name| name.text().is_some());
    any || cluster_wide && !named() && ALL_SECRETS.is_given_by(rule)
}

/// Says whether a role of the request has a rule that fits.
///
/// A JSON patch may touch one word of a rule: then the role as it is now, which the
/// response shows, has the rule.
pub(super) fn any_rule(
    body: Body<'_>,
    response: Option<Value<'_, '_>>,
    fits: &mut dyn FnMut(Value<'_, '_>) -> bool,
) -> bool {
    let rules = response.and_then(|response| response.get("rules"));
    match rules.filter(|rules| rules.is_list()) {
        Some(rules)
            if body.is_json_patch() && body.any(&mut |piece| piece.get("rules").is_some()) =>
        {
            rules.items().any(fits)
        }
        _ => body.any(&mut |piece| piece.list("rules").any(&mut *fits)),
    }
}

/// A binding, or what a JSON patch puts into one.
#[derive(Clone, Copy)]
pub(super) struct Binding<'p, 'a> {
    /// Kind and name of the role, if there is a reference to one.
    reference: Option<[Option<Value<'p, 'a>>; 2]>,
    subjects: Option<Value<'p, 'a>>,
}

impl<'p, 'a> Binding<'p, 'a> {
    fn of(binding: Value<'p, 'a>) -> Binding<'p, 'a> {
        let [reference, subjects] = binding.fields(BINDING);
        Binding {
            reference: reference.map(|reference| reference.fields(REFERENCE)),
            subjects,
        }
    }

    /// Says whether it refers to a cluster role of a name that fits; `None` if it refers
    /// to nothing.
    fn refers_to(self, roles: Words) -> Option<bool> {
        let [kind, name] = self.reference?;
        let name = name.and_then(Value::text).unwrap_or_default().value();
        Some(kind.is_some_and(|kind| kind.is_text("ClusterRole")) && roles.fit(&name))
    }

    /// Says whether a subject stands for everybody.
    fn is_for_everyone(self) -> bool {
        const GROUPS: Words =
            Words("system:unauthenticated system:authenticated system:serviceaccounts");
        let mut subjects = self.subjects.into_iter().flat_map(Value::items);
        subjects.any(|subject| {
            let [kind, name] = subject.fields(SUBJECT);
            let is = |kind_name| kind.is_some_and(|kind| kind.is_text(kind_name));
            let name = name.and_then(Value::text).unwrap_or_default().value();
            is("User") && *name == *b"system:anonymous" || is("Group") && GROUPS.has(&name)
        })
    }
}

/// The bindings in a body. Several detections ask for them: an object is read once.
pub(super) enum Bindings<'a> {
    /// That of an object.
    Whole(Binding<'a, 'a>),
    /// Those of a JSON patch.
    Pieces(Body<'a>),
}

impl<'a> Bindings<'a> {
    /// Reads the bindings of a body.
    pub(super) fn of(body: Body<'a>) -> Bindings<'a> {
        let whole = body.object().map(Binding::of);
        whole.map_or(Bindings::Pieces(body), Bindings::Whole)
    }

    fn any(&self, fits: &mut dyn FnMut(Binding<'_, 'a>) -> bool) -> bool {
        match *self {
            Bindings::Whole(binding) => fits(binding),
            Bindings::Pieces(body) => body.any(&mut |piece| fits(Binding::of(piece))),
        }
    }

    /// Says whether one refers to a cluster role of a name that fits.
    ///
    /// A patch of the subjects has no reference: then the response shows it.
    pub(super) fn refer_to(&self, response: Option<Value<'_, 'a>>, roles: Words) -> bool {
        let mut found = None;
        self.any(&mut |binding| {
            if let Some(fits) = binding.refers_to(roles) {
                found = Some(fits || found.unwrap_or_default());
            }
            false
        });
        found
            .or_else(|| Binding::of(response?).refers_to(roles))
            .unwrap_or_default()
    }

    /// Says whether one has a subject that stands for everybody.
    pub(super) fn are_for_everyone(&self) -> bool {
        self.any(&mut |binding| binding.is_for_everyone())
    }
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
            let value = Value::new(Json(rule.as_bytes()).into(), 0);
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
            let value = Value::new(Json(rule.as_bytes()).into(), 0);
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
                let value = Value::new(Json(rule.as_bytes()).into(), 0);
                let want = verb != "create" && cluster_wide && !rest.contains("one");
                assert_eq!(
                    is_escalation(value, cluster_wide),
                    want,
                    "{rule} {cluster_wide}"
                );
            }
        }
    }

    fn parts<'a>(body: &'a str, response: &'a str) -> (Body<'a>, Option<Value<'a, 'a>>) {
        let response =
            (!response.is_empty()).then(|| Value::new(Json(response.as_bytes()).into(), 0));
        (
            Body::new(
                Json(body.as_bytes()).into(),
                Some(Value::new(Json(body.as_bytes()).into(), 0)),
            ),
            response,
        )
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
                Bindings::of(body_read).refer_to(response_read, Words("admin")),
                want,
                "{body} {response}"
            );
        }
        let (body, response) = parts(r#"{"roleRef":{"kind":"ClusterRole","name":"a:b"}}"#, "");
        assert!(Bindings::of(body).refer_to(response, Words("x a:*")));
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
                any_rule(body_read, response_read, &mut is_wildcard),
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
            let bindings = Bindings::of(parts(&body, "").0);
            assert_eq!(bindings.are_for_everyone(), want, "{body}");
        }
    }
}
