//! The work that is measured in one process: by time, and by instructions.

#![allow(dead_code, reason = "each program uses a part of it")]

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use kube_audit_core::chunk::{ChunkSink, EntryForm, EntrySink};
use kube_audit_core::pipeline::{Pipeline, Settings};
use kube_audit_core::policy::{Attributes, Policy, Preset, Ruleset, Syntax};
use kube_audit_core::stage::Enrichment;
use kube_audit_core::stage::detect::{
    DetectSettings, Detections, Detector, DetectorSettings, Selection,
};
use kube_audit_core::stage::redact::Settings as RedactionSettings;
use serde::Deserialize;

use kube_audit_testkit::audit_log::Events;
use kube_audit_testkit::policy::{Request, json_lines};

/// About as much as the tail input hands over at once.
const CHUNK: usize = 256 << 10;

/// Something done to the same events again and again.
pub struct Workload {
    lines: Vec<String>,
    /// The lines as records.
    chunks: Vec<Vec<u8>>,
    work: Work,
}

enum Work {
    /// The pass of serde_json.
    Parse,
    Filter(Box<Pipeline>),
    /// What the output does with the records before it sends them.
    Prepare(Box<Pipeline>),
    /// Recorded requests instead of the events.
    Decide(Ruleset, Vec<Attributes<'static>>),
}

impl Workload {
    /// All of them.
    pub const NAMES: [&'static str; 13] = [
        "attributes",
        "unfiltered",
        "kept",
        "stripped",
        "dropped",
        "giantswarm",
        "detected",
        "metadata",
        "metadata redacted",
        "bodies",
        "bodies redacted",
        "entries",
        "decisions",
    ];

    /// What one of them does.
    pub fn meaning(name: &str) -> &'static str {
        match name {
            "attributes" => "serde_json: the attributes of each event",
            "unfiltered" => "filter without policy, one `Record`",
            "kept" => "filter, every event kept as it is",
            "stripped" => "filter, every event brought to Metadata",
            "dropped" => "filter, every event dropped",
            "giantswarm" => "filter, policy giantswarm, one `Record`",
            "detected" => "the same with all detections",
            "metadata" => "filter, events without bodies kept",
            "metadata redacted" => "the same with redaction",
            "bodies" => "filter, events with bodies kept",
            "bodies redacted" => "the same with redaction",
            "entries" => "output without policy, nothing to change",
            "decisions" => "decisions alone, policy giantswarm",
            _ => panic!("no workload {name}"),
        }
    }

    /// A workload over so many events.
    pub fn new(name: &str, events: usize) -> Workload {
        let all = |level: &str| {
            let text =
                format!(r#"{{"apiVersion":"audit.k8s.io/v1","rules":[{{"level":"{level}"}}]}}"#);
            let policy = Policy::parse("bench", text.as_bytes(), Syntax::File);
            Some(policy.unwrap().policy)
        };
        let record = Enrichment {
            records: vec![(b"cluster".into(), b"c-1".into())],
            ..Enrichment::default()
        };
        let none = Enrichment::default;
        let pipeline = |policy: Option<Policy>, enrichment| {
            let settings = Settings {
                enrichment,
                ..Settings::default()
            };
            let ruleset = policy.map(|policy| Arc::new(Ruleset::compile(&policy)));
            Box::new(Pipeline::new(settings, ruleset, || [0; 16]))
        };
        let filter = |policy, enrichment| Work::Filter(pipeline(policy, enrichment));
        let giantswarm = || Preset::Giantswarm.policy().unwrap();
        let work = match name {
            "attributes" => Work::Parse,
            "unfiltered" => filter(None, record),
            "kept" => filter(all("RequestResponse"), none()),
            "stripped" => filter(all("Metadata"), none()),
            "dropped" => filter(all("None"), none()),
            "giantswarm" => filter(Some(giantswarm()), record),
            "detected" => {
                let settings = DetectorSettings::default();
                let none_of_its_own = Detections::default();
                let detector = Detector::new(&Selection::all(), &none_of_its_own, settings);
                let mut pipeline = pipeline(Some(giantswarm()), record);
                pipeline.set_detect(Arc::new(detector.unwrap()), DetectSettings::default());
                Work::Filter(pipeline)
            }
            "metadata" | "bodies" => filter(all("RequestResponse"), none()),
            "metadata redacted" | "bodies redacted" => {
                let mut pipeline = pipeline(all("RequestResponse"), none());
                pipeline.set_redaction(Some(RedactionSettings::default()));
                Work::Filter(pipeline)
            }
            "entries" => Work::Prepare(pipeline(None, none())),
            "decisions" => Work::Decide(
                Ruleset::compile(&giantswarm()),
                requests().into_iter().cycle().take(events).collect(),
            ),
            _ => panic!("no workload {name}"),
        };
        let has_body = |line: &String| line.contains("Object\":{");
        let is_wanted = |line: &String| match name.split(' ').next() {
            Some("metadata") => !has_body(line),
            Some("bodies") => has_body(line),
            _ => true,
        };
        let lines: Vec<String> = Events::new().filter(is_wanted).take(events).collect();
        let mut chunks = vec![Vec::new()];
        for line in &lines {
            if chunks.last().is_some_and(|chunk| chunk.len() > CHUNK) {
                chunks.push(Vec::new());
            }
            chunks.last_mut().unwrap().extend(record_of(line));
        }
        Workload {
            lines,
            chunks,
            work,
        }
    }

    /// The size of the lines.
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(String::len).sum()
    }

    /// Does it once for each event.
    pub fn run(&mut self) {
        match &mut self.work {
            Work::Parse => {
                for line in &self.lines {
                    let event: Event<'_> = serde_json::from_slice(line.as_bytes()).unwrap();
                    black_box(&event);
                }
            }
            Work::Filter(pipeline) => {
                for chunk in &self.chunks {
                    let mut sink = ChunkSink::new(chunk, chunk.len() + chunk.len() / 8);
                    pipeline.chunk(b"tag", chunk, &mut sink).unwrap();
                    black_box(sink.finish());
                }
            }
            Work::Prepare(pipeline) => {
                for chunk in &self.chunks {
                    let mut sink = EntrySink::new(EntryForm::default(), chunk.len());
                    pipeline.chunk(b"tag", chunk, &mut sink).unwrap();
                    black_box(sink);
                }
            }
            Work::Decide(ruleset, requests) => {
                for request in requests {
                    black_box(ruleset.decide(black_box(request)));
                }
            }
        }
    }
}

/// Recorded requests, which are there until the program ends.
fn requests() -> Vec<Attributes<'static>> {
    let requests = json_lines("attrs.jsonl");
    let requests = requests.iter().map(|line| {
        let request: &'static Request = Box::leak(Box::new(Request::from_json(&line["attrs"])));
        let groups: Vec<&[u8]> = request
            .groups
            .iter()
            .map(|group| group.as_bytes())
            .collect();
        request.attributes(Vec::leak(groups))
    });
    requests.collect()
}

/// A line as the tail input makes a record of it.
fn record_of(line: &str) -> Vec<u8> {
    let mut record = b"\x92\x92\xd7\x00\0\0\0\x01\0\0\0\x02\x80\x81\xa3log".to_vec();
    match u16::try_from(line.len()) {
        Ok(length) => {
            record.push(0xda);
            record.extend(length.to_be_bytes());
        }
        Err(_) => panic!("no event of this log is that large"),
    }
    record.extend(line.as_bytes());
    record
}

/// What a policy looks at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, and that is all")]
struct Event<'a> {
    #[serde(borrow)]
    level: Cow<'a, str>,
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow, rename = "requestURI")]
    request_uri: Cow<'a, str>,
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow, default)]
    object_ref: Option<ObjectRef<'a>>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and that is all")]
struct User<'a> {
    #[serde(borrow)]
    username: Cow<'a, str>,
    #[serde(borrow)]
    groups: Vec<Group<'a>>,
}

/// A type of its own, because a bare `Cow` in a list would be copied.
#[derive(Deserialize)]
#[allow(dead_code, reason = "read, and that is all")]
struct Group<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "read, and that is all")]
struct ObjectRef<'a> {
    #[serde(borrow)]
    api_group: Cow<'a, str>,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}
