//! Replays the corpora of the fuzz targets, without a fuzzer.

use std::fs;
use std::path::Path;

use kube_audit_testkit::fuzz;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| body(&data)).is_err() {
            panic!("{target} fails on {}", path.display());
        }
        count += 1;
    }
    assert!(count > 0, "{target} has no corpus");
}

#[test]
fn chunks() {
    replay("chunk", fuzz::chunk);
}

#[test]
fn events() {
    replay("event", fuzz::event);
}

#[test]
fn cri_lines() {
    replay("cri", fuzz::cri);
}

#[test]
fn machine_audit_records() {
    replay("machine", fuzz::machine);
}

#[test]
fn policies() {
    replay("policy", fuzz::policy);
}

#[test]
fn acks() {
    replay("ack", fuzz::ack);
}

#[test]
fn handshakes() {
    replay("handshake", fuzz::handshake);
}

#[test]
fn detections() {
    replay("detect", fuzz::detect);
}
