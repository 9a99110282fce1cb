//! The indexed rule set against the plain oracle, on random policies and requests.

use kube_audit_core::policy::Ruleset;
use kube_audit_testkit::policy::{Request, decision_json, oracle, policy};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const USERS: &[&str] = &[
    "",
    "alice",
    "bob",
    "*",
    "system:serviceaccount:kube-system:job-controller",
];
const GROUPS: &[&str] = &["", "dev", "ops", "system:nodes", "system:masters", "*"];
const VERBS: &[&str] = &["", "get", "list", "create", "deletecollection", "*"];
const NAMESPACES: &[&str] = &["", "default", "kube-system", "*"];
const NAMES: &[&str] = &["", "a", "web-0", "usersshkeys", "*"];
const API_GROUPS: &[&str] = &["", "apps", "batch", "a.example.com", "*"];
const RESOURCES: &[&str] = &["", "pods", "secrets", "pods/log", "a/b", "/", "*"];
const SUBRESOURCES: &[&str] = &["", "log", "scale", "c", "b/c", "*"];
const PATTERNS: &[&str] = &[
    "",
    "pods",
    "secrets",
    "pods/log",
    "pods/*",
    "secrets/*",
    "*/log",
    "*/scale",
    "*",
    "*/*",
    "/*",
    "*/",
    "/log",
    "a/b",
    "a/b/c",
    "a/b/*",
    "pods/b/c",
    "*/b/c",
    "pods/",
    "log",
    "/",
    "**",
];
const URLS: &[&str] = &[
    "*",
    "/*",
    "/",
    "/a",
    "/a*",
    "/ab*",
    "/abc*",
    "/abc",
    "/healthz*",
    "/healthz",
];
const PATHS: &[&str] = &[
    "",
    "/",
    "*",
    "/a",
    "/a*",
    "/ab",
    "/abc",
    "/abcd",
    "/healthz",
    "/healthz/etcd",
    "x",
];
const STAGES: &[&str] = &[
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "Panic",
];
const LEVELS: &[&str] = &["None", "Metadata", "Request", "RequestResponse"];

/// A few of the strings, mostly none.
fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![2 => Just(Vec::new()), 3 => vec(select(from), 1..3)]
}

fn entry() -> impl Strategy<Value = Value> {
    (select(API_GROUPS), some(PATTERNS), some(NAMES)).prop_map(|(group, resources, names)| {
        let names = if resources.is_empty() {
            Vec::new()
        } else {
            names
        };
        json!({"group": group, "resources": resources, "resourceNames": names})
    })
}

fn target() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => (vec(entry(), 0..4), some(NAMESPACES))
            .prop_map(|(resources, namespaces)| json!({"resources": resources, "namespaces": namespaces})),
        1 => vec(select(URLS), 1..4).prop_map(|urls| json!({"nonResourceURLs": urls})),
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let who = (some(USERS), some(GROUPS), some(VERBS));
    let what = (
        select(LEVELS),
        subsequence(STAGES, 0..=2),
        of(any::<bool>()),
    );
    (who, what, target()).prop_map(
        |((users, groups, verbs), (level, stages, omit), mut rule)| {
            rule["users"] = json!(users);
            rule["userGroups"] = json!(groups);
            rule["verbs"] = json!(verbs);
            rule["level"] = json!(level);
            rule["omitStages"] = json!(stages);
            rule["omitManagedFields"] = json!(omit);
            rule
        },
    )
}

fn document(rules: impl Strategy<Value = Vec<Value>>) -> impl Strategy<Value = Value> {
    (rules, subsequence(STAGES, 0..=2), any::<bool>()).prop_map(|(rules, stages, omit)| {
        json!({
            "apiVersion": "audit.k8s.io/v1",
            "rules": rules,
            "omitStages": stages,
            "omitManagedFields": omit,
        })
    })
}

fn request() -> impl Strategy<Value = Request> {
    let string = |from| select(from).prop_map(str::to_owned);
    let resource = [API_GROUPS, RESOURCES, SUBRESOURCES, NAMESPACES, NAMES].map(string);
    (
        weighted(0.9, string(USERS)),
        vec(string(GROUPS), 0..4),
        string(VERBS),
        weighted(0.7, resource),
        string(PATHS),
    )
        .prop_map(|(user, groups, verb, resource, path)| Request {
            user,
            groups,
            verb,
            resource,
            path: path.into_bytes(),
        })
}

fn compare(document: &Value, requests: &[Request]) -> Result<(), TestCaseError> {
    let policy = policy(document);
    let ruleset = Ruleset::compile(&policy);
    for request in requests {
        let decision = request.with(|attributes| ruleset.decide(attributes));
        prop_assert_eq!(
            decision_json(&decision),
            oracle::decide(document, request),
            "{:?}",
            request
        );
    }
    let rules = document["rules"].as_array().unwrap();
    for (rule, plain) in policy.rules().iter().zip(rules).take(8) {
        for request in requests {
            let mismatch = request.with(|attributes| rule.mismatch(attributes));
            let matches = oracle::rule_matches(plain, request);
            prop_assert_eq!(mismatch.is_none(), matches, "{} {:?}", plain, request);
        }
    }
    Ok(())
}

/// Names of resources and subresources are segments of a path.
fn is_real(request: &&Request) -> bool {
    let parts = request.resource.as_ref();
    parts.is_none_or(|parts| !parts[1].contains('/') && !parts[2].contains('/'))
}

/// No request that a shadowed rule matches gets past the rule before it.
fn check_shadows(document: &Value, requests: &[Request]) -> Result<(), TestCaseError> {
    for shadow in policy(document).shadowed() {
        let (rule, by) = (
            &document["rules"][shadow.rule],
            &document["rules"][shadow.by],
        );
        prop_assert!(shadow.by < shadow.rule);
        for request in requests.iter().filter(is_real) {
            let matches = |rule| oracle::rule_matches(rule, request);
            prop_assert!(
                !matches(rule) || matches(by),
                "{by} and {rule}: {request:?}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn short_policies(document in document(vec(rule(), 1..8)), requests in vec(request(), 40)) {
        compare(&document, &requests)?;
        check_shadows(&document, &requests)?;
    }

    /// Rules of resources alone, which are the likeliest to cover each other.
    #[test]
    fn shadows(
        entries in vec(vec(entry(), 1..3), 2..6),
        targets in vec(target(), 0..3),
        requests in vec(request(), 60),
    ) {
        let mut rules: Vec<Value> = entries.into_iter().map(|entries| json!({"resources": entries})).collect();
        rules.extend(targets);
        for rule in &mut rules {
            rule["level"] = json!("Metadata");
        }
        let document = json!({"apiVersion": "audit.k8s.io/v1", "rules": rules});
        check_shadows(&document, &requests)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    /// Sets of one word and of many, and several blocks. A user of its own
    /// keeps most rules from matching, so that late rules have their turn.
    #[test]
    fn long_policies(
        rules in vec(rule(), 200),
        length in select(&[63_usize, 64, 65, 255, 256, 257, 1023, 1024, 1025, 4096, 4097, 8500]),
        requests in vec(request(), 60),
    ) {
        let mut rules: Vec<Value> = rules.iter().cycle().take(length).cloned().collect();
        for (i, rule) in rules.iter_mut().enumerate().filter(|(i, _)| i % 61 != 60) {
            rule["users"] = json!([format!("user-{i}")]);
        }
        let document = json!({"apiVersion": "audit.k8s.io/v1", "rules": rules});
        let mut requests = requests;
        for (i, request) in requests.iter_mut().enumerate().filter(|(i, _)| i % 2 == 0) {
            request.user = Some(format!("user-{}", i * 37 % length));
        }
        compare(&document, &requests)?;
    }
}
