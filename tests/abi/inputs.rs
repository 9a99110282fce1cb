//! The input from the side of the host, played by `crates/testkit/c/host.c`.

use kube_audit_testkit::c_host::CHost;

use crate::entry_points::{assert_has, assert_results, drive, results};

/// One version per layout of the plugin object and of its instances.
const VERSIONS: [&str; 17] = [
    "1.9.3", "1.9.10", "2.0.0", "2.0.1", "2.0.6", "2.0.7", "2.0.13", "2.1.0", "2.1.2", "2.2.3",
    "3.1.0", "3.2.0", "3.2.3", "4.0.0", "4.1.0", "5.0.3", "5.1.0",
];

#[test]
fn every_version_is_served() {
    for version in VERSIONS {
        let ran = drive(
            &CHost::of(version),
            "load {input} prop Log_Level debug input i prop Tag mine input j tick i tick i tick j \
             stop i stop j",
        );
        assert_results(
            &ran,
            &[
                "load: input kube_audit",
                "input i: init 0, tag kube_audit, every 250 ms",
                "input j: init 0, tag mine, every 250 ms",
                // At once after the start, and at its interval.
                "tick i: 2 calls, 0 bytes, 0 chunks",
                "tick i: 1 calls, 0 bytes, 0 chunks",
                "tick j: 2 calls, 0 bytes, 0 chunks",
                "stop i: 0",
                "stop j: 0",
            ],
        );
        let line = format!("[input:kube_audit:i] started by Fluent Bit {version}");
        assert_has(&ran.log, &line);
    }
}

#[test]
fn a_host_without_the_tracing_of_chunks_is_served() {
    // In 2.0.0 itself its fields are followed by a gap, and it is refused.
    for (version, served) in [("2.0.0", -1), ("2.0.1", 0), ("2.2.3", 0), ("5.1.1", 0)] {
        let ran = drive(
            &CHost::of(version).without_chunk_trace(),
            "load {input} prop db off input i",
        );
        assert_has(&ran.stdout, &format!("input i: init {served}, "));
    }
}

#[test]
fn a_pause_leaves_the_collectors_alone() {
    for version in ["1.9.5", "2.2.3", "4.0.0", "5.1.1"] {
        let ran = drive(
            &CHost::of(version),
            "load {input} input i tick i pause i tick i resume i tick i tick i stop i",
        );
        assert_results(
            &ran,
            &[
                "load: input",
                "input i: init 0",
                "tick i: 2 calls",
                "tick i: 1 calls",
                // It goes on at once.
                "tick i: 2 calls",
                "tick i: 1 calls",
                "stop i: 0",
            ],
        );
    }
}

#[test]
fn unknown_hosts_are_refused() {
    for (layouts, says) in [("1.9.2", "1.9.2"), ("2.0.7", "0.0.9"), ("5.1.1", "5.2.0")] {
        let ran = drive(&CHost::of(layouts).says(says), "load {input} input i");
        assert_results(&ran, &["load: input kube_audit", "input i: init -1"]);
        let why = format!("[input:kube_audit] Fluent Bit {says} is not supported");
        assert_has(&ran.log, &why);
    }
}

#[test]
fn a_host_with_another_input_object_is_refused_by_the_input_alone() {
    for version in ["1.9.5", "2.2.3", "5.1.1"] {
        let ran = drive(
            &CHost::of(version).grows_inputs(8),
            "load {filter} load {output} load {input} filter f output o input i stop o stop f",
        );
        let results = results(&ran).join("\n");
        assert_has(&results, "filter f: pre_run 0, init 0");
        assert_has(&results, "output o: init 1");
        assert_has(&results, "input i: init -1");
        let why = format!(
            "[input:kube_audit] this Fluent Bit reports version {version} but its \
             `in_dummy_plugin` has "
        );
        assert_has(&ran.log, &why);
    }
}

#[test]
fn instances_with_other_layouts_are_refused() {
    for version in ["1.9.5", "2.2.3", "4.0.0", "5.1.1"] {
        let ran = drive(
            &CHost::of(version).moves_properties(8),
            "load {input} prop db off input i",
        );
        assert_has(&ran.stdout, "input i: init -1");
        let why = format!("reports version {version} but keeps the properties of an instance");
        assert_has(&ran.log, &why);
    }
    for version in ["2.0.0", "2.2.3", "4.0.0", "5.1.1"] {
        let ran = drive(&CHost::of(version).moves_metrics(8), "load {input} input i");
        assert_has(&ran.stdout, "input i: init -1");
        let why = format!("reports version {version} but keeps the metrics of an instance");
        assert_has(&ran.log, &why);
    }
}

#[test]
fn null_and_unknown_pointers_are_harmless() {
    let ran = drive(
        &CHost::of("4.0.0"),
        "load {input} input i nulls tick i stop i nulls",
    );
    assert_results(
        &ran,
        &[
            "load: input kube_audit",
            "input i: init 0",
            "live input: 0 0",
            "input: -1 0 0",
            "tick i: 2 calls",
            "stop i: 0",
            "input: -1 0 0",
        ],
    );
}
