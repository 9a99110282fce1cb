//! Connection to a receiver after the socket is connected: TLS, handshake, session.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;

use super::config::{Config, StartError, Timers};
use super::node::Node;
use super::observer::{ClientEvent, ConnectionError};
use super::rng::Rng;
use super::socket::Socket;
use super::stream::Stream;
use super::tls::{Connector, Refresh, TlsError};
use crate::protocol::FrameId;
use crate::protocol::compression::Compression;
use crate::protocol::handshake::{Auth, Handshake, Progress};
use crate::protocol::session::{Limits, Reuse, Session};
use crate::protocol::wire::{ExtraOption, Frame};
use crate::time::after;

/// Opens connections to one node.
pub(super) struct Opener {
    name: String,
    tls: Option<Connector>,
    auth: Option<Auth>,
    compression: Compression,
    extra_options: Arc<[ExtraOption]>,
    timers: Timers,
}

impl Opener {
    /// Creates an opener for a node, and reads the node's TLS files.
    pub(super) fn new(node: &Node, config: &Config) -> Result<Opener, StartError> {
        let connector = |tls| {
            Connector::new(tls, &node.endpoint).map_err(|error| StartError::Tls {
                node: node.name.clone(),
                error,
            })
        };
        Ok(Opener {
            name: node.name.clone(),
            tls: node.tls.as_ref().map(connector).transpose()?,
            auth: node.auth.clone(),
            compression: node.compression,
            extra_options: Arc::clone(&config.extra_options),
            timers: config.timers,
        })
    }

    /// Reads TLS files again if they have changed, and returns an event in that case.
    /// To be called before [`Opener::open`].
    pub(super) fn refresh(&mut self) -> Option<ClientEvent> {
        let node = self.name.clone();
        match self.tls.as_mut()?.refresh() {
            Refresh::Unchanged => None,
            Refresh::Reloaded => Some(ClientEvent::TlsReloaded { node }),
            Refresh::Failed(error) => Some(ClientEvent::TlsNotReloaded { node, error }),
        }
    }

    /// Starts TLS and handshake on a connected socket. The connection carries frames
    /// once it [is ready](Connection::is_ready); a single one if `reuse` or the
    /// receiver wants that.
    pub(super) fn open(
        &self,
        socket: Socket,
        to: String,
        limits: Limits,
        reuse: Reuse,
        now: Instant,
    ) -> Result<Connection, ConnectionError> {
        let handshake = match &self.auth {
            None => None,
            Some(auth) => Some((auth.clone(), Rng::salt()?)),
        };
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(connector) => Stream::Tls(Box::new(connector.connect(socket)?)),
        };
        let mut connection = Connection {
            stream,
            stage: Stage::Securing {
                deadline: after(now, self.timers.tls),
                handshake,
            },
            to,
            compression: self.compression,
            extra_options: Arc::clone(&self.extra_options),
            limits,
            reuse,
            timers: self.timers,
        };
        connection.leave_securing(now);
        Ok(connection)
    }
}

/// Connection to a receiver.
pub(super) struct Connection {
    stream: Stream,
    stage: Stage,
    to: String,
    compression: Compression,
    extra_options: Arc<[ExtraOption]>,
    limits: Limits,
    reuse: Reuse,
    timers: Timers,
}

/// Stage of a connection. Only the last one carries frames.
enum Stage {
    /// TLS handshake.
    Securing {
        deadline: Instant,
        handshake: Option<(Auth, [u8; 16])>,
    },
    /// Shared-key handshake.
    Shaking(Handshake),
    Ready(Session),
    /// Failed before it was ready.
    Failed,
}

impl Connection {
    /// Returns the peer's name for the log.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Returns true after all handshakes.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Reads received bytes, appends the ids that they acknowledge to `acked`, and
    /// checks the timers. Also called before a frame is sent, so that the end of a
    /// stream is noticed before a frame is lost on it.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
        self.read(now, acked)?;
        self.handle_timeout(now)
    }

    fn read(&mut self, now: Instant, acked: &mut Vec<FrameId>) -> Result<(), ConnectionError> {
        let mut buffer = [0; 4096];
        loop {
            let read = self.stream.read(&mut buffer);
            self.leave_securing(now);
            match read {
                Ok(Some(0)) => return Err(self.ended(ConnectionError::Closed)),
                Ok(Some(length)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    self.handle_input(bytes, now, acked)?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.ended(error)),
            }
        }
    }

    /// Writes as much as the stream takes, and appends the ids that this delivers to
    /// `acked`. If the peer has closed the connection, what it sent before is read.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
        if let Err(error) = self.write(now) {
            // Acknowledgements or an alert may have arrived before the reset, and
            // what they say matters more than that writing failed.
            let error = match self.read(now, acked) {
                Ok(()) | Err(ConnectionError::Closed | ConnectionError::Io(_)) => error,
                Err(reason) => reason,
            };
            return Err(self.ended(error));
        }
        if let Stage::Ready(session) = &mut self.stage
            && self.stream.is_flushed()
        {
            session.flushed(acked);
            if session.is_spent() {
                return Err(ConnectionError::Spent);
            }
        }
        Ok(())
    }

    /// Closes the connection as agreed: with TLS the peer is told.
    pub(super) fn close(mut self) {
        self.stream.close();
    }

    fn write(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.stream.flush()?;
        match &mut self.stage {
            Stage::Securing { .. } | Stage::Failed => {}
            Stage::Shaking(handshake) => {
                while !handshake.poll_transmit().is_empty() {
                    match self.stream.write(handshake.poll_transmit())? {
                        Some(length) => handshake.transmitted(length),
                        None => break,
                    }
                }
            }
            Stage::Ready(session) => {
                while !session.poll_transmit().is_empty() {
                    match self.stream.write(session.poll_transmit())? {
                        Some(length) => session.transmitted(length, now),
                        None => break,
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns true if a frame may be sent now.
    pub(super) fn can_send(&self) -> bool {
        matches!(&self.stage, Stage::Ready(session) if session.can_send())
    }

    /// Queues a frame for the next [`Connection::transmit`].
    pub(super) fn send(&mut self, frame: &Frame<'_>, now: Instant) {
        let Stage::Ready(session) = &mut self.stage else {
            debug_assert!(false, "a frame for a connection that is not ready");
            return;
        };
        let (entries, compressed) = self.compression.apply(frame.entries);
        let frame = Frame {
            entries: &entries,
            compressed,
            extra: &self.extra_options,
            ..*frame
        };
        session.send(&frame, now);
    }

    /// Returns the socket and the events to poll for.
    pub(super) fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let nothing_left = match &self.stage {
            Stage::Securing { .. } | Stage::Failed => true,
            Stage::Shaking(handshake) => handshake.poll_transmit().is_empty(),
            Stage::Ready(session) => session.poll_transmit().is_empty(),
        };
        let flags = if nothing_left && self.stream.is_flushed() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        };
        (self.stream.as_fd(), flags)
    }

    /// Returns since when the peer has made no progress; `None` if nothing is due.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Ready(session) => session.stalled_since(),
            _ => None,
        }
    }

    /// Returns when a timer runs out.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Securing { deadline, .. } => Some(*deadline),
            Stage::Shaking(handshake) => Some(handshake.poll_timeout()),
            Stage::Ready(session) => session.poll_timeout(),
            Stage::Failed => None,
        }
    }

    /// Returns the frames that were sent and not acknowledged, oldest first.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &FrameId> {
        let session = match &self.stage {
            Stage::Ready(session) => Some(session),
            _ => None,
        };
        session.into_iter().flat_map(Session::in_flight)
    }

    /// Returns the frame that is partly written, if any.
    pub(super) fn unwritten(&self) -> Option<FrameId> {
        match &self.stage {
            Stage::Ready(session) => session.unwritten().copied(),
            _ => None,
        }
    }

    /// Returns true if an incomplete reply was received.
    pub(super) fn is_being_answered(&self) -> bool {
        matches!(&self.stage, Stage::Ready(session) if session.is_being_answered())
    }

    fn handle_input(
        &mut self,
        bytes: &[u8],
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
        match mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Securing { .. } | Stage::Failed => {}
            Stage::Shaking(handshake) => {
                self.stage = match handshake.handle_input(bytes, now)? {
                    Progress::Pending(handshake) => Stage::Shaking(handshake),
                    Progress::Complete(reuse) => {
                        let reuse = match self.reuse {
                            Reuse::Never => Reuse::Never,
                            Reuse::Always => reuse,
                        };
                        Stage::Ready(Session::new(self.limits, reuse, now))
                    }
                };
            }
            Stage::Ready(mut session) => {
                let handled = session.handle_input(bytes, now, acked);
                let spent = session.is_spent();
                // The frames in flight have to be known also after an error.
                self.stage = Stage::Ready(session);
                handled?;
                if spent {
                    return Err(ConnectionError::Spent);
                }
            }
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ConnectionError> {
        match mem::replace(&mut self.stage, Stage::Failed) {
            Stage::Securing { deadline, .. } if now >= deadline => {
                return Err(TlsError::Timeout(self.timers.tls).into());
            }
            Stage::Shaking(handshake) => {
                self.stage = Stage::Shaking(handshake.handle_timeout(now)?);
            }
            Stage::Ready(mut session) => {
                let handled = session.handle_timeout(now);
                self.stage = Stage::Ready(session);
                handled?;
            }
            stage => self.stage = stage,
        }
        Ok(())
    }

    /// Leaves the first stage once the TLS handshake is done, or if there is no TLS.
    fn leave_securing(&mut self, now: Instant) {
        let Stage::Securing { handshake, .. } = &mut self.stage else {
            return;
        };
        if self.stream.is_handshaking() {
            return;
        }
        self.stage = match handshake.take() {
            None => Stage::Ready(Session::new(self.limits, self.reuse, now)),
            Some((auth, salt)) => {
                Stage::Shaking(Handshake::new(auth, salt, self.timers.handshake, now))
            }
        };
    }

    /// Translates the end of the stream at this stage. A reset counts as an end,
    /// because a peer that closes with unread bytes resets the connection.
    fn ended(&mut self, error: ConnectionError) -> ConnectionError {
        let closed = match &error {
            ConnectionError::Closed => true,
            ConnectionError::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        };
        match &mut self.stage {
            Stage::Securing { .. } if closed => TlsError::ClosedEarly.into(),
            Stage::Shaking(_) if closed => match mem::replace(&mut self.stage, Stage::Failed) {
                Stage::Shaking(handshake) => handshake.handle_end().into(),
                _ => error,
            },
            _ => error,
        }
    }
}
