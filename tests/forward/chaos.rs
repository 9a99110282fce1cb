//! Three receivers that crash, stall, refuse, fall silent, reset, close in the
//! middle of a frame and lose acknowledgements, all at random, and a client
//! that must lose nothing over it.
//!
//! `KUBE_AUDIT_CHAOS_SECONDS` makes it last longer than the usual 8 s, and
//! `KUBE_AUDIT_CHAOS_SEED` gives it another fate.

use std::collections::{HashMap, VecDeque};
use std::env;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use kube_audit_forward::net::{Call, Client, Config, Endpoint, Flushed, Node, Observer};
use kube_audit_forward::protocol::frames::Batch;
use rustix::net::sockopt;

use crate::host::Notes;
use crate::peer::{ack, raw_frame};

/// How long there is chaos, and its seed.
pub fn fate() -> (Duration, u64) {
    let number = |name: &str| Some(env::var(name).ok()?.parse().unwrap());
    let seconds = number("KUBE_AUDIT_CHAOS_SECONDS").unwrap_or(8);
    let seed = number("KUBE_AUDIT_CHAOS_SEED").unwrap_or(1);
    (Duration::from_secs(seconds), seed)
}

/// `#`, the number in ten digits, `#`: how peers find the records in a frame.
pub fn mark(number: usize) -> String {
    format!("#{number:010}#")
}

/// Numbers of all marks in these bytes.
pub fn marks(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let number = |window: &[u8]| {
        let digits = window.strip_prefix(b"#")?.strip_suffix(b"#")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    bytes.windows(12).filter_map(number)
}

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

/// How many records back duplicates are recognised.
const RECENT: usize = 200_000;

/// What all peers together have seen.
#[derive(Default)]
pub struct Books {
    /// Whether a record was acknowledged.
    acked: Vec<bool>,
    /// Of recent records, the frame's id and the connection that was told so.
    recent: HashMap<usize, Arrival>,
    order: VecDeque<usize>,
    pub frames: usize,
    pub acked_records: usize,
    /// Records that arrived again under the id of before.
    pub duplicates: usize,
    /// Records that arrived again under another id.
    pub resplit: usize,
    /// Records that arrived again though their acknowledgement was delivered.
    pub needless: usize,
    pub faults: usize,
}

struct Arrival {
    id: Vec<u8>,
    acked_on: Option<Arc<Line>>,
}

/// What is remembered of a connection.
#[derive(Default)]
struct Line {
    /// It was closed, or slow at least once, also where the machine was: its acknowledgements may be late or lost.
    doubtful: AtomicBool,
}

impl Books {
    fn arrive(&mut self, id: &[u8], numbers: &[usize], line: &Arc<Line>) {
        self.frames += 1;
        for &number in numbers {
            let arrival = Arrival {
                id: id.to_vec(),
                acked_on: None,
            };
            match self.recent.get(&number) {
                None => {
                    self.order.push_back(number);
                    self.recent.insert(number, arrival);
                }
                Some(earlier) => {
                    let known = earlier.acked_on.as_ref();
                    let sure = known.is_some_and(|line| !line.doubtful.load(Ordering::Relaxed));
                    if sure && !line.doubtful.load(Ordering::Relaxed) {
                        self.needless += 1;
                    }
                    match earlier.id == id {
                        true => self.duplicates += 1,
                        false => self.resplit += 1,
                    }
                }
            }
        }
        while self.order.len() > RECENT {
            let oldest = self.order.pop_front().unwrap();
            self.recent.remove(&oldest);
        }
    }

    fn ack(&mut self, numbers: &[usize], line: &Arc<Line>) {
        for &number in numbers {
            if self.acked.len() <= number {
                self.acked.resize(number + 1, false);
            }
            self.acked_records += usize::from(!self.acked[number]);
            self.acked[number] = true;
            if let Some(arrival) = self.recent.get_mut(&number) {
                arrival.acked_on = Some(Arc::clone(line));
            }
        }
    }

    pub fn is_acked(&self, number: usize) -> bool {
        self.acked.get(number).copied().unwrap_or(false)
    }
}

/// How a peer behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It acknowledges everything.
    Well,
    /// It does so, but now and then a connection meets with an accident.
    Clumsy,
    /// It reads nothing.
    Stalled,
    /// It reads and acknowledges nothing.
    Mute,
    /// It closes every connection at once.
    Closing,
    /// It does not listen, and all connections are gone.
    Gone,
}

struct State {
    mood: Mutex<Mood>,
    books: Arc<Mutex<Books>>,
    dice: Mutex<Dice>,
    connections: AtomicUsize,
    /// Whether its mood is no longer left to chance.
    composed: AtomicBool,
    clumsiness: u64,
}

impl State {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    /// Feels otherwise, unless it has been composed in the meantime.
    fn change(&self, next: Mood) {
        let mut mood = self.mood.lock().unwrap();
        if !self.composed.load(Ordering::Relaxed) {
            *mood = next;
        }
    }

    fn below(&self, bound: u64) -> u64 {
        self.dice.lock().unwrap().below(bound)
    }
}

/// Peers on ports of their own.
pub struct Chaos {
    pub addresses: Vec<SocketAddr>,
    pub books: Arc<Mutex<Books>>,
    peers: Vec<Arc<State>>,
    threads: Vec<JoinHandle<()>>,
}

impl Chaos {
    /// Starts one peer that is well until it is told otherwise.
    pub fn composed() -> Chaos {
        let chaos = Chaos::start(1, 0, Duration::MAX / 4, 1);
        chaos.feel(Mood::Well);
        chaos
    }

    /// Starts so many peers whose moods last for up to `mood`. One frame in so many
    /// meets with an accident when they are clumsy.
    pub fn start(peers: u64, seed: u64, mood: Duration, clumsiness: u64) -> Chaos {
        let books = Arc::new(Mutex::new(Books::default()));
        let mut chaos = Chaos {
            addresses: Vec::new(),
            books: Arc::clone(&books),
            peers: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..peers {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            chaos.addresses.push(listener.local_addr().unwrap());
            let state = Arc::new(State {
                mood: Mutex::new(Mood::Well),
                books: Arc::clone(&books),
                dice: Mutex::new(Dice::new(seed.wrapping_mul(3).wrapping_add(number))),
                connections: AtomicUsize::new(0),
                composed: AtomicBool::new(false),
                clumsiness,
            });
            chaos.peers.push(Arc::clone(&state));
            chaos
                .threads
                .push(spawn(move || live(listener, &state, mood)));
        }
        chaos
    }

    pub fn endpoints(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(SocketAddr::to_string).collect();
        addresses.join(",")
    }

    /// From now on all are well.
    pub fn calm(&self) {
        self.feel(Mood::Well);
    }

    /// From now on all feel like that.
    pub fn feel(&self, mood: Mood) {
        for peer in &self.peers {
            peer.composed.store(true, Ordering::Relaxed);
            *peer.mood.lock().unwrap() = mood;
        }
    }

    pub fn connections(&self) -> Vec<usize> {
        let count = |peer: &Arc<State>| peer.connections.load(Ordering::Relaxed);
        self.peers.iter().map(count).collect()
    }

    pub fn summary(&self) -> String {
        let books = self.books.lock().unwrap();
        format!(
            "{} records acknowledged in {} frames; {} faults; {} records came twice under the same id, {} under another, {} needlessly; connections {:?}",
            books.acked_records,
            books.frames,
            books.faults,
            books.duplicates,
            books.resplit,
            books.needless,
            self.connections()
        )
    }
}

/// A peer that was kept from its work for so long may have seemed silent.
const LATE: Duration = Duration::from_millis(50);

/// Listens, and changes its mood, until the process ends.
fn live(listener: TcpListener, state: &Arc<State>, mood: Duration) {
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut listener = Some(listener);
    let mut change_at = Instant::now() + mood / 4;
    let mut looked = Instant::now();
    loop {
        let late = looked.elapsed() > LATE;
        looked = Instant::now();
        if Instant::now() >= change_at && !state.composed.load(Ordering::Relaxed) {
            let next = match state.below(10) {
                0..=2 => Mood::Well,
                3..=6 => Mood::Clumsy,
                7 => Mood::Stalled,
                8 => Mood::Mute,
                _ => Mood::Gone,
            };
            state.change(next);
            let share = u32::try_from(1 + state.below(4)).unwrap();
            change_at = Instant::now() + mood * share / 4;
        }
        match state.mood() {
            Mood::Gone => listener = None,
            _ if listener.is_none() => {
                listener = TcpListener::bind(address).ok();
                if let Some(listener) = &listener {
                    listener.set_nonblocking(true).unwrap();
                }
            }
            _ => (),
        }
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((stream, _))) => {
                state.connections.fetch_add(1, Ordering::Relaxed);
                let state = Arc::clone(state);
                spawn(move || {
                    let line = Arc::new(Line::default());
                    line.doubtful.store(late, Ordering::Relaxed);
                    serve(stream, &state, &line);
                    line.doubtful.store(true, Ordering::Relaxed);
                });
            }
            _ => sleep(Duration::from_millis(2)),
        }
    }
}

/// Serves a connection until it meets its end.
fn serve(mut stream: TcpStream, state: &State, line: &Arc<Line>) {
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let mut buffer = Vec::new();
    let mut input = vec![0; 1 << 16];
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() > LATE {
            line.doubtful.store(true, Ordering::Relaxed);
        }
        looked = Instant::now();
        match state.mood() {
            Mood::Gone | Mood::Closing => return,
            Mood::Stalled => {
                line.doubtful.store(true, Ordering::Relaxed);
                sleep(Duration::from_millis(5));
                continue;
            }
            Mood::Mute => line.doubtful.store(true, Ordering::Relaxed),
            Mood::Well | Mood::Clumsy => (),
        }
        match stream.read(&mut input) {
            Ok(0) => return,
            Ok(length) => buffer.extend_from_slice(&input[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => return,
        }
        let clumsy = state.mood() == Mood::Clumsy;
        if clumsy && !buffer.is_empty() && raw_frame(&buffer).is_none() && state.below(20) == 0 {
            state.books.lock().unwrap().faults += 1;
            return;
        }
        while let Some(frame) = raw_frame(&buffer) {
            let (id, length) = (frame.id.to_vec(), frame.length);
            let numbers: Vec<_> = marks(frame.entries).collect();
            assert_eq!(numbers.len() as u64, frame.size, "a frame is whole");
            buffer.drain(..length);
            let mut books = state.books.lock().unwrap();
            books.arrive(&id, &numbers, line);
            if state.mood() == Mood::Mute {
                books.faults += 1;
                continue;
            }
            if state.mood() == Mood::Clumsy && state.below(state.clumsiness) == 0 {
                books.faults += 1;
                drop(books);
                line.doubtful.store(true, Ordering::Relaxed);
                accident(stream, state, &id);
                return;
            }
            books.ack(&numbers, line);
            drop(books);
            if stream.write_all(&ack(&id)).is_err() {
                return;
            }
        }
    }
}

/// Ends a connection badly.
fn accident(mut stream: TcpStream, state: &State, id: &[u8]) {
    let _ = match state.below(5) {
        0 => return,
        1 => stream.write_all(&ack(id)[..10]),
        2 => stream.write_all(&ack(b"AAAAAAAAAAAAAAAAAAAAAA==")),
        3 => stream.write_all(b"{\"ack\""),
        _ => return sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
    };
}

/// What a process holds, in KiB.
pub fn resident(pid: u32) -> usize {
    status(pid, "VmRSS:")
}

/// The most that it has ever held, in KiB.
pub fn most_resident(pid: u32) -> usize {
    status(pid, "VmHWM:")
}

fn status(pid: u32, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.unwrap().parse().unwrap()
}

/// Bytes of a record of this test.
const RECORD: usize = 300;

/// `[EventTime, {"log": mark and padding}]`.
fn record(number: usize) -> Vec<u8> {
    let mut record = b"\x92\xd7\x00\x65\x00\x00\x00\x00\x00\x00\x00\x81\xa3log\xda".to_vec();
    let text = RECORD - record.len() - 2;
    record.extend(u16::try_from(text).unwrap().to_be_bytes());
    record.extend(mark(number).bytes());
    record.resize(RECORD, b'.');
    record
}

const RECORDS: usize = 60;
const TAG: &[u8] = b"kube.audit";

fn chunk(first: usize) -> Vec<u8> {
    (first..first + RECORDS).flat_map(record).collect()
}

fn config(endpoints: &str) -> Config {
    let endpoints = Endpoint::parse_list(endpoints).unwrap();
    let mut config = Config::new(endpoints.into_iter().map(Node::new).collect());
    config.flush_wait = Duration::from_millis(200);
    config.connect_timeout = Duration::from_secs(1);
    config.failover_after = Duration::from_millis(300);
    config.rotate_after = Duration::from_secs(5);
    config.limits.ack_timeout = Duration::from_millis(600);
    config.limits.write_timeout = Duration::from_millis(600);
    config.caps.frame = 3000;
    config
}

#[test]
fn case_52_and_65_chaos() {
    let (time, seed) = fate();
    let chaos = Chaos::start(3, seed, Duration::from_secs(1), 50);
    let notes = Arc::new(Notes::default());
    let prepare = |tag: &[u8], chunk: &[u8]| {
        vec![Batch {
            tag: tag.to_vec(),
            entries: chunk.to_vec(),
            ends: (1..=chunk.len() / RECORD).map(|end| end * RECORD).collect(),
        }]
    };
    let observer = Arc::clone(&notes) as Arc<dyn Observer>;
    let client = Client::start(config(&chaos.endpoints()), prepare, observer).unwrap();
    let start = Instant::now();
    let mut next = 0;
    // First numbers of chunks: those that the host is to bring again, and those whose
    // calls wait.
    let mut again: VecDeque<usize> = VecDeque::new();
    let mut waiting: Vec<(usize, Call)> = Vec::new();
    let mut longest = Duration::ZERO;
    let mut memory = Vec::new();
    loop {
        if start.elapsed() < time {
            // As many as a host holds; it gives them in any order.
            while again.len() + waiting.len() < 5 {
                again.push_back(next);
                next += RECORDS;
            }
        } else {
            chaos.calm();
        }
        if again.is_empty() && waiting.is_empty() {
            break;
        }
        let mut calls: Vec<(usize, Option<Call>)> = Vec::new();
        for call in client.ready() {
            let place = waiting.iter().position(|(_, other)| *other == call);
            let (first, _) = waiting.swap_remove(place.expect("a call that waits"));
            calls.push((first, Some(call)));
        }
        calls.extend(again.drain(..).map(|first| (first, None)));
        for (first, call) in calls {
            let begun = Instant::now();
            let flushed = match call {
                None => client.flush(TAG, &chunk(first)),
                Some(call) => client.resume(call, TAG, &chunk(first)),
            };
            longest = longest.max(begun.elapsed());
            match flushed {
                Flushed::Delivered => {
                    let books = chaos.books.lock().unwrap();
                    assert!((first..first + RECORDS).all(|number| books.is_acked(number)));
                }
                Flushed::Retry(_) => again.push_back(first),
                Flushed::Waits(call) => waiting.push((first, call)),
            }
        }
        let lines = notes.events.lock().unwrap();
        let sample = (start.elapsed().as_millis() * 4 / time.as_millis().max(1)) as usize;
        if sample > memory.len() && memory.len() < 4 {
            memory.push(resident(std::process::id()));
        }
        assert!(
            start.elapsed() < time + Duration::from_secs(60),
            "{again:?} and {waiting:?} are not delivered: {}, {:?}",
            chaos.summary(),
            lines.iter().rev().take(20).collect::<Vec<_>>()
        );
        drop(lines);
        sleep(Duration::from_millis(1));
    }
    let summary = format!(
        "seed {seed}: {next} records, longest flush {longest:?}, memory {memory:?} KiB, {} frames sent again; {}",
        notes.resent.load(Ordering::Relaxed),
        chaos.summary()
    );
    println!("{summary}");
    let books = chaos.books.lock().unwrap();
    assert!((0..next).all(|number| books.is_acked(number)), "{summary}");
    assert!(books.faults > 10 && next > 1000, "{summary}");
    assert_eq!(books.needless, 0, "{summary}");
    // A frame is split if two connections in a row were lost over it, which is rare.
    let split = notes.split.load(Ordering::Relaxed);
    assert!(books.resplit < next / 50, "{summary}");
    assert!(
        split < 10 + books.faults / 20,
        "{split} frames split; {summary}"
    );
    let seconds = start.elapsed().as_secs() as usize;
    let attempts = chaos.connections().into_iter().max().unwrap();
    assert!(attempts < 40 + 2 * seconds, "{summary}");
    // The memory is that of all tests which run at the same time: a figure here,
    // and an assertion only where a host has a process of its own.
    assert!(longest < Duration::from_millis(300), "{summary}");
}
