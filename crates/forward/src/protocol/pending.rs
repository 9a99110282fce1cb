//! One chunk under way: its frames, and how each of them stands.

use super::ChunkId;
use super::frames::{Batch, Span, halve};
use super::wire::Frame;

/// How often a node that works must have lost its connection over a frame before
/// that is sent in halves or parked.
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

/// How a connection with frames in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer refused a frame by word.
    Refused,
    /// It was closed, or nothing came, where an acknowledgement of the oldest
    /// frame was due.
    Wordless {
        /// Whether size may be the reason.
        size: Size,
        /// What else is known of the node.
        node: NodeRecord,
    },
    /// In a way that says nothing of the frames.
    Unclear,
}

/// A frame's size, as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The node has acknowledged one of at least this size of late.
    Proven,
    /// It is larger than all of those, and travelled alone.
    Unproven,
}

/// What a node did before it lost a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRecord {
    /// It has acknowledged something since its last failure.
    Works,
    /// It has not: it may fail over everything.
    Fails,
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

/// A chunk that is not yet acknowledged as a whole.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    /// One for each tag.
    batches: Vec<Batch>,
    frames: Vec<Parcel>,
}

#[derive(Debug)]
struct Parcel {
    id: ChunkId,
    /// The place of its batch.
    batch: usize,
    span: Span,
    /// How often in a row a node that works lost its connection over it, with its
    /// size as this evidence.
    strikes: u32,
    struck_as: Size,
    /// Whether a connection was lost over it in a way that its size may explain.
    doubted: bool,
    exposure: Exposure,
    state: ParcelState,
}

/// Whether a receiver can have a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    /// Its last byte has never left.
    Impossible,
    /// It has.
    Possible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParcelState {
    Waiting(Attempt),
    InFlight(Attempt),
    Acked,
    Parked,
}

impl Parcel {
    fn new(id: ChunkId, batch: usize, span: Span) -> Parcel {
        Parcel {
            id,
            batch,
            span,
            strikes: 0,
            struck_as: Size::Proven,
            doubted: false,
            exposure: Exposure::Impossible,
            state: ParcelState::Waiting(Attempt::First),
        }
    }

    fn waits(&self) -> bool {
        matches!(self.state, ParcelState::Waiting(_))
    }
}

/// A frame that waits, as far as it matters for the choice of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Bytes of entries.
    pub bytes: usize,
    /// Whether it was sent before.
    pub attempt: Attempt,
}

impl Pending {
    /// A chunk of batches that are cut into frames, each of which gets its id here.
    pub(super) fn new(
        ticket: Ticket,
        parts: Vec<(Batch, Vec<Span>)>,
        mut new_id: impl FnMut() -> ChunkId,
    ) -> Pending {
        let mut pending = Pending {
            ticket,
            batches: Vec::new(),
            frames: Vec::new(),
        };
        for (batch, spans) in parts {
            let place = pending.batches.len();
            pending.batches.push(batch);
            let parcel = |span| Parcel::new(new_id(), place, span);
            pending.frames.extend(spans.into_iter().map(parcel));
        }
        pending
    }

    /// Whether any frame waits or travels.
    pub(super) fn is_active(&self) -> bool {
        let travels = |parcel: &Parcel| matches!(parcel.state, ParcelState::InFlight(_));
        self.frames
            .iter()
            .any(|parcel| parcel.waits() || travels(parcel))
    }

    /// Whether every frame is acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.frames
            .iter()
            .all(|parcel| parcel.state == ParcelState::Acked)
    }

    /// The place of the first frame that waits.
    pub(super) fn next(&self) -> Option<usize> {
        self.frames.iter().position(Parcel::waits)
    }

    /// The place of the first that waits and whose size is in doubt.
    pub(super) fn next_doubted(&self) -> Option<usize> {
        self.frames
            .iter()
            .position(|parcel| parcel.waits() && parcel.doubted)
    }

    pub(super) fn place_of(&self, id: &ChunkId) -> Option<usize> {
        self.frames.iter().position(|parcel| parcel.id == *id)
    }

    /// What waits at this place.
    pub(super) fn peek(&self, place: usize) -> Option<Next> {
        let parcel = self.frames.get(place)?;
        match parcel.state {
            ParcelState::Waiting(attempt) => Some(Next {
                bytes: parcel.span.bytes.len(),
                attempt,
            }),
            _ => None,
        }
    }

    /// Sends what waits at this place.
    pub(super) fn send(&mut self, place: usize) -> Option<(Frame<'_>, Attempt)> {
        let parcel = self.frames.get_mut(place)?;
        let ParcelState::Waiting(attempt) = parcel.state else {
            return None;
        };
        parcel.state = ParcelState::InFlight(attempt);
        let batch = self.batches.get(parcel.batch)?;
        let frame = Frame {
            tag: &batch.tag,
            entries: batch.entries.get(parcel.span.bytes.clone())?,
            compressed: None,
            records: parcel.span.records,
            id: &parcel.id,
            extra: &[],
        };
        Some((frame, attempt))
    }

    /// Settles a frame: its span, if it was not settled before.
    pub(super) fn acked(&mut self, place: usize) -> Option<Span> {
        let parcel = self.frames.get_mut(place)?;
        if parcel.state == ParcelState::Acked {
            return None;
        }
        parcel.state = ParcelState::Acked;
        Some(parcel.span.clone())
    }

    /// Makes a frame in flight wait again.
    pub(super) fn put_back(&mut self, place: usize, written: Written) {
        let Some(parcel) = self.frames.get_mut(place) else {
            return;
        };
        let ParcelState::InFlight(attempt) = parcel.state else {
            return;
        };
        if written == Written::Whole {
            parcel.exposure = Exposure::Possible;
        }
        parcel.state = ParcelState::Waiting(match parcel.exposure {
            Exposure::Impossible => attempt,
            Exposure::Possible => Attempt::Again,
        });
    }

    /// Lets the other frames go first; the new place.
    pub(super) fn move_back(&mut self, place: usize) -> usize {
        if place < self.frames.len() {
            let parcel = self.frames.remove(place);
            self.frames.push(parcel);
        }
        self.frames.len().saturating_sub(1)
    }

    /// Takes up what is parked.
    pub(super) fn resume(&mut self) {
        for parcel in &mut self.frames {
            if parcel.state == ParcelState::Parked {
                parcel.state = ParcelState::Waiting(Attempt::Again);
                parcel.strikes = 0;
            }
        }
    }

    /// Halves a frame that waits until it fits, as long as no receiver can have it.
    pub(super) fn fit(&mut self, place: usize, limit: usize, mut new_id: impl FnMut() -> ChunkId) {
        while let Some(parcel) = self.frames.get(place)
            && parcel.waits()
            && parcel.exposure == Exposure::Impossible
            && parcel.span.bytes.len() > limit
            && self.halve(place, &mut new_id)
        {}
    }

    /// A connection was lost over this frame.
    pub(super) fn strike(
        &mut self,
        place: usize,
        ending: Ending,
        new_id: impl FnMut() -> ChunkId,
    ) -> Verdict {
        let Some(parcel) = self.frames.get_mut(place) else {
            return Verdict::Again;
        };
        if let Ending::Wordless {
            size: Size::Unproven,
            ..
        } = ending
        {
            parcel.doubted = true;
        }
        let size = match ending {
            Ending::Refused => Size::Proven,
            Ending::Wordless {
                size,
                node: NodeRecord::Works,
            } => {
                if parcel.struck_as != size {
                    parcel.struck_as = size;
                    parcel.strikes = 0;
                }
                parcel.strikes += 1;
                if parcel.strikes < ATTEMPTS {
                    return Verdict::Again;
                }
                size
            }
            Ending::Wordless { .. } | Ending::Unclear => return Verdict::Again,
        };
        // Elsewhere it may yet be acknowledged.
        if !parcel.waits() {
            return Verdict::Again;
        }
        let (bytes, records) = (parcel.span.bytes.len(), parcel.span.records);
        if size == Size::Unproven && self.halve(place, new_id) {
            return Verdict::Split { bytes, records };
        }
        if let Some(parcel) = self.frames.get_mut(place) {
            parcel.state = ParcelState::Parked;
        }
        Verdict::Parked {
            bytes,
            records,
            settled: (!self.is_active()).then_some(self.ticket),
        }
    }

    /// Puts two frames in the place of one; not if that has a single record.
    fn halve(&mut self, place: usize, mut new_id: impl FnMut() -> ChunkId) -> bool {
        let Some(parcel) = self.frames.get(place) else {
            return false;
        };
        let batch = parcel.batch;
        let ends = self.batches.get(batch).map(|batch| &*batch.ends);
        let Some(halves) = halve(&parcel.span, ends.unwrap_or_default()) else {
            return false;
        };
        let halves = halves.map(|span| Parcel::new(new_id(), batch, span));
        self.frames.splice(place..=place, halves);
        true
    }
}

/// How much of a frame a lost connection took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All of it, as far as known.
    Whole,
    /// Not its last byte.
    Partly,
}
