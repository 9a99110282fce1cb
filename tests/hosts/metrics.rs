//! The plugin's metrics as real Fluent Bits show them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kube_audit_testkit::fluent_bit::{FluentBit, Pipeline, Running, Syntax, in_each};
use kube_audit_testkit::port;

/// Two events and a line that is none.
const LINES: &str = include_str!("../fixtures/events.jsonl");

/// What a host shows to Prometheus; empty while it does not answer.
fn scrape(port: u16) -> String {
    /// Hosts before 5.1 keep the connection open.
    const SILENCE: Duration = Duration::from_millis(300);

    let request = "GET /api/v2/metrics/prometheus HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        // Whatever fails, the answer has what came until then.
        let _ = stream
            .set_read_timeout(Some(SILENCE))
            .and_then(|()| stream.write_all(request.as_bytes()))
            .and_then(|()| stream.read_to_end(&mut answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A pipeline that reads [`LINES`] and goes on, and the port of its metrics.
fn observed() -> (Pipeline, u16) {
    let port = port::reserve();
    let tail = [("path", "{dir}/input.log"), ("read_from_head", "on")];
    let pipeline = Pipeline::new()
        .service("http_server", "on")
        .service("http_listen", "127.0.0.1")
        .service("http_port", &port.to_string())
        .file("input.log", LINES)
        .input("tail", &tail);
    (pipeline, port)
}

/// Waits until a host shows all of these lines.
#[track_caller]
fn wait_for(host: &mut Running, port: u16, lines: &[&str]) -> String {
    let mut shown = String::new();
    for line in lines {
        host.wait_until(line, |_| {
            shown = scrape(port);
            shown.lines().any(|shown| shown == *line)
        });
    }
    shown
}

/// A second host that takes what is forwarded, and its port.
fn receiver(host: &FluentBit) -> (Running, String) {
    let port = port::reserve().to_string();
    let pipeline = Pipeline::new()
        .input("forward", &[("listen", "127.0.0.1"), ("port", &port)])
        .output("null", &[]);
    let mut receiver = host.start(&pipeline);
    receiver.wait_until("connection", |_| {
        TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
    });
    (receiver, port)
}

#[test]
fn filters_and_outputs() {
    in_each((2, 0, 0), |host| {
        let (receiver, to) = receiver(host);
        let (pipeline, port) = observed();
        let pipeline = pipeline
            .filter(&[("alias", "first"), ("Policy_Preset", "metadata")])
            .filter(&[("Non_Audit", "drop")])
            .output("kube_audit", &[("host", "127.0.0.1"), ("port", &to)]);
        let mut running = host.start(&pipeline);
        let shown = wait_for(
            &mut running,
            port,
            &[
                r#"fluentbit_filter_kube_audit_records_total{name="first"} 3"#,
                r#"fluentbit_filter_kube_audit_records_total{name="kube_audit.1"} 3"#,
                r#"fluentbit_filter_kube_audit_events_total{name="first",outcome="kept"} 2"#,
                r#"fluentbit_filter_kube_audit_events_total{name="first",outcome="dropped"} 0"#,
                r#"fluentbit_filter_kube_audit_events_stripped_total{name="first"} 1"#,
                r#"fluentbit_filter_kube_audit_records_non_audit_total{name="first"} 1"#,
                r#"fluentbit_filter_kube_audit_line_pieces_withheld{name="first"} 0"#,
                r#"fluentbit_output_kube_audit_records_total{name="kube_audit.0"} 2"#,
                r#"fluentbit_output_kube_audit_frames_sent_total{name="kube_audit.0"} 1"#,
                r#"fluentbit_output_kube_audit_frames_resent_total{name="kube_audit.0"} 0"#,
                r#"fluentbit_output_kube_audit_records_acked_total{name="kube_audit.0"} 2"#,
                r#"fluentbit_output_kube_audit_records_lost_total{name="kube_audit.0"} 0"#,
                r#"fluentbit_output_kube_audit_connections_made_total{name="kube_audit.0"} 1"#,
                r#"fluentbit_output_kube_audit_connections_lost_total{name="kube_audit.0"} 0"#,
                &format!(
                    r#"fluentbit_output_kube_audit_node_up{{name="kube_audit.0",node="127.0.0.1:{to}"}} 1"#
                ),
            ],
        );
        for line in [
            "# TYPE fluentbit_filter_kube_audit_records_total counter\n",
            "# TYPE fluentbit_filter_kube_audit_line_pieces_withheld gauge\n",
            "# HELP fluentbit_filter_kube_audit_records_total Log records read.\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
        let bytes = |direction: &str| -> u64 {
            let name = format!(
                r#"fluentbit_filter_kube_audit_event_bytes_{direction}_total{{name="first"}} "#
            );
            let value = shown.lines().find_map(|line| line.strip_prefix(&name));
            value
                .and_then(|value| value.parse().ok())
                .expect("a number")
        };
        assert!(0 < bytes("out") && bytes("out") < bytes("in"), "{shown}");
        running.stop().assert_clean();
        receiver.stop().assert_clean();
    });
}

/// Hosts show the metrics of processors from 3.2.0 on, and give all processors one name.
#[test]
fn processors() {
    in_each((3, 2, 0), |host| {
        let (pipeline, port) = observed();
        let other = [("path", "{dir}/other.log"), ("read_from_head", "on")];
        let one_line = LINES.lines().next().unwrap_or_default();
        let pipeline = pipeline
            .syntax(Syntax::Yaml)
            .processor(&[])
            .file("other.log", &format!("{one_line}\n"))
            .input("tail", &other)
            .processor(&[])
            .processor(&[("alias", "second")]);
        let mut running = host.start(&pipeline.output("null", &[]));
        wait_for(
            &mut running,
            port,
            &[
                r#"fluentbit_filter_kube_audit_records_total{name="kube_audit.0"} 3"#,
                r#"fluentbit_filter_kube_audit_records_total{name="kube_audit.0#2"} 1"#,
                r#"fluentbit_filter_kube_audit_records_total{name="second"} 1"#,
            ],
        );
        let finished = running.stop();
        finished.assert_clean();
        finished.assert_log("[filter:kube_audit:kube_audit.0] records: 3");
        finished.assert_log("[filter:kube_audit:kube_audit.0#2] records: 1");
        finished.assert_log("[filter:kube_audit:second] records: 1");
    });
}

/// The metrics end with their instance and begin anew with the next one.
#[test]
fn hot_reload() {
    in_each((2, 2, 0), |host| {
        let (pipeline, port) = observed();
        let pipeline = pipeline
            .service("hot_reload", "on")
            .filter(&[("alias", "f")])
            .output("null", &[]);
        let mut running = host.start(&pipeline);
        let line = r#"fluentbit_filter_kube_audit_records_total{name="f"} 3"#;
        for reloads in 0..3 {
            if reloads > 0 {
                running.reload(&pipeline);
                let gone = |_: &Running| !scrape(port).contains(line);
                running.wait_until("a new start", gone);
            }
            wait_for(&mut running, port, &[line]);
        }
        running.stop().assert_clean();
    });
}
