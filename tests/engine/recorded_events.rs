//! Decisions and whole events against recorded answers of the real API server.
//!
//! A selection of the recordings is part of the repository. With
//! `KUBE_AUDIT_GROUND_TRUTH` set to a directory with `vectors/` in it, all of
//! them are checked too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;
use kube_audit_core::chunk::{LineSink, write_line_record};
use kube_audit_core::pipeline::{Pipeline, Settings};
use kube_audit_core::policy::{Policy, Ruleset, Stage, Syntax};
use kube_audit_core::stage::{Cuts, Stages, evaluate, examine};
use kube_audit_testkit::judge::ground_truth;
use serde_json::{Value, json};

/// The folders to check: the selection, and all recordings where there are any.
fn folders() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events")];
    let truth = ground_truth("only the selection in the repository is checked");
    folders.extend(truth.map(|truth| truth.join("vectors")));
    folders
}

fn lines(folder: &Path, name: &str) -> Vec<String> {
    let plain = folder.join(name);
    let reader: Box<dyn Read> = match File::open(&plain) {
        Ok(file) => Box::new(file),
        Err(_) => Box::new(GzDecoder::new(
            File::open(folder.join(format!("{name}.gz"))).unwrap(),
        )),
    };
    BufReader::new(reader)
        .lines()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn values(folder: &Path, name: &str) -> Vec<Value> {
    lines(folder, name)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn rulesets(folder: &Path) -> impl Iterator<Item = (String, Arc<Ruleset>)> {
    lines(folder, "policies.jsonl").into_iter().map(|line| {
        let id = serde_json::from_str::<Value>(&line).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let policy = Policy::parse(&id, line.as_bytes(), Syntax::File)
            .unwrap()
            .policy;
        (id, Arc::new(Ruleset::compile(&policy)))
    })
}

/// The line of a list that is about a policy.
fn about<'a>(list: &'a [Value], policy: &str) -> Option<&'a Value> {
    list.iter().find(|entry| entry["policy"] == policy)
}

#[test]
fn decisions_are_those_of_the_server() {
    for folder in folders() {
        let events = lines(&folder, "events.jsonl");
        let expected = values(&folder, "expected.jsonl");
        let mut checked = 0;
        for (id, ruleset) in rulesets(&folder) {
            let Some(expected) = about(&expected, &id) else {
                continue;
            };
            for (number, (event, want)) in events
                .iter()
                .zip(expected["results"].as_array().unwrap())
                .enumerate()
            {
                let mut answers = Vec::new();
                evaluate(event.as_bytes(), &ruleset, |evaluation| {
                    answers.push(evaluation.decision)
                })
                .unwrap();
                let [decision] = answers[..] else {
                    panic!("one event, one answer")
                };
                let mut stages: Vec<&str> = decision.omit_stages.iter().map(Stage::name).collect();
                stages.sort_unstable();
                let rule = decision.rule.map_or(-1, i64::from);
                let got = json!([
                    rule,
                    decision.level.name(),
                    stages,
                    decision.omit_managed_fields
                ]);
                assert_eq!(got, *want, "policy {id}, event {number}: {event}");
                checked += 1;
            }
        }
        assert!(checked > 10_000);
        eprintln!("{checked} decisions agree in {}", folder.display());
    }
}

/// What is said to be cut is what is gone.
fn told(cuts: &Cuts, before: &Value, after: &Value) {
    for (name, bytes) in [
        ("requestObject", cuts.request_object),
        ("responseObject", cuts.response_object),
    ] {
        let gone = before.get(name).is_some() && after.get(name).is_none();
        assert_eq!(bytes > 0, gone, "{name} of {before}");
    }
    let names = |event: &Value| -> Vec<String> {
        let annotations = event["annotations"].as_object().into_iter().flatten();
        annotations.map(|(name, _)| name.clone()).collect()
    };
    let kept = names(after);
    let mut gone = names(before);
    gone.retain(|name| !kept.contains(name));
    let mut told = cuts.annotations.clone();
    told.sort();
    gone.sort();
    assert_eq!(told, gone, "{before}");
    let has_fields = |event: &Value| event.to_string().contains("\"managedFields\"");
    if cuts.managed_fields > 0 {
        assert!(has_fields(before));
    }
}

#[test]
fn events_are_left_as_the_server_leaves_them() {
    for folder in folders() {
        let inputs = lines(&folder, "e2e-input.jsonl");
        let outputs = values(&folder, "e2e-outputs.jsonl");
        let expected = values(&folder, "e2e-expected.jsonl");
        let mut checked = 0;
        for (id, ruleset) in rulesets(&folder) {
            let Some(expected) = about(&expected, &id) else {
                continue;
            };
            let mut pipeline =
                Pipeline::new(Settings::default(), Some(ruleset.clone()), || [0; 16]);
            for (input, want) in inputs.iter().zip(expected["out"].as_array().unwrap()) {
                let mut sink = LineSink::default();
                let mut chunk = Vec::new();
                write_line_record(input.as_bytes(), &mut chunk);
                pipeline.chunk(b"", &chunk, &mut sink).unwrap();
                let out = sink.lines;
                let got = (!out.is_empty()).then(|| serde_json::from_slice::<Value>(&out).unwrap());
                let want = usize::try_from(want.as_i64().unwrap())
                    .ok()
                    .map(|line| &outputs[line]);
                assert_eq!(got.as_ref(), want, "policy {id}, event {input}");
                let mut cuts = Vec::new();
                let mut stages = Stages::of_policy(&ruleset);
                examine(input.as_bytes(), &mut stages, |_, _, cut| cuts.push(cut)).unwrap();
                let left = cuts[0].as_ref().map(|cuts| cuts.bytes_out);
                assert_eq!(left, out.len().checked_sub(1), "policy {id}, event {input}");
                if let (Some(cuts), Some(got)) = (&cuts[0], got) {
                    told(cuts, &serde_json::from_str(input).unwrap(), &got);
                }
                checked += 1;
            }
        }
        assert!(checked > 10_000);
        eprintln!("{checked} events agree in {}", folder.display());
    }
}
