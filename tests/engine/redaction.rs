//! Redaction of recorded logs beside the executable specification, which is among the
//! recordings that `KUBE_AUDIT_GROUND_TRUTH` names, and needs Python.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use kube_audit_core::chunk::{LineForm, LineSink, write_line_record};
use kube_audit_core::pipeline::{Pipeline, Settings};
use kube_audit_core::stage::redact;
use kube_audit_testkit::judge::ground_truth;
use serde_json::Value;

/// The events of a log: bodies of patches may be bytes that the specification cannot read.
fn events(log: &Path) -> String {
    let mut bytes = Vec::new();
    let read = GzDecoder::new(File::open(log).unwrap()).read_to_end(&mut bytes);
    read.unwrap();
    let is_event = |line: &&str| {
        serde_json::from_str::<Value>(line).is_ok_and(|event| {
            let has = |key: &str| event[key].is_string();
            has("auditID") && has("stage") && has("level")
        })
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| str::from_utf8(line).ok());
    lines
        .filter(is_event)
        .map(|line| line.to_owned() + "\n")
        .collect()
}

fn by_the_engine(lines: &str) -> String {
    let mut pipeline = Pipeline::new(Settings::default(), None, || [0; 16]);
    pipeline.set_redaction(Some(redact::Settings::default()));
    let mut sink = LineSink::new(LineForm::Event);
    let mut chunk = Vec::new();
    for line in lines.lines() {
        chunk.clear();
        write_line_record(line.as_bytes(), &mut chunk);
        pipeline.chunk(b"", &chunk, &mut sink).unwrap();
    }
    String::from_utf8(sink.lines).unwrap()
}

/// What the specification makes of lines; `None` without Python.
fn by_the_specification(truth: &Path, lines: &str) -> Option<String> {
    let mut python = Command::new("python3")
        .arg(truth.join("tools/ref_redact.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = python.stdin.take().unwrap();
    let lines = lines.to_owned();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn recorded_logs_are_redacted_as_the_specification_does() {
    let Some(truth) = ground_truth("no recorded log is redacted") else {
        return;
    };
    let (mut checked, mut changed) = (0, 0);
    for folder in ["corpus/bulk", "corpus/apiserver"] {
        for entry in fs::read_dir(truth.join(folder)).unwrap() {
            let log = entry.unwrap().path();
            if log.extension().is_none_or(|extension| extension != "gz") {
                continue;
            }
            let lines = events(&log);
            let out = by_the_engine(&lines);
            assert_eq!(by_the_engine(&out), out, "a second time: {}", log.display());
            let Some(want) = by_the_specification(&truth, &lines) else {
                eprintln!("SKIPPED: there is no python3, no recorded log is judged");
                return;
            };
            assert_eq!(out.lines().count(), lines.lines().count());
            for ((line, out), want) in lines.lines().zip(out.lines()).zip(want.lines()) {
                let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                assert_eq!(parse(out), parse(want), "{line}");
                checked += 1;
                changed += usize::from(out != line);
            }
        }
    }
    assert!(checked > 6000 && changed > 200, "{checked} {changed}");
}
