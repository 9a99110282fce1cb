//! Chunks on their way: the order in which frames are sent, and what losses teach.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use super::FrameId;
use super::chunk::{
    Attempt, ChunkInFlight, ChunkKey, ChunkStatus, Consequence, Ending, Next, NodeRecord, Written,
};
use super::frames::{Batch, FrameRange};
use super::wire::Frame;

/// Result of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Records in the frame.
    pub records: usize,
    /// The chunk that the frame belongs to.
    pub key: ChunkKey,
    /// Progress of that chunk.
    pub status: ChunkStatus,
}

/// Order of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// A chunk that a connection was probably lost over moves to the back.
    #[default]
    Free,
    /// Chunks keep their order, unless they are parked.
    Strict,
}

/// Frames of a connection that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFrames {
    /// Frames in flight that no other node has, oldest first.
    pub frames: Vec<FrameId>,
    /// The oldest frame in flight, also if another node has got it by now.
    pub oldest: Option<FrameId>,
    /// The frame that was partly written.
    pub unwritten: Option<FrameId>,
    /// End of the connection.
    pub ending: Ending,
}

/// Every chunk that is not delivered yet, with its entries.
///
/// Chunks are sent in the order in which they come. When a connection is lost, the
/// oldest frame in flight is taken for the cause, because receivers work in order;
/// its chunk moves to the back.
///
/// # When a frame is split
///
/// A frame keeps its id as long as it stays whole. No known receiver compares ids,
/// so splitting a frame that may be stored costs no more duplicates than sending it
/// again does. It is split
///
/// - to the [limit](super::capacity::Capacity::limit) of the node that gets it, once
///   that node was lost over a frame larger than all that it has acknowledged;
/// - in halves, when a node that works was lost over it twice, to isolate the record
///   that the node cannot store. The halves are split after one more loss each, also
///   a few times without proof that the node works. A rejected frame travels alone,
///   so that its next loss takes no other frame along.
///
/// A frame of one record is parked after three such losses until
/// [`SendQueue::resume`], and after each further one; so is a frame that the peer
/// refused with a reply. With `give_up_after` a single record is dropped after so
/// many losses.
#[derive(Debug, Default)]
pub struct SendQueue {
    order: Order,
    give_up_after: Option<NonZeroU32>,
    chunks: VecDeque<ChunkInFlight>,
}

impl SendQueue {
    /// Creates an empty queue.
    pub fn new(order: Order, give_up_after: Option<NonZeroU32>) -> SendQueue {
        SendQueue {
            order,
            give_up_after,
            chunks: VecDeque::new(),
        }
    }

    /// Adds a chunk: batches of its records by tag, split into frames, at least one in
    /// all. `new_id` returns an id for each frame.
    pub fn add(
        &mut self,
        key: ChunkKey,
        parts: Vec<(Batch, Vec<FrameRange>)>,
        new_id: impl FnMut() -> FrameId,
    ) {
        self.chunks
            .push_back(ChunkInFlight::new(key, parts, new_id));
    }

    /// Returns true if a frame waits to be sent or to be acknowledged.
    pub fn is_active(&self) -> bool {
        self.chunks
            .iter()
            .any(|chunk| chunk.status() == ChunkStatus::Sending)
    }

    /// Returns true if a frame waits to be sent.
    pub fn has_waiting(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.next().is_some())
    }

    /// Returns true if more than one frame waits to be sent.
    pub fn has_several_waiting(&self) -> bool {
        let waiting = self.chunks.iter().map(ChunkInFlight::waiting_frames);
        waiting.sum::<usize>() > 1
    }

    /// Returns the frame that is sent next, split to `limit` if it is larger.
    pub fn next(&mut self, limit: Option<usize>, new_id: impl FnMut() -> FrameId) -> Option<Next> {
        let (place, frame) = self.next_place()?;
        let chunk = self.chunks.get_mut(place)?;
        if let Some(limit) = limit {
            chunk.fit(frame, limit, new_id);
        }
        chunk.peek(frame)
    }

    /// Marks the frame of [`SendQueue::next`] as in flight, and returns it.
    pub fn send(&mut self) -> Option<(Frame<'_>, Attempt)> {
        let (place, frame) = self.next_place()?;
        self.chunks.get_mut(place)?.send(frame)
    }

    /// Records an acknowledgement; returns `None` if the id is unknown, or was
    /// acknowledged before.
    pub fn acked(&mut self, id: &FrameId) -> Option<Acked> {
        let (place, frame) = self.place_of(id)?;
        let chunk = self.chunks.get_mut(place)?;
        let range = chunk.acked(frame)?;
        let (key, status) = (chunk.key, chunk.status());
        if status == ChunkStatus::Delivered {
            self.chunks.remove(place);
        }
        Some(Acked {
            records: range.records,
            key,
            status,
        })
    }

    /// Records the end of a connection: its frames wait again. `new_id` returns ids
    /// for halves.
    pub fn lost(&mut self, lost: &LostFrames, new_id: impl FnMut() -> FrameId) -> Consequence {
        for id in &lost.frames {
            let written = match lost.unwritten == Some(*id) {
                true => Written::Partly,
                false => Written::Whole,
            };
            self.put_back(id, written);
        }
        let suspect = lost.oldest.and_then(|id| self.place_of(&id));
        let Some((place, frame)) = suspect else {
            return Consequence::Resend;
        };
        let active: usize = self.chunks.iter().map(ChunkInFlight::active_frames).sum();
        let Some(chunk) = self.chunks.get_mut(place) else {
            return Consequence::Resend;
        };
        let ending = match lost.ending {
            // Nothing else could be acknowledged in the meantime.
            Ending::Unanswered { size, .. } if self.order == Order::Strict => Ending::Unanswered {
                size,
                node: NodeRecord::Works,
            },
            ending => ending,
        };
        let frame = match (self.order, ending) {
            (Order::Free, Ending::Unanswered { .. }) => chunk.move_back(frame),
            _ => frame,
        };
        let others = active.saturating_sub(1);
        let consequence = chunk.lost(frame, ending, others, self.give_up_after, new_id);
        if chunk.status() == ChunkStatus::Delivered {
            self.chunks.remove(place);
        } else if self.order == Order::Free {
            let chunk = self.chunks.remove(place);
            self.chunks.extend(chunk);
        }
        consequence
    }

    /// Makes frames in flight wait again though their connection lives. A late
    /// acknowledgement still counts.
    pub fn reroute<'a>(&mut self, in_flight: impl IntoIterator<Item = &'a FrameId>) {
        for id in in_flight {
            self.put_back(id, Written::Whole);
        }
    }

    /// Makes the parked frames of a chunk wait again.
    pub fn resume(&mut self, key: ChunkKey) {
        if let Some(chunk) = self.chunk(key) {
            chunk.resume();
        }
    }

    /// Drops the entries of a parked chunk, and remembers which are acknowledged.
    pub fn release(&mut self, key: ChunkKey) {
        if let Some(chunk) = self.chunk(key) {
            chunk.release();
        }
    }

    /// Takes a released chunk again: only its unacknowledged frames are sent. A chunk
    /// that is not known, or is not split into the same records, is added as new.
    pub fn restore(
        &mut self,
        key: ChunkKey,
        parts: Vec<(Batch, Vec<FrameRange>)>,
        new_id: impl FnMut() -> FrameId,
    ) {
        let parts = match self.chunk(key) {
            None => parts,
            Some(chunk) => match chunk.restore(parts) {
                Ok(()) => return,
                Err(parts) => parts,
            },
        };
        self.forget(key);
        self.add(key, parts, new_id);
    }

    /// Drops a chunk.
    pub fn forget(&mut self, key: ChunkKey) {
        self.chunks.retain(|chunk| chunk.key != key);
    }

    /// Drops all chunks.
    pub fn clear(&mut self) {
        self.chunks.clear();
    }

    fn chunk(&mut self, key: ChunkKey) -> Option<&mut ChunkInFlight> {
        self.chunks.iter_mut().find(|chunk| chunk.key == key)
    }

    fn put_back(&mut self, id: &FrameId, written: Written) {
        if let Some((place, frame)) = self.place_of(id)
            && let Some(chunk) = self.chunks.get_mut(place)
        {
            chunk.put_back(frame, written);
        }
    }

    /// Returns the indices of the next waiting frame and its chunk.
    fn next_place(&self) -> Option<(usize, usize)> {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .filter_map(|(place, chunk)| Some((place, chunk.next()?)))
            .next()
    }

    /// Returns the indices of a frame and its chunk.
    fn place_of(&self, id: &FrameId) -> Option<(usize, usize)> {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .filter_map(|(place, chunk)| Some((place, chunk.place_of(id)?)))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::Instant;

    use super::super::capacity::{Capacity, MIN_LIMIT, Probe};
    use super::super::chunk::Size;
    use super::*;

    /// A queue with chunks of these numbers of frames, one byte and record each;
    /// the ids count up from 0.
    fn send_queue(chunks: &[usize]) -> SendQueue {
        let mut send_queue = SendQueue::default();
        let mut next = 0;
        for (key, &frames) in chunks.iter().enumerate() {
            send_queue.add(ChunkKey(key as u64), vec![bytes(frames)], || {
                next += 1;
                id(next - 1)
            });
        }
        send_queue
    }

    /// A batch of records of one byte each, in as many frames.
    fn bytes(records: usize) -> (Batch, Vec<FrameRange>) {
        let ranges = (0..records).map(|at| FrameRange {
            bytes: at..at + 1,
            records: 1,
        });
        let batch = Batch {
            entries: (0..records as u8).collect(),
            ends: (1..=records).collect(),
            ..Batch::default()
        };
        (batch, ranges.collect())
    }

    fn id(number: u8) -> FrameId {
        FrameId::new([number; 16])
    }

    /// Ids and attempts of all that can be sent.
    fn send_all(send_queue: &mut SendQueue) -> Vec<(FrameId, Attempt)> {
        let mut sent = Vec::new();
        while send_queue.has_waiting() {
            let (frame, attempt) = send_queue.send().unwrap();
            sent.push((*frame.id, attempt));
        }
        sent
    }

    fn sent(numbers: &[u8], attempt: Attempt) -> Vec<(FrameId, Attempt)> {
        numbers
            .iter()
            .map(|&number| (id(number), attempt))
            .collect()
    }

    const WORKS: Ending = Ending::Unanswered {
        size: Size::Accepted,
        node: NodeRecord::Works,
    };
    const FAILS: Ending = Ending::Unanswered {
        size: Size::Accepted,
        node: NodeRecord::Fails,
    };

    fn lost(in_flight: &[FrameId], ending: Ending) -> LostFrames {
        LostFrames {
            frames: in_flight.to_vec(),
            oldest: in_flight.first().copied(),
            unwritten: None,
            ending,
        }
    }

    /// Loses the connection with these frames in flight; no halves are expected.
    fn lose(send_queue: &mut SendQueue, in_flight: &[FrameId], ending: Ending) -> Consequence {
        send_queue.lost(&lost(in_flight, ending), || unreachable!())
    }

    fn parked(status: ChunkStatus) -> Consequence {
        Consequence::Parked {
            bytes: 1,
            records: 1,
            key: ChunkKey(0),
            status,
        }
    }

    #[test]
    fn a_chunk_is_settled_with_its_last_frame() {
        let mut send_queue = send_queue(&[2, 1]);
        assert_eq!(send_all(&mut send_queue), sent(&[0, 1, 2], Attempt::First));
        let settled = [1, 2, 0].map(|number| {
            let acked = send_queue.acked(&id(number)).unwrap();
            assert_eq!(acked.records, 1);
            (acked.key, acked.status)
        });
        let expected = [
            (ChunkKey(0), ChunkStatus::Sending),
            (ChunkKey(1), ChunkStatus::Delivered),
            (ChunkKey(0), ChunkStatus::Delivered),
        ];
        assert_eq!(settled, expected);
        assert!(!send_queue.is_active());
        assert_eq!(send_queue.acked(&id(0)), None, "once only");
    }

    /// Records of one chunk that travel under several tags.
    #[test]
    fn a_chunk_of_several_tags() {
        let mut send_queue = SendQueue::default();
        let part = |tag: &[u8]| {
            let batch = Batch {
                tag: tag.to_vec(),
                entries: tag.to_vec(),
                ends: vec![1],
            };
            let range = FrameRange {
                bytes: 0..1,
                records: 1,
            };
            (batch, vec![range])
        };
        let mut next = 0;
        send_queue.add(ChunkKey(7), vec![part(b"a"), part(b"b")], || {
            next += 1;
            id(next)
        });
        for (tag, number) in [(b"a", 1), (b"b", 2)] {
            let (frame, _) = send_queue.send().unwrap();
            assert_eq!((frame.tag, frame.entries), (&tag[..], &tag[..]));
            assert_eq!(*frame.id, id(number));
        }
        let settled = |acked: Option<Acked>| acked.unwrap().status == ChunkStatus::Delivered;
        assert!(!settled(send_queue.acked(&id(2))));
        assert!(settled(send_queue.acked(&id(1))));
    }

    #[test]
    fn case_39_only_the_unacked_go_again_with_the_same_ids() {
        let mut send_queue = send_queue(&[4]);
        send_all(&mut send_queue);
        send_queue.acked(&id(0));
        send_queue.acked(&id(2));
        let verdict = lose(&mut send_queue, &[id(1), id(3)], WORKS);
        assert_eq!(verdict, Consequence::Resend);
        assert_eq!(send_all(&mut send_queue), sent(&[3, 1], Attempt::Again));
    }

    #[test]
    fn a_suspect_goes_to_the_back_and_is_parked_at_last() {
        let mut send_queue = send_queue(&[1, 1]);
        for order in [[0, 1], [1, 0], [0, 1], [1, 0]] {
            let got: Vec<_> = send_all(&mut send_queue)
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(got, order.map(id));
            assert_eq!(lose(&mut send_queue, &got, WORKS), Consequence::Resend);
        }
        send_all(&mut send_queue);
        let verdict = lose(&mut send_queue, &[id(0), id(1)], WORKS);
        assert_eq!(verdict, parked(ChunkStatus::Parked));
        assert_eq!(send_all(&mut send_queue), sent(&[1], Attempt::Again));
        send_queue.resume(ChunkKey(0));
        assert_eq!(send_all(&mut send_queue), sent(&[0], Attempt::Again));
    }

    /// Losses of a node that fails over everything say nothing about its frames.
    #[test]
    fn a_node_that_fails_is_no_evidence() {
        let mut send_queue = send_queue(&[1]);
        let endings = [FAILS, Ending::Unclear];
        for ending in endings.into_iter().cycle().take(100) {
            send_all(&mut send_queue);
            assert_eq!(lose(&mut send_queue, &[id(0)], ending), Consequence::Resend);
        }
    }

    /// It is not taken from the node that has got it in the meantime.
    #[test]
    fn what_another_node_has_is_left_to_it() {
        let mut send_queue = send_queue(&[1]);
        for _ in 0..10 {
            send_all(&mut send_queue);
            send_queue.reroute(&[id(0)]);
            assert_eq!(send_all(&mut send_queue), sent(&[0], Attempt::Again));
            let elsewhere = LostFrames {
                frames: Vec::new(),
                ..lost(&[id(0)], WORKS)
            };
            let verdict = send_queue.lost(&elsewhere, || unreachable!());
            assert_eq!(verdict, Consequence::Resend);
        }
        assert!(send_queue.acked(&id(0)).is_some());
    }

    #[test]
    fn strict_order_survives_losses() {
        let mut send_queue = SendQueue {
            order: Order::Strict,
            ..send_queue(&[2, 2])
        };
        for attempt in [Attempt::First, Attempt::Again] {
            let got = send_all(&mut send_queue);
            assert_eq!(got, sent(&[0, 1, 2, 3], attempt));
            let ids: Vec<_> = got.into_iter().map(|(id, _)| id).collect();
            assert_eq!(lose(&mut send_queue, &ids, WORKS), Consequence::Resend);
        }
    }

    #[test]
    fn case_37_refused_is_parked_at_once_and_keeps_what_was_acked() {
        let mut send_queue = send_queue(&[3]);
        send_all(&mut send_queue);
        send_queue.acked(&id(0));
        let verdict = lose(&mut send_queue, &[id(1), id(2)], Ending::Refused);
        assert_eq!(verdict, parked(ChunkStatus::Sending));
        assert_eq!(send_all(&mut send_queue), sent(&[2], Attempt::Again));
        let acked = send_queue.acked(&id(2)).unwrap();
        assert_eq!(
            (acked.key, acked.status),
            (ChunkKey(0), ChunkStatus::Parked)
        );
        assert!(!send_queue.is_active());
        send_queue.resume(ChunkKey(0));
        assert_eq!(send_all(&mut send_queue), sent(&[1], Attempt::Again));
        send_queue.forget(ChunkKey(0));
        assert!(!send_queue.is_active());
    }

    /// Splitting is counted as a first transmission only if nobody can have the frame.
    #[test]
    fn case_46_a_limit_splits_what_waits() {
        for (written, attempt) in [(false, Attempt::First), (true, Attempt::Again)] {
            let mut send_queue = SendQueue::default();
            let batch = Batch {
                entries: vec![0; 4],
                ends: vec![1, 2, 3, 4],
                ..Batch::default()
            };
            let whole = FrameRange {
                bytes: 0..4,
                records: 4,
            };
            send_queue.add(ChunkKey(0), vec![(batch, vec![whole])], || id(0));
            send_queue.send().unwrap();
            let lost = LostFrames {
                unwritten: (!written).then_some(id(0)),
                ..lost(&[id(0)], FAILS)
            };
            send_queue.lost(&lost, || unreachable!());
            let mut ids = [id(1), id(2)].into_iter();
            let next = send_queue.next(Some(3), || ids.next().unwrap()).unwrap();
            assert_eq!((next.bytes, next.attempt), (2, attempt));
        }
    }

    const RECORD: usize = MIN_LIMIT / 4;

    /// A node that closes the connection over some frames, after it took all of them.
    struct Node {
        /// Largest frame that it acknowledges.
        limit: usize,
        /// Record over which it closes the connection, after it stored the others.
        poison: Option<u8>,
        capacity: Capacity,
        works: bool,
        next_id: u8,
        /// Records as often as they were stored.
        stored: Vec<u8>,
        /// Records of the frames that were lost, as the queue judged it.
        shrunk: Vec<usize>,
        split: Vec<usize>,
        parked: Vec<usize>,
        given_up: Vec<u8>,
    }

    impl Node {
        fn new(limit: usize, poison: Option<u8>) -> Node {
            Node {
                limit,
                poison,
                capacity: Capacity::default(),
                works: false,
                next_id: 0,
                stored: Vec::new(),
                shrunk: Vec::new(),
                split: Vec::new(),
                parked: Vec::new(),
                given_up: Vec::new(),
            }
        }

        /// Takes one frame; returns false if none waits.
        fn step(&mut self, send_queue: &mut SendQueue, now: Instant) -> bool {
            let mut new_id = || {
                self.next_id = self.next_id.checked_add(1).unwrap();
                id(self.next_id)
            };
            let limit = self.capacity.limit(Probe::Larger, now);
            if send_queue.next(limit, &mut new_id).is_none() {
                return false;
            }
            let (frame, _) = send_queue.send().unwrap();
            let (sent, bytes) = (*frame.id, frame.entries.len());
            let records = frame.entries.iter().step_by(RECORD).copied();
            let (poison, records): (Vec<u8>, Vec<u8>) =
                records.partition(|record| Some(*record) == self.poison);
            if bytes <= self.limit {
                self.stored.extend(records);
                if poison.is_empty() {
                    self.capacity.acknowledged(bytes, now);
                    self.works = true;
                    send_queue.acked(&sent).unwrap();
                    return true;
                }
            }
            let size = match self.capacity.covers(bytes, now) || bytes <= MIN_LIMIT {
                true => Size::Accepted,
                false => {
                    self.capacity.rejected(bytes, now);
                    Size::Unknown
                }
            };
            let node = match self.works {
                true => NodeRecord::Works,
                false => NodeRecord::Fails,
            };
            self.works = false;
            let lost = lost(&[sent], Ending::Unanswered { size, node });
            match send_queue.lost(&lost, &mut new_id) {
                Consequence::Resend => (),
                Consequence::Shrunk { records, .. } => self.shrunk.push(records),
                Consequence::Split { records, .. } => self.split.push(records),
                Consequence::Parked { records, .. } => self.parked.push(records),
                Consequence::GivenUp { entry, .. } => self.given_up.push(entry[0]),
            }
            true
        }

        fn add(&mut self, send_queue: &mut SendQueue, key: u64, records: Range<u8>) {
            let part = part(records);
            self.next_id += 1;
            let number = self.next_id;
            send_queue.add(ChunkKey(key), vec![part], || id(number));
        }
    }

    /// Records of one frame, with their numbers in all bytes.
    fn part(records: Range<u8>) -> (Batch, Vec<FrameRange>) {
        let count = records.len();
        let batch = Batch {
            entries: records.flat_map(|record| [record; RECORD]).collect(),
            ends: (1..=count).map(|end| end * RECORD).collect(),
            ..Batch::default()
        };
        let whole = FrameRange {
            bytes: 0..count * RECORD,
            records: count,
        };
        (batch, vec![whole])
    }

    #[test]
    fn case_46_a_limit_is_found() {
        let now = Instant::now();
        let mut send_queue = SendQueue::default();
        let mut node = Node::new(9 * RECORD, None);
        for key in 0..6 {
            let first = key as u8 * 16;
            node.add(&mut send_queue, key, first..first + 16);
        }
        for _ in 0..30 {
            node.step(&mut send_queue, now);
        }
        assert!(!send_queue.is_active());
        node.stored.sort_unstable();
        assert_eq!(node.stored, (0..96).collect::<Vec<u8>>(), "each once");
        assert_eq!((&*node.shrunk, &*node.parked), (&[16][..], &[][..]));
    }

    /// However long a node fails over everything, frames are split a few times.
    #[test]
    fn case_46_a_node_that_is_away_splits_little() {
        let now = Instant::now();
        let mut send_queue = SendQueue::default();
        let mut node = Node::new(0, None);
        node.capacity.acknowledged(64 * RECORD, now);
        node.add(&mut send_queue, 0, 0..64);
        for _ in 0..500 {
            assert!(node.step(&mut send_queue, now));
        }
        assert_eq!(node.split.len(), 13);
        node.limit = usize::MAX;
        while node.step(&mut send_queue, now) {}
        node.stored.sort_unstable();
        assert_eq!(node.stored, (0..64).collect::<Vec<u8>>());
    }

    /// The others of its chunk come again a few times, and then no more.
    #[test]
    fn one_record_that_a_node_cannot_store_is_isolated() {
        let now = Instant::now();
        let mut send_queue = SendQueue::default();
        let mut node = Node::new(usize::MAX, Some(13));
        node.capacity.acknowledged(64 * RECORD, now);
        node.add(&mut send_queue, 0, 0..64);
        for _ in 0..40 {
            if !node.step(&mut send_queue, now) && node.parked.is_empty() {
                break;
            }
            // Another chunk shows that the node works.
            if !node.works {
                node.add(&mut send_queue, u64::from(node.next_id), 200..201);
                node.step(&mut send_queue, now);
            }
        }
        assert_eq!(node.split, [64, 32, 16, 8, 4, 2]);
        assert_eq!(node.parked, [1], "and waits for the host");
        let copies = |record: u8| node.stored.iter().filter(|other| **other == record).count();
        assert!((0..64).all(|record| record == 13 || copies(record) >= 1));
        let stored: usize = (0..64).map(copies).sum();
        assert!(stored < 64 * 6, "{stored} copies of 63 records");
        let before = node.stored.len();
        for _ in 0..3 {
            send_queue.resume(ChunkKey(0));
            node.works = true;
            while node.step(&mut send_queue, now) {}
        }
        assert_eq!(node.parked, [1; 4], "once for each retry of the host");
        assert_eq!(node.stored.len(), before, "no other comes again");
    }

    #[test]
    fn a_record_is_given_up_only_if_told_so() {
        let now = Instant::now();
        let limit = NonZeroU32::new(5);
        let mut send_queue = SendQueue::new(Order::Free, limit);
        let mut node = Node::new(usize::MAX, Some(1));
        node.add(&mut send_queue, 0, 1..2);
        for _ in 0..10 {
            node.works = true;
            node.step(&mut send_queue, now);
            send_queue.resume(ChunkKey(0));
        }
        assert_eq!((&*node.parked, &*node.given_up), (&[1, 1][..], &[1][..]));
        assert!(!send_queue.is_active());
    }

    /// A chunk whose entries had to be dropped is sent again without what is
    /// acknowledged, and with the same ids.
    #[test]
    fn a_released_chunk_remembers_what_is_acknowledged() {
        let mut send_queue = send_queue(&[3]);
        send_all(&mut send_queue);
        send_queue.acked(&id(0));
        lose(&mut send_queue, &[id(1)], Ending::Refused);
        lose(&mut send_queue, &[id(2)], Ending::Refused);
        send_queue.release(ChunkKey(0));
        assert!(!send_queue.is_active() && !send_queue.has_waiting());
        send_queue.restore(ChunkKey(0), vec![bytes(3)], || unreachable!());
        let (frame, _) = send_queue.send().unwrap();
        assert_eq!((*frame.id, frame.entries), (id(1), &[1][..]));
        send_queue.acked(&id(1)).unwrap();
        send_all(&mut send_queue);
        let acked = send_queue.acked(&id(2)).unwrap();
        assert_eq!(acked.status, ChunkStatus::Delivered);
    }

    /// A policy may have changed in the meantime.
    #[test]
    fn a_released_chunk_with_other_records_is_new() {
        let mut send_queue = send_queue(&[2]);
        send_all(&mut send_queue);
        send_queue.acked(&id(0));
        lose(&mut send_queue, &[id(1)], Ending::Refused);
        send_queue.release(ChunkKey(0));
        let mut ids = [id(8), id(9), id(10)].into_iter();
        send_queue.restore(ChunkKey(0), vec![bytes(3)], || ids.next().unwrap());
        let all = sent(&[8, 9, 10], Attempt::First);
        assert_eq!(send_all(&mut send_queue), all);
    }
}
