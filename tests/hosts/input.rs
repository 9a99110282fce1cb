//! The input in real Fluent Bits: how it starts and ends.

use kube_audit_testkit::fluent_bit::{FluentBit, Load, OLDEST, Pipeline, Syntax, in_each};

/// With this, an instance says at its start by whom it is started.
const SAY_START: (&str, &str) = ("log_level", "debug");

/// A pipeline with an input of ours.
fn pipeline(more: &[(&str, &str)]) -> Pipeline {
    let options = [&[SAY_START], more].concat();
    Pipeline::new()
        .input("kube_audit", &options)
        .output("null", &[])
}

fn started(host: &FluentBit, name: &str) -> String {
    let version = host.name();
    format!("[input:kube_audit:{name}] started by Fluent Bit {version}")
}

/// It starts under that name, and ends well.
#[track_caller]
fn assert_starts(host: &FluentBit, pipeline: &Pipeline, name: &str) {
    let mut running = host.start(pipeline);
    running.wait_for_log(&started(host, name), 1);
    running.wait_for_log("[sp] stream processor started", 1);
    running.stop().assert_clean();
}

#[test]
fn loaded_by_a_plugins_file() {
    in_each(OLDEST, |host| {
        assert_starts(host, &pipeline(&[]), "kube_audit.0");
    });
}

#[test]
fn loaded_by_the_command_line() {
    in_each(OLDEST, |host| {
        let pipeline = pipeline(&[]).load(Load::CommandLine);
        assert_starts(host, &pipeline, "kube_audit.0");
    });
}

#[test]
fn loaded_by_yaml() {
    in_each((3, 2, 0), |host| {
        let pipeline = pipeline(&[]).load(Load::Yaml).syntax(Syntax::Yaml);
        assert_starts(host, &pipeline, "kube_audit.0");
    });
}

#[test]
fn several_inputs() {
    in_each(OLDEST, |host| {
        let first = pipeline(&[("alias", "first")]);
        let both = first.input("kube_audit", &[SAY_START]);
        assert_starts(host, &both, "first");
        assert_starts(host, &both, "kube_audit.1");
    });
}

#[test]
fn in_a_thread_of_its_own() {
    in_each((2, 0, 0), |host| {
        assert_starts(host, &pipeline(&[("threaded", "on")]), "kube_audit.0");
    });
}

#[test]
fn with_its_chunks_in_files() {
    in_each(OLDEST, |host| {
        let pipeline = pipeline(&[("storage.type", "filesystem")]);
        let pipeline = pipeline.service("storage.path", "{dir}/storage");
        assert_starts(host, &pipeline, "kube_audit.0");
    });
}

#[test]
fn a_hot_reload_leaves_nothing_behind() {
    in_each((2, 2, 0), |host| {
        for threaded in ["off", "on"] {
            let pipeline = pipeline(&[("threaded", threaded)]).service("hot_reload", "on");
            let mut running = host.start(&pipeline);
            running.wait_for_log("[sp] stream processor started", 1);
            let before = running.threads_and_sockets();
            for reloads in 1..=3 {
                running.reload(&pipeline);
                running.wait_for_log(&started(host, "kube_audit.0"), reloads + 1);
                running.wait_for_log("[sp] stream processor started", reloads + 1);
            }
            running.wait_until("the same threads and sockets", |running| {
                running.threads_and_sockets() == before
            });
            running.stop().assert_clean();
        }
    });
}
