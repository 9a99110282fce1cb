//! A connection from the moment that TCP is connected: TLS, handshake, session.

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

/// How connections to one node are opened.
pub(super) struct Opener {
    name: String,
    tls: Option<Connector>,
    auth: Option<Auth>,
    compression: Compression,
    extra_options: Arc<[ExtraOption]>,
    limits: Limits,
    timers: Timers,
}

impl Opener {
    /// For this node. Reads the files of its TLS.
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
            limits: config.limits,
            timers: config.timers,
        })
    }

    /// Reads the files of TLS again where they have changed, to be called before
    /// [`Opener::open`]; what there is to say about it.
    pub(super) fn refresh(&mut self) -> Option<ClientEvent> {
        let node = self.name.clone();
        match self.tls.as_mut()?.refresh() {
            Refresh::Unchanged => None,
            Refresh::Reloaded => Some(ClientEvent::TlsReloaded { node }),
            Refresh::Failed(error) => Some(ClientEvent::TlsNotReloaded { node, error }),
        }
    }

    /// Takes over a socket that is connected to the node. The connection is in
    /// use from now on, and carries frames once it [is ready](Connection::is_ready).
    pub(super) fn open(
        &self,
        socket: Socket,
        to: String,
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
                deadline: now + self.timers.tls,
                handshake,
            },
            to,
            compression: self.compression,
            extra_options: Arc::clone(&self.extra_options),
            limits: self.limits,
            timers: self.timers,
        };
        connection.leave_securing(now);
        Ok(connection)
    }
}

/// A connection with its peer's name for the log.
pub(super) struct Connection {
    stream: Stream,
    stage: Stage,
    to: String,
    compression: Compression,
    extra_options: Arc<[ExtraOption]>,
    limits: Limits,
    timers: Timers,
}

/// How far a connection has come. Nothing but a session carries frames.
enum Stage {
    /// TLS is being agreed upon.
    Securing {
        deadline: Instant,
        handshake: Option<(Auth, [u8; 16])>,
    },
    /// The shared key is being checked.
    Shaking(Handshake),
    Ready(Session),
    /// It failed before it was ready.
    Failed,
}

impl Connection {
    /// The peer, for the log.
    pub(super) fn to(&self) -> &str {
        &self.to
    }

    /// Whether frames may be sent, now or when there is room for them again.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready(_))
    }

    /// Reads what has come, appending the ids that it acknowledges to `acked`,
    /// and checks the timers. Also done before a frame is sent, so that an end
    /// of the stream that is already here is seen first.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
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
                Ok(None) => break,
                Err(loss) => return Err(self.ended(loss)),
            }
        }
        self.handle_timeout(now)
    }

    /// Writes as much as the stream takes of what is to be written, appending to
    /// `acked` what that settles.
    pub(super) fn transmit(
        &mut self,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
        self.write(now).map_err(|loss| self.ended(loss))?;
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

    /// Whether a frame may be sent now.
    pub(super) fn can_send(&self) -> bool {
        matches!(&self.stage, Stage::Ready(session) if session.can_send())
    }

    /// Sends a frame with the next [`Connection::transmit`].
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

    /// What to poll for.
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

    /// Since when the peer has owed a sign of life.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Ready(session) => session.stalled_since(),
            _ => None,
        }
    }

    /// When a timer has to be checked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Securing { deadline, .. } => Some(*deadline),
            Stage::Shaking(handshake) => Some(handshake.poll_timeout()),
            Stage::Ready(session) => session.poll_timeout(),
            Stage::Failed => None,
        }
    }

    /// Frames that were sent and not acknowledged, oldest first.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = &FrameId> {
        let session = match &self.stage {
            Stage::Ready(session) => Some(session),
            _ => None,
        };
        session.into_iter().flat_map(Session::in_flight)
    }

    /// The frame in flight whose last byte has not left.
    pub(super) fn unwritten(&self) -> Option<FrameId> {
        match &self.stage {
            Stage::Ready(session) => session.unwritten().copied(),
            _ => None,
        }
    }

    /// Whether the peer has begun a reply and not ended it.
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
                        Stage::Ready(Session::new(self.limits, reuse, now))
                    }
                };
            }
            Stage::Ready(mut session) => {
                let handled = session.handle_input(bytes, now, acked);
                let spent = session.is_spent();
                // What was in flight has to be known also after a doubt.
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

    /// Goes on behind TLS once the stream is secured, at once where there is none.
    fn leave_securing(&mut self, now: Instant) {
        let Stage::Securing { handshake, .. } = &mut self.stage else {
            return;
        };
        if self.stream.is_handshaking() {
            return;
        }
        self.stage = match handshake.take() {
            None => Stage::Ready(Session::new(self.limits, Reuse::Always, now)),
            Some((auth, salt)) => {
                Stage::Shaking(Handshake::new(auth, salt, self.timers.handshake, now))
            }
        };
    }

    /// What the end of the stream means at this stage. Closing with bytes unread
    /// is a reset to the other side.
    fn ended(&mut self, loss: ConnectionError) -> ConnectionError {
        let closed = match &loss {
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
                _ => loss,
            },
            _ => loss,
        }
    }
}
