//! Linux audit records in real Fluent Bits: vectors through `tail` and through the Forward
//! protocol, what is held at the end, and the shipped pipelines.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use kube_audit_testkit::fluent_bit::{self, FluentBit, OLDEST, Pipeline, Running, in_each};
use kube_audit_testkit::image::{self, Image};
use kube_audit_testkit::{judge, port};
use serde_json::{Value, json};

const EVENTS: [(&str, &str); 2] = [("machine_audit", "events"), ("output_shape", "map")];

/// The vectors of the repository and of the ground truth.
fn all_vectors() -> Vec<Value> {
    let own = Path::new("crates/machine/tests/vectors.jsonl").to_owned();
    let truth = judge::ground_truth("vectors of machine audit logs");
    let truth = truth.map(|truth| truth.join("vectors/machine-audit.jsonl"));
    let texts = [Some(own), truth].into_iter().flatten();
    let texts: Vec<String> = texts
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Those whose records come in one chunk.
fn vectors() -> Vec<Value> {
    let mut vectors = all_vectors();
    vectors.retain(|vector| vector.get("chunks").is_none());
    vectors
}

/// What must come out in the end, whatever the chunks.
fn expected(vector: &Value) -> Vec<&Value> {
    let lists = match vector["expected_by_chunk"].as_array() {
        Some(by_chunk) => by_chunk.iter().collect(),
        None => vec![&vector["expected"]],
    };
    lists
        .into_iter()
        .flat_map(|list| list.as_array().unwrap())
        .collect()
}

/// Records of vectors, each as a file of its own that is tailed under a tag of its own; a
/// line is a record as JSON.
fn tailed(vectors: &[Value]) -> Pipeline {
    let options = [
        ("path", "{dir}/*.input"),
        ("tag_regex", r"(?<id>[^/]+)\.input$"),
        ("tag", "<id>"),
        ("read_from_head", "on"),
        ("buffer_chunk_size", "512k"),
        ("buffer_max_size", "1M"),
    ];
    let mut pipeline = Pipeline::new().json_parser().input("tail", &options);
    for vector in vectors {
        let id = vector["id"].as_str().unwrap();
        let records = vector["records"].as_array().unwrap();
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        pipeline = pipeline.file(&format!("{id}.input"), &lines);
    }
    pipeline
}

/// Waits for all that vectors must give, and compares it.
fn compare(host: &FluentBit, mut running: Running, vectors: &[Value]) {
    let said = |running: &Running, id: &str| -> Vec<Value> {
        let text = running.read(id);
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    running.wait_until("all events", |running| {
        vectors.iter().all(|vector| {
            let id = vector["id"].as_str().unwrap();
            said(running, id).len() >= expected(vector).len()
        })
    });
    for vector in vectors {
        let id = vector["id"].as_str().unwrap();
        let (said, want) = (said(&running, id), expected(vector));
        assert_eq!(said.len(), want.len(), "{} {id}: {said:#?}", host.name());
        for (said, want) in said.iter().zip(want) {
            if let Some(untouched) = want["untouched"].as_u64() {
                assert_eq!(*said, vector["records"][untouched as usize], "{id}");
                continue;
            }
            for (key, value) in want.as_object().unwrap() {
                assert_eq!(said[key], *value, "{} {id}: {key}", host.name());
            }
        }
    }
    running.stop().assert_clean();
}

/// By the pattern of `Exclude` that they ask for.
fn by_condition(vectors: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for vector in vectors {
        let exclude = vector["option"]["Exclude"].as_str().unwrap_or_default();
        groups.entry(exclude.to_owned()).or_default().push(vector);
    }
    groups
}

fn options(exclude: &str) -> Vec<(&str, &str)> {
    let mut options = EVENTS.to_vec();
    if !exclude.is_empty() {
        options.push(("exclude", exclude));
    }
    options
}

fn to_files(pipeline: Pipeline) -> Pipeline {
    pipeline.output("file", &[("path", "{dir}"), ("format", "plain")])
}

#[test]
fn vectors_by_tail() {
    in_each(OLDEST, |host| {
        for (exclude, vectors) in by_condition(vectors()) {
            let pipeline = tailed(&vectors).filter(&options(&exclude));
            compare(host, host.start(&to_files(pipeline)), &vectors);
        }
    });
}

/// Starts a host that listens, and files what its filter makes of what comes.
fn receiver(host: &FluentBit, exclude: &str) -> (Running, String) {
    let port = port::reserve().to_string();
    let listen = [("listen", "127.0.0.1"), ("port", port.as_str())];
    let pipeline = Pipeline::new()
        .input("forward", &listen)
        .filter(&options(exclude));
    let mut receiver = host.start(&to_files(pipeline));
    receiver.wait_for_log("listening on", 1);
    (receiver, port)
}

#[test]
fn vectors_by_forward() {
    in_each(OLDEST, |host| {
        for (exclude, vectors) in by_condition(vectors()) {
            let (receiver, port) = receiver(host, &exclude);
            // 2.2.3 and 4.0.0 hand the entries of a message to filters one by one, each as
            // a chunk, unless the message is compressed or packed.
            let one_by_one = (2, 0, 0) < host.version && host.version < (5, 0, 0);
            let to = [
                ("host", "127.0.0.1"),
                ("port", port.as_str()),
                ("compress", if one_by_one { "gzip" } else { "off" }),
            ];
            let to = if one_by_one { &to[..] } else { &to[..2] };
            let sender = host.start(&tailed(&vectors).output("forward", to));
            compare(host, receiver, &vectors);
            sender.stop();
        }
    });
}

/// A value as msgpack has it.
fn msgpack(value: &Value) -> rmpv::Value {
    match value {
        Value::Null => rmpv::Value::Nil,
        Value::Bool(value) => (*value).into(),
        Value::Number(value) => value.as_i64().unwrap().into(),
        Value::String(value) => value.as_str().into(),
        Value::Array(items) => rmpv::Value::Array(items.iter().map(msgpack).collect()),
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| (key.as_str().into(), msgpack(value));
            rmpv::Value::Map(members.iter().map(member).collect())
        }
    }
}

fn bytes(value: &rmpv::Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

/// A message in the packed form of the Forward protocol, which is a chunk for any host.
fn packed(tag: &str, records: &[Value]) -> Vec<u8> {
    let time = rmpv::Value::Ext(0, vec![0x65, 0x53, 0xf1, 0x5c, 0, 0, 0, 0]);
    let entry = |record| bytes(&rmpv::Value::Array(vec![time.clone(), msgpack(record)]));
    let entries: Vec<u8> = records.iter().flat_map(entry).collect();
    bytes(&rmpv::Value::Array(vec![
        tag.into(),
        rmpv::Value::Binary(entries),
        rmpv::Value::Map(Vec::new()),
    ]))
}

/// All of them, with their borders of chunks.
#[test]
fn vectors_by_packed_forward() {
    let vectors = all_vectors();
    assert!(vectors.iter().any(|vector| vector.get("chunks").is_some()));
    in_each(OLDEST, |host| {
        for (exclude, vectors) in by_condition(vectors.clone()) {
            let (receiver, port) = receiver(host, &exclude);
            let mut connection = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
            for vector in &vectors {
                let mut rest = &vector["records"].as_array().unwrap()[..];
                let lengths: Vec<usize> = match vector["chunks"].as_array() {
                    Some(lengths) => {
                        let lengths = lengths.iter().map(|length| length.as_u64().unwrap());
                        lengths.map(|length| length as usize).collect()
                    }
                    None => vec![rest.len()],
                };
                for length in lengths {
                    let (chunk, behind) = rest.split_at(length);
                    let message = packed(vector["id"].as_str().unwrap(), chunk);
                    connection.write_all(&message).unwrap();
                    rest = behind;
                }
            }
            compare(host, receiver, &vectors);
        }
    });
}

#[test]
fn what_is_held_at_the_end_is_told() {
    in_each(OLDEST, |host| {
        let lines = "type=SYSCALL msg=audit(1700000000.123:1): arch=c000003e syscall=59\nother\n";
        let pipeline = Pipeline::new().lines("machine", lines).filter(&EVENTS);
        let finished = host.run(&pipeline.file_output("out"));
        finished.assert_clean();
        finished.assert_log("1 Linux audit records whose event was not complete are lost");
        assert_eq!(finished.records("out").len(), 1, "{}", host.name());
    });
}

/// A program that starts, in records of auditd.
const EXECVE: [(u32, &str, &str); 5] = [
    (
        1300,
        "SYSCALL",
        r#"arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=4 items=2 ppid=1 pid=2 auid=1000 uid=0 comm="id" exe="/usr/bin/id" key="exec""#,
    ),
    (1309, "EXECVE", r#"argc=1 a0="id""#),
    (1307, "CWD", r#"cwd="/root""#),
    (
        1302,
        "PATH",
        r#"item=0 name="/usr/bin/id" inode=1 cap_fp=0"#,
    ),
    (1327, "PROCTITLE", r#"proctitle="id""#),
];

fn audit_log() -> String {
    let line = |(_, kind, body): &(u32, &str, &str)| {
        format!("type={kind} msg=audit(1700000000.123:7): {body}\n")
    };
    let runc = "type=SYSCALL msg=audit(1700000000.100:6): arch=c000003e syscall=59 exe=\"/usr/sbin/runc\"\ntype=PROCTITLE msg=audit(1700000000.100:6): proctitle=\"runc\"\n";
    runc.to_owned() + &EXECVE.iter().map(line).collect::<String>()
}

/// An image with the audit log of a machine in it.
fn machine(host: &FluentBit) -> Image {
    let image = Image::new(host);
    fs::create_dir_all(image.path("var/log/audit")).unwrap();
    fs::write(image.path("var/log/audit/audit.log"), audit_log()).unwrap();
    image
}

/// Checks the event of [`EXECVE`] as the shipped files leave it.
#[track_caller]
fn assert_event(event: &Value, host: &FluentBit) {
    for (key, value) in [
        ("timestamp", json!("2023-11-14T22:13:20.123Z")),
        ("serial", json!(7)),
        ("SYSCALL", json!("execve")),
        ("argv", json!(["id"])),
        ("cwd", json!("/root")),
        ("key", json!(["exec"])),
        ("cluster", json!("c-1")),
    ] {
        assert_eq!(event[key], value, "{}: {event}", host.name());
    }
    let time = event["time"].as_str().unwrap();
    assert!(
        time.starts_with("2023-11-14T22:13:20.123"),
        "{}: {time}",
        host.name()
    );
}

#[test]
fn a_machines_audit_log_as_shipped() {
    if !image::is_possible() {
        return;
    }
    in_each(OLDEST, |host| {
        let image = machine(host);
        let running = image.start(
            "/fluent-bit/etc/machine/audit-log.conf",
            &[("CLUSTER_ID", "c-1")],
        );
        running.wait_for("the event", |running| !running.records().is_empty());
        let records = running.records();
        running.stop();
        assert_eq!(records.len(), 1, "{}: {records:?}", host.name());
        assert_event(&records[0], host);
        assert_eq!(
            (records[0].get("a0"), records[0].get("types")),
            (None, None)
        );
    });
}

#[test]
fn both_audit_logs_as_shipped() {
    if !image::is_possible() {
        return;
    }
    in_each(OLDEST, |host| {
        let image = machine(host);
        let running = image.start(
            "/fluent-bit/etc/machine/both.conf",
            &[("CLUSTER_ID", "c-1")],
        );
        let of_kubernetes = |record: &&Value| record.get("auditID").is_some();
        running.wait_for("all events", |running| running.records().len() >= 12);
        let records = running.records();
        running.stop();
        assert_eq!(
            records.iter().filter(of_kubernetes).count(),
            10,
            "{}",
            host.name()
        );
        let of_machine: Vec<&Value> = records
            .iter()
            .filter(|record| !of_kubernetes(record))
            .collect();
        assert_eq!(of_machine.len(), 2);
        assert_event(of_machine[1], host);
    });
}

/// Writes a journal with these entries, or says that there is no program for it.
fn journal(image: &Image, entries: &[Vec<(&str, String)>]) -> bool {
    let Some(remote) = [
        "/lib/systemd/systemd-journal-remote",
        "/usr/lib/systemd/systemd-journal-remote",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists()) else {
        judge::skip("no systemd-journal-remote to make a journal with");
        return false;
    };
    let directory = image.path("var/log/journal");
    fs::create_dir_all(&directory).unwrap();
    let mut export = String::new();
    for (number, entry) in entries.iter().enumerate() {
        let time = 1_700_000_000_123_000 + number;
        export += &format!(
            "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={number}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n"
        );
        for (name, value) in entry {
            export += &format!("{name}={value}\n");
        }
        export.push('\n');
    }
    let mut child = Command::new(remote)
        .arg("-o")
        .arg(directory.join("machine.journal"))
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(export.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    true
}

/// An entry that some process wrote, in the kernel's name.
fn forged() -> Vec<(&'static str, String)> {
    vec![
        ("_TRANSPORT", "syslog".to_owned()),
        ("SYSLOG_IDENTIFIER", "kernel".to_owned()),
        (
            "MESSAGE",
            "audit: type=1300 audit(1700000000.123:9): forged=1".to_owned(),
        ),
    ]
}

fn run_journal(config: &str, entries: &[Vec<(&str, String)>]) {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(OLDEST, |host| {
        let image = Image::new(host);
        if !journal(&image, entries) {
            return;
        }
        let running = image.start(config, &[("CLUSTER_ID", "c-1")]);
        running.wait_for("the event", |running| !running.records().is_empty());
        let records = running.records();
        running.stop();
        assert_eq!(records.len(), 1, "{}: {records:?}", host.name());
        assert_event(&records[0], host);
        assert_eq!(records[0]["_HOSTNAME"], "n-1");
        assert_eq!(
            (records[0].get("MESSAGE"), records[0].get("_AUDIT_ID")),
            (None, None)
        );
    });
}

#[test]
fn journalds_audit_transport_as_shipped() {
    let mut entries: Vec<Vec<(&str, String)>> = vec![forged()];
    entries.extend(EXECVE.map(|(number, kind, body)| {
        vec![
            ("_TRANSPORT", "audit".to_owned()),
            ("_SOURCE_REALTIME_TIMESTAMP", "1700000000123000".to_owned()),
            ("_AUDIT_TYPE", number.to_string()),
            ("_AUDIT_TYPE_NAME", kind.to_owned()),
            ("_AUDIT_ID", "7".to_owned()),
            ("_HOSTNAME", "n-1".to_owned()),
            ("MESSAGE", format!("{kind} {body}")),
        ]
    }));
    run_journal("/fluent-bit/etc/machine/journal-audit.conf", &entries);
}

#[test]
fn lines_of_the_kernel_as_shipped() {
    let mut entries: Vec<Vec<(&str, String)>> = vec![forged()];
    let kernel = |message: String| {
        vec![
            ("_TRANSPORT", "kernel".to_owned()),
            ("SYSLOG_IDENTIFIER", "kernel".to_owned()),
            ("_HOSTNAME", "n-1".to_owned()),
            ("MESSAGE", message),
        ]
    };
    entries.push(kernel("audit: rate limit exceeded".to_owned()));
    entries.extend(EXECVE.map(|(number, _, body)| {
        kernel(format!(
            "audit: type={number} audit(1700000000.123:7): {body}"
        ))
    }));
    run_journal("/fluent-bit/etc/machine/journal-kernel.conf", &entries);
}
