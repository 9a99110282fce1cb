//! What each fuzz target checks, as plain functions: the targets feed them, and
//! the tests of the package replay the corpora through them.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use kube_audit_core::chunk::{ChunkSink, EntrySink, LineSink, write_line_record};
use kube_audit_core::pipeline::{
    EventTimeSource, Format, MachineAudit, OnOther, OnUnreadable, OutputShape, Pipeline, Settings,
};
use kube_audit_core::policy::{Level, Policy, Ruleset, Syntax};
use kube_audit_core::stage::detect::{
    DetectSettings, Detections, Detector, DetectorSettings, Selection, Verdict,
};
use kube_audit_core::stage::{
    Enrichment, Evaluation, KeyPattern, KeyRule, evaluate, explain_detections,
};
use kube_audit_forward::protocol::handshake::{
    Auth, Handshake, HandshakeError, Progress, Secret, Timers,
};
use kube_audit_forward::protocol::wire::{Inbox, Reply};
use kube_audit_machine::{Content, Grouper, Limits, Part, Slim, Source, Taken, write_event};
use serde_json::Value;

/// A policy in which every level and selector occurs.
const POLICY: &str = r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[
    {"level":"None","users":["nobody"]},
    {"level":"None","userGroups":["noise"],"verbs":["get","watch"]},
    {"level":"Metadata","resources":[{"resources":["secrets","*/status"]}]},
    {"level":"Request","namespaces":["a",""],"resources":[{"group":"*","resources":["pods/*"],"resourceNames":["x"]}]},
    {"level":"Metadata","nonResourceURLs":["/healthz*"],"omitStages":["Panic"]},
    {"level":"RequestResponse","verbs":["patch","update","create"],"omitManagedFields":true},
    {"level":"Request","omitManagedFields":false}]}"#;

static RULESET: LazyLock<Arc<Ruleset>> = LazyLock::new(|| {
    let parsed =
        Policy::parse("fuzz", POLICY.as_bytes(), Syntax::File).expect("the policy is right");
    Arc::new(Ruleset::compile(&parsed.policy))
});

fn pipeline(settings: Settings, policy: bool) -> Pipeline {
    Pipeline::new(settings, policy.then(|| Arc::clone(&RULESET)), || [0; 16])
}

fn shape(output_shape: OutputShape) -> Settings {
    Settings {
        output_shape,
        ..Settings::default()
    }
}

/// Rewrites a chunk; `None` when something in it is no record.
fn rewrite(pipeline: &mut Pipeline, chunk: &[u8]) -> Option<Vec<u8>> {
    let mut sink = ChunkSink::new(chunk, chunk.len());
    let result = pipeline.chunk(b"tag", chunk, &mut sink);
    pipeline.release(b"tag", &mut sink);
    let out = sink.finish().unwrap_or_else(|| chunk.to_vec());
    result.is_ok().then_some(out)
}

/// A chunk from a host: whatever it is, the answer is a chunk again.
pub fn chunk(data: &[u8]) {
    let Some((&choice, chunk)) = data.split_first() else {
        return;
    };
    // Without a policy and options nothing changes, but for lists and split lines.
    let mut idle = pipeline(Settings::default(), false);
    let untouched = rewrite(&mut idle, chunk);
    let whole = untouched.is_some();
    if idle.stats().events + idle.stats().non_audit + idle.stats().malformed == idle.stats().records
        && idle.stats().events == 0
    {
        assert_eq!(untouched.as_deref().unwrap_or(chunk), chunk);
    }

    let settings = Settings {
        format: [Format::Auto, Format::Map, Format::Json, Format::Cri][usize::from(choice & 3)],
        output_shape: [
            OutputShape::Keep,
            OutputShape::Map,
            OutputShape::Json,
            OutputShape::Keep,
        ][usize::from(choice >> 2 & 3)],
        log_key: None,
        non_audit: if choice & 16 == 0 {
            OnOther::Keep
        } else {
            OnOther::Drop
        },
        on_error: if choice & 32 == 0 {
            OnOther::Keep
        } else {
            OnOther::Drop
        },
        on_unreadable: OnUnreadable::Cut,
        event_time: if choice & 64 == 0 {
            EventTimeSource::Keep
        } else {
            EventTimeSource::Stage
        },
        enrichment: if choice & 128 == 0 {
            Enrichment::default()
        } else {
            enrichment()
        },
        machine_audit: MachineAudit::Keep,
        machine_audit_slim: false,
    };
    let enriched = choice & 128 != 0;
    let mut first = pipeline(settings.clone(), true);
    if let Some(once) = rewrite(&mut first, chunk) {
        let mut second = pipeline(settings, true);
        let twice = rewrite(&mut second, &once).expect("what goes out can be read again");
        // What is left of an event is decided again in the same way. An event of a
        // list loses what the list said of it, so that lists are left out here.
        let lists = first.stats().events > first.stats().records;
        if !enriched && !lists && choice & 15 == 0 {
            assert_eq!(once, twice, "a second pass changes nothing");
        }
    }
    let mut entries = EntrySink::default();
    let result = pipeline(Settings::default(), true).chunk(b"tag", chunk, &mut entries);
    assert_eq!(result.is_ok(), whole);
    assert_eq!(
        entries.ends.last().copied().unwrap_or(0),
        entries.entries.len()
    );
}

fn enrichment() -> Enrichment {
    Enrichment {
        records: vec![(b"cluster".to_vec(), b"c".to_vec())],
        keys: KeyRule::Remove(vec![KeyPattern::new("stream"), KeyPattern::new("request*")]),
        uuid_key: Some(b"uuid".to_vec()),
    }
}

/// What becomes of lines, as lines again.
fn run_lines<'l>(pipeline: &mut Pipeline, lines: impl Iterator<Item = &'l [u8]>) -> Vec<u8> {
    let mut sink = LineSink::default();
    for line in lines {
        let mut chunk = Vec::new();
        write_line_record(line, &mut chunk);
        let result = pipeline.chunk(b"", &chunk, &mut sink);
        result.expect("a line is a record");
    }
    pipeline.release(b"", &mut sink);
    sink.lines
}

/// The text of a record: an event comes out as a slow and obvious reading of it says.
pub fn event(data: &[u8]) {
    if data.contains(&b'\n') {
        return;
    }
    let line = || std::iter::once(data);
    let out = run_lines(&mut pipeline(Settings::default(), true), line());
    let enriched = Settings {
        enrichment: enrichment(),
        ..Settings::default()
    };
    run_lines(&mut pipeline(enriched, true), line());

    let mut evaluations: Vec<Evaluation> = Vec::new();
    let evaluated = evaluate(data, &RULESET, |evaluation| evaluations.push(evaluation)).is_ok();
    let Ok(event @ Value::Object(_)) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    if !evaluated {
        assert_eq!(out, [data, b"\n"].concat(), "what is no event stays");
        return;
    }
    let is_list = event["kind"] == "EventList"
        && event["apiVersion"]
            .as_str()
            .is_some_and(|version| version.starts_with("audit.k8s.io/"));
    let items = match event.get("items") {
        Some(Value::Array(items)) if is_list => items.clone(),
        _ => vec![event],
    };
    assert_eq!(items.len(), evaluations.len());
    let want: Vec<Value> = items
        .into_iter()
        .zip(&evaluations)
        .filter_map(|(event, evaluation)| obvious(event, evaluation))
        .collect();
    let got: Vec<Value> = out
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("what goes out is JSON"))
        .collect();
    assert_eq!(got, want);

    // As text turned into a map, and as a map, it is the same.
    let Some(map) = rewrite(&mut pipeline(shape(OutputShape::Map), false), &record(data)) else {
        return;
    };
    let direct = rewrite(&mut pipeline(shape(OutputShape::Map), true), &record(data));
    let mut on_map = pipeline(Settings::default(), true);
    let later = rewrite(&mut on_map, &map);
    if on_map.stats().events == 1 && evaluations.len() == 1 {
        assert_eq!(direct, later);
    }
}

/// An event as the policy leaves it, done on a tree.
fn obvious(mut event: Value, evaluation: &Evaluation) -> Option<Value> {
    let level = evaluation.logged?;
    let is_known = |value: &Value| {
        let name = value.as_str().map(str::as_bytes);
        name.and_then(Level::from_name).is_some()
    };
    if let Some(value) = event.get_mut("level").filter(|value| is_known(value)) {
        *value = level.name().into();
    }
    let fields = event.as_object_mut()?;
    if level < Level::RequestResponse {
        fields.remove("responseObject");
    }
    if level < Level::Request {
        fields.remove("requestObject");
        if let Some(Value::Object(annotations)) = fields.get_mut("annotations") {
            let before = annotations.len();
            annotations.retain(|key, _| !key.starts_with("patch.webhook.admission.k8s.io/"));
            if annotations.is_empty() && before > 0 {
                fields.remove("annotations");
            }
        }
    }
    if evaluation.decision.omit_managed_fields {
        let is_patch = fields.get("verb").is_some_and(|verb| verb == "patch");
        for name in ["requestObject", "responseObject"] {
            if let Some(Value::Object(object)) = fields
                .get_mut(name)
                .filter(|_| !(is_patch && name == "requestObject"))
            {
                let is_table = object.get("kind").is_some_and(|kind| kind == "Table")
                    && object
                        .get("apiVersion")
                        .and_then(Value::as_str)
                        .is_some_and(|v| v.starts_with("meta.k8s.io/"));
                forget_managed_fields(object.get_mut("metadata"));
                if let Some(Value::Array(items)) = object.get_mut("items") {
                    items
                        .iter_mut()
                        .for_each(|item| forget_managed_fields(item.get_mut("metadata")));
                }
                if let (Some(Value::Array(rows)), true) = (object.get_mut("rows"), is_table) {
                    for row in rows {
                        let object = row.get_mut("object");
                        forget_managed_fields(object.and_then(|object| object.get_mut("metadata")));
                    }
                }
            }
        }
    }
    Some(event)
}

fn forget_managed_fields(metadata: Option<&mut Value>) {
    if let Some(Value::Object(metadata)) = metadata {
        metadata.remove("managedFields");
    }
}

/// A record with a text under `log`.
fn record(text: &[u8]) -> Vec<u8> {
    let length = (text.len() as u32).to_be_bytes();
    [
        b"\x92\x92\xd7\x00\0\0\0\x01\0\0\0\x02\x80\x81\xa3log\xdb",
        &length[..],
        text,
    ]
    .concat()
}

/// Lines of a container runtime: whatever they are, none is lost, and each is counted once.
pub fn cri(data: &[u8]) {
    let mut pipeline = pipeline(Settings::default(), false);
    let lines = || data.split(|&b| b == b'\n');
    let out = run_lines(&mut pipeline, lines());
    let stats = pipeline.stats();
    assert_eq!((stats.withheld, stats.records), (0, lines().count() as u64));
    if stats.events == 0 {
        let mut want: Vec<&[u8]> = lines().collect();
        let mut got: Vec<&[u8]> = out.split(|&b| b == b'\n').collect();
        got.pop();
        want.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, want, "what holds no event comes back as it was");
    }
}

/// A policy: accepted or refused, and what is accepted can be compiled and asked.
pub fn policy(data: &[u8]) {
    for syntax in [Syntax::File, Syntax::Inline] {
        if let Ok(parsed) = Policy::parse("fuzz", data, syntax) {
            let ruleset = Arc::new(Ruleset::compile(&parsed.policy));
            let event = br#"{"auditID":"a","stage":"Panic","level":"Request","verb":"get","user":{"username":"u"},"objectRef":{"resource":"pods","namespace":"n"}}"#;
            evaluate(event, &ruleset, |_| ()).expect("the event is one");
        }
    }
}

/// What a receiver sends back, cut into pieces: the pieces say what the whole says.
pub fn ack(data: &[u8]) {
    let Some((&size, bytes)) = data.split_first() else {
        return;
    };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut inbox = Inbox::default();
        let mut replies = Vec::new();
        for piece in pieces {
            inbox.push(piece);
            loop {
                match inbox.next_reply() {
                    Ok(Some(Reply::Ack(id))) => replies.push(Ok(Some(id.to_vec()))),
                    Ok(Some(Reply::Nack)) => replies.push(Ok(None)),
                    Ok(None) => break,
                    Err(error) => {
                        replies.push(Err(error));
                        return replies;
                    }
                }
            }
        }
        replies
    };
    let whole = read(&mut std::iter::once(bytes));
    let pieces = read(&mut bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
}

/// What a receiver says in a handshake, HELO and what follows, cut into pieces:
/// the pieces do what the whole does, and nobody gets in without the key.
pub fn handshake(data: &[u8]) {
    let Some((&[size, high, low], bytes)) = data.split_first_chunk() else {
        return;
    };
    let helo = usize::from(u16::from_be_bytes([high, low]));
    let Some((helo, pong)) = bytes.split_at_checked(helo) else {
        return;
    };
    let now = Instant::now();
    let run = |size: usize| -> Result<(Vec<u8>, bool), HandshakeError> {
        let user = Some(("user".to_owned(), Secret::new("word")));
        let auth =
            Auth::new(Secret::new("key"), "client".to_owned(), user).expect("the names are short");
        let mut handshake = Handshake::new(auth, [7; 16], Timers::default(), now);
        let mut sent = Vec::new();
        for part in [helo, pong] {
            for piece in part.chunks(size) {
                handshake = match handshake.handle_input(piece, now)? {
                    Progress::Pending(handshake) => handshake,
                    Progress::Complete(_) => panic!("the key was guessed"),
                };
            }
            let ping = handshake.poll_transmit().to_vec();
            assert!(ping.len() < 1024);
            handshake.transmitted(ping.len());
            sent.extend(ping);
        }
        let is_waiting = handshake.handle_timeout(now).is_ok();
        Ok((sent, is_waiting))
    };
    assert_eq!(run(usize::from(size).max(1)), run(usize::MAX));
}

/// An event, and behind its line a file of own detections: the event gets the same labels as
/// text and as a map, and they are those that are explained.
pub fn detect(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == b'\n');
    let (line, rules) = (parts.next().unwrap_or_default(), parts.next());
    let own = Detections::parse("fuzz", rules.unwrap_or_default()).unwrap_or_default();
    let detector = Detector::new(&Selection::all(), &own, DetectorSettings::default());
    let detector = Arc::new(detector.expect("all are not none"));
    let run = |chunk: &[u8], output_shape| {
        let mut pipeline = pipeline(shape(output_shape), false);
        pipeline.set_detect(Arc::clone(&detector), DetectSettings::default());
        let out = rewrite(&mut pipeline, chunk).expect("what goes out is a chunk");
        (out, pipeline.stats().clone())
    };
    let mut chunk = Vec::new();
    write_line_record(line, &mut chunk);
    let (text, kept) = run(&chunk, OutputShape::Keep);
    if kept.detections.iter().all(|counter| counter.hits == 0) {
        assert!(
            text == chunk || kept.events != 1,
            "nothing changes without a label"
        );
    }
    let mut fired = 0;
    let explained = explain_detections(line, &detector, |explanations| {
        let explanations = explanations.iter().flatten();
        let fires = explanations.filter(|explanation| explanation.verdict == Verdict::Fires);
        fired += fires.count() as u64;
    });
    let labels: u64 = kept.detections.iter().map(|counter| counter.hits).sum();
    if explained.is_ok() && kept.malformed == 0 {
        assert_eq!(fired, labels, "what fires is what is explained");
    }
    let (map, unfolded) = run(&chunk, OutputShape::Map);
    if unfolded.malformed == 0 && unfolded.events > 0 {
        let (_, again) = run(&map, OutputShape::Keep);
        assert_eq!(
            again.detections, kept.detections,
            "text and map have the same labels"
        );
    }
}

/// Linux audit records, a line each; fields of maps are parted by a byte 0x1e, and an empty line
/// ends a chunk. None gets lost, what is held is bounded, and each event is JSON that is in
/// proportion to its records.
pub fn machine(data: &[u8]) {
    let limits = Limits {
        bytes: 4096,
        records: 16,
    };
    let mut grouper = Grouper::new(limits);
    let (mut found, mut written) = (0, 0);
    let mut event = |parts: &[Part<'_>]| {
        written += parts.len();
        let bytes: usize = parts.iter().map(|part| part.text.len()).sum();
        for slim in [Slim::Off, Slim::On] {
            let mut json = Vec::new();
            match write_event(parts, slim, &mut json) {
                Content::Nothing => assert!(json.is_empty()),
                Content::Event => {
                    let event: Value = serde_json::from_slice(&json).expect("an event is JSON");
                    assert!(event["serial"].is_u64() || event["serial"].is_array());
                    assert!(
                        json.len() <= 8 * bytes + 8192 * parts.len(),
                        "{}",
                        json.len()
                    );
                }
            }
        }
    };
    for line in data.split(|&byte| byte == b'\n') {
        let mut done = Vec::new();
        let mut source = Source::new(None);
        for (number, field) in line.split(|&byte| byte == 0x1e).enumerate() {
            let at = field.iter().position(|&byte| byte == b'=').unwrap_or(0);
            let (name, value) = field.split_at(at);
            match number {
                0 => source.see(number, b"log", Some(field)),
                _ => source.see(number, name, value.get(1..)),
            }
        }
        if line.is_empty() {
            grouper.end_of_chunk(b"tag", &mut done);
        } else if let Some(record) = source.find() {
            found += 1;
            let part = Part {
                header: record.header,
                text: &record.text,
            };
            if grouper.take(b"tag", &part, line, &mut done) == Taken::Alone {
                event(&[part]);
            }
        }
        assert!(grouper.held() <= limits.records);
        done.iter().for_each(|group| event(&group.parts()));
    }
    let mut rest = Vec::new();
    grouper.release(b"tag", &mut rest);
    rest.iter().for_each(|group| event(&group.parts()));
    assert_eq!((found, grouper.held()), (written, 0));
}
