//! Linux audit records through the pipeline: shapes, conditions, times, chunks, counters.
#![cfg(feature = "machine")]

use std::path::Path;

use kube_audit_core::chunk::{ChunkSink, EventTime, LineForm, LineSink};
use kube_audit_core::doc::Doc;
use kube_audit_core::doc::msgpack::{self, Msgpack};
use kube_audit_core::pipeline::{
    EventTimeSource, MachineAudit, OnOther, OutputShape, Pipeline, Settings,
};
use kube_audit_core::stage::{Condition, Effect, Enrichment, FieldPath, Pattern, Place};
use serde_json::{Map, Value, json};

const TAG: &[u8] = b"tag";

/// A record of Fluent Bit: a map of texts, and other values as they are.
fn record(body: &Value) -> Vec<u8> {
    let mut out = vec![0x92, 0x92];
    let time = EventTime {
        seconds: 5,
        nanoseconds: 6,
    };
    time.write(&mut out);
    out.push(0x80);
    let body = body.as_object().unwrap();
    msgpack::write_map_head(&mut out, body.len());
    for (key, value) in body {
        Msgpack::write_key(&mut out, key.as_bytes());
        match value.as_u64() {
            Some(number) => msgpack::write_unsigned(&mut out, number),
            None => Msgpack::write_text(&mut out, value.as_str().unwrap().as_bytes()),
        }
    }
    out
}

fn log(line: &str) -> Value {
    json!({ "log": line })
}

fn syscall(serial: u32) -> String {
    format!(
        "type=SYSCALL msg=audit(1700000000.123:{serial}): arch=c000003e syscall=59 exe=\"/usr/bin/x{serial}\" key=\"k\""
    )
}

fn proctitle(serial: u32) -> String {
    format!("type=PROCTITLE msg=audit(1700000000.123:{serial}): proctitle=\"x\"")
}

fn settings(machine_audit: MachineAudit, output_shape: OutputShape) -> Settings {
    Settings {
        machine_audit,
        output_shape,
        ..Settings::default()
    }
}

fn events(output_shape: OutputShape) -> Pipeline {
    let settings = settings(MachineAudit::Events, output_shape);
    Pipeline::new(settings, None, || [0; 16])
}

/// The bodies that a chunk becomes.
fn bodies(pipeline: &mut Pipeline, records: &[Value]) -> Vec<Value> {
    let chunk: Vec<u8> = records.iter().flat_map(record).collect();
    let mut sink = LineSink::new(LineForm::Record);
    pipeline.chunk(TAG, &chunk, &mut sink).unwrap();
    parsed(&sink)
}

/// The bodies of what is still held.
fn held(pipeline: &mut Pipeline) -> Vec<Value> {
    let mut sink = LineSink::new(LineForm::Record);
    pipeline.release(TAG, &mut sink);
    parsed(&sink)
}

fn parsed(sink: &LineSink) -> Vec<Value> {
    let lines = std::str::from_utf8(&sink.lines).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The chunk that a chunk becomes; `None` if it stays as it is.
fn changed(pipeline: &mut Pipeline, chunk: &[u8]) -> Option<Vec<u8>> {
    let mut sink = ChunkSink::new(chunk, chunk.len());
    pipeline.chunk(TAG, chunk, &mut sink).unwrap();
    sink.finish()
}

struct Contains(&'static str);

impl Pattern for Contains {
    fn is_in(&self, text: &[u8]) -> bool {
        String::from_utf8_lossy(text).contains(self.0)
    }
}

fn condition(effect: Effect, field: &str, pattern: &'static str) -> Vec<Condition> {
    vec![Condition {
        effect,
        place: Place::Field(FieldPath::parse(field).unwrap()),
        pattern: Box::new(Contains(pattern)),
    }]
}

#[test]
fn without_the_option_nothing_changes() {
    let chunk = [record(&log(&syscall(1))), record(&log(&proctitle(1)))].concat();
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    assert_eq!(changed(&mut pipeline, &chunk), None);
    let stats = pipeline.stats();
    assert_eq!((stats.machine_records, stats.non_audit), (0, 2));
}

#[test]
fn a_kept_event_is_its_first_record_with_the_lines_of_all() {
    let mut pipeline = events(OutputShape::Keep);
    let [first, last] = [syscall(1), proctitle(1)];
    let said = bodies(
        &mut pipeline,
        &[
            json!({"a": "1", "log": first, "b": 2}),
            log("between"),
            log(&format!("{last}\n")),
        ],
    );
    let whole = json!({"a": "1", "log": format!("{first}\n{last}"), "b": 2});
    assert_eq!(said, [log("between"), whole]);
    let stats = pipeline.stats();
    assert_eq!(
        (stats.machine_records, stats.machine_kept, stats.non_audit),
        (2, 1, 1)
    );
}

#[test]
fn an_event_of_one_record_stays_byte_for_byte() {
    let line = "type=USER_LOGIN msg=audit(1700000000.123:1): pid=1 msg='op=x res=success'\n";
    let chunk = [
        log(line),
        log("other"),
        log("type=EOE msg=audit(1.000:9): "),
    ]
    .map(|body| record(&body))
    .concat();
    for mode in [MachineAudit::Records, MachineAudit::Events] {
        let mut pipeline = Pipeline::new(settings(mode, OutputShape::Keep), None, || [0; 16]);
        assert_eq!(changed(&mut pipeline, &chunk), None);
    }
    // Held, and come out as it came.
    let mut pipeline = events(OutputShape::Keep);
    let chunk = record(&json!({"log": format!("{}\r\n", syscall(1)), "n": 300}));
    assert_eq!(changed(&mut pipeline, &chunk), Some(Vec::new()));
    assert_eq!(pipeline.stats().machine_held, 1);
    let mut sink = ChunkSink::new(&[], 0);
    pipeline.release(TAG, &mut sink);
    assert_eq!(sink.finish(), Some(chunk));
    assert_eq!(pipeline.stats().machine_held, 0);
}

#[test]
fn the_end_of_a_chunk_follows_its_records() {
    let avc = "type=AVC msg=audit(1700000000.123:4): apparmor=\"DENIED\" pid=1";
    let chunk = [log(avc), log("last")].map(|body| record(&body));
    let mut pipeline = events(OutputShape::Keep);
    let [avc, last] = &chunk;
    let want = [&last[..], avc].concat();
    assert_eq!(changed(&mut pipeline, &chunk.concat()), Some(want));
}

#[test]
fn maps_and_json_have_the_other_keys() {
    let lines = [syscall(1), proctitle(1)];
    let records = lines
        .each_ref()
        .map(|line| json!({"exe": "other", "MESSAGE": line, "_TRANSPORT": "kernel", "_PID": "1"}));
    let said = bodies(&mut events(OutputShape::Map), &records);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["exe"], "/usr/bin/x1");
    assert_eq!(
        (&said[0]["_TRANSPORT"], &said[0]["_PID"]),
        (&json!("kernel"), &json!("1"))
    );
    assert_eq!(said[0].get("MESSAGE"), None);
    assert_eq!(
        (&said[0]["syscall"], &said[0]["key"]),
        (&json!(59), &json!(["k"]))
    );
    let said = bodies(&mut events(OutputShape::Json), &records);
    let event: Value = serde_json::from_str(said[0]["log"].as_str().unwrap()).unwrap();
    assert_eq!(event["proctitle"], "x");
    assert_eq!(
        (&said[0]["exe"], said[0].get("MESSAGE")),
        (&json!("other"), None)
    );
}

#[test]
fn what_journald_says_again_goes() {
    let record = json!({
        "_TRANSPORT": "audit", "_SOURCE_REALTIME_TIMESTAMP": "1700000000123456", "_AUDIT_TYPE": "1112",
        "_AUDIT_ID": "7", "MESSAGE": "USER_LOGIN pid=1 uid=0", "_PID": "1", "uid": "0", "AUDIT_FIELD_OP": "x",
        "_HOSTNAME": "n", "_BOOT_ID": "b", "_AUDIT_LOGINUID": "1",
    });
    let said = bodies(&mut events(OutputShape::Map), std::slice::from_ref(&record));
    let want = json!({
        "timestamp": "2023-11-14T22:13:20.123Z", "serial": 7, "type": "USER_LOGIN", "types": ["USER_LOGIN"],
        "pid": 1, "uid": 0, "_TRANSPORT": "audit", "_SOURCE_REALTIME_TIMESTAMP": "1700000000123456",
        "_HOSTNAME": "n", "_BOOT_ID": "b",
    });
    assert_eq!(said, [want]);
    // As it came, all of it stays.
    assert_eq!(
        bodies(
            &mut events(OutputShape::Keep),
            std::slice::from_ref(&record)
        ),
        [record]
    );
}

#[test]
fn records_are_events_of_their_own() {
    let mut pipeline = Pipeline::new(
        settings(MachineAudit::Records, OutputShape::Map),
        None,
        || [0; 16],
    );
    let said = bodies(
        &mut pipeline,
        &[
            log(&syscall(1)),
            log(&proctitle(1)),
            log("type=EOE msg=audit(1.000:1): "),
        ],
    );
    let kinds: Vec<&Value> = said.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["SYSCALL", "PROCTITLE"]);
    let stats = pipeline.stats();
    assert_eq!(
        (stats.machine_held, stats.machine_kept, stats.machine_ends),
        (0, 2, 1)
    );
}

#[test]
fn conditions_decide_on_the_whole_event() {
    let lines = [
        syscall(1),
        syscall(2),
        proctitle(1),
        proctitle(2),
        "type=EOE msg=audit(1700000000.123:1): ".to_owned(),
    ];
    let records = lines.each_ref().map(|line| log(line));
    for (effect, field, pattern, want) in [
        (Effect::Exclude, "exe", "/x1", &["/usr/bin/x2"][..]),
        (Effect::Require, "exe", "/x1", &["/usr/bin/x1"]),
        (Effect::Exclude, "$key[0]", "k", &[]),
        (
            Effect::Require,
            "types",
            "\"PROCTITLE\"",
            &["/usr/bin/x1", "/usr/bin/x2"],
        ),
        (
            Effect::Require,
            "log",
            "SYSCALL",
            &["/usr/bin/x1", "/usr/bin/x2"],
        ),
    ] {
        let mut pipeline = events(OutputShape::Map);
        pipeline.set_conditions(condition(effect, field, pattern));
        let said = bodies(&mut pipeline, &records);
        let exes: Vec<&Value> = said.iter().map(|event| &event["exe"]).collect();
        assert_eq!(exes, want, "{field}");
        let stats = pipeline.stats();
        let kept = u64::try_from(want.len()).unwrap();
        assert_eq!(
            (stats.machine_kept, stats.machine_excluded),
            (kept, 2 - kept)
        );
    }
    let mut pipeline = events(OutputShape::Keep);
    pipeline.set_conditions(condition(Effect::Exclude, "exe", "/x1"));
    let said = bodies(&mut pipeline, &records);
    assert_eq!(
        said,
        [log(&format!("{}\n{}", syscall(2), proctitle(2)))],
        "no EOE stays behind"
    );
}

#[test]
fn times_and_enrichment() {
    let enrichment = Enrichment {
        records: vec![(b"cluster".to_vec(), b"c-1".to_vec())],
        ..Enrichment::default()
    };
    let settings = Settings {
        event_time: EventTimeSource::Stage,
        non_audit: OnOther::Drop,
        enrichment,
        ..settings(MachineAudit::Events, OutputShape::Keep)
    };
    let mut pipeline = Pipeline::new(settings, None, || [0; 16]);
    let chunk = [log(&syscall(1)), log("no audit record"), log(&proctitle(1))]
        .map(|body| record(&body))
        .concat();
    let out = changed(&mut pipeline, &chunk).unwrap();
    let mut time = Vec::new();
    EventTime {
        seconds: 1_700_000_000,
        nanoseconds: 123_000_000,
    }
    .write(&mut time);
    assert_eq!(out[2..12], time);
    let doc = Msgpack(&out);
    let mut map = doc.open_map(13).unwrap();
    let mut keys = Vec::new();
    while let Some(member) = doc.next_member(&mut map).unwrap() {
        keys.push(String::from_utf8_lossy(member.key.raw).into_owned());
        map.next = doc.end(member.value).unwrap();
    }
    assert_eq!(
        (keys, map.next),
        (vec!["log".to_owned(), "cluster".to_owned()], out.len())
    );
}

#[test]
fn an_event_goes_over_chunks_of_its_tag() {
    let mut pipeline = events(OutputShape::Keep);
    assert!(bodies(&mut pipeline, &[log(&syscall(1))]).is_empty());
    let chunk = record(&log(&proctitle(1)));
    let mut sink = LineSink::new(LineForm::Record);
    pipeline.chunk(b"other", &chunk, &mut sink).unwrap();
    assert_eq!(
        parsed(&sink),
        [log(&proctitle(1))],
        "alone under another tag"
    );
    let said = bodies(&mut pipeline, &[log(&proctitle(1))]);
    assert_eq!(said, [log(&format!("{}\n{}", syscall(1), proctitle(1)))]);
    assert!(held(&mut pipeline).is_empty());
}

#[test]
fn slim_events() {
    let settings = Settings {
        machine_audit_slim: true,
        ..settings(MachineAudit::Events, OutputShape::Map)
    };
    let mut pipeline = Pipeline::new(settings, None, || [0; 16]);
    let said = bodies(&mut pipeline, &[log(&syscall(1)), log(&proctitle(1))]);
    assert_eq!(
        (said[0].get("types"), &said[0]["type"]),
        (None, &json!("SYSCALL"))
    );
}

#[test]
fn kubernetes_events_are_what_they_were() {
    let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","verb":"get","requestURI":"/ type=EOE msg=audit(1.000:1): "}"#;
    let cri = format!("2026-11-20T17:43:49.093264000Z stdout F {event}");
    let mut pipeline = events(OutputShape::Keep);
    for line in [event, &cri] {
        assert_eq!(changed(&mut pipeline, &record(&log(line))), None);
    }
    assert_eq!(
        (pipeline.stats().events, pipeline.stats().machine_records),
        (2, 0)
    );
}

/// What a vector's records give, as its file says it: without the keys of the records.
#[test]
fn vectors() {
    let own = Path::new("../machine/tests/vectors.jsonl").to_owned();
    let truth = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH");
    let truth = truth.map(|truth| Path::new(&truth).join("vectors/machine-audit.jsonl"));
    for path in [Some(own), truth].into_iter().flatten() {
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines() {
            vector(&serde_json::from_str(line).unwrap());
        }
    }
}

fn vector(vector: &Value) {
    let records = vector["records"].as_array().unwrap();
    let mut pipeline = events(OutputShape::Map);
    match vector["option"]["Exclude"].as_str() {
        None => {}
        Some("exe ^/usr/(s?bin)/runc$") => {
            pipeline.set_conditions(condition(Effect::Exclude, "exe", "/usr/bin/runc"));
        }
        Some("key \"noise\"") => {
            pipeline.set_conditions(condition(Effect::Exclude, "key", "\"noise\""));
        }
        Some(other) => panic!("{other}"),
    }
    let expected = match vector["expected_by_chunk"].as_array() {
        Some(by_chunk) => by_chunk.clone(),
        None => vec![vector["expected"].clone()],
    };
    let lengths = match vector["chunks"].as_array() {
        Some(chunks) => chunks
            .iter()
            .map(|length| length.as_u64().unwrap() as usize)
            .collect(),
        None => vec![records.len()],
    };
    let mut rest = &records[..];
    for (length, expected) in lengths.into_iter().zip(&expected) {
        let (chunk, behind) = rest.split_at(length);
        rest = behind;
        compare(
            &vector["id"],
            &bodies(&mut pipeline, chunk),
            expected,
            records,
        );
    }
    let want = vector.get("held").cloned().unwrap_or(json!([]));
    compare(&vector["id"], &held(&mut pipeline), &want, records);
}

fn compare(id: &Value, said: &[Value], want: &Value, records: &[Value]) {
    let want = want.as_array().unwrap();
    assert_eq!(said.len(), want.len(), "{id}: {said:?}");
    for (said, want) in said.iter().zip(want) {
        if let Some(untouched) = want["untouched"].as_u64() {
            assert_eq!(*said, records[untouched as usize], "{id}");
            continue;
        }
        let want = want.as_object().unwrap();
        let said: Map<String, Value> = want
            .keys()
            .filter_map(|key| Some((key.clone(), said.get(key)?.clone())))
            .collect();
        assert_eq!(said, *want, "{id}");
    }
}
