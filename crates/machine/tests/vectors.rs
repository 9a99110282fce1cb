//! Groups of records, and the events that they must give: a few of the repository's own, and
//! those of the ground truth where `KUBE_AUDIT_GROUND_TRUTH` is set.

use std::path::Path;

use kube_audit_machine::{Content, Group, Grouper, Part, Slim, Source, Taken, write_event};
use serde_json::{Value, json};

/// Reads chunks of records as a filter does.
#[derive(Default)]
struct Stream {
    grouper: Grouper,
    said: Vec<Value>,
}

impl Stream {
    fn event(&mut self, parts: &[Part<'_>]) {
        let mut out = Vec::new();
        if write_event(parts, Slim::Off, &mut out) == Content::Event {
            self.said
                .push(serde_json::from_slice(&out).expect("an event is JSON"));
        }
    }

    fn events(&mut self, groups: &[Group]) {
        for group in groups {
            self.event(&group.parts());
        }
    }

    fn record(&mut self, number: usize, record: &Value) {
        let record = record.as_object().expect("records are maps");
        let mut source = Source::new(None);
        for (at, (name, value)) in record.iter().enumerate() {
            source.see(at, name.as_bytes(), value.as_str().map(str::as_bytes));
        }
        let Some(found) = source.find() else {
            return self.said.push(json!({ "untouched": number }));
        };
        let part = Part {
            header: found.header,
            text: &found.text,
        };
        let mut done = Vec::new();
        let taken = self.grouper.take(b"tag", &part, b"", &mut done);
        self.events(&done);
        if taken == Taken::Alone {
            self.event(&[part]);
        }
    }

    fn end_of_chunk(&mut self) -> Vec<Value> {
        let mut done = Vec::new();
        self.grouper.end_of_chunk(b"tag", &mut done);
        self.events(&done);
        std::mem::take(&mut self.said)
    }

    fn held(mut self) -> Vec<Value> {
        let mut done = Vec::new();
        self.grouper.release(b"tag", &mut done);
        self.events(&done);
        self.said
    }
}

fn list(vector: &Value, name: &str) -> Vec<Value> {
    vector[name].as_array().cloned().unwrap_or_default()
}

/// Compares what a vector's records give; returns what differs.
fn differs(vector: &Value) -> Option<String> {
    let mut stream = Stream::default();
    let records = list(vector, "records");
    let chunks = match vector["chunks"].as_array() {
        Some(chunks) => chunks.iter().filter_map(Value::as_u64).collect(),
        None => vec![records.len() as u64],
    };
    let mut said = Vec::new();
    let mut records = records.iter().enumerate();
    for length in chunks {
        for (number, record) in records.by_ref().take(length as usize) {
            stream.record(number, record);
        }
        said.push(Value::Array(stream.end_of_chunk()));
    }
    let want = match vector.get("expected_by_chunk") {
        Some(by_chunk) => by_chunk.clone(),
        None => json!([vector["expected"]]),
    };
    let (said, held) = (Value::Array(said), Value::Array(stream.held()));
    let want_held = Value::Array(list(vector, "held"));
    (said != want || held != want_held).then(|| {
        format!(
            "{} {}\nwant {want}\nsaid {said}\nwant held {want_held}\nsaid held {held}",
            vector["id"], vector["what"]
        )
    })
}

fn compare(path: &Path, least: usize) {
    let text = std::fs::read_to_string(path).expect("vectors can be read");
    let vectors: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a vector is JSON"))
        // Conditions are the pipeline's.
        .filter(|vector: &Value| vector.get("option").is_none())
        .collect();
    let wrong: Vec<String> = vectors.iter().filter_map(differs).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        vectors.len(),
        wrong.join("\n\n")
    );
    assert!(vectors.len() >= least, "{} vectors", vectors.len());
}

#[test]
fn own_vectors() {
    compare(Path::new("tests/vectors.jsonl"), 15);
}

#[test]
fn vectors_of_the_ground_truth() {
    let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH") else {
        return eprintln!("KUBE_AUDIT_GROUND_TRUTH is not set");
    };
    compare(&Path::new(&truth).join("vectors/machine-audit.jsonl"), 60);
}
