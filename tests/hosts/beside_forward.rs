//! The output beside the host's own `forward` output with the same options, on the
//! same records: both arrive in the same way.

use kube_audit_testkit::fluent_bit::{Pipeline, in_each};
use kube_audit_testkit::port;

/// Several, so that each chunk has records under several tags.
const RECORDS: &str = r#"{"n": 0, "kubernetes": {"ns": "default", "labels": {"app.io/name": "web"}}, "key": "K"}
{"n": 1, "kubernetes": {"ns": "kube-system"}, "key": "other", "list": ["x", {"y": "Y"}]}
{"n": -2, "kubernetes": "no map", "key": "K", "flag": true, "none": null, "float": 1.5}
{"n": 3, "key": {"inner": [1, "two"]}, "flag": false, "float": 12345678.123456789}
{"n": 9223372036854775807, "unrelated": ""}
{"n": 5, "kubernetes": {"ns": "default"}, "key": "K", "dash-ed/key": "d"}
"#;

const TEMPLATES: [&str; 17] = [
    "fixed",
    "x.$TAG",
    "$TAG[1].$TAG[0]",
    "x$TAG[7].y",
    "x.$kubernetes['ns'].y",
    "x.$kubernetes['labels']['app.io/name']",
    "x.$key",
    "x.$n",
    "x.$list[0].$list[1]['y']",
    "x.$list[7].y",
    "x.$flag.$none.$float",
    "x.$key.",
    "x.$dash-ed/key end",
    "x.$list",
    "x.$unrelated.$missing",
    "$TAG.$key",
    "x.${KUBE_AUDIT_TEST}.$key",
];

/// Lines `TAG: [TIME, {…}]` as tag and record, sorted.
fn arrived(text: &str, prefix: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let (tag, rest) = line.strip_prefix(prefix)?.split_once(": [")?;
        let (_, record) = rest.split_once(", ")?;
        Some((tag.to_owned(), record.to_owned()))
    };
    let mut lines: Vec<_> = text.lines().filter_map(line).collect();
    lines.sort();
    lines
}

#[test]
fn case_04_tags_as_the_hosts_own_output_makes_them() {
    in_each((4, 0, 0), |host| {
        // Sockets in files, for there are many of them.
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name).display().to_string();
        let sockets: Vec<_> = (0..2 * TEMPLATES.len())
            .map(|number| path(number.to_string()))
            .collect();
        let mut receiver = Pipeline::new();
        let mut sender = Pipeline::new()
            .variable("KUBE_AUDIT_TEST", "from the environment")
            .lines("kube.audit", RECORDS)
            .json_parser();
        for (number, pair) in sockets.chunks(2).enumerate() {
            for (name, socket) in ["ours", "theirs"].into_iter().zip(pair) {
                let prefix = format!("{name}{number}/");
                let options = [("unix_path", socket.as_str()), ("tag_prefix", &prefix)];
                receiver = receiver.input("forward", &options);
            }
            let tag = ("tag", TEMPLATES[number]);
            for (name, socket) in ["kube_audit", "forward"].into_iter().zip(pair) {
                sender = sender.output(name, &[("unix_path", socket), tag]);
            }
        }
        let receiver = receiver.output("file", &[("path", "{dir}"), ("file", "out")]);
        let mut receiver = host.start(&receiver);
        receiver.wait_for_log("listening on", sockets.len());
        host.run(&sender).assert_clean();
        let all = sockets.len() * RECORDS.lines().count();
        receiver.wait_until("records", |receiver| {
            receiver.read("out").lines().count() >= all
        });
        let text = receiver.read("out");
        for (number, template) in TEMPLATES.iter().enumerate() {
            let ours = arrived(&text, &format!("ours{number}/"));
            let theirs = arrived(&text, &format!("theirs{number}/"));
            assert_eq!(ours.len(), RECORDS.lines().count(), "{template}");
            assert_eq!(ours, theirs, "{}: {template}", host.name());
        }
    });
}

/// One upstream file for both; Fluent Bit reads the YAML form from 3.2 on.
#[test]
fn an_upstream_file_in_either_form() {
    in_each((4, 0, 0), |host| {
        let ports = [port::reserve(), port::reserve()].map(|port| port.to_string());
        let mut receiver = Pipeline::new();
        for (port, prefix) in ports.iter().zip(["classic/", "yaml/"]) {
            let listen = [("listen", "127.0.0.1"), ("port", port)];
            let options = [&listen[..], &[("tag_prefix", prefix)]].concat();
            receiver = receiver.input("forward", &options);
        }
        let classic = format!(
            "[UPSTREAM]\n    name aggregators\n[NODE]\n    name one\n    host 127.0.0.1\n    port {}\n",
            ports[0]
        );
        let yaml = format!(
            "upstream_servers:\n  - name: aggregators\n    nodes:\n      - name: one\n        \
             host: 127.0.0.1\n        port: {}\n",
            ports[1]
        );
        let mut sender = Pipeline::new()
            .file("nodes.conf", &classic)
            .file("nodes.yaml", &yaml)
            .lines("kube.audit", RECORDS);
        for output in ["kube_audit", "forward"] {
            for file in ["{dir}/nodes.conf", "{dir}/nodes.yaml"] {
                sender = sender.output(output, &[("upstream", file)]);
            }
        }
        let receiver = receiver.output("file", &[("path", "{dir}"), ("file", "out")]);
        let mut receiver = host.start(&receiver);
        receiver.wait_for_log("listening on", ports.len());
        host.run(&sender).assert_clean();
        let each = 2 * RECORDS.lines().count();
        for prefix in ["classic/kube.audit: ", "yaml/kube.audit: "] {
            receiver.wait_until(prefix, |receiver| {
                receiver.read("out").matches(prefix).count() == each
            });
        }
    });
}

#[test]
fn without_acknowledgements() {
    in_each((1, 9, 5), |host| {
        let port = &port::reserve().to_string();
        let listen = [("listen", "127.0.0.1"), ("port", port)];
        let receiver = Pipeline::new()
            .input("forward", &listen)
            .output("file", &[("path", "{dir}"), ("file", "out")]);
        let mut receiver = host.start(&receiver);
        let options = [
            ("host", "127.0.0.1"),
            ("port", port),
            ("require_ack_response", "off"),
        ];
        let sender = Pipeline::new()
            .lines("kube.audit", RECORDS)
            .output("kube_audit", &options);
        receiver.wait_for_log("listening on", 1);
        let sent = host.run(&sender);
        sent.assert_clean();
        sent.assert_log("without a log line");
        receiver.wait_until("records", |receiver| {
            receiver.read("out").lines().count() == RECORDS.lines().count()
        });
    });
}
