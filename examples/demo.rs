//! The whole way, on a machine with nothing but Rust and a C compiler: a small
//! host loads the plugin through its real C entry points, filters and enriches
//! the bundled sample, and forwards it to a receiver, which shows what arrived.
//!
//! ```console
//! $ cargo run --example demo
//! ```

use std::fs;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kube_audit_testkit::{c_host, library};
use rmpv::Value;
use serde_json::Value as Json;

fn main() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("fluent-bit-conf/sample/audit.log");
    let text = fs::read_to_string(&sample).expect("the sample is readable");
    println!(
        "before: {} lines, {} bytes\n",
        text.lines().count(),
        text.len()
    );
    text.lines().for_each(show);

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let endpoint = listener
        .local_addr()
        .expect("a bound port has an address")
        .to_string();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (connection, _) = listener.accept().expect("the plugin connects");
        receive(connection, &sender);
    });

    // Fluent Bit 4.0.0, as far as the plugin can tell.
    let installed = library::Installed::new(library::SecondName::Symlink);
    let ran = c_host::CHost::of("4.0.0").run(
        "load {output} load {filter} \
         prop Policy_Preset recommended prop Record {record} filter audit \
         prop Endpoint {endpoint} output aggregator \
         lines {sample} run audit run aggregator stop audit stop aggregator",
        &[
            ("output", &installed.output()),
            ("filter", &installed.filter()),
            ("record", Path::new("cluster demo")),
            ("endpoint", Path::new(&endpoint)),
            ("sample", &sample),
        ],
    );
    assert_eq!(
        ran.status,
        Some(0),
        "the host failed:\n{}{}",
        ran.stdout,
        ran.log
    );
    let records = receiver
        .recv_timeout(Duration::from_secs(5))
        .expect("records arrive and are acknowledged");

    let lines: Vec<&str> = records
        .iter()
        .filter_map(|record| record["log"].as_str())
        .collect();
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    println!(
        "\nafter, as the receiver got it: {} records, {bytes} bytes\n",
        records.len()
    );
    lines.iter().copied().for_each(show);
    println!(
        "\nand in each record beside `log`: {}",
        beside_log(&records)
    );
    println!("\nwhat the plugin says of it:\n{}", ran.log.trim_end());
}

/// Takes one PackedForward frame and acknowledges it.
fn receive(connection: TcpStream, sender: &mpsc::Sender<Vec<Value>>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a socket can be cloned"));
    let frame = rmpv::decode::read_value(&mut reader).expect("a frame is msgpack");
    let mut entries = frame[1].as_slice().expect("a frame holds packed entries");
    let mut records = Vec::new();
    while !entries.is_empty() {
        let entry = rmpv::decode::read_value(&mut entries).expect("an entry is msgpack");
        records.push(entry[1].clone());
    }
    let mut ack = Vec::new();
    let chunk = frame[2]["chunk"].clone();
    rmpv::encode::write_value(&mut ack, &Value::Map(vec![("ack".into(), chunk)]))
        .expect("memory can be written");
    (&connection)
        .write_all(&ack)
        .expect("the plugin reads its acknowledgement");
    sender
        .send(records)
        .expect("the demo waits for the records");
}

/// One line of a log in short: level, stage, verb, target, user, bodies.
fn show(line: &str) {
    let Ok(event) = serde_json::from_str::<Json>(line) else {
        println!("  (no event)       {line:.90}");
        return;
    };
    let text = |pointer: &str| event.pointer(pointer).and_then(Json::as_str).unwrap_or("");
    let target = match event.get("objectRef") {
        None => text("/requestURI").to_owned(),
        Some(_) => [
            "/objectRef/namespace",
            "/objectRef/resource",
            "/objectRef/subresource",
            "/objectRef/name",
        ]
        .map(text)
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join("/"),
    };
    let bodies: Vec<&str> = ["requestObject", "responseObject"]
        .into_iter()
        .filter(|body| event.get(*body).is_some())
        .collect();
    println!(
        "  {:<16} {:<17} {:<7} {target:<40.40} {:<24.24} {}",
        text("/level"),
        text("/stage"),
        text("/verb"),
        text("/user/username"),
        bodies.join(" ")
    );
}

/// The members of the first record other than its text.
fn beside_log(records: &[Value]) -> String {
    let members = records
        .first()
        .and_then(Value::as_map)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let others = members
        .iter()
        .filter(|(key, _)| key.as_str() != Some("log"));
    others
        .map(|(key, value)| format!("{key}: {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}
