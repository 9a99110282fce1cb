//! `fluent-bit-conf/kkp/`: each manifest goes through `kube-audit render`, and what KKP
//! would write runs with the paths of its sidecar, in a Secret mounted as the kubelet
//! does it.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use kube_audit_testkit::fluent_bit::{FluentBit, Pipeline};
use kube_audit_testkit::image::{Image, Running};
use kube_audit_testkit::{fluent_bit, image, judge, library, port};
use serde_json::{Value, json};

const LOG: &str = "var/log/kubernetes/audit/audit.log";

/// Where the manifests send to.
const FORWARDER: &str = "audit-forwarder.audit-forward.svc.cluster.local";

fn shipped(file: &str) -> String {
    fs::read_to_string(image::shipped().join("kkp").join(file)).unwrap()
}

/// The fluent-bit.conf that KKP makes of a manifest.
fn render(manifest: &str) -> String {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_kube-audit"))
        .args(["render", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin
        .take()
        .unwrap()
        .write_all(manifest.as_bytes())
        .unwrap();
    let output = tool.wait_with_output().unwrap();
    assert!(output.status.success(), "{manifest}");
    String::from_utf8(output.stdout).unwrap()
}

/// The library as it is shipped for the Secret, where `KUBE_AUDIT_SMALL_LIBRARY` names
/// it; otherwise the one that was built for this test does.
fn small_library() -> Option<PathBuf> {
    std::env::var_os("KUBE_AUDIT_SMALL_LIBRARY").map(PathBuf::from)
}

/// A receiver that writes what arrives into a file.
struct Aggregator {
    host: fluent_bit::Running,
    port: u16,
}

impl Aggregator {
    fn start(host: &FluentBit, more: &[(&str, &str)]) -> Aggregator {
        let port = port::reserve();
        let text = port.to_string();
        let mut options = vec![("listen", "127.0.0.1"), ("port", text.as_str())];
        options.extend(more);
        let pipeline = Pipeline::new()
            .input("forward", &options)
            .file_output("arrived");
        let mut host = host.start(&pipeline);
        host.wait_for_log("listening on", 1);
        Aggregator { host, port }
    }

    fn records(&self) -> Vec<Value> {
        let lines = self.host.read("arrived");
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    #[track_caller]
    fn wait_for(&mut self, count: usize, sidecar: &Sidecar) -> Vec<Value> {
        self.host.wait_until("records", |host| {
            let arrived = host.read("arrived").lines().count();
            assert!(
                arrived <= count,
                "{arrived} for {count}:\n{}",
                sidecar.running.log()
            );
            arrived == count
        });
        self.records()
    }
}

/// KKP's sidecar: what KKP renders of a manifest, and further keys of the Secret.
struct Sidecar {
    image: Image,
    running: Running,
}

impl Sidecar {
    /// Starts it beside an empty audit log.
    fn start(
        host: &FluentBit,
        manifest: &str,
        aggregator: &Aggregator,
        keys: &[(&str, &[u8])],
        environment: &[(&str, &str)],
    ) -> Sidecar {
        // The one thing that cannot be as shipped here: a name of a cluster's DNS.
        let config = render(manifest)
            .replace(
                &format!("{FORWARDER}:24224"),
                &format!("127.0.0.1:{}", aggregator.port),
            )
            .replace(FORWARDER, "127.0.0.1")
            .replace("Port      24224", &format!("Port      {}", aggregator.port));
        let library = small_library().unwrap_or_else(library::library);
        let library = fs::read(library).unwrap();
        let plugins = shipped("plugins.conf");
        let mut all: Vec<(&str, &[u8])> = vec![
            ("fluent-bit.conf", config.as_bytes()),
            ("plugins.conf", plugins.as_bytes()),
            ("flb-filter_kube_audit.so", &library),
        ];
        all.extend(keys);
        let image = Image::new(host);
        image.mount_secret(&all);
        File::create(image.path(LOG)).unwrap();
        let running = image.start("/etc/fluent-bit/fluent-bit.conf", environment);
        let inputs = config.matches("[INPUT]").count();
        running.wait_for("watch", |running| {
            running.log().matches("inotify_fs_add()").count() == inputs
        });
        Sidecar { image, running }
    }

    /// The API server writes.
    fn write(&self, text: &str) {
        let mut log = File::options()
            .append(true)
            .open(self.image.path(LOG))
            .unwrap();
        log.write_all(text.as_bytes()).unwrap();
    }

    fn write_sample(&self) {
        self.write(&sample());
    }
}

fn sample() -> String {
    fs::read_to_string(image::shipped().join("sample/audit.log")).unwrap()
}

/// A text that stands in a manifest as a literal block.
fn block(manifest: &str, key: &str) -> String {
    let (_, rest) = manifest.split_once(&format!("{key}: |\n")).unwrap();
    let indent = rest.len() - rest.trim_start_matches(' ').len();
    let inside = |line: &&str| line.is_empty() || line.starts_with(&" ".repeat(indent));
    let lines = rest.lines().take_while(inside);
    lines
        .map(|line| line.get(indent..).unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// End of the audit ID, level, and which bodies are there.
fn summary(records: &[Value]) -> Vec<String> {
    let event = |record: &Value| {
        let text = record["log"].as_str().unwrap();
        let Ok(event) = serde_json::from_str::<Value>(text) else {
            return "no event".to_owned();
        };
        let bodies: Vec<&str> = ["requestObject", "responseObject"]
            .into_iter()
            .filter(|body| event.get(body).is_some())
            .collect();
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        format!(
            "{} {} {}",
            &text("auditID")[32..],
            text("level"),
            bodies.join(" ")
        )
        .trim_end()
        .to_owned()
    };
    records.iter().map(event).collect()
}

/// What the preset `minimal` leaves of the sample.
const BY_MINIMAL: [&str; 6] = [
    "0001 Metadata",
    "0003 RequestResponse requestObject responseObject",
    "0010 Request",
    "0012 RequestResponse requestObject responseObject",
    "0013 Metadata",
    "no event",
];

#[track_caller]
fn delivers(file: &str, environment: &[(&str, &str)]) {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let mut aggregator = Aggregator::start(host, &[]);
        let sidecar = Sidecar::start(host, &shipped(file), &aggregator, &[], environment);
        sidecar.write_sample();
        let records = aggregator.wait_for(BY_MINIMAL.len(), &sidecar);
        assert_eq!(summary(&records), BY_MINIMAL, "{} {file}", host.name());
        for record in records {
            let keys: Vec<&str> = record
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(keys, ["cluster", "log", "seed"], "{} {file}", host.name());
            assert_eq!(record["cluster"], "qx7l2v");
            assert_eq!(record["seed"], "europe-west3");
        }
        sidecar.running.stop();
        aggregator.host.stop().assert_clean();
    });
}

/// What KKP 2.28 and later put into the environment of the sidecar.
const CLUSTER_ID: [(&str, &str); 1] = [("CLUSTER_ID", "qx7l2v")];

#[test]
fn cluster() {
    delivers("cluster.yaml", &CLUSTER_ID);
}

#[test]
fn cluster_without_variables() {
    delivers("cluster-2.27.yaml", &[]);
}

#[test]
fn cluster_with_the_output() {
    delivers("cluster-output.yaml", &CLUSTER_ID);
}

#[test]
fn seed() {
    delivers("seed.yaml", &CLUSTER_ID);
}

/// A service account that reads all secrets.
const READS_ALL_SECRETS: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"5f0c2a10-0000-4000-8000-000000000099","stage":"ResponseComplete","requestURI":"/api/v1/secrets?limit=500","verb":"list","user":{"username":"system:serviceaccount:shop:web","groups":["system:serviceaccounts"]},"objectRef":{"resource":"secrets","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200}}"#;

/// The labels stand beside the text, which stays what it is without them.
#[test]
fn cluster_with_detections() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let manifest = shipped("cluster-detections.yaml");
        let mut aggregator = Aggregator::start(host, &[]);
        let sidecar = Sidecar::start(host, &manifest, &aggregator, &[], &CLUSTER_ID);
        sidecar.write_sample();
        sidecar.write(&format!("{READS_ALL_SECRETS}\n"));
        let records = aggregator.wait_for(BY_MINIMAL.len() + 1, &sidecar);
        let mut want = BY_MINIMAL.to_vec();
        want.push("0099 Metadata");
        assert_eq!(summary(&records), want, "{}", host.name());
        let labels = |record: &Value| {
            assert_eq!(record["cluster"], "qx7l2v");
            let labels = ["kube_audit_detections", "kube_audit_severity"];
            labels.map(|key| record.get(key).cloned().unwrap_or_default())
        };
        let label = |id: &str, severity: &str| [json!([id]), json!(severity)];
        let none = [Value::Null, Value::Null];
        assert_eq!(
            records.iter().map(labels).collect::<Vec<_>>(),
            [
                label("secret-read", "low"),
                none.clone(),
                label("exec-into-pod", "medium"),
                none.clone(),
                label("authentication-failed", "low"),
                none,
                label("secrets-enumerated", "high"),
            ],
            "{}",
            host.name()
        );
        sidecar.running.stop();
        aggregator.host.stop().assert_clean();
    });
}

/// A create of a pod whose line has so many bytes and a few.
fn long_line(bytes: usize) -> String {
    let sample = sample();
    let create = sample
        .lines()
        .find(|line| line.contains(r#""verb":"create""#));
    let mut event: Value = serde_json::from_str(create.unwrap()).unwrap();
    event["requestObject"]["metadata"]["annotations"] = json!({"filler": "x".repeat(bytes)});
    format!("{event}\n")
}

/// KKP's input gives up the file at the first line over 32 KiB. A second input, brought
/// along by a value, reads on.
#[test]
fn long_lines() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let mut aggregator = Aggregator::start(host, &[]);
        let sidecar = Sidecar::start(
            host,
            &shipped("cluster.yaml"),
            &aggregator,
            &[],
            &CLUSTER_ID,
        );
        sidecar.write_sample();
        aggregator.wait_for(BY_MINIMAL.len(), &sidecar);
        sidecar.write(&long_line(33_000));
        sidecar.running.wait_for("complaint", |running| {
            running.log().contains("lines are too long. Skipping file")
        });
        sidecar.write_sample();
        sidecar.running.stop();
        assert_eq!(
            summary(&aggregator.records()),
            BY_MINIMAL,
            "{}",
            host.name()
        );

        let own = shipped("cluster-own-input.yaml");
        let mut aggregator = Aggregator::start(host, &[("buffer_max_size", "16M")]);
        let sidecar = Sidecar::start(host, &own, &aggregator, &[], &CLUSTER_ID);
        sidecar.write(&long_line(33_000));
        sidecar.write(&long_line(2_000_000));
        sidecar.write_sample();
        // Policy `recommended`: three RequestReceived go.
        let records = aggregator.wait_for(13, &sidecar);
        let long = summary(&records)[..2].to_vec();
        let whole = BY_MINIMAL[3].to_owned();
        assert_eq!(long, [whole.clone(), whole], "{}", host.name());
        sidecar.running.stop();
    });
}

/// One cluster's manifest: filter, output and plugins file.
fn manifest(
    filter: &[(&str, &str)],
    output: &[(&str, &str)],
    plugins: &str,
    environment: &[(&str, &str)],
) -> String {
    let map = |options: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), json!(value));
        Value::Object(options.iter().map(pair).collect())
    };
    let variable = |(name, value): &(&str, &str)| json!({"name": name, "value": value});
    let filters = if filter.is_empty() {
        json!([])
    } else {
        json!([map(filter)])
    };
    json!({
        "kind": "Cluster",
        "metadata": {"name": "qx7l2v"},
        "spec": {"auditLogging": {"enabled": true, "sidecar": {
            "extraEnvs": environment.iter().map(variable).collect::<Vec<_>>(),
            "config": {
                "service": {"Flush": "1", "plugins_file": plugins},
                "filters": filters,
                "outputs": [map(output)],
            },
        }}},
    })
    .to_string()
}

/// The filter with these options, from the Secret, and Fluent Bit's own forward.
fn with_filter(options: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    let mut filter = vec![("Name", "kube_audit"), ("Match", "*")];
    filter.extend(options);
    let output = [
        ("Name", "forward"),
        ("Match", "*"),
        ("Host", FORWARDER),
        ("Port", "24224"),
        ("Require_ack_response", "true"),
    ];
    manifest(
        &filter,
        &output,
        "/etc/fluent-bit/plugins.conf",
        environment,
    )
}

/// The output with these options, from the image.
fn with_output(options: &[(&str, &str)]) -> String {
    let endpoint = format!("{FORWARDER}:24224");
    let mut output = vec![
        ("Name", "kube_audit"),
        ("Match", "*"),
        ("Endpoint", &endpoint),
    ];
    output.extend(options);
    manifest(&[], &output, "/fluent-bit/etc/plugins.conf", &[])
}

/// Only what concerns secrets.
const POLICY: &str = r#"{"rules":[{"level":"Metadata","resources":[{"resources":["secrets"]}]}]}"#;

/// Files say what they are.
fn as_file(policy: &str) -> String {
    match policy.strip_prefix('{') {
        Some(rest) => format!(r#"{{"apiVersion":"audit.k8s.io/v1","kind":"Policy",{rest}"#),
        None => format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}\n"),
    }
}

/// What that leaves of the sample.
const BY_POLICY: [&str; 3] = ["0001 Metadata", "0001 Metadata", "no event"];

#[test]
fn a_policy_in_every_form() {
    if !image::is_possible() {
        return;
    }
    let encoded = format!("base64url:{}", BASE64_URL_SAFE_NO_PAD.encode(POLICY));
    let flow = "{rules: [{level: Metadata, resources: [{resources: [secrets]}]}]}";
    let env = [("AUDIT_POLICY", POLICY)];
    let encoded_env = [("AUDIT_POLICY", encoded.as_str())];
    let none: &[(&str, &str)] = &[];
    let cases = [
        (("Policy_File", "/etc/fluent-bit/policy.yaml"), none),
        (("Policy_Env", "AUDIT_POLICY"), &env),
        (("Policy_Env", "AUDIT_POLICY"), &encoded_env),
        (("Policy", POLICY), none),
        (("Policy", flow), none),
        (("Policy", &encoded), none),
    ];
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        for (option, environment) in cases {
            let records = r#"cluster qx7l2v; note "a <b> & 'c'""#;
            let manifest = with_filter(&[option, ("Records", records)], environment);
            let mut aggregator = Aggregator::start(host, &[]);
            let policy = as_file(POLICY);
            let keys = [("policy.yaml", policy.as_bytes())];
            let sidecar = Sidecar::start(host, &manifest, &aggregator, &keys, environment);
            sidecar.write_sample();
            let arrived = aggregator.wait_for(BY_POLICY.len(), &sidecar);
            assert_eq!(summary(&arrived), BY_POLICY, "{} {option:?}", host.name());
            for record in arrived {
                assert_eq!(record["cluster"], "qx7l2v");
                assert_eq!(record["note"], "a <b> & 'c'");
            }
            sidecar.running.stop();
        }
    });
}

/// Credentials whose characters KKP's template escapes, against a receiver that knows
/// them as they are.
#[test]
fn credentials() {
    if !image::is_possible() {
        return;
    }
    const KEY: &str = r#"a+b&c<d>"e'f&amp;g=="#;
    // From 4.0.0 on the host's own receiver checks keys.
    fluent_bit::in_each((4, 0, 0), |host| {
        let receiver = [("shared_key", KEY), ("self_hostname", "receiver")];
        let mut aggregator = Aggregator::start(host, &receiver);
        let manifest = with_output(&[("Shared_Key", KEY)]);
        let sidecar = Sidecar::start(host, &manifest, &aggregator, &[], &[]);
        sidecar.write_sample();
        aggregator.wait_for(14, &sidecar);
        sidecar.running.stop();
    });
}

/// The Secret changes while the sidecar runs: a policy that is a key of it is read
/// again, and the library that is one stays loaded.
#[test]
fn the_secret_is_updated() {
    if !image::is_possible() {
        return;
    }
    fluent_bit::in_each(fluent_bit::OLDEST, |host| {
        let mut aggregator = Aggregator::start(host, &[]);
        let options = [
            ("Policy_File", "/etc/fluent-bit/policy.yaml"),
            ("Policy_Reload", "1s"),
        ];
        let manifest = with_filter(&options, &[]);
        let policy = as_file(POLICY);
        let keys = [("policy.yaml", policy.as_bytes())];
        let sidecar = Sidecar::start(host, &manifest, &aggregator, &keys, &[]);
        sidecar.write_sample();
        aggregator.wait_for(BY_POLICY.len(), &sidecar);

        let secret = |key: &str| fs::read(sidecar.image.path("etc/fluent-bit").join(key)).unwrap();
        let (config, library) = (
            secret("fluent-bit.conf"),
            secret("flb-filter_kube_audit.so"),
        );
        sidecar.image.mount_secret(&[
            ("fluent-bit.conf", &config),
            ("plugins.conf", shipped("plugins.conf").as_bytes()),
            ("flb-filter_kube_audit.so", &library),
            ("policy.yaml", as_file("rules: [{level: None}]").as_bytes()),
        ]);
        // The file is looked at when a chunk comes, at most once a second.
        let none = b"I1120 08:00:00.000000       1 a.go:1] a line\n";
        let mut count = BY_POLICY.len();
        sidecar.running.wait_for("the new policy", |running| {
            if running.log().matches("1 rules").count() == 2 {
                return true;
            }
            sidecar.write(std::str::from_utf8(none).unwrap());
            false
        });
        let lines = fs::read_to_string(sidecar.image.path(LOG))
            .unwrap()
            .matches("a line\n")
            .count();
        count += lines;
        sidecar.write_sample();
        let arrived = aggregator.wait_for(count + 1, &sidecar);
        let no_event = |record: &&String| record.as_str() == "no event";
        assert_eq!(summary(&arrived).iter().filter(no_event).count(), lines + 2);
        sidecar.running.stop();
    });
}

/// What the forwarder acknowledges is on its disk: the destination comes up after it
/// was restarted. It changes nothing.
#[test]
fn forwarder() {
    if !image::is_possible() {
        return;
    }
    // The release that its manifest names.
    assert!(shipped("forwarder.yaml").contains("fluent-bit:5.1.1"));
    fluent_bit::in_each((5, 1, 1), |host| {
        let (listen, destination) = (port::reserve(), port::reserve().to_string());
        let config = block(&shipped("forwarder.yaml"), "fluent-bit.conf");
        let config = config.replace(
            "Port              24224",
            &format!("Port              {listen}"),
        );
        assert!(config.contains(&listen.to_string()));
        let image = Image::new(host);
        image.mount_secret(&[("fluent-bit.conf", config.as_bytes())]);
        let environment = [
            ("DESTINATION_HOST", "127.0.0.1"),
            ("DESTINATION_PORT", destination.as_str()),
            ("DESTINATION_TLS", "off"),
            ("SHARED_KEY", "a key"),
        ];
        let start = || {
            let forwarder = image.start("/etc/fluent-bit/fluent-bit.conf", &environment);
            forwarder.wait_for("listener", |forwarder| {
                forwarder.log().contains("listening on")
            });
            forwarder
        };
        let before = start();
        let to_forwarder = format!("127.0.0.1:{listen}");
        let pipeline = Pipeline::new().lines("audit", &sample()).output(
            "kube_audit",
            &[
                ("endpoint", &to_forwarder),
                ("policy_preset", "minimal"),
                ("records", "cluster qx7l2v; seed europe-west3"),
            ],
        );
        let sidecar = host.run(&pipeline);
        sidecar.assert_clean();
        sidecar.assert_log("records acknowledged: 6");
        before.stop();

        let after = start();
        let receiver = [
            ("listen", "127.0.0.1"),
            ("port", destination.as_str()),
            ("shared_key", "a key"),
            ("self_hostname", "destination"),
        ];
        let receiver = Pipeline::new()
            .input("forward", &receiver)
            .file_output("arrived");
        let mut receiver = host.start(&receiver);
        receiver.wait_until("records", |receiver| {
            receiver.read("arrived").lines().count() == 6
        });
        let arrived = receiver.read("arrived");
        let arrived: Vec<Value> = arrived
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(summary(&arrived), BY_MINIMAL);
        for record in arrived {
            let keys: Vec<&str> = record
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(keys, ["cluster", "log", "seed"]);
        }
        after.stop();
    });
}

/// The webhook's kubeconfig in the Secret is the shipped one but for its longer address,
/// and its Cluster leaves the sidecar alone.
#[test]
fn webhook() {
    let kubeconfig = block(&shipped("webhook.yaml"), "webhook.yaml");
    let path = image::shipped().join("inputs/webhook-kubeconfig.yaml");
    let plain = fs::read_to_string(path).unwrap();
    let lines = |text: &str| -> Vec<String> {
        let text = text.replace(".svc.cluster.local:9880/qx7l2v", ".svc:9880/");
        let lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(lines(&kubeconfig), lines(&plain));
    assert!(render(&shipped("webhook.yaml")).contains("[OUTPUT]\n    Name    stdout\n"));
}

/// All keys of a Secret together have 1 MiB.
#[test]
fn fits_into_a_secret() {
    let Some(library) = small_library() else {
        judge::skip("KUBE_AUDIT_SMALL_LIBRARY is not set: its size is not checked");
        return;
    };
    let config = render(&shipped("cluster-own-input.yaml"));
    let policy = fs::read(image::shipped().join("policy.yaml")).unwrap();
    let texts = config.len() + shipped("plugins.conf").len() + policy.len();
    let all = fs::read(library).unwrap().len() + texts;
    assert!(all <= 1 << 20, "{all} bytes");
}
