//! The `kube-audit` tool, run as a program.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const SAMPLE: &str = "fluent-bit-conf/sample/audit.log";

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn events(bytes: &[u8]) -> Vec<Value> {
    text(bytes)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[track_caller]
fn refused(arguments: &[&str], status: i32, parts: &[&str]) {
    let output = tool(arguments);
    let message = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {message}"
    );
    for part in parts {
        assert!(
            message.contains(part),
            "{arguments:?}: no {part:?} in {message}"
        );
    }
}

#[test]
fn eval_answers_for_each_event() {
    let output = tool(&["eval", "--policy", "fluent-bit-conf/policy.yaml", SAMPLE]);
    // One line of the sample is no event.
    assert_eq!(output.status.code(), Some(1));
    let answers = events(&output.stdout);
    assert_eq!(answers.len(), 14);
    assert_eq!(
        answers[1],
        json!({
            "auditID": "5f0c2a10-0000-4000-8000-000000000001",
            "stage": "ResponseComplete",
            "rule": 3,
            "level": "Metadata",
            "omitStages": ["RequestReceived"],
            "omitManagedFields": true,
            "decision": "keep",
            "loggedLevel": "Metadata",
        })
    );
    assert_eq!(
        (&answers[0]["rule"], &answers[0]["decision"]),
        (&json!(3), &json!("drop"))
    );
    assert_eq!(
        (&answers[4]["rule"], &answers[4]["level"]),
        (&json!(0), &json!("None"))
    );
    let error = answers[13]["error"].as_str().unwrap();
    assert!(
        error.contains("audit.log:14: this is no audit event"),
        "{error}"
    );
}

#[test]
fn eval_says_minus_one_where_no_rule_matches() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    fs::write(
        &policy,
        "apiVersion: audit.k8s.io/v1\nrules: [{level: Request, users: [nobody]}]\n",
    )
    .unwrap();
    let output = tool(&["eval", "--policy", policy.to_str().unwrap(), SAMPLE]);
    assert_eq!(events(&output.stdout)[0]["rule"], -1);
    assert_eq!(events(&output.stdout)[0]["level"], "None");
}

#[test]
fn replay_leaves_what_the_filter_would() {
    let output = tool(&[
        "replay",
        "--preset",
        "recommended",
        "--record",
        "cluster c-1",
        SAMPLE,
    ]);
    assert!(output.status.success());
    let kept = text(&output.stdout);
    assert_eq!(kept.lines().count(), 11);
    assert_eq!(
        kept.lines()
            .filter(|line| line.ends_with(r#","cluster":"c-1"}"#))
            .count(),
        10
    );
    assert!(kept.ends_with("a line of the server itself, no audit event\n"));
    let summary = text(&output.stderr);
    for part in [
        "rule  level",
        "13 events: 10 kept (4 stripped), 3 dropped",
        "1 no audit events",
    ] {
        assert!(summary.contains(part), "{summary}");
    }
    // Events and bytes by rule add up to the totals.
    let rows = summary
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let events: u64 = rows
        .filter(|row| row.len() == 6)
        .filter_map(|row| row[2].parse::<u64>().ok())
        .sum();
    assert_eq!(events, 13, "{summary}");
}

#[test]
fn replay_without_a_policy_changes_nothing() {
    let sample = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE)).unwrap();
    let output = tool(&["replay", "--quiet", SAMPLE]);
    assert_eq!(output.stdout, sample);
    assert!(output.stderr.is_empty());
}

#[test]
fn packed_files_and_standard_input_are_read() {
    let sample = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let packed = directory.path().join("audit.log.gz");
    // Rotated logs are often several members in one file.
    let mut bytes = Vec::new();
    for half in sample.chunks(sample.len() / 2 + 1) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(half).unwrap();
        bytes.extend(encoder.finish().unwrap());
    }
    fs::write(&packed, bytes).unwrap();
    let output = tool(&["replay", "--quiet", packed.to_str().unwrap(), SAMPLE]);
    assert_eq!(output.stdout, sample.repeat(2));

    let mut child = Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .args(["replay", "-q", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&sample).unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, sample);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let command = format!(
        "{} replay -q {SAMPLE} {SAMPLE} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_kube-audit")
    );
    let output = Command::new("bash")
        .args(["-c", &command])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert_eq!(
        (text(&output.stdout).trim(), text(&output.stderr).trim()),
        ("0", "")
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    refused(&[], 2, &["name a command"]);
    refused(&["evil"], 2, &["no command `evil`", "eval"]);
    refused(&["eval", SAMPLE], 2, &["--policy FILE or --preset NAME"]);
    refused(&["replay", "--polcy", "x"], 2, &["--polcy"]);
    refused(
        &["replay", "--preset", "minimul", SAMPLE],
        2,
        &["minimul", "minimal"],
    );
    refused(
        &["replay", "--record", "cluster", SAMPLE],
        2,
        &["KEY VALUE"],
    );
    refused(
        &["replay", "--policy", "no/such/file", SAMPLE],
        2,
        &["no/such/file"],
    );
    refused(&["replay", "no/such/log"], 1, &["no/such/log"]);
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("bad.yaml");
    fs::write(
        &policy,
        "apiVersion: audit.k8s.io/v1\nrules:\n- level: Everything\n",
    )
    .unwrap();
    refused(
        &["eval", "--policy", policy.to_str().unwrap(), SAMPLE],
        2,
        &["bad.yaml:3:10", "rules[0].level", "Everything"],
    );
}

#[test]
fn help_and_version() {
    assert!(text(&tool(&["--help"]).stdout).contains("usage:"));
    assert_eq!(
        text(&tool(&["--version"]).stdout),
        format!("kube-audit {}\n", env!("CARGO_PKG_VERSION"))
    );
}
