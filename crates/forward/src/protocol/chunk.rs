//! One chunk under way: its frames, and how each of them stands.

use super::FrameId;
use super::frames::{Batch, FrameRange, halve};
use super::wire::Frame;

/// How often a node that works must have lost its connection over a frame before
/// that is sent in halves or parked.
pub const ATTEMPTS: u32 = 3;

/// Names a chunk between the host's calls and the thread that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey(pub u64);

/// Progress of a chunk that was handed to a [`SendQueue`](super::send_queue::SendQueue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkStatus {
    /// A frame of it waits to be sent or to be acknowledged.
    Sending,
    /// All frames but parked ones are acknowledged; the chunk has to be resumed.
    Parked,
    /// Every frame is acknowledged.
    Delivered,
}

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
        /// The chunk that the frame belongs to.
        key: ChunkKey,
        /// Progress of that chunk.
        status: ChunkStatus,
    },
}

/// A chunk that is not yet acknowledged as a whole.
#[derive(Debug)]
pub(super) struct ChunkInFlight {
    pub(super) key: ChunkKey,
    /// One for each tag.
    batches: Vec<Batch>,
    frames: Vec<FrameState>,
}

#[derive(Debug)]
struct FrameState {
    id: FrameId,
    /// The place of its batch.
    batch: usize,
    range: FrameRange,
    /// How often in a row a node that works lost its connection over it, with its
    /// size as this evidence.
    strikes: u32,
    struck_as: Size,
    /// Whether a connection was lost over it in a way that its size may explain.
    doubted: bool,
    exposure: Exposure,
    status: FrameStatus,
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
enum FrameStatus {
    Waiting(Attempt),
    InFlight(Attempt),
    Acked,
    Parked,
}

impl FrameState {
    fn new(id: FrameId, batch: usize, range: FrameRange) -> FrameState {
        FrameState {
            id,
            batch,
            range,
            strikes: 0,
            struck_as: Size::Proven,
            doubted: false,
            exposure: Exposure::Impossible,
            status: FrameStatus::Waiting(Attempt::First),
        }
    }

    fn waits(&self) -> bool {
        matches!(self.status, FrameStatus::Waiting(_))
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

impl ChunkInFlight {
    /// A chunk of batches that are cut into frames, each of which gets its id here.
    pub(super) fn new(
        key: ChunkKey,
        parts: Vec<(Batch, Vec<FrameRange>)>,
        mut new_id: impl FnMut() -> FrameId,
    ) -> ChunkInFlight {
        let mut chunk = ChunkInFlight {
            key,
            batches: Vec::new(),
            frames: Vec::new(),
        };
        for (batch, ranges) in parts {
            let place = chunk.batches.len();
            chunk.batches.push(batch);
            let frame = |range| FrameState::new(new_id(), place, range);
            chunk.frames.extend(ranges.into_iter().map(frame));
        }
        chunk
    }

    /// Reports whether anything of the chunk is left to send or to wait for.
    pub(super) fn status(&self) -> ChunkStatus {
        let mut statuses = self.frames.iter().map(|frame| frame.status);
        let is_active =
            |status| matches!(status, FrameStatus::Waiting(_) | FrameStatus::InFlight(_));
        if statuses.clone().any(is_active) {
            ChunkStatus::Sending
        } else if statuses.all(|status| status == FrameStatus::Acked) {
            ChunkStatus::Delivered
        } else {
            ChunkStatus::Parked
        }
    }

    /// The place of the first frame that waits.
    pub(super) fn next(&self) -> Option<usize> {
        self.frames.iter().position(FrameState::waits)
    }

    /// The place of the first that waits and whose size is in doubt.
    pub(super) fn next_doubted(&self) -> Option<usize> {
        self.frames
            .iter()
            .position(|frame| frame.waits() && frame.doubted)
    }

    pub(super) fn place_of(&self, id: &FrameId) -> Option<usize> {
        self.frames.iter().position(|frame| frame.id == *id)
    }

    /// What waits at this place.
    pub(super) fn peek(&self, place: usize) -> Option<Next> {
        let frame = self.frames.get(place)?;
        match frame.status {
            FrameStatus::Waiting(attempt) => Some(Next {
                bytes: frame.range.bytes.len(),
                attempt,
            }),
            _ => None,
        }
    }

    /// Sends what waits at this place.
    pub(super) fn send(&mut self, place: usize) -> Option<(Frame<'_>, Attempt)> {
        let frame = self.frames.get_mut(place)?;
        let FrameStatus::Waiting(attempt) = frame.status else {
            return None;
        };
        frame.status = FrameStatus::InFlight(attempt);
        let batch = self.batches.get(frame.batch)?;
        let frame = Frame {
            tag: &batch.tag,
            entries: batch.entries.get(frame.range.bytes.clone())?,
            compressed: None,
            records: frame.range.records,
            id: &frame.id,
            extra: &[],
        };
        Some((frame, attempt))
    }

    /// Settles a frame: its range, if it was not settled before.
    pub(super) fn acked(&mut self, place: usize) -> Option<FrameRange> {
        let frame = self.frames.get_mut(place)?;
        if frame.status == FrameStatus::Acked {
            return None;
        }
        frame.status = FrameStatus::Acked;
        Some(frame.range.clone())
    }

    /// Makes a frame in flight wait again.
    pub(super) fn put_back(&mut self, place: usize, written: Written) {
        let Some(frame) = self.frames.get_mut(place) else {
            return;
        };
        let FrameStatus::InFlight(attempt) = frame.status else {
            return;
        };
        if written == Written::Whole {
            frame.exposure = Exposure::Possible;
        }
        frame.status = FrameStatus::Waiting(match frame.exposure {
            Exposure::Impossible => attempt,
            Exposure::Possible => Attempt::Again,
        });
    }

    /// Lets the other frames go first; the new place.
    pub(super) fn move_back(&mut self, place: usize) -> usize {
        if place < self.frames.len() {
            let frame = self.frames.remove(place);
            self.frames.push(frame);
        }
        self.frames.len().saturating_sub(1)
    }

    /// Takes up what is parked.
    pub(super) fn resume(&mut self) {
        for frame in &mut self.frames {
            if frame.status == FrameStatus::Parked {
                frame.status = FrameStatus::Waiting(Attempt::Again);
                frame.strikes = 0;
            }
        }
    }

    /// Halves a frame that waits until it fits, as long as no receiver can have it.
    pub(super) fn fit(&mut self, place: usize, limit: usize, mut new_id: impl FnMut() -> FrameId) {
        while let Some(frame) = self.frames.get(place)
            && frame.waits()
            && frame.exposure == Exposure::Impossible
            && frame.range.bytes.len() > limit
            && self.halve(place, &mut new_id)
        {}
    }

    /// A connection was lost over this frame.
    pub(super) fn strike(
        &mut self,
        place: usize,
        ending: Ending,
        new_id: impl FnMut() -> FrameId,
    ) -> Verdict {
        let Some(frame) = self.frames.get_mut(place) else {
            return Verdict::Again;
        };
        if let Ending::Wordless {
            size: Size::Unproven,
            ..
        } = ending
        {
            frame.doubted = true;
        }
        let size = match ending {
            Ending::Refused => Size::Proven,
            Ending::Wordless {
                size,
                node: NodeRecord::Works,
            } => {
                if frame.struck_as != size {
                    frame.struck_as = size;
                    frame.strikes = 0;
                }
                frame.strikes += 1;
                if frame.strikes < ATTEMPTS {
                    return Verdict::Again;
                }
                size
            }
            Ending::Wordless { .. } | Ending::Unclear => return Verdict::Again,
        };
        // Elsewhere it may yet be acknowledged.
        if !frame.waits() {
            return Verdict::Again;
        }
        let (bytes, records) = (frame.range.bytes.len(), frame.range.records);
        if size == Size::Unproven && self.halve(place, new_id) {
            return Verdict::Split { bytes, records };
        }
        if let Some(frame) = self.frames.get_mut(place) {
            frame.status = FrameStatus::Parked;
        }
        Verdict::Parked {
            bytes,
            records,
            key: self.key,
            status: self.status(),
        }
    }

    /// Puts two frames in the place of one; not if that has a single record.
    fn halve(&mut self, place: usize, mut new_id: impl FnMut() -> FrameId) -> bool {
        let Some(frame) = self.frames.get(place) else {
            return false;
        };
        let batch = frame.batch;
        let ends = self.batches.get(batch).map(|batch| &*batch.ends);
        let Some(halves) = halve(&frame.range, ends.unwrap_or_default()) else {
            return false;
        };
        let halves = halves.map(|range| FrameState::new(new_id(), batch, range));
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
