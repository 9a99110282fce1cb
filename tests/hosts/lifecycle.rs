//! The plugin in real Fluent Bits.

use kube_audit_testkit::fluent_bit::{FluentBit, Load, OLDEST, Pipeline, Running, Syntax, in_each};

use crate::pipelines::EVENT;

const LINES: &str = include_str!("../fixtures/events.jsonl");

/// With this, an instance says at its start by whom it is started. What is
/// logged at the very end may be lost: hosts stop their log thread before it is done.
const SAY_START: (&str, &str) = ("log_level", "debug");

/// A receiver that is not there: nobody listens on the port of tcpmux.
const NOWHERE: &[(&str, &str)] = &[("host", "127.0.0.1"), ("port", "1")];

/// All records came through the filter of that name, which has [`SAY_START`].
#[track_caller]
fn assert_passed(host: &FluentBit, pipeline: &Pipeline, filter: &str) {
    let finished = host.run(pipeline);
    finished.assert_clean();
    let started = format!(
        "[filter:kube_audit:{filter}] started by Fluent Bit {}",
        host.name()
    );
    finished.assert_log(&started);
    assert_eq!(finished.records("out").len(), LINES.lines().count());
}

#[test]
fn loaded_by_a_plugins_file() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new().lines("audit", LINES).filter(&[SAY_START]);
        assert_passed(host, &pipeline.file_output("out"), "kube_audit.0");
    });
}

#[test]
fn loaded_by_the_command_line() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new().load(Load::CommandLine);
        let pipeline = pipeline
            .lines("audit", LINES)
            .filter(&[SAY_START])
            .file_output("out");
        assert_passed(host, &pipeline, "kube_audit.0");
    });
}

#[test]
fn loaded_by_yaml() {
    in_each((3, 2, 0), |host| {
        let pipeline = Pipeline::new().load(Load::Yaml).syntax(Syntax::Yaml);
        let pipeline = pipeline
            .lines("audit", LINES)
            .filter(&[SAY_START])
            .file_output("out");
        assert_passed(host, &pipeline, "kube_audit.0");
    });
}

#[test]
fn as_a_processor() {
    in_each((2, 1, 0), |host| {
        let pipeline = Pipeline::new().syntax(Syntax::Yaml).lines("audit", LINES);
        assert_passed(
            host,
            &pipeline.processor(&[SAY_START]).file_output("out"),
            "kube_audit.0",
        );
    });
}

#[test]
fn several_filters() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new().lines("audit", LINES);
        let pipeline = pipeline
            .filter(&[("alias", "first"), SAY_START])
            .filter(&[SAY_START]);
        assert_passed(host, &pipeline.clone().file_output("out"), "first");
        assert_passed(host, &pipeline.file_output("out"), "kube_audit.1");
    });
}

#[test]
fn an_output_that_can_t_deliver_retries() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new().input("dummy", &[("samples", "1")]).output(
            "kube_audit",
            &[NOWHERE, &[("flush_wait", "100ms")]].concat(),
        );
        let mut running = host.start(&pipeline);
        running.wait_for_log("failed to flush chunk", 1);
        let finished = running.stop();
        finished.assert_clean();
        finished.assert_log("[output:kube_audit:kube_audit.0] `Retry_Limit` is not set");
    });
}

/// What an event says begins no line of the log.
#[test]
fn events_cannot_forge_log_lines() {
    in_each(OLDEST, |host| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let event = EVENT.replacen(
            r#""auditID":""#,
            r#""auditID":"1\n[2026/01/01 00:00:00] [error] forged "#,
            1,
        );
        assert_ne!(event, EVENT);
        let large = event.replacen('{', &format!(r#"{{"x":"{}","#, "x".repeat(6_000_000)), 1);
        std::fs::write(&path, large + "\n").unwrap();
        let tail = [
            ("path", path.to_str().unwrap()),
            ("read_from_head", "on"),
            ("buffer_max_size", "8M"),
        ];
        let pipeline = Pipeline::new()
            .input("tail", &tail)
            .output("kube_audit", NOWHERE);
        let mut running = host.start(&pipeline);
        running.wait_for_log("lost a record", 1);
        let log = running.log();
        running.stop();
        assert!(log.contains(r"1\n[2026/01/01"), "{log}");
        assert!(!log.contains("\n[2026/01/01 00:00:00]"), "{log}");
    });
}

/// What the output's own thread has to say needs no flush to be printed.
#[test]
fn trouble_is_said_without_traffic() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new()
            .input("dummy", &[("samples", "0")])
            .output("kube_audit", NOWHERE);
        let mut running = host.start(&pipeline);
        running.wait_for_log("cannot connect to 127.0.0.1:1", 1);
        running.stop().assert_clean();
    });
}

/// The host ends, or reloads, while a flush waits that it never resumes.
#[test]
fn flushes_that_wait_end_with_their_output() {
    in_each(OLDEST, |host| {
        let reloads = host.version >= (2, 2, 0);
        let mut pipeline = Pipeline::new()
            .service("log_level", "debug")
            .service("grace", "2");
        if reloads {
            pipeline = pipeline
                .service("hot_reload", "on")
                .service("hot_reload.ensure_thread_safety", "off");
        }
        let pipeline = pipeline
            .input("dummy", &[])
            .output("kube_audit", &[NOWHERE, &[("flush_wait", "10m")]].concat());
        let mut running = host.start(&pipeline);
        running.wait_for_log("created task=", 3);
        if reloads {
            running.reload(&pipeline);
            running.wait_for_log("started by Fluent Bit", 2);
            let tasks = running.log().matches("created task=").count();
            running.wait_for_log("created task=", tasks + 3);
        }
        let finished = running.stop();
        finished.assert_clean();
        assert!(!finished.log.contains("failed to flush chunk"));
    });
}

/// What the host keeps to itself reaches the plugin all the same.
#[test]
fn tls_is_seen_and_not_ignored() {
    in_each(OLDEST, |host| {
        let address = [("host", "127.0.0.1"), ("port", "1"), ("tls", "on")];
        let refused = |more: (&str, &str), why: &str| {
            let options = [&address[..], &[more]].concat();
            let pipeline = Pipeline::new().input("dummy", &[]);
            let finished = host.run(&pipeline.output("kube_audit", &options));
            assert_ne!(finished.status, Some(0), "{}", finished.log);
            finished.assert_log(why);
        };
        refused(("tls.ca_file", "/no/such/ca.pem"), "/no/such/ca.pem");
    });
}

/// The plugin's threads take no signal: those are the host's.
#[test]
fn signals_are_left_to_the_host() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new()
            .input("dummy", &[("samples", "1")])
            .output("kube_audit", NOWHERE);
        let mut running = host.start(&pipeline);
        running.wait_for_log("cannot connect to", 1);
        let blocked = running.blocked_signals("kube-audit-fwd");
        // SIGHUP, SIGINT, SIGTERM.
        for signal in [1, 2, 15] {
            assert_ne!(
                blocked & 1 << (signal - 1),
                0,
                "{}: signal {signal}",
                host.name()
            );
        }
        running.stop().assert_clean();
    });
}

#[test]
fn a_storage_limit_that_crashes_the_host_is_logged() {
    in_each((1, 9, 0), |host| {
        for limit in [None, Some(("storage.total_limit_size", "5M"))] {
            let options: Vec<_> = NOWHERE.iter().copied().chain(limit).collect();
            let pipeline = Pipeline::new().lines("t", "{}\n");
            let finished = host.run(&pipeline.output("kube_audit", &options));
            let expected = host.version < (2, 0, 0) && limit.is_some();
            let line = "`storage.total_limit_size` is reached without `storage.path`";
            assert_eq!(finished.log.contains(line), expected, "{}", finished.log);
        }
    });
}

#[test]
fn workers_do_not_multiply() {
    in_each((2, 2, 0), |host| {
        let options = [NOWHERE, &[("workers", "2"), ("flush_wait", "100ms")]].concat();
        let pipeline = Pipeline::new()
            .input("dummy", &[("samples", "1")])
            .output("kube_audit", &options);
        let mut running = host.start(&pipeline);
        running.wait_for_log("failed to flush chunk", 1);
        let finished = running.stop();
        finished.assert_clean();
        finished.assert_log("`Workers` has no effect");
        let workers = finished
            .log
            .contains("[output:kube_audit:kube_audit.0] worker #");
        assert!(!workers, "{}", finished.log);
    });
}

#[test]
fn several_outputs_or_a_clear_refusal() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new()
            .input("dummy", &[("samples", "1")])
            .output("kube_audit", NOWHERE)
            .output("kube_audit", NOWHERE);
        let mut running = host.start(&pipeline);
        if host.version < (2, 0, 7) {
            let finished = running.finish();
            assert_ne!(finished.status, Some(0), "{}", finished.log);
            finished.assert_log("with two outputs of one external plugin");
        } else {
            running.wait_for_log("failed to flush chunk", 2);
            let finished = running.stop();
            finished.assert_clean();
            finished.assert_log("[output:kube_audit:kube_audit.0] ");
            finished.assert_log("[output:kube_audit:kube_audit.1] ");
        }
    });
}

#[test]
fn a_wrong_option_stops_the_start() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new()
            .input("dummy", &[])
            .output("kube_audit", &[("host", "127.0.0.1"), ("port", "70000")]);
        let finished = host.run(&pipeline);
        assert_ne!(finished.status, Some(0), "{}", finished.log);
        finished.assert_log("option `Port` is 70000: use a number from 1 to 65535");
    });
}

#[test]
fn a_wrong_option_of_a_filter_stops_the_start() {
    in_each(OLDEST, |host| {
        let pipeline = Pipeline::new().input("dummy", &[]).file_output("out");
        let finished = host.run(&pipeline.filter(&[("Policy_Preset", "none such")]));
        assert_ne!(finished.status, Some(0), "{}", finished.log);
        finished.assert_log("[filter:kube_audit:kube_audit.0] ");
        finished.assert_log("none such");
    });
}

#[test]
fn log_lines_go_to_the_log_file_also_of_a_daemon() {
    in_each(OLDEST, |host| {
        for daemon in [false, true] {
            let mut pipeline = Pipeline::new()
                .service("log_file", "{dir}/file.log")
                .lines("audit", LINES)
                .filter(&[SAY_START])
                .file_output("out");
            if daemon {
                pipeline = pipeline.argument("-d");
            }
            // The program that was started ends at once when a daemon goes on.
            let finished = host.run(&pipeline);
            finished.assert_clean();
            finished.wait_for("file.log", "[filter:kube_audit:kube_audit.0] started");
            assert!(!finished.log.contains("kube_audit"), "{}", finished.log);
        }
    });
}

#[test]
fn hot_reload() {
    in_each((2, 2, 0), |host| {
        let pipeline = Pipeline::new()
            .service("hot_reload", "on")
            // Or it waits until every chunk is delivered.
            .service("hot_reload.ensure_thread_safety", "off")
            .input("dummy", &[])
            .filter(&[("alias", "f")])
            .output(
                "kube_audit",
                &[NOWHERE, &[("alias", "o"), ("flush_wait", "100ms")]].concat(),
            );
        let mut running = host.start(&pipeline);
        running.wait_for_log("failed to flush chunk", 1);
        for reloads in 1..=3 {
            running.reload(&pipeline);
            running.wait_for_log("[output:kube_audit:o] `Retry_Limit`", reloads + 1);
            running.wait_for_log("failed to flush chunk", reloads + 1);
        }
        running.stop().assert_clean();
    });
}

#[test]
fn a_hot_reload_with_a_wrong_filter_keeps_the_old_pipeline() {
    in_each((2, 2, 0), |host| {
        let pipeline = Pipeline::new()
            .service("hot_reload", "on")
            .input("dummy", &[])
            .file_output("out");
        let mut running = host.start(&pipeline.clone().filter(&[]));
        let records = |host: &Running| host.read("out").lines().count();
        running.wait_until("records", |host| records(host) > 0);
        running.reload(&pipeline.filter(&[("Policy_Preset", "none such")]));
        running.wait_for_log("none such", 1);
        running.wait_for_log("Reloading is halted", 1);
        let before = records(&running);
        running.wait_until("records after it", |host| records(host) > before + 1);
        running.stop().assert_clean();
    });
}

/// Hosts ask filters before they stop the old pipeline, but not outputs.
#[test]
fn a_hot_reload_with_a_wrong_output_beside_a_filter_keeps_the_old_pipeline() {
    in_each((2, 2, 0), |host| {
        let pipeline = Pipeline::new()
            .service("hot_reload", "on")
            .input("dummy", &[])
            .filter(&[])
            .filter(&[("alias", "second")])
            .file_output("out");
        let mut running = host.start(&pipeline);
        let records = |host: &Running| host.read("out").lines().count();
        running.wait_until("records", |host| records(host) > 0);
        let wrong = [("alias", "wrong"), ("Endpoint", "nowhere:0")];
        running.reload(&pipeline.output("kube_audit", &wrong));
        running.wait_for_log("[output:kube_audit:wrong] `Endpoint` is `nowhere:0`", 1);
        running.wait_for_log("Reloading is halted", 1);
        let before = records(&running);
        running.wait_until("records after it", |host| records(host) > before + 1);
        running.stop().assert_clean();
    });
}
