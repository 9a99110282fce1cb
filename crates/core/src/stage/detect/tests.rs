//! Whole events against detections, in both forms of documents.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::chunk::{LineForm, LineSink, write_line_record};
use crate::doc::Doc;
use crate::doc::convert::json_to_msgpack;
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::event::kube::{MapView, Scratch};
use crate::pipeline::{OutputShape, Pipeline, Settings};
use crate::policy::{Policy, Ruleset, Syntax};
use crate::stage::{Condition, Effect, Pattern};

/// Ids of the detections that fire, and of those that are undecided.
pub(super) type Found = (Vec<String>, Vec<String>);

fn found<'a, D: Doc<'a>>(detector: &Detector, doc: D, labels: &mut Labels) -> Found {
    let (mut view, mut scratch) = (MapView::default(), Scratch::default());
    view.read(doc, 0, &mut scratch).unwrap();
    let event = view.item_of_list(None);
    event.logged_attributes(doc.bytes(), &scratch, |logged| {
        let members = &scratch.members;
        detector.evaluate(doc.into(), event, members, event.stage(), logged, labels);
    });
    let id = |place| detector.detection(place).unwrap().id().to_owned();
    (
        labels.hits().map(id).collect(),
        labels.undecided().map(id).collect(),
    )
}

/// Evaluates an event in both forms, which must agree.
pub(super) fn evaluate(detector: &Detector, event: &str) -> Found {
    let mut msgpack = Vec::new();
    json_to_msgpack(Json(event.as_bytes()), 0, &mut msgpack).unwrap();
    let mut labels = Labels::default();
    let text = found(detector, Json(event.as_bytes()), &mut labels);
    let map = found(detector, Msgpack(&msgpack), &mut labels);
    assert_eq!(text, map, "the forms differ for {event}");
    text
}

fn all() -> Detector {
    Detector::new(
        &Selection::all(),
        &Detections::default(),
        DetectorSettings::default(),
    )
    .unwrap()
}

fn sorted(ids: &Value) -> Vec<String> {
    let ids = ids.as_array().into_iter().flatten();
    let mut ids: Vec<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn handed_vectors() {
    let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH").map(PathBuf::from) else {
        eprintln!("SKIPPED: KUBE_AUDIT_GROUND_TRUTH is not set, only own events are checked");
        return;
    };
    let text = std::fs::read_to_string(truth.join("vectors/detections.jsonl")).unwrap();
    let detector = all();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in text.lines() {
        let vector: Value = serde_json::from_str(line).unwrap();
        // The event as it is written, with its escapes and the order of its members.
        let doc = Json(line.as_bytes());
        let mut map = doc.open_map(0).unwrap();
        let event = loop {
            let member = doc.next_member(&mut map).unwrap().unwrap();
            map.next = doc.end(member.value).unwrap();
            if member.key.is(b"event") {
                break &line[member.value..map.next];
            }
        };
        let (mut hits, mut undecided) = evaluate(&detector, event);
        hits.sort();
        undecided.sort();
        count += 1;
        let undecided_wrong = vector
            .get("undecided")
            .is_some_and(|want| sorted(want) != undecided);
        if sorted(&vector["want"]) != hits || undecided_wrong {
            wrong.push(format!(
                "{}: want {} {}, found {hits:?} {undecided:?}: {}",
                vector["id"], vector["want"], vector["undecided"], vector["why"]
            ));
        }
    }
    assert!(count > 200, "{count} vectors");
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Makes the text of an event: `VERB RESOURCE[.GROUP][/SUBRESOURCE] [NAMESPACE/][NAME]`, or
/// `VERB /PATH`, by alice, answered with 200. `with` has fields of the event, and shorthands:
/// `code`, `decision`, `by` and `as` (names of users), `query`, `body`, `answer`.
fn event(request: &str, with: Value) -> String {
    let mut words = request.split(' ');
    let (verb, target) = (words.next().unwrap(), words.next().unwrap());
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": "a-1", "stage": "ResponseComplete", "requestURI": "/api/v1/x", "verb": verb,
        "user": user("alice"), "sourceIPs": ["192.0.2.7"],
        "responseStatus": {"metadata": {}, "code": 200},
        "annotations": {"authorization.k8s.io/decision": "allow"},
    });
    if target.starts_with('/') {
        event["requestURI"] = target.into();
    } else {
        let (resource, sub) = target.split_once('/').unwrap_or((target, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let object = words.next().unwrap_or_default();
        let (namespace, name) = object.split_once('/').unwrap_or(("", object));
        let members = [
            ("resource", resource),
            ("namespace", namespace),
            ("name", name),
            ("apiGroup", group),
            ("subresource", sub),
        ];
        let present = members.into_iter().filter(|(_, value)| !value.is_empty());
        let present = present.map(|(key, value)| (key.to_owned(), Value::from(value)));
        event["objectRef"] = present.collect();
        let long = ["exec", "attach", "portforward", "proxy", "log"].contains(&sub);
        if long || verb == "watch" {
            event["stage"] = "ResponseStarted".into();
        }
    }
    for (key, value) in with.as_object().unwrap() {
        let value = value.clone();
        match key.as_str() {
            "code" => event["responseStatus"]["code"] = value,
            "message" => event["responseStatus"]["message"] = value,
            "decision" => event["annotations"]["authorization.k8s.io/decision"] = value,
            "truncated" => event["annotations"]["audit.k8s.io/truncated"] = value,
            "by" => event["user"] = user(value.as_str().unwrap()),
            "as" => event["impersonatedUser"] = user(value.as_str().unwrap()),
            "from" => event["sourceIPs"] = json!(["192.0.2.9", value]),
            "query" => {
                let path = event["requestURI"].as_str().unwrap();
                event["requestURI"] = format!("{path}?{}", value.as_str().unwrap()).into();
            }
            "body" => event["requestObject"] = value,
            "answer" => event["responseObject"] = value,
            _ => event[key] = value,
        }
    }
    event.to_string()
}

/// A user with the groups that Kubernetes gives to such a name.
fn user(name: &str) -> Value {
    let group = match name {
        "" => return json!({}),
        "system:apiserver" | "admin" => "system:masters",
        "system:anonymous" => "system:unauthenticated",
        _ if name.starts_with("system:node:") => "system:nodes",
        _ if name.starts_with("system:serviceaccount:") => "system:serviceaccounts",
        _ => "system:authenticated",
    };
    json!({"username": name, "groups": ["crew", group]})
}

/// Events with the ids that they must have, behind a `?` if undecided; see [`event`] for how
/// they are written.
macro_rules! cases {
    ($($name:ident { $([$($id:literal),*] $request:literal $with:tt;)+ })+) => {
        $(
            mod $name {
                use super::*;

                pub(super) fn events() -> Vec<Case> {
                    let mut events: Vec<Case> = Vec::new();
                    $(events.push((&[$($id),*], event($request, json!($with))));)+
                    events
                }

                #[test]
                fn have_these_labels() {
                    check(events());
                }
            }
        )+

        /// All these events.
        pub(super) fn all_cases() -> Vec<Case> {
            [$($name::events()),+].concat()
        }
    };
}

type Case = (&'static [&'static str], String);

fn check(events: Vec<Case>) {
    let detector = all();
    for (wanted, event) in events {
        let mut wanted = wanted.to_vec();
        wanted.sort();
        let (hits, undecided) = evaluate(&detector, &event);
        let undecided = undecided.iter().map(|id| format!("?{id}"));
        let mut found: Vec<String> = hits.into_iter().chain(undecided).collect();
        found.sort();
        assert_eq!(found, wanted, "{event}");
    }
}

const KCM: &str = "system:kube-controller-manager";
const SERVER: &str = "system:apiserver";
const NODE: &str = "system:node:n1";

fn controller(name: &str) -> String {
    format!("system:serviceaccount:kube-system:{name}")
}

/// A body with this pod spec.
fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "spec": spec})
}

/// A body whose template has this pod spec.
fn template(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

fn privileged() -> Value {
    json!({"containers": [{"name": "a", "securityContext": {"privileged": true}}]})
}

fn rule(verb: &str, group: &str, resource: &str) -> Value {
    json!({"rules": [{"verbs": [verb], "apiGroups": [group], "resources": [resource]}]})
}

fn binding(role: &str, kind: &str, subject: &str) -> Value {
    json!({
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": kind, "name": subject}],
    })
}

fn enforce(level: Value) -> Value {
    json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}})
}

fn add(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

cases! {
    streams_into_pods {
        ["exec-into-pod"] "create pods/exec shop/web" {"code": 101};
        ["exec-into-pod"] "get pods/exec shop/web" {"code": 101, "query": "command=sh"};
        ["exec-into-pod"] "get pods/exec shop/web" {"by": "system:serviceaccount:shop:ci"};
        ["attach-to-pod"] "create pods/attach shop/web" {"code": 101};
        ["attach-to-pod"] "get pods/attach shop/web" {"code": 101};
        ["port-forward-to-pod"] "get pods/portforward shop/web" {"code": 101};
        [] "get pods/log shop/web" {};
        [] "get pods/exec shop/web" {"code": 400};
        [] "get pods/exec shop/web" {"code": 99};
        [] "get pods/exec shop/web" {"responseStatus": null};
        [] "get pods/exec shop/web" {"code": "101"};
        [] "get pods/exec shop/web" {"code": true};
        [] "get pods.mine/exec shop/web" {"code": 101};
        [] "get services/exec shop/web" {"code": 101};
        [] "delete pods/exec shop/web" {"code": 101};
        ["access-denied"] "get pods/exec shop/web" {"code": 403};
        ["access-denied"] "create pods/attach shop/web" {"code": 403, "decision": "forbid"};
        [] "get pods/log shop/web" {"code": 403};
        ["ephemeral-container-added"] "patch pods/ephemeralcontainers shop/web" {"body": {}};
        ["ephemeral-container-added"] "update pods/ephemeralcontainers shop/web" {"body": {}};
        [] "patch pods/ephemeralcontainers shop/web" {"body": {}, "query": "dryRun=All"};
        [] "get pods/ephemeralcontainers shop/web" {};
    }
    one_event_of_a_request_counts {
        [] "get pods/exec shop/web" {"code": 101, "stage": "ResponseComplete"};
        [] "get pods/exec shop/web" {"code": 101, "stage": "RequestReceived"};
        [] "get pods/exec shop/web" {"code": 101, "stage": "responseStarted"};
        [] "get pods/exec shop/web" {"code": 101, "stage": null};
        ["exec-into-pod"] "get pods/exec shop/web" {"code": 101, "stage": "Panic"};
        ["secret-read"] "list secrets shop/" {};
        [] "list secrets shop/" {"stage": "ResponseStarted"};
        ["secret-read"] "watch secrets shop/" {};
        [] "watch secrets shop/" {"stage": "ResponseComplete"};
        [] "get secrets/proxy shop/" {"stage": "ResponseComplete"};
        ["anonymous-request-allowed"] "get /debug/pprof/heap"
            {"by": "system:anonymous", "stage": "ResponseStarted"};
        [] "get /debug/pprof/heap" {"by": "system:anonymous"};
        ["anonymous-request-allowed"] "get /debug/pprofs" {"by": "system:anonymous"};
    }
    commands {
        ["exec-into-pod", "exec-reads-credentials"] "create pods/exec shop/web"
            {"code": 101, "query": "container=a&command=cat&command=%2Fetc%2Fshadow&stdout=1"};
        ["exec-into-pod", "exec-reads-credentials"] "create pods/exec shop/web"
            {"code": 101, "query": "c%6fmmand=sh&command=-c&command=curl+169.254.169.254/latest"};
        ["exec-into-pod", "exec-reads-credentials"] "create pods/exec shop/web"
            {"code": 101, "query": "command=ls&command=/var/run/secrets/kubernetes.io/serviceaccount"};
        ["exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=cat&container=/etc/shadow"};
        ["exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=cat&command=/etc/sha.dow&command=/etc&command=/shadow"};
        ["copy-from-pod", "exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=tar&command=cf&command=-&command=/data"};
        ["copy-from-pod", "exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=%2fbin%2ftar&command=-czf&command=-&command=/data"};
        ["exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=tar&command=xf&command=-&command=/data"};
        ["exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=tar&command=cf&command=/a.tar&command=/data"};
        ["exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=tar&command=cf&command=-"};
        ["exec-into-pod"] "create pods/exec shop/web"
            {"code": 101, "query": "command=star&command=cf&command=-&command=/data"};
    }
    nodes {
        ["node-proxy"] "get nodes/proxy n1" {"requestURI": "/api/v1/nodes/n1/proxy/run/a/b/c"};
        ["node-proxy"] "create nodes/proxy n1"
            {"code": 404, "requestURI": "/api/v1/nodes/n1/proxy/run/a/b/c"};
        ["node-proxy"] "get nodes/proxy n1"
            {"annotations": {}, "requestURI": "/api/v1/nodes/metrics/proxy/pods"};
        [] "get nodes/proxy n1"
            {"annotations": {}, "code": 404, "requestURI": "/api/v1/nodes/n1/proxy/pods"};
        ["access-denied"] "get nodes/proxy n1"
            {"decision": "forbid", "code": 403, "requestURI": "/api/v1/nodes/n1/proxy/pods"};
        [] "get nodes/proxy n1"
            {"decision": "forbid", "requestURI": "/api/v1/nodes/n1/proxy/pods"};
        [] "get nodes/proxy n1" {"requestURI": "/api/v1/nodes/n1/proxy/metrics/cadvisor?x=/run"};
        ["node-proxy"] "get nodes/proxy n1"
            {"requestURI": "/api/v1/nodes/n1/proxy/metrics/%2e%2e/run?x=metrics"};
        [] "get nodes/status n1" {};
        [] "get nodes n1" {};
    }
    secrets {
        ["secret-read", "secrets-enumerated"] "list secrets" {};
        ["secret-read", "secrets-enumerated"] "watch secrets" {"query": "resourceVersion=0"};
        ["secret-read"] "list secrets shop/" {};
        ["secret-read"] "list secrets one" {};
        ["secret-read"] "get secrets shop/one" {};
        ["secrets-enumerated"] "list secrets" {"by": "system:serviceaccount:shop:ci"};
        ["secrets-enumerated"] "list secrets"
            {"by": "system:serviceaccount:shop:ci", "query": "resourceVersion="};
        [] "list secrets" {"by": "system:serviceaccount:shop:ci", "query": "a=b&resourceVersion=0"};
        [] "list secrets" {"by": (SERVER), "from": "127.0.0.1"};
        ["secrets-enumerated"] "list secrets" {"by": (SERVER), "from": "192.0.2.9"};
        ["secrets-enumerated"] "list secrets"
            {"user": {"username": "system:apiserver"}, "from": "::1"};
        [] "list secrets" {"by": (KCM)};
        [] "list secrets" {"by": (controller("namespace-controller"))};
        [] "list secrets" {"by": (controller("resourcequota-controller"))};
        [] "list secrets" {"by": (controller("generic-garbage-collector"))};
        ["secrets-enumerated"] "list secrets" {"by": (controller("job-controller"))};
        ["secrets-enumerated"] "list secrets" {"by": "system:kube-scheduler"};
        [] "get secrets shop/one" {"by": "system:kube-scheduler"};
        [] "get secrets shop/one" {"by": (NODE)};
        [] "get secrets shop/one" {"by": "system:serviceaccount:shop:ci"};
        ["secret-read"] "get secrets shop/one" {"by": "system:serviceaccount:shop:ci", "as": "bob"};
        ["privileged-impersonation", "secret-read", "secrets-enumerated"] "list secrets"
            {"by": "bob", "as": (KCM)};
        ["secret-read", "secrets-enumerated"] "list secrets" {"by": (KCM), "as": "bob"};
        ["secret-read"] "get secrets shop/one" {"by": "system:admin"};
        ["anonymous-request-allowed", "secret-read"] "get secrets shop/one"
            {"by": "system:anonymous"};
        [] "get secrets shop/one" {"user": {"groups": ["crew"]}};
        [] "get secrets.mine shop/one" {};
        [] "update secrets shop/one" {"body": {}};
        ["access-denied", "secret-access-denied"] "get secrets shop/one"
            {"code": 403, "decision": "forbid"};
        ["access-denied", "secret-access-denied"] "list secrets"
            {"code": 403, "decision": "forbid", "by": "system:serviceaccount:shop:ci"};
        ["secret-read"] "get secrets shop/one" {"decision": "forbid"};
        [] "get secrets shop/one" {"code": 404};
        [] "get secrets shop/one" {"code": 403, "decision": "forbid", "by": "system:anonymous"};
        [] "get secrets shop/one" {"code": 403, "decision": "forbid", "by": (NODE)};
        ["secret-access-denied"] "list secrets" {"code": 403, "decision": "forbid", "by": (NODE)};
        ["access-denied", "secret-access-denied"] "get secrets shop/one"
            {"code": 403, "decision": "forbid", "user": {"username": "system:node:n1"}};
        ["bootstrap-token-changed"] "update secrets kube-system/bootstrap-token-abc" {"body": {}};
        ["bootstrap-token-changed"] "create secrets kube-system/bootstrap-token-abc" {"body": {}};
        [] "update secrets shop/bootstrap-token-abc" {"body": {}};
        [] "update secrets kube-system/other" {"body": {}};
        [] "delete secrets kube-system/bootstrap-token-abc" {};
        [] "update secrets kube-system/bootstrap-token-abc" {"body": {}, "query": "dryRun=All"};
    }
    tokens {
        ["serviceaccount-token-requested"] "create serviceaccounts/token shop/ci"
            {"body": {"spec": {"expirationSeconds": 86400}}};
        ["serviceaccount-token-requested"] "create serviceaccounts/token shop/ci"
            {"query": "dryRun=All", "body": {}};
        ["serviceaccount-token-long-lived", "serviceaccount-token-requested"]
            "create serviceaccounts/token shop/ci" {"body": {"spec": {"expirationSeconds": 86401}}};
        ["serviceaccount-token-long-lived"] "create serviceaccounts/token shop/ci"
            {"by": (NODE), "body": {"spec": {"expirationSeconds": 90000}}};
        ["serviceaccount-token-long-lived"] "create serviceaccounts/token shop/ci"
            {"by": (KCM), "body": {"spec": {"expirationSeconds": 90000}}};
        ["?serviceaccount-token-long-lived", "serviceaccount-token-requested"]
            "create serviceaccounts/token shop/ci" {"level": "Metadata"};
        [] "create serviceaccounts/token shop/ci" {"by": (NODE), "body": {}};
        [] "create serviceaccounts/token shop/ci" {"by": (KCM), "body": {}};
        ["serviceaccount-token-requested"] "create serviceaccounts/token shop/ci"
            {"by": (NODE), "as": "bob", "body": {}};
        [] "create serviceaccounts shop/ci" {"body": {}};
        ["serviceaccount-token-long-lived"] "create secrets shop/one"
            {"body": {"type": "kubernetes.io/service-account-token"}};
        ["serviceaccount-token-long-lived"] "patch secrets shop/one"
            {"code": 201, "body": {"type": "kubernetes.io/service-account-token"}};
        [] "patch secrets shop/one" {"body": {"type": "kubernetes.io/service-account-token"}};
        [] "create secrets shop/one"
            {"by": (KCM), "body": {"type": "kubernetes.io/service-account-token"}};
        [] "create secrets shop/one"
            {"query": "dryRun=All", "body": {"type": "kubernetes.io/service-account-token"}};
        [] "create secrets shop/one" {"body": {"type": "Opaque"}};
        ["?serviceaccount-token-long-lived"] "create secrets shop/one" {"truncated": "true"};
        [] "create secrets shop/one" {"truncated": "false"};
        [] "create secrets shop/one" {"truncated": true};
    }
    bindings {
        ["cluster-admin-bound"] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("cluster-admin", "User", "bob"))};
        ["cluster-admin-bound"] "create rolebindings.rbac.authorization.k8s.io shop/b"
            {"body": (binding("cluster-admin", "User", "bob"))};
        ["cluster-admin-bound"] "patch clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": {"subjects": []}, "answer": (binding("cluster-admin", "User", "bob"))};
        [] "update clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": {"subjects": []}, "answer": (binding("cluster-admin", "User", "bob"))};
        ["cluster-admin-bound"] "patch clusterrolebindings.rbac.authorization.k8s.io cluster-admin"
            {"body": {"subjects": []}};
        [] "patch rolebindings.rbac.authorization.k8s.io shop/cluster-admin"
            {"body": {"subjects": []}};
        [] "delete clusterrolebindings.rbac.authorization.k8s.io cluster-admin" {};
        [] "create clusterrolebindings b" {"body": (binding("cluster-admin", "User", "bob"))};
        [] "create clusterrolebindings.rbac.authorization.k8s.io/status b"
            {"body": (binding("cluster-admin", "User", "bob"))};
        [] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("cluster-admin", "User", "bob")), "query": "dryRun=All"};
        [] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("cluster-admin", "User", "bob")), "by": (SERVER), "from": "::1"};
        ["cluster-admin-bound"] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("cluster-admin", "User", "bob")), "by": (SERVER)};
        [] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": {"roleRef": {"kind": "Role", "name": "cluster-admin"}}};
        ["privileged-role-bound"] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("edit", "User", "bob"))};
        ["privileged-role-bound"] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("system:controller:job-controller", "User", "bob"))};
        [] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (binding("view", "User", "bob"))};
        [] "create rolebindings.rbac.authorization.k8s.io shop/b"
            {"body": (binding("edit", "User", "bob"))};
        ["role-bound-to-everyone"] "create rolebindings.rbac.authorization.k8s.io shop/b"
            {"body": (binding("view", "Group", "system:authenticated"))};
        [] "create rolebindings.rbac.authorization.k8s.io kube-public/b"
            {"body": (binding("view", "Group", "system:authenticated"))};
        ["role-bound-to-everyone"] "patch clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": (add("/subjects/-", json!({"kind": "User", "name": "system:anonymous"})))};
        ["?cluster-admin-bound", "?privileged-role-bound", "?role-bound-to-everyone"]
            "create rolebindings.rbac.authorization.k8s.io shop/b" {"level": "Metadata"};
        ["cluster-admin-bound", "?privileged-role-bound", "?role-bound-to-everyone"]
            "update clusterrolebindings.rbac.authorization.k8s.io cluster-admin"
            {"level": "Metadata"};
    }
    roles {
        ["escalation-role", "wildcard-role"] "create clusterroles.rbac.authorization.k8s.io r"
            {"body": (rule("*", "*", "*"))};
        ["escalation-role", "wildcard-role"] "update roles.rbac.authorization.k8s.io shop/r"
            {"body": (rule("*", "", "*"))};
        [] "create clusterroles.rbac.authorization.k8s.io r" {"body": (rule("*", "mine", "*"))};
        ["escalation-role"] "create roles.rbac.authorization.k8s.io shop/r"
            {"body": (rule("create", "", "pods/exec"))};
        ["escalation-role"] "create clusterroles.rbac.authorization.k8s.io r"
            {"body": (rule("list", "", "secrets"))};
        [] "create roles.rbac.authorization.k8s.io shop/r" {"body": (rule("list", "", "secrets"))};
        [] "create clusterroles.rbac.authorization.k8s.io r"
            {"body": (rule("*", "*", "*")), "by": (SERVER), "from": "127.0.0.1"};
        [] "patch clusterroles.rbac.authorization.k8s.io admin"
            {"body": (rule("*", "*", "*")),
             "by": (controller("clusterrole-aggregation-controller"))};
        ["escalation-role"] "patch clusterroles.rbac.authorization.k8s.io r"
            {"body": (add("/rules/0/verbs/-", json!("get"))), "answer": (rule("get", "", "*/exec"))};
        ["?escalation-role", "?wildcard-role"] "create roles.rbac.authorization.k8s.io shop/r"
            {"level": "Metadata"};
        [] "create roles.rbac.authorization.k8s.io shop/r" {"level": "Request"};
        ["system-role-modified"] "update clusterroles.rbac.authorization.k8s.io system:node"
            {"body": {"rules": []}};
        ["system-role-modified"] "delete clusterroles.rbac.authorization.k8s.io view" {};
        ["system-role-modified"] "patch roles.rbac.authorization.k8s.io kube-system/system:x"
            {"body": {}};
        [] "patch clusterroles.rbac.authorization.k8s.io edit" {"body": {}, "code": 201};
        [] "patch clusterroles.rbac.authorization.k8s.io system:coredns" {"body": {}};
        [] "patch clusterroles.rbac.authorization.k8s.io viewer" {"body": {}};
        [] "delete clusterroles.rbac.authorization.k8s.io view" {"query": "dryRun=All"};
        [] "delete clusterroles.rbac.authorization.k8s.io view" {"body": {"dryRun": ["All"]}};
        ["rbac-escalation-denied"] "create clusterroles.rbac.authorization.k8s.io r"
            {"code": 403, "message": "x (y) is attempting to grant RBAC permissions not currently held:"};
        ["access-denied"] "create clusterroles.rbac.authorization.k8s.io r"
            {"code": 403, "decision": "forbid",
             "message": "x is attempting to grant RBAC permissions not currently held:"};
        [] "create clusterroles.rbac.authorization.k8s.io r" {"code": 403, "message": "no"};
    }
    certificates {
        ["client-cert-requested"] "create certificatesigningrequests.certificates.k8s.io c"
            {"body": {"spec": {"signerName": "kubernetes.io/kube-apiserver-client"}}};
        [] "create certificatesigningrequests.certificates.k8s.io c"
            {"body": {"spec": {"signerName": "kubernetes.io/kube-apiserver-client-kubelet"}}};
        ["?client-cert-requested"] "create certificatesigningrequests.certificates.k8s.io c"
            {"level": "Metadata"};
        ["csr-approved"] "update certificatesigningrequests.certificates.k8s.io/approval c"
            {"level": "Metadata"};
        ["csr-approved"] "patch certificatesigningrequests.certificates.k8s.io/approval c"
            {"body": {"status": {"conditions": [{"type": "Denied"}, {"type": "Approved"}]}}};
        [] "patch certificatesigningrequests.certificates.k8s.io/approval c"
            {"body": {"status": {"conditions": [{"type": "Denied"}]}}};
        [] "update certificatesigningrequests.certificates.k8s.io/approval c"
            {"body": {"spec": {"signerName": "kubernetes.io/kubelet-serving"}}};
        [] "update certificatesigningrequests.certificates.k8s.io/approval c" {"by": (KCM)};
        [] "update certificatesigningrequests.certificates.k8s.io/approval c"
            {"by": (controller("certificate-controller"))};
    }
    identities {
        ["privileged-impersonation"] "get configmaps shop/a" {"as": "system:admin"};
        ["privileged-impersonation"] "get configmaps shop/a" {"as": "admin"};
        ["privileged-impersonation"] "get configmaps shop/a" {"as": (NODE), "code": 404};
        ["privileged-impersonation"] "get configmaps shop/a" {"as": (controller("x"))};
        ["privileged-impersonation"] "get configmaps shop/a"
            {"impersonatedUser": {"groups": ["system:masters"]}};
        ["privileged-impersonation"] "get configmaps shop/a"
            {"impersonatedUser": {"username": "system:node:n1"}};
        [] "get configmaps shop/a" {"as": "bob"};
        [] "get configmaps shop/a" {"as": "system:serviceaccount:shop:ci"};
        [] "get configmaps shop/a" {"impersonatedUser": {}};
        [] "get configmaps shop/a"
            {"as": (NODE),
             "authenticationMetadata": {"impersonationConstraint": "impersonate:associated-node"}};
        ["anonymous-request-allowed"] "get configmaps shop/a" {"by": "system:anonymous"};
        ["anonymous-request-allowed"] "get /metrics"
            {"user": {"username": "x", "groups": ["system:unauthenticated"]}};
        ["anonymous-request-allowed"] "get /metrics" {"by": "system:anonymous", "annotations": {}};
        [] "get /metrics" {"by": "system:anonymous", "decision": "forbid"};
        [] "get /metrics" {"by": "system:anonymous", "code": 401};
        [] "get /metrics" {"by": "system:anonymous", "as": "bob"};
        [] "get /readyz/ping" {"by": "system:anonymous"};
        [] "get /version/" {"by": "system:anonymous"};
        [] "get configmaps kube-public/cluster-info" {"by": "system:anonymous"};
        ["anonymous-request-allowed"] "update configmaps kube-public/cluster-info"
            {"by": "system:anonymous"};
        ["anonymous-request-allowed"] "get configmaps kube-public/other"
            {"by": "system:anonymous"};
        ["authentication-failed"] "get pods shop/web"
            {"by": "", "code": 401, "stage": "ResponseStarted", "annotations": null};
        [] "get pods shop/web" {"code": 401, "stage": "ResponseStarted"};
        ["access-denied"] "get pods shop/web" {"code": 403, "decision": "forbid"};
        ["access-denied"] "get pods shop/web" {"code": 403, "annotations": null};
        [] "create pods shop/web" {"code": 403};
        [] "get pods shop/web" {"code": 403, "decision": "forbid", "by": "system:anonymous"};
        [] "get pods shop/web" {"code": 403, "decision": "forbid", "by": (NODE)};
        ["permission-enumeration"] "create selfsubjectrulesreviews.authorization.k8s.io" {};
        [] "create selfsubjectaccessreviews.authorization.k8s.io" {};
        [] "create selfsubjectrulesreviews.authorization.k8s.io"
            {"by": (SERVER), "from": "127.0.0.1"};
    }
    admission {
        ["admission-config-changed"]
            "create validatingwebhookconfigurations.admissionregistration.k8s.io w" {};
        ["admission-config-changed"]
            "patch mutatingwebhookconfigurations.admissionregistration.k8s.io w" {};
        ["admission-config-changed"]
            "delete validatingadmissionpolicies.admissionregistration.k8s.io w"
            {"by": "system:serviceaccount:shop:ci"};
        ["admission-config-changed"]
            "patch mutatingadmissionpolicybindings.admissionregistration.k8s.io w"
            {"by": "system:serviceaccount:shop:ci", "code": 201};
        [] "patch mutatingadmissionpolicies.admissionregistration.k8s.io w"
            {"by": "system:serviceaccount:shop:ci"};
        [] "get validatingadmissionpolicybindings.admissionregistration.k8s.io w" {};
        [] "patch validatingadmissionpolicies.admissionregistration.k8s.io/status w" {};
        [] "delete validatingwebhookconfigurations.admissionregistration.k8s.io w"
            {"by": (SERVER), "from": "127.0.0.1"};
    }
    workloads {
        ["privileged-pod"] "create pods shop/web" {"body": (pod(privileged()))};
        ["privileged-pod"] "create deployments.apps shop/web" {"body": (template(privileged()))};
        ["privileged-pod"] "patch statefulsets.apps shop/web"
            {"body": (add("/spec/template/spec/containers/0/securityContext/privileged", json!(true)))};
        ["privileged-pod"] "update daemonsets.extensions shop/web"
            {"body": (template(privileged()))};
        ["privileged-pod"] "create cronjobs.batch shop/web"
            {"body": {"spec": {"jobTemplate": (template(privileged()))}}};
        ["privileged-pod"] "create jobs.batch shop/web" {"body": (template(privileged()))};
        ["privileged-pod"] "create podtemplates shop/web" {"body": {"template": (pod(privileged()))}};
        ["privileged-pod"] "create replicationcontrollers shop/web"
            {"body": (template(privileged()))};
        ["privileged-pod"] "patch pods shop/web" {"code": 201, "body": (pod(privileged()))};
        ["ephemeral-container-added", "privileged-pod"] "patch pods/ephemeralcontainers shop/web"
            {"body": (pod(json!({"ephemeralContainers": [{"securityContext": {"privileged": true}}]})))};
        [] "update pods shop/web" {"body": (pod(privileged()))};
        [] "create deployments.apps/scale shop/web" {"body": (template(privileged()))};
        [] "create pods/binding shop/web" {"body": (pod(privileged()))};
        [] "create deployments.mine shop/web" {"body": (template(privileged()))};
        [] "create deployments.apps shop/web" {"body": (pod(privileged()))};
        [] "create pods shop/web" {"body": (pod(privileged())), "query": "dryRun=All"};
        [] "create pods shop/web" {"answer": (pod(privileged()))};
        [] "create pods shop/web" {"body": (pod(privileged())), "by": (controller("job-controller"))};
        [] "create pods shop/web"
            {"body": (pod(privileged())), "by": (controller("daemon-set-controller"))};
        [] "create pods shop/web" {"body": (pod(privileged())), "by": (KCM)};
        [] "create pods kube-system/web" {"body": (pod(privileged())), "by": (NODE)};
        ["privileged-pod"] "create pods shop/web"
            {"body": (pod(privileged())), "by": (controller("namespace-controller"))};
        ["?dangerous-capability-pod", "?host-namespace-pod", "?privileged-pod",
         "?sensitive-hostpath-pod"] "create pods shop/web" {"level": "Metadata"};
        ["?controller-serviceaccount-pod", "?dangerous-capability-pod", "?host-namespace-pod",
         "?privileged-pod", "?sensitive-hostpath-pod", "pod-in-system-namespace"]
            "create pods kube-system/web" {"level": "Metadata"};
        [] "create pods shop/web" {"level": "Metadata", "code": 409};
        ["host-namespace-pod"] "create pods shop/web" {"body": (pod(json!({"hostIPC": true})))};
        ["sensitive-hostpath-pod"] "create pods shop/web"
            {"body": (pod(json!({"volumes": [{"hostPath": {"path": "/etc/"}}]})))};
        ["dangerous-capability-pod"] "create pods shop/web"
            {"body": (pod(json!({"containers": [
                {"securityContext": {"capabilities": {"add": ["cap_net_admin"]}}}
            ]})))};
        ["pod-in-system-namespace"] "create daemonsets.apps kube-node-lease/web" {"body": {}};
        ["pod-in-system-namespace"] "create pods kube-public/web" {"body": {}};
        [] "update daemonsets.apps kube-system/web" {"body": {}};
        [] "create pods/eviction kube-system/web" {"body": {}};
        [] "create services kube-system/web" {"body": {}};
        ["controller-serviceaccount-pod", "pod-in-system-namespace"] "create pods kube-system/web"
            {"body": (pod(json!({"serviceAccountName": "token-cleaner"})))};
        ["controller-serviceaccount-pod"] "update deployments.apps kube-system/web"
            {"body": (template(json!({"serviceAccount": "node-controller"})))};
        [] "create pods shop/web" {"body": (pod(json!({"serviceAccountName": "token-cleaner"})))};
    }
    hiding_and_destroying {
        ["events-deleted"] "delete events shop/e" {};
        ["events-deleted"] "deletecollection events.events.k8s.io shop/" {};
        [] "delete events.mine shop/e" {};
        [] "delete events shop/e" {"by": (controller("namespace-controller"))};
        [] "delete events shop/e" {"by": (KCM)};
        [] "delete events shop/e" {"query": "dryRun=All"};
        ["critical-configmap-changed"] "patch configmaps kube-system/coredns" {"body": {}};
        ["critical-configmap-changed"] "delete configmaps kube-system/aws-auth" {};
        [] "get configmaps kube-system/coredns" {};
        [] "patch configmaps shop/coredns" {"body": {}};
        [] "patch configmaps kube-system/kubeadm-config" {"body": {}};
        [] "update configmaps kube-system/extension-apiserver-authentication"
            {"body": {}, "by": (SERVER), "from": "127.0.0.1"};
        ["namespace-deleted"] "delete namespaces shop/shop" {};
        [] "delete namespaces/finalize shop/shop" {};
        ["bulk-delete"] "deletecollection pods shop/" {};
        ["bulk-delete"] "deletecollection things.mine" {};
        [] "deletecollection pods shop/" {"by": (controller("generic-garbage-collector"))};
        [] "deletecollection pods shop/" {"body": {"dryRun": ["All"]}};
        ["bulk-delete"] "deletecollection pods shop/" {"body": {"dryRun": []}};
        [] "deletecollection /pods" {};
        ["crd-deleted"] "delete customresourcedefinitions.apiextensions.k8s.io a.mine" {};
        [] "update customresourcedefinitions.apiextensions.k8s.io a.mine" {};
    }
    pod_security {
        ["pod-security-weakened"] "create namespaces shop/shop" {"body": (enforce(json!("privileged")))};
        ["pod-security-weakened"] "patch namespaces shop/shop" {"body": (enforce(json!(null)))};
        ["pod-security-weakened"] "patch namespaces shop/shop"
            {"body": [{"op": "remove", "path": "/metadata/labels/pod-security.kubernetes.io~1enforce"}]};
        ["pod-security-weakened"] "patch namespaces shop/shop"
            {"body": (add("/metadata/labels/pod-security.kubernetes.io~1enforce", json!("privileged")))};
        [] "update namespaces shop/shop" {"body": (enforce(json!(null)))};
        [] "patch namespaces shop/shop" {"body": (enforce(json!("baseline")))};
        [] "patch namespaces/status shop/shop" {"body": (enforce(json!("privileged")))};
        ["pod-security-weakened"] "patch namespaces shop/shop"
            {"body": (enforce(json!("privileged"))), "by": "system:serviceaccount:shop:ci"};
        [] "patch namespaces shop/shop"
            {"body": {"kind": "Namespace",
                      "metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
             "by": "system:serviceaccount:shop:ci"};
        ["pod-security-weakened"] "patch namespaces shop/shop"
            {"body": {"kind": "Namespace",
                      "metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
             "by": "system:serviceaccount:shop:ci", "code": 201};
        ["?pod-security-weakened"] "patch namespaces shop/shop" {"level": "Metadata"};
        [] "create namespaces shop/shop"
            {"body": (enforce(json!("privileged"))), "by": (SERVER), "from": "::1"};
    }
    shapes {
        ["cluster-admin-bound"] "create clusterrolebindings b"
            {"apiVersion": "audit.k8s.io/v1alpha1",
             "objectRef": {"resource": "clusterrolebindings", "name": "b",
                           "apiVersion": "rbac.authorization.k8s.io/v1"},
             "body": (binding("cluster-admin", "User", "bob"))};
        ["exec-into-pod"] "get pods/exec shop/web" {"kind": null, "apiVersion": null};
        [] "create pods shop/web" {"body": 17};
        [] "create pods shop/web" {"body": {"spec": [1, 2]}};
        [] "create pods shop/web" {"body": {"spec": {"containers": {"a": 1}, "volumes": "x"}}};
        [] "create roles.rbac.authorization.k8s.io shop/r" {"body": {"rules": ["*"]}};
        ["cluster-admin-bound"] "create clusterrolebindings.rbac.authorization.k8s.io b"
            {"body": {"subjects": null, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}}};
        [] "get pods/exec shop/web" {"objectRef": "pods", "code": 101};
        [] "delete namespaces shop/shop" {"objectRef": {}};
        ["secret-read"] "get secrets käse/✓" {"by": "jörg"};
        ["privileged-pod"] "patch deployments.apps shop/web"
            {"body": (add("", template(privileged())))};
    }
}

fn with_rules(selection: &str, rules: &str) -> Result<Detector, SelectionError> {
    let file = Detections::parse("rules", rules.as_bytes()).unwrap();
    let selection = Selection::parse(selection);
    Detector::new(&selection, &file, DetectorSettings::default())
}

/// Ids that fire, in the order of labels.
fn fired(detector: &Detector, request: &str, with: Value) -> Vec<String> {
    evaluate(detector, &event(request, with)).0
}

#[test]
fn labels_come_by_severity_and_then_by_table() {
    let detector = all();
    let shell = json!({"code": 101, "query": "command=/etc/shadow"});
    let ids = fired(&detector, "get pods/exec shop/web", shell.clone());
    assert_eq!(ids, ["exec-reads-credentials", "exec-into-pod"]);
    let detector = with_rules(
        "on",
        "{detections: [{id: exec-into-pod, severity: critical}]}",
    );
    let ids = fired(&detector.unwrap(), "get pods/exec shop/web", shell);
    assert_eq!(ids, ["exec-into-pod", "exec-reads-credentials"]);
}

#[test]
fn only_what_is_selected_fires() {
    let fires = |selection: &str, id: &str| {
        let detector = with_rules(selection, "{}").unwrap();
        let ids = detector.detections().iter().map(Detection::id);
        ids.into_iter().any(|enabled| enabled == id)
    };
    assert!(fires("medium", "exec-into-pod") && fires("medium", "role-bound-to-everyone"));
    assert!(!fires("medium", "secret-read") && fires("medium,secret-read", "secret-read"));
    assert!(!fires("all,-medium", "exec-into-pod") && fires("all,-medium", "secret-read"));
    assert!(!fires("secret-read", "exec-into-pod"));
    let detector = with_rules("exec-into-pod", "{}").unwrap();
    assert_eq!(detector.detections().len(), 1);
    assert!(fired(&detector, "get secrets shop/a", json!({})).is_empty());
    assert_eq!(
        fired(&detector, "get pods/exec shop/web", json!({})),
        ["exec-into-pod"]
    );
}

#[test]
fn selections_that_fit_nothing_say_so() {
    let error = |selection: &str| with_rules(selection, "{}").unwrap_err().to_string();
    assert_eq!(
        error("medium,exec-in-pod"),
        "unknown detection `exec-in-pod`; did you mean `exec-into-pod`?"
    );
    assert!(error("-frobnicate").contains("severity (low, medium, high, critical)"));
    assert!(error("secret-read,-secret-read").contains("enables no detection"));
    let own = "{detections: [{id: mine, verbs: [get]}]}";
    assert!(with_rules("mine", own).is_ok());
}

#[test]
fn a_severity_of_the_file_counts_for_the_selection() {
    let rules = "{detections: [{id: secret-read, severity: high}]}";
    let detector = with_rules("high", rules).unwrap();
    assert_eq!(
        fired(&detector, "get secrets shop/a", json!({})),
        ["secret-read"]
    );
}

const TILL: &str = r#"
kind: Detections
detections:
- id: till-exec
  severity: critical
  technique: T1609
  verbs: ["create", "get"]
  resources: [{group: "", resources: ["pods/exec"]}]
  namespaces: ["till"]
  except: [{users: ["system:serviceaccount:till:backup"]}]
- id: till-refused
  namespaces: ["till"]
  results: ["denied"]
- id: till-broken
  namespaces: ["till"]
  results: ["failed"]
- id: till-all
  severity: low
  namespaces: ["till"]
  results: ["any"]
- id: metrics
  nonResourceURLs: ["/metrics*"]
"#;

#[test]
fn own_detections_match_as_rules_of_a_policy_do() {
    let detector = with_rules("on,-exec-into-pod,-access-denied", TILL).unwrap();
    let backup = "system:serviceaccount:till:backup";
    for (request, with, want) in [
        (
            "get pods/exec till/a",
            json!({"code": 101}),
            vec!["till-exec", "till-all"],
        ),
        ("get pods/exec shop/a", json!({"code": 101}), vec![]),
        ("get pods/log till/a", json!({}), vec!["till-all"]),
        (
            "get pods/exec till/a",
            json!({"by": backup}),
            vec!["till-all"],
        ),
        (
            "get pods/exec till/a",
            json!({"by": backup, "as": "bob"}),
            vec!["till-exec", "till-all"],
        ),
        (
            "create things.mine till/a",
            json!({"query": "dryRun=All"}),
            vec![],
        ),
        (
            "get things.mine till/a",
            json!({"stage": "RequestReceived"}),
            vec![],
        ),
        (
            "get things.mine till/a",
            json!({"code": 403, "decision": "forbid"}),
            vec!["till-refused", "till-broken", "till-all"],
        ),
        (
            "get things.mine till/a",
            json!({"code": 403}),
            vec!["till-broken", "till-all"],
        ),
        (
            "get things.mine till/a",
            json!({"code": 500}),
            vec!["till-broken", "till-all"],
        ),
        (
            "get things.mine till/a",
            json!({"responseStatus": null}),
            vec!["till-all"],
        ),
        ("get /metrics/x", json!({}), vec!["metrics"]),
        ("get /healthz", json!({}), vec![]),
        // As logged, where a policy sees the name of the URL: none.
        (
            "create things.mine till/a",
            json!({"requestURI": "/apis/mine/v1/things"}),
            vec!["till-all"],
        ),
    ] {
        assert_eq!(
            fired(&detector, request, with.clone()),
            want,
            "{request} {with}"
        );
    }
    let own = detector
        .detections()
        .iter()
        .find(|detection| detection.id() == "till-exec");
    let own = own.unwrap();
    assert_eq!(
        (own.severity(), own.technique()),
        (Severity::Critical, "T1609")
    );
}

#[test]
fn exceptions_and_ignored_requests() {
    let rules = r#"
ignore:
- userGroups: ["system:serviceaccounts:flux-system"]
- namespaces: ["lab"]
detections:
- id: secret-read
  except: [{namespaces: ["demo"], users: ["alice"]}, {verbs: ["watch"]}]
"#;
    let detector = with_rules("secret-read,secrets-enumerated", rules).unwrap();
    let flux = json!({"username": "system:serviceaccount:flux-system:helm",
                      "groups": ["system:serviceaccounts:flux-system"]});
    for (request, with, want) in [
        ("get secrets shop/a", json!({}), &["secret-read"][..]),
        ("get secrets demo/a", json!({}), &[]),
        ("get secrets demo/a", json!({"by": "bob"}), &["secret-read"]),
        ("get secrets demo/a", json!({"as": "bob"}), &["secret-read"]),
        ("watch secrets shop/", json!({}), &[]),
        ("get secrets lab/a", json!({}), &[]),
        ("get secrets lab/a", json!({"as": "bob"}), &[]),
        ("list secrets", json!({"user": flux}), &[]),
        (
            "list secrets",
            json!({"user": flux, "as": "bob"}),
            &["secrets-enumerated", "secret-read"],
        ),
    ] {
        assert_eq!(
            fired(&detector, request, with.clone()),
            want,
            "{request} {with}"
        );
    }
}

#[test]
fn ignored_actors_have_no_labels_nor_counts() {
    let settings = DetectorSettings {
        ignored: IgnoredActors {
            users: vec!["alice".to_owned()],
            groups: vec!["robots".to_owned()],
        },
        ..DetectorSettings::default()
    };
    let detector = Detector::new(&Selection::all(), &Detections::default(), settings).unwrap();
    let found = |with: Value| {
        let (hits, undecided) = evaluate(&detector, &event("create pods kube-system/a", with));
        !(hits.is_empty() && undecided.is_empty())
    };
    assert!(!found(json!({})) && !found(json!({"level": "Metadata"})));
    assert!(found(json!({"by": "bob"})) && found(json!({"as": "bob"})));
    assert!(!found(
        json!({"user": {"username": "x", "groups": ["a", "robots"]}})
    ));
}

#[test]
fn long_running_requests_may_count_when_they_end() {
    let settings = DetectorSettings {
        long_running: LongRunning::Complete,
        ..DetectorSettings::default()
    };
    let detector = Detector::new(&Selection::all(), &Detections::default(), settings).unwrap();
    for (request, stage, code, want) in [
        (
            "get pods/exec shop/web",
            "ResponseComplete",
            101,
            &["exec-into-pod"][..],
        ),
        ("get pods/exec shop/web", "ResponseStarted", 101, &[]),
        (
            "get secrets shop/a",
            "ResponseComplete",
            200,
            &["secret-read"],
        ),
    ] {
        let with = json!({"stage": stage, "code": code});
        assert_eq!(fired(&detector, request, with), want, "{request} {stage}");
    }
    let failed = json!({"stage": "ResponseStarted", "code": 401, "by": ""});
    assert_eq!(
        fired(&detector, "get pods/exec shop/web", failed),
        ["authentication-failed"]
    );
}

/// Detections at work in a pipeline with a policy that drops all but configmaps.
struct Run {
    pipeline: Pipeline,
    form: LineForm,
}

impl Run {
    fn new(settings: Settings, detect: DetectSettings, form: LineForm) -> Run {
        let policy = br#"{rules: [{level: Request, resources: [{resources: [configmaps]}]}, {level: None}]}"#;
        let policy = Policy::parse("test", policy, Syntax::Inline)
            .unwrap()
            .policy;
        let ruleset = Arc::new(Ruleset::compile(&policy));
        let mut pipeline = Pipeline::new(settings, Some(ruleset), || [0; 16]);
        pipeline.set_detect(Arc::new(all()), detect);
        Run { pipeline, form }
    }

    fn keeping(keep: Severity) -> Run {
        let settings = DetectSettings {
            keep: Some(keep),
            ..DetectSettings::default()
        };
        Run::new(Settings::default(), settings, LineForm::Record)
    }

    /// The records that come of a line.
    fn line(&mut self, line: &str) -> Vec<String> {
        let (mut chunk, mut sink) = (Vec::new(), LineSink::new(self.form));
        write_line_record(line.as_bytes(), &mut chunk);
        self.pipeline.chunk(b"", &chunk, &mut sink).unwrap();
        let lines = String::from_utf8(sink.lines).unwrap();
        lines.lines().map(str::to_owned).collect()
    }

    fn stats(&self) -> (u64, u64, u64) {
        let stats = self.pipeline.stats();
        (stats.kept(), stats.dropped, stats.kept_by_detection)
    }

    fn count(&self, id: &str) -> (u64, u64) {
        let counters = &self.pipeline.stats().detections;
        let counter = counters.iter().find(|counter| counter.id == id).unwrap();
        (counter.hits, counter.undecided)
    }
}

/// A change of a configmap that is kept, with a label.
fn coredns() -> String {
    event(
        "patch configmaps kube-system/coredns",
        json!({"level": "Request", "body": {}}),
    )
}

#[test]
fn labels_stand_beside_the_text() {
    let (line, text) = (coredns(), serde_json::to_string(&coredns()).unwrap());
    let mut run = Run::new(
        Settings::default(),
        DetectSettings::default(),
        LineForm::Record,
    );
    assert_eq!(
        run.line(&line),
        [format!(
            r#"{{"log":{text},"kube_audit_detections":["critical-configmap-changed"],"kube_audit_severity":"high"}}"#
        )]
    );
    let plain = event("get configmaps shop/a", json!({"level": "Request"}));
    let text = serde_json::to_string(&plain).unwrap();
    assert_eq!(run.line(&plain), [format!(r#"{{"log":{text}}}"#)]);
    assert_eq!(run.line("no event"), [r#"{"log":"no event"}"#]);
    assert_eq!(run.count("critical-configmap-changed"), (1, 0));
}

#[test]
fn labels_are_members_of_a_map() {
    let settings = Settings {
        output_shape: OutputShape::Map,
        ..Settings::default()
    };
    let detect = DetectSettings {
        format: LabelFormat {
            ids_key: b"ids".to_vec(),
            severity_key: b"verb".to_vec(),
            shape: LabelShape::Text,
        },
        keep: None,
    };
    let mut run = Run::new(settings, detect, LineForm::Record);
    let lines = run.line(&coredns());
    let record: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(record["ids"], "critical-configmap-changed");
    // The event's own member stays.
    assert_eq!(record["verb"], "patch");
    assert_eq!(lines.len(), 1);
}

#[test]
fn each_event_of_a_list_has_its_own_labels() {
    let plain = event("get configmaps shop/a", json!({}));
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{},{plain},{}]}}"#,
        coredns(),
        coredns()
    );
    let mut run = Run::new(
        Settings::default(),
        DetectSettings::default(),
        LineForm::Record,
    );
    let labelled = run.line(&list).into_iter();
    let labelled: Vec<bool> = labelled
        .map(|line| line.contains("kube_audit_severity"))
        .collect();
    assert_eq!(labelled, [true, false, true]);
}

#[test]
fn dropped_events_are_counted() {
    let mut run = Run::new(
        Settings::default(),
        DetectSettings::default(),
        LineForm::Record,
    );
    let shell = event("get pods/exec shop/web", json!({"code": 101}));
    assert!(run.line(&shell).is_empty());
    assert!(
        run.line(&event("create pods shop/web", json!({"level": "Metadata"})))
            .is_empty()
    );
    assert_eq!(run.count("exec-into-pod"), (1, 0));
    assert_eq!(run.count("privileged-pod"), (0, 1));
    assert_eq!(run.stats(), (0, 2, 0));
}

#[test]
fn a_detection_keeps_what_the_policy_drops() {
    let mut run = Run::keeping(Severity::High);
    let pod = event("create pods shop/web", json!({"body": (pod(privileged()))}));
    let lines = run.line(&pod);
    let record: Value = serde_json::from_str(&lines[0]).unwrap();
    let kept: Value = serde_json::from_str(record["log"].as_str().unwrap()).unwrap();
    assert_eq!(kept["level"], "Metadata");
    assert!(kept.get("requestObject").is_none());
    assert_eq!(record["kube_audit_detections"], json!(["privileged-pod"]));
    // Not severe enough.
    assert!(
        run.line(&event("get pods/exec shop/web", json!({"code": 101})))
            .is_empty()
    );
    assert_eq!(run.stats(), (1, 1, 1));
    // A body that the policy leaves is none of the detection's business.
    let lines = run.line(&coredns());
    assert!(lines[0].contains("requestObject"));
    assert_eq!(run.stats(), (2, 1, 1));
}

#[test]
fn what_is_excluded_is_not_kept() {
    struct Any;
    impl Pattern for Any {
        fn is_in(&self, _: &[u8]) -> bool {
            true
        }
    }
    let mut run = Run::keeping(Severity::Low);
    run.pipeline.set_conditions(vec![Condition {
        effect: Effect::Exclude,
        place: crate::stage::Place::Anywhere,
        pattern: Box::new(Any),
    }]);
    assert!(
        run.line(&event("get pods/exec shop/web", json!({"code": 101})))
            .is_empty()
    );
    assert_eq!(run.stats(), (0, 0, 0));
    assert_eq!(run.count("exec-into-pod"), (1, 0));
}

#[test]
fn other_detections_leave_the_counters() {
    let mut run = Run::keeping(Severity::Low);
    let shell = event("get pods/exec shop/web", json!({"code": 101}));
    run.line(&shell);
    let rules = "{detections: [{id: mine, severity: critical, verbs: [get]}]}";
    run.pipeline
        .set_detector(Arc::new(with_rules("on", rules).unwrap()));
    let lines = run.line(&shell);
    assert!(
        lines[0].contains(r#""kube_audit_detections":["mine","exec-into-pod"]"#),
        "{lines:?}"
    );
    assert!(
        lines[0].contains(r#""kube_audit_severity":"critical""#),
        "{lines:?}"
    );
    assert_eq!(run.count("exec-into-pod"), (2, 0));
    assert_eq!(run.pipeline.stats().detections.len(), 40);
}

#[test]
fn explanations_name_the_condition_that_failed() {
    let rules = "{detections: [{id: mine, verbs: [get], namespaces: [shop], resources: [{resources: [secrets]}]}]}";
    let detector = with_rules("on", rules).unwrap();
    let explain = |request: &str, with: Value| {
        let text = event(request, with);
        let doc = Json(text.as_bytes());
        let (mut view, mut scratch) = (MapView::default(), Scratch::default());
        view.read(doc, 0, &mut scratch).unwrap();
        let explanations = detector.explain(doc.into(), view.item_of_list(None), &scratch)?;
        let lines = explanations
            .into_iter()
            .map(|explanation| format!("{}: {:?}", explanation.id, explanation.verdict));
        Some(lines.collect::<Vec<_>>())
    };
    assert_eq!(
        explain("get secrets shop/a", json!({"stage": "RequestReceived"})),
        None
    );
    let lines = explain(
        "list secrets shop/",
        json!({"by": "system:serviceaccount:a:b"}),
    )
    .unwrap();
    assert_eq!(
        lines,
        [
            "secrets-enumerated: Near(\"namespace `shop` and name none; it needs neither a namespace nor a name\")",
            "serviceaccount-token-long-lived: Near(\"verb `list` and code 200; it needs an object created, by `create` or by server-side apply\")",
            "secret-access-denied: Near(\"code 200; it needs a code of 400 or above\")",
            "bootstrap-token-changed: Near(\"verb `list`; it needs verb create, update or patch\")",
            "mine: Near(\"its `verbs` does not match\")",
            "secret-read: Near(\"user `system:serviceaccount:a:b`; it needs a person, or somebody who impersonates\")",
        ]
    );
    let lines = explain("create pods shop/web", json!({"level": "Metadata"})).unwrap();
    assert!(
        lines.contains(&"privileged-pod: Undecided(Request)".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn detections_are_described() {
    let described = |id: &str| {
        let builtin = BUILTINS.iter().find(|builtin| builtin.id == id).unwrap();
        builtin.describe().collect::<Vec<_>>()
    };
    assert_eq!(
        described("exec-into-pod"),
        ["pods/exec; verb get or create; a code from 100 to 399"]
    );
    assert_eq!(described("access-denied").len(), 2);
}

#[test]
fn every_condition_has_words() {
    for builtin in BUILTINS {
        assert!(!builtin.title().is_empty() && builtin.technique.starts_with('T'));
        for condition in builtin.cases.iter().flat_map(|case| case.conditions) {
            assert!(condition.words().len() > 5, "{} {condition:?}", builtin.id);
        }
    }
}

#[test]
fn ids_are_distinct_and_levels_fit_the_conditions() {
    let mut ids: Vec<&str> = BUILTINS.iter().map(|builtin| builtin.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    let cases = BUILTINS.iter().flat_map(|builtin| builtin.cases);
    assert!(cases.count() <= CaseSet::BITS as usize);
    for builtin in BUILTINS {
        let mut conditions = builtin.cases.iter().flat_map(|case| case.conditions);
        let needs_body = conditions.any(|condition| condition.needs_body());
        assert_eq!(
            needs_body,
            builtin.level == Level::Request,
            "{}",
            builtin.id
        );
    }
}
