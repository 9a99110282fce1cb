//! A connection in use: a socket with its session.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::PollFlags;

use super::report::Loss;
use super::socket::Socket;
use crate::forward::ChunkId;
use crate::forward::session::{Limits, Session};
use crate::forward::wire::Frame;

/// A connection with its peer's name for the log.
pub(super) struct Connection {
    socket: Socket,
    session: Session,
    to: String,
}

impl Connection {
    pub(super) fn new(socket: Socket, to: String, limits: Limits, now: Instant) -> Connection {
        Connection {
            socket,
            session: Session::new(limits, now),
            to,
        }
    }

    /// Whether TLS and handshake are done, so that frames may be sent.
    pub(super) fn is_ready(&self) -> bool {
        true
    }

    /// The peer, for the log.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Reads what has come, appending the ids that it acknowledges to `acked`,
    /// and checks the timers. Also done before a frame is sent, so that an end
    /// of the stream that is already here is seen first.
    pub(super) fn receive(&mut self, now: Instant, acked: &mut Vec<ChunkId>) -> Result<(), Loss> {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(Loss::Closed),
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.session.handle_input(bytes, now, acked)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.session.handle_timeout(now)?)
    }

    /// Writes as much as the socket takes of what is to be written.
    pub(super) fn transmit(&mut self, now: Instant) -> Result<(), Loss> {
        while !self.session.poll_transmit().is_empty() {
            match self.socket.write(self.session.poll_transmit()) {
                Ok(length) => self.session.transmitted(length, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a frame may be sent now.
    pub(super) fn can_send(&self) -> bool {
        self.session.can_send()
    }

    /// Sends a frame with the next [`Connection::transmit`].
    pub(super) fn send(&mut self, frame: &Frame<'_>, now: Instant) {
        self.session.send(frame, now);
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let writing = !self.session.poll_transmit().is_empty();
        let flags = if writing {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        (self.socket.as_fd(), flags)
    }

    /// Since when the peer has owed a sign of life.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.session.stalled_since()
    }

    /// When a timer has to be checked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// Frames that were sent and not acknowledged, oldest first.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &ChunkId> {
        self.session.in_flight()
    }
}
