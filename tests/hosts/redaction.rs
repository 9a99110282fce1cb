//! Redaction in real Fluent Bits: on by default, in every shape, and twice is once.

use kube_audit_core::chunk::{LineForm, LineSink, write_line_record};
use kube_audit_core::pipeline::{self, Settings};
use kube_audit_core::stage::redact;
use kube_audit_testkit::fluent_bit::{Finished, OLDEST, Pipeline, in_each};
use serde_json::Value;

use crate::pipelines::forwarded;

/// A Secret, a command, a failed patch, an event with nothing secret in it, and a cut one.
const LINES: &str = concat!(
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/secrets","verb":"create","objectRef":{"resource":"secrets","apiVersion":"v1"},"requestObject":{"kind":"Secret","apiVersion":"v1","data":{"a":"bm90LWEtc2VjcmV0","n":7}}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"2","stage":"RequestReceived","requestURI":"/api/v1/namespaces/n/pods/p/exec?command=sh\u0026command=-c\u0026command=echo+not-a-secret","verb":"create","objectRef":{"resource":"pods","subresource":"exec","apiVersion":"v1"}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"3","stage":"ResponseComplete","requestURI":"/api/v1/x","verb":"patch","objectRef":{"resource":"pods","apiVersion":"v1"},"responseStatus":{"status":"Failure","message":"patch: Invalid value: \"{\\\"a\\\":\\\"not-a-secret\\\"}\": no","code":422}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"4","stage":"ResponseComplete","requestURI":"/api/v1/pods?limit=5","verb":"list","objectRef":{"resource":"pods","apiVersion":"v1"}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"5","stage":"ResponseComplete","requestObject":{"data":{"a":"not-a-secret"#,
    "\n",
);

/// Secrets of [`LINES`] as they stand in them.
const SECRETS: [&str; 2] = ["not-a-secret", "bm90LWEtc2VjcmV0"];

fn records(finished: &Finished) -> Vec<Value> {
    finished.assert_clean();
    let records = finished.records("out");
    for record in &records {
        let text = record.to_string();
        for secret in SECRETS {
            assert!(!text.contains(secret), "{text}");
        }
    }
    records
}

#[test]
fn secrets_are_hidden_by_default_in_text_and_in_maps() {
    in_each(OLDEST, |host| {
        let text = Pipeline::new().lines("audit", LINES).filter(&[]);
        let finished = host.run(&text.file_output("out"));
        let out = records(&finished);
        finished.assert_log("events redacted: 3");
        finished.assert_log("redaction is on");
        let lines: Vec<&str> = out.iter().filter_map(|r| r["log"].as_str()).collect();
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert!(
            lines[0].contains(r#""data":{"a":"REDACTED","n":0}"#),
            "{lines:?}"
        );
        assert!(lines[1].contains(r"command=echo+REDACTED"), "{lines:?}");
        assert_eq!(Some(lines[3]), LINES.lines().nth(3));
        assert!(lines[4].ends_with("REDACTED"), "{lines:?}");

        let maps = Pipeline::new().lines("audit", LINES).json_parser();
        let finished = host.run(&maps.filter(&[]).file_output("out"));
        let out = records(&finished);
        let first = &out[0]["requestObject"]["data"];
        assert_eq!(*first, serde_json::json!({"a": "REDACTED", "n": 0}));
        let mark = &out[0]["annotations"]["kube-audit/redacted"];
        assert_eq!(mark, "secret=2");
    });
}

/// Hosts' own ways to have an event twice in a record, and a `Log_Key` for each.
fn doubled() -> Vec<(Pipeline, &'static [(&'static str, &'static str)])> {
    const TAG: &str = concat!(
        "kube.var.log.containers.kube-apiserver-a_kube-system_kube-apiserver-",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.log"
    );
    let merged = |more: &[(&str, &str)]| {
        let mut options = vec![("dummy_meta", "on"), ("merge_log", "on")];
        options.extend(more);
        let input = Pipeline::new().lines(TAG, LINES);
        input.host_filter("kubernetes", &options)
    };
    let parsed = Pipeline::new()
        .lines("audit", LINES)
        .service("parsers_file", "{dir}/parsers.conf")
        .file("parsers.conf", "[PARSER]\n    Name json\n    Format json\n")
        .host_filter(
            "parser",
            &[
                ("key_name", "log"),
                ("parser", "json"),
                ("reserve_data", "on"),
                ("preserve_key", "on"),
            ],
        );
    let nested = Pipeline::new().lines("audit", LINES).host_filter(
        "nest",
        &[
            ("operation", "nest"),
            ("wildcard", "log"),
            ("nest_under", "properties"),
        ],
    );
    let key = ("merge_log_key", "log_processed");
    vec![
        (merged(&[]), &[]),
        (merged(&[("keep_log", "off")]), &[]),
        (merged(&[key]), &[]),
        (merged(&[key]), &[("log_key", "log_processed")]),
        (
            merged(&[key, ("keep_log", "off")]),
            &[("log_key", "log_processed")],
        ),
        (merged(&[key, ("keep_log", "off")]), &[("log_key", "log")]),
        (parsed, &[]),
        (nested, &[("log_key", "$properties['log']")]),
    ]
}

#[test]
fn every_copy_of_an_event_is_judged_by_the_filter() {
    in_each(OLDEST, |host| {
        for (number, (pipeline, options)) in doubled().into_iter().enumerate() {
            let redacted = pipeline.clone().filter(options).file_output("out");
            let finished = host.run(&redacted);
            assert_eq!(records(&finished).len(), 5, "{number}");
            finished.assert_log("events redacted: 3");

            let mut metadata = options.to_vec();
            metadata.extend([("policy_preset", "metadata"), ("redact", "off")]);
            let cut = pipeline.filter(&metadata).file_output("out");
            let finished = host.run(&cut);
            finished.assert_clean();
            let out = finished.records("out");
            let whole: Vec<&Value> = out
                .iter()
                .filter(|record| !record.to_string().contains("not-a-secret"))
                .collect();
            // Without redaction, messages, commands and what cannot be read stay.
            assert_eq!((out.len(), whole.len()), (5, 2), "{number}: {out:?}");
            assert!(!whole[0].to_string().contains("requestObject"), "{whole:?}");
        }
    });
}

#[test]
fn every_copy_of_an_event_is_judged_by_the_output() {
    in_each(OLDEST, |host| {
        for (pipeline, options) in doubled() {
            let received = forwarded(host, pipeline, options, 5);
            assert_eq!(records(&received).len(), 5);
        }
    });
}

#[test]
fn a_second_filter_changes_nothing() {
    in_each(OLDEST, |host| {
        let once = Pipeline::new().lines("audit", LINES).filter(&[]);
        let once = records(&host.run(&once.file_output("out")));
        let twice = Pipeline::new()
            .lines("audit", LINES)
            .filter(&[])
            .filter(&[]);
        let twice = records(&host.run(&twice.file_output("out")));
        assert_eq!(once, twice, "{}", host.name());
    });
}

#[test]
fn redaction_can_be_off() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new()
            .lines("audit", LINES)
            .filter(&[("Redact", "off")]);
        let finished = host.run(&pipeline.file_output("out"));
        finished.assert_clean();
        let out = finished.records("out");
        let lines: Vec<&str> = out.iter().filter_map(|r| r["log"].as_str()).collect();
        assert_eq!(lines, LINES.lines().collect::<Vec<_>>(), "{}", host.name());
    });
}

#[test]
fn events_that_are_too_large_are_shrunk() {
    let body = |kind: &str| {
        format!(
            r#"{{"kind":"{kind}","spec":{{"text":"{}"}}}}"#,
            "x".repeat(6000)
        )
    };
    let line = format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/e/v1/t","verb":"update","objectRef":{{"resource":"t","apiGroup":"e","apiVersion":"v1"}},"requestObject":{},"responseObject":{}}}"#,
        body("Request"),
        body("Response")
    ) + "\n";
    let options = [("max_event_size", "splunk")];
    let judge = |record: &Value, is_text: bool| {
        let event: Value = match is_text {
            true => serde_json::from_str(record["log"].as_str().unwrap()).unwrap(),
            false => record.clone(),
        };
        assert_eq!(event["annotations"]["audit.k8s.io/truncated"], "true");
        let said = event["annotations"]["kube-audit/shrunk"].as_str().unwrap();
        assert!(said.starts_with("responseObject=60"), "{said}");
        assert!(event.get("responseObject").is_none(), "{event}");
        assert_eq!(event["requestObject"]["kind"], "Request");
    };
    in_each(OLDEST, |host| {
        let text = Pipeline::new().lines("audit", &line);
        let finished = host.run(&text.clone().filter(&options).file_output("out"));
        finished.assert_clean();
        finished.assert_log("events shrunk: 1");
        judge(&finished.records("out")[0], true);
        let map = Pipeline::new().lines("audit", &line).json_parser();
        let finished = host.run(&map.filter(&options).file_output("out"));
        finished.assert_clean();
        judge(&finished.records("out")[0], false);
        let received = forwarded(host, text.clone(), &options, 1);
        judge(&received.records("out")[0], true);

        let small = [("max_event_size", "1KiB"), ("bodies", "drop")];
        let long = line.replace("/apis/e/v1/t", &"/u".repeat(1000));
        let long = Pipeline::new().lines("audit", &long).filter(&small);
        let finished = host.run(&long.file_output("out"));
        finished.assert_log("1 events are larger than `Max_Event_Size`");
        finished.assert_log("events larger than Max_Event_Size: 1");
        assert_eq!(finished.records("out").len(), 1);
    });
}

/// What the engine makes of lines; it is judged by `kube_audit_core`'s own tests.
fn by_the_engine(lines: &str) -> String {
    let mut engine = pipeline::Pipeline::new(Settings::default(), None, || [0; 16]);
    engine.set_redaction(Some(redact::Settings::default()));
    let mut sink = LineSink::new(LineForm::Event);
    let mut chunk = Vec::new();
    for line in lines.lines() {
        chunk.clear();
        write_line_record(line.as_bytes(), &mut chunk);
        engine.chunk(b"", &chunk, &mut sink).unwrap();
    }
    String::from_utf8(sink.lines).unwrap()
}

#[test]
fn recorded_events_come_out_as_the_engine_leaves_them() {
    let Some(truth) = std::env::var_os("KUBE_AUDIT_GROUND_TRUTH") else {
        eprintln!("SKIPPED: KUBE_AUDIT_GROUND_TRUTH is not set, no recorded event is redacted");
        return;
    };
    let path = std::path::Path::new(&truth).join("vectors/redaction.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    // Lists become a record for each event.
    let vectors = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: String = vectors
        .filter_map(|vector| Some(vector["line"].as_str()?.to_owned() + "\n"))
        .collect();
    let want = by_the_engine(&lines);
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new().lines("audit", &lines).filter(&[]);
        let finished = host.run(&pipeline.file_output("out"));
        finished.assert_clean();
        let out = finished.records("out");
        let out: Vec<&str> = out.iter().filter_map(|r| r["log"].as_str()).collect();
        assert_eq!(out, want.lines().collect::<Vec<_>>(), "{}", host.name());
    });
}
