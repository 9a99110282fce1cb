//! One node: its connection, and what is remembered between connections.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::balancer::{Delivery, NodeStatus};
use super::config::Config;
use super::connection::{Connection, Opener};
use super::dial::{Dial, Progress};
use super::endpoint::{Endpoint, Host};
use super::health::{Failure, Health};
use super::lookup::Lookups;
use super::node::Node;
use super::observer::{ClientEvent, ConnectionError, NodeState};
use super::patience::AckPatience;
use super::reuse::{ReuseHistory, Use};
use super::rng::Rng;
use super::socket::Socket;
use crate::protocol::FrameId;
use crate::protocol::capacity::{Capacity, MIN_LIMIT, Probe};
use crate::protocol::chunk::{Attempt, Company, Ending, Next, NodeRecord, Size};
use crate::protocol::send_queue::LostFrames;
use crate::protocol::session::{Limits, ProtocolError, Reuse, Timeout};
use crate::protocol::wire::Frame;
use crate::time::after;

/// Time after which a frame of unknown size that is not acknowledged gets a small one
/// behind it: receivers work in order, so that the acknowledgement of the second one shows
/// that the first one was skipped, as Fluentd does above its `chunk_size_limit`.
const SCOUT_AFTER: Duration = Duration::from_secs(2);

/// Time without progress after which a receiver is at work on a frame, and not reading it.
const OCCUPIED_AFTER: Duration = Duration::from_millis(50);

/// A node with at most one connection.
pub(super) struct NodeConnection {
    node: Node,
    opener: Opener,
    memory: Memory,
    link: Link,
    /// Counts connections, so that each begins with another address of the name.
    turn: usize,
}

/// Knowledge about a node from its connections.
struct Memory {
    health: Health,
    capacity: Capacity,
    reuse: ReuseHistory,
    patience: AckPatience,
}

/// What holds for all connections to a receiver.
#[derive(Clone, Copy)]
pub(super) struct Lesson {
    capacity: Capacity,
    reuse: ReuseHistory,
}

/// Connection of a node, by its progress.
enum Link {
    /// No connection.
    Idle,
    /// The socket is being connected.
    Connecting { dial: Dial, since: Instant },
    /// TLS or shared-key handshake.
    Establishing {
        connection: Connection,
        since: Instant,
    },
    /// Frames can be sent.
    Ready(Ready),
}

struct Ready {
    connection: Connection,
    /// Frames in flight, oldest first.
    sent: VecDeque<Sent>,
    /// Frames in flight that another node got as well.
    rerouted: Vec<FrameId>,
    /// Number of acknowledgements, and the time of the last one.
    acks: usize,
    acknowledged: Option<Instant>,
    /// True once a frame was acknowledged that was sent after an acknowledgement.
    reused: bool,
    /// Time of the last frame or acknowledgement.
    used: Instant,
    /// Time at which the connection has to be replaced by a new one.
    rotate_at: Instant,
}

/// A frame in flight.
struct Sent {
    id: FrameId,
    /// Bytes of entries.
    bytes: usize,
    company: Company,
    at: Instant,
    /// Number of acknowledgements on the connection before the frame was sent.
    after_acks: usize,
    /// Size compared with those that the node was known to accept.
    size: Size,
}

/// Event of a node.
pub(super) enum NodeEvent {
    /// An address could not be connected to.
    ConnectFailed { to: String, error: ConnectionError },
    /// TLS files were read again.
    Refreshed(ClientEvent),
    /// No address could be connected to.
    Unreachable,
    /// The connection is ready.
    Ready { to: String },
    /// The connection cannot be used any more.
    Lost(ConnectionError),
    /// The connection was old or idle and is closed.
    Retired,
}

impl NodeConnection {
    /// Creates a node without a connection. `turn` is the number of the address to
    /// begin with.
    pub(super) fn new(node: Node, opener: Opener, config: &Config, turn: usize) -> NodeConnection {
        NodeConnection {
            node,
            opener,
            memory: Memory {
                health: Health::default(),
                capacity: Capacity::default(),
                reuse: ReuseHistory::default(),
                patience: AckPatience::new(config.limits.ack_timeout),
            },
            link: Link::Idle,
            turn,
        }
    }

    /// Starts to connect, if there is no connection and an attempt is due. Returns true
    /// if it did.
    pub(super) fn connect(&mut self, config: &Config, now: Instant) -> bool {
        let due = self
            .memory
            .health
            .not_before()
            .is_none_or(|until| now >= until);
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

    /// Proceeds as far as possible without blocking, and appends the acknowledged ids
    /// to `acked`. To be called again until it returns `None`.
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
                    let since = *since;
                    let refreshed = self.opener.refresh();
                    match self.open(socket, to.clone(), config, now) {
                        Ok(connection) => {
                            self.link = Link::Establishing { connection, since };
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
                        sent: VecDeque::new(),
                        rerouted: Vec::new(),
                        acks: 0,
                        acknowledged: None,
                        reused: false,
                        used: now,
                        rotate_at: after(now, rng.jitter(config.rotate_after)),
                    });
                }
                Some(NodeEvent::Ready { to })
            }
            Link::Ready(ready) => {
                let before = acked.len();
                let exchanged = exchange(&mut ready.connection, now, acked);
                for id in acked.get(before..).unwrap_or_default() {
                    ready.acknowledged(id, now, &mut self.memory);
                }
                if let Err(error) = exchanged {
                    return Some(NodeEvent::Lost(error));
                }
                if let Some(skipped) = ready.skipped() {
                    return Some(NodeEvent::Lost(skipped));
                }
                if ready.gives_up_at(config).is_some_and(|at| now >= at) {
                    let silence = config.failover_after.saturating_mul(2);
                    return Some(NodeEvent::Lost(Timeout::Ack(silence).into()));
                }
                if ready.is_busy() || now < ready.retires_at(config) {
                    return None;
                }
                self.close();
                Some(NodeEvent::Retired)
            }
        }
    }

    /// Opens a connection on a connected socket, as the earlier ones suggest.
    fn open(
        &mut self,
        socket: Socket,
        to: String,
        config: &Config,
        now: Instant,
    ) -> Result<Connection, ConnectionError> {
        let limits = Limits {
            ack_timeout: self.memory.patience.timeout(),
            ..config.limits
        };
        let reuse = match self.memory.reuse.usage(now) {
            Use::Window | Use::OneAtATime => Reuse::Always,
            Use::Once => Reuse::Never,
        };
        self.opener.open(socket, to, limits, reuse, now)
    }

    /// Closes the connection, and tells the peer. No frame may be in flight.
    pub(super) fn close(&mut self) {
        if let Link::Ready(ready) = mem::replace(&mut self.link, Link::Idle) {
            ready.connection.close();
        }
    }

    /// Returns what the end of a connection taught about the receiver.
    pub(super) fn lesson(&self) -> Lesson {
        let Memory {
            capacity, reuse, ..
        } = self.memory;
        Lesson { capacity, reuse }
    }

    /// Takes over what another connection to the same receiver has learnt.
    pub(super) fn learn(&mut self, lesson: Lesson) {
        self.memory.capacity.adopt(lesson.capacity);
        self.memory.reuse = lesson.reuse;
    }

    /// Drops the connection with all that was in flight.
    pub(super) fn reset(&mut self) {
        self.link = Link::Idle;
    }

    /// Records a failure of the node.
    pub(super) fn record_failure(&mut self, failure: Failure, now: Instant, rng: &mut Rng) {
        if failure == Failure::Silent {
            self.memory.patience.timed_out();
        }
        self.memory
            .health
            .record_failure(failure, now, |delay| rng.jitter(delay));
    }

    /// Drops the connection for a reason; returns `None` if there was none.
    pub(super) fn disconnect(
        &mut self,
        error: &ConnectionError,
        now: Instant,
    ) -> Option<Disconnected> {
        match mem::replace(&mut self.link, Link::Idle) {
            Link::Idle | Link::Connecting { .. } => None,
            Link::Establishing { connection, .. } => Some(Disconnected {
                to: connection.to().to_owned(),
                lost: LostFrames {
                    frames: Vec::new(),
                    oldest: None,
                    unwritten: None,
                    ending: Ending::Unclear,
                },
                learnt: None,
            }),
            Link::Ready(ready) => {
                let before = self.memory.reuse.usage(now);
                let ending = self.ending(error, &ready, now);
                let learnt = before != Use::Once && self.memory.reuse.usage(now) == Use::Once;
                let to = ready.connection.to().to_owned();
                let own = ready.connection.in_flight();
                let own = own.filter(|id| !ready.rerouted.contains(id));
                Some(Disconnected {
                    lost: LostFrames {
                        frames: own.copied().collect(),
                        oldest: ready.connection.in_flight().next().copied(),
                        unwritten: ready.connection.unwritten(),
                        ending,
                    },
                    learnt: learnt.then(|| ClientEvent::UsedOnce { to: to.clone() }),
                    to,
                })
            }
        }
    }

    /// Judges the end of a connection.
    fn ending(&mut self, error: &ConnectionError, ready: &Ready, now: Instant) -> Ending {
        match error {
            ConnectionError::Protocol(ProtocolError::Refused) => return Ending::Refused,
            ConnectionError::Closed | ConnectionError::Io(_) | ConnectionError::Tls(_) => {
                if self.closed_after_acknowledgement(ready, now) {
                    return Ending::Unclear;
                }
            }
            ConnectionError::Timeout(Timeout::Ack(_)) | ConnectionError::Skipped => {}
            ConnectionError::Protocol(_)
            | ConnectionError::Timeout(_)
            | ConnectionError::Handshake(_)
            | ConnectionError::Spent => return Ending::Unclear,
        }
        if ready.connection.is_being_answered() {
            return Ending::Unclear;
        }
        let size = match ready.sent.front() {
            Some(sent)
                if sent.bytes > MIN_LIMIT
                    && !self.memory.capacity.covers(sent.bytes, now)
                    && (ready.sent.len() == 1 || sent.size == Size::Unknown) =>
            {
                self.memory.capacity.rejected(sent.bytes, now);
                Size::Unknown
            }
            _ => Size::Accepted,
        };
        let node = self.record();
        Ending::Unanswered { size, node }
    }

    /// Returns true if the peer closed the connection because it had acknowledged
    /// something, as Fluentd does with `deny_keepalive`.
    fn closed_after_acknowledgement(&mut self, ready: &Ready, now: Instant) -> bool {
        let Some(acknowledged) = ready.acknowledged else {
            return false;
        };
        // A frame that was sent since may be the reason as well, if it is larger than
        // others or was rejected before.
        let capacity = &self.memory.capacity;
        let mut later = ready
            .sent
            .iter()
            .filter(|sent| sent.after_acks == ready.acks);
        let explained = later
            .any(|sent| sent.company == Company::Alone || !capacity.nearly_covers(sent.bytes, now));
        !ready.reused && !explained && self.memory.reuse.closed(acknowledged, now)
    }

    /// Returns the behaviour of the node since its last failure.
    pub(super) fn record(&self) -> NodeRecord {
        match self.memory.health.is_proven() {
            true => NodeRecord::Works,
            false => NodeRecord::Fails,
        }
    }

    /// Returns the frames of a node that makes no progress, so that another one gets
    /// them. The connection stays open.
    pub(super) fn reroute(&mut self, config: &Config, now: Instant) -> Option<Rerouted> {
        let longest = self.longest_silence(config);
        let Link::Ready(ready) = &mut self.link else {
            return None;
        };
        let silence = now.saturating_duration_since(ready.connection.stalled_since()?);
        let own = ready.connection.in_flight();
        let own = own.filter(|id| !ready.rerouted.contains(id));
        let frames: Vec<_> = own.copied().collect();
        if silence < longest || frames.is_empty() {
            return None;
        }
        ready.rerouted.extend(&frames);
        Some(Rerouted {
            to: ready.connection.to().to_owned(),
            silence,
            frames,
        })
    }

    /// Returns the availability of the node.
    pub(super) fn status(&self, config: &Config, now: Instant) -> NodeStatus {
        let hope = if self.memory.health.has_failed() {
            NodeStatus::Down
        } else {
            NodeStatus::Pending
        };
        match &self.link {
            Link::Idle => hope,
            Link::Connecting { since, .. } | Link::Establishing { since, .. } => {
                if now < after(*since, config.suspect_after) {
                    hope
                } else {
                    NodeStatus::Down
                }
            }
            Link::Ready(ready) => match ready.connection.stalled_since() {
                Some(since) if now >= after(since, config.suspect_after) => NodeStatus::Suspect,
                _ if now >= ready.rotate_at => NodeStatus::Pending,
                Some(_) if !self.is_trusted(config) => NodeStatus::OnTrial,
                _ => NodeStatus::Up,
            },
        }
    }

    /// Returns the state of the node for metrics; `None` if it has not changed.
    pub(super) fn state(&self) -> Option<NodeState> {
        match &self.link {
            Link::Ready(ready) if ready.rerouted.is_empty() => Some(NodeState::Up),
            Link::Ready(_) => Some(NodeState::Down),
            // A connection that was closed for want of use says nothing about the node.
            _ => self.memory.health.has_failed().then_some(NodeState::Down),
        }
    }

    /// Returns the size above which frames for the node should be split.
    pub(super) fn limit(&self, config: &Config, probe: Probe, now: Instant) -> Option<usize> {
        match &self.link {
            Link::Ready(ready) if ready.wants_scout(config, now) => Some(MIN_LIMIT),
            _ => self.memory.capacity.limit(probe, now),
        }
    }

    /// Returns true if the node can take this frame now. A frame that is larger than
    /// what the node is known to accept is sent alone, so that its loss says something
    /// about it, and so that others which may be too large are not sent yet.
    pub(super) fn has_room_for(&self, next: Next, config: &Config, now: Instant) -> bool {
        let Link::Ready(ready) = &self.link else {
            return false;
        };
        if ready.wants_scout(config, now) && next.company == Company::Any {
            return next.bytes <= MIN_LIMIT && ready.can_send(now);
        }
        let near = |bytes| self.memory.capacity.nearly_covers(bytes, now);
        let fits = match next.attempt {
            Attempt::First => near(next.bytes),
            Attempt::Again => self.memory.capacity.covers(next.bytes, now),
        };
        let shares = |sent: &Sent| sent.company == Company::Any && near(sent.bytes);
        let beside = fits && next.company == Company::Any && ready.sent.iter().all(shares);
        (beside || ready.sent.is_empty()) && self.has_room(ready, config, now)
    }

    /// Returns true if the connection can take any frame now.
    fn has_room(&self, ready: &Ready, config: &Config, now: Instant) -> bool {
        let one_at_a_time =
            !self.is_trusted(config) || self.memory.reuse.usage(now) == Use::OneAtATime;
        !(one_at_a_time && ready.is_busy()) && ready.can_send(now)
    }

    /// Sends a frame as far as the socket takes it now, and appends the ids that this
    /// settles to `acked`.
    pub(super) fn send(
        &mut self,
        frame: &Frame<'_>,
        company: Company,
        now: Instant,
        acked: &mut Vec<FrameId>,
    ) -> Result<(), ConnectionError> {
        let Link::Ready(ready) = &mut self.link else {
            return Ok(());
        };
        ready.used = now;
        let size = match self.memory.capacity.nearly_covers(frame.entries.len(), now) {
            true => Size::Accepted,
            false => Size::Unknown,
        };
        ready.sent.push_back(Sent {
            size,
            id: *frame.id,
            bytes: frame.entries.len(),
            company,
            at: now,
            after_acks: ready.acks,
        });
        ready.connection.send(frame, now);
        let before = acked.len();
        let sent = ready.connection.transmit(now, acked);
        for id in acked.get(before..).unwrap_or_default() {
            ready.acknowledged(id, now, &mut self.memory);
        }
        sent
    }

    /// Returns true if the connection can carry frames.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.link, Link::Ready(_))
    }

    /// Returns true if frames are in flight.
    pub(super) fn is_busy(&self) -> bool {
        matches!(&self.link, Link::Ready(ready) if ready.is_busy())
    }

    /// Returns true if the receiver is at work on what it got over this connection.
    pub(super) fn is_occupied(&self, now: Instant) -> bool {
        let stalled = match &self.link {
            Link::Ready(ready) => ready.connection.stalled_since(),
            _ => None,
        };
        stalled.is_some_and(|since| now >= after(since, OCCUPIED_AFTER))
    }

    /// Returns failures and trust of the node.
    pub(super) fn health(&self) -> &Health {
        &self.memory.health
    }

    /// Returns the socket and the events to poll for.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.link {
            Link::Idle => None,
            Link::Connecting { dial, .. } => dial.socket().map(|socket| (socket, PollFlags::OUT)),
            Link::Establishing { connection, .. } | Link::Ready(Ready { connection, .. }) => {
                Some(connection.interest())
            }
        }
    }

    /// Returns when the node next has to be looked at, after `now`.
    pub(super) fn deadline(&self, config: &Config, now: Instant) -> Option<Instant> {
        let slow = |since: &Instant| Some(after(*since, config.suspect_after));
        let deadlines = match &self.link {
            Link::Idle => vec![self.memory.health.not_before()],
            Link::Connecting { dial, since } => vec![dial.deadline(), slow(since)],
            Link::Establishing { connection, since } => vec![connection.deadline(), slow(since)],
            Link::Ready(ready) => {
                let stalled = ready.connection.stalled_since();
                let shares = config.connections.get() > 1;
                vec![
                    stalled
                        .filter(|_| shares)
                        .map(|since| after(since, OCCUPIED_AFTER)),
                    ready.connection.deadline(),
                    stalled.map(|since| after(since, config.suspect_after)),
                    stalled.map(|since| after(since, self.longest_silence(config))),
                    ready.gives_up_at(config),
                    ready.scout_at(config),
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

    /// Returns true if the node gets more than one frame at a time. Distrust of the
    /// only node would just slow it down, unless it has let a frame time out: it may
    /// store what it does not acknowledge.
    fn is_trusted(&self, config: &Config) -> bool {
        let health = &self.memory.health;
        health.is_proven() || (config.nodes.len() == 1 && !health.is_silent())
    }

    /// Returns how long the node may be without progress while another one is up.
    fn longest_silence(&self, config: &Config) -> Duration {
        match self.memory.health.is_proven() {
            true => config.failover_after,
            false => config.suspect_after,
        }
    }
}

/// A connection that was dropped.
pub(super) struct Disconnected {
    /// The peer.
    pub(super) to: String,
    /// Frames that were in flight.
    pub(super) lost: LostFrames,
    /// Event for the log, if the end taught something about the node.
    pub(super) learnt: Option<ClientEvent>,
}

/// Frames of a node without progress.
pub(super) struct Rerouted {
    /// The peer.
    pub(super) to: String,
    /// Time without progress.
    pub(super) silence: Duration,
    /// The frames, oldest first.
    pub(super) frames: Vec<FrameId>,
}

impl Ready {
    fn is_busy(&self) -> bool {
        self.connection.in_flight().next().is_some()
    }

    /// Records that a frame is acknowledged.
    fn acknowledged(&mut self, id: &FrameId, now: Instant, memory: &mut Memory) {
        self.used = now;
        self.rerouted.retain(|rerouted| rerouted != id);
        memory.health.acknowledged();
        let place = self.sent.iter().position(|sent| sent.id == *id);
        if let Some(sent) = place.and_then(|place| self.sent.remove(place)) {
            memory.capacity.acknowledged(sent.bytes, now);
            let due_since = self.acknowledged.map_or(sent.at, |at| at.max(sent.at));
            memory
                .patience
                .acknowledged(now.saturating_duration_since(due_since));
            if sent.after_acks > 0 {
                self.reused = true;
                memory.reuse.reused();
            }
        }
        self.acks = self.acks.saturating_add(1);
        self.acknowledged = Some(now);
    }

    fn can_send(&self, now: Instant) -> bool {
        self.rerouted.is_empty() && now < self.rotate_at && self.connection.can_send()
    }

    /// Returns from when on a frame of unknown size that is alone gets a small one behind it,
    /// unless that would change the order of records.
    fn scout_at(&self, config: &Config) -> Option<Instant> {
        let alone = self.sent.front().filter(|_| self.sent.len() == 1)?;
        let asks = alone.size == Size::Unknown && config.delivery == Delivery::Balanced;
        asks.then(|| after(alone.at, SCOUT_AFTER))
    }

    fn wants_scout(&self, config: &Config, now: Instant) -> bool {
        self.scout_at(config).is_some_and(|at| now >= at)
    }

    /// Returns the reason to close the connection once the small frame is acknowledged, and the
    /// one before it is not.
    fn skipped(&self) -> Option<ConnectionError> {
        let oldest = self.sent.front()?;
        let overtaken = oldest.size == Size::Unknown && self.acks > oldest.after_acks;
        overtaken.then_some(ConnectionError::Skipped)
    }

    /// Returns when the connection is closed because it still makes no progress after
    /// others got its frames.
    fn gives_up_at(&self, config: &Config) -> Option<Instant> {
        let stalled = self.connection.stalled_since()?;
        (!self.rerouted.is_empty()).then(|| after(stalled, config.failover_after.saturating_mul(2)))
    }

    /// Returns when the connection is closed unless frames are in flight.
    fn retires_at(&self, config: &Config) -> Instant {
        self.rotate_at.min(after(self.used, config.idle_timeout))
    }
}

/// Reads, then writes, until the socket would block.
fn exchange(
    connection: &mut Connection,
    now: Instant,
    acked: &mut Vec<FrameId>,
) -> Result<(), ConnectionError> {
    connection.receive(now, acked)?;
    connection.transmit(now, acked)
}
