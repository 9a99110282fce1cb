//! Receivers inside this process: one that acknowledges, one that only passes on. And
//! how long anything is on its way to one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rmpv::ValueRef;
use rmpv::decode::read_value_ref;

/// Acknowledges every frame and counts records.
pub struct Sink {
    port: u16,
    records: Arc<AtomicUsize>,
}

impl Sink {
    /// Listens until this process ends.
    pub fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let records = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&records);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                spawn(move || acknowledge(stream, &counter));
            }
        });
        Sink { port, records }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many records have arrived.
    pub fn records(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }
}

fn acknowledge(mut stream: TcpStream, records: &AtomicUsize) {
    let mut received = Vec::new();
    let mut block = vec![0; 1 << 18];
    while let Ok(length @ 1..) = stream.read(&mut block) {
        received.extend_from_slice(&block[..length]);
        while let Some((frame, answer, count)) = frame(&received) {
            received.drain(..frame);
            records.fetch_add(count, Ordering::Relaxed);
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// The length of the frame in front, the answer to it, and how many records it has;
/// `None` while it isn't complete.
fn frame(bytes: &[u8]) -> Option<(usize, Vec<u8>, usize)> {
    let mut rest = bytes;
    let value = read_value_ref(&mut rest).ok()?;
    let ValueRef::Array(parts) = value else {
        panic!("a frame is an array");
    };
    let Some(ValueRef::Map(options)) = parts.last() else {
        panic!("a frame ends with options");
    };
    let text = |value: &ValueRef<'_>| match value {
        ValueRef::String(text) => text.as_str().map(str::to_owned),
        _ => None,
    };
    let option = |name: &str| {
        let mut options = options.iter();
        options.find_map(|(key, value)| (text(key).as_deref() == Some(name)).then_some(value))
    };
    let answer = option("chunk").and_then(text).map(|id| {
        let mut answer = b"\x81\xa3ack\xd9".to_vec();
        answer.push(id.len() as u8);
        answer.extend(id.as_bytes());
        answer
    });
    let count = option("size").and_then(|size| match size {
        ValueRef::Integer(size) => size.as_u64(),
        _ => None,
    });
    Some((
        bytes.len() - rest.len(),
        answer.unwrap_or_default(),
        count.unwrap_or_default() as usize,
    ))
}

/// Passes connections on to a receiver and back, after half of a round trip each.
pub struct Relay {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Relay {
    /// In front of a port of this machine.
    pub fn start(to: u16, round_trip: Duration) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                counter.fetch_add(1, Ordering::Relaxed);
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    pass_on(from, to, round_trip / 2);
                }
            }
        });
        Relay { port, connections }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    spawn(move || {
        let mut block = vec![0; 1 << 18];
        while let Ok(length @ 1..) = from.read(&mut block) {
            let due = Instant::now() + delay;
            if sender.send((due, block[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    spawn(move || {
        for (due, bytes) in receiver {
            sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// Watches the loopback device, which nobody in the way of the bytes has to do.
pub struct Traffic {
    over: mpsc::Sender<()>,
    watcher: JoinHandle<Option<(Instant, Instant)>>,
}

impl Traffic {
    /// From now on.
    pub fn watch() -> Traffic {
        let (over, is_over) = mpsc::channel();
        let watcher = spawn(move || {
            let mut times = None;
            let mut before = loopback_bytes();
            while is_over.try_recv() == Err(mpsc::TryRecvError::Empty) {
                sleep(Duration::from_millis(1));
                let bytes = loopback_bytes();
                // Connections are made with less.
                if bytes > before + if times.is_none() { 10_000 } else { 0 } {
                    let now = Instant::now();
                    times.get_or_insert((now, now)).1 = now;
                }
                before = bytes;
            }
            times
        });
        Traffic { over, watcher }
    }

    /// From the first byte to the last one.
    pub fn active(self) -> Duration {
        self.over.send(()).unwrap();
        let times = self.watcher.join().unwrap();
        let (first, last) = times.expect("something passed");
        last - first
    }
}

fn loopback_bytes() -> u64 {
    let devices = fs::read_to_string("/proc/net/dev").unwrap();
    let loopback = devices
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    let received = loopback.and_then(|line| line.split_whitespace().next());
    received.unwrap().parse().unwrap()
}

/// Waits until somebody listens.
pub fn wait_for(port: u16) {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(10), "nobody listens");
        sleep(Duration::from_millis(20));
    }
}
