//! `Regex` and `Exclude` in real Fluent Bits, beside the host's own `grep`.

use kube_audit_testkit::fluent_bit::{Finished, FluentBit, OLDEST, Pipeline, in_each};
use serde_json::Value;

/// Four events, one line that is none, and one that begins like one.
const LINES: &str = concat!(
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/pods?x=a b","verb":"list","user":{"username":"user@example.com","groups":["devs","system:authenticated"]},"responseStatus":{"code":200}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"2","stage":"ResponseComplete","requestURI":"/healthz","verb":"get","user":{"username":"userXexample.com"},"responseStatus":{"code":404}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"3","stage":"ResponseComplete","requestURI":"/api","verb":"delete","user":{"username":"günther"},"annotations":{"authorization.k8s.io/decision":"allow"}}"#,
    "\n",
    r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"4","stage":"RequestReceived","requestURI":"/api","verb":"list","user":{"username":"system:node:\"n\""}}"#,
    "\n",
    "no event of user@example.com\n",
    r#"{"auditID":"5","stage":"Panic","cut"#,
    "\n",
);

fn ours(host: &FluentBit, options: &[(&str, &str)]) -> Finished {
    // The host's `grep` leaves records as they are; so does the filter without redaction.
    let options = [options, &[("redact", "off")]].concat();
    let pipeline = Pipeline::new().lines("audit", LINES).filter(&options);
    host.run(&pipeline.file_output("out"))
}

/// Which events are left, by the numbers that are their ids; 0 for other lines.
fn left(finished: &Finished) -> Vec<u64> {
    finished.assert_clean();
    let id = |record: Value| {
        let text = record["log"].as_str().map(str::to_owned);
        let text = text.unwrap_or_else(|| record.to_string());
        let (_, behind) = text.split_once(r#""auditID":""#)?;
        behind.split('"').next()?.parse().ok()
    };
    let records = finished.records("out").into_iter();
    records.map(|record| id(record).unwrap_or(0)).collect()
}

#[test]
fn the_same_as_grep_on_the_same_key() {
    in_each(OLDEST, |host| {
        for options in [
            &[("Regex", "log user@example.com")][..],
            &[("Regex", r#"log "verb":"(?:get|list)""#)],
            &[("Regex", "$log g\u{fc}nther|(?i)METADATA.*healthz")],
            &[("Exclude", r"log \busername\b")],
            &[("Exclude", "log /healthz/"), ("Regex", r"log ^\{")],
            &[("Regex", "nothing .")],
            &[("Exclude", "nothing .")],
        ] {
            let ours = ours(host, options);
            let pipeline = Pipeline::new().lines("audit", LINES);
            let theirs = host.run(&pipeline.host_filter("grep", options).file_output("out"));
            theirs.assert_clean();
            let log = ours.log.clone();
            let key = |finished: &Finished| -> Vec<Value> {
                let records = finished.records("out").into_iter();
                records.map(|record| record["log"].clone()).collect()
            };
            assert_eq!(
                key(&ours),
                key(&theirs),
                "{} {options:?}\n{log}",
                host.name()
            );
        }
    });
}

#[test]
fn anywhere_and_in_fields() {
    in_each(OLDEST, |host| {
        for (options, expected) in [
            // As the documentation of KKP writes it, where grep refuses it.
            (&[("Regex", "user@example.com")][..], &[1, 0][..]),
            (&[("Regex", "$user['username'] ^user.example")], &[1, 2]),
            // As KKP's template renders quotes and plus signs.
            (
                &[("Regex", "$user[&#39;groups&#39;][1] ^.&#43;:auth")],
                &[1],
            ),
            (&[("Regex", "user[\"username\"] \"n\"$")], &[4]),
            (&[("Exclude", "verb ^(get|list)$")], &[3, 0, 5]),
            (&[("Regex", "$responseStatus['code'] ^[45]")], &[2]),
            (
                &[(
                    "Regex",
                    "$annotations['authorization.k8s.io/decision'] allow",
                )],
                &[3],
            ),
            (&[("Regex", "* x=a b")], &[1]),
            (&[("Regex", "verb list"), ("Regex", "stage Complete")], &[1]),
            (
                &[("Regex", "verb list"), ("Exclude", "stage Received")],
                &[1],
            ),
            // The policy decides first: its metadata level drops nothing, stages of its own do.
            (
                &[
                    (
                        "Policy",
                        "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata, omitStages: [RequestReceived]}]}",
                    ),
                    ("Regex", "verb list"),
                ],
                &[1],
            ),
        ] {
            let finished = ours(host, options);
            assert_eq!(left(&finished), expected, "{} {options:?}", host.name());
        }
    });
}

#[test]
fn fields_of_events_that_are_maps() {
    in_each(OLDEST, |host| {
        for (option, expected) in [
            ("$user['username'] ^user@example.com$", &[1][..]),
            ("$responseStatus['code'] ^404$", &[2]),
            // The record as JSON.
            ("* \"verb\":\"list\"", &[1, 4]),
        ] {
            let pipeline = Pipeline::new()
                .lines("audit", LINES)
                .json_parser()
                .filter(&[("Regex", option)]);
            let finished = host.run(&pipeline.file_output("out"));
            assert_eq!(left(&finished), expected, "{} {option}", host.name());
        }
    });
}

#[test]
fn what_is_excluded_is_counted_and_told() {
    in_each(OLDEST, |host| {
        let finished = ours(host, &[("Regex", "verb list")]);
        finished.assert_log("events kept: 2, events excluded by a pattern: 2");
        finished.assert_log("other records excluded by a pattern: 2");
    });
}

#[test]
fn a_wrong_pattern_stops_the_start() {
    in_each(OLDEST, |host| {
        let finished = ours(host, &[("Regex", "verb (get")]);
        assert_ne!(finished.status, Some(0), "{}", finished.log);
        finished.assert_log("`Regex` is `verb (get`: Fluent Bit cannot compile the pattern");
        let finished = ours(host, &[("Exclude", "\"verb\": get")]);
        assert_ne!(finished.status, Some(0), "{}", finished.log);
        finished.assert_log("put `*` and a blank in front");
    });
}
