//! The chunks that the client has taken over, as host and thread agree on them.
//! Reads no clock.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

use crate::protocol::pending::Ticket;

/// How many delivered chunks are remembered for a host that has not asked again
/// yet. Fluent Bit asks within 2000 s (`scheduler.cap`).
const REMEMBERED: usize = 1024;

/// What has become of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no room for it yet; the host alone has it.
    Queued,
    /// Room is kept for it: its call is to hand it over.
    Invited,
    /// The thread sends it, or will when it can.
    UnderWay,
    /// The thread waits for the host to bring it again.
    Parked,
    /// All of it is acknowledged.
    Delivered,
}

/// What the thread is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Prepare and send a chunk.
    Take {
        ticket: Ticket,
        tag: Vec<u8>,
        chunk: Vec<u8>,
    },
    /// Go on with a parked one.
    Resume(Ticket),
    /// Drop a parked one.
    Forget(Ticket),
}

/// Books about every chunk between the first call that brought it and the call
/// that learnt that it was delivered.
///
/// A call brings a chunk with [`attach`](Ledger::attach) and waits. Whenever there
/// is something for it to do it is [ready](Ledger::take_ready), until it ends with
/// [`detach`](Ledger::detach).
#[derive(Debug)]
pub(super) struct Ledger {
    memory: usize,
    next_ticket: u64,
    /// In the order of their tickets.
    items: VecDeque<Item>,
    commands: Vec<Command>,
    ready: Vec<Ticket>,
    fingerprints: [RandomState; 2],
}

#[derive(Debug)]
struct Item {
    ticket: Ticket,
    call: Call,
    standing: Standing,
    /// What it takes of the memory, or will take.
    bytes: usize,
    /// By which a later call knows it; `None` until a call has ended before.
    fingerprint: Option<Fingerprint>,
}

/// Whether a call waits for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// One does, until then at most.
    Waits(Instant),
    /// One does that has waited long enough.
    Overdue,
    /// None does.
    Ended,
}

/// A chunk by its tag and content: 128 bits of SipHash under keys that differ
/// in every process, so that no content can be made to look like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: [u64; 2],
}

impl Item {
    fn is_held(&self) -> bool {
        self.standing != Standing::Queued
    }
}

impl Ledger {
    /// Books for up to `memory` bytes of chunks that are not yet delivered.
    pub(super) fn new(memory: usize) -> Ledger {
        Ledger {
            memory,
            next_ticket: 0,
            items: VecDeque::new(),
            commands: Vec::new(),
            ready: Vec::new(),
            fingerprints: [RandomState::new(), RandomState::new()],
        }
    }

    /// Attaches a call to its chunk, which an earlier call brought or which is new.
    /// Chunks are taken in the order in which they come: one that finds no room,
    /// or others that wait for it, is queued.
    pub(super) fn attach(&mut self, tag: &[u8], chunk: &[u8], until: Instant) -> Ticket {
        if let Some(item) = self.find(tag, chunk) {
            let ticket = item.ticket;
            item.call = Call::Waits(until);
            if item.standing == Standing::Parked {
                item.standing = Standing::UnderWay;
                self.commands.push(Command::Resume(ticket));
            }
            return ticket;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let has_room = self.first_queued().is_none() && self.make_room(chunk.len());
        self.items.push_back(Item {
            ticket,
            call: Call::Waits(until),
            standing: match has_room {
                true => Standing::Invited,
                false => Standing::Queued,
            },
            bytes: chunk.len(),
            fingerprint: None,
        });
        self.hand_over(ticket, tag, chunk);
        ticket
    }

    /// Hands the chunk of a call over, if it is invited.
    pub(super) fn hand_over(&mut self, ticket: Ticket, tag: &[u8], chunk: &[u8]) {
        if let Some(item) = self.item(ticket)
            && item.standing == Standing::Invited
        {
            item.standing = Standing::UnderWay;
            self.commands.push(Command::Take {
                ticket,
                tag: tag.to_vec(),
                chunk: chunk.to_vec(),
            });
            self.ready.retain(|ready| *ready != ticket);
        }
    }

    /// How the chunk of a call stands; one that is not in the books waits for
    /// the host.
    pub(super) fn standing(&self, ticket: Ticket) -> Standing {
        self.place(ticket)
            .and_then(|place| self.items.get(place))
            .map_or(Standing::Parked, |item| item.standing)
    }

    /// Whether a call has waited long enough.
    pub(super) fn is_overdue(&mut self, ticket: Ticket) -> bool {
        self.item(ticket)
            .is_none_or(|item| item.call == Call::Overdue)
    }

    /// Whether the chunk of a call gets the next room there is.
    pub(super) fn is_next(&self, ticket: Ticket) -> bool {
        let first = self.first_queued().and_then(|place| self.items.get(place));
        first.is_some_and(|item| item.ticket == ticket)
    }

    /// Ends a call: a chunk that is delivered, or was never taken, leaves the
    /// books; any other one waits for the call that brings it again.
    pub(super) fn detach(&mut self, ticket: Ticket, tag: &[u8], chunk: &[u8]) {
        match self.standing(ticket) {
            Standing::Delivered | Standing::Queued | Standing::Invited => self.remove(ticket),
            Standing::UnderWay | Standing::Parked => {
                let known = self.item(ticket).and_then(|item| item.fingerprint);
                let fingerprint = known.unwrap_or_else(|| self.fingerprint(tag, chunk));
                if let Some(item) = self.item(ticket) {
                    item.call = Call::Ended;
                    item.fingerprint = Some(fingerprint);
                }
            }
        }
        self.ready.retain(|ready| *ready != ticket);
        self.invite();
    }

    /// What the thread has to do, in order.
    pub(super) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Whether the thread has anything to do.
    pub(super) fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// The calls for which something has changed, each once: each is to look how its chunk
    /// stands, and to end unless it goes on.
    pub(super) fn take_ready(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.ready)
    }

    /// Whether any call is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next call will have waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadline = |item: &Item| match item.call {
            Call::Waits(until) => Some(until),
            Call::Overdue | Call::Ended => None,
        };
        self.items.iter().filter_map(deadline).min()
    }

    /// Makes the calls ready that have waited long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        let waits = |call: Call| matches!(call, Call::Waits(until) if until <= now);
        self.end_waits(waits);
    }

    /// Makes all calls ready, because nothing goes on any more.
    pub(super) fn release(&mut self) {
        self.end_waits(|call| call != Call::Ended);
    }

    fn end_waits(&mut self, which: impl Fn(Call) -> bool) {
        for item in self.items.iter_mut().filter(|item| which(item.call)) {
            item.call = Call::Overdue;
            make_ready(&mut self.ready, item.ticket);
        }
    }

    /// The thread has prepared a chunk, and holds so many bytes for it.
    pub(super) fn prepared(&mut self, ticket: Ticket, bytes: usize) {
        if let Some(item) = self.item(ticket) {
            item.bytes = bytes;
        }
        self.invite();
    }

    /// The thread says how a chunk stands.
    pub(super) fn settle(&mut self, ticket: Ticket, standing: Standing) {
        if let Some(item) = self.item(ticket) {
            item.standing = standing;
            if standing == Standing::Delivered {
                item.bytes = 0;
            }
            if item.call != Call::Ended {
                make_ready(&mut self.ready, ticket);
            }
        }
        let unclaimed =
            |item: &Item| item.standing == Standing::Delivered && item.call == Call::Ended;
        if self.items.iter().filter(|item| unclaimed(item)).count() > REMEMBERED
            && let Some(oldest) = self.items.iter().position(unclaimed)
        {
            self.items.remove(oldest);
        }
        self.invite();
    }

    /// The thread does not have the chunk any more; the next call brings it anew.
    pub(super) fn strike(&mut self, ticket: Ticket) {
        if self
            .item(ticket)
            .is_some_and(|item| item.call != Call::Ended)
        {
            make_ready(&mut self.ready, ticket);
        }
        self.remove(ticket);
        self.invite();
    }

    /// Invites queued chunks, in order, as long as there is room for the next.
    fn invite(&mut self) {
        while let Some(first) = self.first_queued()
            && let Some(bytes) = self.items.get(first).map(|item| item.bytes)
            && self.make_room(bytes)
            // Making room may have moved it.
            && let Some(item) = self.items.iter_mut().find(|item| !item.is_held())
        {
            item.standing = Standing::Invited;
            make_ready(&mut self.ready, item.ticket);
        }
    }

    fn first_queued(&self) -> Option<usize> {
        self.items.iter().position(|item| !item.is_held())
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        self.items
            .binary_search_by_key(&ticket, |item| item.ticket)
            .ok()
    }

    fn item(&mut self, ticket: Ticket) -> Option<&mut Item> {
        let place = self.place(ticket)?;
        self.items.get_mut(place)
    }

    fn remove(&mut self, ticket: Ticket) {
        if let Some(place) = self.place(ticket) {
            self.items.remove(place);
        }
    }

    /// The chunk that an earlier call brought, and that no call waits for.
    fn find(&mut self, tag: &[u8], chunk: &[u8]) -> Option<&mut Item> {
        let length = tag.len() + chunk.len();
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
            length: tag.len() + chunk.len(),
            hash,
        }
    }

    /// Makes room by giving up parked chunks that no call waits for, oldest first;
    /// whether there is room then. An empty client takes a chunk of any size.
    fn make_room(&mut self, wanted: usize) -> bool {
        loop {
            let held = self.items.iter().filter(|item| item.is_held());
            let held: usize = held.map(|item| item.bytes).sum();
            if held == 0 || held + wanted <= self.memory {
                return true;
            }
            let parked =
                |item: &Item| item.standing == Standing::Parked && item.call == Call::Ended;
            let parked = self.items.iter().position(parked);
            let Some(item) = parked.and_then(|parked| self.items.remove(parked)) else {
                return false;
            };
            self.commands.push(Command::Forget(item.ticket));
        }
    }
}

fn make_ready(ready: &mut Vec<Ticket>, ticket: Ticket) {
    if !ready.contains(&ticket) {
        ready.push(ticket);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TAG: &[u8] = b"tag";

    /// A ledger whose calls all wait until the same time.
    struct Books {
        ledger: Ledger,
        now: Instant,
        until: Instant,
    }

    impl Books {
        fn new(memory: usize) -> Books {
            let now = Instant::now();
            Books {
                ledger: Ledger::new(memory),
                now,
                until: now + Duration::from_secs(10),
            }
        }

        fn attach(&mut self, chunk: &[u8]) -> (Ticket, Standing) {
            let ticket = self.ledger.attach(TAG, chunk, self.until);
            (ticket, self.ledger.standing(ticket))
        }

        fn detach(&mut self, ticket: Ticket, chunk: &[u8]) {
            self.ledger.detach(ticket, TAG, chunk);
        }

        /// Attaches and detaches, as a call does that does not wait.
        fn call(&mut self, chunk: &[u8]) -> (Ticket, Standing) {
            let (ticket, standing) = self.attach(chunk);
            self.detach(ticket, chunk);
            (ticket, standing)
        }
    }

    fn take(ticket: u64, chunk: &[u8]) -> Command {
        Command::Take {
            ticket: Ticket(ticket),
            tag: TAG.to_vec(),
            chunk: chunk.to_vec(),
        }
    }

    #[test]
    fn a_chunk_is_taken_once_and_settled_once() {
        let mut books = Books::new(100);
        for expected in [0, 0] {
            let called = books.call(b"one");
            assert_eq!(called, (Ticket(expected), Standing::UnderWay));
        }
        assert_eq!(books.call(b"two"), (Ticket(1), Standing::UnderWay));
        let commands = books.ledger.take_commands();
        assert_eq!(commands, [take(0, b"one"), take(1, b"two")]);
        books.ledger.settle(Ticket(0), Standing::Delivered);
        assert!(!books.ledger.has_ready(), "nobody waits for it");
        assert_eq!(books.call(b"one"), (Ticket(0), Standing::Delivered));
        let anew = books.call(b"one");
        assert_eq!(anew, (Ticket(2), Standing::UnderWay), "a new chunk");
    }

    #[test]
    fn the_tag_is_part_of_the_content() {
        let Books {
            mut ledger, until, ..
        } = Books::new(100);
        for (number, (tag, chunk)) in [("ab", "c"), ("a", "bc")].into_iter().enumerate() {
            let (tag, chunk) = (tag.as_bytes(), chunk.as_bytes());
            let ticket = ledger.attach(tag, chunk, until);
            assert_eq!(ticket, Ticket(number as u64));
            ledger.detach(ticket, tag, chunk);
        }
    }

    /// Equal chunks at the same time are two chunks.
    #[test]
    fn two_calls_never_share_a_chunk() {
        let mut books = Books::new(100);
        books.call(b"one");
        let tickets = [(); 2].map(|()| books.attach(b"one").0);
        assert_eq!(tickets, [Ticket(0), Ticket(1)]);
    }

    #[test]
    fn a_call_that_waits_is_told_of_what_happens() {
        let mut books = Books::new(100);
        let (delivered, _) = books.attach(b"one");
        let (parked, _) = books.attach(b"two");
        let (struck, _) = books.attach(b"three");
        books.ledger.settle(parked, Standing::Parked);
        books.ledger.settle(delivered, Standing::Delivered);
        books.ledger.strike(struck);
        let ready = books.ledger.take_ready();
        assert_eq!(ready, [parked, delivered, struck]);
        let standings = [parked, delivered, struck].map(|ticket| books.ledger.standing(ticket));
        use Standing::{Delivered, Parked};
        assert_eq!(standings, [Parked, Delivered, Parked]);
        assert!(!books.ledger.has_ready(), "once");
        books.ledger.settle(parked, Standing::Delivered);
        books.detach(parked, b"two");
        assert!(!books.ledger.has_ready(), "the call has ended");
    }

    #[test]
    fn a_call_waits_no_longer_than_it_wants() {
        let mut books = Books::new(100);
        let (ticket, _) = books.attach(b"one");
        assert_eq!(books.ledger.deadline(), Some(books.until));
        books.ledger.expire(books.now);
        assert!(!books.ledger.has_ready() && !books.ledger.is_overdue(ticket));
        books.ledger.expire(books.until);
        assert_eq!(books.ledger.take_ready(), [ticket]);
        assert!(books.ledger.is_overdue(ticket));
        assert_eq!(books.ledger.deadline(), None);
        books.ledger.expire(books.until);
        assert!(!books.ledger.has_ready(), "once");
        books.detach(ticket, b"one");
        let (again, standing) = books.attach(b"one");
        assert_eq!((again, standing), (ticket, Standing::UnderWay));
        assert!(!books.ledger.is_overdue(ticket), "it waits anew");
        books.ledger.release();
        assert_eq!(books.ledger.take_ready(), [ticket]);
    }

    /// First come, first served, also where a later one would fit.
    #[test]
    fn chunks_queue_for_room() {
        let mut books = Books::new(10);
        let (first, standing) = books.attach(b"12345678");
        assert_eq!(standing, Standing::UnderWay);
        let (second, standing) = books.attach(b"abcdef");
        assert_eq!(standing, Standing::Queued);
        let (third, standing) = books.attach(b"!");
        assert_eq!(standing, Standing::Queued);
        assert!(books.ledger.is_next(second) && !books.ledger.is_next(third));
        assert_eq!(books.ledger.take_commands(), [take(0, b"12345678")]);

        books.ledger.settle(first, Standing::Delivered);
        assert_eq!(books.ledger.take_ready(), [first, second, third]);
        let standings = [second, third].map(|ticket| books.ledger.standing(ticket));
        assert_eq!(standings, [Standing::Invited; 2]);
        assert_eq!(books.ledger.take_commands(), [], "the host has them");
        for (ticket, chunk) in [(second, &b"abcdef"[..]), (third, b"!"), (third, b"!")] {
            books.ledger.hand_over(ticket, TAG, chunk);
        }
        let commands = books.ledger.take_commands();
        assert_eq!(commands, [take(1, b"abcdef"), take(2, b"!")], "once each");
    }

    #[test]
    fn who_gives_up_makes_room() {
        let mut books = Books::new(10);
        books.attach(b"12345678");
        let (second, _) = books.attach(b"abcdef");
        let (third, _) = books.attach(b"!");
        books.detach(second, b"abcdef");
        assert_eq!(books.ledger.take_ready(), [third]);
        assert_eq!(books.ledger.standing(third), Standing::Invited);
        let (anew, standing) = books.attach(b"abcdef");
        assert_eq!((anew, standing), (Ticket(3), Standing::Queued));
        // An invitation that nobody takes does not keep the room.
        books.detach(third, b"!");
        books.ledger.settle(Ticket(0), Standing::Delivered);
        assert_eq!(books.ledger.standing(anew), Standing::Invited);
    }

    #[test]
    fn parked_chunks_resume_or_make_room() {
        let mut books = Books::new(10);
        books.call(b"12345");
        books.call(b"abcde");
        assert_eq!(books.call(b"!").1, Standing::Queued);
        books.ledger.settle(Ticket(0), Standing::Parked);
        books.ledger.settle(Ticket(1), Standing::Parked);
        books.ledger.take_commands();
        let (resumed, standing) = books.attach(b"abcde");
        assert_eq!((resumed, standing), (Ticket(1), Standing::UnderWay));
        assert_eq!(books.attach(b"!").1, Standing::UnderWay);
        let expected = [
            Command::Resume(Ticket(1)),
            Command::Forget(Ticket(0)),
            take(3, b"!"),
        ];
        assert_eq!(books.ledger.take_commands(), expected);
    }

    #[test]
    fn memory_is_what_the_thread_holds() {
        let mut books = Books::new(10);
        let any = books.attach(&[0; 50]).1;
        assert_eq!(any, Standing::UnderWay, "an empty client takes any size");
        let (queued, standing) = books.attach(&[1; 5]);
        assert_eq!(standing, Standing::Queued);
        books.ledger.prepared(Ticket(0), 5);
        assert_eq!(books.ledger.standing(queued), Standing::Invited);
    }

    #[test]
    fn delivered_chunks_are_remembered_up_to_a_bound() {
        let mut books = Books::new(usize::MAX);
        let chunks: Vec<_> = (0..REMEMBERED as u32 + 10).map(u32::to_be_bytes).collect();
        for chunk in &chunks {
            let (ticket, _) = books.call(chunk);
            books.ledger.settle(ticket, Standing::Delivered);
        }
        assert_eq!(books.ledger.items.len(), REMEMBERED);
        assert_eq!(books.call(&chunks[10]).1, Standing::Delivered);
        assert_eq!(books.call(&chunks[9]).1, Standing::UnderWay, "forgotten");
    }
}
