//! The shrink through the whole pipeline: what goes in which order, and what is said of it.

use serde_json::{Value, json};

use crate::chunk::{ChunkSink, Record};
use crate::doc::convert::{json_to_msgpack, msgpack_to_json};
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::pipeline::{Pipeline, Settings};
use crate::stage::redact;
use crate::stage::shrink::{self, Bodies};

const ATTRIBUTES: [&str; 10] = [
    "kind",
    "apiVersion",
    "level",
    "auditID",
    "stage",
    "requestURI",
    "verb",
    "user",
    "sourceIPs",
    "objectRef",
];

fn event() -> Value {
    let managed = json!([{"manager": "m".repeat(2000)}]);
    let object = |name: &str| {
        json!({
            "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": name, "managedFields": managed},
            "spec": {"text": "x".repeat(3000)},
        })
    };
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": "a-1", "stage": "ResponseComplete", "requestURI": "/apis/e/v1/things/t?x=y",
        "verb": "update", "user": {"username": "u", "groups": ["g"], "extra": {"k": ["e".repeat(1500)]}},
        "sourceIPs": ["::1"], "userAgent": "kubectl",
        "objectRef": {"resource": "things", "apiGroup": "e", "apiVersion": "v1"},
        "responseStatus": {"code": 200, "message": "é\"".repeat(1200)},
        "requestObject": object("request"), "responseObject": object("response"),
    })
}

fn settings(limit: usize) -> shrink::Settings {
    shrink::Settings {
        limit: Some(limit),
        ..shrink::Settings::default()
    }
}

fn pipeline(settings: shrink::Settings) -> Pipeline {
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    pipeline.set_shrink(settings);
    pipeline
}

/// The event as a pipeline leaves it, as text under `log` or as the record, and its length.
fn run(pipeline: &mut Pipeline, event: &Value, is_text: bool) -> (Value, usize) {
    let record = match is_text {
        true => json!({"log": event.to_string()}),
        false => event.clone(),
    };
    let mut chunk = b"\x92\x92\xd7\x00\0\0\0\x05\0\0\0\0\x80".to_vec();
    json_to_msgpack(Json(record.to_string().as_bytes()), 0, &mut chunk).unwrap();
    let mut sink = ChunkSink::new(&chunk, chunk.len());
    pipeline.chunk(b"tag", &chunk, &mut sink).unwrap();
    let out = sink.finish().unwrap_or_else(|| chunk.clone());
    let body = Record::read(&out, 0).unwrap().body;
    let mut text = Vec::new();
    msgpack_to_json(Msgpack(&out), body, &mut text).unwrap();
    if !is_text {
        let keys = String::from_utf8(text.clone()).unwrap();
        assert!(keys.matches("\"annotations\":").count() <= 1, "{keys}");
        return (serde_json::from_slice(&text).unwrap(), text.len());
    }
    let record: Value = serde_json::from_slice(&text).unwrap();
    let text = record["log"].as_str().unwrap();
    assert!(text.matches("\"annotations\":").count() <= 1, "{text}");
    (serde_json::from_str(text).unwrap(), text.len())
}

#[test]
fn what_matters_least_goes_first() {
    let event = event();
    let length = event.to_string().len();
    for is_text in [true, false] {
        for (limit, losses) in [
            (length, &[][..]),
            (length - 1, &["managedFields"]),
            (length - 4200, &["managedFields", "responseObject"]),
            (
                length - 7500,
                &["managedFields", "responseObject", "requestObject"],
            ),
            (
                5000,
                &[
                    "managedFields",
                    "responseObject",
                    "requestObject",
                    "strings",
                ],
            ),
        ] {
            let mut pipeline = pipeline(settings(limit));
            let (out, out_length) = run(&mut pipeline, &event, is_text);
            let shown = format!("{is_text} {limit} {out}");
            assert!(out_length <= limit, "{out_length} {shown}");
            for key in ATTRIBUTES.iter().filter(|key| **key != "user") {
                assert_eq!(out[key], event[key], "{shown}");
            }
            assert_eq!(out["user"]["username"], "u");
            assert_eq!(out["responseStatus"]["code"], 200);
            let said = out["annotations"]["kube-audit/shrunk"].as_str();
            let names: Vec<&str> = said
                .iter()
                .flat_map(|said| said.split(','))
                .map(|part| part.split_once('=').unwrap().0)
                .collect();
            assert_eq!(names, losses, "{shown}");
            let truncated = &out["annotations"]["audit.k8s.io/truncated"];
            assert_eq!(truncated == "true", !losses.is_empty(), "{shown}");
            for body in ["requestObject", "responseObject"] {
                assert_eq!(out.get(body).is_none(), losses.contains(&body), "{shown}");
                let managed = out[body].pointer("/metadata/managedFields");
                assert!(managed.is_none() || losses.is_empty(), "{shown}");
            }
            let stats = pipeline.stats();
            let counted = (stats.shrunk == 1, stats.oversize);
            assert_eq!(counted, (!losses.is_empty(), 0), "{shown}");
            assert_eq!(run(&mut pipeline, &out, is_text).0, out, "a second time");
        }
    }
}

#[test]
fn attributes_never_go() {
    let mut event = event();
    event["requestURI"] = json!("/apis/".to_owned() + &"u".repeat(5000));
    event["user"]["groups"] = json!(["g".repeat(5000)]);
    let mut pipeline = pipeline(settings(1024));
    let (out, _) = run(&mut pipeline, &event, true);
    for key in ATTRIBUTES.iter().filter(|key| **key != "user") {
        assert_eq!(out[key], event[key]);
    }
    assert_eq!(out["user"]["groups"], event["user"]["groups"]);
    assert_eq!(out["user"]["extra"]["k"][0].as_str().unwrap().len(), 1024);
    let message = out["responseStatus"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("é\"...") || message.ends_with("é..."),
        "{message}"
    );
    let stats = pipeline.stats();
    assert_eq!((stats.shrunk, stats.oversize), (1, 1));
}

#[test]
fn letters_are_not_cut_in_two() {
    for letter in ["\u{1f600}", "é", "\u{1}", "\\", "€"] {
        for front in 0..13 {
            let mut event = event();
            let text = "a".repeat(front) + &letter.repeat(1500);
            event["responseStatus"]["message"] = json!(text);
            for is_text in [true, false] {
                let (out, _) = run(&mut pipeline(settings(1024)), &event, is_text);
                let message = out["responseStatus"]["message"].as_str().unwrap();
                let kept = message.strip_suffix("...").unwrap();
                assert!(text.starts_with(kept) && kept.len() > 100, "{message}");
            }
        }
    }
    // Two escapes that are one letter together.
    let escaped = event().to_string().replace('é', "\\ud83d\\ude00");
    let record = json!({"log": escaped});
    let mut chunk = b"\x92\x92\xd7\x00\0\0\0\x05\0\0\0\0\x80".to_vec();
    json_to_msgpack(Json(record.to_string().as_bytes()), 0, &mut chunk).unwrap();
    let mut sink = ChunkSink::new(&chunk, chunk.len());
    let mut pipeline = pipeline(settings(1024));
    pipeline.chunk(b"tag", &chunk, &mut sink).unwrap();
    let out = sink.finish().unwrap();
    let body = Record::read(&out, 0).unwrap().body;
    let mut text = Vec::new();
    msgpack_to_json(Msgpack(&out), body, &mut text).unwrap();
    let record: Value = serde_json::from_slice(&text).unwrap();
    let event: Value = serde_json::from_str(record["log"].as_str().unwrap()).unwrap();
    assert!(event["responseStatus"]["message"].is_string());
}

#[test]
fn bodies_may_be_text_or_go() {
    let event = event();
    for is_text in [true, false] {
        let bodies = |bodies| {
            pipeline(shrink::Settings {
                bodies,
                ..shrink::Settings::default()
            })
        };
        let (out, _) = run(&mut bodies(Bodies::Json), &event, is_text);
        for body in ["requestObject", "responseObject"] {
            let text = out[body].as_str().unwrap();
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value, event[body]);
        }
        assert!(out.get("annotations").is_none(), "{out}");
        assert_eq!(run(&mut bodies(Bodies::Json), &out, is_text).0, out);

        let (out, _) = run(&mut bodies(Bodies::Drop), &event, is_text);
        assert!(out.get("requestObject").is_none() && out.get("responseObject").is_none());
        let said = out["annotations"]["kube-audit/shrunk"].as_str().unwrap();
        assert!(said.starts_with("responseObject="), "{said}");
    }
}

#[test]
fn secrets_are_hidden_in_what_is_left() {
    let mut event = event();
    event["objectRef"] = json!({"resource": "secrets", "apiVersion": "v1"});
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "data": {"p": "not-a-secret"}});
    event["requestObject"] = secret;
    event["annotations"] = json!({"a/b": "c"});
    for is_text in [true, false] {
        for bodies in [Bodies::Keep, Bodies::Json, Bodies::Drop] {
            let mut pipeline = pipeline(shrink::Settings {
                limit: Some(6000),
                bodies,
            });
            pipeline.set_redaction(Some(redact::Settings::default()));
            let (out, length) = run(&mut pipeline, &event, is_text);
            assert!(length <= 6000 && !out.to_string().contains("not-a-secret"));
            let annotations = out["annotations"].as_object().unwrap();
            let keys: Vec<&String> = annotations.keys().collect();
            let want = [
                "a/b",
                "audit.k8s.io/truncated",
                "kube-audit/redacted",
                "kube-audit/shrunk",
            ];
            assert_eq!(keys, want, "{out}");
            assert_eq!(run(&mut pipeline, &out, is_text).0, out, "a second time");
        }
    }
}
