//! Records that hold an event more than once: each copy is judged, and the event counts once.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::chunk::{ChunkSink, Record};
use crate::doc::convert::{json_to_msgpack, msgpack_to_json};
use crate::doc::json::Json;
use crate::doc::msgpack::Msgpack;
use crate::input::FieldPath;
use crate::pipeline::{Format, OnOther, OnUnreadable, OutputShape, Pipeline, Settings};
use crate::policy::{Policy, Ruleset, Syntax};
use crate::stage::detect::{DetectSettings, Detections, Detector, DetectorSettings, Selection};
use crate::stage::redact;

const SECRET: &str = "not-a-secret-2";

/// Secrets at `Metadata`, pods not at all.
const POLICY: &[u8] = br#"{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [
    {level: None, resources: [{resources: [pods]}]}, {level: Metadata}]}"#;

fn event(resource: &str) -> Value {
    json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse",
        "auditID": format!("id-{resource}"), "stage": "ResponseComplete",
        "requestURI": format!("/api/v1/namespaces/n/{resource}/s"), "verb": "get",
        "user": {"username": "u", "groups": ["g"]},
        "objectRef": {"resource": resource, "namespace": "n", "name": "s", "apiVersion": "v1"},
        "responseStatus": {"code": 200},
        "responseObject": {"kind": "Secret", "apiVersion": "v1", "data": {"p": SECRET}},
    })
}

/// The map of an event with further members.
fn with(event: &Value, more: Value) -> Value {
    let mut map = event.as_object().unwrap().clone();
    map.extend(more.as_object().unwrap().clone());
    Value::Object(map)
}

fn settings(log_key: Option<&str>) -> Settings {
    Settings {
        log_key: log_key.map(|path| FieldPath::parse(path).unwrap()),
        ..Settings::default()
    }
}

fn by_policy(settings: Settings) -> Pipeline {
    let policy = Policy::parse("test", POLICY, Syntax::Inline)
        .unwrap()
        .policy;
    let ruleset = Arc::new(Ruleset::compile(&policy));
    Pipeline::new(settings, Some(ruleset), || [0; 16])
}

fn by_redaction(settings: Settings) -> Pipeline {
    let mut pipeline = Pipeline::new(settings, None, || [0; 16]);
    pipeline.set_redaction(Some(redact::Settings::default()));
    pipeline
}

fn chunk(record: &Value) -> Vec<u8> {
    let mut chunk = b"\x92\x92\xd7\x00\0\0\0\x05\0\0\0\0\x80".to_vec();
    json_to_msgpack(Json(record.to_string().as_bytes()), 0, &mut chunk).unwrap();
    chunk
}

/// What becomes of a chunk, and its records.
fn run_chunk(pipeline: &mut Pipeline, chunk: &[u8]) -> (Vec<u8>, Vec<Value>) {
    let mut sink = ChunkSink::new(chunk, chunk.len());
    pipeline.chunk(b"tag", chunk, &mut sink).unwrap();
    let out = sink.finish().unwrap_or_else(|| chunk.to_vec());
    let (mut at, mut records) = (0, Vec::new());
    while at < out.len() {
        let record = Record::read(&out, at).unwrap();
        let mut text = Vec::new();
        msgpack_to_json(Msgpack(&out), record.body, &mut text).unwrap();
        records.push(serde_json::from_slice(&text).unwrap());
        at = record.end;
    }
    (out, records)
}

fn run(pipeline: &mut Pipeline, record: &Value) -> Vec<Value> {
    run_chunk(pipeline, &chunk(record)).1
}

/// Records with an event twice, and a Log_Key with which that is read.
fn doubles(event: &Value) -> Vec<(Value, Option<&'static str>)> {
    let text = event.to_string();
    let line = format!("2026-11-20T08:00:00.123456789Z stdout F {text}");
    let pod = json!({"pod_name": "kube-apiserver-a"});
    let both = json!({"log": text, "log_processed": event, "kubernetes": pod});
    let inner = json!({"properties": {"log": text, "parsed": event}, "category": "kube-audit"});
    let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [event]});
    vec![
        (with(event, json!({"log": text, "kubernetes": pod})), None),
        (with(event, json!({"log": text, "message": line})), None),
        (with(event, json!({"log": text})), Some("log")),
        (both.clone(), None),
        (both.clone(), Some("log")),
        (both.clone(), Some("log_processed")),
        (both, Some("$log_processed")),
        (json!({"log": event}), None),
        (json!({"log_processed": event}), Some("log_processed")),
        (json!({"log_processed": event}), Some("log")),
        (json!({"MESSAGE": text, "log": "a line"}), None),
        (json!({"log": line, "message": text}), None),
        (inner.clone(), Some("$properties['log']")),
        (inner, Some("$properties['parsed']")),
        (
            json!({"records": [{"log": text}]}),
            Some("$records[0]['log']"),
        ),
        (json!({"records": [event]}), Some("$records[0]")),
        (
            json!({"log": list.to_string(), "log_processed": list}),
            None,
        ),
    ]
}

#[test]
fn all_copies_are_cut_and_redacted_in_every_shape() {
    let event = event("secrets");
    for (record, log_key) in doubles(&event) {
        for output_shape in [OutputShape::Keep, OutputShape::Map, OutputShape::Json] {
            for make in [by_policy, by_redaction] {
                let mut pipeline = make(Settings {
                    output_shape,
                    ..settings(log_key)
                });
                let (out, records) = run_chunk(&mut pipeline, &chunk(&record));
                let shown = format!("{log_key:?} {output_shape:?} {record} {records:?}");
                assert_eq!(records.len(), 1, "{shown}");
                assert!(!format!("{records:?}").contains(SECRET), "{shown}");
                assert!(format!("{records:?}").contains("id-secrets"), "{shown}");
                let stats = pipeline.stats();
                let counted = (stats.events, stats.non_audit, stats.malformed);
                assert_eq!(counted, (1, 0, 0), "{shown}");
                let judged = stats.redacted.max(stats.stripped);
                assert_eq!(judged, 1, "{shown}");
                // A second time nothing is left to be done.
                let again = run_chunk(
                    &mut make(Settings {
                        output_shape,
                        ..settings(log_key)
                    }),
                    &out,
                );
                assert_eq!(again.1, records, "{shown}");
            }
        }
    }
}

#[test]
fn what_the_policy_drops_goes_as_a_whole() {
    for (record, log_key) in doubles(&event("pods")) {
        let mut pipeline = by_policy(settings(log_key));
        assert_eq!(run(&mut pipeline, &record), [] as [Value; 0], "{record}");
        let stats = pipeline.stats();
        assert_eq!((stats.events, stats.dropped), (1, 1), "{record}");
    }
}

#[test]
fn keys_around_the_copies_stay() {
    let event = event("secrets");
    let record =
        json!({"a": 1, "log": event.to_string(), "b": {"c": [2]}, "log_processed": event, "d": 3});
    let out = &run(&mut by_policy(Settings::default()), &record)[0];
    assert_eq!(
        (&out["a"], &out["b"], &out["d"]),
        (&json!(1), &json!({"c": [2]}), &json!(3))
    );
    let text: Value = serde_json::from_str(out["log"].as_str().unwrap()).unwrap();
    assert_eq!(text, out["log_processed"]);
    assert_eq!(text["level"], "Metadata");
}

#[test]
fn copies_inside_the_text_of_an_event_are_judged() {
    let event = event("secrets");
    let text = event.to_string();
    let line = format!("2026-11-20T08:00:00.123456789Z stdout F {text}");
    let twice = with(&event, json!({"log": text}));
    let more = [
        json!({"log": text, "stream": "stdout"}),
        json!({"log": line}),
        json!({"log_processed": event}),
        // A copy in a copy.
        json!({"log": twice.to_string()}),
        json!({"log_processed": twice}),
    ];
    for more in more {
        let inner = with(&event, more);
        for record in [
            json!({"log": inner.to_string()}),
            json!({"x": inner}),
            json!({"log": json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [inner]}).to_string()}),
        ] {
            for make in [by_policy, by_redaction] {
                for output_shape in [OutputShape::Keep, OutputShape::Map, OutputShape::Json] {
                    let mut pipeline = make(Settings {
                        output_shape,
                        ..Settings::default()
                    });
                    let (out, records) = run_chunk(&mut pipeline, &chunk(&record));
                    let shown = format!("{record} {records:?}");
                    assert_eq!((records.len(), pipeline.stats().events), (1, 1), "{shown}");
                    assert!(!format!("{records:?}").contains(SECRET), "{shown}");
                    let again = run_chunk(&mut make(Settings::default()), &out);
                    assert_eq!(again.1, records, "{shown}");
                }
            }
        }
    }
    let dropped = with(&event, json!({"log": self::event("pods").to_string()}));
    let record = json!({"log": dropped.to_string()});
    let mut pipeline = by_policy(Settings::default());
    let out = run(&mut pipeline, &record)[0].to_string();
    assert!(
        out.contains("id-secrets") && !out.contains("id-pods"),
        "{out}"
    );
    assert_eq!((pipeline.stats().events, pipeline.stats().dropped), (2, 1));
}

#[test]
fn an_event_in_a_map_takes_any_shape() {
    let event = event("secrets");
    let record = json!({"properties": {"log": event, "pod": "p"}, "category": "c"});
    for (output_shape, place) in [
        (OutputShape::Keep, "/properties/log/auditID"),
        (OutputShape::Map, "/auditID"),
        (OutputShape::Json, "/properties/log"),
    ] {
        let mut pipeline = by_policy(Settings {
            output_shape,
            ..settings(Some("$properties['log']"))
        });
        let out = &run(&mut pipeline, &record)[0];
        let found = out.pointer(place).and_then(Value::as_str);
        assert!(
            found.is_some_and(|text| text.contains("id-secrets")),
            "{out}"
        );
        assert_eq!(out["category"], "c");
        assert_eq!(out["properties"]["pod"], "p");
    }
}

#[test]
fn of_events_that_differ_each_is_judged_by_itself() {
    let (kept, dropped) = (event("secrets"), event("pods"));
    let text = Value::to_string;
    for record in [
        json!({"log": text(&kept), "message": text(&dropped)}),
        json!({"log": text(&dropped), "message": text(&kept)}),
        json!({"log": dropped, "x": kept}),
        with(&dropped, json!({"log": text(&kept)})),
        with(&kept, json!({"log": text(&dropped)})),
    ] {
        let mut pipeline = by_policy(Settings::default());
        let out = run(&mut pipeline, &record);
        let shown = format!("{record} {out:?}");
        assert_eq!(out.len(), 1, "{shown}");
        assert!(shown.contains("id-secrets"), "{shown}");
        let left = out[0].to_string();
        assert!(
            !left.contains("id-pods") && !left.contains(SECRET),
            "{left}"
        );
        let stats = pipeline.stats();
        assert_eq!((stats.events, stats.dropped, stats.kept()), (2, 1, 1));
    }
    let both = json!({"log": text(&kept), "message": text(&kept).replace("id-secrets", "id-2")});
    let mut pipeline = by_redaction(Settings::default());
    let out = run(&mut pipeline, &both)[0].to_string();
    assert!(out.contains("id-2") && !out.contains(SECRET), "{out}");
    assert_eq!((pipeline.stats().events, pipeline.stats().redacted), (2, 2));
}

#[test]
fn detections_and_places_count_an_event_once() {
    let detector = Detector::new(
        &Selection::all(),
        &Detections::default(),
        DetectorSettings::default(),
    );
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    pipeline.set_detect(Arc::new(detector.unwrap()), DetectSettings::default());
    let mut redaction = redact::Settings::default();
    let place = redact::Place::parse("secrets /data/p").unwrap();
    redaction.paths.push(place);
    pipeline.set_redaction(Some(redaction));
    let event = event("secrets");
    let out = run(
        &mut pipeline,
        &with(&event, json!({"log": event.to_string()})),
    );
    let hits: u64 = pipeline.stats().detections.iter().map(|d| d.hits).sum();
    let labels = out[0]["kube_audit_detections"].as_array();
    assert_eq!(labels.map_or(0, Vec::len) as u64, hits, "{out:?}");
    assert!(hits > 0);
    let uses: Vec<u64> = pipeline
        .redaction()
        .unwrap()
        .places()
        .map(|(_, uses)| uses.matches)
        .collect();
    assert_eq!(uses, [1]);
}

#[test]
fn a_copy_that_cannot_be_read_is_cut() {
    let event = event("secrets");
    let text = event.to_string();
    let cut = &text[..text.find(SECRET).unwrap() + SECRET.len()];
    let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [SECRET]});
    for record in [
        with(&event, json!({"log": cut})),
        json!({"log": cut, "log_processed": event}),
        json!({"log": text, "copy": list}),
    ] {
        let mut pipeline = by_redaction(Settings::default());
        let out = run(&mut pipeline, &record);
        let shown = format!("{out:?}");
        assert!(
            !shown.contains(SECRET) && shown.contains("id-secrets"),
            "{shown}"
        );
        assert_eq!(
            (pipeline.stats().events, pipeline.stats().malformed),
            (1, 1)
        );
        for (on_unreadable, on_error, stays) in [
            (OnUnreadable::Keep, OnOther::Keep, true),
            (OnUnreadable::Drop, OnOther::Keep, false),
            (OnUnreadable::Cut, OnOther::Drop, false),
        ] {
            let mut pipeline = by_redaction(Settings {
                on_unreadable,
                on_error,
                ..Settings::default()
            });
            let out = run(&mut pipeline, &record);
            assert_eq!(out.len(), 1, "{record}");
            assert_eq!(out[0].to_string().contains(SECRET), stays, "{out:?}");
        }
    }
}

#[test]
fn records_of_others_stay() {
    for record in [
        json!({"log": "a line", "kubernetes": {"annotations": {"auditID": "none of an event"}}}),
        json!({"log": "{\"auditID\":\"x\"}", "message": "auditID of audit.k8s.io/v1 is missing"}),
        json!({"a": [event("secrets")]}),
    ] {
        for format in [Format::Auto, Format::Map, Format::Json] {
            let mut pipeline = by_policy(Settings {
                format,
                ..Settings::default()
            });
            let before = chunk(&record);
            assert_eq!(run_chunk(&mut pipeline, &before).0, before, "{record}");
            assert_eq!(pipeline.stats().non_audit, 1);
        }
    }
}
