//! A node at work: its connection, and what is remembered between connections.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::balancer::NodeStatus;
use super::config::Config;
use super::connection::{Connection, Opener};
use super::dial::{Dial, Progress};
use super::endpoint::{Endpoint, Host};
use super::health::{Failure, Health};
use super::lookup::Lookups;
use super::node::Node;
use super::observer::{ClientEvent, ConnectionError, NodeState};
use super::rng::Rng;
use crate::protocol::FrameId;
use crate::protocol::capacity::Capacity;
use crate::protocol::chunk::{Attempt, Ending, Next, NodeRecord, Size};
use crate::protocol::send_queue::LostFrames;
use crate::protocol::session::{ProtocolError, Timeout};
use crate::protocol::wire::Frame;

/// One node, with at most one connection.
pub(super) struct NodeConnection {
    node: Node,
    opener: Opener,
    health: Health,
    capacity: Capacity,
    link: Link,
    /// Counts connections, so that each begins with another address of the name.
    turn: usize,
}

/// The way to the node.
enum Link {
    /// There is none.
    Idle,
    /// TCP is being connected.
    Connecting { dial: Dial, since: Instant },
    /// TLS and handshake are under way.
    Establishing {
        connection: Connection,
        since: Instant,
    },
    /// Frames can be sent.
    Ready(Ready),
}

struct Ready {
    connection: Connection,
    /// Frames in flight with their bytes of entries, oldest first.
    sizes: VecDeque<(FrameId, usize)>,
    /// Frames that are in flight here and were given to another node as well.
    released: Vec<FrameId>,
    /// When it last had something under way.
    used: Instant,
    /// When it has to make room for a new one.
    rotate_at: Instant,
}

/// What happened to a node.
pub(super) enum NodeEvent {
    /// An address could not be connected to.
    ConnectFailed { to: String, error: ConnectionError },
    /// Something about its files.
    Refreshed(ClientEvent),
    /// None could.
    Unreachable,
    /// The node is up.
    Ready { to: String },
    /// The connection can't be used any more.
    Lost(ConnectionError),
    /// The connection was old or idle and is closed.
    Retired,
}

impl NodeConnection {
    /// A node without a connection; `turn` chooses the address to begin with.
    pub(super) fn new(node: Node, opener: Opener, turn: usize) -> NodeConnection {
        NodeConnection {
            node,
            opener,
            health: Health::default(),
            capacity: Capacity::default(),
            link: Link::Idle,
            turn,
        }
    }

    /// Begins to connect, if there is no connection and it is time to try.
    pub(super) fn connect(&mut self, config: &Config, now: Instant) -> bool {
        let due = self.health.not_before().is_none_or(|until| now >= until);
        let begins = due && matches!(self.link, Link::Idle);
        if begins {
            self.link = Link::Connecting {
                dial: Dial::new(&self.node, config.connect_timeout, self.turn),
                since: now,
            };
            self.turn = self.turn.wrapping_add(1);
        }
        begins
    }

    /// Goes on as far as it can without waiting, appending what is acknowledged
    /// to `acked`. To be called again until nothing happens any more.
    pub(super) fn advance(
        &mut self,
        config: &Config,
        lookups: &mut Lookups,
        rng: &mut Rng,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Option<NodeEvent> {
        match &mut self.link {
            Link::Idle => None,
            Link::Connecting { dial, since } => match dial.advance(lookups, now) {
                Progress::Pending => None,
                Progress::Failed { to, error } => {
                    let error = error.into();
                    Some(NodeEvent::ConnectFailed { to, error })
                }
                Progress::Exhausted => {
                    self.link = Link::Idle;
                    if let Endpoint::Tcp {
                        host: Host::Name(name),
                        port,
                    } = &self.node.endpoint
                    {
                        lookups.distrust(name, *port);
                    }
                    Some(NodeEvent::Unreachable)
                }
                Progress::Connected { to, socket } => {
                    let refreshed = self.opener.refresh();
                    match self.opener.open(socket, to.clone(), now) {
                        Ok(connection) => {
                            self.link = Link::Establishing {
                                since: *since,
                                connection,
                            };
                        }
                        Err(error) => return Some(NodeEvent::ConnectFailed { to, error }),
                    }
                    match refreshed {
                        Some(event) => Some(NodeEvent::Refreshed(event)),
                        None => self.advance(config, lookups, rng, now, acked),
                    }
                }
            },
            Link::Establishing { connection, .. } => {
                if let Err(error) = exchange(connection, now, acked) {
                    return Some(NodeEvent::Lost(error));
                }
                if !connection.is_ready() {
                    return None;
                }
                let to = connection.to().to_owned();
                if let Link::Establishing { connection, .. } =
                    mem::replace(&mut self.link, Link::Idle)
                {
                    self.link = Link::Ready(Ready {
                        connection,
                        sizes: VecDeque::new(),
                        released: Vec::new(),
                        used: now,
                        rotate_at: now + rng.jitter(config.rotate_after),
                    });
                }
                Some(NodeEvent::Ready { to })
            }
            Link::Ready(ready) => {
                let before = acked.len();
                let exchanged = exchange(&mut ready.connection, now, acked);
                for id in acked.get(before..).unwrap_or_default() {
                    ready.acknowledged(id, now, &mut self.capacity, &mut self.health);
                }
                if let Err(error) = exchanged {
                    return Some(NodeEvent::Lost(error));
                }
                if ready.gives_up_at(config).is_some_and(|at| now >= at) {
                    let silence = 2 * config.failover_after;
                    return Some(NodeEvent::Lost(Timeout::Ack(silence).into()));
                }
                if ready.is_busy() || now < ready.retires_at(config) {
                    return None;
                }
                self.link = Link::Idle;
                Some(NodeEvent::Retired)
            }
        }
    }

    /// Notes that the node failed.
    pub(super) fn record_failure(&mut self, failure: Failure, now: Instant, rng: &mut Rng) {
        self.health
            .record_failure(failure, now, |delay| rng.jitter(delay));
    }

    /// Gives up the connection, for this reason; `None` if there was none.
    pub(super) fn disconnect(
        &mut self,
        error: &ConnectionError,
        now: Instant,
    ) -> Option<Disconnected> {
        let (connection, sizes, released) = match mem::replace(&mut self.link, Link::Idle) {
            Link::Establishing { connection, .. } => (connection, VecDeque::new(), Vec::new()),
            Link::Ready(ready) => (ready.connection, ready.sizes, ready.released),
            Link::Idle | Link::Connecting { .. } => return None,
        };
        let ending = self.ending(error, &connection, &sizes, now);
        let own = connection.in_flight().filter(|id| !released.contains(id));
        Some(Disconnected {
            to: connection.to().to_owned(),
            lost: LostFrames {
                frames: own.copied().collect(),
                oldest: connection.in_flight().next().copied(),
                unwritten: connection.unwritten(),
                ending,
            },
        })
    }

    /// What a loss says of the frames that were in flight.
    fn ending(
        &mut self,
        error: &ConnectionError,
        connection: &Connection,
        sizes: &VecDeque<(FrameId, usize)>,
        now: Instant,
    ) -> Ending {
        match error {
            ConnectionError::Protocol(ProtocolError::Refused) => return Ending::Refused,
            ConnectionError::Closed
            | ConnectionError::Io(_)
            | ConnectionError::Tls(_)
            | ConnectionError::Timeout(Timeout::Ack(_)) => (),
            ConnectionError::Protocol(_)
            | ConnectionError::Timeout(_)
            | ConnectionError::Handshake(_)
            | ConnectionError::Spent => {
                return Ending::Unclear;
            }
        }
        if connection.is_being_answered() {
            return Ending::Unclear;
        }
        let size = match sizes.as_slices() {
            ([(_, bytes)], []) if !self.capacity.covers(*bytes, now) => {
                self.capacity.doubt(*bytes, now);
                Size::Unproven
            }
            _ => Size::Proven,
        };
        let node = self.record();
        Ending::Wordless { size, node }
    }

    /// What the node has done since it last failed.
    pub(super) fn record(&self) -> NodeRecord {
        match self.health.is_proven() {
            true => NodeRecord::Works,
            false => NodeRecord::Fails,
        }
    }

    /// Gives out the frames of a node that has been silent for longer than it
    /// may, so that another one gets them; the connection goes on.
    pub(super) fn release(&mut self, config: &Config, now: Instant) -> Option<Released> {
        let patience = self.patience(config);
        let Link::Ready(ready) = &mut self.link else {
            return None;
        };
        let silence = now.saturating_duration_since(ready.connection.stalled_since()?);
        let own = ready.connection.in_flight();
        let own = own.filter(|id| !ready.released.contains(id));
        let frames: Vec<_> = own.copied().collect();
        if silence < patience || frames.is_empty() {
            return None;
        }
        ready.released.extend(&frames);
        Some(Released {
            to: ready.connection.to().to_owned(),
            silence,
            frames,
        })
    }

    /// How the node stands.
    pub(super) fn status(&self, config: &Config, now: Instant) -> NodeStatus {
        let hope = if self.health.has_failed() {
            NodeStatus::Down
        } else {
            NodeStatus::Pending
        };
        match &self.link {
            Link::Idle => hope,
            Link::Connecting { since, .. } | Link::Establishing { since, .. } => {
                if now < *since + config.suspect_after {
                    hope
                } else {
                    NodeStatus::Down
                }
            }
            Link::Ready(ready) => match ready.connection.stalled_since() {
                Some(since) if now >= since + config.suspect_after => NodeStatus::Suspect,
                _ if now >= ready.rotate_at => NodeStatus::Pending,
                Some(_) if !self.is_trusted(config) => NodeStatus::OnTrial,
                _ => NodeStatus::Up,
            },
        }
    }

    /// What is known of the node now; `None` where nothing new is.
    pub(super) fn state(&self) -> Option<NodeState> {
        match &self.link {
            Link::Ready(ready) if ready.released.is_empty() => Some(NodeState::Up),
            Link::Ready(_) => Some(NodeState::Down),
            // A connection that was closed without need says nothing of the node.
            _ => self.health.has_failed().then_some(NodeState::Down),
        }
    }

    /// The largest frame that is worth sending where a smaller one would do.
    pub(super) fn limit(&self, now: Instant) -> Option<usize> {
        self.capacity.limit(now)
    }

    /// Whether it can take this frame. One that is larger than what the node is
    /// known to take travels alone, so that its loss says something of it, and
    /// so that others which may be too large are not sent yet.
    pub(super) fn has_room_for(&self, next: Next, config: &Config, now: Instant) -> bool {
        let Link::Ready(ready) = &self.link else {
            return false;
        };
        let near = |bytes| self.capacity.nearly_covers(bytes, now);
        let fits = match next.attempt {
            Attempt::First => near(next.bytes),
            Attempt::Again => self.capacity.covers(next.bytes, now),
        };
        let beside = fits && ready.sizes.iter().all(|(_, bytes)| near(*bytes));
        (beside || ready.sizes.is_empty()) && self.has_room(config, now)
    }

    /// Whether it can take a frame.
    fn has_room(&self, config: &Config, now: Instant) -> bool {
        match &self.link {
            Link::Ready(ready) => {
                let trusted = self.is_trusted(config) || !ready.is_busy();
                trusted
                    && ready.released.is_empty()
                    && now < ready.rotate_at
                    && ready.connection.can_send()
            }
            _ => false,
        }
    }

    /// Sends a frame, as far as the socket takes it now, appending to `acked` what
    /// that settles.
    pub(super) fn send(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
        let Link::Ready(ready) = &mut self.link else {
            return Ok(());
        };
        ready.used = now;
        ready.sizes.push_back((*frame.id, frame.entries.len()));
        ready.connection.send(frame, now);
        let before = acked.len();
        let sent = ready.connection.transmit(now, acked);
        for id in acked.get(before..).unwrap_or_default() {
            ready.acknowledged(id, now, &mut self.capacity, &mut self.health);
        }
        sent
    }

    /// Whether frames can be sent or are under way.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.link, Link::Ready(_))
    }

    /// Whether frames are under way.
    pub(super) fn is_busy(&self) -> bool {
        matches!(&self.link, Link::Ready(ready) if ready.is_busy())
    }

    /// What is known of the node.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.link {
            Link::Idle => None,
            Link::Connecting { dial, .. } => dial.socket().map(|socket| (socket, PollFlags::OUT)),
            Link::Establishing { connection, .. } | Link::Ready(Ready { connection, .. }) => {
                Some(connection.interest())
            }
        }
    }

    /// When something about it changes by itself, next after `now`.
    pub(super) fn deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        let slow = |since: &Instant| Some(*since + config.suspect_after);
        let deadlines = match &self.link {
            Link::Idle => vec![self.health.not_before()],
            Link::Connecting { dial, since } => vec![dial.deadline(), slow(since)],
            Link::Establishing { connection, since } => vec![connection.deadline(), slow(since)],
            Link::Ready(ready) => {
                let stalled = ready.connection.stalled_since();
                vec![
                    ready.connection.deadline(),
                    stalled.map(|since| since + config.suspect_after),
                    stalled.map(|since| since + self.patience(config)),
                    ready.gives_up_at(config),
                    Some(ready.retires_at(config)),
                ]
            }
        };
        deadlines
            .into_iter()
            .flatten()
            .filter(|deadline| *deadline > now)
            .min()
    }

    /// Whether it gets more than one frame at a time. Where there is no other
    /// node, distrust helps nobody.
    fn is_trusted(&self, config: &Config) -> bool {
        self.health.is_proven() || config.nodes.len() == 1
    }

    /// How long the node may keep silent while another one could do its work.
    fn patience(&self, config: &Config) -> Duration {
        match self.health.is_proven() {
            true => config.failover_after,
            false => config.suspect_after,
        }
    }
}

/// A connection that was given up.
pub(super) struct Disconnected {
    /// The peer.
    pub(super) to: String,
    /// What was in flight.
    pub(super) lost: LostFrames,
}

/// Frames of a silent node that others may have.
pub(super) struct Released {
    /// The node.
    pub(super) to: String,
    /// How long it has been silent.
    pub(super) silence: Duration,
    /// The frames, oldest first.
    pub(super) frames: Vec<FrameId>,
}

impl Ready {
    fn is_busy(&self) -> bool {
        self.connection.in_flight().next().is_some()
    }

    /// Notes that a frame is settled.
    fn acknowledged(
        &mut self,
        id: &FrameId,
        now: Instant,
        capacity: &mut Capacity,
        health: &mut Health,
    ) {
        self.used = now;
        self.released.retain(|released| released != id);
        health.acknowledged();
        let place = self.sizes.iter().position(|(sent, _)| sent == id);
        if let Some((_, bytes)) = place.and_then(|place| self.sizes.remove(place)) {
            capacity.acknowledged(bytes, now);
        }
    }

    /// When it is closed because it went on to be silent after others got its frames.
    fn gives_up_at(&self, config: &Config) -> Option<Instant> {
        let stalled = self.connection.stalled_since()?;
        (!self.released.is_empty()).then(|| stalled + 2 * config.failover_after)
    }

    /// When it is closed unless something is under way.
    fn retires_at(&self, config: &Config) -> Instant {
        self.rotate_at.min(self.used + config.idle_timeout)
    }
}

/// Reads, then writes, until the socket can do no more.
fn exchange(
    connection: &mut Connection,
    now: Instant,
    acked: &mut Vec<FrameId>,
) -> Result<(), ConnectionError> {
    connection.receive(now, acked)?;
    connection.transmit(now, acked)
}
