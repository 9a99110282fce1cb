//! Replays the corpora of the fuzz targets, without a fuzzer.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::fs;
use std::path::Path;

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
    replay("chunk", bodies::chunk);
}

#[test]
fn events() {
    replay("event", bodies::event);
}

#[test]
fn cri_lines() {
    replay("cri", bodies::cri);
}

#[test]
fn policies() {
    replay("policy", bodies::policy);
}

#[test]
fn acks() {
    replay("ack", bodies::ack);
}

#[test]
fn handshakes() {
    replay("handshake", bodies::handshake);
}
