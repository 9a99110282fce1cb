//! A peer that wants a shared key, and what can go wrong with that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube_audit_forward::net::{Config, Flushed};
use kube_audit_forward::protocol::handshake::{Auth, Secret};

use crate::host::{Host, chunk, config, entry, until};
use crate::peer::{Connection, Lock, NONCE, Peer, Script, ack, script};

pub fn auth(key: &str, user: Option<(&str, &str)>) -> Option<Auth> {
    let user = user.map(|(name, word)| (name.to_owned(), Secret::new(word)));
    Some(Auth::new(Secret::new(key), "client".into(), user).unwrap())
}

fn config_with_key(peer: &Peer) -> Config {
    let mut config = config(&peer.endpoint());
    config.nodes[0].auth = auth("key", None);
    config
}

fn serve(lock: &Lock) -> Script {
    let lock = lock.clone();
    script(move |connection| connection.serve_with(&lock))
}

#[test]
fn case_14_15_and_16_handshakes_in_every_spelling() {
    let nonce_as_text = [b"\xa5nonce\xb0", NONCE].concat();
    let nonce_as_bytes = [b"\xa5nonce\xc4\x10", NONCE].concat();
    let auth_salt: &[u8] = b"\xff16 bytes of salt";
    let auth_as_bytes = [b"\xa4auth\xc4\x11", auth_salt].concat();
    let auth_as_text = [b"\xa4auth\xb1", auth_salt].concat();
    let with_keepalive = [&auth_as_text[..], &nonce_as_text, b"\xa9keepalive\xc3"].concat();
    // Pairs of options, the options, and whether they ask for a password.
    let cases: [(u8, Vec<u8>, bool); 5] = [
        (1, nonce_as_text.clone(), false),
        (1, nonce_as_bytes.clone(), false),
        (2, [&nonce_as_bytes[..], b"\xa4auth\xa0"].concat(), false),
        (2, [nonce_as_bytes, auth_as_bytes].concat(), true),
        (3, with_keepalive, true),
    ];
    for (pairs, options, password) in cases {
        let mut lock = Lock::plain();
        if password {
            lock.user = Some((auth_salt.to_vec(), "user".into(), "word".into()));
        }
        let head = [b"\x92\xa4HELO".as_slice(), &[0x80 | pairs]].concat();
        lock.helo = [head, options].concat();
        let peer = Peer::start(vec![serve(&lock)]);
        let mut config = config(&peer.endpoint());
        config.nodes[0].auth = auth("key", Some(("user", "word")));
        let host = Host::start(config);
        host.deliver(&chunk(0..100, 0));
        assert_eq!(peer.numbers(), (0..100).collect::<Vec<_>>());
        assert_eq!(peer.connections(), 1, "{:?}", host.events());
    }
}

#[test]
fn case_17_one_frame_per_connection() {
    let mut lock = Lock::plain();
    lock.helo = [b"\x92\xa4HELO\x82\xa9keepalive\xc2\xa5nonce\xb0", NONCE].concat();
    // One that closes the connection as it said, one that leaves it open.
    let scripts = (0..20).map(|number| {
        let lock = lock.clone();
        script(move |connection: &mut Connection| {
            connection.send(&lock.helo);
            let ping = connection.ping().unwrap();
            connection.send(&lock.pong(&ping));
            if let Some(frame) = connection.frame() {
                connection.ack(&frame.id);
            }
            if number % 2 == 0 {
                assert!(connection.frame().is_none(), "a second frame");
            }
        })
    });
    let peer = Peer::start(scripts.collect());
    let mut config = config_with_key(&peer);
    config.caps.frame = 1000;
    let host = Host::start(config);
    host.deliver(&chunk(0..5, 900));
    for number in 5..10 {
        assert_eq!(host.flush(&entry(number, 0)), Flushed::Delivered);
    }
    assert_eq!(peer.numbers(), (0..10).collect::<Vec<_>>());
    let connections: Vec<_> = peer.received().iter().map(|f| f.connection).collect();
    assert_eq!(connections, (0..10).collect::<Vec<_>>());
    let events = host.events();
    assert!(
        !events.iter().any(|line| line.contains("lost")),
        "{events:?}"
    );
}

#[test]
fn case_18_empty_key() {
    let mut lock = Lock::plain();
    lock.key.clear();
    let peer = Peer::start(vec![serve(&lock)]);
    let mut config = config(&peer.endpoint());
    config.nodes[0].auth = auth("", None);
    let host = Host::start(config);
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
}

#[test]
fn case_22_unix_socket_with_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forward.sock");
    let peer = Peer::start_unix(&path, vec![serve(&Lock::plain())]);
    let mut config = config(&format!("unix:{}", path.display()));
    config.nodes[0].auth = auth("key", None);
    let host = Host::start(config);
    host.deliver(&chunk(0..1000, 1000));
    assert_eq!(peer.numbers(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn case_24_byte_by_byte() {
    let peer = Peer::start(vec![script(|connection| {
        let lock = Lock::plain();
        let slowly = |connection: &mut Connection, bytes: &[u8]| {
            for byte in bytes.chunks(1) {
                connection.send(byte);
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        slowly(connection, &lock.helo);
        let ping = connection.ping().unwrap();
        slowly(connection, &lock.pong(&ping));
        while let Some(frame) = connection.frame() {
            slowly(connection, &ack(&frame.id));
        }
    })]);
    let host = Host::start(config_with_key(&peer));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    assert_eq!(peer.connections(), 1);
}

/// A peer that does the same on every connection: what is said of it, and that
/// no byte of a frame gets to it.
fn fails(connection: fn(&mut Connection), words: &[&str]) {
    let strays = Arc::new(AtomicUsize::new(0));
    let scripts = (0..1000).map(|_| {
        let strays = Arc::clone(&strays);
        script(move |peer: &mut Connection| {
            connection(peer);
            strays.fetch_add(peer.read(1 << 16).unwrap_or(0), Ordering::Relaxed);
        })
    });
    let peer = Peer::start(scripts.collect());
    let host = Host::start(config_with_key(&peer));
    assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
    until("it is said", || words.iter().all(|words| host.said(words)));
    drop(peer);
    assert_eq!(
        strays.load(Ordering::Relaxed),
        0,
        "bytes behind a failed handshake"
    );
    assert!(
        host.events()
            .iter()
            .all(|line| line.starts_with("cannot connect to")),
        "{:?}",
        host.events()
    );
}

#[test]
fn case_20_no_helo() {
    let words = [
        "no HELO from the receiver within 300ms",
        "is a shared key set there?",
    ];
    fails(|_| {}, &words);
}

#[test]
fn case_20_closed_before_helo() {
    fails(Connection::close, &["before HELO"]);
}

#[test]
fn case_25_hostile_helos() {
    fails(
        |peer| peer.send(&[Lock::plain().helo, b"garbage".to_vec()].concat()),
        &["unexpected bytes after HELO"],
    );
    fails(
        |peer| peer.send(b"HTTP/1.1 400 Bad"),
        &["HELO is not an array"],
    );
    fails(|peer| peer.send(b"\x92\xa4HELO\x80"), &["no nonce"]);
    fails(
        |peer| {
            peer.send(b"\x92\xa4HELO\x81\xa5nonce\xdb\x06\x40\x00\x00");
            peer.send(&[0; 100_000]);
        },
        &["longer than 4096 bytes"],
    );
    fails(
        |peer| peer.send(&[b"\x92\xa4HELO\x81\xa5nonce".as_slice(), &[0x91; 100_000]].concat()),
        &["longer than 4096 bytes"],
    );
    fails(
        |peer| peer.send(b"\x15\x03\x01\0\x02\x02\x0a"),
        &["speaks TLS"],
    );
}

#[test]
fn case_26_refused_with_the_socket_left_open() {
    fails(
        |peer| {
            peer.send(&Lock::plain().helo);
            if peer.ping().is_some() {
                peer.send(b"\x95\xa4PONG\xc2\xb3shared_key mismatch\xa0\xa0");
            }
        },
        &["refused PING: shared_key mismatch"],
    );
}

#[test]
fn case_27_an_impostor_without_the_key() {
    fails(
        |peer| {
            let mut lock = Lock::plain();
            peer.send(&lock.helo);
            if let Some(ping) = peer.ping() {
                lock.key = b"guess".to_vec();
                peer.send(&lock.pong(&ping));
            }
        },
        &["digest in PONG is wrong"],
    );
}

#[test]
fn case_28_closed_after_ping() {
    fails(
        |peer| {
            peer.send(&Lock::plain().helo);
            peer.ping();
            peer.close();
        },
        &["the shared key is probably wrong"],
    );
}

#[test]
fn no_pong() {
    fails(
        |peer| {
            peer.send(&Lock::plain().helo);
            peer.ping();
        },
        &["no PONG from the receiver within 300ms"],
    );
}

/// The key is right again later: what waited is delivered.
#[test]
fn case_28_recovers() {
    let mut scripts: Vec<Script> = Vec::new();
    for _ in 0..3 {
        scripts.push(script(|connection| {
            connection.send(&Lock::plain().helo);
            connection.ping();
        }));
    }
    scripts.push(serve(&Lock::plain()));
    let peer = Peer::start(scripts);
    let host = Host::start(config_with_key(&peer));
    host.deliver(&entry(0, 0));
    assert_eq!((peer.numbers(), peer.connections()), (vec![0], 4));
}
