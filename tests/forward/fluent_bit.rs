//! Fluent Bit's own `in_forward`, the strictest receiver there is.
//!
//! Every `VERSION/fluent-bit` in `~/.cache/fluent-bit` is tried.

use std::env;
use std::fs::read_dir;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kube_audit_forward::net::{Config, Flushed};
use kube_audit_forward::protocol::compression::Compression;
use kube_audit_forward::protocol::wire::Acks;

use crate::handshake::auth;
use crate::host::{Host, chunk, config, entry, until};
use crate::output::{deliver, output};
use crate::process::{Process, free_port, skip};

/// Those that are found; stderr says when there is none.
pub fn binaries() -> Vec<PathBuf> {
    let cache = env::home_dir()
        .unwrap_or_default()
        .join(".cache/fluent-bit");
    let entries = read_dir(&cache).into_iter().flatten().flatten();
    let binaries: Vec<_> = entries
        .map(|entry| entry.path().join("fluent-bit"))
        .filter(|binary| binary.is_file())
        .collect();
    if binaries.is_empty() {
        skip(&format!(
            "Fluent Bit: no VERSION/fluent-bit in {}",
            cache.display()
        ));
    }
    binaries
}

/// Whether a binary is of this major version or later, by the name of its directory.
pub fn is_at_least(binary: &Path, major: u32) -> bool {
    let version = binary.parent().and_then(Path::file_name);
    let version = version.unwrap_or_default().to_string_lossy().into_owned();
    let number = version.split('.').next().and_then(|text| text.parse().ok());
    number.is_some_and(|number: u32| number >= major)
}

/// Prints every record with tag and time; with further options of the input.
pub fn start(binary: &Path, port: u16, options: &[&str]) -> Process {
    let port = format!("port={port}");
    let options = options.iter().flat_map(|option| ["-p", *option]);
    let mut command = Command::new(binary);
    command.args([
        "-q",
        "-f",
        "0.1",
        "-i",
        "forward",
        "-p",
        "listen=127.0.0.1",
        "-p",
        &port,
    ]);
    command.args(options);
    Process::start(command.args(["-o", "stdout", "-m", "*"]))
}

/// Tag, time and number of a printed record:
/// `[0] TAG: [TIME, {"n"=>NUMBER, …}]`, from 2.1 on `[[TIME, {}], {…}]`.
fn records(process: &Process) -> Vec<(String, String, u32)> {
    let record = |line: &String| {
        let (tag, rest) = line.split_once("] ")?.1.split_once(": [")?;
        let time = rest.trim_start_matches('[').split_once(',')?.0;
        let number = rest.split_once("\"n\"=>")?.1.split_once(',')?.0;
        Some((tag.to_owned(), time.to_owned(), number.parse().ok()?))
    };
    process.lines().iter().filter_map(record).collect()
}

fn record(number: u32) -> (String, String, u32) {
    (
        "kube.audit".into(),
        format!("1700000000.{number:09}"),
        number,
    )
}

#[test]
fn case_01_02_and_11_records_of_chunks() {
    for binary in binaries() {
        let port = free_port();
        let receiver = start(&binary, port, &[]);
        let host = Host::start(config(&format!("127.0.0.1:{port}")));
        for chunk in [entry(0, 0), chunk(1..2000, 0), chunk(2000..5000, 1000)] {
            host.deliver(&chunk);
        }
        until("all are printed", || records(&receiver).len() >= 5000);
        let expected: Vec<_> = (0..5000).map(record).collect();
        assert_eq!(records(&receiver), expected, "{}", binary.display());
        assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    }
}

#[test]
fn case_43_killed_and_started_again() {
    for binary in binaries() {
        let port = free_port();
        let host = Host::start(config(&format!("127.0.0.1:{port}")));
        for number in 0..3 {
            let receiver = start(&binary, port, &[]);
            host.deliver(&entry(number, 0));
            until("it is printed", || {
                records(&receiver).contains(&record(number))
            });
        }
    }
}

#[test]
fn case_22_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    for binary in binaries() {
        let keys: &[&str] = match is_at_least(&binary, 3) {
            true => &["", "key"],
            false => &[""],
        };
        for key in keys {
            let path = directory.path().join("forward.sock");
            let unix_path = format!("unix_path={}", path.display());
            let shared_key = format!("shared_key={key}");
            let options = [&*unix_path, &*shared_key];
            let options = &options[..if key.is_empty() { 1 } else { 2 }];
            let receiver = start(&binary, free_port(), options);
            let mut config = config(&format!("unix:{}", path.display()));
            config.timers.handshake.helo = Duration::from_secs(2);
            config.timers.handshake.pong = Duration::from_secs(2);
            config.nodes[0].auth = auth(key, None).filter(|_| !key.is_empty());
            let host = Host::start(config);
            host.deliver(&chunk(0..100, 0));
            until("all are printed", || records(&receiver).len() >= 100);
            let expected: Vec<_> = (0..100).map(record).collect();
            assert!(records(&receiver) == expected, "{}", binary.display());
        }
    }
}

/// Such entries are read from 2.1 on.
#[test]
fn case_07_metadata_arrives_when_it_is_asked_for() {
    for binary in binaries().iter().filter(|binary| is_at_least(binary, 3)) {
        let port = free_port();
        let receiver = start(binary, port, &[]);
        let retain = [("retain_metadata_in_forward_mode", "on")];
        let (output, _) = output(&format!("127.0.0.1:{port}"), &retain);
        let record = b"\x92\x92\xd7\x00\x65\0\0\0\0\0\0\x07\x81\xa1m\xa2md\x81\xa1n\x09";
        deliver(&output, "t", record);
        let printed = "[0] t: [[1694498816.000000007, {\"m\"=>\"md\"}], {\"n\"=>9}]";
        until("it is printed", || {
            receiver.lines().contains(&printed.into())
        });
        output.close();
    }
}

/// Three chunks, of one record, of many and of several frames, arrive.
fn delivers(binary: &Path, options: &[&str], change: impl Fn(&mut Config)) {
    let port = free_port();
    let receiver = start(binary, port, options);
    let mut config = config(&format!("127.0.0.1:{port}"));
    config.timers.handshake.helo = Duration::from_secs(2);
    config.timers.handshake.pong = Duration::from_secs(2);
    config.limits.ack_timeout = Duration::from_secs(5);
    change(&mut config);
    let host = Host::start(config);
    for chunk in [entry(0, 0), chunk(1..1000, 0), chunk(1000..3000, 1000)] {
        host.deliver(&chunk);
    }
    until("all are printed", || records(&receiver).len() >= 3000);
    let expected: Vec<_> = (0..3000).map(record).collect();
    let (binary, events) = (binary.display(), host.events());
    assert!(records(&receiver) == expected, "{binary}: {events:?}");
}

#[test]
fn case_08_gzip() {
    for binary in binaries() {
        delivers(&binary, &[], |config| {
            config.nodes[0].compression = Compression::Gzip;
        });
    }
}

/// Without acknowledgements, in every form.
#[test]
fn case_08_without_acknowledgements() {
    for binary in binaries() {
        for compression in [Compression::None, Compression::Gzip] {
            delivers(&binary, &[], |config| {
                config.limits.acks = Acks::Waived;
                config.nodes[0].compression = compression;
            });
        }
    }
}

/// Fluent Bit reads zstd from 4.1 on.
#[cfg(feature = "zstd")]
#[test]
fn case_09_zstd() {
    for binary in binaries().iter().filter(|binary| is_at_least(binary, 5)) {
        delivers(binary, &[], |config| {
            config.nodes[0].compression = Compression::Zstd;
        });
    }
}

/// Before 3.0, `in_forward` has no shared key.
#[test]
fn case_14_16_and_18_shared_keys_and_users() {
    for binary in binaries().iter().filter(|binary| is_at_least(binary, 3)) {
        let key = "shared_key=key";
        delivers(binary, &[key], |config| {
            config.nodes[0].auth = auth("key", None);
        });
        delivers(binary, &[key, "security.users=user word"], |config| {
            config.nodes[0].auth = auth("key", Some(("user", "word")));
        });
        delivers(binary, &["empty_shared_key=true"], |config| {
            config.nodes[0].auth = auth("", None);
        });
    }
}

#[test]
fn case_28_wrong_key_and_wrong_password() {
    for binary in binaries().iter().filter(|binary| is_at_least(binary, 3)) {
        let options = ["shared_key=key", "security.users=user word"];
        let cases = [
            (
                auth("wrong", Some(("user", "word"))),
                "the shared key is probably wrong",
            ),
            (
                auth("key", Some(("user", "guess"))),
                "refused PING: username/password mismatch",
            ),
            (None, "it wants a shared key, and none is set"),
        ];
        for (auth, words) in cases {
            let port = free_port();
            let receiver = start(binary, port, &options);
            until("it listens", || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            let mut config = config(&format!("127.0.0.1:{port}"));
            config.timers.handshake.helo = Duration::from_secs(2);
            config.timers.handshake.pong = Duration::from_secs(2);
            config.nodes[0].auth = auth;
            let host = Host::start(config);
            assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
            until(
                &format!("{} makes us say `{words}`", binary.display()),
                || {
                    assert_ne!(host.flush(&entry(0, 0)), Flushed::Delivered);
                    assert!(receiver.lines().is_empty(), "a record arrived");
                    host.said(words)
                },
            );
        }
    }
}

/// Before 2.0 or so, servers have no TLS.
#[cfg(feature = "tls")]
#[test]
fn case_21_tls_with_and_without_a_shared_key() {
    let authority = crate::tls::Authority::new();
    let server = authority.identity("127.0.0.1");
    let crt = format!("tls.crt_file={}", server.crt_file.display());
    let key = format!("tls.key_file={}", server.key_file.display());
    let tls = ["tls=on", "tls.verify=off", &*crt, &*key];
    for binary in binaries().iter().filter(|binary| is_at_least(binary, 3)) {
        delivers(binary, &tls, |config| {
            config.nodes[0].tls = Some(authority.client());
        });
        delivers(
            binary,
            &[&tls[..], &["shared_key=key"]].concat(),
            |config| {
                config.nodes[0].tls = Some(authority.client());
                config.nodes[0].auth = auth("key", None);
                config.nodes[0].compression = Compression::Gzip;
            },
        );
    }
}

/// `in_forward` closes once its buffer is full, whether or not the rest of the
/// frame is in its socket already.
#[test]
fn case_46_frames_above_buffer_max_size() {
    for binary in binaries() {
        let port = free_port();
        let options = ["buffer_chunk_size=32K", "buffer_max_size=128K"];
        let receiver = start(&binary, port, &options);
        let mut config = config(&format!("127.0.0.1:{port}"));
        config.caps.frame = 400_000;
        config.limits.ack_timeout = Duration::from_secs(2);
        let host = Host::start(config);
        let large = chunk(0..1000, 1000);
        // What else comes vouches for the receiver.
        let mut number = 1000;
        until("it is delivered", || {
            host.deliver(&entry(number, 0));
            number += 1;
            host.flush(&large) == Flushed::Delivered
        });
        until("all are printed", || {
            records(&receiver).len() >= number as usize
        });
        let mut printed = records(&receiver);
        printed.sort_by_key(|(_, _, number)| *number);
        let expected: Vec<_> = (0..number).map(record).collect();
        let (binary, events) = (binary.display(), host.events());
        assert!(printed == expected, "each once: {binary}: {events:?}");
    }
}
