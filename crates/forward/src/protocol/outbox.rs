//! Chunks under way: in which order their frames are sent, and what their losses teach.

use std::collections::VecDeque;

use super::ChunkId;
use super::frames::{Batch, Span};
use super::pending::{Attempt, Ending, Next, NodeRecord, Pending, Ticket, Verdict, Written};
use super::wire::Frame;

/// What an acknowledgement settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// Records in the frame.
    pub records: usize,
    /// The chunk, if none of its frames waits or travels any more.
    pub settled: Option<(Ticket, Settled)>,
}

/// How a chunk ended for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All of it is acknowledged.
    Delivered,
    /// All but what is parked.
    Parked,
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
    pub frames: Vec<ChunkId>,
    /// The oldest of all, also where another node has got it by now.
    pub oldest: Option<ChunkId>,
    /// The one whose last byte had not left.
    pub unwritten: Option<ChunkId>,
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
/// [`Outbox::resume`] instead; so is a frame that the peer refused by word.
///
/// [`ATTEMPTS`]: super::pending::ATTEMPTS
#[derive(Debug, Default)]
pub struct Outbox {
    order: Order,
    chunks: VecDeque<Pending>,
}

impl Outbox {
    /// An empty one.
    pub fn new(order: Order) -> Outbox {
        Outbox {
            order,
            ..Outbox::default()
        }
    }

    /// Takes a chunk: batches of its records by tag, cut into frames (at least
    /// one in all). `new_id` gives each of them the id that it keeps.
    pub fn add(
        &mut self,
        ticket: Ticket,
        parts: Vec<(Batch, Vec<Span>)>,
        new_id: impl FnMut() -> ChunkId,
    ) {
        self.chunks.push_back(Pending::new(ticket, parts, new_id));
    }

    /// Whether anything is to be sent or acknowledged; what is parked is not.
    pub fn is_active(&self) -> bool {
        self.chunks.iter().any(Pending::is_active)
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
        new_id: impl FnMut() -> ChunkId,
    ) -> Option<Next> {
        let (place, frame) = self.next_place(node)?;
        let chunk = self.chunks.get_mut(place)?;
        if let Some(limit) = limit {
            chunk.fit(frame, limit, new_id);
        }
        chunk.peek(frame)
    }

    /// Sends the frame of which [`Outbox::next`] told: it is in flight from now on.
    pub fn send(&mut self, node: NodeRecord) -> Option<(Frame<'_>, Attempt)> {
        let (place, frame) = self.next_place(node)?;
        self.chunks.get_mut(place)?.send(frame)
    }

    /// Settles a frame; `None` if there is none of that id, or it is settled already.
    pub fn acked(&mut self, id: &ChunkId) -> Option<Acked> {
        let (place, frame) = self.place_of(id)?;
        let chunk = self.chunks.get_mut(place)?;
        let span = chunk.acked(frame)?;
        let done = chunk.is_done();
        let settled = if done {
            Some((chunk.ticket, Settled::Delivered))
        } else {
            (!chunk.is_active()).then_some((chunk.ticket, Settled::Parked))
        };
        if done {
            self.chunks.remove(place);
        }
        Some(Acked {
            records: span.records,
            settled,
        })
    }

    /// A connection ended with frames in flight: they wait again. `new_id` gives
    /// ids to halves.
    pub fn lost(&mut self, lost: &LostFrames, new_id: impl FnMut() -> ChunkId) -> Verdict {
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
    pub fn release<'a>(&mut self, in_flight: impl IntoIterator<Item = &'a ChunkId>) {
        for id in in_flight {
            self.put_back(id, Written::Whole);
        }
    }

    /// Takes up what is parked of a chunk again. Frames that were acknowledged
    /// stay so.
    pub fn resume(&mut self, ticket: Ticket) {
        let chunks = self.chunks.iter_mut();
        chunks
            .filter(|chunk| chunk.ticket == ticket)
            .for_each(Pending::resume);
    }

    /// Forgets a chunk.
    pub fn forget(&mut self, ticket: Ticket) {
        self.chunks.retain(|chunk| chunk.ticket != ticket);
    }

    fn put_back(&mut self, id: &ChunkId, written: Written) {
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
    fn place_of(&self, id: &ChunkId) -> Option<(usize, usize)> {
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
    use super::super::pending::Size;
    use super::*;

    /// An outbox with chunks of these numbers of frames, one byte and record each;
    /// the ids count up from 0.
    fn outbox(chunks: &[usize]) -> Outbox {
        let mut outbox = Outbox::default();
        let mut next = 0;
        for (ticket, &frames) in chunks.iter().enumerate() {
            let spans = (0..frames)
                .map(|at| Span {
                    bytes: at..at + 1,
                    records: 1,
                })
                .collect();
            let batch = Batch {
                entries: (0..frames as u8).collect(),
                ends: (1..=frames).collect(),
                ..Batch::default()
            };
            outbox.add(Ticket(ticket as u64), vec![(batch, spans)], || {
                next += 1;
                id(next - 1)
            });
        }
        outbox
    }

    fn id(number: u8) -> ChunkId {
        ChunkId::new([number; 16])
    }

    /// Ids and attempts of all that can be sent.
    fn send_all(outbox: &mut Outbox) -> Vec<(ChunkId, Attempt)> {
        let mut sent = Vec::new();
        while outbox.has_waiting() {
            let (frame, attempt) = outbox.send(NodeRecord::Fails).unwrap();
            sent.push((*frame.id, attempt));
        }
        sent
    }

    fn sent(numbers: &[u8], attempt: Attempt) -> Vec<(ChunkId, Attempt)> {
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

    fn lost(in_flight: &[ChunkId], ending: Ending) -> LostFrames {
        LostFrames {
            frames: in_flight.to_vec(),
            oldest: in_flight.first().copied(),
            unwritten: None,
            ending,
        }
    }

    /// Loses the connection with these frames in flight; no halves are expected.
    fn lose(outbox: &mut Outbox, in_flight: &[ChunkId], ending: Ending) -> Verdict {
        outbox.lost(&lost(in_flight, ending), || unreachable!())
    }

    fn parked(settled: Option<u64>) -> Verdict {
        Verdict::Parked {
            bytes: 1,
            records: 1,
            settled: settled.map(Ticket),
        }
    }

    #[test]
    fn a_chunk_is_settled_with_its_last_frame() {
        let mut outbox = outbox(&[2, 1]);
        assert_eq!(send_all(&mut outbox), sent(&[0, 1, 2], Attempt::First));
        let mut ticket = |number| {
            let acked = outbox.acked(&id(number)).unwrap();
            assert_eq!(acked.records, 1);
            acked.settled.map(|(ticket, _)| ticket)
        };
        assert_eq!(
            [1, 2, 0].map(&mut ticket),
            [None, Some(Ticket(1)), Some(Ticket(0))]
        );
        assert!(!outbox.is_active());
        assert_eq!(outbox.acked(&id(0)), None, "once only");
    }

    /// Records of one chunk that travel under several tags.
    #[test]
    fn a_chunk_of_several_tags() {
        let mut outbox = Outbox::default();
        let part = |tag: &[u8]| {
            let batch = Batch {
                tag: tag.to_vec(),
                entries: tag.to_vec(),
                ends: vec![1],
            };
            let span = Span {
                bytes: 0..1,
                records: 1,
            };
            (batch, vec![span])
        };
        let mut next = 0;
        outbox.add(Ticket(7), vec![part(b"a"), part(b"b")], || {
            next += 1;
            id(next)
        });
        for (tag, number) in [(b"a", 1), (b"b", 2)] {
            let (frame, _) = outbox.send(NodeRecord::Fails).unwrap();
            assert_eq!((frame.tag, frame.entries), (&tag[..], &tag[..]));
            assert_eq!(*frame.id, id(number));
        }
        let settled = |acked: Option<Acked>| acked.unwrap().settled.is_some();
        assert!(!settled(outbox.acked(&id(2))));
        assert!(settled(outbox.acked(&id(1))));
    }

    #[test]
    fn case_39_only_the_unacked_go_again_with_the_same_ids() {
        let mut outbox = outbox(&[4]);
        send_all(&mut outbox);
        outbox.acked(&id(0));
        outbox.acked(&id(2));
        let verdict = lose(&mut outbox, &[id(1), id(3)], WORKS);
        assert_eq!(verdict, Verdict::Again);
        assert_eq!(send_all(&mut outbox), sent(&[3, 1], Attempt::Again));
    }

    #[test]
    fn a_suspect_goes_to_the_back_and_is_parked_at_last() {
        let mut outbox = outbox(&[1, 1]);
        for order in [[0, 1], [1, 0], [0, 1], [1, 0]] {
            let got: Vec<_> = send_all(&mut outbox)
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(got, order.map(id));
            assert_eq!(lose(&mut outbox, &got, WORKS), Verdict::Again);
        }
        send_all(&mut outbox);
        let verdict = lose(&mut outbox, &[id(0), id(1)], WORKS);
        assert_eq!(verdict, parked(Some(0)));
        assert_eq!(send_all(&mut outbox), sent(&[1], Attempt::Again));
        outbox.resume(Ticket(0));
        assert_eq!(send_all(&mut outbox), sent(&[0], Attempt::Again));
    }

    /// What a node does that fails over everything is nobody's fault but its own.
    #[test]
    fn a_node_that_fails_is_no_evidence() {
        let mut outbox = outbox(&[1]);
        let endings = [FAILS, Ending::Unclear];
        for ending in endings.into_iter().cycle().take(100) {
            send_all(&mut outbox);
            assert_eq!(lose(&mut outbox, &[id(0)], ending), Verdict::Again);
        }
    }

    /// It is not taken from the node that has got it in the meantime.
    #[test]
    fn what_another_node_has_is_left_to_it() {
        let mut outbox = outbox(&[1]);
        for _ in 0..10 {
            send_all(&mut outbox);
            outbox.release(&[id(0)]);
            assert_eq!(send_all(&mut outbox), sent(&[0], Attempt::Again));
            let elsewhere = LostFrames {
                frames: Vec::new(),
                ..lost(&[id(0)], WORKS)
            };
            let verdict = outbox.lost(&elsewhere, || unreachable!());
            assert_eq!(verdict, Verdict::Again);
        }
        assert!(outbox.acked(&id(0)).is_some());
    }

    #[test]
    fn strict_order_survives_losses() {
        let mut outbox = Outbox {
            order: Order::Strict,
            ..outbox(&[2, 2])
        };
        for attempt in [Attempt::First, Attempt::Again] {
            let got = send_all(&mut outbox);
            assert_eq!(got, sent(&[0, 1, 2, 3], attempt));
            let ids: Vec<_> = got.into_iter().map(|(id, _)| id).collect();
            assert_eq!(lose(&mut outbox, &ids, WORKS), Verdict::Again);
        }
    }

    #[test]
    fn case_37_refused_is_parked_at_once_and_keeps_what_was_acked() {
        let mut outbox = outbox(&[3]);
        send_all(&mut outbox);
        outbox.acked(&id(0));
        let verdict = lose(&mut outbox, &[id(1), id(2)], Ending::Refused);
        assert_eq!(verdict, parked(None));
        assert_eq!(send_all(&mut outbox), sent(&[2], Attempt::Again));
        let acked = outbox.acked(&id(2)).unwrap();
        assert_eq!(acked.settled, Some((Ticket(0), Settled::Parked)));
        assert!(!outbox.is_active());
        outbox.resume(Ticket(0));
        assert_eq!(send_all(&mut outbox), sent(&[1], Attempt::Again));
        outbox.forget(Ticket(0));
        assert!(!outbox.is_active());
    }

    /// What has not left as a whole is cut anew under other ids, which nobody can
    /// have; what has left is not.
    #[test]
    fn case_46_what_nobody_can_have_is_cut_freely() {
        for (written, expected) in [(false, 2), (true, 4)] {
            let mut outbox = Outbox::default();
            let batch = Batch {
                entries: vec![0; 4],
                ends: vec![1, 2, 3, 4],
                ..Batch::default()
            };
            let whole = Span {
                bytes: 0..4,
                records: 4,
            };
            outbox.add(Ticket(0), vec![(batch, vec![whole])], || id(0));
            outbox.send(NodeRecord::Fails).unwrap();
            let lost = LostFrames {
                unwritten: (!written).then_some(id(0)),
                ..lost(&[id(0)], FAILS)
            };
            outbox.lost(&lost, || unreachable!());
            let mut ids = [id(1), id(2)].into_iter();
            let next = outbox
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
        ids: Vec<(u8, ChunkId)>,
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
        fn step(&mut self, outbox: &mut Outbox, now: Instant) -> bool {
            let mut new_id = || {
                self.next_id += 1;
                id(self.next_id)
            };
            let node = match self.works {
                true => NodeRecord::Works,
                false => NodeRecord::Fails,
            };
            let limit = self.capacity.limit(now);
            if outbox.next(node, limit, &mut new_id).is_none() {
                return false;
            }
            let (frame, _) = outbox.send(node).unwrap();
            let (sent, bytes) = (*frame.id, frame.entries.len());
            let records: Vec<u8> = frame.entries.iter().step_by(RECORD).copied().collect();
            self.ids
                .extend(records.iter().map(|record| (*record, sent)));
            if bytes <= self.limit {
                self.stored.extend(records);
                self.capacity.acknowledged(bytes, now);
                self.works = true;
                outbox.acked(&sent).unwrap();
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
            match outbox.lost(&lost, &mut new_id) {
                Verdict::Again => (),
                Verdict::Split { records, .. } => self.splits.push(records),
                Verdict::Parked { records, .. } => self.parked.push(records),
            }
            true
        }

        fn add(&mut self, outbox: &mut Outbox, ticket: u64, records: std::ops::Range<u8>) {
            let count = records.len();
            let batch = Batch {
                entries: records.flat_map(|record| [record; RECORD]).collect(),
                ends: (1..=count).map(|end| end * RECORD).collect(),
                ..Batch::default()
            };
            let whole = Span {
                bytes: 0..count * RECORD,
                records: count,
            };
            self.next_id += 1;
            let number = self.next_id;
            outbox.add(Ticket(ticket), vec![(batch, vec![whole])], || id(number));
        }
    }

    /// Only the first frame is ever halved after it was written: it teaches the
    /// size of all others before they are.
    #[test]
    fn case_46_a_limit_is_found() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        let mut node = Node::new(9 * RECORD);
        for ticket in 0..6 {
            let first = ticket as u8 * 16;
            node.add(&mut outbox, ticket, first..first + 16);
        }
        for _ in 0..100 {
            node.step(&mut outbox, now);
        }
        assert!(!outbox.is_active());
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
        let mut outbox = Outbox::default();
        let mut node = Node::new(0);
        node.add(&mut outbox, 0, 0..16);
        for _ in 0..50 {
            assert!(node.step(&mut outbox, now));
        }
        node.limit = usize::MAX;
        while node.step(&mut outbox, now) {}
        assert_eq!(node.stored, (0..16).collect::<Vec<u8>>());
        assert!(node.ids.iter().all(|(_, sent)| *sent == id(1)));
    }
}
