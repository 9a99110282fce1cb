//! A peer that fails in every way there is.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use kube_audit_forward::net::{
    Call, Client, ClientEvent, Count, Flushed, LostRecord, NodeState, Observer, Reason,
};
use kube_audit_forward::protocol::frames::Batch;
use kube_audit_forward::protocol::wire::Acks;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

use crate::host::{ENTRY, Host, Notes, chunk, config, entry, flush, until, wait};
use crate::peer::{Connection, Peer, Received, Script, ack, script};

/// A port on which nobody listens.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

/// Ids by record, of all frames that arrived.
fn ids_by_number(received: &[Received]) -> HashMap<u32, HashSet<Vec<u8>>> {
    let mut ids: HashMap<u32, HashSet<Vec<u8>>> = HashMap::new();
    for frame in received {
        for number in &frame.numbers {
            ids.entry(*number).or_default().insert(frame.id.clone());
        }
    }
    ids
}

/// Two frames in one chunk, to a peer whose first connection does what the
/// script says: both arrive, under stable ids, and a later chunk goes normally.
fn survives(first: Script) -> (Host, Peer) {
    let peer = Peer::start(vec![first]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    let host = Host::start(config);
    host.deliver(&chunk(0..2, 900));
    assert_eq!(host.flush(&entry(2, 0)), Flushed::Delivered);
    let ids = ids_by_number(&peer.received());
    assert_eq!(ids.len(), 3, "every record arrived");
    assert!(
        ids.values().all(|ids| ids.len() == 1),
        "ids are the same on resend: {ids:?}"
    );
    assert_eq!(host.prepared.load(Ordering::Relaxed), 2);
    assert_eq!(peer.connections(), 2, "{:?}", host.events());
    (host, peer)
}

/// Without a key the data may be on its way before the peer says that it wants one.
#[test]
fn case_19_a_peer_that_wants_a_shared_key() {
    let peer = Peer::start(
        (0..50)
            .map(|_| {
                script(|connection| {
                    connection.send(b"\x92\xa4HELO\x80");
                    connection.wait_for_end();
                })
            })
            .collect(),
    );
    let host = Host::start(config(&peer.endpoint()));
    until("it is said", || host.said("it wants a shared key"));
    assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
}

#[test]
fn case_29_refused_goes_to_the_next_endpoint() {
    let peer = Peer::start(vec![]);
    let host = Host::start(config(&format!("{}, {}", closed_port(), peer.endpoint())));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    assert!(host.said("cannot connect to"));
}

#[test]
fn case_29_refused_by_all_is_a_retry_in_time() {
    let mut config = config(&closed_port());
    config.flush_wait = Duration::from_millis(300);
    let host = Host::start(config);
    let start = Instant::now();
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Retry(Reason::UnderWay));
    let took = start.elapsed();
    let in_time = Duration::from_millis(300)..Duration::from_millis(600);
    assert!(in_time.contains(&took), "{took:?}");
}

#[test]
fn case_30_black_hole_goes_to_the_next_endpoint() {
    // A full backlog: the system drops further handshakes.
    let hole = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(
        &hole,
        &"127.0.0.1:0".parse::<std::net::SocketAddrV4>().unwrap(),
    )
    .unwrap();
    listen(&hole, 0).unwrap();
    let address: std::net::SocketAddr = getsockname(&hole).unwrap().try_into().unwrap();
    let _waiting: Vec<_> = (0..3)
        .map_while(|_| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok()
        })
        .collect();
    let peer = Peer::start(vec![]);
    let host = Host::start(config(&format!("{address}, {}", peer.endpoint())));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    until("the hole is reported", || host.said("no answer in time"));
}

#[test]
fn case_31_accepts_but_never_reads() {
    let peer = Peer::start(vec![script(|_| sleep(Duration::from_secs(3)))]);
    let mut config = config(&peer.endpoint());
    config.memory = 64 << 20;
    config.caps.frame = 64 << 20;
    let host = Host::start(config);
    // One frame, and more than the buffers of both ends take.
    let count = 20_000_000 / (ENTRY as u32 + 3000);
    host.deliver(&chunk(0..count, 3000));
    assert_eq!(peer.numbers(), (0..count).collect::<Vec<_>>());
    assert!(
        host.said("the peer took no byte within 300ms"),
        "{:?}",
        host.events()
    );
}

#[test]
fn case_32_reads_but_never_acks() {
    let (host, peer) = survives(script(|connection| while connection.frame().is_some() {}));
    assert!(
        host.said("no acknowledgement within 300ms"),
        "{:?}",
        host.events()
    );
    assert_eq!(peer.numbers(), [0, 1, 1, 0, 2], "the suspect comes last");
}

#[test]
fn case_32_never_acks_on_any_connection() {
    let silent = || script(|connection| while connection.frame().is_some() {});
    let peer = Peer::start((0..1000).map(|_| silent()).collect());
    let mut config = config(&peer.endpoint());
    config.limits.ack_timeout = Duration::from_millis(50);
    config.flush_wait = Duration::from_millis(100);
    let host = Host::start(config);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let start = Instant::now();
        let flushed = host.flush(&entry(0, 0));
        assert!(
            start.elapsed() < Duration::from_millis(300),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(
            flushed,
            Flushed::Retry(Reason::UnderWay),
            "it is not its fault"
        );
        sleep(Duration::from_millis(5));
    }
    assert_eq!(
        ids_by_number(&peer.received())[&0].len(),
        1,
        "always the same id"
    );
    let start = Instant::now();
    host.client.shutdown();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

/// A time-out grows and costs a window of duplicates once: then a frame at a time.
/// As Logstash does without `nanosecond_precision`.
#[test]
fn a_receiver_that_closes_over_each_first_frame_is_told_of() {
    let peer = Peer::start(
        (0..1000)
            .map(|_| script(|connection| drop(connection.frame())))
            .collect(),
    );
    let host = Host::start(config(&peer.endpoint()));
    host.flush(&entry(0, 0));
    until("the cause is guessed", || {
        host.said("set `Time_as_Integer on`")
    });
    assert!(peer.received().len() >= 2, "not after the first time");
}

#[test]
fn case_32_a_stuck_receiver_gets_few_duplicates() {
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let stuck = || {
        let times = Arc::clone(&times);
        script(move |connection: &mut Connection| {
            times.lock().unwrap().push(Instant::now());
            while connection.frame().is_some() {}
        })
    };
    let peer = Peer::start((0..3).map(|_| stuck()).collect());
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    config.limits.ack_timeout = Duration::from_millis(200);
    config.flush_wait = Duration::from_secs(10);
    let host = Host::start(config);
    host.deliver(&chunk(0..40, 900));
    let arrived = |connection: usize| {
        let frames = peer.received().into_iter();
        frames
            .filter(|frame| frame.connection == connection)
            .count()
    };
    assert_eq!([0, 1, 2].map(arrived), [16, 1, 1]);
    assert_eq!(arrived(3), 40);
    let times = times.lock().unwrap();
    let waited: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        waited[1] > waited[0] + Duration::from_millis(150),
        "{waited:?}"
    );
    assert!(host.said("has never acknowledged a frame"));
}

/// Fluentd's `in_unix` never acknowledges.
#[test]
fn case_32_a_receiver_that_cannot_acknowledge() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("forward.sock");
    let silent = || script(|connection: &mut Connection| while connection.frame().is_some() {});
    let _peer = Peer::start_unix(&path, (0..100).map(|_| silent()).collect());
    let mut config = config(&format!("unix:{}", path.display()));
    config.limits.ack_timeout = Duration::from_millis(50);
    let host = Host::start(config);
    assert_ne!(host.flush(&entry(0, 0)), Flushed::Delivered);
    assert!(
        host.said("set `Require_ack_response off`"),
        "{:?}",
        host.events()
    );
}

/// Fluentd with `deny_keepalive`: it takes what it has read, acknowledges one frame
/// and closes, also by reset.
#[test]
fn case_17_a_receiver_that_closes_after_each_acknowledgement() {
    for resets in [false, true] {
        let closes = || {
            script(move |connection: &mut Connection| {
                let Some(frame) = connection.frame() else {
                    return;
                };
                connection.ack(&frame.id);
                while connection.whole_frame().is_some() {}
                if resets {
                    connection.reset();
                }
            })
        };
        let peer = Peer::start((0..10_000).map(|_| closes()).collect());
        let mut config = config(&peer.endpoint());
        config.caps.frame = 1000;
        let host = Host::start(config);
        let start = Instant::now();
        for first in (0..500).step_by(50) {
            host.deliver(&chunk(first..first + 50, 900));
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?} for 500 frames");
        let copies = peer.numbers().len();
        assert!(copies <= 500 + 2 * 16, "{copies} copies of 500 records");
        assert!(host.said("sending one frame per connection"));
        assert!(!host.said("does not accept"), "{:?}", host.events());
        assert!(!host.said("splitting it"), "{:?}", host.events());
        let before = peer.numbers().len();
        host.deliver(&chunk(500..550, 900));
        assert_eq!(peer.numbers().len(), before + 50, "no duplicate any more");
    }
}

/// The acknowledgement of a frame is read though writing the next one fails.
#[test]
fn case_39_acknowledgements_before_a_reset_count() {
    let peer = Peer::start(vec![script(|connection: &mut Connection| {
        let frame = connection.frame().unwrap();
        connection.ack(&frame.id);
        connection.reset();
    })]);
    let mut config = config(&peer.endpoint());
    config.memory = 64 << 20;
    config.caps.frame = 4 << 20;
    let host = Host::start(config);
    // The second frame is still being written when the reset comes.
    let chunk = [entry(0, 0), entry(1, 5 << 20)].concat();
    host.deliver(&chunk);
    let numbers = peer.numbers();
    assert_eq!(numbers.iter().filter(|number| **number == 0).count(), 1);
}

/// What was acknowledged of a chunk is known when the host brings it again, though
/// its memory was needed for another one.
#[test]
fn acknowledged_records_do_not_come_again_for_want_of_memory() {
    let peer = Peer::start(vec![script(|connection: &mut Connection| {
        let frame = connection.frame().unwrap();
        connection.frame();
        connection.send(&[ack(&frame.id), b"\x80".to_vec()].concat());
        connection.wait_for_end();
    })]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    config.memory = 2000;
    let host = Host::start(config);
    let first = chunk(0..2, 900);
    assert_eq!(host.flush(&first), Flushed::Retry(Reason::GivenBack));
    host.deliver(&chunk(2..4, 900));
    host.deliver(&first);
    assert_eq!(peer.numbers(), [0, 1, 2, 3, 1]);
    let ids = ids_by_number(&peer.received());
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

/// Without acknowledgements a frame is delivered once it is written, and one that
/// a connection took in part is sent again.
#[test]
fn case_38_without_acknowledgements() {
    let lengths: Arc<Mutex<Vec<usize>>> = Arc::default();
    let sink = Arc::clone(&lengths);
    let reads = script(move |connection| {
        while let Some(length) = connection.read(1 << 16) {
            sink.lock().unwrap().push(length);
        }
    });
    let closes = script(|connection| {
        connection.read(1000);
        connection.reset();
    });
    let peer = Peer::start(vec![closes, reads]);
    let mut config = config(&peer.endpoint());
    config.limits.acks = Acks::Waived;
    config.memory = 64 << 20;
    config.caps.frame = 64 << 20;
    let host = Host::start(config);
    // More than the buffers of both ends take.
    let large = chunk(0..7000, 3000);
    host.deliver(&large);
    assert_eq!(host.flush(&entry(7000, 0)), Flushed::Delivered);
    // The large frame may have been too large: it comes in smaller ones.
    let entries = large.len() + ENTRY;
    let taken = || lengths.lock().unwrap().iter().sum::<usize>();
    until("all is there", || taken() > entries);
    sleep(Duration::from_millis(50));
    let overhead = taken() - entries;
    assert!(overhead < 2000, "{overhead} bytes: nothing comes twice");
    assert_eq!(peer.connections(), 2, "{:?}", host.events());
}

#[test]
fn case_34_ack_after_the_timeout() {
    survives(script(|connection| {
        let frames: Vec<_> = (0..2).map_while(|_| connection.frame()).collect();
        sleep(Duration::from_millis(320));
        for frame in frames {
            connection.ack(&frame.id);
        }
        connection.wait_for_end();
    }));
}

#[test]
fn case_35_wrong_ack_id_once() {
    let (host, _) = survives(script(|connection| {
        connection.frame();
        connection.ack(b"AAAAAAAAAAAAAAAAAAAAAA==");
        connection.serve();
    }));
    assert!(
        host.said("acknowledged frame `AAAAAAAAAAAAAAAAAAAAAA==`"),
        "{:?}",
        host.events()
    );
}

#[test]
fn case_36_out_of_order_is_fine() {
    let peer = Peer::start(vec![script(|connection| {
        let frames: Vec<_> = (0..2).map_while(|_| connection.frame()).collect();
        for frame in frames.iter().rev() {
            connection.ack(&frame.id);
        }
        connection.serve();
    })]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    let host = Host::start(config);
    assert_eq!(host.flush(&chunk(0..2, 900)), Flushed::Delivered);
    assert_eq!(host.flush(&entry(2, 0)), Flushed::Delivered);
    assert_eq!((peer.numbers(), peer.connections()), (vec![0, 1, 2], 1));
}

#[test]
fn case_36_ack_twice() {
    let (_, peer) = survives(script(|connection| {
        let frame = connection.frame().unwrap();
        connection.frame();
        connection.send(&[ack(&frame.id), ack(&frame.id)].concat());
        connection.wait_for_end();
    }));
    assert_eq!(
        peer.numbers(),
        [0, 1, 1, 2],
        "what was acknowledged is not sent again"
    );
}

#[test]
fn case_37_refused_is_given_back_and_keeps_what_was_acked() {
    let peer = Peer::start(vec![script(|connection| {
        let frame = connection.frame().unwrap();
        connection.frame();
        connection.send(&[ack(&frame.id), b"\x80".to_vec()].concat());
        connection.wait_for_end();
    })]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    let host = Host::start(config);
    assert_eq!(
        host.flush(&chunk(0..2, 900)),
        Flushed::Retry(Reason::GivenBack)
    );
    sleep(Duration::from_millis(100));
    assert_eq!(peer.numbers(), [0, 1], "it waits for the host");
    assert_eq!(host.deliver(&chunk(0..2, 900)), 0);
    assert_eq!(peer.numbers(), [0, 1, 1]);
    assert_eq!(host.prepared.load(Ordering::Relaxed), 1);
}

#[test]
fn case_38_reset_in_the_middle_of_a_frame() {
    let (_, peer) = survives(script(|connection| {
        connection.read(500);
        connection.reset();
    }));
    assert_eq!(peer.numbers().len(), 3, "the torso is no frame");
}

#[test]
fn case_39_end_after_half_of_the_window() {
    let (_, peer) = survives(script(|connection| {
        let frame = connection.frame().unwrap();
        connection.frame();
        connection.ack(&frame.id);
    }));
    assert_eq!(peer.numbers(), [0, 1, 1, 2]);
}

#[test]
fn case_39_end_without_an_ack() {
    survives(script(|connection| {
        connection.frame();
        connection.frame();
    }));
}

#[test]
fn case_40_closed_while_idle() {
    let peer = Peer::start(vec![script(|connection| {
        let frame = connection.frame().unwrap();
        connection.ack(&frame.id);
    })]);
    let host = Host::start(config(&peer.endpoint()));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    until("the end is seen", || {
        host.said("closed the idle connection")
    });
    assert_eq!(host.flush(&entry(1, 0)), Flushed::Delivered);
    assert_eq!(
        host.notes.resent.load(Ordering::Relaxed),
        0,
        "seen before it was used"
    );
    assert_eq!(peer.connections(), 2);
}

#[test]
fn case_40_closed_under_a_frame() {
    let peer = Peer::start(vec![script(|connection| {
        let frame = connection.frame().unwrap();
        connection.ack(&frame.id);
        // The next frame is in the socket when it closes.
        connection.read(1);
    })]);
    let host = Host::start(config(&peer.endpoint()));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    assert_eq!(
        host.flush(&entry(1, 0)),
        Flushed::Delivered,
        "the host does not notice"
    );
    assert_eq!(host.notes.resent.load(Ordering::Relaxed), 1);
}

/// A load balancer has forgotten the connection: nothing comes back, not even a reset.
#[test]
fn case_41_an_idle_connection_is_dropped_without_a_word() {
    let peer = Peer::start(vec![script(|connection| {
        let frame = connection.frame().unwrap();
        connection.ack(&frame.id);
        sleep(Duration::from_secs(5));
    })]);
    let host = Host::start(config(&peer.endpoint()));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    sleep(Duration::from_millis(100));
    assert_eq!(
        host.flush(&entry(1, 0)),
        Flushed::Delivered,
        "the host does not notice"
    );
    assert!(
        host.said("no acknowledgement within 300ms"),
        "{:?}",
        host.events()
    );
    assert_eq!((peer.numbers(), peer.connections()), (vec![0, 1], 2));
    assert_eq!(host.notes.resent.load(Ordering::Relaxed), 1);
}

#[test]
fn case_42_restart_between_every_frame() {
    let mut peer = Peer::start(vec![]);
    let address = peer.address;
    let host = Host::start(config(&peer.endpoint()));
    let mut numbers = Vec::new();
    for number in 0..10 {
        host.deliver(&entry(number, 0));
        peer.stop();
        numbers.extend(peer.numbers());
        peer = Peer::start_at(address, vec![]);
    }
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

/// Fluentd whose buffer is full raises BufferOverflowError and closes without an
/// acknowledgement, until something has left the buffer. It is a scripted one: no
/// package registry has Fluentd itself.
#[test]
fn case_44_a_receiver_whose_buffer_overflows() {
    let room = Arc::new(AtomicUsize::new(3));
    let fluentd = || {
        let room = Arc::clone(&room);
        script(move |connection| {
            let takes = |room: usize| room.checked_sub(1);
            while let Some(frame) = connection.frame() {
                let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
                if room.fetch_update(set, fetch, takes).is_err() {
                    return;
                }
                connection.ack(&frame.id);
            }
        })
    };
    let peer = Peer::start((0..1000).map(|_| fluentd()).collect());
    let mut config = config(&peer.endpoint());
    config.flush_wait = Duration::from_millis(20);
    let host = Host::start(config);
    let chunks: Vec<_> = (0..10).map(|number| entry(number, 0)).collect();
    let mut delivered = vec![false; chunks.len()];
    let mut flush_all = || {
        for (chunk, delivered) in chunks.iter().zip(&mut delivered) {
            *delivered = *delivered || host.flush(chunk) == Flushed::Delivered;
        }
        delivered.iter().filter(|delivered| **delivered).count()
    };
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(flush_all() <= 3, "there is no room for more");
        sleep(Duration::from_millis(10));
    }
    let tried = peer.connections();
    assert!((3..25).contains(&tried), "{tried} connections");
    room.store(1000, Ordering::Relaxed);
    until("the rest is delivered", || flush_all() == 10);
    assert_eq!(peer.acked(), (0..10).collect());
    let ids = ids_by_number(&peer.received());
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

/// The peer closes whenever it sees record 5, as Fluent Bit does with a frame
/// that is too large for it.
/// As Fluentd above its `chunk_size_limit`: the frame is not stored, and nothing is said.
/// A small frame behind it is acknowledged, which says it.
#[test]
fn case_47_a_skipped_frame_is_noticed_by_the_next_one() {
    let limit = || {
        script(|connection| {
            while let Some(frame) = connection.frame() {
                if frame.bytes <= 60_000 {
                    connection.ack(&frame.id);
                }
            }
        })
    };
    let peer = Peer::start((0..10).map(|_| limit()).collect());
    let mut config = config(&peer.endpoint());
    config.limits.ack_timeout = Duration::from_secs(60);
    config.flush_wait = Duration::from_secs(15);
    config.caps.frame = 200_000;
    let host = Host::start(config);
    let flushed = host.flush(&chunk(0..4000, 100));
    assert_eq!(flushed, Flushed::Delivered, "{:?}", host.events());
    assert!(host.said("the peer skipped a frame"));
    assert!(host.said("chunk_size_limit"), "{:?}", host.events());
    let acked = peer.acked_times();
    assert!((0..4000).all(|number| acked.get(&number) == Some(&1)));
}

/// Panics when the first frame is sent.
#[derive(Default)]
struct Trap {
    notes: Notes,
    sprung: AtomicBool,
}

impl Observer for Trap {
    fn event(&self, event: &ClientEvent, suppressed: u64) {
        self.notes.event(event, suppressed);
    }

    fn record_lost(&self, _: &LostRecord, _: &[u8]) {}

    fn count(&self, count: Count) {
        if matches!(count, Count::FrameSent(_)) {
            assert!(self.sprung.swap(true, Ordering::Relaxed), "the trap");
        }
    }

    fn node(&self, _: usize, _: NodeState) {}
}

/// An internal error of the thread ends what is in flight, and not the delivery.
#[test]
fn the_thread_begins_anew_after_a_panic() {
    let peer = Peer::start(vec![]);
    let trap = Arc::new(Trap::default());
    let prepare = |tag: &[u8], chunk: &[u8]| {
        vec![Batch {
            tag: tag.to_vec(),
            entries: chunk.to_vec(),
            ends: vec![chunk.len()],
        }]
    };
    let observer = Arc::clone(&trap) as Arc<dyn Observer>;
    let client = Client::start(config(&peer.endpoint()), prepare, observer).unwrap();
    let first = flush(&client, b"t", &entry(1, 0));
    assert!(matches!(first, Flushed::Retry(_)), "{first:?}");
    until("it is delivered", || {
        flush(&client, b"t", &entry(1, 0)) == Flushed::Delivered
    });
    assert_eq!(peer.acked(), [1].into());
    let events = trap.notes.events.lock().unwrap();
    let said = |line: &String| line.starts_with("internal error of the sender");
    assert!(events.iter().any(said), "{events:?}");
}

/// A receiver that needs long for a large frame gets one small frame more, and no frame
/// twice.
#[test]
fn case_62_a_frame_that_takes_long_is_not_a_skipped_one() {
    let peer = Peer::start(vec![script(|connection| {
        while let Some(frame) = connection.frame() {
            sleep(Duration::from_millis(if frame.bytes > 60_000 {
                3000
            } else {
                0
            }));
            connection.ack(&frame.id);
        }
    })]);
    let mut config = config(&peer.endpoint());
    config.limits.ack_timeout = Duration::from_secs(60);
    config.flush_wait = Duration::from_secs(15);
    let host = Host::start(config);
    assert_eq!(host.flush(&chunk(0..12_000, 100)), Flushed::Delivered);
    assert_eq!(peer.numbers().len(), 12_000);
    assert_eq!(peer.connections(), 1, "{:?}", host.events());
}

#[test]
fn case_46_one_poisonous_chunk_does_not_hold_up_the_others() {
    let allergic = || {
        script(|connection| {
            while let Some(frame) = connection.frame().filter(|frame| frame.numbers != [5]) {
                connection.ack(&frame.id);
            }
        })
    };
    let peer = Peer::start((0..1000).map(|_| allergic()).collect());
    let mut config = config(&peer.endpoint());
    config.flush_wait = Duration::from_millis(100);
    let host = Host::start(config);
    for number in 0..10 {
        match number {
            5 => assert_ne!(host.flush(&entry(5, 0)), Flushed::Delivered),
            _ => drop(host.deliver(&entry(number, 0))),
        }
    }
    until("it is given back", || host.said("does not accept a frame"));
    assert!(
        peer.connections() < 20,
        "{} connections",
        peer.connections()
    );
}

#[test]
fn case_48_names() {
    let peer = Peer::start(vec![]);
    let port = peer.address.port();
    let host = Host::start(config(&format!(
        "no-such-name.invalid:{port}, localhost:{port}"
    )));
    host.deliver(&entry(0, 0));
    // The other name may be quicker.
    until("the first one is named", || {
        host.said("cannot connect to no-such-name.invalid")
    });
    assert!(
        host.said(&format!("connected to localhost:{port} (127.0.0.1)")),
        "{:?}",
        host.events()
    );
}

#[test]
fn case_56_a_stuck_peer_does_not_hold_up_the_host() {
    let peer = Peer::start(
        (0..100)
            .map(|_| script(|_| sleep(Duration::from_secs(10))))
            .collect(),
    );
    let mut config = config(&peer.endpoint());
    config.flush_wait = Duration::from_millis(300);
    config.limits.ack_timeout = Duration::from_secs(30);
    let host = Host::start(config);
    let start = Instant::now();
    let chunks: Vec<_> = (0..50).map(|number| entry(number, 0)).collect();
    let mut calls = Vec::new();
    for chunk in &chunks {
        match host.client.flush(b"kube.audit", chunk) {
            Flushed::Waits(call) => calls.push(call),
            other => panic!("{other:?}"),
        }
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(200), "{took:?} for 50 flushes");
    let mut ready = Vec::new();
    while ready.len() < 50 {
        wait(host.client.signal());
        ready.extend(host.client.ready());
    }
    assert_eq!(ready, calls);
    for (call, chunk) in calls.into_iter().zip(&chunks) {
        let flushed = host.client.resume(call, b"kube.audit", chunk);
        assert_eq!(flushed, Flushed::Retry(Reason::UnderWay));
    }
    let took = start.elapsed();
    let in_time = Duration::from_millis(300)..Duration::from_millis(900);
    assert!(in_time.contains(&took), "{took:?} until all had ended");
    let start = Instant::now();
    host.client.shutdown();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?} to shut down",
        start.elapsed()
    );
}

#[test]
fn case_59_a_long_outage() {
    let address = closed_port();
    let mut config = config(&address);
    config.memory = 10_000;
    // Each chunk is flushed in vain, and the backoff must stay shorter than `deliver`.
    config.flush_wait = Duration::from_millis(20);
    let host = Host::start(config);
    let chunks: Vec<_> = (0..100).map(|number| entry(number, 1000)).collect();
    let end = Instant::now() + Duration::from_secs(1);
    let mut full = 0;
    while Instant::now() < end {
        for chunk in &chunks {
            full += usize::from(host.flush(chunk) == Flushed::Retry(Reason::Full));
        }
        sleep(Duration::from_millis(20));
    }
    assert!(full > 0, "what is held is bounded");
    let taken = host.prepared.load(Ordering::Relaxed);
    assert!(
        (2..10).contains(&taken),
        "{taken} chunks of 1028 bytes in 10000"
    );
    let peer = Peer::start_at(address.parse().unwrap(), vec![]);
    for chunk in &chunks {
        host.deliver(chunk);
    }
    let mut numbers = peer.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "each once");
    assert!(host.events().len() < 10, "{:?}", host.events());
}

/// What a load balancer without backends does.
#[test]
fn case_59_accepted_and_closed_at_once() {
    let peer = Peer::start((0..10_000).map(|_| script(|_| ())).collect());
    let host = Host::start(config(&peer.endpoint()));
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
        sleep(Duration::from_millis(5));
    }
    assert!(
        peer.connections() < 20,
        "{} connections",
        peer.connections()
    );
}

#[test]
fn case_60_a_short_outage_needs_no_second_try_of_the_host() {
    let address = closed_port();
    let host = Host::start(config(&address));
    let restarted = spawn(move || {
        sleep(Duration::from_millis(300));
        Peer::start_at(address.parse().unwrap(), vec![])
    });
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    assert_eq!(restarted.join().unwrap().numbers(), [0]);
}

/// What is handed over while nothing is delivered waits in the host, in order, and
/// holds it up once; while things are delivered, the host goes at their pace.
#[test]
fn no_more_is_taken_than_there_is_room_for() {
    let (release, held) = mpsc::channel::<()>();
    let peer = Peer::start(vec![script(move |connection| {
        let _ = held.recv();
        while let Some(frame) = connection.frame() {
            sleep(Duration::from_millis(10));
            connection.ack(&frame.id);
        }
    })]);
    let mut config = config(&peer.endpoint());
    config.memory = 3 * 1028;
    config.limits.ack_timeout = Duration::from_secs(30);
    let host = Host::start(config);
    let chunks: Vec<_> = (0..20).map(|number| entry(number, 1000)).collect();
    let mut calls: Vec<(usize, Call)> = Vec::new();
    let mut delivered = 0;
    let go_on = |calls: &mut Vec<(usize, Call)>, delivered: &mut usize| {
        for call in host.client.ready() {
            let place = calls.iter().position(|(_, other)| *other == call).unwrap();
            let number = calls[place].0;
            match host.client.resume(call, b"kube.audit", &chunks[number]) {
                Flushed::Delivered => {
                    calls.remove(place);
                    *delivered += 1;
                }
                Flushed::Waits(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let begin = |number: usize| match host.client.flush(b"kube.audit", &chunks[number]) {
        Flushed::Waits(call) => (number, call),
        other => panic!("{other:?}"),
    };
    let start = Instant::now();
    calls.extend((0..10).map(begin));
    let took = start.elapsed();
    let once = Duration::from_millis(50)..Duration::from_millis(300);
    assert!(once.contains(&took), "{took:?}");
    assert_eq!(host.prepared.load(Ordering::Relaxed), 3);
    release.send(()).unwrap();
    while delivered < 10 {
        wait(host.client.signal());
        go_on(&mut calls, &mut delivered);
    }
    let start = Instant::now();
    calls.extend((10..20).map(begin));
    let took = start.elapsed();
    assert!(took > Duration::from_millis(60), "{took:?}");
    while delivered < 20 {
        wait(host.client.signal());
        go_on(&mut calls, &mut delivered);
    }
    assert_eq!(peer.numbers(), (0..20).collect::<Vec<_>>());
}

#[test]
fn case_62_a_slow_peer_is_not_a_dead_one() {
    let peer = Peer::start(vec![script(|connection| {
        // 2 MB at about 1 MB/s, in frames of 100 KB: each in time, all of them not.
        let mut taken = 0;
        while connection.read(10_000).is_some() {
            taken += 1;
            if taken > 0 {
                sleep(Duration::from_millis(10));
            }
            while let Some(frame) = connection.whole_frame() {
                connection.ack(&frame.id);
            }
        }
    })]);
    let mut config = config(&peer.endpoint());
    config.caps.frame = 100_000;
    let host = Host::start(config);
    let count = 2_000_000 / (ENTRY as u32 + 3000);
    host.deliver(&chunk(0..count, 3000));
    assert_eq!(peer.numbers(), (0..count).collect::<Vec<_>>());
    assert_eq!(peer.connections(), 1, "{:?}", host.events());
}

#[test]
fn case_64_unsolicited_bytes() {
    let peer = Peer::start(vec![script(|connection| {
        let frame = connection.frame().unwrap();
        connection.send(&[ack(&frame.id), b"\x81".to_vec()].concat());
        connection.wait_for_end();
    })]);
    let host = Host::start(config(&peer.endpoint()));
    assert_eq!(host.flush(&entry(0, 0)), Flushed::Delivered);
    until("the peer is not trusted", || {
        host.said("bytes while no reply was due")
    });
    host.deliver(&entry(1, 0));
    assert_eq!((peer.numbers(), peer.connections()), (vec![0, 1], 2));
}

/// Everything at random for a few seconds: nothing is lost.
#[test]
fn case_65_random_faults() {
    let faults = Arc::new(AtomicUsize::new(0));
    let scripts = (0..10_000).map(|number: u32| {
        let faults = Arc::clone(&faults);
        script(move |connection| {
            let mut frames = 0;
            while let Some(frame) = connection.frame() {
                frames += 1;
                if frames % (1 + number % 7) != 0 {
                    connection.ack(&frame.id);
                    continue;
                }
                faults.fetch_add(1, Ordering::Relaxed);
                match number % 6 {
                    0 => return,
                    1 => connection.ack(b"wrong"),
                    2 => (0..2).for_each(|_| connection.ack(&frame.id)),
                    3 => return connection.reset(),
                    4 => connection.send(&ack(&frame.id)[..10]),
                    _ => connection.send(b"\x80"),
                }
            }
        })
    });
    let peer = Peer::start(scripts.collect());
    let mut config = config(&peer.endpoint());
    config.caps.frame = 1000;
    config.limits.ack_timeout = Duration::from_millis(20);
    config.flush_wait = Duration::from_millis(100);
    let host = Host::start(config);
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(3) {
        host.deliver(&chunk(sent..sent + 20, 400));
        sent += 20;
        let acked = peer.acked();
        assert!((sent - 20..sent).all(|number| acked.contains(&number)));
    }
    assert!(faults.load(Ordering::Relaxed) > 10);
    let received = peer.received();
    assert!(ids_by_number(&received).values().all(|ids| ids.len() == 1));
}
