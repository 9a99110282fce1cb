//! One chunk in the send queue: its frames, and the progress of each.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use super::FrameId;
use super::frames::{Batch, FrameRange, halve};
use super::wire::Frame;

/// Number of rejections after which a frame of several records is split, to isolate
/// the record at fault. One rejection may be an accident of the receiver.
const SPLIT_AFTER: u32 = 2;

/// Number of rejections after which a frame of one record is parked.
const PARK_AFTER: u32 = 3;

/// Number of times that a suspicious frame may be split without proof that the node
/// works, between two acknowledgements. Enough to isolate one of 4096 records, and
/// few for a node that fails over everything.
const UNPROVEN_SPLITS: u32 = 12;

/// Names a chunk between the host's calls and the thread that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey(pub u64);

/// Progress of a chunk that was handed to a [`SendQueue`](super::send_queue::SendQueue).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkStatus {
    /// A frame of it waits to be sent or to be acknowledged.
    Sending,
    /// All frames but parked ones are settled; the chunk has to be resumed.
    Parked,
    /// Every frame is settled.
    Delivered,
}

/// First or repeated transmission of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// No receiver can have the frame.
    First,
    /// A receiver may have the frame.
    Again,
}

/// End of a connection with frames in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer refused a frame with a reply.
    Refused,
    /// The connection was closed, or nothing came, while the acknowledgement of the
    /// oldest frame was due.
    Unanswered {
        /// Size of the oldest frame, as a possible reason.
        size: Size,
        /// State of the node, as another one.
        node: NodeRecord,
    },
    /// Any other end, which says nothing about the frames.
    Unclear,
}

/// Size of a frame compared with those that the node is known to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The node has recently acknowledged a frame of at least this size.
    Accepted,
    /// Larger than all recently acknowledged frames, and alone in flight.
    Unknown,
}

/// Behaviour of a node before a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRecord {
    /// The node acknowledged something after its last failure.
    Works,
    /// The node acknowledged nothing after its last failure; it may fail over
    /// everything.
    Fails,
}

/// Consequence for the frame that a connection was probably lost over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The frame is sent again.
    Resend,
    /// The frame is sent again in smaller ones, because it may be too large.
    Shrunk {
        /// Bytes of entries in the frame.
        bytes: usize,
        /// Records in the frame.
        records: usize,
    },
    /// The frame is sent again in halves, to isolate a record that the peer rejects.
    Split {
        /// Bytes of entries in the frame.
        bytes: usize,
        /// Records in the frame.
        records: usize,
    },
    /// The frame is not sent again until its chunk is resumed.
    Parked {
        /// Bytes of entries in the frame.
        bytes: usize,
        /// Records in the frame.
        records: usize,
        /// The chunk that the frame belongs to.
        key: ChunkKey,
        /// Progress of that chunk.
        status: ChunkStatus,
    },
    /// The only record of the frame is not sent again at all.
    GivenUp {
        /// The `[EventTime, map]` entry.
        entry: Vec<u8>,
        /// Number of attempts.
        attempts: u32,
        /// The chunk that the frame belongs to.
        key: ChunkKey,
        /// Progress of that chunk.
        status: ChunkStatus,
    },
}

/// A chunk that is not delivered yet.
#[derive(Debug)]
pub(super) struct ChunkInFlight {
    pub(super) key: ChunkKey,
    /// One for each tag; without entries while the chunk is released.
    batches: Vec<Batch>,
    /// [`shape`] of the batches while the chunk is released.
    released: Option<u64>,
    /// Splits without proof since the last acknowledgement.
    unproven_splits: u32,
    frames: Vec<FrameState>,
}

#[derive(Debug)]
struct FrameState {
    id: FrameId,
    /// Index of the frame's batch.
    batch: usize,
    range: FrameRange,
    /// Number of connections that ended because of this frame, as far as is known.
    rejections: u32,
    exposure: Exposure,
    status: FrameStatus,
}

/// Possibility that a receiver has a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    /// Never fully written.
    Impossible,
    /// Fully written once: the receiver may have stored it.
    Possible,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameStatus {
    Waiting(Attempt),
    InFlight(Attempt),
    /// Acknowledged, or given up.
    Settled,
    Parked,
}

impl FrameState {
    fn new(id: FrameId, batch: usize, range: FrameRange) -> FrameState {
        FrameState {
            id,
            batch,
            range,
            rejections: 0,
            exposure: Exposure::Impossible,
            status: FrameStatus::Waiting(Attempt::First),
        }
    }

    fn waits(&self) -> bool {
        matches!(self.status, FrameStatus::Waiting(_))
    }
}

/// A waiting frame, as far as it matters for the choice of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Bytes of entries.
    pub bytes: usize,
    /// First or repeated transmission.
    pub attempt: Attempt,
    /// Frames that may share the connection with this one.
    pub company: Company,
}

/// Frames that may be in flight together with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Any frames.
    Any,
    /// None: the frame was rejected before. If it is alone, its next rejection says
    /// something about it, and takes no other frame along.
    Alone,
}

impl ChunkInFlight {
    /// Creates a chunk of batches that are split into frames, each of which gets its
    /// id here.
    pub(super) fn new(
        key: ChunkKey,
        parts: Vec<(Batch, Vec<FrameRange>)>,
        mut new_id: impl FnMut() -> FrameId,
    ) -> ChunkInFlight {
        let mut chunk = ChunkInFlight {
            key,
            batches: Vec::new(),
            released: None,
            unproven_splits: 0,
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

    /// Returns the progress of the chunk.
    pub(super) fn status(&self) -> ChunkStatus {
        let mut statuses = self.frames.iter().map(|frame| frame.status);
        let is_active =
            |status| matches!(status, FrameStatus::Waiting(_) | FrameStatus::InFlight(_));
        if statuses.clone().any(is_active) {
            ChunkStatus::Sending
        } else if statuses.all(|status| status == FrameStatus::Settled) {
            ChunkStatus::Delivered
        } else {
            ChunkStatus::Parked
        }
    }

    /// Returns the number of frames that are waiting or in flight.
    pub(super) fn active_frames(&self) -> usize {
        let is_active = |frame: &&FrameState| {
            matches!(
                frame.status,
                FrameStatus::Waiting(_) | FrameStatus::InFlight(_)
            )
        };
        self.frames.iter().filter(is_active).count()
    }

    /// Returns the number of waiting frames.
    pub(super) fn waiting_frames(&self) -> usize {
        self.frames.iter().filter(|frame| frame.waits()).count()
    }

    /// Returns the index of the first waiting frame.
    pub(super) fn next(&self) -> Option<usize> {
        self.frames.iter().position(FrameState::waits)
    }

    /// Returns the index of a frame.
    pub(super) fn place_of(&self, id: &FrameId) -> Option<usize> {
        self.frames.iter().position(|frame| frame.id == *id)
    }

    /// Describes the frame at `place`, if it waits.
    pub(super) fn peek(&self, place: usize) -> Option<Next> {
        let frame = self.frames.get(place)?;
        match frame.status {
            FrameStatus::Waiting(attempt) => Some(Next {
                bytes: frame.range.bytes.len(),
                attempt,
                company: match frame.rejections {
                    0 => Company::Any,
                    _ => Company::Alone,
                },
            }),
            _ => None,
        }
    }

    /// Marks the frame at `place` as in flight, and returns it.
    pub(super) fn send(&mut self, place: usize) -> Option<(Frame<'_>, Attempt)> {
        let frame = self.frames.get_mut(place)?;
        let FrameStatus::Waiting(attempt) = frame.status else {
            return None;
        };
        frame.status = FrameStatus::InFlight(attempt);
        let batch = self.batches.get(frame.batch)?;
        let message = Frame {
            tag: &batch.tag,
            entries: batch.entries.get(frame.range.bytes.clone())?,
            compressed: None,
            records: frame.range.records,
            id: &frame.id,
            extra: &[],
        };
        Some((message, attempt))
    }

    /// Records an acknowledgement; returns the frame's range the first time.
    pub(super) fn acked(&mut self, place: usize) -> Option<FrameRange> {
        let frame = self.frames.get_mut(place)?;
        if frame.status == FrameStatus::Settled {
            return None;
        }
        frame.status = FrameStatus::Settled;
        self.unproven_splits = 0;
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

    /// Moves a frame to the end of the chunk; returns its new index.
    pub(super) fn move_back(&mut self, place: usize) -> usize {
        if place < self.frames.len() {
            let frame = self.frames.remove(place);
            self.frames.push(frame);
        }
        self.frames.len().saturating_sub(1)
    }

    /// Makes parked frames wait again.
    pub(super) fn resume(&mut self) {
        for frame in &mut self.frames {
            if frame.status == FrameStatus::Parked {
                frame.status = FrameStatus::Waiting(Attempt::Again);
            }
        }
    }

    /// Drops the entries of a parked chunk, and keeps what is known of its frames.
    pub(super) fn release(&mut self) {
        self.released = Some(shape(self.batches.iter()));
        self.batches.clear();
    }

    /// Gives entries back to a released chunk, and resumes it. Fails if they are not
    /// split into records as the former ones were.
    pub(super) fn restore(
        &mut self,
        parts: Vec<(Batch, Vec<FrameRange>)>,
    ) -> Result<(), Vec<(Batch, Vec<FrameRange>)>> {
        if self.released != Some(shape(parts.iter().map(|(batch, _)| batch))) {
            return Err(parts);
        }
        self.released = None;
        self.batches = parts.into_iter().map(|(batch, _)| batch).collect();
        self.resume();
        Ok(())
    }

    /// Splits a waiting frame until it is not larger than `limit`, or a single record.
    pub(super) fn fit(&mut self, place: usize, limit: usize, mut new_id: impl FnMut() -> FrameId) {
        while let Some(frame) = self.frames.get(place)
            && frame.waits()
            && frame.range.bytes.len() > limit
            && self.halve(place, 0, &mut new_id)
        {}
    }

    /// Records that a connection was lost over a frame. `others` counts the active
    /// frames of the whole queue beside this one.
    pub(super) fn lost(
        &mut self,
        place: usize,
        ending: Ending,
        others: usize,
        give_up_after: Option<NonZeroU32>,
        new_id: impl FnMut() -> FrameId,
    ) -> Consequence {
        let Some(frame) = self.frames.get_mut(place) else {
            return Consequence::Resend;
        };
        // Another node has got it in the meantime, and may yet acknowledge it.
        if !frame.waits() {
            return Consequence::Resend;
        }
        let (bytes, records) = (frame.range.bytes.len(), frame.range.records);
        let (size, node) = match ending {
            Ending::Unclear => return Consequence::Resend,
            Ending::Refused => return self.park(place),
            Ending::Unanswered { size, node } => (size, node),
        };
        if records > 1 {
            if size == Size::Unknown {
                return Consequence::Shrunk { bytes, records };
            }
            // If no other frame can show whether the node works, a half can.
            if node == NodeRecord::Fails && others > 0 {
                if frame.rejections == 0 || self.unproven_splits >= UNPROVEN_SPLITS {
                    return Consequence::Resend;
                }
                self.unproven_splits = self.unproven_splits.saturating_add(1);
            }
            frame.rejections = frame.rejections.saturating_add(1);
            let rejections = frame.rejections;
            if rejections >= SPLIT_AFTER && self.halve(place, SPLIT_AFTER - 1, new_id) {
                return Consequence::Split { bytes, records };
            }
            return Consequence::Resend;
        }
        if node == NodeRecord::Fails {
            return Consequence::Resend;
        }
        frame.rejections = frame.rejections.saturating_add(1);
        let rejections = frame.rejections;
        if give_up_after.is_some_and(|limit| rejections >= limit.get()) {
            return self.give_up(place, rejections);
        }
        match rejections {
            PARK_AFTER.. => self.park(place),
            _ => Consequence::Resend,
        }
    }

    fn park(&mut self, place: usize) -> Consequence {
        let Some(frame) = self.frames.get_mut(place) else {
            return Consequence::Resend;
        };
        frame.status = FrameStatus::Parked;
        let (bytes, records) = (frame.range.bytes.len(), frame.range.records);
        Consequence::Parked {
            bytes,
            records,
            key: self.key,
            status: self.status(),
        }
    }

    fn give_up(&mut self, place: usize, attempts: u32) -> Consequence {
        let Some(frame) = self.frames.get_mut(place) else {
            return Consequence::Resend;
        };
        frame.status = FrameStatus::Settled;
        let entries = self.batches.get(frame.batch).map(|batch| &batch.entries);
        let entry = entries.and_then(|entries| entries.get(frame.range.bytes.clone()));
        Consequence::GivenUp {
            entry: entry.unwrap_or_default().to_vec(),
            attempts,
            key: self.key,
            status: self.status(),
        }
    }

    /// Replaces a frame by two; returns false if it has a single record.
    fn halve(
        &mut self,
        place: usize,
        rejections: u32,
        mut new_id: impl FnMut() -> FrameId,
    ) -> bool {
        let Some(frame) = self.frames.get(place) else {
            return false;
        };
        let (batch, status, exposure) = (frame.batch, frame.status, frame.exposure);
        let ends = self.batches.get(batch).map(|batch| &*batch.ends);
        let Some(halves) = halve(&frame.range, ends.unwrap_or_default()) else {
            return false;
        };
        let halves = halves.map(|range| FrameState {
            rejections,
            exposure,
            status,
            ..FrameState::new(new_id(), batch, range)
        });
        self.frames.splice(place..=place, halves);
        true
    }
}

/// Hashes how batches are split into records. The chunk itself is recognised by its
/// content elsewhere; this tells whether it was turned into the same records.
fn shape<'a>(batches: impl Iterator<Item = &'a Batch>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for batch in batches {
        (&batch.tag, &batch.ends).hash(&mut hasher);
    }
    hasher.finish()
}

/// Part of a frame that was written to a lost connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All bytes, as far as is known.
    Whole,
    /// Not all bytes.
    Partly,
}
