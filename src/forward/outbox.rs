//! Chunks under way: which of their frames wait, travel or are acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ChunkId;
use super::frames::{Batch, Span};
use super::wire::Frame;

/// How often a chunk may be the likely cause of a lost connection before it is
/// parked, so that it cannot hold up the others for ever.
pub const ATTEMPTS: u32 = 3;

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
    /// The chunk, if this was its last frame, and the time since its first was sent.
    pub finished: Option<(Ticket, Duration)>,
}

/// How a connection with frames in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer refused a frame.
    Refused,
    /// Anything else.
    Unclear,
}

/// Every chunk that is not yet acknowledged as a whole, with its bytes.
///
/// Chunks are sent in the order in which they came. When a connection is lost,
/// the chunk of the oldest frame in flight is taken for the cause, because
/// receivers work in order: it goes to the back, and after [`ATTEMPTS`] losses,
/// or at once when the peer refused it, it is parked until [`Outbox::resume`].
#[derive(Debug, Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
}

#[derive(Debug)]
struct Chunk {
    ticket: Ticket,
    tag: Vec<u8>,
    entries: Vec<u8>,
    frames: Vec<Parcel>,
    attempts: u32,
    state: ChunkState,
    first_sent: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Active,
    Parked,
}

#[derive(Debug)]
struct Parcel {
    id: ChunkId,
    span: Span,
    state: ParcelState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParcelState {
    Waiting(Attempt),
    InFlight,
    Acked,
}

impl Outbox {
    /// Takes a chunk that was cut into `frames` (at least one); `new_id` gives
    /// each of them the id that it keeps.
    pub fn add(
        &mut self,
        ticket: Ticket,
        batch: Batch,
        frames: Vec<Span>,
        mut new_id: impl FnMut() -> ChunkId,
    ) {
        let state = ParcelState::Waiting(Attempt::First);
        self.chunks.push_back(Chunk {
            ticket,
            tag: batch.tag,
            entries: batch.entries,
            frames: frames
                .into_iter()
                .map(|span| Parcel {
                    id: new_id(),
                    span,
                    state,
                })
                .collect(),
            attempts: 0,
            state: ChunkState::Active,
            first_sent: None,
        });
    }

    /// Whether anything is to be sent or acknowledged; parked chunks are not.
    pub fn is_active(&self) -> bool {
        self.chunks
            .iter()
            .any(|chunk| chunk.state == ChunkState::Active)
    }

    /// The next frame to send. It counts as in flight from now on.
    pub fn next_frame(&mut self, now: Instant) -> Option<(Frame<'_>, Attempt)> {
        let active = self
            .chunks
            .iter_mut()
            .filter(|chunk| chunk.state == ChunkState::Active);
        for chunk in active {
            for parcel in &mut chunk.frames {
                let ParcelState::Waiting(attempt) = parcel.state else {
                    continue;
                };
                parcel.state = ParcelState::InFlight;
                chunk.first_sent.get_or_insert(now);
                let frame = Frame {
                    tag: &chunk.tag,
                    entries: chunk
                        .entries
                        .get(parcel.span.bytes.clone())
                        .unwrap_or_default(),
                    compressed: None,
                    records: parcel.span.records,
                    id: &parcel.id,
                };
                return Some((frame, attempt));
            }
        }
        None
    }

    /// Settles a frame; `None` if there is none of that id in flight.
    pub fn acked(&mut self, id: &ChunkId, now: Instant) -> Option<Acked> {
        let place = self.place_of(id)?;
        let chunk = self.chunks.get_mut(place)?;
        let parcel = chunk.frames.iter_mut().find(|parcel| parcel.id == *id)?;
        parcel.state = ParcelState::Acked;
        chunk.attempts = 0;
        let records = parcel.span.records;
        let done = chunk
            .frames
            .iter()
            .all(|parcel| parcel.state == ParcelState::Acked);
        let finished = done.then(|| {
            let took = chunk.first_sent.map_or(Duration::ZERO, |sent| now - sent);
            (chunk.ticket, took)
        });
        if done {
            self.chunks.remove(place);
        }
        Some(Acked { records, finished })
    }

    /// A connection ended with these frames in flight, oldest first: they wait
    /// again. Returns the chunk that is parked now, if any.
    pub fn lost<'a>(
        &mut self,
        in_flight: impl IntoIterator<Item = &'a ChunkId>,
        ending: Ending,
    ) -> Option<Ticket> {
        let mut suspect = None;
        for id in in_flight {
            let Some(place) = self.place_of(id) else {
                continue;
            };
            let Some(chunk) = self.chunks.get_mut(place) else {
                continue;
            };
            suspect.get_or_insert(chunk.ticket);
            for parcel in chunk.frames.iter_mut().filter(|parcel| parcel.id == *id) {
                parcel.state = ParcelState::Waiting(Attempt::Again);
            }
        }
        let place = self
            .chunks
            .iter()
            .position(|chunk| Some(chunk.ticket) == suspect)?;
        let mut chunk = self.chunks.remove(place)?;
        chunk.attempts += 1;
        if ending == Ending::Refused || chunk.attempts >= ATTEMPTS {
            chunk.state = ChunkState::Parked;
        }
        let parked = (chunk.state == ChunkState::Parked).then_some(chunk.ticket);
        self.chunks.push_back(chunk);
        parked
    }

    /// Takes up a parked chunk again. Frames that were acknowledged stay so.
    pub fn resume(&mut self, ticket: Ticket) {
        for chunk in self
            .chunks
            .iter_mut()
            .filter(|chunk| chunk.ticket == ticket)
        {
            chunk.state = ChunkState::Active;
            chunk.attempts = 0;
            chunk.first_sent = None;
        }
    }

    /// Forgets a chunk.
    pub fn forget(&mut self, ticket: Ticket) {
        self.chunks.retain(|chunk| chunk.ticket != ticket);
    }

    /// The chunk that has a frame of this id in flight.
    fn place_of(&self, id: &ChunkId) -> Option<usize> {
        self.chunks.iter().position(|chunk| {
            chunk
                .frames
                .iter()
                .any(|parcel| parcel.id == *id && parcel.state == ParcelState::InFlight)
        })
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
                .next_frame(now)
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
                .finished
                .map(|(ticket, _)| ticket)
        };
        assert_eq!(
            [1, 2, 0].map(ticket),
            [None, Some(Ticket(1)), Some(Ticket(0))]
        );
        assert!(!outbox.is_active());
        assert_eq!(outbox.acked(&id(0), now), None, "once only");
    }

    #[test]
    fn case_39_only_the_unacked_go_again_with_the_same_ids() {
        let mut outbox = outbox(&[4]);
        send_all(&mut outbox);
        outbox.acked(&id(0), Instant::now());
        outbox.acked(&id(2), Instant::now());
        assert_eq!(outbox.lost(&[id(1), id(3)], Ending::Unclear), None);
        assert_eq!(send_all(&mut outbox), sent(&[1, 3], Attempt::Again));
    }

    #[test]
    fn a_suspect_goes_to_the_back_and_is_parked_at_last() {
        let mut outbox = outbox(&[1, 1]);
        for (order, parked) in [
            ([0, 1], None),
            ([1, 0], None),
            ([0, 1], None),
            ([1, 0], None),
        ] {
            let got: Vec<_> = send_all(&mut outbox)
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            assert_eq!(got, order.map(id));
            assert_eq!(outbox.lost(&got, Ending::Unclear), parked);
        }
        send_all(&mut outbox);
        assert_eq!(
            outbox.lost(&[id(0), id(1)], Ending::Unclear),
            Some(Ticket(0))
        );
        assert_eq!(send_all(&mut outbox), sent(&[1], Attempt::Again));
        outbox.resume(Ticket(0));
        assert_eq!(send_all(&mut outbox), sent(&[0], Attempt::Again));
    }

    #[test]
    fn case_37_refused_is_parked_at_once_and_keeps_what_was_acked() {
        let mut outbox = outbox(&[3]);
        send_all(&mut outbox);
        outbox.acked(&id(0), Instant::now());
        assert_eq!(
            outbox.lost(&[id(1), id(2)], Ending::Refused),
            Some(Ticket(0))
        );
        assert!(!outbox.is_active());
        outbox.resume(Ticket(0));
        assert_eq!(send_all(&mut outbox), sent(&[1, 2], Attempt::Again));
        outbox.forget(Ticket(0));
        assert!(!outbox.is_active());
    }
}
