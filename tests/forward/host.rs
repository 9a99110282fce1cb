//! What Fluent Bit does with a client: chunks, flushes and retries.

use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kube_audit_forward::net::{
    Client, ClientEvent, Config, Count, Flushed, LostRecord, Node, NodeState, Observer,
};
use kube_audit_forward::protocol::frames::Batch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes of an entry around its padding.
pub const ENTRY: usize = 28;

/// `[EventTime, {"n": number, "pad": bytes}]` with fixed headers.
pub fn entry(number: u32, padding: usize) -> Vec<u8> {
    let mut entry = b"\x92\xd7\x00".to_vec();
    entry.extend(1_700_000_000u32.to_be_bytes());
    entry.extend(number.to_be_bytes());
    entry.extend(b"\x82\xa1n\xce");
    entry.extend(number.to_be_bytes());
    entry.extend(b"\xa3pad\xc6");
    entry.extend((padding as u32).to_be_bytes());
    entry.resize(ENTRY + padding, b'x');
    entry
}

/// Entries with these numbers.
pub fn chunk(numbers: Range<u32>, padding: usize) -> Vec<u8> {
    numbers.flat_map(|number| entry(number, padding)).collect()
}

/// Numbers and lengths of the entries in `bytes`.
pub fn entries(mut bytes: &[u8]) -> Vec<(u32, usize)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let length = ENTRY + number(&bytes[24..28]) as usize;
        entries.push((number(&bytes[15..19]), length));
        bytes = &bytes[length..];
    }
    entries
}

/// Everything that a client reported.
#[derive(Default)]
pub struct Notes {
    pub events: Mutex<Vec<String>>,
    pub lost: Mutex<Vec<String>>,
    pub sent: AtomicUsize,
    pub resent: AtomicUsize,
    pub split: AtomicUsize,
    pub acked: AtomicUsize,
    pub nodes: Mutex<HashMap<usize, NodeState>>,
}

impl Observer for Notes {
    fn event(&self, event: &ClientEvent, _: u64) {
        self.events.lock().unwrap().push(event.to_string());
    }

    fn record_lost(&self, reason: &LostRecord, entry: &[u8]) {
        assert_eq!(entries(entry).len(), 1);
        self.lost.lock().unwrap().push(reason.to_string());
    }

    fn count(&self, count: Count) {
        match count {
            Count::FrameSent(_) => self.sent.fetch_add(1, Ordering::Relaxed),
            Count::FrameResent(_) => self.resent.fetch_add(1, Ordering::Relaxed),
            Count::FrameAcked(records) => self.acked.fetch_add(records, Ordering::Relaxed),
            Count::FrameSplit => self.split.fetch_add(1, Ordering::Relaxed),
            Count::ConnectionMade | Count::ConnectionLost => 0,
        };
    }

    fn node(&self, node: usize, state: NodeState) {
        let before = self.nodes.lock().unwrap().insert(node, state);
        assert_ne!(before, Some(state), "only changes are reported");
    }
}

/// A client, and what it said.
pub struct Host {
    pub client: Client,
    pub notes: Arc<Notes>,
    /// How many chunks were prepared.
    pub prepared: Arc<AtomicUsize>,
}

/// Timers that fit tests: long enough for a busy machine, short enough to wait for.
pub fn config(endpoints: &str) -> Config {
    let mut config = Config::new(Node::parse_list(endpoints).unwrap());
    config.flush_wait = Duration::from_secs(2);
    config.connect_timeout = Duration::from_millis(300);
    config.timers.tls = Duration::from_secs(1);
    config.timers.handshake.helo = Duration::from_millis(300);
    config.timers.handshake.pong = Duration::from_millis(300);
    config.limits.write_timeout = Duration::from_millis(300);
    config.limits.ack_timeout = Duration::from_millis(300);
    config
}

impl Host {
    pub fn start(config: Config) -> Host {
        let notes = Arc::new(Notes::default());
        let prepared = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&prepared);
        let prepare = move |tag: &[u8], chunk: &[u8]| {
            counter.fetch_add(1, Ordering::Relaxed);
            let ends = entries(chunk).into_iter().scan(0, |end, (_, length)| {
                *end += length;
                Some(*end)
            });
            vec![Batch {
                tag: tag.to_vec(),
                entries: chunk.to_vec(),
                ends: ends.collect(),
            }]
        };
        let client =
            Client::start(config, prepare, Arc::clone(&notes) as Arc<dyn Observer>).unwrap();
        Host {
            client,
            notes,
            prepared,
        }
    }

    /// Flushes once, and waits until it is known whether the chunk is delivered.
    pub fn flush(&self, chunk: &[u8]) -> Flushed {
        flush(&self.client, b"kube.audit", chunk)
    }

    /// Flushes until it is delivered, as the host does; how often it had to be retried.
    pub fn deliver(&self, chunk: &[u8]) -> usize {
        let start = Instant::now();
        for retries in 0.. {
            if self.flush(chunk) == Flushed::Delivered {
                return retries;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{:?}",
                self.events()
            );
            sleep(Duration::from_millis(10));
        }
        unreachable!()
    }

    pub fn events(&self) -> Vec<String> {
        self.notes.events.lock().unwrap().clone()
    }

    /// The last that was said of a node.
    pub fn node(&self, number: usize) -> Option<NodeState> {
        self.notes.nodes.lock().unwrap().get(&number).copied()
    }

    /// Whether a event has these words.
    pub fn said(&self, words: &str) -> bool {
        self.events().iter().any(|line| line.contains(words))
    }
}

/// Flushes once, and waits as a coroutine of the host does.
pub fn flush(client: &Client, tag: &[u8], chunk: &[u8]) -> Flushed {
    let mut flushed = client.flush(tag, chunk);
    while let Flushed::Waits(call) = flushed {
        wait(client.signal());
        if client.ready().contains(&call) {
            flushed = client.resume(call, tag, chunk);
        }
    }
    flushed
}

/// Waits until a descriptor is readable.
pub fn wait(signal: BorrowedFd<'_>) {
    let mut fds = [PollFd::from_borrowed_fd(signal, PollFlags::IN)];
    let most = Timespec::try_from(Duration::from_secs(30)).unwrap();
    assert_eq!(
        poll(&mut fds, Some(&most)),
        Ok(1),
        "nothing comes of a flush"
    );
}

/// Waits until something has become true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        sleep(Duration::from_millis(2));
    }
}
