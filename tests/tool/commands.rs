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

/// The dynamic linker names every symbol that it looks up: the library's constructor
/// would ask for functions of a host.
#[test]
fn the_tool_does_not_run_the_library_s_constructor() {
    let output = Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .arg("--version")
        .env("LD_DEBUG", "symbols")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let looked_up = text(&output.stderr);
    assert!(looked_up.contains("symbol=malloc"), "{looked_up}");
    assert!(!looked_up.contains("symbol=flb_"), "{looked_up}");
}

/// All that the tool shares with the library is in packages without unsafe code.
#[test]
fn the_tool_has_nothing_of_the_host_s_abi() {
    let tool = fs::read(env!("CARGO_BIN_EXE_kube-audit")).unwrap();
    let has = |text: &str| tool.windows(text.len()).any(|at| at == text.as_bytes());
    // A name of the symbol table, which is there in a build for tests.
    assert!(has("kube_audit_cli"));
    for name in ["flb_log_print", "filter_kube_audit_plugin", "3ffi4heap"] {
        assert!(!has(name), "{name}");
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
        error.contains("audit.log:14: this is not an audit event"),
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
    let policy = ["replay", "--preset", "recommended"];
    let output = tool(&[&policy[..], &[SAMPLE]].concat());
    assert!(output.status.success());
    let kept = text(&output.stdout);
    assert_eq!(kept.lines().count(), 11);
    assert!(kept.ends_with("a line of the server itself, no audit event\n"));
    let summary = text(&output.stderr);
    for part in [
        "rule  level",
        "records: 14, events kept: 10, events dropped by the policy: 3, events stripped: 4",
        "records without an audit event: 1",
    ] {
        assert!(summary.contains(part), "{summary}");
    }
    // Events and bytes by rule add up to the totals.
    let rows = summary
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let count: u64 = rows
        .filter(|row| row.len() == 6)
        .filter_map(|row| row[2].parse::<u64>().ok())
        .sum();
    assert_eq!(count, 13, "{summary}");

    // Keys are added beside the event, as a receiver sees them.
    let record = ["--record", "cluster c-1"];
    let records = events(&tool(&[&policy[..], &record, &[SAMPLE]].concat()).stdout);
    let expected = kept
        .lines()
        .map(|line| json!({ "log": line, "cluster": "c-1" }));
    assert_eq!(records, expected.collect::<Vec<_>>());
    let alone = [&policy[..], &record, &["--output", "event", SAMPLE]].concat();
    assert_eq!(text(&tool(&alone).stdout), kept);
    let whole = [&policy[..], &["--output=record", SAMPLE]].concat();
    assert_eq!(
        events(&tool(&whole).stdout)[10]["log"],
        kept.lines().last().unwrap()
    );
}

#[test]
fn replay_without_policy_and_redaction_changes_nothing() {
    let sample = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE)).unwrap();
    let output = tool(&["replay", "--quiet", "--redact=off", SAMPLE]);
    assert_eq!(output.stdout, sample);
    assert!(output.stderr.is_empty());
}

/// A program that starts, and a record of the kernel without a system call.
const MACHINE: &str = concat!(
    "type=SYSCALL msg=audit(1700000000.123:7): arch=c000003e syscall=59 a0=1 exe=\"/usr/bin/id\" key=\"k\"\n",
    "type=EXECVE msg=audit(1700000000.123:7): argc=1 a0=\"id\"\n",
    "type=AVC msg=audit(1700000000.124:8): apparmor=\"DENIED\" pid=1\n",
    "type=PROCTITLE msg=audit(1700000000.123:7): proctitle=\"id\"\n",
    "type=PROCTITLE msg=audit(1700000000.124:8): proctitle=\"x\"\n",
    "no audit record\n",
);

#[test]
fn replay_and_explain_read_machine_audit_logs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.log");
    fs::write(&file, MACHINE).unwrap();
    let file = file.to_str().unwrap();
    let output = tool(&["replay", "--machine-audit", "events", file]);
    let said = events(&output.stdout);
    assert_eq!(said.len(), 2);
    assert_eq!(
        (&said[0]["argv"], &said[0]["a0"]),
        (&json!(["id"]), &json!("1"))
    );
    assert_eq!(said[1]["types"], json!(["AVC", "PROCTITLE"]));
    assert!(text(&output.stdout).ends_with("no audit record\n"));
    let summary = text(&output.stderr);
    assert!(
        summary.contains("machine audit records: 5, machine audit events kept: 2"),
        "{summary}"
    );

    let slim = [
        "replay",
        "-q",
        "--machine-audit=events",
        "--machine-audit-slim",
        "--output=record",
        file,
    ];
    let said = events(&tool(&slim).stdout);
    assert_eq!(
        (said[0].get("a0"), &said[0]["SYSCALL"]),
        (None, &json!("execve"))
    );
    refused(
        &["replay", "--machine-audit", "some", file],
        2,
        &["keep, records, events"],
    );

    let output = tool(&["explain", "--machine-audit", "--format", "json", file]);
    let said = events(&output.stdout);
    assert_eq!(
        said[0]["role"],
        "waits for the other records of its system call"
    );
    assert_eq!(said[3]["event"]["proctitle"], "id");
    assert_eq!(output.status.code(), Some(1), "the last line is no event");
    let said = text(&tool(&["explain", "--machine-audit", file]).stdout);
    assert!(
        said.contains("audit.log:1: SYSCALL of event 1700000000.123:7, in the form of auditd"),
        "{said}"
    );
}

#[test]
fn replay_redacts_and_explain_says_what_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.log");
    let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"1","stage":"ResponseComplete","requestURI":"/x","verb":"create","objectRef":{"resource":"secrets"},"requestObject":{"kind":"Secret","data":{"a/b":"not-a-secret"}}}"#;
    fs::write(&file, event).unwrap();
    let file = file.to_str().unwrap();
    let out = tool(&["replay", "-q", file]).stdout;
    assert!(text(&out).contains(r#"{"a/b":"REDACTED"}"#));
    let keep = tool(&["replay", "-q", "--redact-keep", "secrets /data/a~1b", file]).stdout;
    assert_eq!(text(&keep).trim_end(), event);
    let policy = directory.path().join("policy.yaml");
    let rules = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Request}]\n";
    fs::write(&policy, rules).unwrap();
    let policy = policy.to_str().unwrap();
    let out = tool(&["explain", "--policy", policy, file]).stdout;
    let line = "redacted: /requestObject/data/a~1b (secret: data of a Secret)";
    assert!(text(&out).contains(line), "{}", text(&out));
    refused(
        &["replay", "--redact", "env=some", file],
        2,
        &["`Redact` is `env=some`", "all, named, off"],
    );
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
    let output = tool(&[
        "replay",
        "--quiet",
        "--redact=off",
        packed.to_str().unwrap(),
        SAMPLE,
    ]);
    assert_eq!(output.stdout, sample.repeat(2));

    let mut child = Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .args(["replay", "-q", "--redact=off", "-"])
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
fn explain_says_why() {
    let arguments = ["--policy", "fluent-bit-conf/policy.yaml", SAMPLE];
    let output = tool(&[&["explain"][..], &arguments].concat());
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stdout);
    for line in [
        "audit.log:2: event 5f0c2a10-0000-4000-8000-000000000001 ResponseComplete: get secrets db in shop by alice@example.com\n",
        "  rules[0] (line 10): resources: `secrets` is not in [coordination.k8s.io: leases]\n",
        "  rules[1] (line 14): nonResourceURLs: the request is for a resource, `secrets`\n",
        "  rules[2] (line 17): userGroups: none of [developers, system:authenticated] is in [system:serviceaccounts:kube-system, system:nodes]\n",
        "  rules[3] (line 21) decides: level Metadata\n",
        "  kept at level Metadata, 682 of 1003 bytes; cut: responseObject (296 bytes)\n",
        "  rules[4] (line 28): verbs: `get` is not in [create, update, patch, delete, deletecollection]\n",
        "  dropped: stage RequestReceived is omitted\n",
        "  dropped: level None\n",
        "audit.log:14: this is not an audit event",
    ] {
        assert!(words.contains(line), "no {line:?} in {words}");
    }
}

#[test]
fn explain_agrees_with_eval_and_replay() {
    for policy in [
        &["--policy", "fluent-bit-conf/policy.yaml"][..],
        &["--preset", "minimal"],
        &["--preset", "gce"],
    ] {
        let explain = [&["explain", "--format", "json"], policy, &[SAMPLE]].concat();
        let explained = events(&tool(&explain).stdout);
        let evaluated = events(&tool(&[&["eval"], policy, &[SAMPLE]].concat()).stdout);
        let replayed = tool(&[&["replay", "-q"], policy, &[SAMPLE]].concat()).stdout;
        let mut kept = replayed.split(|&byte| byte == b'\n');
        assert_eq!(explained.len(), evaluated.len());
        for (explained, evaluated) in explained.iter().zip(&evaluated).take(13) {
            for same in [
                "auditID",
                "stage",
                "rule",
                "level",
                "decision",
                "loggedLevel",
            ] {
                assert_eq!(explained[same], evaluated[same], "{explained}");
            }
            let before = explained["before"].as_array().unwrap();
            for (index, reason) in before.iter().enumerate() {
                assert_eq!(reason["rule"], index, "{explained}");
                assert!(!reason["reason"].as_str().unwrap().is_empty());
            }
            if let Some(rule) = explained["rule"].as_u64() {
                assert_eq!(before.len() as u64, rule, "{explained}");
            }
            if explained["decision"] == "keep" {
                assert_eq!(
                    explained["bytesOut"],
                    kept.next().unwrap().len(),
                    "{explained}"
                );
            }
        }
        assert!(
            explained[13]["error"]
                .as_str()
                .unwrap()
                .contains("not an audit event")
        );
    }
}

#[test]
fn explain_reads_records_and_lists() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.json");
    let sample = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE)).unwrap();
    let lines: Vec<&str> = sample.lines().take(2).collect();
    let list = format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{}]}}"#,
        lines.join(",")
    );
    let record = json!({ "log": format!("{}\n", lines[0]), "cluster": "c" });
    fs::write(&file, format!("{record}\n{list}\n")).unwrap();
    let output = tool(&[
        "explain",
        "--format=json",
        "--preset=minimal",
        file.to_str().unwrap(),
    ]);
    assert!(output.status.success());
    let explained = events(&output.stdout);
    assert_eq!(explained.len(), 3);
    assert_eq!(explained[0]["rule"], explained[1]["rule"]);
    refused(&["explain", SAMPLE], 2, &["--policy FILE or --preset NAME"]);
}

/// A `config` of Go's as the API server takes it.
fn lower_case(config: &Value) -> Value {
    let fields = config.as_object().unwrap().iter();
    fields
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect()
}

#[test]
fn render_writes_what_kkp_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let cases = match std::env::var("KUBE_AUDIT_GROUND_TRUTH") {
        Ok(ground_truth) => format!("{ground_truth}/kkp/rendered.jsonl"),
        Err(_) => "tests/fixtures/kkp/rendered.jsonl".to_owned(),
    };
    let cases = events(&fs::read(cases).unwrap());
    assert!(cases.len() >= 20);
    for case in cases {
        let config = lower_case(&case["config"]);
        let manifest = json!({
            "apiVersion": "kubermatic.k8c.io/v1",
            "kind": "Cluster",
            "metadata": { "name": "c-abc", "labels": { "a": "b" } },
            "spec": { "auditLogging": { "enabled": true, "sidecar": { "config": &config } } },
        });
        let yaml = |value: &Value| -> String {
            // Nothing of JSON but this is not YAML.
            value.to_string().replace("\\/", "/")
        };
        let forms = [
            ("go.json", case["config"].to_string()),
            ("config.json", config.to_string()),
            ("cluster.json", manifest.to_string()),
            (
                "logging.yaml",
                format!(
                    "---\nauditLogging: {}\n",
                    yaml(&manifest["spec"]["auditLogging"])
                ),
            ),
            (
                "documents.yaml",
                format!(
                    "kind: Secret\ndata: {{}}\n---\n# nothing\n---\n{}\n",
                    yaml(&manifest)
                ),
            ),
        ];
        let env = case["env"].as_object().unwrap().iter();
        let env: Vec<String> = env
            .map(|(name, value)| format!("--env={name}={}", value.as_str().unwrap()))
            .collect();
        for (name, content) in forms {
            fs::write(path(name), content).unwrap();
            let file = path(name);
            let mut arguments = vec!["render", &file];
            arguments.extend(env.iter().map(String::as_str));
            let output = tool(&arguments);
            assert_eq!(text(&output.stderr), "");
            assert_eq!(
                text(&output.stdout),
                case["rendered"].as_str().unwrap(),
                "{} as {name}",
                case["id"]
            );
        }
    }
}

#[test]
fn render_puts_variables_into_filters() {
    let file = "tests/fixtures/kkp/cluster.yaml";
    let expected = "
[SERVICE]
    Flush      ${CLUSTER_ID}

[INPUT]
    Name    tail
    Path    /var/log/kubernetes/audit/audit.log
    DB      /var/log/kubernetes/audit/fluentbit.db
[FILTER]
[FILTER]
    Match      *
    Name      record_modifier
    Record      a CLUSTER b REGION c EMPTY d ${UNKNOWN} $CLUSTER_ID ${region}
    key ${CLUSTER_ID}      ü\u{2028}&#34;
[OUTPUT]
    Empty      
    Match      *
    Name      stdout
    x      ${CLUSTER_ID}

";
    for (arguments, [cluster, region, from]) in [
        (&[][..], ["qx7l2v", "eu &#34;1&#34;", ""]),
        (
            &["--env", "CLUSTER_ID=c", "--env", "REGION=r=1"],
            ["c", "r=1", ""],
        ),
        (
            &["--kkp", "2.27"],
            ["${CLUSTER_ID}", "${REGION}", "${FROM_SECRET}"],
        ),
    ] {
        let output = tool(&[&["render", file], arguments].concat());
        let line = format!("a {cluster} b {region} c {from} d");
        let expected = expected.replace("a CLUSTER b REGION c EMPTY d", &line);
        assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    }
}

#[test]
fn render_refuses_what_kkp_would_not_take() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cluster.yaml");
    let file = file.to_str().unwrap();
    for (content, parts) in [
        (
            "auditLogging: {sidecar: {config: {service: {Flush: 10}}}}",
            &[
                "1:52: error[not-a-string]: auditLogging.sidecar.config.service.Flush: found number `10`, expected a string: put it in quotes, `\"10\"`",
            ][..],
        ),
        ("filters:\n- Match: *\n", &["2:10: error[unquoted-star]"]),
        (
            "sidecar: {confg: {}}",
            &["unknown field: did you mean `config`?"],
        ),
        ("filters: {Name: grep}", &["expected a list"]),
        ("kind: Cluster\nspec: {}\n", &["there is no `auditLogging`"]),
        (
            "auditLogging: {}\n---\nauditLogging: {}\n",
            &["3:15: ", "on line 1"],
        ),
        ("a: [", &["syntax"]),
    ] {
        fs::write(file, content).unwrap();
        refused(&["render", file], 2, parts);
    }
    refused(&["render"], 2, &["CLUSTER.yaml"]);
    refused(&["render", "--env", "x", file], 2, &["NAME=VALUE"]);
    refused(&["render", "--kkp", "2.20", file], 2, &["2.21"]);
    refused(&["render", "no/such/file"], 2, &["no/such/file"]);
    fs::write(file, "filters: [{Record: 'x ${CLUSTER_ID}'}]").unwrap();
    let output = tool(&["render", file]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("x ${CLUSTER_ID}"));
    assert!(text(&output.stderr).contains("--env CLUSTER_ID=NAME"));
}

#[test]
fn wrong_usage_ends_with_2() {
    refused(&[], 2, &["name a command"]);
    refused(&["evil"], 2, &["'evil'", "eval"]);
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
    assert!(text(&tool(&["--help"]).stdout).contains("Exit status:"));
    assert!(text(&tool(&["help", "check"]).stdout).contains("--codes"));
    let version = format!("kube-audit {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&tool(&["-V"]).stdout), version);
    let long = text(&tool(&["--version"]).stdout);
    assert!(long.starts_with(&version), "{long}");
    assert!(long.contains("Fluent Bit 1.9.3 to 5.1"), "{long}");
}

#[test]
fn answers_go_to_a_file_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kept");
    let arguments = [
        "replay",
        "-q",
        "--redact=off",
        SAMPLE,
        "-o",
        file.to_str().unwrap(),
    ];
    let output = tool(&arguments);
    assert!(output.status.success() && output.stdout.is_empty());
    let sample = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLE)).unwrap();
    assert_eq!(fs::read(&file).unwrap(), sample);
    refused(
        &["eval", "--preset=gce", SAMPLE, "-o/no/such/folder/x"],
        1,
        &["/no/such/folder/x"],
    );
}

#[test]
fn completions_and_man_pages_are_made() {
    let script = text(&tool(&["generate", "completions", "bash"]).stdout);
    assert!(script.contains("--preset") && script.contains("giantswarm"));
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man");
    assert!(
        tool(&["generate", "man", pages.to_str().unwrap()])
            .status
            .success()
    );
    let page = fs::read_to_string(pages.join("kube-audit-replay.1")).unwrap();
    assert!(page.contains("quiet"), "{page}");
}
