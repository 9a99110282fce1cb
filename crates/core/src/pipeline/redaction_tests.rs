//! Redaction through the whole pipeline: every carrier and shape, and text that cannot be read.

use std::sync::Arc;

use crate::chunk::{ChunkSink, EventTime, LineForm, LineSink, write_line_record};
use crate::doc::Doc;
use crate::doc::convert::{json_to_msgpack, msgpack_to_json};
use crate::doc::json::Json;
use crate::doc::msgpack::{self, Msgpack};
use crate::pipeline::{Format, OnOther, OnUnreadable, OutputShape, Pipeline, Settings};
use crate::policy::{Policy, Ruleset, Syntax};
use crate::stage::redact;

const SECRET: &str = "not-a-secret-1";

fn event() -> String {
    format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a","stage":"ResponseComplete","requestURI":"/x?token={SECRET}","verb":"create","user":{{"username":"u"}},"objectRef":{{"resource":"secrets","apiVersion":"v1"}},"requestObject":{{"kind":"Secret","stringData":{{"k":"{SECRET}"}}}},"stageTimestamp":"2026-11-20T08:00:00.123456Z"}}"#
    )
}

fn pipeline(settings: Settings) -> Pipeline {
    let mut pipeline = Pipeline::new(settings, None, || [0; 16]);
    pipeline.set_redaction(Some(redact::Settings::default()));
    pipeline
}

fn record(body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0x92, 0x92];
    let time = EventTime {
        seconds: 5,
        nanoseconds: 0,
    };
    time.write(&mut chunk);
    chunk.push(0x80);
    chunk.extend_from_slice(body);
    chunk
}

fn text_record(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    msgpack::write_map_head(&mut body, 1);
    Msgpack::write_key(&mut body, b"log");
    Msgpack::write_text(&mut body, text.as_bytes());
    record(&body)
}

fn map_record(json: &str) -> Vec<u8> {
    let mut body = Vec::new();
    json_to_msgpack(Json(json.as_bytes()), 0, &mut body).unwrap();
    record(&body)
}

/// The bodies of the records that a chunk becomes, as JSON; `None` if it stays as it is.
fn run(pipeline: &mut Pipeline, chunk: &[u8]) -> Option<String> {
    let mut sink = ChunkSink::new(chunk, chunk.len());
    pipeline.chunk(b"tag", chunk, &mut sink).unwrap();
    let out = sink.finish()?;
    let mut text = Vec::new();
    let mut at = 0;
    while at < out.len() {
        let record = crate::chunk::Record::read(&out, at).unwrap();
        msgpack_to_json(Msgpack(&out), record.body, &mut text).unwrap();
        at = record.end;
    }
    Some(String::from_utf8(text).unwrap())
}

#[test]
fn nothing_secret_passes_in_any_carrier_and_shape() {
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{},{}]}}"#,
        event(),
        event()
    );
    let prefix = "2026-11-20T08:00:00.123456789Z stdout F ";
    let chunks = [
        ("text", text_record(&event()), 1),
        ("line", text_record(&(prefix.to_owned() + &event())), 1),
        ("list", text_record(&list), 2),
        ("map", map_record(&event()), 1),
        ("map list", map_record(&list), 2),
    ];
    for (name, chunk, events) in &chunks {
        for output_shape in [OutputShape::Keep, OutputShape::Map, OutputShape::Json] {
            let mut pipeline = pipeline(Settings {
                output_shape,
                ..Settings::default()
            });
            let out = run(&mut pipeline, chunk).unwrap();
            assert!(!out.contains(SECRET), "{name} {output_shape:?}: {out}");
            let marks = out.matches("secret=1,uri=1").count();
            assert_eq!(marks, *events, "{name} {output_shape:?}: {out}");
            assert_eq!(pipeline.stats().redacted, *events as u64);
        }
    }
}

#[test]
fn only_what_the_level_leaves_is_redacted() {
    let policy =
        r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"Metadata"}]}"#;
    let policy = Policy::parse("test", policy.as_bytes(), Syntax::File).unwrap();
    let mut pipeline = Pipeline::new(
        Settings::default(),
        Some(Arc::new(Ruleset::compile(&policy.policy))),
        || [0; 16],
    );
    pipeline.set_redaction(Some(redact::Settings::default()));
    // The only annotation goes with the level, and with it the map that it stood in.
    let webhook = r#","annotations":{"patch.webhook.admission.k8s.io/round_0":"{"}}"#;
    for event in [event(), event().replace(r#"Z"}"#, &format!("Z\"{webhook}"))] {
        let out = run(&mut pipeline, &text_record(&event)).unwrap();
        assert!(
            out.contains(r#"{\"kube-audit/redacted\":\"uri=1\"}"#),
            "{out}"
        );
        assert!(
            !out.contains(SECRET) && !out.contains("patch.webhook"),
            "{out}"
        );
    }
}

#[test]
fn chunks_without_secrets_stay() {
    let event = event().replace(SECRET, "").replace("token=", "limit=5");
    for chunk in [
        text_record(&event),
        map_record(&event),
        text_record("a line"),
    ] {
        assert_eq!(run(&mut pipeline(Settings::default()), &chunk), None);
    }
}

#[test]
fn redaction_can_be_off() {
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    pipeline.set_redaction(Some(redact::Settings::parse("off").unwrap()));
    assert_eq!(run(&mut pipeline, &text_record(&event())), None);
    let cut = &event()[..300];
    assert_eq!(run(&mut pipeline, &text_record(cut)), None);
}

#[test]
fn cut_events_end_before_the_first_body() {
    let event = event();
    for end in 60..event.len() - 1 {
        let out = run(
            &mut pipeline(Settings::default()),
            &text_record(&event[..end]),
        )
        .unwrap();
        assert!(!out.contains(SECRET), "{out}");
        assert!(out.ends_with("REDACTED\"}"), "{out}");
        assert!(!out.contains("stringData"), "{out}");
        let is_after = end > event.find("requestObject").unwrap() + 14;
        assert!(!is_after || out.contains(r#"\"secrets\""#), "{out}");
    }
}

#[test]
fn glued_events_are_judged_by_themselves() {
    let event = event();
    for glued in [
        event.clone() + &event[..300],
        event[..300].to_owned() + &event,
        event.clone() + &event,
    ] {
        let out = run(&mut pipeline(Settings::default()), &text_record(&glued)).unwrap();
        assert!(!out.contains(SECRET), "{out}");
        assert!(out.contains("secret=1,uri=1"), "{out}");
        assert_eq!(out.matches("auditID").count(), 2, "{out}");
    }
}

#[test]
fn text_that_cannot_be_read_may_stay_or_go() {
    let chunk = text_record(&event()[..300]);
    for (on_unreadable, on_error, want) in [
        (OnUnreadable::Keep, OnOther::Keep, None),
        (OnUnreadable::Drop, OnOther::Keep, Some("")),
        (OnUnreadable::Cut, OnOther::Drop, Some("")),
    ] {
        let mut pipeline = pipeline(Settings {
            on_unreadable,
            on_error,
            ..Settings::default()
        });
        assert_eq!(run(&mut pipeline, &chunk).as_deref(), want);
        assert_eq!(pipeline.stats().malformed, 1);
    }
    // Maps that claim to be a list of events.
    let map = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":["not-a-secret-1"]}"#;
    let out = run(&mut pipeline(Settings::default()), &map_record(map)).unwrap();
    assert!(out.contains(r#""items":"REDACTED""#), "{out}");
}

#[test]
fn pieces_of_lines_that_never_become_whole_are_hidden() {
    let event = event();
    let line =
        |piece: &str, text: &str| format!("2026-11-20T08:00:00.123456789Z stdout {piece} {text}");
    let (front, rest) = event.split_at(100);
    let (middle, end) = rest.split_at(200);
    for lines in [
        vec![line("P", front), line("P", middle)],
        vec![line("P", middle)],
        vec![line("P", front), line("P", middle), line("F", "no end")],
        vec![line("F", end)],
    ] {
        let mut pipeline = pipeline(Settings {
            format: Format::Cri,
            ..Settings::default()
        });
        let mut sink = LineSink::new(LineForm::Event);
        for line in &lines {
            let mut chunk = Vec::new();
            write_line_record(line.as_bytes(), &mut chunk);
            pipeline.chunk(b"", &chunk, &mut sink).unwrap();
        }
        pipeline.release(b"", &mut sink);
        let out = String::from_utf8(std::mem::take(&mut sink.lines)).unwrap();
        assert!(!out.contains(SECRET) && out.contains("REDACTED"), "{out}");
        assert_eq!(out.lines().count(), lines.len(), "{out}");
        assert!(out.lines().all(|line| line.starts_with("2026")), "{out}");
    }
    // What Rancher writes about its API is another format, and whole.
    let other = r#"{"auditID":"a","responseStatus":"200","stage":"ResponseComplete","stageTimestamp":"2026-11-20 10:22:43 +0800","responseBody":{"a":"b"}}"#;
    let chunk = text_record(other);
    assert_eq!(run(&mut pipeline(Settings::default()), &chunk), None);
    // Long lines of other programs pass as they came.
    let other = line("P", "a long line of another program");
    let chunk = text_record(&other);
    assert_eq!(run(&mut pipeline(Settings::default()), &chunk), None);
}
