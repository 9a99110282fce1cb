//! `kube-audit check`: every sort of finding has a file that it is found in, and one
//! like it that is good. Their names are the codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

/// Codes and severities, as the tool lists them.
fn codes() -> Vec<(String, String)> {
    let list = String::from_utf8(tool(&["check", "--codes"]).stdout).unwrap();
    let words = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    list.lines().map(words).collect()
}

struct Report {
    status: Option<i32>,
    /// Severity, code, line, column, message.
    findings: Vec<(String, String, u64, u64, String)>,
}

fn check(file: &Path, arguments: &[&str]) -> Report {
    let file = file.to_str().unwrap();
    let output = tool(&[&["check", "--format", "json"], arguments, &[file]].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{file}: {error} {output:?}"));
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    let number = |finding: &Value, key: &str| finding[key].as_u64().unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings = findings.map(|finding| {
        assert_eq!(finding["file"], file);
        (
            text(finding, "severity"),
            text(finding, "code"),
            number(finding, "line"),
            number(finding, "column"),
            text(finding, "message"),
        )
    });
    Report {
        status: output.status.code(),
        findings: findings.collect(),
    }
}

fn fixture(quality: &str, code: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/check")
        .join(quality);
    let named = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == code);
    let mut files = fs::read_dir(&folder).unwrap();
    files
        .find_map(|entry| Some(entry.unwrap().path()).filter(named))
        .unwrap_or_else(|| panic!("there is no {quality}/{code}"))
}

/// What a fixture is checked with.
fn arguments(code: &str) -> &'static [&'static str] {
    match code {
        "no-variables" | "second-output" => &["--kkp", "2.27"],
        "blind-detection" => &["--detect", "wildcard-role"],
        "half-blind-detection" => &["--detect", "cluster-admin-bound"],
        _ => &[],
    }
}

#[test]
fn each_code_is_found() {
    for (code, severity) in codes() {
        let report = check(&fixture("bad", &code), arguments(&code));
        let found = report.findings.iter().find(|finding| finding.1 == code);
        let Some((found, ..)) = found else {
            panic!("{code} is not found: {:?}", report.findings)
        };
        assert_eq!(*found, severity, "{code}");
        let wrong = report.findings.iter().any(|finding| finding.0 == "error");
        assert_eq!(report.status, Some(i32::from(wrong)), "{code}");
        // One trap in each file; what KKP does to all of them is no trap of theirs.
        let all: BTreeSet<&str> = report
            .findings
            .iter()
            .map(|finding| finding.1.as_str())
            .filter(|other| *other == code || *other != "kkp-long-lines")
            .collect();
        assert_eq!(
            all,
            BTreeSet::from([code.as_str()]),
            "{:?}",
            report.findings
        );
    }
}

/// `on` without quotes is a boolean to KKP, where there are strings alone.
#[test]
fn switches_of_a_manifest_are_quoted() {
    let path = "fluent-bit-conf/kkp/cluster-detections.yaml";
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let findings = |text: &str| {
        let file = directory.path().join("cluster.yaml");
        fs::write(&file, text).unwrap();
        let findings = check(&file, &[]).findings.into_iter();
        let errors = findings.filter(|(severity, ..)| severity == "error");
        errors.collect::<Vec<_>>()
    };
    assert_eq!(findings(&shipped), []);
    let quoted = r#"Detect: "on""#;
    let line = shipped
        .lines()
        .position(|line| line.contains(quoted))
        .unwrap() as u64
        + 1;
    for switch in ["on", "On", "yes", "off"] {
        let found = findings(&shipped.replace(quoted, &format!("Detect: {switch}")));
        let [(_, code, at, _, message)] = &found[..] else {
            panic!("{switch}: {found:?}")
        };
        assert_eq!((&**code, *at), ("not-a-string", line), "{switch}");
        let remedy = format!("put it in quotes, `\"{switch}\"`");
        assert!(message.contains(&remedy), "{message}");
    }
}

#[test]
fn good_files_are_good() {
    for (code, _) in codes() {
        let report = check(&fixture("good", &code), arguments(&code));
        let bad: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| finding.1 == code || finding.1 != "kkp-long-lines")
            .collect();
        assert!(bad.is_empty(), "{code}: {bad:?}");
        assert_eq!(report.status, Some(0));
    }
}

#[test]
fn shipped_files_are_good() {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec!["fluent-bit-conf", "crates/core/src/policy/presets"]
        .into_iter()
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
        .collect::<Vec<_>>();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "conf" || extension == "yaml")
            {
                files.push(path);
            }
        }
    }
    let mut checked = 0;
    for file in files {
        let of_old_release = file.to_str().unwrap().contains("2.27");
        let release = if of_old_release { "2.27" } else { "2.31" };
        let report = check(&file, &["--kkp", release]);
        // Manifests of Kubernetes' own and of Docker.
        if report
            .findings
            .iter()
            .any(|finding| finding.1 == "unknown-kind")
        {
            continue;
        }
        checked += 1;
        // Giant Swarm's policy does log the tokens of service accounts, and is shipped as
        // it was published.
        let known = |code: &str| code == "policy-logs-secrets" && file.ends_with("giantswarm.yaml");
        let bad: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| finding.0 != "note" && !known(&finding.1))
            .collect();
        assert!(bad.is_empty(), "{}: {bad:?}", file.display());
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn places_and_words() {
    for (code, line, column, part) in [
        ("not-a-string", 11, 18, "put it in quotes, `\"10\"`"),
        ("unquoted-star", 12, 20, "`\"*\"`"),
        (
            "syntax",
            3,
            3,
            "`Grace` is not indented like the keys above it",
        ),
        ("mangled", 16, 18, "`&#43;` for `+`"),
        ("grep-without-key", 13, 20, "write `log user@example.com`"),
        ("bad-option", 14, 5, "did you mean `Policy_Preset`?"),
        (
            "inside-log",
            13,
            22,
            "`verb` is inside the text under `log`",
        ),
        ("policy-shadowed-rule", 6, 3, "rules[0] on line 4"),
        ("policy-unknown-field", 5, 3, "did you mean `users`?"),
        ("policy-verb", 5, 11, "no request has the verb `connect`"),
        ("policy-core-group", 6, 12, "written `\"\"`"),
        ("unmatched", 10, 11, "the tags are audit"),
    ] {
        let report = check(&fixture("bad", code), arguments(code));
        let found: Vec<_> = report
            .findings
            .iter()
            .filter(|finding| finding.1 == code)
            .collect();
        assert!(
            found.iter().any(|finding| (finding.2, finding.3) == (line, column) && finding.4.contains(part)),
            "{code} at {line}:{column}: {found:?}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    for (content, expected) in [
        (
            "filters:\n- {Name: a, Match: *}\n- Match: *\noutputs: [*]\n",
            &[
                ("unquoted-star", 2),
                ("unquoted-star", 3),
                ("unquoted-star", 4),
            ][..],
        ),
        (
            "[FILTER]\n  Name kube_audit\n  Match *\n  Formt x\n  Format x\n  Policy_Reload ${R}\n  On_Error y\n  Policy {}\n",
            &[
                ("plugin-from-elsewhere", 2),
                ("bad-option", 4),
                ("bad-option", 5),
                ("bad-option", 7),
                ("bad-option", 8),
            ],
        ),
        (
            "[OUTPUT]\n  Name kube_audit\n  Match *\n  Endpoint unix:${X}\n[SERVICE]\n  Plugins_File x\n",
            &[],
        ),
        (
            "[OUTPUT]\n  Name kube_audit\n  Match *\n[SERVICE]\n  Plugins_File x\n",
            &[("bad-option", 1)],
        ),
    ] {
        fs::write(&file, content).unwrap();
        let report = check(&file, &[]);
        let found: Vec<(&str, u64)> = report
            .findings
            .iter()
            .map(|finding| (finding.1.as_str(), finding.2))
            .collect();
        assert_eq!(found, expected, "{content} {:?}", report.findings);
    }
}

/// What the API server refuses is an error, and nothing else is.
#[test]
fn policies_are_judged_as_the_server_does() {
    let directory = tempfile::tempdir().unwrap();
    let cases: Vec<Value> = match std::env::var("KUBE_AUDIT_GROUND_TRUTH") {
        Ok(folder) => fs::read_to_string(format!("{folder}/vectors/invalid.jsonl")).unwrap(),
        Err(_) => {
            let packed = fs::File::open(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/fixtures/policy/invalid.jsonl.gz"),
            );
            std::io::read_to_string(flate2::read::GzDecoder::new(packed.unwrap())).unwrap()
        }
    }
    .lines()
    .map(|line| serde_json::from_str(line).unwrap())
    .collect();
    assert!(cases.len() > 50);
    for case in cases {
        let file = directory.path().join("policy");
        fs::write(&file, case["text"].as_str().unwrap()).unwrap();
        let report = check(&file, &[]);
        let accepted = case["accepted"] == true || case["accepted_1_23"] == true;
        assert_eq!(
            report.status,
            Some(i32::from(!accepted)),
            "{case} {:?}",
            report.findings
        );
    }
}

#[test]
fn text_names_the_place_first() {
    let output = tool(&["check", "tests/fixtures/check/bad/not-a-string.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("not-a-string.yaml:11:18: error[not-a-string]: auditLogging.sidecar.config.service.Flush: found number `10`"),
        "{text}"
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["check"][..],
        &["check", "no/such/file"],
        &["check", "--format", "xml", "Cargo.toml"],
        &["check", "--kkp", "1.0", "Cargo.toml"],
    ] {
        assert_eq!(tool(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
