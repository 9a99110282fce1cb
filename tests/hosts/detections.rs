//! Detections in real Fluent Bits: each event has the labels that it must have, beside the
//! event, in either shape.

use kube_audit_testkit::fluent_bit::{Finished, OLDEST, Pipeline, in_each};
use kube_audit_testkit::{judge, port};
use serde_json::Value;

/// An event and the ids of its labels, in any order.
struct Vector {
    /// The event as it is written.
    text: String,
    want: Vec<String>,
}

/// The events in the repository, and those handed to it if they are here.
fn vectors() -> Vec<Vector> {
    let mut text = include_str!("../fixtures/detections/events.jsonl").to_owned();
    if let Some(truth) = judge::ground_truth("only a few events are labelled") {
        let more = std::fs::read_to_string(truth.join("vectors/detections.jsonl"));
        text.push_str(&more.unwrap());
    }
    let vectors = text.lines().map(|line| {
        let vector: Value = serde_json::from_str(line).unwrap();
        let ids = vector["want"].as_array().unwrap().iter();
        let mut want: Vec<String> = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        want.sort();
        Vector {
            text: vector["event"].to_string(),
            want,
        }
    });
    // What is not recognised as an event is not looked at by the plugin.
    let recognised = |vector: &Vector| {
        let event: Value = serde_json::from_str(&vector.text).unwrap();
        event["auditID"].is_string() && event["stage"].is_string()
    };
    vectors.filter(recognised).collect()
}

fn lines(vectors: &[Vector]) -> String {
    vectors
        .iter()
        .map(|vector| format!("{}\n", vector.text))
        .collect()
}

/// Checks the labels of all records, and that nothing else has changed.
fn check(finished: &Finished, vectors: &[Vector], host: &str) {
    finished.assert_clean();
    let records = finished.records("out");
    assert_eq!(records.len(), vectors.len(), "{host}\n{}", finished.log);
    for (record, vector) in records.iter().zip(vectors) {
        let mut record = record.clone();
        let labels = record.as_object_mut().unwrap();
        let ids = labels.remove("kube_audit_detections");
        let severity = labels.remove("kube_audit_severity");
        let ids = ids.as_ref().and_then(Value::as_array);
        let ids = ids
            .into_iter()
            .flatten()
            .map(|id| id.as_str().unwrap().to_owned());
        let mut ids: Vec<String> = ids.collect();
        ids.sort();
        assert_eq!(ids, vector.want, "{host}: {}", vector.text);
        assert_eq!(
            severity.is_some(),
            !ids.is_empty(),
            "{host}: {}",
            vector.text
        );
        match record.get("log").and_then(Value::as_str) {
            Some(text) => assert_eq!(text, vector.text, "{host}"),
            None => {
                let event: Value = serde_json::from_str(&vector.text).unwrap();
                assert_eq!(record["auditID"], event["auditID"], "{host}");
                assert_eq!(record["user"], event["user"], "{host}");
            }
        }
    }
}

#[test]
fn labels_beside_text_and_in_maps() {
    let vectors = vectors();
    in_each(OLDEST, |host| {
        let pipeline = || Pipeline::new().lines("audit", &lines(&vectors));
        // Commands in paths are hidden by default; here texts stay as they are.
        let options = [("Detect", "on"), ("Redact", "off")];
        let text = host.run(&pipeline().filter(&options).file_output("out"));
        check(&text, &vectors, &format!("{}, text", host.name()));
        let map = host.run(&pipeline().json_parser().filter(&options).file_output("out"));
        check(&map, &vectors, &format!("{}, map", host.name()));
    });
}

#[test]
fn the_output_labels_what_it_sends() {
    let vectors = vectors();
    in_each(OLDEST, |host| {
        let port = port::reserve().to_string();
        let receiver = Pipeline::new()
            .input("forward", &[("listen", "127.0.0.1"), ("port", &port)])
            .file_output("out");
        let mut receiver = host.start(&receiver);
        receiver.wait_until("connection", |_| {
            std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
        });
        let to = [
            ("host", "127.0.0.1"),
            ("port", &*port),
            ("Detect", "on"),
            ("Redact", "off"),
        ];
        let sender = Pipeline::new().lines("audit", &lines(&vectors));
        host.run(&sender.output("kube_audit", &to)).assert_clean();
        receiver.wait_until("records", |receiver| {
            receiver.read("out").lines().count() >= vectors.len()
        });
        check(
            &receiver.stop(),
            &vectors,
            &format!("{}, output", host.name()),
        );
    });
}

#[test]
fn options_as_kkp_writes_them() {
    let vectors = vectors();
    in_each(OLDEST, |host| {
        let rules = "{detections: [{id: &#34;mine&#34;, severity: critical, verbs: [delete]}]}";
        let options = [
            ("Detect", "medium,-exec-into-pod"),
            ("Detect_Rules", rules),
            ("Detect_Ignore_Users", "nobody, proxy"),
            ("Detect_Ignore_Groups", "system:unauthenticated"),
            ("Detect_Key", "ids"),
            ("Detect_Severity_Key", "severity"),
            ("Detect_Shape", "text"),
            ("Detect_Keep", "high"),
            ("Policy", "{rules: [{level: None}]}"),
        ];
        let pipeline = Pipeline::new()
            .lines("audit", &lines(&vectors))
            .filter(&options);
        let finished = host.run(&pipeline.file_output("out"));
        finished.assert_clean();
        let records = finished.records("out");
        assert!(!records.is_empty(), "{}\n{}", host.name(), finished.log);
        let (mut own, mut impersonated) = (0, 0);
        for record in records {
            let ids = record["ids"].as_str().unwrap();
            let severity = record["severity"].as_str().unwrap();
            assert!(matches!(severity, "high" | "critical"), "{record}");
            assert!(!ids.contains("exec-into-pod"), "{record}");
            own += usize::from(ids.split(',').next() == Some("mine"));
            let event: Value = serde_json::from_str(record["log"].as_str().unwrap()).unwrap();
            assert_eq!(event["level"], "Metadata", "{record}");
            assert!(event.get("requestObject").is_none(), "{record}");
            assert!(!ids.contains("anonymous-request-allowed"), "{record}");
            // Nobody is ignored who impersonates.
            impersonated += usize::from(event["user"]["username"] == "proxy");
        }
        assert!(own > 0 && impersonated > 0, "{own} {impersonated}");
        finished.assert_log("events kept by a detection: ");
    });
}

#[test]
fn wrong_words_stop_the_start() {
    in_each(OLDEST, |host| {
        for (options, message) in [
            (
                &[("Detect", "medium,exec-in-pod")][..],
                "did you mean `exec-into-pod`?",
            ),
            (
                &[
                    ("Detect", "on"),
                    (
                        "Detect_Rules",
                        "{detections: [{id: secret-read, verbs: [get]}]}",
                    ),
                ],
                "Detect_Rules:1:33: detections[0].verbs: `secret-read` is built in",
            ),
        ] {
            let pipeline = Pipeline::new().lines("audit", "x\n").filter(options);
            let finished = host.run(&pipeline.file_output("out"));
            finished.assert_log(message);
            assert!(finished.records("out").is_empty());
        }
    });
}
