//! What was handed on to the host, and up to where all of it is done with.

use std::collections::VecDeque;

/// Records that are under way in the host, in the order of the log.
///
/// The host keeps an instance's records in chunks. It gives no name to what it is handed,
/// but the chunks that it holds can be told apart while they live; one that is gone was
/// delivered or given up. So what was handed on at a time is done with when every chunk
/// that was there right after it is gone.
#[derive(Debug)]
pub struct Ledger<P> {
    /// The chunks that the host held at the last look, each with the number of its first.
    chunks: Vec<(usize, u64)>,
    /// The number of the next chunk.
    next: u64,
    batches: VecDeque<Batch<P>>,
    /// Bytes of all batches.
    under_way: usize,
}

#[derive(Debug)]
struct Batch<P> {
    /// The position after it.
    end: P,
    bytes: usize,
    /// Chunks below that number must be gone.
    upto: u64,
}

impl<P> Default for Ledger<P> {
    fn default() -> Self {
        Ledger {
            chunks: Vec::new(),
            next: 0,
            batches: VecDeque::new(),
            under_way: 0,
        }
    }
}

impl<P> Ledger<P> {
    /// Bytes that were handed on and are not done with.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes note of the chunks that the host holds. Returns the newest position up to
    /// which all is done with, if it has moved.
    pub fn look(&mut self, held: &[usize]) -> Option<P> {
        self.chunks.retain(|(chunk, _)| held.contains(chunk));
        for chunk in held {
            if !self.chunks.iter().any(|(known, _)| known == chunk) {
                self.chunks.push((*chunk, self.next));
                self.next = self.next.saturating_add(1);
            }
        }
        let oldest = self.chunks.iter().map(|(_, number)| *number).min();
        let is_done = |batch: &Batch<P>| oldest.is_none_or(|oldest| oldest >= batch.upto);
        let mut end = None;
        while self.batches.front().is_some_and(is_done) {
            let Some(batch) = self.batches.pop_front() else {
                break;
            };
            self.under_way = self.under_way.saturating_sub(batch.bytes);
            end = Some(batch.end);
        }
        end
    }

    /// Takes note of bytes that were handed on: the position after them, and the chunks
    /// that the host holds since. [`look`](Self::look) tells when they are done with.
    pub fn handed_on(&mut self, end: P, bytes: usize, held: &[usize]) -> Option<P> {
        self.under_way = self.under_way.saturating_add(bytes);
        // Chunks that are new since the last look belong to this batch at the earliest.
        let done = self.look(held);
        self.batches.push_back(Batch {
            end,
            bytes,
            upto: self.next,
        });
        self.look(held).or(done)
    }

    /// Takes note that the log was read up to a position with nothing to hand on.
    pub fn nothing_to_hand_on(&mut self, end: P) -> Option<P> {
        match self.batches.back_mut() {
            Some(batch) => {
                batch.end = end;
                None
            }
            None => Some(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_position_moves_when_its_chunks_are_gone() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.handed_on(1, 10, &[70]), None);
        assert_eq!(ledger.handed_on(2, 10, &[70]), None);
        assert_eq!(ledger.handed_on(3, 10, &[70, 80]), None);
        assert_eq!(ledger.under_way(), 30);
        // Out of order: the first chunk is still there.
        assert_eq!(ledger.look(&[70]), None);
        assert_eq!(ledger.nothing_to_hand_on(4), None);
        assert_eq!(ledger.look(&[]), Some(4));
        assert_eq!(ledger.under_way(), 0);
        assert_eq!(ledger.nothing_to_hand_on(5), Some(5));
        // All dropped by a filter: there never was a chunk.
        assert_eq!(ledger.handed_on(6, 10, &[]), Some(6));
    }

    #[test]
    fn a_chunk_at_the_place_of_an_old_one_holds_up_and_does_not_harm() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.handed_on(1, 1, &[70]), None);
        // The chunk is gone and another one has its number, without a look between.
        assert_eq!(ledger.handed_on(2, 1, &[70]), None);
        assert_eq!(ledger.look(&[]), Some(2));
    }

    /// A host: chunks of batches, with numbers that are used again.
    #[derive(Default)]
    struct Host {
        chunks: Vec<(usize, Vec<u32>)>,
        done: Vec<u32>,
    }

    impl Host {
        fn held(&self) -> Vec<usize> {
            self.chunks.iter().map(|(number, _)| *number).collect()
        }
    }

    proptest! {
        /// Whatever the host does in whatever order: a position is only told when all
        /// before it is done with, and at the end all is.
        #[test]
        fn nothing_is_done_too_early(
            steps in proptest::collection::vec((0u8..4, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut host = Host::default();
            let mut ledger = Ledger::default();
            let mut batch = 0;
            let mut told = 0;
            for (step, which) in steps {
                let moved = match step {
                    0 | 1 => {
                        batch += 1;
                        let new = step == 0 || host.chunks.is_empty();
                        if new {
                            let number = (0..).find(|n| !host.held().contains(n)).unwrap();
                            host.chunks.push((number, Vec::new()));
                        }
                        host.chunks.last_mut().unwrap().1.push(batch);
                        ledger.handed_on(batch, 1, &host.held())
                    }
                    2 if !host.chunks.is_empty() => {
                        let (_, batches) = host.chunks.remove(which.index(host.chunks.len()));
                        host.done.extend(batches);
                        None
                    }
                    _ => ledger.look(&host.held()),
                };
                if let Some(position) = moved {
                    prop_assert!(position >= told);
                    told = position;
                }
                prop_assert!((1..=told).all(|batch| host.done.contains(&batch)), "{told}");
            }
            let last = ledger.look(&[]).unwrap_or(told);
            prop_assert_eq!(last, batch);
            prop_assert_eq!(ledger.under_way(), 0);
        }
    }
}
