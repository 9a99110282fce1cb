//! What becomes of records between real Fluent Bits when one of them is late, silent,
//! killed, restarted, reloaded or paused: all arrive.

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use kube_audit_testkit::fluent_bit::{OLDEST, Pipeline, in_each};
use kube_audit_testkit::port;

use crate::pipelines::EVENT;

/// A receiver that comes late, while the first chunks wait.
#[test]
fn nothing_is_lost_while_the_receiver_is_away() {
    in_each(OLDEST, |host| {
        let port = port::reserve().to_string();
        let sender = Pipeline::new()
            .service("scheduler.base", "1")
            .service("scheduler.cap", "2")
            .input(
                "dummy",
                &[("dummy", EVENT), ("rate", "10"), ("samples", "20")],
            )
            .output(
                "kube_audit",
                &[("host", "127.0.0.1"), ("port", &port), ("tag", "late")],
            );
        let mut sender = host.start(&sender);
        sender.wait_for_log("failed to flush chunk", 1);
        let receiver =
            Pipeline::new().input("forward", &[("listen", "127.0.0.1"), ("port", &port)]);
        let mut receiver = host.start(&receiver.file_output("out"));
        receiver.wait_until("all records", |receiver| {
            receiver.read("out").lines().count() >= 20
        });
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(receiver.read("out").lines().count(), 20, "{}", host.name());
        sender.stop().assert_clean();
        receiver.stop().assert_clean();
    });
}

/// A receiver that takes connections and says nothing must not hold up the host.
#[test]
fn a_silent_receiver_does_not_stop_the_others() {
    in_each(OLDEST, |host| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let pipeline = Pipeline::new()
            .input(
                "dummy",
                &[("dummy", EVENT), ("rate", "50"), ("samples", "200")],
            )
            .output("kube_audit", &[("endpoint", &endpoint)])
            .file_output("out");
        let mut running = host.start(&pipeline);
        let start = Instant::now();
        running.wait_until("all records", |running| {
            running.read("out").lines().count() >= 200
        });
        assert!(
            start.elapsed() < Duration::from_secs(12),
            "{}: {:?}",
            host.name(),
            start.elapsed()
        );
        running.stop().assert_clean();
        let _ = std::io::stderr().flush();
    });
}

/// Numbered lines, appended to a file.
fn append(path: &Path, numbers: std::ops::Range<usize>) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let lines: String = numbers
        .map(|number| format!("line {number:06}\n"))
        .collect();
    file.write_all(lines.as_bytes()).unwrap();
}

/// Which of the numbered lines have arrived.
fn arrived(out: &str) -> std::collections::BTreeSet<usize> {
    // A host that is killed may leave a line without its end.
    let lines = out.split("line ").skip(1);
    lines
        .filter_map(|line| line.get(..6)?.parse().ok())
        .collect()
}

fn receiver(port: &str) -> Pipeline {
    Pipeline::new()
        .input("forward", &[("listen", "127.0.0.1"), ("port", port)])
        .file_output("out")
}

/// Ended in the middle of a retry, with chunks on disk: after a new start all is there.
#[test]
fn case_57_nothing_is_lost_over_a_restart() {
    in_each(OLDEST, |host| {
        // It crashes when it starts with chunks on disk, whatever the output.
        if host.version == (4, 0, 0) {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let port = port::reserve().to_string();
        let sender = Pipeline::new()
            .service("storage.path", &at("storage"))
            .service("scheduler.base", "1")
            .service("scheduler.cap", "2")
            .input(
                "tail",
                &[
                    ("path", &at("input.log")),
                    ("db", &at("db")),
                    ("tag", "t"),
                    ("read_from_head", "on"),
                    ("refresh_interval", "1"),
                    ("storage.type", "filesystem"),
                ],
            )
            .output("kube_audit", &[("host", "127.0.0.1"), ("port", &port)]);
        append(&directory.path().join("input.log"), 0..500);
        let mut running = host.start(&sender);
        running.wait_for_log("failed to flush chunk", 1);
        running.stop();
        let mut receiving = host.start(&receiver(&port));
        let running = host.start(&sender);
        append(&directory.path().join("input.log"), 500..600);
        receiving.wait_until("all lines", |receiving| {
            arrived(&receiving.read("out")).len() == 600
        });
        running.stop().assert_clean();
        receiving.stop().assert_clean();
    });
}

/// A receiver that keeps chunks on disk is killed in the middle of a stream, again
/// and again: all is there in the end.
#[test]
fn case_43_a_receiver_that_is_killed() {
    in_each(OLDEST, |host| {
        // It crashes when it starts with chunks on disk.
        if host.version == (4, 0, 0) {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (input, port) = (
            directory.path().join("input.log"),
            port::reserve().to_string(),
        );
        let receiver = Pipeline::new()
            .service("storage.path", &at("received"))
            .input(
                "forward",
                &[
                    ("listen", "127.0.0.1"),
                    ("port", &port),
                    ("storage.type", "filesystem"),
                ],
            )
            .output(
                "file",
                &[("path", &at("")), ("file", "out"), ("format", "plain")],
            );
        let sender = Pipeline::new()
            .service("scheduler.base", "1")
            .service("scheduler.cap", "2")
            .input(
                "tail",
                &[
                    ("path", &at("input.log")),
                    ("tag", "t"),
                    ("read_from_head", "on"),
                    ("refresh_interval", "1"),
                ],
            )
            .output("kube_audit", &[("host", "127.0.0.1"), ("port", &port)]);
        append(&input, 0..100);
        let running = host.start(&sender);
        let mut receiving = host.start(&receiver);
        let mut written = 100;
        for round in 1..=40 {
            append(&input, written..written + 50);
            written += 50;
            std::thread::sleep(Duration::from_millis(50));
            if round % 10 == 0 {
                drop(receiving);
                receiving = host.start(&receiver);
            }
        }
        let out = || std::fs::read_to_string(at("out")).unwrap_or_default();
        receiving.wait_until("all lines", |_| arrived(&out()).len() == written);
        running.stop().assert_clean();
        receiving.stop().assert_clean();
    });
}

/// The host gives a chunk up after one retry; the output does not.
#[test]
fn case_60_an_outage_that_the_hosts_retries_do_not_cover() {
    in_each(OLDEST, |host| {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("input.log");
        let port = port::reserve().to_string();
        let sender = Pipeline::new()
            .service("scheduler.base", "1")
            .service("scheduler.cap", "2")
            .input(
                "tail",
                &[
                    ("path", input.to_str().unwrap()),
                    ("tag", "t"),
                    ("read_from_head", "on"),
                    ("refresh_interval", "1"),
                ],
            )
            .output(
                "kube_audit",
                &[
                    ("host", "127.0.0.1"),
                    ("port", &port),
                    ("retry_limit", "1"),
                    ("flush_wait", "500ms"),
                ],
            );
        append(&input, 0..500);
        let mut running = host.start(&sender);
        running.wait_for_log("failed to flush chunk", 1);
        std::thread::sleep(Duration::from_secs(3));
        let mut receiving = host.start(&receiver(&port));
        receiving.wait_until("all lines", |receiving| {
            arrived(&receiving.read("out")).len() == 500
        });
        running.stop().assert_clean();
        receiving.stop().assert_clean();
    });
}

/// Reloads under load: nothing lost, no thread and no descriptor left behind.
/// `KUBE_AUDIT_RELOADS` makes it more than the usual 15.
#[test]
fn case_58_hot_reloads_under_load() {
    let reloads = std::env::var("KUBE_AUDIT_RELOADS").map(|text| text.parse().unwrap());
    let reloads: usize = reloads.unwrap_or(15);
    // Before 3.2.3 a host answers flushes itself while it reloads, and waits
    // for ever for what is not delivered.
    in_each((3, 2, 3), |host| {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let input = directory.path().join("input.log");
        let port = port::reserve().to_string();
        let mut receiving = host.start(&receiver(&port));
        let sender = Pipeline::new()
            .service("hot_reload", "on")
            .service("storage.path", &at("storage"))
            .input(
                "tail",
                &[
                    ("path", &at("input.log")),
                    ("db", &at("db")),
                    ("tag", "t"),
                    ("read_from_head", "on"),
                    ("refresh_interval", "1"),
                    ("storage.type", "filesystem"),
                ],
            )
            .filter(&[("record", "a b")])
            .output(
                "kube_audit",
                &[("alias", "o"), ("host", "127.0.0.1"), ("port", &port)],
            );
        append(&input, 0..100);
        let mut running = host.start(&sender);
        running.wait_for_log("[output:kube_audit:o] `Retry_Limit`", 1);
        let mut counts = Vec::new();
        for reload in 1..=reloads {
            append(&input, reload * 100..reload * 100 + 50);
            running.reload(&sender);
            append(&input, reload * 100 + 50..reload * 100 + 100);
            // A host that is not done with the last reload ignores the signal.
            let mut asked = Instant::now();
            running.wait_until("a reload", |running| {
                if asked.elapsed() > Duration::from_secs(3) {
                    running.reload(&sender);
                    asked = Instant::now();
                }
                running
                    .log()
                    .matches("[output:kube_audit:o] `Retry_Limit`")
                    .count()
                    > reload
            });
            counts.push(running.threads_and_sockets());
        }
        let all = (reloads + 1) * 100;
        receiving.wait_until("all lines", |receiving| {
            arrived(&receiving.read("out")).len() == all
        });
        // Hosts leak pipes and timers of their own at each reload; sockets and
        // event counters are the plugin's.
        assert!(
            counts[reloads - 1] <= counts[1],
            "{}: {counts:?}",
            host.name()
        );
        running.stop().assert_clean();
        receiving.stop().assert_clean();
    });
}

/// A receiver that pauses because its memory is full closes its connections and
/// reads nothing: later all is there.
#[test]
fn case_45_a_receiver_that_pauses() {
    // Before 3.2 a receiver acknowledges what it drops while it pauses.
    in_each((3, 2, 0), |host| {
        let directory = tempfile::tempdir().unwrap();
        let input = directory.path().join("input.log");
        let path = input.to_str().unwrap().to_owned();
        let port = port::reserve().to_string();
        // Its output takes one batch every second, its input holds some kilobytes.
        let receiving = Pipeline::new()
            .service("flush", "1")
            .input(
                "forward",
                &[
                    ("listen", "127.0.0.1"),
                    ("port", &port),
                    ("mem_buf_limit", "20k"),
                ],
            )
            .file_output("out");
        let mut receiving = host.start(&receiving);
        let sender = Pipeline::new()
            .service("scheduler.base", "1")
            .service("scheduler.cap", "2")
            .input(
                "tail",
                &[
                    ("path", &path),
                    ("tag", "t"),
                    ("read_from_head", "on"),
                    ("refresh_interval", "1"),
                ],
            )
            .output(
                "kube_audit",
                &[
                    ("host", "127.0.0.1"),
                    ("port", &port),
                    ("ack_timeout", "2s"),
                    ("max_frame", "10000"),
                ],
            );
        append(&input, 0..3000);
        let running = host.start(&sender);
        receiving.wait_until("all lines", |receiving| {
            arrived(&receiving.read("out")).len() == 3000
        });
        running.stop().assert_clean();
        receiving.stop().assert_clean();
    });
}
