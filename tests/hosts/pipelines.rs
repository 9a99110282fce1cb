//! Whole pipelines in real Fluent Bits: real events, every shape, both doors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use kube_audit_testkit::fluent_bit::{Finished, FluentBit, OLDEST, Pipeline, Running, in_each};
use kube_audit_testkit::judge::ground_truth;
use kube_audit_testkit::port;
use serde_json::{Value, json};

/// An input that takes lines of any length.
const LONG_LINES: [(&str, &str); 5] = [
    ("path", "{dir}/input.log"),
    ("read_from_head", "on"),
    ("exit_on_eof", "on"),
    ("buffer_chunk_size", "256k"),
    ("buffer_max_size", "16M"),
];

fn tail(lines: &str) -> Pipeline {
    Pipeline::new()
        .file("input.log", lines)
        .input("tail", &LONG_LINES)
}

/// The events in a host's output file, as text under `log` or as records.
fn events(finished: &Finished) -> Vec<Value> {
    finished
        .records("out")
        .into_iter()
        .map(|record| match record.get("log").and_then(Value::as_str) {
            Some(text) => serde_json::from_str(text).unwrap(),
            None => record,
        })
        .collect()
}

fn unzipped(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn values(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn fixture(name: &str) -> String {
    unzipped(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/events")
            .join(name),
    )
}

/// Runs a pipeline whose output forwards to another host of the same version,
/// and returns what arrived there, as the receiver wrote it to its file `out`.
pub(crate) fn forwarded(
    host: &FluentBit,
    pipeline: Pipeline,
    options: &[(&str, &str)],
    count: usize,
) -> Finished {
    let port = port::reserve().to_string();
    let receiver = Pipeline::new().input(
        "forward",
        &[
            ("listen", "127.0.0.1"),
            ("port", &port),
            ("buffer_chunk_size", "1M"),
            ("buffer_max_size", "16M"),
        ],
    );
    let mut receiver = host.start(&receiver.file_output("out"));
    let endpoint = format!("127.0.0.1:{port}");
    let mut all = vec![("endpoint", endpoint.as_str())];
    all.extend(options);
    let sender = host.start(&pipeline.output("kube_audit", &all));
    receiver.wait_until("records", |receiver| {
        receiver.read("out").lines().count() >= count
    });
    sender.finish().assert_clean();
    let received = receiver.stop();
    received.assert_clean();
    received
}

/// What the real API server emits under a policy, for the same requests.
#[test]
fn events_are_those_of_the_server() {
    let input = fixture("e2e-input.jsonl.gz");
    let outputs = values(&fixture("e2e-outputs.jsonl.gz"));
    let policies = fixture("policies.jsonl.gz");
    let expected = values(&fixture("e2e-expected.jsonl.gz"));
    let expected = |id: &str| -> Vec<&Value> {
        let entry = expected.iter().find(|entry| entry["policy"] == id).unwrap();
        let lines = entry["out"].as_array().unwrap().iter();
        lines
            .filter_map(|line| usize::try_from(line.as_i64()?).ok())
            .map(|line| &outputs[line])
            .collect()
    };
    in_each(OLDEST, |host| {
        for id in [
            "p-real-giantswarm",
            "p-real-gce-gke",
            "p-real-kkp-recommended",
        ] {
            let policy = policies
                .lines()
                .find(|line| line.contains(&format!("\"{id}\"")))
                .unwrap();
            let want = expected(id);
            let pipeline = tail(&input).file("policy.json", policy);
            // The server hides nothing.
            let options = [("policy_file", "{dir}/policy.json"), ("redact", "off")];
            let finished = host.run(&pipeline.clone().filter(&options).file_output("out"));
            finished.assert_clean();
            assert!(
                events(&finished).iter().eq(want.iter().copied()),
                "{}: {id} as text",
                host.name()
            );
            let finished = host.run(
                &pipeline
                    .clone()
                    .json_parser()
                    .filter(&options)
                    .file_output("out"),
            );
            assert!(
                events(&finished).iter().eq(want.iter().copied()),
                "{}: {id} as maps",
                host.name()
            );
            let received = forwarded(host, pipeline, &options, want.len());
            assert!(
                events(&received).iter().eq(want.iter().copied()),
                "{}: {id} forwarded",
                host.name()
            );
        }
    });
}

/// For each policy there is what the real API server logged under it, for the
/// same requests in other runs.
#[test]
fn logs_of_a_real_server() {
    let Some(truth) = ground_truth("no log of a real server is filtered") else {
        return;
    };
    let folder = truth.join("corpus/apiserver");
    let all = unzipped(&folder.join("all.log.gz"));
    let shape = |events: &[Value]| {
        let scripted = |event: &&Value| {
            event["auditID"]
                .as_str()
                .is_some_and(|id| id.starts_with("00000000-0000-4000-8000"))
        };
        let mut shape: BTreeMap<String, usize> = BTreeMap::new();
        for event in events.iter().filter(scripted) {
            let has = |key: &str| event.get(key).is_some();
            let bodies = (has("requestObject"), has("responseObject"));
            *shape
                .entry(format!(
                    "{} {} {} {bodies:?}",
                    event["auditID"], event["stage"], event["level"]
                ))
                .or_default() += 1;
        }
        shape
    };
    in_each(OLDEST, |host| {
        for name in [
            "all",
            "giantswarm",
            "kkp-metadata",
            "kkp-minimal",
            "kkp-recommended",
        ] {
            let want = shape(&values(&unzipped(&folder.join(format!("{name}.log.gz")))));
            let policy =
                std::fs::read_to_string(folder.join(format!("{name}.policy.yaml"))).unwrap();
            let pipeline = tail(&all).file("policy.yaml", &policy);
            let options = [("policy_file", "{dir}/policy.yaml")];
            let text = host.run(&pipeline.clone().filter(&options).file_output("out"));
            assert_eq!(
                shape(&events(&text)),
                want,
                "{}: {name} as text",
                host.name()
            );
            let maps = host.run(
                &pipeline
                    .clone()
                    .json_parser()
                    .filter(&options)
                    .file_output("out"),
            );
            assert_eq!(
                shape(&events(&maps)),
                want,
                "{}: {name} as maps",
                host.name()
            );
            let received = forwarded(host, pipeline, &options, events(&text).len());
            assert_eq!(
                shape(&events(&received)),
                want,
                "{}: {name} forwarded",
                host.name()
            );
        }
    });
}

/// Everything of a large log comes through both doors as it was.
#[test]
fn a_large_log_without_loss() {
    let Some(truth) = ground_truth("no large log is run") else {
        return;
    };
    let bulk = unzipped(&truth.join("corpus/bulk/audit.log.gz"));
    let want: Vec<&str> = bulk.lines().collect();
    let everything =
        r#"{"apiVersion":"audit.k8s.io/v1","kind":"Policy","rules":[{"level":"RequestResponse"}]}"#;
    let lines = |finished: &Finished| -> Vec<String> {
        let text = |record: &Value| record["log"].as_str().unwrap().to_owned();
        finished.records("out").iter().map(text).collect()
    };
    in_each(OLDEST, |host| {
        let pipeline = tail(&bulk).file("policy.json", everything);
        let options = [("policy_file", "{dir}/policy.json"), ("redact", "off")];
        let filtered = host.run(&pipeline.clone().filter(&options).file_output("out"));
        assert!(lines(&filtered) == want, "{}: filter", host.name());
        let received = forwarded(host, pipeline, &options, want.len());
        let mut got = lines(&received);
        let mut want: Vec<&str> = want.clone();
        got.sort_unstable();
        want.sort_unstable();
        assert!(got == want, "{}: output", host.name());
    });
    let lists = unzipped(&truth.join("corpus/shapes/eventlists.jsonl.gz"));
    let want: Vec<Value> = values(&lists)
        .iter()
        .flat_map(|list| list["items"].as_array().unwrap().clone())
        .collect();
    in_each(OLDEST, |host| {
        let options = [("policy_file", "{dir}/policy.json"), ("redact", "off")];
        let pipeline = tail(&lists).file("policy.json", everything);
        let text = host.run(&pipeline.clone().filter(&options).file_output("out"));
        assert!(events(&text) == want, "{}: lists as text", host.name());
        let maps = host.run(
            &pipeline
                .clone()
                .json_parser()
                .filter(&options)
                .file_output("out"),
        );
        assert!(events(&maps) == want, "{}: lists as maps", host.name());
        let received = forwarded(host, pipeline, &options, want.len());
        let sorted = |events: &[Value]| {
            let mut texts: Vec<String> = events.iter().map(Value::to_string).collect();
            texts.sort_unstable();
            texts
        };
        assert!(
            sorted(&events(&received)) == sorted(&want),
            "{}: lists forwarded",
            host.name()
        );
    });
    let wrapped = unzipped(&truth.join("corpus/shapes/cri-wrapped.log.gz"));
    let want = joined(&wrapped);
    in_each(OLDEST, |host| {
        let options = [
            ("policy_file", "{dir}/policy.json"),
            ("output_shape", "json"),
            ("redact", "off"),
        ];
        let pipeline = tail(&wrapped).file("policy.json", everything);
        let finished = host.run(&pipeline.filter(&options).file_output("out"));
        assert!(lines(&finished) == want, "{}: cut lines", host.name());
        // The output puts pieces together within a chunk; others pass as they came.
        let options = [
            ("policy_file", "{dir}/policy.json"),
            ("ordered", "on"),
            ("redact", "off"),
        ];
        let pipeline = tail(&wrapped).file("policy.json", everything);
        let received = forwarded(host, pipeline, &options, want.len());
        let passed = lines(&received).join("\n");
        assert!(
            joined(&passed) == want,
            "{}: cut lines forwarded",
            host.name()
        );
    });
}

/// The texts of a container runtime's lines, put together.
fn joined(lines: &str) -> Vec<String> {
    let mut open: BTreeMap<&str, String> = BTreeMap::new();
    let mut texts = Vec::new();
    for line in lines.lines() {
        let mut parts = line.splitn(4, ' ').skip(1);
        let (stream, tag, text) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let entry = open.entry(stream).or_default();
        entry.push_str(text);
        if tag == "F" {
            texts.push(std::mem::take(entry));
        }
    }
    texts
}

/// With the same options, records come out as from the host's own filter.
#[test]
fn enrichment_is_that_of_record_modifier() {
    let lines = r#"{"log":"a","stream":"x","Kube":1,"kubernetes":{"a":[1,2.5,null]}}
{"cluster":"old","n":-7}
plain
{"é":"ü","kubeLast":true}
"#;
    let cases: [&[(&str, &str)]; 6] = [
        &[
            ("record", "cluster c-1"),
            ("record", "\"a b\" \"say \\\"x\\\"\""),
        ],
        &[
            ("remove_key", "KUBE*"),
            ("remove_key", "stream"),
            ("record", "cluster c-1"),
        ],
        &[("allowlist_key", "log"), ("allowlist_key", "clust*")],
        &[("whitelist_key", "N"), ("record", "x y")],
        &[("remove_key", "none")],
        &[("record", "host ${HOME}")],
    ];
    in_each(OLDEST, |host| {
        for options in cases {
            // 1.9 knows `whitelist_key` and does nothing about it.
            if host.version < (2, 0, 0) && options.iter().any(|(key, _)| *key == "whitelist_key") {
                continue;
            }
            let input = tail(lines).json_parser();
            let theirs = host.run(
                &input
                    .clone()
                    .host_filter("record_modifier", options)
                    .file_output("out"),
            );
            let ours = host.run(&input.filter(options).file_output("out"));
            assert_eq!(
                ours.read("out"),
                theirs.read("out"),
                "{}: {options:?}",
                host.name()
            );
        }
        let input = tail(lines)
            .json_parser()
            .filter(&[("uuid_key", "id")])
            .file_output("out");
        for record in host.run(&input).records("out") {
            let id = record["id"].as_str().unwrap();
            assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
        }
    });
}

/// An event whose body a policy removes.
pub const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/n/secrets/s","verb":"get","user":{"username":"u"},"objectRef":{"resource":"secrets","namespace":"n","name":"s","apiVersion":"v1"},"responseObject":{"data":{"k":"hidden"}},"stageTimestamp":"2026-11-20T08:00:00.123456Z"}"#;

#[test]
fn shapes_and_times() {
    in_each(OLDEST, |host| {
        let options = [
            ("policy_preset", "metadata"),
            ("output_shape", "map"),
            ("event_time", "stage"),
            ("record", "c 1"),
        ];
        let pipeline = tail(&format!("{EVENT}\n")).filter(&options);
        let finished = host.run(&pipeline.output("file", &[("path", "{dir}"), ("file", "out")]));
        finished.assert_clean();
        // `out_file` writes tag, time and record.
        let line = finished.read("out");
        assert!(
            line.contains("1795161600.123456"),
            "{}: {line}",
            host.name()
        );
        let (start, end) = (line.find('{').unwrap(), line.rfind('}').unwrap());
        let record: Value = serde_json::from_str(&line[start..=end]).unwrap();
        let mut want: Value = serde_json::from_str(EVENT).unwrap();
        want.as_object_mut().unwrap().remove("responseObject");
        want["level"] = json!("Metadata");
        want["c"] = json!("1");
        assert_eq!(record, want, "{}", host.name());
    });
}

/// A policy from the environment, and in the configuration in each of its forms:
/// plain, with the entities that templates make, and encoded.
#[test]
fn policies_without_a_file() {
    let text = r#"{"apiVersion":"audit.k8s.io/v1","rules":[{"level":"Metadata"}]}"#;
    let entities = text.replace('"', "&#34;");
    let flow = "{apiVersion: audit.k8s.io/v1, rules: [{level: Metadata}]}";
    // `text` in base64url.
    let encoded = "base64url:eyJhcGlWZXJzaW9uIjoiYXVkaXQuazhzLmlvL3YxIiwicnVsZXMiOlt7ImxldmVsIjoiTWV0YWRhdGEifV19";
    in_each(OLDEST, |host| {
        for (key, value) in [
            ("policy_env", "AUDIT_POLICY"),
            ("policy", text),
            ("policy", &entities),
            ("policy", flow),
            ("policy", encoded),
        ] {
            let pipeline = tail(&format!("{EVENT}\n")).variable("AUDIT_POLICY", encoded);
            let finished = host.run(&pipeline.filter(&[(key, value)]).file_output("out"));
            finished.assert_clean();
            let event = &events(&finished)[0];
            assert_eq!(event["level"], "Metadata", "{}: {value}", host.name());
            assert!(event.get("responseObject").is_none());
        }
    });
}

#[test]
fn a_policy_file_that_changes() {
    let policy = |level: &str| {
        format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: {level}\n")
    };
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new()
            .file("policy.yaml", &policy("Metadata"))
            .input("dummy", &[("dummy", EVENT), ("rate", "20")])
            .filter(&[
                ("policy_file", "{dir}/policy.yaml"),
                ("policy_reload", "1s"),
            ])
            .file_output("out");
        let mut running = host.start(&pipeline);
        let level = |running: &Running, level: &str| {
            running
                .read("out")
                .contains(&format!("\"level\":\"{level}\""))
        };
        running.wait_until("metadata", |running| level(running, "Metadata"));
        assert!(!level(&running, "RequestResponse"));
        // A Kubernetes mount swaps whole files.
        running.replace("policy.yaml", &policy("Nonsense"));
        running.wait_for_log("the last good policy stays", 1);
        running.replace("policy.yaml", &policy("RequestResponse"));
        running.wait_until("the new policy", |running| {
            level(running, "RequestResponse")
        });
        running.stop().assert_clean();
    });
}

/// Options, and words that the message must have.
type WrongSetting = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

/// Each wrong setting ends the start with a word about what would be right.
#[test]
fn wrong_settings_end_the_start() {
    let filters: [WrongSetting; 7] = [
        (
            &[("polcy_file", "x")],
            &["unknown option `polcy_file`", "`Policy_File`"],
        ),
        (
            &[("policy_file", "/nowhere/policy.yaml")],
            &["`Policy_File`", "/nowhere/policy.yaml"],
        ),
        (
            &[("policy_file", "{dir}/bad.yaml")],
            &["bad.yaml:3:10", "rules[0].level", "Metadata"],
        ),
        (
            &[("policy_env", "NO_SUCH_VARIABLE")],
            &["`Policy_Env`", "NO_SUCH_VARIABLE"],
        ),
        (
            &[("policy", "{\"apiVersion\":\"audit.k8s.io/v1\"}")],
            &["Policy"],
        ),
        (
            &[("policy_preset", "minimal"), ("policy_env", "X")],
            &["`Policy_Preset` and `Policy_Env`"],
        ),
        (
            &[("output_shape", "xml")],
            &["`Output_Shape` is `xml`", "keep, map, json"],
        ),
    ];
    let outputs: [WrongSetting; 4] = [
        (&[], &["no receiver is set", "Endpoint"]),
        (
            &[("endpoint", "somewhere:99999")],
            &["`Endpoint` is `somewhere:99999`", "port"],
        ),
        (
            &[("endpoint", "a:1"), ("host", "b")],
            &["`Endpoint` and `Host`"],
        ),
        (
            &[("endpoint", "a:1"), ("frobnicate", "on")],
            &["unknown option `frobnicate`"],
        ),
    ];
    let bad = "apiVersion: audit.k8s.io/v1\nrules:\n- level: metadata\n";
    let base = || {
        Pipeline::new()
            .file("bad.yaml", bad)
            .input("dummy", &[("dummy", EVENT)])
    };
    in_each(OLDEST, |host| {
        let check = |pipeline: Pipeline, parts: &[&str]| {
            let finished = host.run(&pipeline);
            assert_ne!(
                finished.status,
                Some(0),
                "{}: {}",
                host.name(),
                finished.log
            );
            parts.iter().for_each(|part| finished.assert_log(part));
        };
        for (options, parts) in filters {
            check(base().filter(options).file_output("out"), parts);
        }
        for (options, parts) in outputs {
            check(base().output("kube_audit", options), parts);
        }
    });
}

/// Settings that would hang the host, send in the clear or show a secret end the start instead.
#[test]
fn hostile_settings_end_the_start() {
    let filters: [WrongSetting; 3] = [
        (
            &[("policy_file", "/dev/zero")],
            &["`Policy_File` is `/dev/zero`", "not a regular file"],
        ),
        (&[("policy_file", "{dir}")], &["it is a directory"]),
        (
            &[("host", "a")],
            &["`Host` is not an option of a filter: it belongs to an output"],
        ),
    ];
    let outputs: [WrongSetting; 6] = [
        (&[("upstream", "/dev/zero")], &["not a regular file"]),
        (&[("hots", "a")], &["did you mean `Host`?"]),
        (
            &[("host", "a"), ("tls.enable", "on")],
            &["unknown option `tls.enable`: did you mean `tls`?"],
        ),
        (
            &[("host", "a"), ("tls.ca_file", "/ca.pem")],
            &["`tls.ca_file` is set without `tls`: TLS is off without it"],
        ),
        (
            &[
                ("host", "a"),
                ("shared_key", "hunter2"),
                ("Shared_Key", "hunter3"),
            ],
            &["`Shared_Key` is set twice"],
        ),
        (
            &[("endpoint", "https://user:hunter2@host")],
            &["`Endpoint` is `…@host`"],
        ),
    ];
    in_each(OLDEST, |host| {
        let check = |pipeline: Pipeline, parts: &[&str]| {
            let finished = host.run(&pipeline);
            assert_ne!(finished.status, Some(0), "{}", finished.log);
            parts.iter().for_each(|part| finished.assert_log(part));
            assert!(!finished.log.contains("hunter"), "{}", finished.log);
        };
        let base = || Pipeline::new().input("dummy", &[("dummy", EVENT)]);
        for (options, parts) in filters {
            check(base().filter(options).file_output("out"), parts);
        }
        for (options, parts) in outputs {
            check(base().output("kube_audit", options), parts);
        }
    });
}
