//! Several receivers, and names with several addresses.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kube_audit_forward::net::{Config, Delivery, Flushed, NodeState, Resolver, Role};

use crate::host::{Host, chunk, config, entry, until};
use crate::peer::{Connection, Peer, Script, script};

fn endpoints(peers: &[&Peer]) -> Config {
    let endpoints: Vec<_> = peers.iter().map(|peer| peer.endpoint()).collect();
    config(&endpoints.join(","))
}

/// So many connections that read everything and acknowledge nothing.
fn silent(connections: usize) -> Vec<Script> {
    (0..connections)
        .map(|_| script(|connection| while connection.frame().is_some() {}))
        .collect()
}

/// Numbers of all records that arrived anywhere, sorted.
fn arrived(peers: &[&Peer]) -> Vec<u32> {
    let mut numbers: Vec<_> = peers.iter().flat_map(|peer| peer.numbers()).collect();
    numbers.sort_unstable();
    numbers
}

fn ids(peers: &[&Peer], number: u32) -> HashSet<Vec<u8>> {
    let frames = peers.iter().flat_map(|peer| peer.received());
    let frames = frames.filter(|frame| frame.numbers.contains(&number));
    frames.map(|frame| frame.id).collect()
}

#[test]
fn case_33_one_of_two_never_acks() {
    let (mute, peer) = (Peer::start(silent(1000)), Peer::start(vec![]));
    let mut config = endpoints(&[&mute, &peer]);
    config.limits.ack_timeout = Duration::from_secs(30);
    config.suspect_after = Duration::from_millis(500);
    let host = Host::start(config);
    let start = Instant::now();
    for number in 0..100 {
        assert_eq!(host.flush(&entry(number, 0)), Flushed::Delivered);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let mut numbers = peer.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    for number in 0..100 {
        assert_eq!(ids(&[&mute, &peer], number).len(), 1);
    }
    assert!(host.said("no progress from"), "{:?}", host.events());
    assert!(mute.received().len() < 20, "it gets one frame per trial");
    assert!(mute.connections() < 20, "{}", mute.connections());
}

/// A proven node that falls silent loses its frames to the other one.
#[test]
fn case_33_one_of_two_falls_silent() {
    let turncoat = script(|connection| {
        for _ in 0..20 {
            let Some(frame) = connection.frame() else {
                return;
            };
            connection.ack(&frame.id);
        }
        while connection.frame().is_some() {}
    });
    let falls = Peer::start(
        [vec![turncoat], silent(1000)]
            .into_iter()
            .flatten()
            .collect(),
    );
    let peer = Peer::start(vec![]);
    let mut config = endpoints(&[&falls, &peer]);
    config.limits.ack_timeout = Duration::from_secs(30);
    config.failover_after = Duration::from_millis(500);
    config.caps.frame = 1000;
    let host = Host::start(config);
    for number in (0..500).step_by(10) {
        host.deliver(&chunk(number..number + 10, 400));
    }
    let acked: HashSet<_> = falls.acked().union(&peer.acked()).copied().collect();
    assert_eq!(acked.len(), 500);
    assert!((0..500).all(|number| ids(&[&falls, &peer], number).len() == 1));
}

#[test]
fn case_39_unacked_frames_go_elsewhere_in_the_same_flush() {
    let closes = Peer::start(
        (0..1000)
            .map(|_| script(|connection| drop(connection.frame())))
            .collect(),
    );
    let peer = Peer::start(vec![]);
    let mut config = endpoints(&[&closes, &peer]);
    config.caps.frame = 1000;
    let host = Host::start(config);
    for number in (0..100).step_by(10) {
        let flushed = host.flush(&chunk(number..number + 10, 400));
        assert_eq!(flushed, Flushed::Delivered);
    }
    let mut numbers = peer.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert!((0..100).all(|number| ids(&[&closes, &peer], number).len() == 1));
}

/// As Fluentd with several workers: each connection belongs to one of them.
fn workers(count: usize, serve: impl Fn(usize, &mut Connection) + Send + Sync + 'static) -> Peer {
    let serve = Arc::new(serve);
    let worker = |number| {
        let serve = Arc::clone(&serve);
        script(move |connection| serve(number, connection))
    };
    Peer::start((0..count).map(worker).collect())
}

/// Time that occupies a worker, so that another connection is worth while.
const WORK: Duration = Duration::from_millis(70);

/// A single worker may accept all connections that come at once.
#[test]
fn further_connections_are_made_while_the_receiver_is_occupied() {
    let peer = workers(4, |_, connection| {
        while let Some(frame) = connection.frame() {
            sleep(frame.numbers.len().saturating_sub(1) as u32 * 4 * WORK);
            connection.ack(&frame.id);
        }
    });
    let mut config = config(&peer.endpoint());
    config.connections = NonZeroUsize::new(4).unwrap();
    config.limits.ack_timeout = Duration::from_secs(10);
    let host = Host::start(config);
    for number in 0..20 {
        host.deliver(&entry(number, 0));
    }
    assert_eq!(peer.connections(), 1, "it was never occupied");
    host.deliver(&chunk(20..22, 0));
    assert_eq!(peer.connections(), 2);
    host.deliver(&chunk(22..24, 0));
    assert_eq!(peer.connections(), 2, "one of the two was free");
}

#[test]
fn several_connections_share_the_frames() {
    let counts: Arc<[AtomicUsize; 4]> = Arc::default();
    let counters = Arc::clone(&counts);
    let peer = workers(4, move |worker, connection| {
        while let Some(frame) = connection.frame() {
            counters[worker].fetch_add(frame.numbers.len(), Ordering::Relaxed);
            sleep(WORK);
            connection.ack(&frame.id);
        }
    });
    let mut config = config(&peer.endpoint());
    config.connections = NonZeroUsize::new(4).unwrap();
    config.caps.frame = 1000;
    let host = Host::start(config);
    for number in (0..2000).step_by(50) {
        host.deliver(&chunk(number..number + 50, 400));
    }
    assert_eq!(arrived(&[&peer]), (0..2000).collect::<Vec<_>>());
    let counts: Vec<_> = counts
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect();
    assert!(
        counts.iter().all(|count| (350..800).contains(count)),
        "{counts:?}"
    );
    assert_eq!(peer.connections(), 4, "{:?}", host.events());
    assert_eq!(host.node(0), Some(NodeState::Up));
}

/// Slow workers are no fault: no frame goes over two connections to one receiver.
#[test]
fn several_connections_to_a_slow_receiver_send_nothing_twice() {
    let peer = workers(3, |_, connection| {
        while let Some(frame) = connection.frame() {
            sleep(Duration::from_millis(300));
            connection.ack(&frame.id);
        }
    });
    let mut config = config(&peer.endpoint());
    config.connections = NonZeroUsize::new(3).unwrap();
    config.suspect_after = Duration::from_millis(10);
    config.failover_after = Duration::from_millis(20);
    config.limits.ack_timeout = Duration::from_secs(10);
    config.flush_wait = Duration::from_secs(10);
    config.caps.frame = 1000;
    let host = Host::start(config);
    for number in (0..20).step_by(4) {
        host.deliver(&chunk(number..number + 4, 400));
    }
    assert_eq!(peer.connections(), 3);
    assert_eq!(arrived(&[&peer]), (0..20).collect::<Vec<_>>());
    assert_eq!(host.notes.resent.load(Ordering::Relaxed), 0);
    assert!(!host.said("no progress from"), "{:?}", host.events());
}

/// The limit of a receiver is that of all its workers.
#[test]
fn what_one_connection_learns_holds_for_the_others() {
    let rejected = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rejected);
    let peer = workers(100, move |_, connection| {
        while let Some(frame) = connection.frame() {
            if frame.bytes > 60_000 {
                counter.fetch_add(1, Ordering::Relaxed);
                return connection.reset();
            }
            sleep(WORK);
            connection.ack(&frame.id);
        }
    });
    let mut config = config(&peer.endpoint());
    config.connections = NonZeroUsize::new(4).unwrap();
    config.caps.frame = 100_000;
    config.limits.ack_timeout = Duration::from_secs(10);
    let host = Host::start(config);
    for number in (0..4000).step_by(1000) {
        host.deliver(&chunk(number..number + 1000, 400));
    }
    assert_eq!(peer.acked().len(), 4000);
    let rejected = rejected.load(Ordering::Relaxed);
    assert!(rejected <= 4, "{rejected} frames: {:?}", host.events());
}

/// What a worker that ends leaves goes to the others at once, under the same ids.
#[test]
fn a_worker_ends_and_the_others_get_its_frames() {
    let peer = workers(100, |worker, connection| {
        while let Some(frame) = connection.frame() {
            if worker == 1 {
                return connection.reset();
            }
            sleep(WORK);
            connection.ack(&frame.id);
        }
    });
    let mut config = config(&peer.endpoint());
    config.connections = NonZeroUsize::new(3).unwrap();
    config.caps.frame = 1000;
    let host = Host::start(config);
    for number in (0..200).step_by(10) {
        assert_eq!(
            host.flush(&chunk(number..number + 10, 400)),
            Flushed::Delivered
        );
    }
    assert_eq!(peer.acked().len(), 200);
    assert!(peer.connections() > 3, "{:?}", host.events());
    assert!((0..200).all(|number| ids(&[&peer], number).len() == 1));
    assert_eq!(host.node(0), Some(NodeState::Up), "two connections work");
}

/// A closed idle connection is no failure; a receiver that is gone is one.
#[test]
fn nodes_go_up_and_down() {
    let mut peer = Peer::start(vec![]);
    let address = peer.address;
    let gone = Peer::start(vec![]);
    let mut config = endpoints(&[&peer, &gone]);
    drop(gone);
    config.idle_timeout = Duration::from_millis(50);
    let host = Host::start(config);
    until("both are known", || {
        [host.node(0), host.node(1)] == [Some(NodeState::Up), Some(NodeState::Down)]
    });
    host.deliver(&entry(0, 0));
    sleep(Duration::from_millis(200));
    assert_eq!(host.node(0), Some(NodeState::Up), "idle");
    peer.stop();
    host.flush(&entry(1, 0));
    until("it is down", || host.node(0) == Some(NodeState::Down));
    let _peer = Peer::start_at(address, vec![]);
    until("it is up again", || host.node(0) == Some(NodeState::Up));
}

/// The silent one of two is down although it is connected.
#[test]
fn a_silent_node_is_down() {
    let (mute, peer) = (Peer::start(silent(1000)), Peer::start(vec![]));
    let mut config = endpoints(&[&mute, &peer]);
    config.limits.ack_timeout = Duration::from_secs(30);
    config.failover_after = Duration::from_secs(10);
    config.suspect_after = Duration::from_millis(200);
    let host = Host::start(config);
    for number in 0..4 {
        host.deliver(&entry(number, 0));
    }
    assert_eq!(host.node(0), Some(NodeState::Down), "{:?}", host.events());
    assert_eq!(host.node(1), Some(NodeState::Up));
}

/// Crashes, restarts and stalls of all three, never all at the same time.
#[test]
fn case_52_flapping_nodes() {
    let mut peers: Vec<_> = (0..3).map(|_| Peer::start(vec![])).collect();
    let host = Host::start(endpoints(&peers.iter().collect::<Vec<_>>()));
    let mut acked = HashSet::new();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let down = sent as usize / 20 % 3;
        let address = peers[down].address;
        peers[down].stop();
        acked.extend(peers[down].acked());
        for _ in 0..2 {
            host.deliver(&chunk(sent..sent + 10, 0));
            sent += 10;
        }
        sleep(Duration::from_millis(20));
        peers[down] = Peer::start_at(address, vec![]);
    }
    acked.extend(peers.iter().flat_map(Peer::acked));
    assert!(sent > 100);
    assert!((0..sent).all(|number| acked.contains(&number)));
}

#[test]
fn case_53_a_standby_is_used_only_while_no_primary_is_up() {
    let mut primaries: Vec<_> = (0..2).map(|_| Peer::start(vec![])).collect();
    let standby = Peer::start(vec![]);
    let mut config = endpoints(&[&primaries[0], &primaries[1], &standby]);
    config.nodes[2].role = Role::Standby;
    let host = Host::start(config);
    let mut next = 0;
    let mut flush = |times: u32| {
        for number in next..next + times {
            host.deliver(&entry(number, 0));
        }
        next += times;
    };
    flush(10);
    primaries[0].stop();
    flush(10);
    assert_eq!((standby.connections(), standby.numbers()), (0, vec![]));
    primaries[1].stop();
    flush(10);
    assert_eq!(standby.numbers(), (20..30).collect::<Vec<_>>());
    primaries[1] = Peer::start_at(primaries[1].address, vec![]);
    until("the primary is tried again", || {
        primaries[1].connections() == 1
    });
    sleep(Duration::from_millis(50));
    flush(10);
    assert_eq!(standby.numbers().len(), 10);
    assert_eq!(primaries[1].numbers(), (30..40).collect::<Vec<_>>());
}

#[test]
fn case_54_weights_hold_over_3000_frames() {
    let peers = [(); 2].map(|()| Peer::start(vec![]));
    let mut config = endpoints(&[&peers[0], &peers[1]]);
    config.nodes[0].weight = 2.try_into().unwrap();
    config.caps.frame = 1000;
    let host = Host::start(config);
    for number in (0..3000).step_by(100) {
        host.deliver(&chunk(number..number + 100, 900));
    }
    let frames = peers.each_ref().map(|peer| peer.received().len());
    assert_eq!(frames.iter().sum::<usize>(), 3000);
    assert!((1900..=2100).contains(&frames[0]), "{frames:?}");
}

#[test]
fn case_55_many_clients_one_peer() {
    let peer = Peer::start(vec![]);
    let threads: Vec<_> = (0..8u32)
        .map(|client| {
            let mut config = config(&peer.endpoint());
            config.caps.frame = 1000;
            std::thread::spawn(move || {
                let host = Host::start(config);
                for number in 0..20 {
                    let first = client * 1000 + number * 10;
                    host.deliver(&chunk(first..first + 10, 400));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    // The peer has checked that every frame is whole.
    let expected: Vec<_> = (0..8)
        .flat_map(|client| client * 1000..client * 1000 + 200)
        .collect();
    assert_eq!(arrived(&[&peer]), expected);
}

#[test]
fn ordered_delivery_keeps_the_order_over_losses() {
    let flaky = || {
        let scripts = (0..1000).map(|connections: usize| {
            script(move |connection: &mut Connection| {
                for _ in 0..1 + connections % 4 {
                    let Some(frame) = connection.frame() else {
                        return;
                    };
                    connection.ack(&frame.id);
                }
            })
        });
        Peer::start(scripts.collect())
    };
    let peers = [flaky(), flaky()];
    let mut config = endpoints(&[&peers[0], &peers[1]]);
    config.delivery = Delivery::Ordered;
    config.caps.frame = 1000;
    let log = Arc::new(Mutex::new(Vec::new()));
    let host = Host::start(config);
    for number in (0..100).step_by(20) {
        host.deliver(&chunk(number..number + 20, 900));
    }
    for peer in &peers {
        let acked = peer.acked();
        let numbers = peer.numbers().into_iter();
        log.lock().unwrap().push(
            numbers
                .filter(|number| acked.contains(number))
                .collect::<Vec<_>>(),
        );
    }
    let lists = log.lock().unwrap().clone();
    for list in &lists {
        let mut first: Vec<u32> = Vec::new();
        for number in list {
            if !first.contains(number) {
                first.push(*number);
            }
        }
        assert!(first.is_sorted(), "{list:?}");
    }
    let all: HashSet<_> = lists.concat().into_iter().collect();
    assert_eq!(all.len(), 100);
}

/// A receiver that closes on frames above its limit, as Fluent Bit does, or does
/// not answer them, as Fluentd does.
fn limited(limit: usize, closes: bool) -> Peer {
    let scripts = (0..1000).map(|_| {
        script(move |connection: &mut Connection| {
            while let Some(frame) = connection.frame() {
                match frame.bytes > limit {
                    true if closes => return,
                    true => (),
                    false => connection.ack(&frame.id),
                }
            }
        })
    });
    Peer::start(scripts.collect())
}

/// Numbers of records that arrived in frames that were acknowledged, as often as
/// they did.
fn stored(peer: &Peer, limit: usize) -> Vec<u32> {
    let frames = peer.received().into_iter();
    let stored = frames.filter(|frame| frame.bytes <= limit);
    let mut numbers: Vec<_> = stored.flat_map(|frame| frame.numbers).collect();
    numbers.sort_unstable();
    numbers
}

/// Nothing else has to come to show that the receiver works.
#[test]
fn case_46_and_47_frames_above_the_receivers_limit_are_split() {
    for (limit, closes) in [(60_000, true), (60_000, false), (500_000, true)] {
        let peer = limited(limit, closes);
        let mut config = config(&peer.endpoint());
        config.limits.ack_timeout = Duration::from_millis(100);
        let host = Host::start(config);
        let start = Instant::now();
        host.deliver(&chunk(0..1000, 2000));
        host.deliver(&chunk(1000..2000, 2000));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(stored(&peer, limit), (0..2000).collect::<Vec<_>>(), "once");
        let lost = peer.connections() - 1;
        assert!((1..=2).contains(&lost), "{lost} connections lost");
        let said = host.events();
        let said = said.iter().filter(|line| line.contains("sending smaller"));
        assert_eq!(said.count(), 1, "said once");
        let split = host.notes.split.load(Ordering::Relaxed);
        assert!((1..=2).contains(&split), "{split} frames were split");
    }
}

#[test]
fn case_46_a_record_above_the_receivers_limit_is_given_back() {
    let limit = 60_000;
    for closes in [true, false] {
        let peer = limited(limit, closes);
        let mut config = config(&peer.endpoint());
        config.limits.ack_timeout = Duration::from_millis(50);
        config.flush_wait = Duration::from_millis(200);
        let host = Host::start(config);
        let records = [chunk(0..40, 8000), entry(40, 70_000), chunk(41..160, 8000)].concat();
        let mut number = 1000;
        until("the large one is given back", || {
            assert_ne!(host.flush(&records), Flushed::Delivered);
            // Other chunks show that the receiver works.
            number += 1;
            host.deliver(&entry(number, 0));
            host.said("does not accept a frame of 1 records (70028 bytes)")
        });
        let mut expected: Vec<_> = (0..160).filter(|number| *number != 40).collect();
        expected.extend(1001..=number);
        assert_eq!(stored(&peer, limit), expected, "nothing is stored twice");
    }
}

/// Fluentd stores the other records of a frame, and closes without an acknowledgement.
fn allergic(poison: u32) -> Peer {
    let scripts = (0..1000).map(|_| {
        script(move |connection: &mut Connection| {
            while let Some(frame) = connection.frame()
                && !frame.numbers.contains(&poison)
            {
                connection.ack(&frame.id);
            }
        })
    });
    Peer::start(scripts.collect())
}

#[test]
fn one_record_that_a_receiver_cannot_store_is_isolated() {
    let peer = allergic(500);
    let mut config = config(&peer.endpoint());
    config.flush_wait = Duration::from_millis(200);
    let host = Host::start(config);
    // Frames of that size are accepted.
    host.deliver(&chunk(10_000..11_000, 0));
    let records = chunk(0..1000, 0);
    let mut number = 2000;
    until("it is given back", || {
        assert_ne!(host.flush(&records), Flushed::Delivered);
        number += 1;
        host.deliver(&entry(number, 0));
        host.said("does not accept a frame of 1 records (28 bytes)")
    });
    assert!(host.said("splitting it"), "{:?}", host.events());
    let count = || {
        let numbers = peer.numbers().into_iter();
        numbers.filter(|number| *number < 1000 && *number != 500)
    };
    let others: HashSet<_> = count().collect();
    assert_eq!(others.len(), 999);
    let copies = count().count();
    assert!(copies < 5 * 999, "{copies} copies of 999 records");
    for _ in 0..3 {
        assert_ne!(host.flush(&records), Flushed::Delivered);
        number += 1;
        host.deliver(&entry(number, 0));
    }
    assert_eq!(count().count(), copies, "no other comes again");
}

#[test]
fn a_rejected_record_is_given_up_only_if_told_so() {
    let peer = allergic(5);
    let mut config = config(&peer.endpoint());
    config.give_up_after = NonZeroU32::new(2);
    config.flush_wait = Duration::from_millis(200);
    let host = Host::start(config);
    let records = chunk(0..10, 0);
    let mut number = 2000;
    until("the chunk counts as delivered", || {
        number += 1;
        host.deliver(&entry(number, 0));
        host.flush(&records) == Flushed::Delivered
    });
    let others: HashSet<_> = (0..10).filter(|number| *number != 5).collect();
    assert!(others.is_subset(&peer.acked()));
    let lost = host.notes.lost.lock().unwrap().clone();
    let reason = format!("{} rejected a record of 28 bytes 2 times", peer.endpoint());
    assert_eq!(lost, [reason]);
}

/// A name server for one name, whose answer can be changed.
struct Names {
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    queries: Arc<AtomicUsize>,
}

impl Names {
    fn new(addresses: &[SocketAddr]) -> Names {
        Names {
            addresses: Arc::new(Mutex::new(addresses.to_vec())),
            queries: Arc::default(),
        }
    }

    fn resolver(&self) -> Resolver {
        let (addresses, queries) = (Arc::clone(&self.addresses), Arc::clone(&self.queries));
        Resolver::new(move |_, _| {
            queries.fetch_add(1, Ordering::Relaxed);
            match addresses.lock().unwrap().clone() {
                none if none.is_empty() => Err(io::Error::other("no such name")),
                addresses => Ok(addresses),
            }
        })
    }
}

#[test]
fn case_48_every_address_is_tried_and_changes_are_seen() {
    let dead = "127.0.0.1:9".parse().unwrap();
    let mut first = Peer::start(vec![]);
    let second = Peer::start(vec![]);
    let names = Names::new(&[dead, first.address]);
    let mut config = config("logs.example:24224");
    config.resolver = names.resolver();
    let host = Host::start(config);
    host.deliver(&entry(0, 0));
    assert_eq!(first.numbers(), [0]);
    *names.addresses.lock().unwrap() = vec![second.address];
    first.stop();
    host.deliver(&entry(1, 0));
    assert_eq!(second.numbers(), [1]);
}

#[test]
fn case_48_a_missing_name_is_not_asked_for_all_the_time() {
    let names = Names::new(&[]);
    let mut config = config("logs.example:24224");
    config.resolver = names.resolver();
    let host = Host::start(config);
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert!(matches!(host.flush(&entry(0, 0)), Flushed::Retry(_)));
        sleep(Duration::from_millis(5));
    }
    let queries = names.queries.load(Ordering::Relaxed);
    assert!((1..=3).contains(&queries), "{queries} in 2.5 s");
}

#[test]
fn connections_are_rotated_and_spread_over_addresses() {
    let peers = [(); 3].map(|()| Peer::start(vec![]));
    let names = Names::new(&peers.each_ref().map(|peer| peer.address));
    let mut config = config("logs.example:24224");
    config.resolver = names.resolver();
    config.rotate_after = Duration::from_millis(100);
    let host = Host::start(config);
    let mut sent = 0;
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        assert_eq!(host.flush(&entry(sent, 0)), Flushed::Delivered);
        sent += 1;
        sleep(Duration::from_millis(1));
    }
    assert_eq!(
        arrived(&peers.each_ref()),
        (0..sent).collect::<Vec<_>>(),
        "nothing twice"
    );
    for peer in &peers {
        assert!(peer.numbers().len() as u32 > sent / 10);
        assert!((2..10).contains(&peer.connections()));
    }
    assert_eq!(host.notes.resent.load(Ordering::Relaxed), 0);
}

#[test]
fn idle_connections_are_closed() {
    let peer = Peer::start(vec![script(|connection| {
        connection.serve();
        connection.ack(b"the end was seen");
    })]);
    let mut config = config(&peer.endpoint());
    config.idle_timeout = Duration::from_millis(50);
    let host = Host::start(config);
    host.deliver(&entry(0, 0));
    sleep(Duration::from_millis(300));
    assert_eq!(host.flush(&entry(1, 0)), Flushed::Delivered);
    assert_eq!(peer.connections(), 2);
}
