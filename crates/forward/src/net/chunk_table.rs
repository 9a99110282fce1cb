//! Table of all chunks between the host's calls and the client's thread. Reads no
//! clock.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use crate::protocol::chunk::{ChunkKey, ChunkStatus};

/// Largest number of delivered chunks that are remembered until the host retries
/// them. Fluent Bit retries within 2000 s (`scheduler.cap`).
const REMEMBERED: usize = 1024;

/// Largest number of chunks without entries of which the acknowledged frames are
/// remembered until the host retries them.
const RELEASED: usize = 1024;

/// State of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkState {
    /// Held by the host alone, until there is memory for it.
    Queued,
    /// Held by the host alone; memory is reserved, and its call has to hand it over.
    Invited,
    /// Held by the client's thread.
    Taken(ChunkStatus),
    /// Held by the host alone; the thread remembers its acknowledged frames.
    Released,
}

const SENDING: ChunkState = ChunkState::Taken(ChunkStatus::Sending);
const PARKED: ChunkState = ChunkState::Taken(ChunkStatus::Parked);
const DELIVERED: ChunkState = ChunkState::Taken(ChunkStatus::Delivered);

/// Command to the client's thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Prepare and send a chunk.
    Take {
        key: ChunkKey,
        arrival: Arrival,
        tag: Vec<u8>,
        chunk: Vec<u8>,
    },
    /// Continue with a parked chunk.
    Resume(ChunkKey),
    /// Drop the entries of a parked chunk, and remember its acknowledged frames.
    Release(ChunkKey),
    /// Drop a chunk.
    Forget(ChunkKey),
}

/// Knowledge of the thread about a chunk that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The chunk is new.
    First,
    /// The thread has released the chunk before.
    Again,
}

/// Table of every chunk from the first call that brings it to the call that
/// returns that it was delivered.
///
/// A call [attaches](ChunkTable::attach) to its chunk and waits. It becomes
/// [ready](ChunkTable::take_ready) whenever the chunk's state may concern it, and
/// ends when it [detaches](ChunkTable::detach).
#[derive(Debug)]
pub(super) struct ChunkTable {
    memory: usize,
    next_key: u64,
    /// In the order of their keys.
    items: VecDeque<Item>,
    commands: Vec<Command>,
    ready: Vec<ChunkKey>,
    fingerprints: [RandomState; 2],
}

#[derive(Debug)]
struct Item {
    key: ChunkKey,
    arrival: Arrival,
    call: Call,
    state: ChunkState,
    /// Memory that the chunk uses, or will use.
    bytes: usize,
    /// Recognises the chunk in a later call; `None` until its first call has ended.
    fingerprint: Option<Fingerprint>,
}

/// Call that is attached to a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// A call waits, until this time at most.
    Waits(Instant),
    /// A call waits that has to end now.
    Overdue,
    /// No call waits.
    Ended,
}

/// Hash of a chunk's tag and content: 128 bits of SipHash with keys that differ in
/// every process, so that nobody can forge a collision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: [u64; 2],
}

impl Item {
    fn is_held(&self) -> bool {
        matches!(self.state, ChunkState::Invited | ChunkState::Taken(_))
    }
}

impl ChunkTable {
    /// Creates a table for up to `memory` bytes of undelivered chunks.
    pub(super) fn new(memory: usize) -> ChunkTable {
        ChunkTable {
            memory,
            next_key: 0,
            items: VecDeque::new(),
            commands: Vec::new(),
            ready: Vec::new(),
            fingerprints: [RandomState::new(), RandomState::new()],
        }
    }

    /// Attaches a call to its chunk, which is new or known from an earlier call. A
    /// chunk is queued if there is no memory for it, or if others are queued, so
    /// that chunks are taken in the order in which they come.
    pub(super) fn attach(&mut self, tag: &[u8], chunk: &[u8], until: Instant) -> ChunkKey {
        let key = match self.find(tag, chunk) {
            Some(item) => {
                let key = item.key;
                item.call = Call::Waits(until);
                match item.state {
                    PARKED => {
                        item.state = SENDING;
                        self.commands.push(Command::Resume(key));
                        return key;
                    }
                    ChunkState::Released => key,
                    _ => return key,
                }
            }
            None => {
                let key = ChunkKey(self.next_key);
                self.next_key = self.next_key.wrapping_add(1);
                self.items.push_back(Item {
                    key,
                    arrival: Arrival::First,
                    call: Call::Waits(until),
                    state: ChunkState::Released,
                    bytes: 0,
                    fingerprint: None,
                });
                key
            }
        };
        let has_room = self.first_queued().is_none() && self.make_room(chunk.len());
        if let Some(item) = self.item(key) {
            item.bytes = chunk.len();
            item.state = match has_room {
                true => ChunkState::Invited,
                false => ChunkState::Queued,
            };
        }
        self.hand_over(key, tag, chunk);
        key
    }

    /// Hands the chunk of a call over to the thread, if it is invited.
    pub(super) fn hand_over(&mut self, key: ChunkKey, tag: &[u8], chunk: &[u8]) {
        if let Some(item) = self.item(key)
            && item.state == ChunkState::Invited
        {
            item.state = SENDING;
            let arrival = item.arrival;
            self.commands.push(Command::Take {
                key,
                arrival,
                tag: tag.to_vec(),
                chunk: chunk.to_vec(),
            });
            self.ready.retain(|ready| *ready != key);
        }
    }

    /// Returns the state of a call's chunk. A chunk that is not in the table has to
    /// be retried by the host, as a parked one.
    pub(super) fn state(&self, key: ChunkKey) -> ChunkState {
        self.place(key)
            .and_then(|place| self.items.get(place))
            .map_or(PARKED, |item| item.state)
    }

    /// Returns true if the call has to end now.
    pub(super) fn is_overdue(&mut self, key: ChunkKey) -> bool {
        self.item(key).is_none_or(|item| item.call == Call::Overdue)
    }

    /// Returns true if the chunk is the first one in the queue for memory.
    pub(super) fn is_next(&self, key: ChunkKey) -> bool {
        let first = self.first_queued().and_then(|place| self.items.get(place));
        first.is_some_and(|item| item.key == key)
    }

    /// Ends a call. A chunk that is delivered, or was never taken, leaves the table;
    /// any other one waits for the call that brings it again.
    pub(super) fn detach(&mut self, key: ChunkKey, tag: &[u8], chunk: &[u8]) {
        let known = self.item(key).and_then(|item| item.fingerprint);
        let arrival = self.item(key).map(|item| item.arrival);
        match (self.state(key), arrival) {
            (DELIVERED, _) | (ChunkState::Queued | ChunkState::Invited, Some(Arrival::First)) => {
                self.remove(key);
            }
            (state, _) => {
                let fingerprint = known.unwrap_or_else(|| self.fingerprint(tag, chunk));
                if let Some(item) = self.item(key) {
                    item.call = Call::Ended;
                    item.fingerprint = Some(fingerprint);
                    if !matches!(state, ChunkState::Taken(_)) {
                        item.state = ChunkState::Released;
                        item.bytes = 0;
                    }
                }
            }
        }
        self.ready.retain(|ready| *ready != key);
        self.invite();
    }

    /// Takes the commands to the thread, in order.
    pub(super) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Returns true if there are commands to the thread.
    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Takes the calls whose chunks have changed, each once. Each has to look at its
    /// chunk, and to end unless the chunk is still on its way.
    pub(super) fn take_ready(&mut self) -> Vec<ChunkKey> {
        std::mem::take(&mut self.ready)
    }

    /// Returns true if any call is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns when the next waiting call expires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadline = |item: &Item| match item.call {
            Call::Waits(until) => Some(until),
            Call::Overdue | Call::Ended => None,
        };
        self.items.iter().filter_map(deadline).min()
    }

    /// Makes expired calls ready.
    pub(super) fn expire(&mut self, now: Instant) {
        let waits = |call: Call| matches!(call, Call::Waits(until) if until <= now);
        self.end_waits(waits);
    }

    /// Makes all calls ready, because the thread has ended.
    pub(super) fn release(&mut self) {
        self.end_waits(|call| call != Call::Ended);
    }

    /// Removes all chunks that are not delivered, because the thread has lost them; the
    /// next calls bring them again.
    pub(super) fn give_back(&mut self) {
        self.release();
        self.commands.clear();
        self.items.retain(|item| item.state == DELIVERED);
    }

    fn end_waits(&mut self, which: impl Fn(Call) -> bool) {
        for item in self.items.iter_mut().filter(|item| which(item.call)) {
            item.call = Call::Overdue;
            make_ready(&mut self.ready, item.key);
        }
    }

    /// Records how many bytes the thread holds for a chunk that it has prepared.
    pub(super) fn prepared(&mut self, key: ChunkKey, bytes: usize) {
        if let Some(item) = self.item(key) {
            item.bytes = bytes;
        }
        self.invite();
    }

    /// Records the progress of a chunk.
    pub(super) fn settle(&mut self, key: ChunkKey, status: ChunkStatus) {
        if let Some(item) = self.item(key)
            // A late acknowledgement of a chunk without entries does not bring them back.
            && (matches!(item.state, ChunkState::Taken(_)) || status == ChunkStatus::Delivered)
        {
            item.state = ChunkState::Taken(status);
            if status == ChunkStatus::Delivered {
                item.bytes = 0;
            }
            if item.call != Call::Ended {
                make_ready(&mut self.ready, key);
            }
        }
        let unclaimed = |item: &Item| item.state == DELIVERED && item.call == Call::Ended;
        if self.items.iter().filter(|item| unclaimed(item)).count() > REMEMBERED
            && let Some(oldest) = self.items.iter().position(unclaimed)
        {
            self.items.remove(oldest);
        }
        self.invite();
    }

    /// Removes a chunk that the thread has dropped; the next call brings it again.
    pub(super) fn drop_chunk(&mut self, key: ChunkKey) {
        if self.item(key).is_some_and(|item| item.call != Call::Ended) {
            make_ready(&mut self.ready, key);
        }
        self.remove(key);
        self.invite();
    }

    /// Invites queued chunks, in order, as long as there is memory for the next one.
    fn invite(&mut self) {
        while let Some(first) = self.first_queued()
            && let Some(bytes) = self.items.get(first).map(|item| item.bytes)
            && self.make_room(bytes)
            // Making room may have moved it.
            && let Some(item) = self.items.iter_mut().find(|item| item.state == ChunkState::Queued)
        {
            item.state = ChunkState::Invited;
            make_ready(&mut self.ready, item.key);
        }
    }

    fn first_queued(&self) -> Option<usize> {
        self.items
            .iter()
            .position(|item| item.state == ChunkState::Queued)
    }

    fn place(&self, key: ChunkKey) -> Option<usize> {
        self.items.binary_search_by_key(&key, |item| item.key).ok()
    }

    fn item(&mut self, key: ChunkKey) -> Option<&mut Item> {
        let place = self.place(key)?;
        self.items.get_mut(place)
    }

    fn remove(&mut self, key: ChunkKey) {
        if let Some(place) = self.place(key) {
            self.items.remove(place);
        }
    }

    /// Finds a chunk of an earlier call that no call waits for.
    fn find(&mut self, tag: &[u8], chunk: &[u8]) -> Option<&mut Item> {
        let length = tag.len().saturating_add(chunk.len());
        let waits = |item: &Item| item.call == Call::Ended;
        let known = |item: &Item| item.fingerprint.is_some_and(|known| known.length == length);
        if !self.items.iter().any(|item| waits(item) && known(item)) {
            return None;
        }
        let wanted = self.fingerprint(tag, chunk);
        self.items
            .iter_mut()
            .find(|item| waits(item) && item.fingerprint == Some(wanted))
    }

    fn fingerprint(&self, tag: &[u8], chunk: &[u8]) -> Fingerprint {
        let hash = self.fingerprints.each_ref().map(|keys| {
            let mut hasher = keys.build_hasher();
            hasher.write_usize(tag.len());
            hasher.write(tag);
            hasher.write(chunk);
            hasher.finish()
        });
        Fingerprint {
            length: tag.len().saturating_add(chunk.len()),
            hash,
        }
    }

    /// Makes room by releasing parked chunks that no call waits for, oldest first;
    /// returns true if there is room. An empty client takes a chunk of any size.
    fn make_room(&mut self, wanted: usize) -> bool {
        loop {
            let held = self.items.iter().filter(|item| item.is_held());
            let held: usize = held.map(|item| item.bytes).sum();
            if held == 0 || held.saturating_add(wanted) <= self.memory {
                return true;
            }
            let idle = |item: &&mut Item| item.state == PARKED && item.call == Call::Ended;
            let Some(item) = self.items.iter_mut().find(idle) else {
                return false;
            };
            item.state = ChunkState::Released;
            item.arrival = Arrival::Again;
            item.bytes = 0;
            self.commands.push(Command::Release(item.key));
            self.forget_released();
        }
    }

    /// Forgets the oldest chunk without entries if there are too many.
    fn forget_released(&mut self) {
        let idle = |item: &Item| item.state == ChunkState::Released && item.call == Call::Ended;
        if self.items.iter().filter(|item| idle(item)).count() > RELEASED
            && let Some(oldest) = self.items.iter().position(idle)
            && let Some(item) = self.items.remove(oldest)
        {
            self.commands.push(Command::Forget(item.key));
        }
    }
}

fn make_ready(ready: &mut Vec<ChunkKey>, key: ChunkKey) {
    if !ready.contains(&key) {
        ready.push(key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TAG: &[u8] = b"tag";

    /// A chunk_table whose calls all wait until the same time.
    struct Bench {
        table: ChunkTable,
        now: Instant,
        until: Instant,
    }

    impl Bench {
        fn new(memory: usize) -> Bench {
            let now = Instant::now();
            Bench {
                table: ChunkTable::new(memory),
                now,
                until: now + Duration::from_secs(10),
            }
        }

        fn attach(&mut self, chunk: &[u8]) -> (ChunkKey, ChunkState) {
            let key = self.table.attach(TAG, chunk, self.until);
            (key, self.table.state(key))
        }

        fn detach(&mut self, key: ChunkKey, chunk: &[u8]) {
            self.table.detach(key, TAG, chunk);
        }

        /// Attaches and detaches, as a call does that does not wait.
        fn call(&mut self, chunk: &[u8]) -> (ChunkKey, ChunkState) {
            let (key, state) = self.attach(chunk);
            self.detach(key, chunk);
            (key, state)
        }
    }

    fn take(key: u64, chunk: &[u8]) -> Command {
        Command::Take {
            key: ChunkKey(key),
            arrival: Arrival::First,
            tag: TAG.to_vec(),
            chunk: chunk.to_vec(),
        }
    }

    #[test]
    fn a_chunk_is_taken_once_and_settled_once() {
        let mut bench = Bench::new(100);
        for expected in [0, 0] {
            let called = bench.call(b"one");
            assert_eq!(called, (ChunkKey(expected), SENDING));
        }
        assert_eq!(bench.call(b"two"), (ChunkKey(1), SENDING));
        let commands = bench.table.take_commands();
        assert_eq!(commands, [take(0, b"one"), take(1, b"two")]);
        bench.table.settle(ChunkKey(0), ChunkStatus::Delivered);
        assert!(!bench.table.has_ready(), "nobody waits for it");
        assert_eq!(bench.call(b"one"), (ChunkKey(0), DELIVERED));
        let anew = bench.call(b"one");
        assert_eq!(anew, (ChunkKey(2), SENDING), "a new chunk");
    }

    #[test]
    fn the_tag_is_part_of_the_content() {
        let Bench {
            mut table, until, ..
        } = Bench::new(100);
        for (number, (tag, chunk)) in [("ab", "c"), ("a", "bc")].into_iter().enumerate() {
            let (tag, chunk) = (tag.as_bytes(), chunk.as_bytes());
            let key = table.attach(tag, chunk, until);
            assert_eq!(key, ChunkKey(number as u64));
            table.detach(key, tag, chunk);
        }
    }

    /// Equal chunks at the same time are two chunks.
    #[test]
    fn two_calls_never_share_a_chunk() {
        let mut bench = Bench::new(100);
        bench.call(b"one");
        let keys = [(); 2].map(|()| bench.attach(b"one").0);
        assert_eq!(keys, [ChunkKey(0), ChunkKey(1)]);
    }

    #[test]
    fn a_call_that_waits_is_told_of_what_happens() {
        let mut bench = Bench::new(100);
        let (delivered, _) = bench.attach(b"one");
        let (parked, _) = bench.attach(b"two");
        let (struck, _) = bench.attach(b"three");
        bench.table.settle(parked, ChunkStatus::Parked);
        bench.table.settle(delivered, ChunkStatus::Delivered);
        bench.table.drop_chunk(struck);
        let ready = bench.table.take_ready();
        assert_eq!(ready, [parked, delivered, struck]);
        let states = [parked, delivered, struck].map(|key| bench.table.state(key));

        assert_eq!(states, [PARKED, DELIVERED, PARKED]);
        assert!(!bench.table.has_ready(), "once");
        bench.table.settle(parked, ChunkStatus::Delivered);
        bench.detach(parked, b"two");
        assert!(!bench.table.has_ready(), "the call has ended");
    }

    #[test]
    fn a_call_waits_no_longer_than_it_wants() {
        let mut bench = Bench::new(100);
        let (key, _) = bench.attach(b"one");
        assert_eq!(bench.table.deadline(), Some(bench.until));
        bench.table.expire(bench.now);
        assert!(!bench.table.has_ready() && !bench.table.is_overdue(key));
        bench.table.expire(bench.until);
        assert_eq!(bench.table.take_ready(), [key]);
        assert!(bench.table.is_overdue(key));
        assert_eq!(bench.table.deadline(), None);
        bench.table.expire(bench.until);
        assert!(!bench.table.has_ready(), "once");
        bench.detach(key, b"one");
        let (again, state) = bench.attach(b"one");
        assert_eq!((again, state), (key, SENDING));
        assert!(!bench.table.is_overdue(key), "it waits anew");
        bench.table.release();
        assert_eq!(bench.table.take_ready(), [key]);
    }

    /// First come, first served, also where a later one would fit.
    #[test]
    fn chunks_queue_for_room() {
        let mut bench = Bench::new(10);
        let (first, state) = bench.attach(b"12345678");
        assert_eq!(state, SENDING);
        let (second, state) = bench.attach(b"abcdef");
        assert_eq!(state, ChunkState::Queued);
        let (third, state) = bench.attach(b"!");
        assert_eq!(state, ChunkState::Queued);
        assert!(bench.table.is_next(second) && !bench.table.is_next(third));
        assert_eq!(bench.table.take_commands(), [take(0, b"12345678")]);

        bench.table.settle(first, ChunkStatus::Delivered);
        assert_eq!(bench.table.take_ready(), [first, second, third]);
        let states = [second, third].map(|key| bench.table.state(key));
        assert_eq!(states, [ChunkState::Invited; 2]);
        assert_eq!(bench.table.take_commands(), [], "the host has them");
        for (key, chunk) in [(second, &b"abcdef"[..]), (third, b"!"), (third, b"!")] {
            bench.table.hand_over(key, TAG, chunk);
        }
        let commands = bench.table.take_commands();
        assert_eq!(commands, [take(1, b"abcdef"), take(2, b"!")], "once each");
    }

    #[test]
    fn who_gives_up_makes_room() {
        let mut bench = Bench::new(10);
        bench.attach(b"12345678");
        let (second, _) = bench.attach(b"abcdef");
        let (third, _) = bench.attach(b"!");
        bench.detach(second, b"abcdef");
        assert_eq!(bench.table.take_ready(), [third]);
        assert_eq!(bench.table.state(third), ChunkState::Invited);
        let (anew, state) = bench.attach(b"abcdef");
        assert_eq!((anew, state), (ChunkKey(3), ChunkState::Queued));
        // An invitation that nobody takes does not keep the room.
        bench.detach(third, b"!");
        bench.table.settle(ChunkKey(0), ChunkStatus::Delivered);
        assert_eq!(bench.table.state(anew), ChunkState::Invited);
    }

    #[test]
    fn parked_chunks_resume_or_make_room() {
        let mut bench = Bench::new(10);
        bench.call(b"12345");
        bench.call(b"abcde");
        assert_eq!(bench.call(b"!").1, ChunkState::Queued);
        bench.table.settle(ChunkKey(0), ChunkStatus::Parked);
        bench.table.settle(ChunkKey(1), ChunkStatus::Parked);
        bench.table.take_commands();
        let (resumed, state) = bench.attach(b"abcde");
        assert_eq!((resumed, state), (ChunkKey(1), SENDING));
        assert_eq!(bench.attach(b"!").1, SENDING);
        let expected = [
            Command::Resume(ChunkKey(1)),
            Command::Release(ChunkKey(0)),
            take(3, b"!"),
        ];
        assert_eq!(bench.table.take_commands(), expected);
    }

    /// However often the host has to wait for memory, the chunk keeps its key.
    #[test]
    fn released_chunks_are_known_when_they_return() {
        let mut bench = Bench::new(10);
        bench.call(b"12345678");
        bench.table.settle(ChunkKey(0), ChunkStatus::Parked);
        assert_eq!(bench.attach(b"abcdefgh").1, SENDING);
        bench.table.take_commands();
        for _ in 0..3 {
            let called = bench.call(b"12345678");
            assert_eq!(called, (ChunkKey(0), ChunkState::Queued));
        }
        bench.table.settle(ChunkKey(0), ChunkStatus::Parked);
        assert_eq!(bench.table.state(ChunkKey(0)), ChunkState::Released);
        bench.table.settle(ChunkKey(1), ChunkStatus::Delivered);
        assert_eq!(bench.call(b"12345678"), (ChunkKey(0), SENDING));
        let again = Command::Take {
            key: ChunkKey(0),
            arrival: Arrival::Again,
            tag: TAG.to_vec(),
            chunk: b"12345678".to_vec(),
        };
        assert_eq!(bench.table.take_commands(), [again]);
    }

    #[test]
    fn released_chunks_are_remembered_up_to_a_bound() {
        let mut bench = Bench::new(4);
        let chunks: Vec<_> = (0..RELEASED as u32 + 10).map(u32::to_be_bytes).collect();
        for chunk in &chunks {
            let (key, _) = bench.call(chunk);
            bench.table.settle(key, ChunkStatus::Parked);
        }
        let commands = bench.table.take_commands();
        let count = |wanted: fn(&Command) -> bool| commands.iter().filter(|it| wanted(it)).count();
        assert_eq!(count(|it| matches!(it, Command::Release(_))), RELEASED + 9);
        assert_eq!(count(|it| matches!(it, Command::Forget(_))), 9);
        assert_eq!(bench.table.items.len(), RELEASED + 1);
    }

    #[test]
    fn memory_is_what_the_thread_holds() {
        let mut bench = Bench::new(10);
        let any = bench.attach(&[0; 50]).1;
        assert_eq!(any, SENDING, "an empty client takes any size");
        let (queued, state) = bench.attach(&[1; 5]);
        assert_eq!(state, ChunkState::Queued);
        bench.table.prepared(ChunkKey(0), 5);
        assert_eq!(bench.table.state(queued), ChunkState::Invited);
    }

    #[test]
    fn delivered_chunks_are_remembered_up_to_a_bound() {
        let mut bench = Bench::new(usize::MAX);
        let chunks: Vec<_> = (0..REMEMBERED as u32 + 10).map(u32::to_be_bytes).collect();
        for chunk in &chunks {
            let (key, _) = bench.call(chunk);
            bench.table.settle(key, ChunkStatus::Delivered);
        }
        assert_eq!(bench.table.items.len(), REMEMBERED);
        assert_eq!(bench.call(&chunks[10]).1, DELIVERED);
        assert_eq!(bench.call(&chunks[9]).1, SENDING, "forgotten");
    }
}
