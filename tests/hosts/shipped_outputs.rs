//! `fluent-bit-conf/outputs/`, run as shipped: the filter in front of Fluent Bit's own
//! outputs, and what arrives at a stand-in for the backend.

use kube_audit_testkit::http::{Answer, Request, StandIn};
use kube_audit_testkit::image::Image;
use kube_audit_testkit::{fluent_bit, image};
use serde_json::Value;

/// End of the audit ID, stage, level, and which bodies are there.
type Kept = (&'static str, &'static str, &'static str, &'static str);

/// What `policy.yaml` leaves of the sample.
const BY_POLICY_FILE: [Kept; 5] = [
    ("0001", "ResponseComplete", "Metadata", ""),
    ("0003", "ResponseComplete", "Request", "request"),
    ("0010", "ResponseStarted", "Metadata", ""),
    ("0012", "ResponseComplete", "Request", "request"),
    ("0013", "ResponseStarted", "Metadata", ""),
];

/// What the preset `metadata` leaves: everything but the bodies.
const BY_METADATA: [Kept; 13] = [
    ("0001", "RequestReceived", "Metadata", ""),
    ("0001", "ResponseComplete", "Metadata", ""),
    ("0003", "RequestReceived", "Metadata", ""),
    ("0003", "ResponseComplete", "Metadata", ""),
    ("0005", "ResponseComplete", "Metadata", ""),
    ("0006", "ResponseComplete", "Metadata", ""),
    ("0007", "ResponseComplete", "Metadata", ""),
    ("0008", "ResponseComplete", "Metadata", ""),
    ("0009", "ResponseStarted", "Metadata", ""),
    ("0010", "RequestReceived", "Metadata", ""),
    ("0010", "ResponseStarted", "Metadata", ""),
    ("0012", "ResponseComplete", "Metadata", ""),
    ("0013", "ResponseStarted", "Metadata", ""),
];

#[track_caller]
fn assert_events(events: &[Value], expected: &[Kept], host: &str) {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = events
        .iter()
        .map(|event| {
            let id = text(event, "auditID");
            let bodies: Vec<&str> = ["request", "response"]
                .into_iter()
                .filter(|body| event.get(format!("{body}Object")).is_some())
                .collect();
            let id = id.get(32..).unwrap_or_default().to_owned();
            (
                id,
                text(event, "stage"),
                text(event, "level"),
                bodies.join(","),
            )
        })
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|&(id, stage, level, bodies)| {
            (
                id.to_owned(),
                stage.to_owned(),
                level.to_owned(),
                bodies.to_owned(),
            )
        })
        .collect();
    assert_eq!(found, expected, "{host}");
}

/// Runs a shipped output against a stand-in, until that has got so many events.
fn delivered(
    output: &str,
    answer: Answer,
    more: &[(&str, &str)],
    expected: &[Kept],
    read: impl Fn(&Request) -> Vec<Value> + Sync,
    check: impl Fn(&Request, &[Value]) + Sync,
) {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let stand_in = StandIn::start(answer);
        let image = Image::new(host);
        let name = output.to_uppercase();
        let port = stand_in.port();
        let settings = [("HOST", "127.0.0.1"), ("PORT", &port), ("TLS", "off")]
            .map(|(setting, value)| (format!("{name}_{setting}"), value.to_owned()));
        let mut environment: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        environment.push(("CLUSTER_ID", "c-1"));
        environment.extend(more);
        let running = image.start(
            &format!("/fluent-bit/etc/outputs/{output}.conf"),
            &environment,
        );
        let documents = || -> Vec<Value> { stand_in.requests().iter().flat_map(&read).collect() };
        running.wait_for("events", |_| documents().len() >= expected.len());
        running.stop();
        assert_events(&documents(), expected, &host.name());
        for request in stand_in.requests() {
            check(&request, &read(&request));
        }
    });
}

/// Actions and documents of a bulk request.
fn bulk(request: &Request) -> (Vec<Value>, Vec<Value>) {
    let lines: Vec<Value> = request
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let every_second = |from| lines.iter().skip(from).step_by(2).cloned().collect();
    (every_second(0), every_second(1))
}

fn keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                found.push(key.clone());
                keys(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        _ => {}
    }
}

fn a_bulk_of_documents(request: &Request, documents: &[Value]) {
    assert_eq!(request.path.split('?').next(), Some("/_bulk"));
    // user:secret
    assert_eq!(request.header("authorization"), "Basic dXNlcjpzZWNyZXQ=");
    assert_eq!(request.header("content-type"), "application/x-ndjson");
    let mut ids = Vec::new();
    for action in bulk(request).0 {
        let action = action["create"].as_object().unwrap();
        assert_eq!(action["_index"], "kube-audit-2026.11.20");
        assert!(!action.contains_key("_type"));
        ids.push(action["_id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), documents.len());
    for document in documents {
        let time = document["@timestamp"].as_str().unwrap();
        let stage = document["stageTimestamp"].as_str().unwrap();
        assert_eq!(time[..23], stage[..23]);
        assert_eq!(document["cluster"], "c-1");
        let mut names = Vec::new();
        keys(document, &mut names);
        assert!(!names.iter().any(|name| name.contains('.')), "{names:?}");
    }
}

#[test]
fn elasticsearch() {
    delivered(
        "elasticsearch",
        (200, r#"{"took":1,"errors":false,"items":[]}"#),
        &[
            ("ELASTICSEARCH_USER", "user"),
            ("ELASTICSEARCH_PASSWORD", "secret"),
        ],
        &BY_METADATA,
        |request| bulk(request).1,
        a_bulk_of_documents,
    );
}

#[test]
fn opensearch() {
    delivered(
        "opensearch",
        (200, r#"{"took":1,"errors":false,"items":[]}"#),
        &[
            ("OPENSEARCH_USER", "user"),
            ("OPENSEARCH_PASSWORD", "secret"),
        ],
        &BY_METADATA,
        |request| bulk(request).1,
        a_bulk_of_documents,
    );
}

#[test]
fn loki() {
    let values = |request: &Request| -> Vec<(String, Value)> {
        let push: Value = serde_json::from_slice(&request.body).unwrap();
        let streams = push["streams"].as_array().unwrap();
        let values = streams.iter().flat_map(|stream| {
            let labels = serde_json::json!({"job": "kube-audit", "cluster": "c-1"});
            assert_eq!(stream["stream"], labels);
            stream["values"].as_array().unwrap().clone()
        });
        values
            .map(|value| {
                let line = serde_json::from_str(value[1].as_str().unwrap()).unwrap();
                (value[0].as_str().unwrap().to_owned(), line)
            })
            .collect()
    };
    delivered(
        "loki",
        (204, ""),
        &[("LOKI_TENANT", "audit")],
        &BY_POLICY_FILE,
        |request| values(request).into_iter().map(|(_, line)| line).collect(),
        |request, _| {
            assert_eq!(request.path, "/loki/api/v1/push");
            assert_eq!(request.header("x-scope-orgid"), "audit");
            for (time, line) in values(request) {
                // The sample is of one minute: 2026-11-20T08:00.
                let (seconds, rest) = time.split_at(10);
                let stage = line["stageTimestamp"].as_str().unwrap();
                let second = 1_795_161_600 + stage[17..19].parse::<u64>().unwrap();
                assert_eq!(seconds, second.to_string(), "{stage}");
                assert_eq!(rest[..6], stage[20..26], "{stage}");
            }
        },
    );
}

#[test]
fn splunk() {
    let events = |request: &Request| -> Vec<Value> {
        serde_json::Deserializer::from_slice(&request.body)
            .into_iter::<Value>()
            .map(Result::unwrap)
            .collect()
    };
    delivered(
        "splunk",
        (200, r#"{"text":"Success","code":0}"#),
        &[("SPLUNK_TOKEN", "not-a-token")],
        &BY_POLICY_FILE,
        |request| {
            events(request)
                .iter()
                .map(|hec| hec["event"].clone())
                .collect()
        },
        |request, _| {
            assert_eq!(request.path, "/services/collector/event");
            assert_eq!(request.header("authorization"), "Splunk not-a-token");
            for hec in events(request) {
                assert_eq!(hec["source"], "kube-apiserver");
                assert_eq!(hec["sourcetype"], "kube:apiserver:audit");
                assert_eq!(hec["host"], "c-1");
                let stage = hec["event"]["stageTimestamp"].as_str().unwrap();
                let second: f64 = stage[17..26].parse().unwrap();
                let time = hec["time"].as_f64().unwrap();
                assert!(
                    (time - 1_795_161_600.0 - second).abs() < 0.001,
                    "{time} {stage}"
                );
            }
        },
    );
}

#[test]
fn stdout_and_file() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let image = Image::new(host);
        let stdout = image.start(
            "/fluent-bit/etc/outputs/stdout.conf",
            &[("CLUSTER_ID", "c-1")],
        );
        stdout.wait_for("events", |stdout| {
            stdout.records().len() >= BY_POLICY_FILE.len()
        });
        let events = stdout.records();
        stdout.stop();
        assert_events(&events, &BY_POLICY_FILE, &host.name());
        for event in events {
            assert_eq!(event["cluster"], "c-1");
            let (time, stage) = (event["time"].as_str(), event["stageTimestamp"].as_str());
            assert_eq!(time.unwrap()[..19], stage.unwrap()[..19]);
        }

        let image = Image::new(host);
        let file = image.start("/fluent-bit/etc/outputs/file.conf", &[]);
        let kept = || image.read("var/lib/fluent-bit/kept.log");
        file.wait_for("lines", |_| kept().lines().count() >= BY_POLICY_FILE.len());
        file.stop();
        let events: Vec<Value> = kept()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_events(&events, &BY_POLICY_FILE, &host.name());
    });
}

#[test]
fn severe_events_go_to_an_output_of_their_own() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let image = Image::new(host);
        let log = image.path("var/log/kubernetes/audit/audit.log");
        let vectors = include_str!("../fixtures/detections/events.jsonl").lines();
        let events = vectors.map(|line| {
            let vector: Value = serde_json::from_str(line).unwrap();
            format!("{}\n", vector["event"])
        });
        // The policy drops what nodes read.
        let read = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"00000000-0000-4000-8000-000000000099","stage":"ResponseComplete","requestURI":"/api/v1/secrets","verb":"list","user":{"username":"system:node:n1","groups":["system:nodes"]},"objectRef":{"resource":"secrets","apiVersion":"v1"},"responseStatus":{"code":200},"responseObject":{"kind":"SecretList"}}"#;
        std::fs::write(
            &log,
            events.chain([format!("{read}\n")]).collect::<String>(),
        )
        .unwrap();
        let running = image.start("/fluent-bit/etc/outputs/detections.conf", &[]);
        let read = |file: &str| -> Vec<Value> {
            let text = image.read(&format!("var/lib/fluent-bit/{file}"));
            let lines = text.lines().map(serde_json::from_str);
            lines.collect::<Result<_, _>>().unwrap_or_default()
        };
        running.wait_for("severe events", |_| read("severe.log").len() >= 9);
        running.stop();
        let severe = read("severe.log");
        assert_eq!(severe.len(), 9, "{}: {severe:#?}", host.name());
        for event in &severe {
            let severity = event["kube_audit_severity"].as_str();
            assert!(matches!(severity, Some("high" | "critical")), "{event}");
        }
        let kept_by_detection = severe.last().map(|event| event["auditID"].as_str());
        let id = "00000000-0000-4000-8000-000000000099";
        assert_eq!(kept_by_detection, Some(Some(id)), "{}", host.name());
        let last = severe.last().unwrap();
        assert_eq!(last["level"], "Metadata");
        assert!(last.get("responseObject").is_none());
        // What is severe is among all that is kept, and so is what has no label.
        let kept = read("kept.log");
        assert!(kept.len() > severe.len());
        assert!(severe.iter().all(|event| kept.contains(event)));
        assert!(
            kept.iter()
                .any(|event| event.get("kube_audit_severity").is_none())
        );
    });
}
