//! The shapes of records, one by one: what comes in, what goes out, byte by byte.

use std::sync::Arc;

use crate::policy::{Policy, Ruleset, Syntax};

use super::*;
use crate::chunk::{
    ChunkSink, EntryForm, EntryMetadata, EntrySink, EntryTime, LineForm, LineSink,
    write_line_record,
};
use crate::doc::Doc;
use crate::doc::convert::{json_to_msgpack, msgpack_to_json};
use crate::doc::json::Json;
use crate::doc::msgpack::{Msgpack, write_map_head};
use crate::stage::{Effect, Enrichment, FieldPath, KeyPattern, KeyRule, Pattern, Place};

/// Secrets at `Metadata`, configmaps at `Request`, leases not at all, the rest in
/// full without managed fields; `RequestReceived` is omitted.
const POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[
    {"level":"Metadata","resources":[{"resources":["secrets"]}]},
    {"level":"Request","resources":[{"resources":["configmaps"]}]},
    {"level":"None","resources":[{"group":"coordination.k8s.io"}]},
    {"level":"RequestResponse","omitManagedFields":true}]}"#;

fn pipeline(settings: Settings) -> Pipeline {
    let policy = Policy::parse("test", POLICY.as_bytes(), Syntax::File)
        .unwrap()
        .policy;
    Pipeline::new(settings, Some(Arc::new(Ruleset::compile(&policy))), || {
        [7; 16]
    })
}

/// An event about a resource, with white space, escapes and a number that no
/// reader would write the same way again.
fn event(resource: &str, stage: &str) -> String {
    format!(
        r#"{{"kind":"Event", "apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"id-\u0031","stage":"{stage}","requestURI":"/api/v1/namespaces/n/{resource}/x?a=b\u0026c","verb":"update","user":{{"username":"u","groups":["g"]}},"objectRef":{{"resource":"{resource}","namespace":"n","name":"x","apiVersion":"v1"}},"requestObject":{{"metadata":{{"managedFields":[{{"manager":"m"}}],"name":"x"}},"n":1.50e0}},"responseObject":{{"kind":"X","metadata":{{"name":"x","managedFields":[]}}}},"stageTimestamp":"2026-11-20T08:00:00.123456Z","annotations":{{"a/b":"c","patch.webhook.admission.k8s.io/round_0_index_0":"{{}}"}}}}"#
    )
}

/// The event as the policy leaves it.
fn logged(resource: &str) -> String {
    let event = event(resource, "ResponseComplete");
    let request = r#","requestObject":{"metadata":{"managedFields":[{"manager":"m"}],"name":"x"},"n":1.50e0}"#;
    let response = r#","responseObject":{"kind":"X","metadata":{"name":"x","managedFields":[]}}"#;
    match resource {
        "secrets" => event
            .replace(r#""level":"RequestResponse""#, r#""level":"Metadata""#)
            .replace(request, "")
            .replace(response, "")
            .replace(
                r#","patch.webhook.admission.k8s.io/round_0_index_0":"{}""#,
                "",
            ),
        "configmaps" => event
            .replace(r#""level":"RequestResponse""#, r#""level":"Request""#)
            .replace(response, ""),
        _ => event
            .replace(r#""managedFields":[{"manager":"m"}],"#, "")
            .replace(r#","managedFields":[]"#, ""),
    }
}

fn msgpack(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    json_to_msgpack(Json(json.as_bytes()), 0, &mut out).unwrap();
    out
}

fn map(members: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    write_map_head(&mut out, members.len());
    for (key, value) in members {
        Msgpack::write_key(&mut out, key.as_bytes());
        Msgpack::write_text(&mut out, value.as_bytes());
    }
    out
}

const TIME: &[u8] = b"\xd7\x00\x01\x02\x03\x04\x05\x06\x07\x08";

/// A record in the framing of Fluent Bit 2.1 and later, with metadata.
fn framed(body: &[u8]) -> Vec<u8> {
    [b"\x92\x92", TIME, b"\x81\xa1m\x01", body].concat()
}

/// A record in the framing of Fluent Bit up to 2.0.
fn framed_old(body: &[u8]) -> Vec<u8> {
    [b"\x92", TIME, body].concat()
}

fn run(pipeline: &mut Pipeline, chunk: &[u8]) -> Option<Vec<u8>> {
    let mut sink = ChunkSink::new(chunk, chunk.len());
    pipeline.chunk(b"tag", chunk, &mut sink).unwrap();
    sink.finish()
}

/// Checks one record in both framings, between two that stay.
fn check(settings: &Settings, body: &[u8], want: &[Vec<u8>]) {
    for frame in [framed, framed_old] {
        let other = frame(&map(&[("a", "b")]));
        let chunk = [&other[..], &frame(body), &other].concat();
        let mut expected = other.clone();
        want.iter().for_each(|body| expected.extend(frame(body)));
        expected.extend(&other);
        let got = run(&mut pipeline(settings.clone()), &chunk);
        assert_eq!(
            got.is_none(),
            expected == chunk,
            "untouched means unchanged"
        );
        let got = got.unwrap_or(chunk);
        assert!(
            got == expected,
            "\n got {}\nwant {}",
            String::from_utf8_lossy(&got),
            String::from_utf8_lossy(&expected)
        );
    }
}

#[test]
fn text_under_a_key_is_spliced() {
    for key in ["log", "message"] {
        for resource in ["secrets", "configmaps", "pods"] {
            let line = event(resource, "ResponseComplete");
            check(
                &Settings::default(),
                &map(&[("before", "1"), (key, &line), ("after", "2")]),
                &[map(&[
                    ("before", "1"),
                    (key, &logged(resource)),
                    ("after", "2"),
                ])],
            );
        }
        check(
            &Settings::default(),
            &map(&[(key, &event("leases", "RequestReceived"))]),
            &[],
        );
    }
}

#[test]
fn a_container_runtimes_prefix_stays() {
    let front = "2026-11-20T17:43:49.093264000Z stdout F ";
    let line = front.to_owned() + &event("secrets", "ResponseComplete") + " ";
    check(
        &Settings::default(),
        &map(&[("log", &line)]),
        &[map(&[(
            "log",
            &(front.to_owned() + &logged("secrets") + " "),
        )])],
    );
    let json = Settings {
        output_shape: OutputShape::Json,
        ..Settings::default()
    };
    check(
        &json,
        &map(&[("log", &line)]),
        &[map(&[("log", &logged("secrets"))])],
    );
}

#[test]
fn structured_events_are_spliced() {
    for resource in ["secrets", "configmaps", "pods"] {
        check(
            &Settings::default(),
            &msgpack(&event(resource, "ResponseComplete")),
            &[msgpack(&logged(resource))],
        );
    }
}

#[test]
fn headers_that_are_not_minimal_are_understood() {
    let small = msgpack(&event("secrets", "ResponseComplete"));
    let tree = Msgpack(&small);
    let members = tree.open_map(0).unwrap();
    let wide = [
        &b"\xdf\0\0\0"[..],
        &[members.count as u8],
        &small[members.next..],
    ]
    .concat();
    check(&Settings::default(), &wide, &[msgpack(&logged("secrets"))]);
}

#[test]
fn lists_become_one_record_for_each_event() {
    let item = |text: &str| text.replace(r#""kind":"Event", "apiVersion":"audit.k8s.io/v1","#, "");
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{},{}, {}]}}"#,
        item(&event("secrets", "ResponseComplete")),
        item(&event("secrets", "RequestReceived")),
        item(&event("pods", "ResponseComplete")),
    );
    let want = [item(&logged("secrets")), item(&logged("pods"))];
    check(
        &Settings::default(),
        &msgpack(&list),
        &want.each_ref().map(|text| msgpack(text)),
    );
    check(
        &Settings::default(),
        &map(&[("log", &list), ("x", "y")]),
        &want
            .each_ref()
            .map(|text| map(&[("log", text), ("x", "y")])),
    );
    let empty = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[]}"#;
    check(&Settings::default(), &msgpack(empty), &[]);
}

#[test]
fn an_item_that_cannot_be_read_is_kept_alone() {
    let bad = r#"{"auditID":"a","stage":"Panic","level":"Request","user":{"x" 1}}"#;
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{bad},{}]}}"#,
        event("secrets", "ResponseComplete")
    );
    let want = [map(&[("log", bad)]), map(&[("log", &logged("secrets"))])];
    check(&Settings::default(), &map(&[("log", &list)]), &want);
    let drop = Settings {
        on_error: OnOther::Drop,
        ..Settings::default()
    };
    check(&drop, &map(&[("log", &list)]), &want[1..]);
}

#[test]
fn an_item_that_cannot_be_converted_is_kept_alone() {
    let settings = Settings {
        output_shape: OutputShape::Json,
        ..Settings::default()
    };
    let item = msgpack(r#"{"auditID":"a","stage":"Panic","level":"Request","requestObject":0}"#);
    // Deeper than anything is converted.
    let deep = [&item[..item.len() - 1], &[0x91; 200], &[0xc0]].concat();
    let list = [
        &msgpack(r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1"}"#)[1..],
        b"\xa5items\x92",
        &deep,
        &item,
    ];
    let list = [&b"\x83"[..], &list.concat()].concat();
    let text = r#"{"auditID":"a","stage":"Panic","level":"Request","requestObject":0}"#;
    check(&settings, &list, &[deep, map(&[("log", text)])]);
}

#[test]
fn what_is_no_event_stays_or_goes() {
    let truncated = &event("secrets", "ResponseComplete")[..200];
    let others = ["plain text", "{}", "[1]", r#"{"auditID":"x"}"#, ""];
    for text in others.into_iter().chain([truncated]) {
        check(
            &Settings::default(),
            &map(&[("log", text)]),
            &[map(&[("log", text)])],
        );
    }
    let drop_others = Settings {
        non_audit: OnOther::Drop,
        ..Settings::default()
    };
    for text in others {
        let chunk = framed(&map(&[("log", text)]));
        assert_eq!(
            run(&mut pipeline(drop_others.clone()), &chunk),
            Some(Vec::new()),
            "{text}"
        );
    }
    let chunk = framed(&map(&[("log", truncated)]));
    assert_eq!(run(&mut pipeline(drop_others), &chunk), None);
    let drop_errors = Settings {
        on_error: OnOther::Drop,
        ..Settings::default()
    };
    let mut pipeline = pipeline(drop_errors);
    assert_eq!(run(&mut pipeline, &chunk), Some(Vec::new()));
    assert_eq!(pipeline.stats().malformed, 1);
}

/// Forms of records that hosts and other inputs write, or that went wrong.
#[test]
fn what_is_not_a_record_hides_nothing_behind_it() {
    let secret = framed(&map(&[("log", &event("secrets", "ResponseComplete"))]));
    let cut = framed(&map(&[("log", &logged("secrets"))]));
    let body = map(&[("a", "b")]);
    let values = [
        [b"\x93", TIME, b"\x80", &body].concat(),
        [b"\x92", TIME, b"\xa1x"].concat(),
        [b"\x92\xa1t", &body[..]].concat(),
        [b"\x92\xd4\x01\0", &body[..]].concat(),
        [b"\x92\x92", TIME, b"\x01", &body].concat(),
        [b"\x92\x93", TIME, b"\x80\x80", &body].concat(),
        [b"\x91", TIME].concat(),
        body.clone(),
        b"\xc0".to_vec(),
        b"\x90".to_vec(),
        b"x".to_vec(),
    ];
    for value in values {
        let chunk = [&secret[..], &value, &secret].concat();
        let mut judged = pipeline(Settings::default());
        let got = run(&mut judged, &chunk);
        assert_eq!(got, Some([&cut[..], &cut].concat()), "{value:x?}");
        assert_eq!((judged.stats().unreadable, judged.stats().events), (1, 2));
        // Without a policy it passes.
        let mut idle = Pipeline::new(Settings::default(), None, || [7; 16]);
        assert_eq!(run(&mut idle, &chunk), None, "{value:x?}");
        assert_eq!(idle.stats().unreadable, 1);
        // A receiver stops reading at it.
        let mut sink = EntrySink::default();
        idle.chunk(b"tag", &chunk, &mut sink).unwrap();
        assert_eq!((sink.ends.len(), sink.unreadable), (2, 1), "{value:x?}");
    }
    // Behind what is no value nothing can be found.
    for rest in [
        &[b"\xc1", &secret[..]].concat()[..],
        &secret[..secret.len() - 1],
    ] {
        let chunk = [&secret[..], rest].concat();
        let mut sink = ChunkSink::new(&chunk, 0);
        let mut judged = pipeline(Settings::default());
        assert_eq!(judged.chunk(b"tag", &chunk, &mut sink), Err(secret.len()));
        assert_eq!(sink.finish(), Some(cut.clone()));
        assert_eq!(judged.stats().unreadable, 1);
        let mut sink = ChunkSink::new(&chunk, 0);
        let mut idle = Pipeline::new(Settings::default(), None, || [7; 16]);
        assert!(idle.chunk(b"tag", &chunk, &mut sink).is_err());
        assert_eq!(sink.finish(), None);
    }
}

/// A host that was killed leaves them behind the records of its chunks on disk.
#[test]
fn zeros_at_the_end_are_no_records() {
    let event = event("secrets", "ResponseComplete");
    // A record that ends in zeros itself is whole.
    let records = [framed(&map(&[("log", &event)])), framed(b"\x81\xa1n\0")].concat();
    let chunk = [&records[..], &[0; 4000]].concat();
    let mut idle = Pipeline::new(Settings::default(), None, || [7; 16]);
    let mut sink = EntrySink::default();
    assert_eq!(idle.chunk(b"tag", &chunk, &mut sink), Ok(()));
    assert_eq!((sink.ends.len(), sink.unreadable), (2, 0));
    assert_eq!((idle.stats().records, idle.stats().unreadable), (2, 0));
    let mut judged = pipeline(Settings::default());
    let got = run(&mut judged, &chunk).unwrap();
    let cut = framed(&map(&[("log", &logged("secrets"))]));
    assert!(got.starts_with(&cut), "{got:x?}");
    assert_eq!(judged.stats().unreadable, 0);
    assert_eq!(run(&mut idle, &[0; 4000]), None);
    // Zeros before a record are what they were.
    let before = [&[0; 3], &records[..]].concat();
    run(&mut idle, &before);
    assert_eq!(idle.stats().unreadable, 3);
}

/// Two events in one line, or text behind an event, can't be judged as one: it is what
/// `On_Error` is for.
#[test]
fn what_follows_an_event_in_its_line_makes_it_unreadable() {
    let secret = event("secrets", "ResponseComplete");
    let public = event("pods", "ResponseComplete");
    for behind in ["", " ", "\t"]
        .map(|between| format!("{between}{secret}"))
        .into_iter()
        .chain(["trailing".to_owned(), " }".to_owned(), ",".to_owned()])
    {
        for key in ["log", "message"] {
            let body = map(&[(key, &format!("{public}{behind}"))]);
            let settings = |on_error| Settings {
                on_error,
                ..Settings::default()
            };
            let mut keep = pipeline(settings(OnOther::Keep));
            assert_eq!(run(&mut keep, &framed(&body)), None, "{behind}");
            assert_eq!((keep.stats().malformed, keep.stats().events), (1, 0));
            let mut drop = pipeline(settings(OnOther::Drop));
            assert_eq!(run(&mut drop, &framed(&body)), Some(vec![]), "{behind}");
        }
    }
}

/// Times that do not fit into 32 bits are times to the host.
#[test]
fn odd_times_are_judged() {
    for time in [
        &b"\xcf\0\0\x01\x8b\xcf\xe5\x68\x00"[..],
        b"\xcb\xff\xf0\0\0\0\0\0\0",
        b"\xcb\x43\xe0\0\0\0\0\0\0",
        b"\xd0\x80",
    ] {
        let record = |text: &str| [b"\x92", time, &map(&[("log", text)])].concat();
        let chunk = record(&event("secrets", "ResponseComplete"));
        let got = run(&mut pipeline(Settings::default()), &chunk);
        assert_eq!(got, Some(record(&logged("secrets"))), "{time:x?}");
        let mut sink = EntrySink::default();
        let mut idle = Pipeline::new(Settings::default(), None, || [7; 16]);
        idle.chunk(b"tag", &chunk, &mut sink).unwrap();
        assert_eq!(sink.ends.len(), 1);
        assert!(
            sink.entries[3] < 0xff || sink.entries[6] < 0xfe,
            "no marker"
        );
    }
}

#[test]
fn text_as_binary_data_with_a_mark_or_under_two_keys() {
    let settings = Settings::default();
    let (line, cut) = (event("secrets", "ResponseComplete"), logged("secrets"));
    let mut bin = b"\x81\xa3log\xc5".to_vec();
    bin.extend((line.len() as u16).to_be_bytes());
    bin.extend(line.as_bytes());
    check(&settings, &bin, &[map(&[("log", &cut)])]);
    for (front, end) in [
        ("\u{feff}", ""),
        ("\u{feff} ", "\n"),
        ("\0", "\0\0"),
        ("", "\0\n"),
    ] {
        let text = |event: &str| map(&[("log", &format!("{front}{event}{end}"))]);
        check(&settings, &text(&line), &[text(&cut)]);
    }
    check(
        &settings,
        &map(&[("log", "plain"), ("message", &line)]),
        &[map(&[("log", "plain"), ("message", &cut)])],
    );
    check(
        &settings,
        &map(&[("log", "plain"), ("message", "too")]),
        &[map(&[("log", "plain"), ("message", "too")])],
    );
}

#[test]
fn a_log_key_of_ones_own() {
    let settings = Settings {
        log_key: Some(FieldPath::key("line")),
        ..Settings::default()
    };
    let line = event("secrets", "ResponseComplete");
    check(
        &settings,
        &map(&[("log", "x"), ("line", &line)]),
        &[map(&[("log", "x"), ("line", &logged("secrets"))])],
    );
}

#[test]
fn formats_can_be_told() {
    let line = event("secrets", "ResponseComplete");
    let settings = |format| Settings {
        format,
        ..Settings::default()
    };
    // An event elsewhere is judged all the same.
    for format in [Format::Map, Format::Json, Format::Cri] {
        check(
            &settings(format),
            &map(&[("log", &line)]),
            &[map(&[("log", &logged("secrets"))])],
        );
        check(
            &settings(format),
            &msgpack(&line),
            &[msgpack(&logged("secrets"))],
        );
    }
    let cri = "2026-11-20T17:43:49Z stdout F ".to_owned() + &line;
    check(
        &settings(Format::Json),
        &map(&[("log", &cri)]),
        &[map(&[("log", &cri)])],
    );
    check(
        &settings(Format::Cri),
        &map(&[("log", &cri)]),
        &[map(&[("log", &cri.replace(&line, &logged("secrets")))])],
    );
}

#[test]
fn output_shapes() {
    let line = event("secrets", "ResponseComplete");
    let as_map = Settings {
        output_shape: OutputShape::Map,
        ..Settings::default()
    };
    let mut want = msgpack(&logged("secrets"));
    let sibling = map(&[("stream", "stdout")]);
    want[0] += 1;
    want.extend_from_slice(&sibling[1..]);
    check(
        &as_map,
        &map(&[("stream", "stdout"), ("log", &line)]),
        &[want],
    );
    check(&as_map, &msgpack(&line), &[msgpack(&logged("secrets"))]);

    let as_json = Settings {
        output_shape: OutputShape::Json,
        ..Settings::default()
    };
    let mut text = Vec::new();
    msgpack_to_json(Msgpack(&msgpack(&logged("secrets"))), 0, &mut text).unwrap();
    check(
        &as_json,
        &msgpack(&line),
        &[map(&[("log", std::str::from_utf8(&text).unwrap())])],
    );
    check(
        &as_json,
        &map(&[("log", &line), ("x", "y")]),
        &[map(&[("log", &logged("secrets")), ("x", "y")])],
    );
}

#[test]
fn records_are_enriched_in_every_shape() {
    let enrichment = Enrichment {
        records: vec![(b"cluster".to_vec(), b"c-1".to_vec())],
        keys: KeyRule::Remove(vec![KeyPattern::new("STREAM"), KeyPattern::new("user*")]),
        uuid_key: Some(b"uuid".to_vec()),
    };
    let settings = |output_shape| Settings {
        enrichment: enrichment.clone(),
        output_shape,
        ..Settings::default()
    };
    let uuid = "07070707-0707-4707-8707-070707070707";
    let line = event("secrets", "ResponseComplete");
    let tail = [("cluster", "c-1"), ("uuid", uuid)];
    let enriched = |body: &[u8]| {
        let chunk = framed(body);
        run(&mut pipeline(settings(OutputShape::Keep)), &chunk).unwrap()
    };
    assert_eq!(
        enriched(&map(&[("log", &line), ("stream", "stdout"), ("k", "v")])),
        framed(&map(&[
            ("log", &logged("secrets")),
            ("k", "v"),
            tail[0],
            tail[1]
        ]))
    );
    assert_eq!(
        enriched(&map(&[("log", "no event"), ("stream", "x")])),
        framed(&map(&[("log", "no event"), tail[0], tail[1]]))
    );
    // A structured event loses members to policy and option alike, once each.
    let user = r#""user":{"username":"u","groups":["g"]},"#;
    let mut want = msgpack(&logged("secrets").replace(user, ""));
    want[0] += 2;
    want.extend_from_slice(&map(&tail)[1..]);
    assert_eq!(enriched(&msgpack(&line)), framed(&want));
    // As a map, the removed keys are those of the event.
    let got = run(
        &mut pipeline(settings(OutputShape::Map)),
        &framed(&map(&[("stream", "x"), ("log", &line)])),
    )
    .unwrap();
    assert_eq!(got, framed(&want));
    let got = run(
        &mut pipeline(settings(OutputShape::Json)),
        &framed(&map(&[("stream", "x"), ("log", &line)])),
    )
    .unwrap();
    assert_eq!(
        got,
        framed(&map(&[("log", &logged("secrets")), tail[0], tail[1]]))
    );
}

#[test]
fn only_allowed_keys_stay() {
    let keys = KeyRule::Allow(vec![
        KeyPattern::new("auditid"),
        KeyPattern::new("requestObject"),
        KeyPattern::new("log"),
    ]);
    let settings = Settings {
        enrichment: Enrichment {
            keys,
            ..Enrichment::default()
        },
        ..Settings::default()
    };
    let line = event("secrets", "ResponseComplete");
    let got = run(&mut pipeline(settings), &framed(&msgpack(&line))).unwrap();
    assert_eq!(got, framed(&map(&[("auditID", "id-1")])));
}

#[test]
fn records_without_a_key_that_may_stay_are_dropped() {
    let keys = KeyRule::Allow(vec![KeyPattern::new("none")]);
    let settings = Settings {
        enrichment: Enrichment {
            keys,
            ..Enrichment::default()
        },
        ..Settings::default()
    };
    let line = event("secrets", "ResponseComplete");
    let mut pipeline = pipeline(settings);
    for body in [msgpack(&line), map(&[("log", &line)]), map(&[("log", "x")])] {
        assert_eq!(run(&mut pipeline, &framed(&body)), Some(Vec::new()));
    }
    assert_eq!(run(&mut pipeline, &framed(b"\x80")), None);
    assert_eq!(pipeline.stats().emptied, 3);
}

#[test]
fn the_time_can_be_that_of_the_event() {
    let settings = Settings {
        event_time: EventTimeSource::Stage,
        ..Settings::default()
    };
    let stamp = EventTime::parse(b"2026-11-20T08:00:00.123456Z").unwrap();
    let mut time = Vec::new();
    stamp.write(&mut time);
    let body = map(&[("log", &event("pods", "ResponseComplete"))]);
    let got = run(&mut pipeline(settings), &framed(&body)).unwrap();
    assert_eq!(
        got,
        [
            b"\x92\x92",
            &time[..],
            b"\x81\xa1m\x01",
            &map(&[("log", &logged("pods"))])
        ]
        .concat()
    );
    // An event without that time keeps the record's.
    let settings = Settings {
        event_time: EventTimeSource::Received,
        ..Settings::default()
    };
    check(&settings, &body, &[map(&[("log", &logged("pods"))])]);
}

#[test]
fn group_markers_pass() {
    let marker = b"\x92\x92\xd7\x00\xff\xff\xff\xff\0\0\0\0\x80\x81\xa8resource\x80";
    let record = framed(&map(&[(
        "log",
        &event("leases", "Panic").replace("leases", "secrets"),
    )]));
    let chunk = [marker, &record[..], marker].concat();
    let mut sink = EntrySink::default();
    pipeline(Settings::default())
        .chunk(b"t", &chunk, &mut sink)
        .unwrap();
    assert_eq!(sink.ends.len(), 1);
    assert!(
        run(&mut pipeline(Settings::default()), &chunk)
            .unwrap()
            .starts_with(marker)
    );
}

#[test]
fn the_output_gets_plain_entries() {
    let body = map(&[("log", &event("secrets", "ResponseComplete"))]);
    let dropped = map(&[("log", &event("secrets", "RequestReceived"))]);
    let chunk = [
        framed(&map(&[("a", "b")])),
        framed_old(&dropped),
        framed(&body),
    ]
    .concat();
    let mut sink = EntrySink::default();
    pipeline(Settings::default())
        .chunk(b"t", &chunk, &mut sink)
        .unwrap();
    let first = [b"\x92", TIME, &map(&[("a", "b")])].concat();
    let second = [b"\x92", TIME, &map(&[("log", &logged("secrets"))])].concat();
    assert_eq!(sink.entries, [&first[..], &second].concat());
    assert_eq!(sink.ends, [first.len(), first.len() + second.len()]);
}

/// Case 7.
#[test]
fn entries_in_the_form_that_the_receiver_wants() {
    let body = map(&[("a", "b")]);
    let chunk = [framed_old(&body), framed(&body)].concat();
    let seconds = &TIME[2..6];
    let times: [(EntryTime, &[u8]); 2] = [
        (EntryTime::EventTime, TIME),
        (EntryTime::Seconds, &[b"\xce", seconds].concat()),
    ];
    for (time, bytes) in times {
        for metadata in [EntryMetadata::Drop, EntryMetadata::Retain] {
            let mut sink = EntrySink::new(EntryForm { time, metadata }, 0);
            Pipeline::new(Settings::default(), None, || [0; 16])
                .chunk(b"t", &chunk, &mut sink)
                .unwrap();
            let entry = |meta: &[u8]| match metadata {
                EntryMetadata::Drop => [b"\x92", bytes, &body].concat(),
                EntryMetadata::Retain => [b"\x92\x92", bytes, meta, &body].concat(),
            };
            let expected = [entry(b"\x80"), entry(b"\x81\xa1m\x01")];
            assert_eq!(sink.entries, expected.concat(), "{time:?}, {metadata:?}");
            assert_eq!(sink.ends.len(), 2);
        }
    }
}

#[test]
fn split_lines_are_put_together() {
    let line = event("secrets", "ResponseComplete");
    let front = |partial| format!("2026-11-20T17:43:49.000000001Z stdout {partial} ");
    let piece = |partial, text: &str| framed(&map(&[("log", &(front(partial) + text))]));
    let (a, b, c) = (&line[..100], &line[100..300], &line[300..]);
    let other = framed(&map(&[("log", "2026-11-20T17:43:49Z stderr F x")]));
    let mut pipeline = pipeline(Settings::default());
    // Over several chunks, with another stream between.
    assert_eq!(
        run(&mut pipeline, &[piece("P", a), other.clone()].concat()),
        Some(other.clone())
    );
    assert_eq!(run(&mut pipeline, &piece("P", b)), Some(Vec::new()));
    assert_eq!(pipeline.stats().withheld, 2);
    let whole = framed(&map(&[("log", &(front("F") + &logged("secrets")))]));
    assert_eq!(
        run(&mut pipeline, &[piece("F", c), other.clone()].concat()),
        Some([whole, other].concat())
    );
    assert_eq!((pipeline.stats().withheld, pipeline.stats().events), (0, 1));
}

#[test]
fn pieces_of_what_is_no_event_come_back_as_they_were() {
    let piece = |partial: &str, text: &str| {
        framed(&map(&[(
            "log",
            &format!("2026-11-20T17:43:49Z stdout {partial} {text}"),
        )]))
    };
    let mut pipeline = pipeline(Settings::default());
    let chunk = [
        piece("P", "{not"),
        piece("P", " an"),
        piece("F", " event}"),
        piece("F", "x"),
    ]
    .concat();
    assert_eq!(run(&mut pipeline, &chunk).as_deref(), Some(&chunk[..]));
    // Pieces that nothing follows are given back on request.
    let first = piece("P", r#"{"kind":"Event""#);
    assert_eq!(run(&mut pipeline, &first), Some(Vec::new()));
    let mut sink = ChunkSink::new(&[], 0);
    pipeline.release(b"tag", &mut sink);
    assert_eq!(sink.finish(), Some(first));
    assert_eq!(pipeline.stats().withheld, 0);
}

/// What becomes of lines, each a chunk of its own.
fn run_lines(pipeline: &mut Pipeline, form: LineForm, lines: &[&str]) -> String {
    let mut sink = LineSink::new(form);
    for line in lines {
        let mut chunk = Vec::new();
        write_line_record(line.as_bytes(), &mut chunk);
        pipeline.chunk(b"", &chunk, &mut sink).unwrap();
    }
    pipeline.release(b"", &mut sink);
    String::from_utf8(sink.lines).unwrap()
}

#[test]
fn lines_are_records() {
    let secret = event("secrets", "ResponseComplete");
    let front = "2026-11-20T17:43:49Z stdout F ";
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{secret},{secret}]}}"#
    );
    let (a, b) = secret.split_at(50);
    let left = logged("secrets");
    for (lines, want) in [
        (&[&secret[..]][..], format!("{left}\n")),
        (&[&event("secrets", "RequestReceived")], String::new()),
        (&["plain"], "plain\n".to_owned()),
        (&[&format!("{front}{secret}")], format!("{front}{left}\n")),
        (&[&list], format!("{left}\n{left}\n")),
        (
            &[
                &format!("2026-11-20T17:43:49Z stdout P {a}"),
                &format!("{front}{b}"),
            ],
            format!("{front}{left}\n"),
        ),
    ] {
        let got = run_lines(&mut pipeline(Settings::default()), LineForm::Event, lines);
        assert_eq!(got, want, "{lines:?}");
    }
    let enriched = Settings {
        enrichment: Enrichment {
            records: vec![(b"c".to_vec(), b"\"1\"".to_vec())],
            ..Enrichment::default()
        },
        ..Settings::default()
    };
    let got = run_lines(
        &mut pipeline(enriched),
        LineForm::Record,
        &[&secret, "plain"],
    );
    let records: Vec<serde_json::Value> = got
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let want =
        [left, "plain".to_owned()].map(|text| serde_json::json!({"log": text, "c": "\"1\""}));
    assert_eq!(records, want);
}

#[test]
fn records_are_counted_once() {
    let line = event("secrets", "ResponseComplete");
    let piece = |partial: &str, text: &str| format!("2026-11-20T17:43:49Z stdout {partial} {text}");
    let (a, b, c) = (&line[..100], &line[100..300], &line[300..]);
    for (pieces, events) in [
        ([piece("P", a), piece("P", b), piece("F", c)], 1),
        (
            [piece("P", "{not"), piece("P", " an"), piece("F", " event}")],
            0,
        ),
        (
            [piece("P", "{no"), piece("P", " end"), piece("P", " ever")],
            0,
        ),
    ] {
        let pieces = pieces.each_ref().map(String::as_str);
        let mut pipeline = pipeline(Settings::default());
        run_lines(&mut pipeline, LineForm::Event, &pieces);
        let Stats {
            records,
            events: found,
            non_audit,
            malformed,
            ..
        } = *pipeline.stats();
        assert_eq!((records, found), (3, events), "{pieces:?}");
        assert_eq!(non_audit + malformed, if events == 0 { 3 } else { 0 });
    }
}

#[test]
fn pieces_that_wait_for_too_long_come_back() {
    let piece = |time: &str, partial: &str, text: &str| {
        framed(&map(&[("log", &format!("{time} stdout {partial} {text}"))]))
    };
    let mut pipeline = pipeline(Settings::default());
    let early = piece("2026-11-20T17:43:49Z", "P", r#"{"kind":"Event""#);
    assert_eq!(run(&mut pipeline, &early), Some(Vec::new()));
    assert_eq!(pipeline.stats().withheld, 1);
    let late = piece("2026-11-20T17:44:50Z", "F", "x");
    assert_eq!(run(&mut pipeline, &late), Some([early, late].concat()));
    assert_eq!(
        (pipeline.stats().withheld, pipeline.stats().records),
        (0, 2)
    );
}

#[test]
fn a_level_that_is_unknown_stays() {
    let line = event("secrets", "ResponseComplete")
        .replace(r#""level":"RequestResponse""#, r#""level":"Everything""#);
    let want = logged("secrets").replace(r#""level":"Metadata""#, r#""level":"Everything""#);
    check(
        &Settings::default(),
        &map(&[("log", &line)]),
        &[map(&[("log", &want)])],
    );
}

#[test]
fn what_has_neither_level_nor_type_is_not_an_event() {
    let line = r#"{"auditID":"a","requestURI":"/v3/clusters","stage":"RequestReceived"}"#;
    check(
        &Settings::default(),
        &map(&[("log", line)]),
        &[map(&[("log", line)])],
    );
    check(&Settings::default(), &msgpack(line), &[msgpack(line)]);
    let typed = line.replace("{", r#"{"apiVersion":"audit.k8s.io/v1","#);
    check(&Settings::default(), &map(&[("log", &typed)]), &[]);
}

#[test]
fn keys_may_be_written_with_escapes_or_twice() {
    let settings = Settings::default();
    let line = event("secrets", "ResponseComplete")
        .replace("requestObject", r"request\u004fbject")
        .replace(
            r#""responseObject""#,
            r#""responseObject":1,"responseObject""#,
        );
    check(
        &settings,
        &map(&[("log", &line)]),
        &[map(&[("log", &logged("secrets"))])],
    );
}

#[test]
fn tables_and_lists_lose_managed_fields() {
    let check_body = |body: &str, want: &str| {
        let base = event("pods", "ResponseComplete");
        let response = r#"{"kind":"X","metadata":{"name":"x","managedFields":[]}}"#;
        check(
            &Settings::default(),
            &map(&[("log", &base.replace(response, body))]),
            &[map(&[(
                "log",
                &logged("pods").replace(r#"{"kind":"X","metadata":{"name":"x"}}"#, want),
            )])],
        );
    };
    check_body(
        r#"{"items":[{"metadata":{"managedFields":[1]}},{"spec":{"metadata":{"managedFields":[2]}}},3],"metadata":{}}"#,
        r#"{"items":[{"metadata":{}},{"spec":{"metadata":{"managedFields":[2]}}},3],"metadata":{}}"#,
    );
    let table = |kind: &str, fields: &str| {
        format!(
            r#"{{"rows":[{{"cells":[],"object":{{"metadata":{{"a":1{fields}}}}}}}],"kind":"{kind}","apiVersion":"meta.k8s.io/v1"}}"#
        )
    };
    check_body(
        &table("Table", r#","managedFields":[1]"#),
        &table("Table", ""),
    );
    let other = table("Other", r#","managedFields":[1]"#);
    check_body(&other, &other);
}

#[test]
fn patches_keep_managed_fields() {
    let line = event("pods", "ResponseComplete").replace(r#""verb":"update""#, r#""verb":"patch""#);
    let want = line.replace(r#","managedFields":[]"#, "");
    check(
        &Settings::default(),
        &map(&[("log", &line)]),
        &[map(&[("log", &want)])],
    );
}

#[test]
fn a_chunk_that_breaks_off_is_done_up_to_there() {
    let record = framed(&map(&[("log", &event("secrets", "RequestReceived"))]));
    let chunk = [&record[..], b"\xc1rest"].concat();
    let mut sink = ChunkSink::new(&chunk, chunk.len());
    assert_eq!(
        pipeline(Settings::default()).chunk(b"t", &chunk, &mut sink),
        Err(record.len())
    );
    assert_eq!(sink.finish().as_deref(), Some(&[][..]));
}

#[test]
fn hostile_nesting_is_left_alone() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let line = event("secrets", "ResponseComplete").replace("1.50e0", &deep);
    check(
        &Settings::default(),
        &map(&[("log", &line)]),
        &[map(&[("log", &logged("secrets"))])],
    );
    let as_map = Settings {
        output_shape: OutputShape::Map,
        ..Settings::default()
    };
    let line = event("configmaps", "ResponseComplete").replace("1.50e0", &deep);
    check(&as_map, &map(&[("log", &line)]), &[map(&[("log", &line)])]);
    let mut body = vec![0x81, 0xa1, b'a'];
    body.extend(vec![0x91; 100_000]);
    body.push(0xc0);
    check(&Settings::default(), &body.clone(), &[body]);
}

#[test]
fn records_of_16_mib() {
    let body = format!(r#"{{"k":"{}"}}"#, "x".repeat(16 << 20));
    let line = event("secrets", "ResponseComplete").replace("1.50e0", &body);
    check(
        &Settings::default(),
        &map(&[("log", &line)]),
        &[map(&[("log", &logged("secrets"))])],
    );
    let mut pipeline = pipeline(Settings::default());
    let chunk = framed(&map(&[("log", &line[..line.len() - 1])]));
    assert_eq!(run(&mut pipeline, &chunk), None);
    assert_eq!(pipeline.stats().malformed, 1);
}

#[test]
fn chunks_cut_anywhere_or_with_flipped_bytes() {
    let line = event("secrets", "ResponseComplete");
    let chunk = [framed(&map(&[("log", &line)])), framed_old(&msgpack(&line))].concat();
    for end in 0..chunk.len() {
        let mut sink = ChunkSink::new(&chunk[..end], end);
        let _ = pipeline(Settings::default()).chunk(b"t", &chunk[..end], &mut sink);
    }
    for at in 0..chunk.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = chunk.clone();
            damaged[at] ^= flip;
            let mut sink = ChunkSink::new(&damaged, damaged.len());
            let _ = pipeline(Settings::default()).chunk(b"t", &damaged, &mut sink);
        }
    }
}

#[test]
fn without_a_policy_only_the_options_count() {
    let body = map(&[("log", &event("secrets", "RequestReceived"))]);
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    assert_eq!(run(&mut pipeline, &framed(&body)), None);
}

/// Finds plain text.
struct Word(&'static str);

impl Pattern for Word {
    fn is_in(&self, text: &[u8]) -> bool {
        memchr::memmem::find(text, self.0.as_bytes()).is_some()
    }
}

#[test]
fn conditions_hold_for_each_event_of_a_list_and_for_other_lines() {
    let event =
        |verb| format!(r#"{{"auditID":"a","stage":"Panic","level":"Request","verb":"{verb}"}}"#);
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{},{}]}}"#,
        event("get"),
        event("list")
    );
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    pipeline.set_conditions(vec![Condition {
        effect: Effect::Require,
        place: Place::Field(FieldPath::parse("verb").unwrap()),
        pattern: Box::new(Word("list")),
    }]);
    let lines = [&list, &event("get"), &event("list"), "verb list"];
    let out = run_lines(&mut pipeline, LineForm::Event, &lines);
    let kept = event("list") + "\n";
    assert_eq!(out, kept.repeat(2));
    let stats = pipeline.stats();
    let counts = (stats.kept(), stats.excluded_events, stats.excluded_others);
    assert_eq!(counts, (2, 2, 1));
}
