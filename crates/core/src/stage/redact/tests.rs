//! The redaction of whole events, in both forms.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::doc::convert;
use crate::doc::edit::Edits;
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::event::kube::{MapView, Recognised, Scratch};
use crate::stage::detect::Labels;
use crate::stage::note;
use crate::stats::Stats;

mod leaks;

use leaks::leaks;

/// Redacts the event, or each of a list of them, in a document.
fn redact<'a, D: Doc<'a>>(redaction: &mut Redaction, doc: D) -> Vec<u8> {
    let (mut view, mut scratch) = (MapView::default(), Scratch::default());
    view.read(doc, 0, &mut scratch).unwrap();
    let (mut edits, mut stats) = (Edits::default(), Stats::default());
    let mut labels = Labels::default();
    let mut apply = |event: Event<'_, 'a>, scratch: &Scratch| {
        let mut job = Job {
            doc,
            event,
            scratch,
            record: None,
            decision: None,
            edits: &mut edits,
            stats: &mut stats,
            labels: &mut labels,
        };
        let mut notes = Vec::new();
        redaction.apply(&mut job, &mut notes).unwrap();
        if !notes.is_empty() {
            note::write(&mut job, &notes).unwrap();
        }
    };
    match view.recognise() {
        Recognised::EventList(items) => {
            let mut items = doc.open_list(items).unwrap();
            while let Some(at) = doc.next_item(&mut items).unwrap() {
                let mut item = MapView::default();
                item.read(doc, at, &mut scratch).unwrap();
                items.next = item.end;
                apply(item.item_of_list(view.api_version()), &scratch);
            }
        }
        Recognised::Event(event) => apply(event, &scratch),
        Recognised::Other => panic!("not an event"),
    }
    let mut out = Vec::new();
    let plan = edits.settle(doc);
    plan.apply(doc.bytes(), 0..doc.bytes().len(), &mut out);
    out
}

fn redact_line(settings: &Settings, line: &str) -> String {
    let Some(mut redaction) = Redaction::new(settings.clone()) else {
        return line.to_owned();
    };
    let out = redact(&mut redaction, Json(line.as_bytes()));
    String::from_utf8(out).unwrap()
}

/// The same as msgpack, written as JSON again.
fn redact_msgpack(settings: &Settings, line: &str) -> String {
    let mut msgpack = Vec::new();
    convert::json_to_msgpack(Json(line.as_bytes()), 0, &mut msgpack).unwrap();
    let Some(mut redaction) = Redaction::new(settings.clone()) else {
        return line.to_owned();
    };
    let out = redact(&mut redaction, Msgpack(&msgpack));
    let mut json = Vec::new();
    convert::msgpack_to_json(Msgpack(&out), 0, &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// An event about a resource `group/resource/subresource`.
fn event(verb: &str, resource: &str, more: Value) -> Value {
    let mut parts = resource.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let reference = json!({"apiGroup": part(), "resource": part(), "subresource": part()});
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": "a", "stage": "ResponseComplete", "requestURI": "/x", "verb": verb,
        "user": {"username": "u"}, "objectRef": reference,
    });
    for (key, value) in more.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

/// The value at a pointer after the redaction, which must be the same in both forms.
fn redacted(settings: &Settings, event: &Value, pointer: &str) -> Value {
    let line = event.to_string();
    let out = redact_line(settings, &line);
    let value = parse(&out);
    assert_eq!(value, parse(&redact_msgpack(settings, &line)), "as msgpack");
    assert_eq!(redact_line(settings, &out), out, "a second time");
    let is_marked = value.pointer("/annotations/kube-audit~1redacted").is_some();
    assert_eq!(is_marked, out != line, "the annotation");
    value.pointer(pointer).cloned().unwrap_or_default()
}

#[test]
fn data_of_secrets_goes_and_its_structure_stays() {
    let settings = Settings::default();
    for (verb, resource, body, want) in [
        (
            "create",
            "/secrets",
            json!({"kind": "Secret", "apiVersion": "v1", "type": "Opaque", "metadata": {"name": "n"},
                "data": {"a": "eA==", "b": "", "c": null}, "extra": [1, true, 0, "x"]}),
            json!({"kind": "Secret", "apiVersion": "v1", "type": "Opaque", "metadata": {"name": "n"},
                "data": {"a": "REDACTED", "b": "", "c": null}, "extra": [0, true, 0, "REDACTED"]}),
        ),
        (
            "patch",
            "/secrets",
            json!({"kind": "Pod", "datta": {"x": "not-a-secret"}, "$patch": "replace"}),
            json!({"kind": "Pod", "datta": {"x": "REDACTED"}, "$patch": "replace"}),
        ),
        (
            "patch",
            "/secrets",
            json!([{"op": "add", "path": "/metadata/labels/x", "value": "v"},
                {"value": "not-a-secret", "op": "add", "path": "/data/x", "comment": "c"},
                {"op": "add", "path": "", "value": {"data": {"k": "v"}}},
                {"op": "add", "path": "/0", "value": "v"}]),
            json!([{"op": "add", "path": "/metadata/labels/x", "value": "v"},
                {"value": "REDACTED", "op": "add", "path": "/data/x", "comment": "REDACTED"},
                {"op": "add", "path": "", "value": {"data": {"k": "REDACTED"}}},
                {"op": "add", "path": "/0", "value": "REDACTED"}]),
        ),
        (
            "list",
            "/secrets",
            json!({"kind": "SecretList", "apiVersion": "v1", "items": [{"data": {"k": "v"}}, "x"]}),
            json!({"kind": "SecretList", "apiVersion": "v1", "items": [{"data": {"k": "REDACTED"}}, "REDACTED"]}),
        ),
        (
            "create",
            "/configmaps",
            json!({"kind": "ConfigMap", "apiVersion": "v1", "binaryData": {"k": "eA=="}}),
            json!({"kind": "ConfigMap", "apiVersion": "v1", "binaryData": {"k": "REDACTED"}}),
        ),
        (
            "create",
            "x.io/secrets",
            json!({"kind": "Secret", "apiVersion": "x.io/v1", "data": {"k": "v"}}),
            json!({"kind": "Secret", "apiVersion": "x.io/v1", "data": {"k": "v"}}),
        ),
        (
            "patch",
            "/secrets",
            json!({"kind": "PodList", "items": [], "data": "not-a-secret"}),
            json!({"kind": "PodList", "items": [], "data": "REDACTED"}),
        ),
    ] {
        let event = event(verb, resource, json!({"requestObject": body}));
        assert_eq!(redacted(&settings, &event, "/requestObject"), want);
    }
}

#[test]
fn values_go_by_name_and_place() {
    let settings = Settings::default();
    for (resource, body, want) in [
        (
            "/pods",
            json!({"kind": "Pod", "spec": {"containers": [{"name": "c",
                "env": [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "args": ["--token", "x", "--v=2", "-c", "a PASSWORD=x"],
                "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "x"}, {"name": "A", "value": "y"}]}}}]}}),
            json!({"kind": "Pod", "spec": {"containers": [{"name": "c",
                "env": [{"name": "A", "value": "REDACTED"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                "args": ["--token", "REDACTED", "--v=2", "-c", "a PASSWORD=REDACTED"],
                "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": "REDACTED"}, {"name": "A", "value": "y"}]}}}]}}),
        ),
        (
            "x.io/things",
            json!({"spec": {"password": "x", "secretName": "s", "secretKey": "k", "kubeconfig": "/etc/kube/config",
                "token": {"value": "x", "secretKeyRef": {"name": "s"}}, "apiKeys": ["x"], "passwords": 5, "accessToken": 5}}),
            json!({"spec": {"password": "REDACTED", "secretName": "s", "secretKey": "k", "kubeconfig": "/etc/kube/config",
                "token": {"value": "REDACTED", "secretKeyRef": {"name": "s"}}, "apiKeys": ["x"], "passwords": 5, "accessToken": 0}}),
        ),
        (
            "kubermatic.k8c.io/clusters",
            json!({"spec": {"cloud": {"gcp": {"serviceAccount": "x", "region": "r"}}}}),
            json!({"spec": {"cloud": {"gcp": {"serviceAccount": "REDACTED", "region": "r"}}}}),
        ),
        (
            "argoproj.io/applications",
            json!({"spec": {"source": {"helm": {"values": "a: b\npassword: x"}}}}),
            json!({"spec": {"source": {"helm": {"values": "a: b\npassword: REDACTED"}}}}),
        ),
        (
            "/serviceaccounts/token",
            json!({"kind": "TokenRequest", "status": {"token": "x", "expirationTimestamp": "t"}, "spec": {"audiences": ["a"]}}),
            json!({"kind": "TokenRequest", "status": {"token": "REDACTED", "expirationTimestamp": "t"}, "spec": {"audiences": ["a"]}}),
        ),
        (
            "/pods",
            json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [{"name": "Name"}, {"name": "Password"}],
                "rows": [{"cells": ["n", "x"], "object": {"kind": "Secret", "apiVersion": "v1", "data": {"k": "v"}}}]}),
            json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [{"name": "Name"}, {"name": "Password"}],
                "rows": [{"cells": ["n", "REDACTED"], "object": {"kind": "Secret", "apiVersion": "v1", "data": {"k": "REDACTED"}}}]}),
        ),
        (
            "x.io/templates",
            json!({"objects": [{"kind": "Secret", "apiVersion": "v1", "stringData": {"k": "v"}}, {"kind": "Secret", "name": "n"}]}),
            json!({"objects": [{"kind": "Secret", "apiVersion": "v1", "stringData": {"k": "REDACTED"}}, {"kind": "Secret", "name": "n"}]}),
        ),
    ] {
        let event = event("create", resource, json!({"responseObject": body}));
        assert_eq!(redacted(&settings, &event, "/responseObject"), want);
    }
}

#[test]
fn patches_by_their_paths() {
    let settings = Settings::default();
    for (path, value, hidden) in [
        ("/spec/containers/0/env/3/value", json!("x"), true),
        (
            "/spec/containers/0/env/-",
            json!({"name": "A", "value": "x"}),
            true,
        ),
        (
            "/spec/containers/0/env",
            json!([{"name": "A", "value": "x"}]),
            true,
        ),
        (
            "/spec/template",
            json!({"spec": {"containers": [{"env": [{"value": "x"}]}]}}),
            true,
        ),
        ("/spec/httpHeaders/0/value", json!("x"), true),
        ("/spec/args/0", json!("hunter 2"), true),
        ("/spec/args/1", json!("hunter2"), true),
        ("/spec/args/0", json!("server"), false),
        ("/spec/args/1", json!("sh"), false),
        ("/spec/args/0", json!("--verbose"), false),
        ("/metadata/annotations/example.com~1token", json!("x"), true),
        (
            "/metadata/annotations",
            json!({"kubectl.kubernetes.io/last-applied-configuration": "{"}),
            true,
        ),
        ("/spec/pass~0word", json!("x"), false),
        ("/spec/password", json!("x"), true),
        ("/spec/password/labels", json!("x"), false),
        ("no pointer", json!("x"), false),
    ] {
        let body = json!([{"op": "replace", "path": path, "value": value}]);
        let event = event("patch", "apps/deployments", json!({"requestObject": body}));
        let found = redacted(&settings, &event, "/requestObject/0/value");
        assert_eq!(found != value, hidden, "{path}: {found}");
    }
}

#[test]
fn documents_inside_strings_go_whole_or_stay() {
    let settings = Settings::default();
    let last_applied = "kubectl.kubernetes.io/last-applied-configuration";
    let nested = |depth: usize| {
        let mut text = json!({"spec": {"password": "x"}}).to_string();
        for _ in 0..depth {
            text = json!({"metadata": {"annotations": {"a": text}}}).to_string();
        }
        text
    };
    for (key, text, hidden) in [
        (
            last_applied,
            r#"{"kind":"Pod","spec":{"containers":[{"env":[{"name":"A","value":"x"}]}]}}"#
                .to_owned(),
            true,
        ),
        (
            last_applied,
            r#"{"kind":"Service","spec":{"ports":[{"port":80}]}}"#.to_owned(),
            false,
        ),
        (last_applied, r#"{"kind":"Pod""#.to_owned(), true),
        (
            last_applied,
            r#"{"spec":{"pass\u0077ord":"x"}}"#.to_owned(),
            true,
        ),
        (
            "objectset.rio.cattle.io/applied",
            "H4sIAAAA".to_owned(),
            true,
        ),
        ("other", r#"{"spec":{"password":"x"}}"#.to_owned(), true),
        ("other", r#"{"no json"#.to_owned(), false),
        ("other", "\n [{\"password\":\"x\"}]".to_owned(), true),
        ("other", nested(1), true),
        ("other", nested(3), true),
        ("other", nested(9), true),
    ] {
        let body =
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"annotations": {key: text}}});
        let event = event("get", "/pods", json!({"responseObject": body}));
        let out = redacted(&settings, &event, "/responseObject");
        let found = &out["metadata"]["annotations"][key];
        let want = if hidden { "REDACTED" } else { &text };
        assert_eq!(found, want, "{text}");
    }
}

#[test]
fn the_event_itself() {
    let settings = Settings::default();
    let check = |resource, key: &str, value: Value, want: Value| {
        let event = event("get", resource, json!({key: value}));
        let mut found = redacted(&settings, &event, &format!("/{key}"));
        if let Some(annotations) = found.as_object_mut() {
            annotations.remove("kube-audit/redacted");
        }
        assert_eq!(found, want);
    };
    check(
        "/pods/exec",
        "requestURI",
        json!("/p/exec?command=hunter2&command=x%20y"),
        json!("/p/exec?command=hunter2&command=x%20REDACTED"),
    );
    check(
        "/pods",
        "requestURI",
        json!("/p?token=x&limit=1"),
        json!("/p?token=REDACTED&limit=1"),
    );
    check(
        "oauth.openshift.io/oauthaccesstokens",
        "requestURI",
        json!("/a/b"),
        json!("/a/b"),
    );
    check(
        "/pods",
        "userAgent",
        json!("x https://u:p@h"),
        json!("x https://u:REDACTED@h"),
    );
    check(
        "/pods",
        "user",
        json!({"username": "password", "extra": {"x/token": ["t"], "id": ["https://u:p@h"]}}),
        json!({"username": "password", "extra": {"x/token": ["REDACTED"], "id": ["https://u:REDACTED@h"]}}),
    );
    check(
        "/secrets",
        "annotations",
        json!({"policy/x": "v", "authorization.k8s.io/reason": "r"}),
        json!({"policy/x": "REDACTED", "authorization.k8s.io/reason": "r"}),
    );
    check(
        "/pods",
        "annotations",
        json!({"policy/x": "v"}),
        json!({"policy/x": "v"}),
    );
    let patch = r#"{"patch":[{"op":"add","path":"/spec/env","value":[{"name":"A","value":"x"}]}]}"#;
    check(
        "/pods",
        "annotations",
        json!({"patch.webhook.admission.k8s.io/round_0_index_0": patch}),
        json!({"patch.webhook.admission.k8s.io/round_0_index_0": "REDACTED"}),
    );
    check(
        "/pods",
        "responseStatus",
        json!({"message": "a: Invalid value: \"{x\"", "details": {"causes": [{"field": "spec.password", "message": "Invalid value: \"p\""}]}}),
        json!({"message": "a: Invalid value: \"REDACTED\"", "details": {"causes": [{"field": "spec.password", "message": "Invalid value: \"REDACTED\""}]}}),
    );
}

#[test]
fn names_that_are_tokens() {
    let reference = json!({"apiGroup": "oauth.openshift.io", "resource": "oauthaccesstokens", "name": "not-a-secret"});
    let more = json!({"requestURI": "/apis/x/not-a-secret?limit=1", "objectRef": reference});
    let event = event("get", "/", more);
    let settings = Settings::default();
    assert_eq!(
        redacted(&settings, &event, "/requestURI"),
        "/apis/x/REDACTED?limit=1"
    );
    assert_eq!(redacted(&settings, &event, "/objectRef/name"), "REDACTED");
}

#[test]
fn resources_are_known_by_path_where_there_is_no_reference() {
    let mut event = event(
        "create",
        "/",
        json!({"requestURI": "/api/v1/namespaces/n/secr%65ts/x",
        "requestObject": {"data": {"k": "v"}}}),
    );
    event.as_object_mut().unwrap().remove("objectRef");
    let settings = Settings::default();
    let data = redacted(&settings, &event, "/requestObject/data/k");
    assert_eq!(data, "REDACTED");
}

#[test]
fn bodies_that_are_too_deep_go_whole() {
    for (depth, want) in [(100, false), (200, true), (100_000, true)] {
        let body = r#"{"a":"#.repeat(depth) + r#"{"password":"x"}"# + &"}".repeat(depth);
        let line = event("create", "/pods", json!({"requestObject": "BODY"})).to_string();
        let line = line.replace("\"BODY\"", &body);
        let out = redact_line(&Settings::default(), &line);
        assert_eq!(out.contains(r#""requestObject":{}"#), want, "{depth}");
        assert_eq!(out.contains("deep=1"), want, "{depth}");
        assert!(!out.contains(r#":"x""#), "{depth}");
    }
}

#[test]
fn hostile_bodies_do_no_harm() {
    for body in [
        r#"{"data":{"a":"x"#,
        r#"{"data" "x"}"#,
        r#"{"data":{"a":"x"},"data":"x","data":["x"]}"#,
        r#"{"d\u0061ta":{"k":"x"},"kind":["x"],"apiVersion":{}}"#,
        r#"{"data":{"\ud800":"x"}}"#,
        "\"\\u00",
        "[[[\"x\"]],5,null,{\"path\":5,\"value\":\"x\"},{\"path\":\"/a\",\"path\":\"/b\",\"value\":\"x\",\"value\":\"x\"}]",
    ] {
        let line = event("patch", "/secrets", json!({"requestObject": "BODY"})).to_string();
        let line = line.replace("\"BODY\"", body);
        let (mut view, mut scratch) = (MapView::default(), Scratch::default());
        if view.read(Json(line.as_bytes()), 0, &mut scratch).is_ok() {
            let out = redact_line(&Settings::default(), &line);
            assert!(!out.contains("\"x\""), "{out}");
        }
    }
    let pairs = r#""path":"/a","value":"x","#.repeat(100);
    let line = event("patch", "/pods", json!({"requestObject": "BODY"})).to_string();
    let line = line.replace("\"BODY\"", &format!("[{{{pairs}\"op\":\"add\"}}]"));
    assert!(!redact_line(&Settings::default(), &line).contains("\"x\""));
}

#[test]
fn keyed_marks_agree_wherever_a_value_stands() {
    let mut settings = Settings::default();
    settings.set_key(b"0123456789abcdef").unwrap();
    let body = json!({"kind": "Secret", "apiVersion": "v1", "stringData": {"a": "x\"y"}, "data": {"a": "eCJ5"}});
    let event = event("create", "/secrets", json!({"requestObject": body}));
    let out = redacted(&settings, &event, "/requestObject");
    assert_eq!(out["data"]["a"], out["stringData"]["a"]);
    assert_eq!(out["data"]["a"].as_str().unwrap().len(), 24);
}

#[test]
fn places_of_the_user() {
    let mut settings = Settings::default();
    for (place, keep) in [
        ("things.x.io /spec/users/*/code", false),
        ("things.x.io /spec/password", true),
        ("event /sourceIPs/*", false),
        ("* /spec/**/deep", false),
    ] {
        let place = Place::parse(place).unwrap();
        let places = if keep {
            &mut settings.keeps
        } else {
            &mut settings.paths
        };
        places.push(place);
    }
    let body =
        json!({"spec": {"users": [{"code": "x"}], "password": "x", "a": {"b": {"deep": ["x"]}}}});
    let mut event = event(
        "create",
        "x.io/things",
        json!({"requestObject": body, "sourceIPs": ["1.2.3.4"]}),
    );
    let out = redacted(&settings, &event, "");
    assert_eq!(out["sourceIPs"][0], "REDACTED");
    let want = json!({"spec": {"users": [{"code": "REDACTED"}], "password": "x", "a": {"b": {"deep": ["REDACTED"]}}}});
    assert_eq!(out["requestObject"], want);
    event["requestObject"] = json!([{"op": "add", "path": "/spec/users/-", "value": {"code": "x", "b": "y"}},
        {"op": "add", "path": "/spec/users/1/code/z", "value": "x"}, {"op": "add", "path": "/spec/password", "value": "x"}]);
    let out = redacted(&settings, &event, "/requestObject");
    assert_eq!(out[0]["value"], json!({"code": "REDACTED", "b": "y"}));
    assert_eq!(out[1]["value"], "REDACTED");
    assert_eq!(out[2]["value"], "x");
    event["requestObject"] =
        json!({"kind": "ThingList", "items": [{"spec": {"users": [{"code": "x"}]}}]});
    let out = redacted(
        &settings,
        &event,
        "/requestObject/items/0/spec/users/0/code",
    );
    assert_eq!(out, "REDACTED");
}

#[test]
fn nothing_is_done_when_all_is_off() {
    let settings = Settings::parse("off").unwrap();
    let body = json!({"kind": "Secret", "data": {"a": "x"}, "spec": {"env": [{"value": "x"}], "args": ["--token=x"]}});
    let event = event(
        "create",
        "/secrets",
        json!({"requestObject": body, "requestURI": "/x?token=https://u:p@h"}),
    );
    assert_eq!(redacted(&settings, &event, ""), event);
}

/// The vectors of a folder outside of the repository, if there is one.
fn vectors(name: &str) -> Vec<Value> {
    let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH") else {
        eprintln!("SKIPPED: KUBE_AUDIT_GROUND_TRUTH is not set, {name} is not checked");
        return Vec::new();
    };
    let path = std::path::Path::new(&truth).join("vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    // One of them is deeper than serde_json reads.
    let vectors = text.lines().map(serde_json::from_str);
    vectors.filter_map(Result::ok).collect()
}

fn texts(vector: &Value, key: &str) -> Vec<String> {
    let texts = vector[key].as_array().into_iter().flatten();
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_recorded_events() {
    let mut keyed = Settings::default();
    keyed.set_key(b"0123456789abcdef").unwrap();
    for vector in vectors("redaction.jsonl") {
        let (line, why) = (vector["line"].as_str().unwrap(), &vector["why"]);
        for settings in [&Settings::default(), &keyed] {
            let out = redact_line(settings, line);
            assert_eq!(redact_line(settings, &out), out, "{why}: a second time");
            let unchanged = vector["unchanged"] == true;
            assert_eq!(out == line, unchanged, "{why}: {out}");
            let leaks = leaks(&out, &texts(&vector, "must_not_contain"));
            assert!(leaks.is_empty(), "{why}: {leaks:?} in {out}");
            let (before, after) = (parse(line), parse(&out));
            for pointer in texts(&vector, "must_keep") {
                assert_eq!(after.pointer(&pointer), before.pointer(&pointer), "{why}");
            }
            let is_repeated = why.as_str().is_some_and(|why| why.contains("twice"));
            if !is_repeated {
                assert_eq!(
                    parse(&redact_msgpack(settings, line)),
                    after,
                    "{why}: as msgpack"
                );
            }
        }
    }
}

#[test]
fn the_recorded_options() {
    for vector in vectors("redaction-options.jsonl") {
        let options = vector["options"].as_object().unwrap();
        if options.contains_key("Redact_Unreadable") {
            continue;
        }
        let settings = settings_of(options);
        if let Some(shown) = vector["error_has"].as_str() {
            let error = settings.unwrap_err();
            let error = format!("{} {error}", options.keys().next().unwrap());
            assert!(error.contains(shown), "{error}");
            continue;
        }
        let (settings, line) = (settings.unwrap(), vector["line"].as_str().unwrap());
        let out = redact_line(&settings, line);
        assert_eq!(
            out == line,
            vector["unchanged"] == true,
            "{}",
            vector["why"]
        );
        let leaks = leaks(&out, &texts(&vector, "must_not_contain"));
        assert!(leaks.is_empty(), "{}: {leaks:?} in {out}", vector["why"]);
        for text in texts(&vector, "must_contain") {
            assert!(out.contains(&text), "{}: {out}", vector["why"]);
        }
        for pointer in texts(&vector, "must_keep") {
            let (before, after) = (parse(line), parse(&out));
            assert_eq!(after.pointer(&pointer), before.pointer(&pointer));
        }
    }
}

fn settings_of(options: &serde_json::Map<String, Value>) -> Result<Settings, SettingsError> {
    let text = |key: &str| options.get(key).and_then(Value::as_str);
    let mut settings = Settings::parse(text("Redact").unwrap_or("on"))?;
    let places = |key: &str| -> Result<Vec<Place>, SettingsError> {
        let several = format!("{key}s");
        let several = Place::parse_list(text(&several).unwrap_or_default());
        let mut places = several.collect::<Result<Vec<Place>, SettingsError>>()?;
        for line in options
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            places.push(Place::parse(line.as_str().unwrap())?);
        }
        if let Some(line) = text(key) {
            places.push(Place::parse(line)?);
        }
        Ok(places)
    };
    settings.paths = places("Redact_Path")?;
    settings.keeps = places("Redact_Keep")?;
    settings.add_names(text("Redact_Names").unwrap_or_default())?;
    if let Some(key) = text("Redact_Key") {
        settings.set_key(key.as_bytes())?;
    }
    Ok(settings)
}

/// Any JSON value with a secret at some places of it.
fn bodies() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        any::<i32>().prop_map(Value::from),
        "[a-zA-Z0-9 /:._-]{0,12}".prop_map(Value::from),
        Just(json!("PLANTED")),
        Just(json!("PLANTED")),
    ];
    let key = prop_oneof![
        "[a-zA-Z0-9./_-]{1,12}",
        Just("data".to_owned()),
        Just("stringData".to_owned()),
        Just("spec".to_owned()),
        Just("items".to_owned()),
        Just("value".to_owned()),
        Just("status".to_owned()),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A text, written in one of several ways.
fn coded(text: &str, coding: usize) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    match coding {
        0 => STANDARD.encode(text),
        1 => URL_SAFE_NO_PAD.encode(format!("x{text}")),
        2 => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        3 => text.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        4 => json!({"password": text}).to_string(),
        5 => format!("line: {text}\n\t\"{text}\""),
        _ => text.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A value that is planted anywhere in an object that is sensitive as a whole, or
    /// under a sensitive name in any other, is nowhere in the event afterwards.
    #[test]
    fn planted_values_are_gone(
        body in bodies(),
        secret in "[a-zA-Z0-9]{12,20}",
        coding in 0usize..8,
        place in 0usize..11,
        escaped in any::<bool>(),
    ) {
        let planted = coded(&secret, coding);
        let text = body.to_string().replace("PLANTED", &planted.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t"));
        let body = parse(&text);
        let (verb, resource, key, value) = match place {
            0 => ("create", "/secrets", "requestObject", json!({"kind": "Secret", "apiVersion": "v1", "data": body})),
            1 => ("patch", "/secrets", "requestObject", json!({"stringData": body, "x": &body})),
            2 => ("patch", "/secrets", "requestObject", json!([{"op": "add", "path": "/data/x", "value": body}])),
            3 => ("get", "/configmaps", "responseObject", json!({"kind": "ConfigMap", "apiVersion": "v1", "data": body})),
            4 => ("list", "/secrets", "responseObject", json!({"kind": "List", "items": [{"data": body}]})),
            5 => ("create", "/pods", "requestObject", json!({"spec": {"a": [{"env": [{"name": "A", "value": planted}]}]}})),
            6 => ("create", "x.io/things", "requestObject", json!({"spec": {"adminPassword": planted}})),
            7 => ("get", "/pods", "responseObject", json!({"kind": "Pod", "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": json!({"kind": "Secret", "data": body}).to_string()}}})),
            8 => ("create", "/serviceaccounts/token", "responseObject", json!({"kind": "TokenRequest", "status": {"token": planted}})),
            9 => ("update", "/secrets", "responseStatus", json!({"message": format!("data: Invalid value: {planted:?}: no")})),
            _ => ("create", "/pods/exec", "requestURI", json!(format!("/exec?command=sh&command=a+{}", planted.replace('%', "%25").replace([' ', '\n', '\t', '"', '{', '}'], "+")))),
        };
        let line = event(verb, resource, json!({key: value})).to_string();
        let line = if escaped { line.replace("data", r"d\u0061ta").replace("env", r"\u0065nv") } else { line };
        for settings in [Settings::default(), {
            let mut settings = Settings::default();
            settings.set_key(b"0123456789abcdef").unwrap();
            settings
        }] {
            let out = redact_line(&settings, &line);
            let secrets = [secret.clone()];
            prop_assert!(leaks(&out, &secrets).is_empty(), "{}", out);
            prop_assert_eq!(&redact_line(&settings, &out), &out);
            let msgpack = redact_msgpack(&settings, &line);
            prop_assert!(leaks(&msgpack, &secrets).is_empty(), "{}", msgpack);
        }
    }

    /// Any text is read without panic and leaves a document that can be read.
    #[test]
    fn any_body_is_survived(body in bodies(), resource in 0usize..6, verb in 0usize..3) {
        let resource = ["/secrets", "/configmaps", "/pods", "x.io/things", "argoproj.io/applications", "/serviceaccounts/token"][resource];
        let verb = ["create", "patch", "get"][verb];
        let line = event(verb, resource, json!({"requestObject": body, "responseObject": &body,
            "annotations": &body, "user": &body, "responseStatus": &body, "userAgent": &body})).to_string();
        let out = redact_line(&Settings::default(), &line);
        parse(&out);
        prop_assert_eq!(redact_line(&Settings::default(), &out), out.clone());
        prop_assert_eq!(parse(&redact_msgpack(&Settings::default(), &line)), parse(&out));
    }
}
