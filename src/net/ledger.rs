//! The chunks that the client has taken over, as host and thread agree on them.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::forward::pending::Ticket;

/// How many delivered chunks are remembered for a host that has not asked again
/// yet. Fluent Bit asks within 2000 s (`scheduler.cap`).
const REMEMBERED: usize = 1024;

/// What has become of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The thread has not looked at it yet.
    Unprepared,
    /// The thread sends it, or will when it can.
    UnderWay,
    /// The thread waits for the host to hand it over again.
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
#[derive(Debug)]
pub(super) struct Ledger {
    memory: usize,
    next_ticket: u64,
    items: VecDeque<Item>,
    commands: Vec<Command>,
    fingerprints: [RandomState; 2],
}

#[derive(Debug)]
struct Item {
    ticket: Ticket,
    /// By which a later call knows the chunk; `None` while a call is attached.
    fingerprint: Option<Fingerprint>,
    standing: Standing,
    bytes: usize,
}

/// A call that brought a chunk, from [`Ledger::attach`] to [`Ledger::detach`].
#[derive(Debug)]
pub(super) struct Call {
    ticket: Ticket,
    fingerprint: Option<Fingerprint>,
}

/// A chunk by its tag and content: 128 bits of SipHash under keys that differ
/// in every process, so that no content can be made to look like another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: [u64; 2],
}

impl Ledger {
    /// Books for up to `memory` bytes of chunks that are not yet delivered.
    pub(super) fn new(memory: usize) -> Ledger {
        Ledger {
            memory,
            next_ticket: 0,
            items: VecDeque::new(),
            commands: Vec::new(),
            fingerprints: [RandomState::new(), RandomState::new()],
        }
    }

    /// Attaches a call to its chunk: the one that an earlier call brought, or a
    /// new one if there is room for it.
    pub(super) fn attach(&mut self, tag: &[u8], chunk: &[u8]) -> Option<Call> {
        if let Some(item) = self.find(tag, chunk) {
            let call = Call {
                ticket: item.ticket,
                fingerprint: item.fingerprint.take(),
            };
            if item.standing == Standing::Parked {
                item.standing = Standing::UnderWay;
                self.commands.push(Command::Resume(call.ticket));
            }
            return Some(call);
        }
        self.make_room(chunk.len())?;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.items.push_back(Item {
            ticket,
            fingerprint: None,
            standing: Standing::Unprepared,
            bytes: chunk.len(),
        });
        self.commands.push(Command::Take {
            ticket,
            tag: tag.to_vec(),
            chunk: chunk.to_vec(),
        });
        Some(Call {
            ticket,
            fingerprint: None,
        })
    }

    /// How the chunk of a call stands; one that is not in the books waits for
    /// the host.
    pub(super) fn standing(&self, call: &Call) -> Standing {
        let item = self.items.iter().find(|item| item.ticket == call.ticket);
        item.map_or(Standing::Parked, |item| item.standing)
    }

    /// Ends a call: a delivered chunk leaves the books, any other one waits for
    /// the call that brings it again.
    pub(super) fn detach(&mut self, call: Call, tag: &[u8], chunk: &[u8]) -> Standing {
        let standing = self.standing(&call);
        if standing == Standing::Delivered {
            self.strike(call.ticket);
        } else {
            let fingerprint = call
                .fingerprint
                .unwrap_or_else(|| self.fingerprint(tag, chunk));
            for item in self
                .items
                .iter_mut()
                .filter(|item| item.ticket == call.ticket)
            {
                item.fingerprint = Some(fingerprint);
            }
        }
        standing
    }

    /// What the thread has to do, in order.
    pub(super) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// The thread has prepared a chunk, and holds so many bytes for it.
    pub(super) fn prepared(&mut self, ticket: Ticket, bytes: usize) {
        for item in self.items.iter_mut().filter(|item| item.ticket == ticket) {
            item.standing = Standing::UnderWay;
            item.bytes = bytes;
        }
    }

    /// The thread says how a chunk stands.
    pub(super) fn settle(&mut self, ticket: Ticket, standing: Standing) {
        for item in self.items.iter_mut().filter(|item| item.ticket == ticket) {
            item.standing = standing;
            if standing == Standing::Delivered {
                item.bytes = 0;
            }
        }
        let unclaimed =
            |item: &Item| item.standing == Standing::Delivered && item.fingerprint.is_some();
        if self.items.iter().filter(|item| unclaimed(item)).count() > REMEMBERED
            && let Some(oldest) = self.items.iter().position(unclaimed)
        {
            self.items.remove(oldest);
        }
    }

    /// The thread does not have the chunk any more; the next call brings it anew.
    pub(super) fn strike(&mut self, ticket: Ticket) {
        self.items.retain(|item| item.ticket != ticket);
    }

    fn find(&mut self, tag: &[u8], chunk: &[u8]) -> Option<&mut Item> {
        let length = tag.len() + chunk.len();
        let known = |item: &Item| item.fingerprint.is_some_and(|known| known.length == length);
        if !self.items.iter().any(known) {
            return None;
        }
        let wanted = self.fingerprint(tag, chunk);
        self.items
            .iter_mut()
            .find(|item| item.fingerprint == Some(wanted))
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

    /// Makes room by giving up parked chunks, oldest first. An empty client
    /// takes a chunk of any size.
    fn make_room(&mut self, wanted: usize) -> Option<()> {
        loop {
            let held: usize = self.items.iter().map(|item| item.bytes).sum();
            if held == 0 || held + wanted <= self.memory {
                return Some(());
            }
            let parked = self
                .items
                .iter()
                .position(|item| item.standing == Standing::Parked)?;
            let item = self.items.remove(parked)?;
            self.commands.push(Command::Forget(item.ticket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &[u8] = b"tag";

    /// Attaches and detaches, as a call does that does not wait.
    fn call(ledger: &mut Ledger, chunk: &[u8]) -> Option<(Ticket, Standing)> {
        let call = ledger.attach(TAG, chunk)?;
        Some((call.ticket, ledger.detach(call, TAG, chunk)))
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
        let mut ledger = Ledger::new(100);
        assert_eq!(
            call(&mut ledger, b"one"),
            Some((Ticket(0), Standing::Unprepared))
        );
        assert_eq!(
            call(&mut ledger, b"one"),
            Some((Ticket(0), Standing::Unprepared))
        );
        assert_eq!(
            call(&mut ledger, b"two"),
            Some((Ticket(1), Standing::Unprepared))
        );
        assert_eq!(ledger.take_commands(), [take(0, b"one"), take(1, b"two")]);
        ledger.settle(Ticket(0), Standing::Delivered);
        assert_eq!(
            call(&mut ledger, b"one"),
            Some((Ticket(0), Standing::Delivered))
        );
        assert_eq!(
            call(&mut ledger, b"one"),
            Some((Ticket(2), Standing::Unprepared)),
            "a new chunk"
        );
    }

    #[test]
    fn the_tag_is_part_of_the_content() {
        let mut ledger = Ledger::new(100);
        for (number, (tag, chunk)) in [("ab", "c"), ("a", "bc")].into_iter().enumerate() {
            let call = ledger.attach(tag.as_bytes(), chunk.as_bytes()).unwrap();
            assert_eq!(call.ticket, Ticket(number as u64));
            ledger.detach(call, tag.as_bytes(), chunk.as_bytes());
        }
    }

    /// Equal chunks at the same time are two chunks.
    #[test]
    fn two_calls_never_share_a_chunk() {
        let mut ledger = Ledger::new(100);
        let calls = [(); 2].map(|()| ledger.attach(TAG, b"one").unwrap());
        assert_eq!(
            calls.each_ref().map(|call| call.ticket),
            [Ticket(0), Ticket(1)]
        );
    }

    #[test]
    fn parked_chunks_resume_or_make_room() {
        let mut ledger = Ledger::new(10);
        call(&mut ledger, b"12345");
        call(&mut ledger, b"abcde");
        assert_eq!(call(&mut ledger, b"!"), None, "full");
        ledger.settle(Ticket(0), Standing::Parked);
        ledger.settle(Ticket(1), Standing::Parked);
        ledger.take_commands();
        assert_eq!(
            call(&mut ledger, b"abcde"),
            Some((Ticket(1), Standing::UnderWay))
        );
        assert_eq!(
            call(&mut ledger, b"!"),
            Some((Ticket(2), Standing::Unprepared))
        );
        let expected = [
            Command::Resume(Ticket(1)),
            Command::Forget(Ticket(0)),
            take(2, b"!"),
        ];
        assert_eq!(ledger.take_commands(), expected);
    }

    #[test]
    fn memory_is_what_the_thread_holds() {
        let mut ledger = Ledger::new(10);
        assert!(
            call(&mut ledger, &[0; 50]).is_some(),
            "an empty client takes any size"
        );
        assert!(call(&mut ledger, &[1; 5]).is_none());
        ledger.prepared(Ticket(0), 5);
        assert!(call(&mut ledger, &[1; 5]).is_some());
    }

    #[test]
    fn delivered_chunks_are_remembered_up_to_a_bound() {
        let mut ledger = Ledger::new(usize::MAX);
        let chunks: Vec<_> = (0..REMEMBERED as u32 + 10).map(u32::to_be_bytes).collect();
        for chunk in &chunks {
            let (ticket, _) = call(&mut ledger, chunk).unwrap();
            ledger.settle(ticket, Standing::Delivered);
        }
        assert_eq!(ledger.items.len(), REMEMBERED);
        assert_eq!(
            call(&mut ledger, &chunks[10]).unwrap().1,
            Standing::Delivered
        );
        assert_eq!(
            call(&mut ledger, &chunks[9]).unwrap().1,
            Standing::Unprepared,
            "forgotten"
        );
    }
}
