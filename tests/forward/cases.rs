//! A peer that behaves: what goes over the wire, and what a flush returns.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kube_audit_forward::net::{Flushed, Reason};
use kube_audit_forward::protocol::compression::Compression;
use kube_audit_forward::protocol::wire::ExtraOption;

use crate::host::{ENTRY, Host, chunk, config, entry, flush};
use crate::peer::{Peer, ack, script};

#[test]
fn case_01_one_record() {
    let peer = Peer::start(vec![]);
    let host = Host::start(config(&peer.endpoint()));
    assert_eq!(host.flush(&entry(7, 0)), Flushed::Delivered);
    let received = peer.received();
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].tag.as_slice(), received[0].numbers.as_slice()),
        (&b"kube.audit"[..], &[7][..])
    );
}

#[test]
fn case_02_many_records_in_order() {
    let peer = Peer::start(vec![]);
    let host = Host::start(config(&peer.endpoint()));
    assert_eq!(host.flush(&chunk(0..10_000, 0)), Flushed::Delivered);
    assert_eq!(peer.numbers(), (0..10_000).collect::<Vec<_>>());
    assert_eq!(host.notes.acked.load(Ordering::Relaxed), 10_000);
}

/// The peer also refuses any other form than the one of case 3.
#[test]
fn case_04_tags() {
    let peer = Peer::start(vec![]);
    let host = Host::start(config(&peer.endpoint()));
    let tags = [
        "".into(),
        "täg".into(),
        "x".repeat(32),
        "y".repeat(256),
        "z".repeat(70_000),
    ];
    for tag in &tags {
        assert_eq!(
            flush(&host.client, tag.as_bytes(), &entry(1, 0)),
            Flushed::Delivered
        );
    }
    let received: Vec<_> = peer.received().into_iter().map(|frame| frame.tag).collect();
    assert_eq!(received, tags.map(String::into_bytes));
}

#[test]
fn case_05_an_empty_chunk_is_delivered_without_a_peer() {
    let host = Host::start(config("127.0.0.1:9"));
    assert_eq!(host.flush(b""), Flushed::Delivered);
    assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
    assert_eq!(
        host.flush(b""),
        Flushed::Delivered,
        "also while the peer is known to be away"
    );
}

#[test]
fn case_08_and_10_compressed_frames() {
    let peer = Peer::start(vec![]);
    let mut config = config(&peer.endpoint());
    config.nodes[0].compression = Compression::Gzip;
    let host = Host::start(config);
    host.deliver(&chunk(0..2000, 1000));
    host.deliver(&entry(2000, 0));
    assert_eq!(peer.numbers(), (0..2001).collect::<Vec<_>>());
    let received = peer.received();
    let (last, compressed) = received.split_last().unwrap();
    for frame in compressed {
        assert_eq!(frame.compressed.as_deref(), Some("gzip"));
        assert!(frame.bytes < 100_000, "{} bytes", frame.bytes);
    }
    assert_eq!(last.compressed, None, "it would only become larger");
}

#[test]
fn extra_options_travel_with_every_frame() {
    let peer = Peer::start(vec![]);
    let mut config = config(&peer.endpoint());
    let (key, value) = (b"cluster".to_vec(), b"c-1".to_vec());
    let option = ExtraOption::new(key.clone(), value.clone()).unwrap();
    config.extra_options = [option].into();
    config.nodes[0].compression = Compression::Gzip;
    config.caps.frame = 2000;
    let host = Host::start(config);
    host.deliver(&chunk(0..10, 1000));
    let received = peer.received();
    assert!(received.len() > 1);
    for frame in received {
        assert!(frame.compressed.is_some());
        assert_eq!(frame.extra, [(key.clone(), value.clone())]);
    }
}

#[cfg(feature = "zstd")]
#[test]
fn case_09_zstd_frames() {
    let peer = Peer::start(vec![]);
    let mut config = config(&peer.endpoint());
    config.nodes[0].compression = Compression::Zstd;
    let host = Host::start(config);
    host.deliver(&chunk(0..5000, 1000));
    assert_eq!(peer.numbers(), (0..5000).collect::<Vec<_>>());
    let received = peer.received();
    assert!(received.len() > 5);
    assert!(
        received
            .iter()
            .all(|frame| frame.compressed.as_deref() == Some("zstd"))
    );
}

#[test]
fn case_11_and_13_frames_under_the_cap_with_ids_of_their_own() {
    let peer = Peer::start(vec![]);
    let mut config = config(&peer.endpoint());
    config.memory = 64 << 20;
    let host = Host::start(config);
    let count = 20_000_000 / (ENTRY as u32 + 3000);
    host.deliver(&chunk(0..count, 3000));
    assert_eq!(peer.numbers(), (0..count).collect::<Vec<_>>());
    let received = peer.received();
    assert_eq!(received.len(), 23);
    assert!(received.iter().all(|frame| frame.bytes <= 900_000));
    assert!(
        received
            .iter()
            .all(|frame| frame.id.len() == 24 && frame.id.ends_with(b"=="))
    );
    let ids: HashSet<_> = received.iter().map(|frame| &frame.id).collect();
    assert_eq!(ids.len(), received.len());
}

#[test]
fn case_12_large_records() {
    let peer = Peer::start(vec![]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    config.caps.record = 2000;
    let host = Host::start(config);
    let chunk = [entry(1, 0), entry(2, 1900), entry(3, 5000), entry(4, 0)].concat();
    assert_eq!(host.flush(&chunk), Flushed::Delivered);
    assert_eq!(peer.numbers(), [1, 2, 4]);
    let lost = host.notes.lost.lock().unwrap().clone();
    assert_eq!(
        lost,
        ["record 3 of the chunk has 5028 bytes, at most 2000 can be sent"]
    );
}

#[test]
fn case_22_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forward.sock");
    let peer = Peer::start_unix(&path, vec![]);
    let host = Host::start(config(&format!("unix:{}", path.display())));
    host.deliver(&chunk(0..1000, 1000));
    assert_eq!(peer.numbers(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn case_23_and_24_acks_in_every_shape() {
    let peer = Peer::start(vec![script(|connection| {
        while let Some(frame) = connection.frame() {
            match frame.numbers[0] {
                0 => ack(&frame.id)
                    .chunks(1)
                    .for_each(|byte| connection.send(byte)),
                1 => connection.send(&[b"\x81\xa3ack\xc4\x18", frame.id.as_slice()].concat()),
                2 => connection
                    .send(&[b"\x82\xa1x\x92\x01\x80\xa3ack\xb8", frame.id.as_slice()].concat()),
                _ => connection.ack(&frame.id),
            }
        }
    })]);
    let host = Host::start(config(&peer.endpoint()));
    for number in 0..4 {
        assert_eq!(host.flush(&entry(number, 0)), Flushed::Delivered);
    }
    assert_eq!(peer.connections(), 1);
}

/// One frame at a time would take a round trip each.
#[test]
fn case_63_the_window_hides_the_round_trip() {
    const WINDOW: usize = 16;
    let round_trip = Duration::from_millis(200);
    let peer = Peer::start(vec![script(move |connection| {
        let mut due = Vec::new();
        while let Some(frame) = connection.frame() {
            due.push((Instant::now() + round_trip, frame.id));
            if due.len() == WINDOW {
                for (at, id) in due.drain(..) {
                    std::thread::sleep(at.saturating_duration_since(Instant::now()));
                    connection.ack(&id);
                }
            }
        }
    })]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    config.limits.window = WINDOW;
    config.limits.ack_timeout = Duration::from_secs(5);
    let host = Host::start(config);
    let start = Instant::now();
    assert_eq!(host.flush(&chunk(0..64, 900)), Flushed::Delivered);
    let took = start.elapsed();
    assert_eq!(peer.received().len(), 64);
    assert!(took < round_trip * 64 / 10, "{took:?} for 64 frames");
}

/// Acknowledgements sent one by one with Nagle's algorithm, against delayed
/// TCP acknowledgements: 40 ms per flush, if nothing is done about it.
#[test]
fn case_63_nagle_does_not_slow_acks_down() {
    let peer = Peer::start(vec![script(|connection| {
        connection.use_nagle();
        connection.serve();
    })]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    let host = Host::start(config);
    let start = Instant::now();
    for number in 0..30 {
        assert_eq!(
            host.flush(&chunk(3 * number..3 * number + 3, 900)),
            Flushed::Delivered
        );
    }
    assert!(
        start.elapsed() < Duration::from_millis(30 * 25),
        "{:?}",
        start.elapsed()
    );
}

/// A flush that could not wait costs no duplicate.
#[test]
fn case_56_impatience_sends_nothing_twice() {
    let peer = Peer::start(vec![script(|connection| {
        while let Some(frame) = connection.frame() {
            std::thread::sleep(Duration::from_millis(250));
            connection.ack(&frame.id);
        }
    })]);
    let mut config = config(&peer.endpoint());
    config.flush_wait = Duration::from_millis(50);
    config.limits.ack_timeout = Duration::from_secs(5);
    let host = Host::start(config);
    let chunks: Vec<_> = (0..5).map(|number| entry(number, 0)).collect();
    for chunk in &chunks {
        let start = Instant::now();
        assert_eq!(host.flush(chunk), Flushed::Retry(Reason::UnderWay));
        let took = start.elapsed();
        assert!(took < Duration::from_millis(50 + 100), "{took:?}");
    }
    for chunk in chunks.iter().rev() {
        host.deliver(chunk);
    }
    assert_eq!(peer.numbers(), [0, 1, 2, 3, 4]);
    assert_eq!(
        host.prepared.load(Ordering::Relaxed),
        5,
        "each chunk is prepared once"
    );
    assert!(
        host.deliver(&chunks[0]) > 0,
        "the same bytes later are a new chunk"
    );
    assert_eq!(peer.numbers(), [0, 1, 2, 3, 4, 0]);
}

#[test]
fn shutdown_waits_for_what_is_under_way() {
    let peer = Peer::start(vec![script(|connection| {
        let frame = connection.frame().unwrap();
        std::thread::sleep(Duration::from_millis(150));
        connection.ack(&frame.id);
        connection.wait_for_end();
    })]);
    let mut config = config(&peer.endpoint());
    config.flush_wait = Duration::from_millis(20);
    config.limits.ack_timeout = Duration::from_secs(30);
    let host = Host::start(config);
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Retry(Reason::UnderWay));
    host.client.shutdown();
    assert_eq!(host.notes.acked.load(Ordering::Relaxed), 1);
}
