//! The server of the npm package `@fluent-org/logger`, an independent
//! implementation in JavaScript.
//!
//! Nothing is installed here: the package is looked for in `node_modules` of
//! the directory that `KUBE_AUDIT_FLUENT_LOGGER` names, or where node finds it.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use kube_audit_forward::net::{Config, Flushed};
use kube_audit_forward::protocol::compression::Compression;

use crate::handshake::auth;
use crate::host::{Host, chunk, config, entry, flush, until};
use crate::process::{Process, free_port, skip};

/// Takes a port and options in JSON; prints `ready`, then tag, seconds, nanoseconds and number of every record.
const SERVER: &str = r"
    const fs = require('fs');
    const { FluentServer } = require('@fluent-org/logger');
    const listenOptions = { host: '127.0.0.1', port: Number(process.argv[1]) };
    const { security, cert, key } = JSON.parse(process.argv[2]);
    const tlsOptions = cert && { cert: fs.readFileSync(cert), key: fs.readFileSync(key) };
    const server = new FluentServer({ listenOptions, security, tlsOptions });
    server.on('entry', (tag, time, record) =>
        console.log([tag, time.epoch, time.nano, record.n].join(' ')));
    server.listen().then(() => console.log('ready'));
";

fn node() -> Command {
    let mut node = Command::new("node");
    if let Some(directory) = env::var_os("KUBE_AUDIT_FLUENT_LOGGER") {
        node.env("NODE_PATH", Path::new(&directory).join("node_modules"));
    }
    node
}

fn start(port: u16) -> Option<Process> {
    start_with(port, "{}")
}

fn start_with(port: u16, options: &str) -> Option<Process> {
    let probe = node()
        .args(["-e", "require('@fluent-org/logger')"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        skip(
            "npm server: needs node and the package @fluent-org/logger; \
             KUBE_AUDIT_FLUENT_LOGGER names the directory of its node_modules",
        );
        return None;
    }
    let server = Process::start(node().args(["-e", SERVER, &port.to_string(), options]));
    until("the server listens", || {
        server.lines().contains(&"ready".into())
    });
    Some(server)
}

fn line(tag: &str, number: u32) -> String {
    format!("{tag} 1700000000 {number} {number}")
}

#[test]
fn case_01_02_and_04_records_of_chunks() {
    let port = free_port();
    let Some(server) = start(port) else { return };
    let host = Host::start(config(&format!("127.0.0.1:{port}")));
    assert_eq!(host.flush(&chunk(0..10_000, 0)), Flushed::Delivered);
    until("all arrived", || server.lines().len() == 10_001);
    let expected: Vec<_> = (0..10_000)
        .map(|number| line("kube.audit", number))
        .collect();
    assert_eq!(server.lines()[1..], expected);
    let tag = "täg.".repeat(80);
    assert_eq!(
        flush(&host.client, tag.as_bytes(), &entry(7, 0)),
        Flushed::Delivered
    );
    until("the last arrived", || {
        server.lines().last() == Some(&line(&tag, 7))
    });
}

#[test]
fn case_11_many_frames() {
    let port = free_port();
    let Some(server) = start(port) else { return };
    let host = Host::start(config(&format!("127.0.0.1:{port}")));
    host.deliver(&chunk(0..5000, 1000));
    until("all arrived", || server.lines().len() == 5001);
    assert!(
        host.events()
            .iter()
            .all(|line| line.starts_with("connected")),
        "{:?}",
        host.events()
    );
}

#[test]
fn case_42_restart_between_every_frame() {
    let port = free_port();
    if start(port).is_none() {
        return;
    }
    let host = Host::start(config(&format!("127.0.0.1:{port}")));
    for number in 0..5 {
        let Some(server) = start(port) else { return };
        host.deliver(&entry(number, 0));
        until("it arrived", || {
            server.lines().contains(&line("kube.audit", number))
        });
    }
}

/// A server with these options gets many records in several frames.
fn delivers(options: &str, change: impl Fn(&mut Config)) {
    let port = free_port();
    let Some(server) = start_with(port, options) else {
        return;
    };
    let mut config = config(&format!("127.0.0.1:{port}"));
    change(&mut config);
    let host = Host::start(config);
    host.deliver(&chunk(0..3000, 1000));
    until("all arrived", || server.lines().len() == 3001);
    let expected: Vec<_> = (0..3000).map(|number| line("kube.audit", number)).collect();
    assert_eq!(server.lines()[1..], expected);
}

#[test]
fn case_08_gzip() {
    delivers("{}", |config| {
        config.nodes[0].compression = Compression::Gzip
    });
}

const KEY: &str = r#""sharedKey": "key", "serverHostname": "server""#;
const USERS: &str = r#""authorize": true, "userDict": {"user": "word"}"#;

#[test]
fn case_14_and_16_shared_key_and_users() {
    delivers(&format!(r#"{{"security": {{{KEY}}}}}"#), |config| {
        config.nodes[0].auth = auth("key", None);
    });
    delivers(
        &format!(r#"{{"security": {{{KEY}, {USERS}}}}}"#),
        |config| {
            config.nodes[0].auth = auth("key", Some(("user", "word")));
        },
    );
}

#[test]
fn case_26_refusals_are_quoted() {
    let cases = [
        (auth("wrong", Some(("user", "word"))), "refused PING: "),
        (auth("key", Some(("user", "guess"))), "refused PING: "),
        (None, "it wants a shared key, and none is set"),
    ];
    for (auth, words) in cases {
        let port = free_port();
        let options = format!(r#"{{"security": {{{KEY}, {USERS}}}}}"#);
        let Some(server) = start_with(port, &options) else {
            return;
        };
        let mut config = config(&format!("127.0.0.1:{port}"));
        config.nodes[0].auth = auth;
        let host = Host::start(config);
        assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
        until("it is said", || host.said(words));
        assert_eq!(server.lines().len(), 1, "a record arrived");
    }
}

#[cfg(feature = "tls")]
#[test]
fn case_21_tls_with_a_shared_key() {
    let authority = crate::tls::Authority::new();
    let server = authority.identity("127.0.0.1");
    let (cert, key) = (server.crt_file.display(), server.key_file.display());
    let options = format!(r#"{{"security": {{{KEY}}}, "cert": "{cert}", "key": "{key}"}}"#);
    delivers(&options, |config| {
        config.nodes[0].auth = auth("key", None);
        config.nodes[0].tls = Some(authority.client());
        config.nodes[0].compression = Compression::Gzip;
    });
}
