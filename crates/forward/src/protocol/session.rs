//! Protocol state of one ready connection: the window of frames and its timers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::FrameId;
use super::wire::{Acks, Frame, Inbox, Reply, WireError};
use crate::time::after;

/// Window and timers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames that may be in flight, i.e. sent and not acknowledged. Default 16,
    /// the number of full frames in a client's default memory.
    pub window: usize,
    /// Longest time without progress in writing, unless a frame before waits for its
    /// acknowledgement: a peer that is stuck stores that frame in the end, and
    /// `ack_timeout` counts. Default 10 s.
    pub write_timeout: Duration,
    /// Longest time without an acknowledgement while one is due, and longest delay
    /// of a frame after a later one was acknowledged. Default 190 s, as
    /// Fluentd's own output: a receiver whose buffer is full blocks for minutes, and
    /// stores what it was sent once it can. Too short a time costs a window of
    /// duplicates; too long a time delays frames only where a connection dies silently
    /// and no other node is up.
    pub ack_timeout: Duration,
    /// Acknowledgements that receivers are asked for. Default all.
    pub acks: Acks,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            acks: Acks::Required,
            window: 16,
            write_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(190),
        }
    }
}

/// Number of frames that a connection may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Any number of frames.
    Always,
    /// One frame: the receiver closes the connection after it acknowledged it.
    Never,
}

/// Violation of the protocol by a peer. Its connection must be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message that is not a reply.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An acknowledgement for an id that is not in flight on this connection.
    #[error("the peer acknowledged frame `{0}`, which is not in flight")]
    UnknownAck(String),
    /// Bytes while no reply was due.
    #[error("the peer sent bytes while no reply was due")]
    Unsolicited,
    /// A reply without an id, which refuses a frame.
    #[error("the peer refused a frame (a reply without an id)")]
    Refused,
}

/// A timer that ran out. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Timeout {
    /// No acknowledgement came in time.
    #[error("no acknowledgement within {0:?}")]
    Ack(Duration),
    /// The peer took no byte in time.
    #[error("the peer took no byte within {0:?}")]
    Write(Duration),
}

/// Protocol side of one connection. Owns no socket and reads no clock.
///
/// There are four kinds of calls:
/// - [`send`](Session::send) takes a frame while [`can_send`](Session::can_send);
/// - [`poll_transmit`](Session::poll_transmit) returns the bytes to write next, and
///   [`transmitted`](Session::transmitted) takes how many of them were written;
/// - [`handle_input`](Session::handle_input) processes received bytes and returns
///   the ids that they acknowledge;
/// - [`poll_timeout`](Session::poll_timeout) returns when to call
///   [`handle_timeout`](Session::handle_timeout).
///
/// After a [`ProtocolError`] or a [`Timeout`] the connection has to be closed;
/// [`in_flight`](Session::in_flight) returns the frames to send again.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    reuse: Reuse,
    /// True once a frame was sent.
    used: bool,
    /// At most one frame, of which the first `written` bytes are written.
    outgoing: Vec<u8>,
    written: usize,
    /// Time of the last progress in writing.
    moved: Instant,
    /// Sent frames, oldest first. Only the newest may be partly written.
    in_flight: VecDeque<FrameId>,
    /// Time of the last acknowledgement, or since when one is due.
    waiting_since: Instant,
    /// Number of frames, from the oldest one, that a later frame was acknowledged
    /// before, and since when there are such frames.
    overtaken: (usize, Instant),
    inbox: Inbox,
}

impl Session {
    /// Starts on a new connection.
    pub fn new(limits: Limits, reuse: Reuse, now: Instant) -> Session {
        Session {
            limits,
            reuse,
            used: false,
            outgoing: Vec::new(),
            written: 0,
            moved: now,
            in_flight: VecDeque::new(),
            waiting_since: now,
            overtaken: (0, now),
            inbox: Inbox::default(),
        }
    }

    /// Returns true if a frame may be sent: the previous one is written, and the
    /// window is not full.
    pub fn can_send(&self) -> bool {
        !self.is_writing() && self.in_flight.len() < self.limits.window && self.may_carry_more()
    }

    /// Returns true if the connection may carry nothing more and has to be closed.
    pub fn is_spent(&self) -> bool {
        !self.may_carry_more() && self.in_flight.is_empty()
    }

    fn may_carry_more(&self) -> bool {
        self.reuse == Reuse::Always || !self.used
    }

    /// Adds a frame to the window.
    pub fn send(&mut self, frame: &Frame<'_>, now: Instant) {
        debug_assert!(self.can_send());
        self.outgoing.clear();
        self.written = 0;
        frame.write(self.limits.acks, &mut self.outgoing);
        self.moved = now;
        self.used = true;
        self.in_flight.push_back(*frame.id);
    }

    /// Returns the bytes to write next; empty if there are none.
    pub fn poll_transmit(&self) -> &[u8] {
        self.outgoing.get(self.written..).unwrap_or_default()
    }

    /// Records that the first `length` bytes of [`Session::poll_transmit`] were written.
    pub fn transmitted(&mut self, length: usize, now: Instant) {
        if length == 0 {
            return;
        }
        self.written = self.written.saturating_add(length);
        self.moved = now;
        if !self.is_writing() && self.in_flight.len() == 1 {
            self.waiting_since = now;
        }
    }

    /// Records that no written byte is left in a buffer of this process. Without
    /// acknowledgements this delivers the frame, whose id is appended to `acked`.
    pub fn flushed(&mut self, acked: &mut Vec<FrameId>) {
        if self.limits.acks == Acks::Waived && !self.is_writing() {
            acked.extend(self.in_flight.drain(..));
        }
    }

    /// Processes received bytes. Appends the ids that they acknowledge to `acked`,
    /// also if it returns an error.
    pub fn handle_input(
        &mut self,
        bytes: &[u8],
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ProtocolError> {
        // A partly written frame cannot be acknowledged.
        let leaving = usize::from(self.is_writing());
        self.inbox.push(bytes);
        while let Some(reply) = self.inbox.next_reply()? {
            let Reply::Ack(id) = reply else {
                return Err(ProtocolError::Refused);
            };
            let arrived = self.in_flight.len().saturating_sub(leaving);
            let place = self
                .in_flight
                .iter()
                .take(arrived)
                .position(|sent| sent.as_bytes() == id);
            let Some((place, sent)) =
                place.and_then(|place| Some((place, self.in_flight.remove(place)?)))
            else {
                return Err(ProtocolError::UnknownAck(id.escape_ascii().to_string()));
            };
            acked.push(sent);
            self.waiting_since = now;
            self.overtake(place, now);
        }
        if self.in_flight.is_empty() {
            if !self.inbox.is_empty() {
                return Err(ProtocolError::Unsolicited);
            }
            // Idle connections should not hold a frame's worth of memory.
            self.outgoing = Vec::new();
            self.written = 0;
        }
        Ok(())
    }

    /// Returns when [`Session::handle_timeout`] has to be called; `None` if never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.write_deadline(), self.ack_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Fails if the peer has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Timeout> {
        if self
            .write_deadline()
            .is_some_and(|deadline| now >= deadline)
        {
            return Err(Timeout::Write(self.limits.write_timeout));
        }
        if self.ack_deadline().is_some_and(|deadline| now >= deadline) {
            return Err(Timeout::Ack(self.limits.ack_timeout));
        }
        Ok(())
    }

    /// Returns the frames that were sent and not acknowledged, oldest first.
    pub fn in_flight(&self) -> impl Iterator<Item = &FrameId> {
        self.in_flight.iter()
    }

    /// Returns the frame that is partly written, if any.
    pub fn unwritten(&self) -> Option<&FrameId> {
        self.in_flight.back().filter(|_| self.is_writing())
    }

    /// Returns true if an incomplete reply was received.
    pub fn is_being_answered(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Returns since when the peer has made no progress, neither taken a byte nor
    /// acknowledged a frame, while frames are in flight.
    pub fn stalled_since(&self) -> Option<Instant> {
        let owes = !self.in_flight.is_empty();
        let acked = self.is_waiting().then_some(self.waiting_since);
        owes.then(|| acked.map_or(self.moved, |acked| acked.max(self.moved)))
    }

    fn is_writing(&self) -> bool {
        self.written < self.outgoing.len()
    }

    fn write_deadline(&self) -> Option<Instant> {
        // Without acknowledgements a frame in flight is one that is still buffered.
        let is_due = match self.limits.acks {
            Acks::Required => self.is_writing() && !self.is_waiting(),
            Acks::Waived => self.is_writing() || !self.in_flight.is_empty(),
        };
        let moved = self.moved.max(self.waiting_since);
        is_due.then(|| after(moved, self.limits.write_timeout))
    }

    /// Every acknowledgement restarts the clock, so that a slow peer has time for every
    /// frame. A frame that was overtaken is probably skipped, as Fluentd does with
    /// frames above its limit: later acknowledgements do not prolong its time.
    fn ack_deadline(&self) -> Option<Instant> {
        if self.limits.acks == Acks::Waived || !self.is_waiting() {
            return None;
        }
        let since = match self.overtaken {
            (0, _) => self.waiting_since,
            (_, since) => since.min(self.waiting_since),
        };
        Some(after(since, self.limits.ack_timeout))
    }

    /// Updates the overtaken frames after the acknowledgement of the frame that was
    /// at `place`.
    fn overtake(&mut self, place: usize, now: Instant) {
        let (frames, since) = self.overtaken;
        self.overtaken = match frames {
            0 => (place, now),
            _ if place < frames => (frames.saturating_sub(1), since),
            _ => (place, since),
        };
    }

    /// Returns true if a fully written frame waits for its acknowledgement.
    fn is_waiting(&self) -> bool {
        self.in_flight.len() > usize::from(self.is_writing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        window: 3,
        write_timeout: Duration::from_secs(10),
        ack_timeout: Duration::from_secs(30),
        acks: Acks::Required,
    };

    /// A session with a clock of its own.
    struct Bench {
        session: Session,
        now: Instant,
        acked: Vec<FrameId>,
    }

    impl Bench {
        fn new() -> Bench {
            let now = Instant::now();
            Bench {
                session: Session::new(LIMITS, Reuse::Always, now),
                now,
                acked: Vec::new(),
            }
        }

        fn pass(&mut self, seconds: u64) -> Result<(), Timeout> {
            self.now += Duration::from_secs(seconds);
            self.session.handle_timeout(self.now)
        }

        fn send(&mut self, number: u8) {
            assert!(self.session.can_send());
            let frame = Frame {
                tag: b"t",
                entries: &[0; 100],
                compressed: None,
                records: 1,
                id: &id(number),
                extra: &[],
            };
            self.session.send(&frame, self.now);
        }

        fn write(&mut self, at_most: usize) {
            let length = self.session.poll_transmit().len().min(at_most);
            self.session.transmitted(length, self.now);
        }

        fn send_whole(&mut self, number: u8) {
            self.send(number);
            self.write(usize::MAX);
        }

        fn input(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
            self.session.handle_input(bytes, self.now, &mut self.acked)
        }

        fn left(&self) -> Vec<FrameId> {
            self.session.in_flight().copied().collect()
        }
    }

    fn id(number: u8) -> FrameId {
        FrameId::new([number; 16])
    }

    fn ack(number: u8) -> Vec<u8> {
        [b"\x81\xa3ack\xb8", id(number).as_bytes()].concat()
    }

    #[test]
    fn case_36_acks_in_any_order() {
        let mut bench = Bench::new();
        for number in 1..=3 {
            bench.send_whole(number);
        }
        assert!(!bench.session.can_send(), "the window is full");
        assert_eq!(bench.input(&[ack(3), ack(1)].concat()), Ok(()));
        assert_eq!(bench.acked, [id(3), id(1)]);
        assert_eq!(bench.left(), [id(2)]);
        assert!(bench.session.can_send());
    }

    #[test]
    fn case_24_acks_byte_by_byte() {
        let mut bench = Bench::new();
        bench.send_whole(1);
        bench.send_whole(2);
        for byte in [ack(1), ack(2)].concat() {
            assert_eq!(bench.input(&[byte]), Ok(()));
        }
        assert_eq!(bench.acked, [id(1), id(2)]);
        assert_eq!(
            bench.session.poll_timeout(),
            None,
            "an idle session waits for nothing"
        );
    }

    #[test]
    fn case_36_protocol_errors() {
        let duplicate = [ack(1), ack(1)].concat();
        let cases: [(&str, Vec<u8>, ProtocolError, &[u8]); 6] = [
            (
                "unknown",
                ack(9),
                ProtocolError::UnknownAck(format!("{:?}", id(9))),
                &[1, 2],
            ),
            (
                "duplicate",
                duplicate,
                ProtocolError::UnknownAck(format!("{:?}", id(1))),
                &[2],
            ),
            (
                "longer by a line feed",
                [b"\x81\xa3ack\xb9", id(1).as_bytes(), b"\n"].concat(),
                ProtocolError::UnknownAck(format!("{:?}\\n", id(1))),
                &[1, 2],
            ),
            ("refused", b"\x80".to_vec(), ProtocolError::Refused, &[1, 2]),
            (
                "text",
                b"{\"ack\"".to_vec(),
                ProtocolError::Wire(WireError::NotAMap(b'{')),
                &[1, 2],
            ),
            (
                "more than was due",
                [ack(2), ack(1), b"\x81".to_vec()].concat(),
                ProtocolError::Unsolicited,
                &[],
            ),
        ];
        for (name, bytes, error, left) in cases {
            let mut bench = Bench::new();
            bench.send_whole(1);
            bench.send_whole(2);
            assert_eq!(bench.input(&bytes), Err(error), "{name}");
            let left: Vec<_> = left.iter().map(|&number| id(number)).collect();
            assert_eq!(bench.left(), left, "{name}");
        }
    }

    #[test]
    fn case_17_one_frame_where_the_receiver_wants_no_more() {
        let mut bench = Bench::new();
        bench.session = Session::new(LIMITS, Reuse::Never, bench.now);
        bench.send_whole(1);
        assert!(!bench.session.can_send() && !bench.session.is_spent());
        assert_eq!(bench.input(&ack(1)), Ok(()));
        assert!(!bench.session.can_send() && bench.session.is_spent());
    }

    #[test]
    fn what_was_written_is_settled_where_no_acknowledgement_is_asked_for() {
        let mut bench = Bench::new();
        let limits = Limits {
            acks: Acks::Waived,
            ..LIMITS
        };
        bench.session = Session::new(limits, Reuse::Always, bench.now);
        bench.send(1);
        let text = bench.session.poll_transmit();
        assert!(!text.windows(5).any(|part| part == b"chunk"));
        bench.write(20);
        bench.session.flushed(&mut bench.acked);
        assert_eq!(bench.session.unwritten(), Some(&id(1)));
        assert!(bench.acked.is_empty() && !bench.session.can_send());
        bench.write(usize::MAX);
        assert_eq!(bench.session.unwritten(), None);
        let unsettled = bench.session.poll_timeout();
        assert_eq!(unsettled, Some(bench.now + LIMITS.write_timeout));
        bench.session.flushed(&mut bench.acked);
        assert_eq!(bench.acked, [id(1)]);
        assert_eq!(bench.session.poll_timeout(), None);
        assert!(bench.session.can_send());
        let unasked = bench.input(&ack(1));
        assert!(matches!(unasked, Err(ProtocolError::UnknownAck(_))));
    }

    #[test]
    fn a_reply_that_has_begun() {
        let mut bench = Bench::new();
        bench.send_whole(1);
        assert!(!bench.session.is_being_answered());
        assert_eq!(bench.input(&ack(1)[..10]), Ok(()));
        assert!(bench.session.is_being_answered());
    }

    #[test]
    fn case_64_bytes_while_idle() {
        assert_eq!(Bench::new().input(b"\x81"), Err(ProtocolError::Unsolicited));
        assert_eq!(
            Bench::new().input(b"\x92"),
            Err(ProtocolError::Wire(WireError::Handshake))
        );
    }

    #[test]
    fn what_has_not_left_cannot_be_acknowledged() {
        let mut bench = Bench::new();
        bench.send(1);
        bench.write(20);
        assert!(matches!(
            bench.input(&ack(1)),
            Err(ProtocolError::UnknownAck(_))
        ));
        assert_eq!(bench.left(), [id(1)]);
    }

    #[test]
    fn case_62_slow_is_not_dead() {
        let mut bench = Bench::new();
        bench.send(1);
        while !bench.session.poll_transmit().is_empty() {
            assert_eq!(bench.pass(9), Ok(()));
            bench.write(10);
        }
        assert_eq!(
            bench.pass(29),
            Ok(()),
            "the acknowledgement has its own time"
        );
        assert_eq!(bench.pass(1), Err(Timeout::Ack(LIMITS.ack_timeout)));
    }

    #[test]
    fn case_31_a_peer_that_takes_nothing() {
        let mut bench = Bench::new();
        bench.send(1);
        bench.write(50);
        assert_eq!(
            bench.session.poll_timeout(),
            Some(bench.now + LIMITS.write_timeout)
        );
        assert_eq!(bench.pass(10), Err(Timeout::Write(LIMITS.write_timeout)));
    }

    /// A frame that waits for its acknowledgement would be stored twice.
    #[test]
    fn case_45_a_stuck_peer_has_the_time_of_an_acknowledgement() {
        let mut bench = Bench::new();
        bench.send_whole(1);
        bench.send(2);
        bench.write(50);
        assert_eq!(bench.pass(29), Ok(()));
        assert_eq!(bench.input(&ack(1)), Ok(()));
        assert_eq!(bench.pass(9), Ok(()));
        assert_eq!(bench.pass(1), Err(Timeout::Write(LIMITS.write_timeout)));
    }

    #[test]
    fn case_32_a_slow_window_gets_time_for_every_frame() {
        let mut bench = Bench::new();
        for number in 1..=3 {
            bench.send_whole(number);
        }
        for number in 1..=2 {
            assert_eq!(bench.pass(29), Ok(()));
            assert_eq!(bench.input(&ack(number)), Ok(()));
        }
        assert_eq!(bench.pass(30), Err(Timeout::Ack(LIMITS.ack_timeout)));
        assert_eq!(bench.left(), [id(3)]);
    }

    #[test]
    fn case_33_what_a_peer_owes() {
        let mut bench = Bench::new();
        assert_eq!(bench.session.stalled_since(), None);
        bench.send_whole(1);
        let sent = bench.now;
        assert_eq!(bench.pass(5), Ok(()));
        assert_eq!(bench.session.stalled_since(), Some(sent));
        bench.send(2);
        assert_eq!(bench.pass(5), Ok(()));
        bench.write(10);
        let moved = bench.now;
        assert_eq!(bench.pass(5), Ok(()));
        assert_eq!(bench.session.stalled_since(), Some(moved), "it took bytes");
        bench.write(usize::MAX);
        assert_eq!(bench.input(&ack(1)), Ok(()));
        assert_eq!(bench.session.stalled_since(), Some(bench.now));
        assert_eq!(bench.input(&ack(2)), Ok(()));
        assert_eq!(bench.session.stalled_since(), None);
    }

    #[test]
    fn case_47_a_skipped_frame_times_out() {
        let mut bench = Bench::new();
        bench.send_whole(1);
        bench.send_whole(2);
        assert_eq!(bench.pass(20), Ok(()));
        assert_eq!(bench.input(&ack(2)), Ok(()));
        for number in 3..=5 {
            bench.send_whole(number);
            assert_eq!(bench.pass(9), Ok(()));
            assert_eq!(bench.input(&ack(number)), Ok(()));
        }
        bench.send_whole(6);
        assert_eq!(bench.pass(3), Err(Timeout::Ack(LIMITS.ack_timeout)));
        assert_eq!(bench.left(), [id(1), id(6)]);
    }

    #[test]
    fn overtaken_frames_that_are_acknowledged_late_are_fine() {
        let mut bench = Bench::new();
        for number in 1..=3 {
            bench.send_whole(number);
        }
        assert_eq!(bench.pass(29), Ok(()));
        assert_eq!(bench.input(&ack(3)), Ok(()));
        assert_eq!(bench.pass(29), Ok(()));
        assert_eq!(bench.input(&[ack(2), ack(1)].concat()), Ok(()));
        bench.send_whole(4);
        assert_eq!(bench.pass(29), Ok(()), "nothing is overtaken any more");
        assert_eq!(bench.pass(1), Err(Timeout::Ack(LIMITS.ack_timeout)));
    }

    /// Any acknowledgement shows that a slow peer is alive.
    #[test]
    fn every_acknowledgement_restarts_the_clock() {
        let mut bench = Bench::new();
        for number in 1..=3 {
            bench.send_whole(number);
        }
        for number in [2, 1] {
            assert_eq!(bench.pass(25), Ok(()));
            assert_eq!(bench.input(&ack(number)), Ok(()));
        }
        assert_eq!(bench.pass(29), Ok(()));
        assert_eq!(bench.left(), [id(3)]);
    }
}
