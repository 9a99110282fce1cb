//! Chunks under way: which of their frames wait, travel or are acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ChunkId;
use super::frames::{Batch, Span, halve};
use super::wire::Frame;

/// How often a frame may be the likely cause of a lost connection before it is
/// sent in halves, or parked if it holds a single record.
pub const ATTEMPTS: u32 = 3;

/// How long the size of halves that arrived is taken for the receiver's limit.
/// The losses may have had another cause, and limits are raised.
const LEARNT_FOR: Duration = Duration::from_secs(600);

/// No smaller size is learnt: receivers take more, and frames of a few records
/// would cost more than an occasional loss.
const LEAST_LEARNT: usize = 32 << 10;

/// Names a chunk between the host's calls and the thread that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Whether a frame is sent for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is.
    First,
    /// It was in flight on a connection that was lost.
    Again,
}

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
    /// All of it is acknowledged, so long after its first frame was sent.
    Delivered(Duration),
    /// All but what is parked.
    Parked,
}

/// How a connection with frames in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer refused a frame.
    Refused,
    /// Anything else.
    Unclear,
}

/// What became of the frame that was probably the cause of a lost connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent again.
    Again,
    /// It is sent again in two halves with new ids.
    Split {
        /// Bytes of entries of the whole.
        bytes: usize,
        /// Its records.
        records: usize,
    },
    /// It is not sent again until the chunk is resumed.
    Parked {
        /// Its bytes of entries.
        bytes: usize,
        /// Its records.
        records: usize,
        /// The chunk, if nothing else of it waits or travels.
        settled: Option<Ticket>,
    },
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

/// Every chunk that is not yet acknowledged as a whole, with its bytes.
///
/// Chunks are sent in the order in which they came. When a connection is lost,
/// the oldest frame in flight is taken for the cause, because receivers work in
/// order: its chunk goes to the back, and after [`ATTEMPTS`] losses it may be too
/// large for the receiver, so that it is halved, as are other large ones after it
/// for some time. A single record that still is
/// the cause, or a frame that the peer refused by word, is parked until
/// [`Outbox::resume`].
#[derive(Debug, Default)]
pub struct Outbox {
    order: Order,
    chunks: VecDeque<Chunk>,
    learnt: Option<Learnt>,
}

/// A size that a receiver took twice where it did not take both at once.
#[derive(Clone, Copy, Debug)]
struct Learnt {
    bytes: usize,
    at: Instant,
}

#[derive(Debug)]
struct Chunk {
    ticket: Ticket,
    batch: Batch,
    frames: Vec<Parcel>,
    first_sent: Option<Instant>,
}

#[derive(Debug)]
struct Parcel {
    id: ChunkId,
    span: Span,
    /// How often it was the likely cause of a lost connection.
    strikes: u32,
    /// The other half of a frame that was halved because it was such a cause.
    sibling: Option<ChunkId>,
    state: ParcelState,
}

impl Parcel {
    fn new(id: ChunkId, span: Span) -> Parcel {
        Parcel {
            id,
            span,
            strikes: 0,
            sibling: None,
            state: ParcelState::Waiting(Attempt::First),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParcelState {
    Waiting(Attempt),
    InFlight,
    Acked,
    Parked,
}

impl Outbox {
    /// An empty one.
    pub fn new(order: Order) -> Outbox {
        Outbox {
            order,
            ..Outbox::default()
        }
    }

    /// Takes a chunk that was cut into `frames` (at least one); `new_id` gives
    /// each of them the id that it keeps.
    pub fn add(
        &mut self,
        ticket: Ticket,
        batch: Batch,
        frames: Vec<Span>,
        mut new_id: impl FnMut() -> ChunkId,
    ) {
        self.chunks.push_back(Chunk {
            ticket,
            batch,
            frames: frames
                .into_iter()
                .map(|span| Parcel::new(new_id(), span))
                .collect(),
            first_sent: None,
        });
    }

    /// Whether anything is to be sent or acknowledged; what is parked is not.
    pub fn is_active(&self) -> bool {
        self.chunks.iter().any(Chunk::is_active)
    }

    /// Whether a frame waits to be sent.
    pub fn has_waiting(&self) -> bool {
        let mut frames = self.chunks.iter().flat_map(|chunk| &chunk.frames);
        frames.any(|parcel| matches!(parcel.state, ParcelState::Waiting(_)))
    }

    /// The next frame to send. It counts as in flight from now on. `new_id` gives
    /// ids to the parts of frames that are known to be too large.
    pub fn next_frame(
        &mut self,
        now: Instant,
        mut new_id: impl FnMut() -> ChunkId,
    ) -> Option<(Frame<'_>, Attempt)> {
        let limit = self.limit(now);
        let waits = |parcel: &Parcel| matches!(parcel.state, ParcelState::Waiting(_));
        for chunk in &mut self.chunks {
            let Some(place) = chunk.frames.iter().position(waits) else {
                continue;
            };
            if let Some(limit) = limit {
                chunk.fit(place, limit, &mut new_id);
            }
            chunk.first_sent.get_or_insert(now);
            let parcel = chunk.frames.get_mut(place)?;
            let ParcelState::Waiting(attempt) = parcel.state else {
                continue;
            };
            parcel.state = ParcelState::InFlight;
            let bytes = parcel.span.bytes.clone();
            let frame = Frame {
                tag: &chunk.batch.tag,
                entries: chunk.batch.entries.get(bytes).unwrap_or_default(),
                compressed: None,
                records: parcel.span.records,
                id: &parcel.id,
                extra: &[],
            };
            return Some((frame, attempt));
        }
        None
    }

    /// Settles a frame; `None` if there is none of that id, or it is settled already.
    pub fn acked(&mut self, id: &ChunkId, now: Instant) -> Option<Acked> {
        let (place, frame) = self.place_of(id)?;
        let chunk = self.chunks.get_mut(place)?;
        let parcel = chunk.frames.get_mut(frame)?;
        if parcel.state == ParcelState::Acked {
            return None;
        }
        parcel.state = ParcelState::Acked;
        let records = parcel.span.records;
        // One half alone may have been without the record that is the cause.
        let bytes = parcel.span.bytes.len();
        let sibling = parcel.sibling;
        let is_sibling =
            |other: &&Parcel| Some(other.id) == sibling && other.state == ParcelState::Acked;
        if let Some(other) = chunk.frames.iter().find(is_sibling) {
            let bytes = bytes.max(other.span.bytes.len()).max(LEAST_LEARNT);
            self.learnt = Some(Learnt { bytes, at: now });
        }
        let done = chunk
            .frames
            .iter()
            .all(|parcel| parcel.state == ParcelState::Acked);
        let settled = if done {
            let took = chunk.first_sent.map_or(Duration::ZERO, |sent| now - sent);
            Some((chunk.ticket, Settled::Delivered(took)))
        } else {
            (!chunk.is_active()).then_some((chunk.ticket, Settled::Parked))
        };
        if done {
            self.chunks.remove(place);
        }
        Some(Acked { records, settled })
    }

    /// A connection ended with these frames in flight, oldest first: they wait
    /// again. `new_id` gives ids to halves.
    pub fn lost<'a>(
        &mut self,
        in_flight: impl IntoIterator<Item = &'a ChunkId>,
        ending: Ending,
        new_id: impl FnMut() -> ChunkId,
    ) -> Verdict {
        let suspect = self.put_back(in_flight);
        let Some((place, frame)) = suspect else {
            return Verdict::Again;
        };
        let Some(chunk) = self.chunks.get_mut(place) else {
            return Verdict::Again;
        };
        let verdict = chunk.strike(frame, ending, new_id);
        if self.order == Order::Free {
            let chunk = self.chunks.remove(place);
            self.chunks.extend(chunk);
        }
        verdict
    }

    /// These frames in flight wait again, though their connection lives. Should
    /// it acknowledge them after all, that counts.
    pub fn release<'a>(&mut self, in_flight: impl IntoIterator<Item = &'a ChunkId>) {
        self.put_back(in_flight);
    }

    /// Takes up what is parked of a chunk again. Frames that were acknowledged
    /// stay so.
    pub fn resume(&mut self, ticket: Ticket) {
        for chunk in self
            .chunks
            .iter_mut()
            .filter(|chunk| chunk.ticket == ticket)
        {
            chunk.first_sent = None;
            for parcel in &mut chunk.frames {
                if parcel.state == ParcelState::Parked {
                    parcel.state = ParcelState::Waiting(Attempt::Again);
                    parcel.strikes = 0;
                }
            }
        }
    }

    /// Forgets a chunk.
    pub fn forget(&mut self, ticket: Ticket) {
        self.chunks.retain(|chunk| chunk.ticket != ticket);
    }

    /// The largest frame that is worth sending, as far as known.
    fn limit(&self, now: Instant) -> Option<usize> {
        let learnt = self.learnt.filter(|learnt| now < learnt.at + LEARNT_FOR)?;
        Some(learnt.bytes)
    }

    /// Makes frames wait again; the place of the first that really was in flight.
    fn put_back<'a>(
        &mut self,
        in_flight: impl IntoIterator<Item = &'a ChunkId>,
    ) -> Option<(usize, usize)> {
        let mut first = None;
        for id in in_flight {
            let Some((place, frame)) = self.place_of(id) else {
                continue;
            };
            let chunk = self.chunks.get_mut(place);
            if let Some(parcel) = chunk.and_then(|chunk| chunk.frames.get_mut(frame))
                && parcel.state == ParcelState::InFlight
            {
                parcel.state = ParcelState::Waiting(Attempt::Again);
                first.get_or_insert((place, frame));
            }
        }
        first
    }

    /// The place of the chunk that has a frame of this id, and of the frame.
    fn place_of(&self, id: &ChunkId) -> Option<(usize, usize)> {
        let place = |(place, chunk): (usize, &Chunk)| {
            let frame = chunk.frames.iter().position(|parcel| parcel.id == *id)?;
            Some((place, frame))
        };
        self.chunks.iter().enumerate().find_map(place)
    }
}

impl Chunk {
    /// Halves a frame that was never sent until it fits.
    fn fit(&mut self, frame: usize, limit: usize, mut new_id: impl FnMut() -> ChunkId) {
        while let Some(parcel) = self.frames.get(frame)
            && parcel.state == ParcelState::Waiting(Attempt::First)
            && parcel.span.bytes.len() > limit
            && let Some(halves) = halve(&parcel.span, &self.batch.ends)
        {
            let halves = halves.map(|span| Parcel::new(new_id(), span));
            self.frames.splice(frame..=frame, halves);
        }
    }

    fn is_active(&self) -> bool {
        self.frames.iter().any(|parcel| {
            matches!(
                parcel.state,
                ParcelState::Waiting(_) | ParcelState::InFlight
            )
        })
    }

    /// A frame was probably the cause of a lost connection.
    fn strike(
        &mut self,
        frame: usize,
        ending: Ending,
        mut new_id: impl FnMut() -> ChunkId,
    ) -> Verdict {
        let Some(parcel) = self.frames.get_mut(frame) else {
            return Verdict::Again;
        };
        parcel.strikes += 1;
        if ending != Ending::Refused && parcel.strikes < ATTEMPTS {
            return Verdict::Again;
        }
        let bytes = parcel.span.bytes.len();
        let records = parcel.span.records;
        match halve(&parcel.span, &self.batch.ends) {
            Some([front, back]) if ending == Ending::Unclear => {
                let ids = [new_id(), new_id()];
                let half = |span: Span, id, sibling| Parcel {
                    // The size is found with one loss a step from here on; a
                    // record alone is a case of its own.
                    strikes: if span.records > 1 { ATTEMPTS - 1 } else { 0 },
                    sibling: Some(sibling),
                    ..Parcel::new(id, span)
                };
                let halves = [half(front, ids[0], ids[1]), half(back, ids[1], ids[0])];
                self.frames.splice(frame..=frame, halves);
                Verdict::Split { bytes, records }
            }
            _ => {
                parcel.state = ParcelState::Parked;
                Verdict::Parked {
                    bytes,
                    records,
                    settled: (!self.is_active()).then_some(self.ticket),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            outbox.add(Ticket(ticket as u64), batch, spans, || {
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
        let now = Instant::now();
        let next = || {
            outbox
                .next_frame(now, || unreachable!())
                .map(|(frame, attempt)| (*frame.id, attempt))
        };
        std::iter::from_fn(next).collect()
    }

    fn sent(numbers: &[u8], attempt: Attempt) -> Vec<(ChunkId, Attempt)> {
        numbers
            .iter()
            .map(|&number| (id(number), attempt))
            .collect()
    }

    #[test]
    fn finishes_with_the_last_ack() {
        let mut outbox = outbox(&[2, 1]);
        assert_eq!(send_all(&mut outbox), sent(&[0, 1, 2], Attempt::First));
        let now = Instant::now();
        let ticket = |number| {
            outbox
                .acked(&id(number), now)
                .unwrap()
                .settled
                .map(|(ticket, _)| ticket)
        };
        assert_eq!(
            [1, 2, 0].map(ticket),
            [None, Some(Ticket(1)), Some(Ticket(0))]
        );
        assert!(!outbox.is_active());
        assert_eq!(outbox.acked(&id(0), now), None, "once only");
    }

    /// Loses the connection with these frames in flight; no halves are expected.
    fn lose(outbox: &mut Outbox, in_flight: &[ChunkId], ending: Ending) -> Verdict {
        outbox.lost(in_flight, ending, || unreachable!())
    }

    fn parked(settled: Option<u64>) -> Verdict {
        Verdict::Parked {
            bytes: 1,
            records: 1,
            settled: settled.map(Ticket),
        }
    }

    #[test]
    fn case_39_only_the_unacked_go_again_with_the_same_ids() {
        let mut outbox = outbox(&[4]);
        send_all(&mut outbox);
        outbox.acked(&id(0), Instant::now());
        outbox.acked(&id(2), Instant::now());
        let verdict = lose(&mut outbox, &[id(1), id(3)], Ending::Unclear);
        assert_eq!(verdict, Verdict::Again);
        assert_eq!(send_all(&mut outbox), sent(&[1, 3], Attempt::Again));
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
            assert_eq!(lose(&mut outbox, &got, Ending::Unclear), Verdict::Again);
        }
        send_all(&mut outbox);
        let verdict = lose(&mut outbox, &[id(0), id(1)], Ending::Unclear);
        assert_eq!(verdict, parked(Some(0)));
        assert_eq!(send_all(&mut outbox), sent(&[1], Attempt::Again));
        outbox.resume(Ticket(0));
        assert_eq!(send_all(&mut outbox), sent(&[0], Attempt::Again));
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
            assert_eq!(lose(&mut outbox, &ids, Ending::Unclear), Verdict::Again);
        }
    }

    #[test]
    fn case_37_refused_is_parked_at_once_and_keeps_what_was_acked() {
        let mut outbox = outbox(&[3]);
        send_all(&mut outbox);
        outbox.acked(&id(0), Instant::now());
        let verdict = lose(&mut outbox, &[id(1), id(2)], Ending::Refused);
        assert_eq!(verdict, parked(None));
        assert_eq!(send_all(&mut outbox), sent(&[2], Attempt::Again));
        let acked = outbox.acked(&id(2), Instant::now()).unwrap();
        assert_eq!(acked.settled, Some((Ticket(0), Settled::Parked)));
        assert!(!outbox.is_active());
        outbox.resume(Ticket(0));
        assert_eq!(send_all(&mut outbox), sent(&[1], Attempt::Again));
        outbox.forget(Ticket(0));
        assert!(!outbox.is_active());
    }

    /// A receiver that closes on more than two records, and on the sixth at any size.
    #[test]
    fn case_46_halves_down_to_the_record_that_is_refused() {
        let now = Instant::now();
        let mut outbox = Outbox::default();
        const RECORD: usize = LEAST_LEARNT / 2;
        let batch = || Batch {
            entries: (0..8).flat_map(|number| [number; RECORD]).collect(),
            ends: (1..=8).map(|end| end * RECORD).collect(),
            ..Batch::default()
        };
        let mut next = 0;
        let mut new_id = || {
            next += 1;
            id(next)
        };
        let whole = Span {
            bytes: 0..8 * RECORD,
            records: 8,
        };
        outbox.add(Ticket(0), batch(), vec![whole.clone()], &mut new_id);
        let mut delivered = Vec::new();
        let mut splits = Vec::new();
        let mut settled = Vec::new();
        while let Some((frame, _)) = outbox.next_frame(now, &mut new_id) {
            let (id, entries) = (*frame.id, frame.entries.to_vec());
            if entries.len() > 2 * RECORD || entries.contains(&5) {
                match outbox.lost([&id], Ending::Unclear, &mut new_id) {
                    Verdict::Again => (),
                    Verdict::Split { records, .. } => splits.push(records),
                    Verdict::Parked { settled: ended, .. } => settled.extend(ended),
                }
            } else {
                delivered.extend(entries);
                let acked = outbox.acked(&id, now).unwrap();
                settled.extend(acked.settled.map(|(ticket, _)| ticket));
            }
        }
        delivered.sort_unstable();
        delivered.dedup();
        assert_eq!(delivered, [0, 1, 2, 3, 4, 6, 7]);
        assert_eq!(splits, [8, 4, 2]);
        assert_eq!(settled, [Ticket(0)]);
        let again = |outbox: &mut Outbox, now| {
            outbox.add(Ticket(1), batch(), vec![whole.clone()], || id(100));
            let mut next = 100;
            let mut new_id = || {
                next += 1;
                id(next)
            };
            let first = outbox.next_frame(now, &mut new_id).unwrap().0.records;
            outbox.forget(Ticket(1));
            first
        };
        assert_eq!(again(&mut outbox, now), 2, "the limit is remembered");
        assert_eq!(again(&mut outbox, now + LEARNT_FOR), 8, "for some time");
        assert!(!outbox.is_active());
    }
}
