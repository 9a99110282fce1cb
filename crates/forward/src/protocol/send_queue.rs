//! Chunks under way: in which order their frames are sent, and what their losses teach.

use std::collections::VecDeque;

use super::FrameId;
use super::chunk::{
    Attempt, ChunkInFlight, ChunkKey, ChunkStatus, Ending, Next, NodeRecord, Verdict, Written,
};
use super::frames::{Batch, FrameRange};
use super::wire::Frame;

/// What an acknowledgement settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Records in the frame.
    pub records: usize,
    /// The chunk that the frame belongs to.
    pub key: ChunkKey,
    /// Progress of that chunk.
    pub status: ChunkStatus,
}

/// Whether a chunk may be overtaken by later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// It may, after it probably caused the loss of a connection.
    #[default]
    Free,
    /// It must not, unless it is parked.
    Strict,
}

/// A connection that ended with frames in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFrames {
    /// Those that nobody else has, oldest first.
    pub frames: Vec<FrameId>,
    /// The oldest of all, also where another node has got it by now.
    pub oldest: Option<FrameId>,
    /// The one whose last byte had not left.
    pub unwritten: Option<FrameId>,
    /// How it ended.
    pub ending: Ending,
}

/// Every chunk that is not yet acknowledged as a whole, with its bytes.
///
/// Chunks are sent in the order in which they came. When a connection is lost,
/// the oldest frame in flight is taken for the cause, because receivers work in
/// order: it and its chunk go to the back.
///
/// # When a frame is cut again
///
/// A frame keeps its id for as long as a receiver may have stored it, since an
/// acknowledgement may be what was lost: two halves under ids of their own would
/// then be duplicates that nobody can recognise. So there are two cases:
///
/// - Its last byte has never left. Then nobody has it, and it is cut to the
///   [limit](super::capacity::Capacity::limit) of the node that gets it.
/// - It was written as a whole. Then it is halved only if [`ATTEMPTS`] times a
///   node lost its connection without a word (or never acknowledged) while this
///   frame travelled alone, was larger than all that the node has acknowledged
///   of late, *and* each time the node had acknowledged something else since it
///   last failed. A node that fails over everything never gets a frame halved,
///   nor does one that takes frames of that size. A node with a limit does
///   acknowledge others, because what was not sent yet is cut smaller in the
///   meantime. After each of these the doubtful frame is tried at once, so that
///   it is settled while there is something left that can vouch for the node;
///   where there is nothing, the frame waits for later chunks. Where nothing may
///   overtake ([`Order::Strict`]), every loss counts.
///
/// What is left is a receiver that stores a frame and drops the connection three
/// times over the largest frame that it has seen, while it acknowledges others in
/// between.
///
/// A single record, or a frame whose size is proven, is parked until
/// [`SendQueue::resume`] instead; so is a frame that the peer refused by word.
///
/// [`ATTEMPTS`]: super::chunk::ATTEMPTS
#[derive(Debug, Default)]
pub struct SendQueue {
    order: Order,
    chunks: VecDeque<ChunkInFlight>,
}

impl SendQueue {
    /// An empty one.
    pub fn new(order: Order) -> SendQueue {
        SendQueue {
            order,
            ..SendQueue::default()
        }
    }

    /// Takes a chunk: batches of its records by tag, cut into frames (at least
    /// one in all). `new_id` gives each of them the id that it keeps.
    pub fn add(
        &mut self,
        key: ChunkKey,
        parts: Vec<(Batch, Vec<FrameRange>)>,
        new_id: impl FnMut() -> FrameId,
    ) {
        self.chunks
            .push_back(ChunkInFlight::new(key, parts, new_id));
    }

    /// Whether anything is to be sent or acknowledged; what is parked is not.
    pub fn is_active(&self) -> bool {
        self.chunks
            .iter()
            .any(|chunk| chunk.status() == ChunkStatus::Sending)
    }

    /// Whether a frame waits to be sent.
    pub fn has_waiting(&self) -> bool {
        self.chunks.iter().any(|chunk| chunk.next().is_some())
    }

    /// The frame that is to be sent next to a node, cut to its `limit` where no
    /// receiver can have it yet; `new_id` gives ids to its parts.
    pub fn next(
        &mut self,
        node: NodeRecord,
        limit: Option<usize>,
        new_id: impl FnMut() -> FrameId,
    ) -> Option<Next> {
        let (place, frame) = self.next_place(node)?;
        let chunk = self.chunks.get_mut(place)?;
        if let Some(limit) = limit {
            chunk.fit(frame, limit, new_id);
        }
        chunk.peek(frame)
    }

    /// Sends the frame of which [`SendQueue::next`] told: it is in flight from now on.
    pub fn send(&mut self, node: NodeRecord) -> Option<(Frame<'_>, Attempt)> {
        let (place, frame) = self.next_place(node)?;
        self.chunks.get_mut(place)?.send(frame)
    }

    /// Settles a frame; `None` if there is none of that id, or it is settled already.
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

    /// A connection ended with frames in flight: they wait again. `new_id` gives
    /// ids to halves.
    pub fn lost(&mut self, lost: &LostFrames, new_id: impl FnMut() -> FrameId) -> Verdict {
        for id in &lost.frames {
            let written = match lost.unwritten == Some(*id) {
                true => Written::Partly,
                false => Written::Whole,
            };
            self.put_back(id, written);
        }
        let suspect = lost.oldest.and_then(|id| self.place_of(&id));
        let Some((place, frame)) = suspect else {
            return Verdict::Again;
        };
        let Some(chunk) = self.chunks.get_mut(place) else {
            return Verdict::Again;
        };
        let ending = match lost.ending {
            // Nothing else could be acknowledged in the meantime.
            Ending::Wordless { size, .. } if self.order == Order::Strict => Ending::Wordless {
                size,
                node: NodeRecord::Works,
            },
            ending => ending,
        };
        let verdict = match (self.order, ending) {
            (Order::Free, Ending::Wordless { .. }) => {
                let last = chunk.move_back(frame);
                chunk.strike(last, ending, new_id)
            }
            _ => chunk.strike(frame, ending, new_id),
        };
        if self.order == Order::Free {
            let chunk = self.chunks.remove(place);
            self.chunks.extend(chunk);
        }
        verdict
    }

    /// These frames in flight wait again, though their connection lives. Should
    /// it acknowledge them after all, that counts.
    pub fn release<'a>(&mut self, in_flight: impl IntoIterator<Item = &'a FrameId>) {
        for id in in_flight {
            self.put_back(id, Written::Whole);
        }
    }

    /// Takes up what is parked of a chunk again. Frames that were acknowledged
    /// stay so.
    pub fn resume(&mut self, key: ChunkKey) {
        let chunks = self.chunks.iter_mut();
        chunks
            .filter(|chunk| chunk.key == key)
            .for_each(ChunkInFlight::resume);
    }

    /// Forgets a chunk.
    pub fn forget(&mut self, key: ChunkKey) {
        self.chunks.retain(|chunk| chunk.key != key);
    }

    fn put_back(&mut self, id: &FrameId, written: Written) {
        if let Some((place, frame)) = self.place_of(id)
            && let Some(chunk) = self.chunks.get_mut(place)
        {
            chunk.put_back(frame, written);
        }
    }

    /// The place of the chunk and frame that a node gets next.
    fn next_place(&self, node: NodeRecord) -> Option<(usize, usize)> {
        let chunks = || self.chunks.iter().enumerate();
        let doubted = match (self.order, node) {
            (Order::Free, NodeRecord::Works) => chunks()
                .filter_map(|(place, chunk)| Some((place, chunk.next_doubted()?)))
                .next(),
            _ => None,
        };
        doubted.or_else(|| {
            chunks()
                .filter_map(|(place, chunk)| Some((place, chunk.next()?)))
                .next()
        })
    }

    /// The place of the chunk that has a frame of this id, and of the frame.
    fn place_of(&self, id: &FrameId) -> Option<(usize, usize)> {
        let chunks = self.chunks.iter().enumerate();
        chunks
            .filter_map(|(place, chunk)| Some((place, chunk.place_of(id)?)))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::capacity::{Capacity, LEAST_LIMIT};
    use super::super::chunk::Size;
    use super::*;

    /// An send_queue with chunks of these numbers of frames, one byte and record each;
    /// the ids count up from 0.
    fn send_queue(chunks: &[usize]) -> SendQueue {
        let mut send_queue = SendQueue::default();
        let mut next = 0;
        for (key, &frames) in chunks.iter().enumerate() {
            let ranges = (0..frames)
                .map(|at| FrameRange {
                    bytes: at..at + 1,
                    records: 1,
                })
                .collect();
            let batch = Batch {
                entries: (0..frames as u8).collect(),
                ends: (1..=frames).collect(),
                ..Batch::default()
            };
            send_queue.add(ChunkKey(key as u64), vec![(batch, ranges)], || {
                next += 1;
                id(next - 1)
            });
        }
        send_queue
    }

    fn id(number: u8) -> FrameId {
        FrameId::new([number; 16])
    }

    /// Ids and attempts of all that can be sent.
    fn send_all(send_queue: &mut SendQueue) -> Vec<(FrameId, Attempt)> {
        let mut sent = Vec::new();
        while send_queue.has_waiting() {
            let (frame, attempt) = send_queue.send(NodeRecord::Fails).unwrap();
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

    const WORKS: Ending = Ending::Wordless {
        size: Size::Proven,
        node: NodeRecord::Works,
    };
    const FAILS: Ending = Ending::Wordless {
        size: Size::Proven,
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
    fn lose(send_queue: &mut SendQueue, in_flight: &[FrameId], ending: Ending) -> Verdict {
        send_queue.lost(&lost(in_flight, ending), || unreachable!())
    }

    fn parked(status: ChunkStatus) -> Verdict {
        Verdict::Parked {
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
            let (frame, _) = send_queue.send(NodeRecord::Fails).unwrap();
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
        assert_eq!(verdict, Verdict::Again);
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
            assert_eq!(lose(&mut send_queue, &got, WORKS), Verdict::Again);
        }
        send_all(&mut send_queue);
        let verdict = lose(&mut send_queue, &[id(0), id(1)], WORKS);
        assert_eq!(verdict, parked(ChunkStatus::Parked));
        assert_eq!(send_all(&mut send_queue), sent(&[1], Attempt::Again));
        send_queue.resume(ChunkKey(0));
        assert_eq!(send_all(&mut send_queue), sent(&[0], Attempt::Again));
    }

    /// What a node does that fails over everything is nobody's fault but its own.
    #[test]
    fn a_node_that_fails_is_no_evidence() {
        let mut send_queue = send_queue(&[1]);
        let endings = [FAILS, Ending::Unclear];
        for ending in endings.into_iter().cycle().take(100) {
            send_all(&mut send_queue);
            assert_eq!(lose(&mut send_queue, &[id(0)], ending), Verdict::Again);
        }
    }

    /// It is not taken from the node that has got it in the meantime.
    #[test]
    fn what_another_node_has_is_left_to_it() {
        let mut send_queue = send_queue(&[1]);
        for _ in 0..10 {
            send_all(&mut send_queue);
            send_queue.release(&[id(0)]);
            assert_eq!(send_all(&mut send_queue), sent(&[0], Attempt::Again));
            let elsewhere = LostFrames {
                frames: Vec::new(),
                ..lost(&[id(0)], WORKS)
            };
            let verdict = send_queue.lost(&elsewhere, || unreachable!());
            assert_eq!(verdict, Verdict::Again);
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
            assert_eq!(lose(&mut send_queue, &ids, WORKS), Verdict::Again);
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

    /// What has not left as a whole is cut anew under other ids, which nobody can
    /// have; what has left is not.
    #[test]
    fn case_46_what_nobody_can_have_is_cut_freely() {
        for (written, expected) in [(false, 2), (true, 4)] {
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
            send_queue.send(NodeRecord::Fails).unwrap();
            let lost = LostFrames {
                unwritten: (!written).then_some(id(0)),
                ..lost(&[id(0)], FAILS)
            };
            send_queue.lost(&lost, || unreachable!());
            let mut ids = [id(1), id(2)].into_iter();
            let next = send_queue
                .next(NodeRecord::Fails, Some(3), || ids.next().unwrap())
                .unwrap();
            assert_eq!(next.bytes, expected);
            let attempt = if written {
                Attempt::Again
            } else {
                Attempt::First
            };
            assert_eq!(next.attempt, attempt);
        }
    }

    const RECORD: usize = LEAST_LIMIT / 4;

    /// A node that closes on frames above its limit, after it took all of them.
    struct Node {
        limit: usize,
        capacity: Capacity,
        works: bool,
        next_id: u8,
        /// Records as often as they were stored.
        stored: Vec<u8>,
        /// Ids under which each record was ever written, by record.
        ids: Vec<(u8, FrameId)>,
        splits: Vec<usize>,
        parked: Vec<usize>,
    }

    impl Node {
        fn new(limit: usize) -> Node {
            Node {
                limit,
                capacity: Capacity::default(),
                works: false,
                next_id: 0,
                stored: Vec::new(),
                ids: Vec::new(),
                splits: Vec::new(),
                parked: Vec::new(),
            }
        }

        /// Takes one frame at a time; whether there was any.
        fn step(&mut self, send_queue: &mut SendQueue, now: Instant) -> bool {
            let mut new_id = || {
                self.next_id += 1;
                id(self.next_id)
            };
            let node = match self.works {
                true => NodeRecord::Works,
                false => NodeRecord::Fails,
            };
            let limit = self.capacity.limit(now);
            if send_queue.next(node, limit, &mut new_id).is_none() {
                return false;
            }
            let (frame, _) = send_queue.send(node).unwrap();
            let (sent, bytes) = (*frame.id, frame.entries.len());
            let records: Vec<u8> = frame.entries.iter().step_by(RECORD).copied().collect();
            self.ids
                .extend(records.iter().map(|record| (*record, sent)));
            if bytes <= self.limit {
                self.stored.extend(records);
                self.capacity.acknowledged(bytes, now);
                self.works = true;
                send_queue.acked(&sent).unwrap();
                return true;
            }
            let size = match self.capacity.covers(bytes, now) {
                true => Size::Proven,
                false => {
                    self.capacity.doubt(bytes, now);
                    Size::Unproven
                }
            };
            self.works = false;
            let lost = lost(&[sent], Ending::Wordless { size, node });
            match send_queue.lost(&lost, &mut new_id) {
                Verdict::Again => (),
                Verdict::Split { records, .. } => self.splits.push(records),
                Verdict::Parked { records, .. } => self.parked.push(records),
            }
            true
        }

        fn add(&mut self, send_queue: &mut SendQueue, key: u64, records: std::ops::Range<u8>) {
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
            self.next_id += 1;
            let number = self.next_id;
            send_queue.add(ChunkKey(key), vec![(batch, vec![whole])], || id(number));
        }
    }

    /// Only the first frame is ever halved after it was written: it teaches the
    /// size of all others before they are.
    #[test]
    fn case_46_a_limit_is_found() {
        let now = Instant::now();
        let mut send_queue = SendQueue::default();
        let mut node = Node::new(9 * RECORD);
        for key in 0..6 {
            let first = key as u8 * 16;
            node.add(&mut send_queue, key, first..first + 16);
        }
        for _ in 0..100 {
            node.step(&mut send_queue, now);
        }
        assert!(!send_queue.is_active());
        node.stored.sort_unstable();
        assert_eq!(node.stored, (0..96).collect::<Vec<u8>>(), "each once");
        assert_eq!((&*node.splits, &*node.parked), (&[16][..], &[][..]));
        for record in 16..96 {
            let ids = node.ids.iter().filter(|(other, _)| *other == record);
            assert_eq!(ids.count(), 1, "record {record}");
        }
    }

    /// However long a node fails over everything, no frame gets other ids.
    #[test]
    fn case_46_a_node_that_is_away_splits_nothing() {
        let now = Instant::now();
        let mut send_queue = SendQueue::default();
        let mut node = Node::new(0);
        node.add(&mut send_queue, 0, 0..16);
        for _ in 0..50 {
            assert!(node.step(&mut send_queue, now));
        }
        node.limit = usize::MAX;
        while node.step(&mut send_queue, now) {}
        assert_eq!(node.stored, (0..16).collect::<Vec<u8>>());
        assert!(node.ids.iter().all(|(_, sent)| *sent == id(1)));
    }
}
