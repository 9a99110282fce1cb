//! `fluent-bit-conf/inputs/`, run as shipped: events that come by webhook, and those
//! among a container's log lines.

use std::fs::{self, File};
use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use flate2::read::GzDecoder;
use kube_audit_testkit::fluent_bit::{FluentBit, Pipeline};
use kube_audit_testkit::http::Client;
use kube_audit_testkit::image::Image;
use kube_audit_testkit::judge::ground_truth;
use kube_audit_testkit::{fluent_bit, image, port};
use serde_json::{Value, json};

/// The port that `webhook.conf` names.
const PORT: u16 = 9880;

/// The events of the sample, without the line that is none.
fn sample() -> Vec<Value> {
    let text = fs::read_to_string(image::shipped().join("sample/audit.log")).unwrap();
    let events = text.lines().map(serde_json::from_str);
    events.filter_map(Result::ok).collect()
}

/// A list as the API server's webhook sends it: its events name no kind of their own.
fn list(mut events: Vec<Value>) -> Vec<u8> {
    for event in &mut events {
        let event = event.as_object_mut().unwrap();
        event.remove("kind");
        event.remove("apiVersion");
    }
    let list = json!({
        "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events
    });
    list.to_string().into_bytes()
}

/// Lists of copies of an event, each copy with an audit ID of its own.
fn copies(event: &Value, count: usize) -> Vec<Value> {
    let copy = |number| {
        let mut event = event.clone();
        event["auditID"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
        event
    };
    (0..count).map(copy).collect()
}

/// A receiver that writes what arrives into a file for each tag.
fn aggregator(host: &FluentBit, port: u16) -> fluent_bit::Running {
    let port = port.to_string();
    let pipeline = Pipeline::new()
        .input(
            "forward",
            &[
                ("listen", "127.0.0.1"),
                ("port", &port),
                ("buffer_max_size", "16M"),
            ],
        )
        .output("file", &[("path", "{dir}"), ("format", "plain")]);
    let mut aggregator = host.start(&pipeline);
    aggregator.wait_for_log("listening on", 1);
    aggregator
}

fn records(aggregator: &fluent_bit::Running) -> Vec<Value> {
    let lines = aggregator.read("kube-audit");
    lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn ids(records: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = records
        .iter()
        .map(|record| record["auditID"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn webhook() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let _turn = port::wait_for_turn(PORT);
        let to = port::reserve();
        let mut aggregator = aggregator(host, to);
        let image = Image::new(host);
        let to = format!("127.0.0.1:{to}");
        let environment = [("CLUSTER_ID", "c-1"), ("AGGREGATOR", to.as_str())];
        let webhook = image.start("/fluent-bit/etc/inputs/webhook.conf", &environment);
        let connect = || Client::connect("127.0.0.1:9880");
        webhook.wait_for("listener", |_| connect().is_ok());

        // All in one, and one by one on the same connection.
        let mut server = connect().unwrap();
        assert_eq!(
            server.post("/", &list(sample())),
            Some(201),
            "{}",
            host.name()
        );
        aggregator.wait_until("the list", |aggregator| records(aggregator).len() >= 10);
        for event in sample() {
            assert_eq!(
                server.post("/", &list(vec![event])),
                Some(201),
                "{}",
                host.name()
            );
        }
        // Policy `recommended`: three RequestReceived go.
        aggregator.wait_until("lists of one", |aggregator| records(aggregator).len() >= 20);
        let arrived = records(&aggregator);
        assert_eq!(arrived.len(), 20, "{}", host.name());
        assert_eq!(arrived[..10], arrived[10..]);
        for event in &arrived {
            assert_eq!(event["cluster"], "c-1");
            assert!(event.get("items").is_none() && event["level"] != Value::Null);
            let workload = event["objectRef"]["resource"] == "deployments"
                || event["objectRef"]["resource"] == "pods";
            let whole = event["level"] == "RequestResponse";
            assert!(whole == event.get("responseObject").is_some() || event["verb"] == "get");
            assert!(workload || !whole, "{event}");
        }

        // A full batch of 400 events in more than the 4 MiB that are the default.
        let mut large = sample()
            .into_iter()
            .find(|event| event["verb"] == "create")
            .unwrap();
        large["requestObject"]["metadata"]["annotations"] = json!({"filler": "x".repeat(15_000)});
        let batch = list(copies(&large, 400));
        assert!(batch.len() > 6_000_000);
        assert_eq!(server.post("/", &batch), Some(201), "{}", host.name());
        aggregator.wait_until("the batch", |aggregator| records(aggregator).len() >= 420);
        // Another path is another tag, and so another file here.
        let one = list(vec![sample().remove(1)]);
        assert_eq!(server.post("/qx7l2v", &one), Some(201), "{}", host.name());
        aggregator.wait_until("the other tag", |aggregator| {
            !aggregator.read("qx7l2v").is_empty()
        });
        webhook.stop();
        let arrived = records(&aggregator);
        assert_eq!(arrived.len(), 420, "{}", host.name());
        assert_eq!(ids(&arrived[20..]).len(), 400);
        aggregator.stop().assert_clean();
    });
}

/// A recording of a real API server.
fn recorded(file: &str) -> Option<String> {
    let truth = ground_truth(&format!("{file} is not sent"))?;
    let file = File::open(truth.join("corpus/shapes").join(file)).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text)
}

/// Everything that a real API server sent to its webhook.
#[test]
fn recorded_lists() {
    let Some(text) = recorded("eventlists.jsonl.gz") else {
        return;
    };
    let mut expected = Vec::new();
    for list in text.lines() {
        let list: Value = serde_json::from_str(list).unwrap();
        for event in list["items"].as_array().unwrap() {
            // Of policy `recommended`, nothing else goes.
            if event["stage"] != "RequestReceived" {
                expected.push((event["auditID"].clone(), event["stage"].clone()));
            }
        }
    }
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let _turn = port::wait_for_turn(PORT);
        let to = port::reserve();
        let mut aggregator = aggregator(host, to);
        let image = Image::new(host);
        let to = format!("127.0.0.1:{to}");
        let environment = [("CLUSTER_ID", "c-1"), ("AGGREGATOR", to.as_str())];
        let webhook = image.start("/fluent-bit/etc/inputs/webhook.conf", &environment);
        let connect = || Client::connect("127.0.0.1:9880");
        webhook.wait_for("listener", |_| connect().is_ok());
        let mut server = connect().unwrap();
        for list in text.lines() {
            assert_eq!(
                server.post("/", list.as_bytes()),
                Some(201),
                "{}",
                host.name()
            );
        }
        aggregator.wait_until("all events", |aggregator| {
            aggregator.read("kube-audit").lines().count() >= expected.len()
        });
        webhook.stop();
        let arrived: Vec<_> = records(&aggregator)
            .iter()
            .map(|event| (event["auditID"].clone(), event["stage"].clone()))
            .collect();
        assert_eq!(arrived, expected, "{}", host.name());
        aggregator.stop().assert_clean();
    });
}

/// The shipped kubeconfig is what kube-apiserver reads, and leads to the shipped port.
#[test]
fn webhook_kubeconfig() {
    let read = |file: &str| fs::read_to_string(image::shipped().join("inputs").join(file)).unwrap();
    let config = read("webhook-kubeconfig.yaml");
    for line in [
        "apiVersion: v1",
        "kind: Config",
        "current-context: kube-audit",
        "      server: http://kube-audit.audit-forward.svc:9880/",
    ] {
        assert!(config.lines().any(|found| found == line), "{line}");
    }
    assert!(read("webhook.conf").contains("Port              9880"));
}

/// A line as containerd writes it, in pieces of 16 KiB.
fn cri(line: &str, second: usize) -> Vec<String> {
    let pieces: Vec<&[u8]> = line.as_bytes().chunks(16_384).collect();
    let last = pieces.len() - 1;
    pieces
        .iter()
        .enumerate()
        .map(|(at, piece)| {
            let flag = if at == last { "F" } else { "P" };
            let piece = std::str::from_utf8(piece).unwrap();
            format!("2026-11-20T08:00:{second:02}.123456789Z stdout {flag} {piece}\n")
        })
        .collect()
}

#[test]
fn containers() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let image = Image::new(host);
        let log =
            image.path("var/log/containers/kube-apiserver-node-0_kube-system_kube-apiserver-1.log");
        let mut text = String::new();
        let klog = |text: &mut String, stream: &str| {
            text.push_str(&format!(
                "2026-11-20T08:00:00.123456789Z {stream} F I1120 08:00:00.000000       1 \
                 httplog.go:132] a line of the server itself\n"
            ));
        };
        for (second, mut event) in sample().into_iter().enumerate() {
            if event["verb"] == "create" {
                event["requestObject"]["metadata"]["annotations"] =
                    json!({"filler": "x".repeat(40_000)});
            }
            let pieces = cri(&event.to_string(), second);
            for piece in &pieces {
                text.push_str(piece);
                // A line on the other stream may come between two pieces.
                klog(&mut text, "stderr");
            }
        }
        klog(&mut text, "stdout");
        let klogs = text.matches("httplog.go").count();
        assert_eq!(text.matches(" stdout P ").count(), 2);
        fs::write(&log, text).unwrap();

        let running = image.start(
            "/fluent-bit/etc/inputs/containers.conf",
            &[("CLUSTER_ID", "c-1")],
        );
        // Policy `recommended`: three RequestReceived go.
        running.wait_for("lines", |running| running.records().len() >= 10 + klogs);
        sleep(Duration::from_millis(300));
        let records = running.records();
        running.stop();
        assert!(records.iter().all(|record| record["cluster"] == "c-1"));
        let (events, others): (Vec<Value>, Vec<Value>) = records
            .into_iter()
            .partition(|record| record.get("auditID").is_some());
        assert_eq!(events.len(), 10, "{}", host.name());
        assert_eq!(others.len(), klogs, "{}", host.name());
        for line in others {
            let line = line["log"].as_str().unwrap();
            assert!(
                line.starts_with("2026-11-20T08:00:00.123456789Z std"),
                "{line}"
            );
            assert!(line.ends_with("a line of the server itself"), "{line}");
        }
        let whole = |event: &&Value| {
            event["requestObject"]["metadata"]["annotations"]["filler"].is_string()
        };
        assert_eq!(events.iter().filter(whole).count(), 1, "{}", host.name());
        let secret = |event: &&Value| event["objectRef"]["resource"] == "secrets";
        let secret = events.iter().find(secret).unwrap();
        assert_eq!(secret["level"], "Metadata");
        assert!(secret.get("responseObject").is_none());
    });
}

/// Everything that a real API server wrote to its standard output.
#[test]
fn recorded_lines() {
    let Some(text) = recorded("cri-wrapped.log.gz") else {
        return;
    };
    if !image::is_possible() {
        return;
    }
    let mut expected = Vec::new();
    let mut line = String::new();
    for piece in text.lines() {
        let (before, after) = piece.split_once(" stdout ").unwrap();
        assert!(before.ends_with('Z'));
        line.push_str(&after[2..]);
        if after.starts_with('F') {
            let event: Value = serde_json::from_str(&line).unwrap();
            line.clear();
            // Of policy `recommended`, nothing else goes.
            if event["stage"] != "RequestReceived" {
                expected.push((event["auditID"].clone(), event["stage"].clone()));
            }
        }
    }
    assert!(text.contains(" stdout P "));
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let image = Image::new(host);
        fs::write(
            image.path("var/log/containers/kube-apiserver-node-0.log"),
            &text,
        )
        .unwrap();
        let config = "/fluent-bit/etc/inputs/containers.conf";
        let running = image.start(config, &[("CLUSTER_ID", "c-1")]);
        running.wait_for("lines", |running| running.records().len() >= expected.len());
        let arrived: Vec<_> = running
            .records()
            .iter()
            .map(|event| (event["auditID"].clone(), event["stage"].clone()))
            .collect();
        running.stop();
        assert!(arrived == expected, "{}", host.name());
    });
}
