//! What costs no allocation: a decision, an event that is dropped, a record that stays.
#![expect(unsafe_code, reason = "counting calls of `malloc` is unsafe by nature")]

use std::cell::Cell;
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::Arc;

use kube_audit_core::chunk::ChunkSink;
use kube_audit_core::pipeline::{Pipeline, Settings};
use kube_audit_core::policy::{Policy, Preset, Ruleset, Syntax};
use kube_audit_core::stage::detect::{
    DetectSettings, Detections, Detector, DetectorSettings, Selection,
};
use kube_audit_testkit::policy::{Request, json_lines};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
}

/// Stands in front of the C library's `malloc`, which the library allocates with.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    // SAFETY: glibc's own `malloc` under its other name.
    unsafe { __libc_malloc(size) }
}

/// How many blocks are allocated on the way.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn deciding_allocates_nothing() {
    let requests: Vec<Request> = json_lines("attrs.jsonl")
        .iter()
        .map(|line| Request::from_json(&line["attrs"]))
        .collect();
    for preset in Preset::ALL {
        let ruleset = Ruleset::compile(&preset.policy().unwrap());
        for request in &requests {
            let count = request.with(|attributes| {
                allocations(|| {
                    black_box(ruleset.decide(attributes));
                })
            });
            assert_eq!(count, 0, "{} {request:?}", preset.name());
        }
    }
}

/// Records `{"log": LINE}`, as many as wanted.
fn chunk(line: &str, count: usize) -> Vec<u8> {
    let length = (line.len() as u16).to_be_bytes();
    [
        b"\x92\x92\xd7\x00\0\0\0\x01\0\0\0\x02\x80\x81\xa3log\xda",
        &length[..],
        line.as_bytes(),
    ]
    .concat()
    .repeat(count)
}

fn filtering(level: &str, line: &str, count: usize) -> usize {
    allocations_of(&mut filter(level), line, count)
}

fn filter(level: &str) -> Pipeline {
    let policy = format!(r#"{{"apiVersion":"audit.k8s.io/v1","rules":[{{"level":"{level}"}}]}}"#);
    let policy = Policy::parse("test", policy.as_bytes(), Syntax::File)
        .unwrap()
        .policy;
    Pipeline::new(
        Settings::default(),
        Some(Arc::new(Ruleset::compile(&policy))),
        || [0; 16],
    )
}

fn allocations_of(pipeline: &mut Pipeline, line: &str, count: usize) -> usize {
    let chunk = chunk(line, count);
    let mut run = || {
        let mut sink = ChunkSink::new(&chunk, chunk.len());
        pipeline.chunk(b"tag", &chunk, &mut sink).unwrap();
        black_box(sink.finish());
    };
    // Buffers grow once.
    run();
    allocations(run)
}

#[test]
fn records_that_stay_or_go_cost_nothing() {
    let sample = include_str!("../fluent-bit-conf/sample/audit.log");
    for line in sample.lines() {
        assert_eq!(filtering("RequestResponse", line, 100), 0, "kept: {line}");
        // One for the chunk that remains, however many records go.
        assert!(filtering("None", line, 100) <= 1, "dropped: {line}");
    }
}

#[test]
fn detections_cost_nothing_without_a_label() {
    let detector = Detector::new(
        &Selection::all(),
        &Detections::default(),
        DetectorSettings::default(),
    );
    let detector = Arc::new(detector.unwrap());
    let events = include_str!("fixtures/detections/events.jsonl");
    let mut without = 0;
    for line in events.lines() {
        let (head, event) = line.split_once(r#","event":"#).unwrap();
        let event = event.strip_suffix('}').unwrap();
        let mut pipeline = filter("RequestResponse");
        pipeline.set_detect(Arc::clone(&detector), DetectSettings::default());
        let count = allocations_of(&mut pipeline, event, 100);
        if head.ends_with(r#""want":[]"#) {
            without += 1;
            assert_eq!(count, 0, "{event}");
        }
    }
    assert!(without > 4);
}
