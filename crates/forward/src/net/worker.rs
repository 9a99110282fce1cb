//! The client's thread: prepares chunks, distributes frames, records results.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::balancer::{Balancer, Delivery, NodeStatus};
use super::chunk_table::{Arrival, Command};
use super::config::Config;
use super::connection::Opener;
use super::health::Failure;
use super::lookup::Lookups;
use super::node_connection::{Disconnected, Lesson, NodeConnection, NodeEvent, Rerouted};
use super::observer::{
    ClientEvent, ConnectionError, Count, LostRecord, NodeState, PrepareError, Reporter,
};
use super::rng::Rng;
use super::shared::{Flow, Orders, Phase, Shared};
use crate::protocol::FrameId;
use crate::protocol::capacity::Probe;
use crate::protocol::chunk::{Attempt, ChunkKey, ChunkStatus, Consequence};
use crate::protocol::frames::{Batch, cut};
use crate::protocol::send_queue::{Order, SendQueue};
use crate::protocol::session::Timeout;
use crate::time::after;

/// Longest time that a stopping client waits for acknowledgements. Well below the
/// 5 s that Fluent Bit grants for its shutdown by default.
const DRAIN: Duration = Duration::from_secs(2);

/// Time after a panic, so that one that comes again and again costs little.
const PAUSE: Duration = Duration::from_secs(1);

/// State of the thread.
pub(super) struct Worker<P> {
    config: Config,
    shared: Arc<Shared>,
    prepare: P,
    reporter: Reporter,
    rng: Rng,
    lookups: Lookups,
    send_queue: SendQueue,
    balancer: Balancer,
    /// As many for each node as are configured, in a row.
    nodes: Vec<NodeConnection>,
}

impl<P: FnMut(&[u8], &[u8]) -> Vec<Batch>> Worker<P> {
    pub(super) fn new(
        config: Config,
        openers: Vec<Opener>,
        shared: Arc<Shared>,
        prepare: P,
        reporter: Reporter,
        mut rng: Rng,
    ) -> Worker<P> {
        let lookups = Lookups::new(config.resolver.clone(), Arc::clone(shared.waker()));
        let balancer = Balancer::new(config.connections(), config.delivery);
        let nodes = config.connections().cloned().zip(openers);
        let nodes = nodes
            .map(|(node, opener)| NodeConnection::new(node, opener, &config, rng.turn()))
            .collect();
        let order = match config.delivery {
            Delivery::Balanced => Order::Free,
            Delivery::Ordered => Order::Strict,
        };
        let send_queue = SendQueue::new(order, config.give_up_after);
        Worker {
            config,
            shared,
            prepare,
            reporter,
            rng,
            lookups,
            send_queue,
            balancer,
            nodes,
        }
    }

    /// Runs until the client stops, also after internal errors.
    pub(super) fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.work())).is_err() {
            self.begin_anew();
        }
    }

    /// Trusts nothing that it held when it panicked: the host hands chunks over again.
    fn begin_anew(&mut self) {
        sleep(PAUSE);
        self.send_queue.clear();
        for node in &mut self.nodes {
            node.reset();
        }
        self.shared.change(|state| state.chunk_table.give_back());
        self.reporter.event(&ClientEvent::Panicked, Instant::now());
    }

    /// Runs until the client stops.
    fn work(&mut self) {
        // Connect at once, so that errors show at start and the first flush does
        // not have to wait.
        let mut now = Instant::now();
        self.connect(true, now);
        let mut end = None;
        loop {
            let Orders {
                commands,
                phase,
                deadline,
            } = self.shared.orders(now);
            for command in commands {
                self.run_command(command);
            }
            while self.step(now) {}
            self.report_nodes();
            if phase == Phase::Stopping {
                let end = *end.get_or_insert(after(now, DRAIN));
                let busy =
                    self.send_queue.is_active() && self.nodes.iter().any(NodeConnection::is_ready);
                if !busy || now >= end {
                    return;
                }
            }
            self.wait(now, deadline.into_iter().chain(end));
            now = Instant::now();
        }
    }

    fn run_command(&mut self, command: Command) {
        match command {
            Command::Take {
                key,
                arrival,
                tag,
                chunk,
            } => {
                let prepared = catch_unwind(AssertUnwindSafe(|| (self.prepare)(&tag, &chunk)));
                drop(chunk);
                let taken = match prepared {
                    Ok(batches) => self.take(key, arrival, batches),
                    Err(_) => Err(PrepareError::Panicked),
                };
                if let Err(error) = taken {
                    self.send_queue.forget(key);
                    self.shared
                        .change(|state| state.chunk_table.drop_chunk(key));
                    self.reporter
                        .event(&ClientEvent::PrepareFailed(error), Instant::now());
                }
            }
            Command::Resume(key) => self.send_queue.resume(key),
            Command::Release(key) => self.send_queue.release(key),
            Command::Forget(key) => self.send_queue.forget(key),
        }
    }

    fn take(
        &mut self,
        key: ChunkKey,
        arrival: Arrival,
        batches: Vec<Batch>,
    ) -> Result<(), PrepareError> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        for batch in batches {
            let cut = cut(&batch, &self.config.caps)?;
            // Records of a chunk that comes again were reported the first time.
            for error in cut
                .too_large
                .into_iter()
                .filter(|_| arrival == Arrival::First)
            {
                let entry = batch.entries.get(error.bytes.clone()).unwrap_or_default();
                self.reporter.record_lost(&error.into(), entry);
            }
            if !cut.frames.is_empty() {
                bytes = batch.entries.len().saturating_add(bytes);
                parts.push((batch, cut.frames));
            }
        }
        if parts.is_empty() {
            self.send_queue.forget(key);
            self.settle(key, ChunkStatus::Delivered);
            return Ok(());
        }
        self.shared
            .change(|state| state.chunk_table.prepared(key, bytes));
        let new_id = || self.rng.frame_id();
        match arrival {
            Arrival::First => self.send_queue.add(key, parts, new_id),
            Arrival::Again => self.send_queue.restore(key, parts, new_id),
        }
        Ok(())
    }

    fn settle(&self, key: ChunkKey, status: ChunkStatus) {
        self.shared.change(|state| {
            state.chunk_table.settle(key, status);
            if status == ChunkStatus::Delivered {
                state.flow = Flow::Flowing;
            }
        });
    }

    /// Does what can be done without blocking; returns true if there may be more.
    fn step(&mut self, now: Instant) -> bool {
        for node in 0..self.nodes.len() {
            self.advance(node, now);
        }
        self.relieve(now);
        let lost = self.distribute(now);
        self.connect(false, now) | lost
    }

    fn report_nodes(&mut self) {
        let nodes = self.nodes.chunks(self.config.connections.get());
        for (number, connections) in nodes.enumerate() {
            let states = || connections.iter().filter_map(NodeConnection::state);
            // One connection that works is enough.
            let state = states().find(|state| *state != NodeState::Down);
            if let Some(state) = state.or_else(|| states().next()) {
                self.reporter.node(number, state);
            }
        }
    }

    /// Connects nodes that are needed. Nodes that have failed are tried in any case,
    /// so that it is known when they are back.
    ///
    /// A further connection to a node begins while all before it keep the receiver occupied:
    /// then one of its other processes accepts it, where a single one accepts all that come
    /// at once.
    fn connect(&mut self, needed: bool, now: Instant) -> bool {
        let statuses = self.statuses(now);
        let needed = needed || self.send_queue.is_active();
        let mut begun = false;
        let mut number = 0;
        for nodes in self.nodes.chunks_mut(self.config.connections.get()) {
            let mut all_occupied = true;
            for node in nodes {
                let needed = needed || node.health().has_failed();
                if needed && all_occupied && self.balancer.is_wanted(number, &statuses) {
                    begun |= node.connect(&self.config, now);
                }
                all_occupied &= node.is_occupied(now);
                number = number.saturating_add(1);
            }
        }
        begun
    }

    /// Advances the connection of one node.
    fn advance(&mut self, number: usize, now: Instant) {
        let mut acked = Vec::new();
        loop {
            let Some(node) = self.nodes.get_mut(number) else {
                return;
            };
            let (config, lookups) = (&self.config, &mut self.lookups);
            let event = node.advance(config, lookups, &mut self.rng, now, &mut acked);
            self.acked(&acked);
            acked.clear();
            match event {
                None => return,
                Some(NodeEvent::ConnectFailed { to, error }) => {
                    self.reporter
                        .event(&ClientEvent::ConnectFailed { to, error }, now);
                }
                Some(NodeEvent::Refreshed(event)) => self.reporter.event(&event, now),
                Some(NodeEvent::Unreachable) => self.record_failure(number, Failure::Failed, now),
                Some(NodeEvent::Ready { to }) => {
                    self.reporter.event(&ClientEvent::Connected { to }, now)
                }
                Some(NodeEvent::Lost(error)) => self.lose(number, error, now),
                Some(NodeEvent::Retired) => (),
            }
        }
    }

    /// Takes frames from nodes without progress as soon as another node is up. A late
    /// acknowledgement still counts.
    fn relieve(&mut self, now: Instant) {
        let connections = self.config.connections.get();
        let statuses = self.statuses(now);
        let statuses = statuses.chunks(connections);
        let up: Vec<_> = statuses
            .map(|statuses| statuses.contains(&NodeStatus::Up))
            .collect();
        for (number, nodes) in self.nodes.chunks_mut(connections).enumerate() {
            let mut others = up.iter().enumerate().filter(|(other, _)| *other != number);
            if !others.any(|(_, up)| *up) {
                continue;
            }
            for node in nodes {
                if let Some(Rerouted {
                    to,
                    silence,
                    frames,
                }) = node.reroute(&self.config, now)
                {
                    self.send_queue.reroute(&frames);
                    let frames = frames.len();
                    let silent = ClientEvent::Silent {
                        to,
                        silence,
                        frames,
                    };
                    self.reporter.event(&silent, now);
                }
            }
        }
    }

    /// Sends frames as long as some wait, and the node whose turn it is can take them.
    /// Returns true if a connection was lost in doing so.
    fn distribute(&mut self, now: Instant) -> bool {
        while self.send_queue.has_waiting() {
            let statuses = self.statuses(now);
            let Some(number) = self.balancer.next(&statuses) else {
                break;
            };
            if self.config.delivery == Delivery::Ordered && self.is_busy_beside(number) {
                break;
            }
            let Some(node) = self.nodes.get_mut(number) else {
                break;
            };
            let probe = match self.send_queue.has_several_waiting() {
                true => Probe::Larger,
                false => Probe::Never,
            };
            let limit = node.limit(&self.config, probe, now);
            let next = self.send_queue.next(limit, || self.rng.frame_id());
            let Some(next) = next.filter(|next| node.has_room_for(*next, &self.config, now)) else {
                break;
            };
            let Some((frame, attempt)) = self.send_queue.send() else {
                break;
            };
            self.reporter.count(match attempt {
                Attempt::First => Count::FrameSent(frame.entries.len()),
                Attempt::Again => Count::FrameResent(frame.entries.len()),
            });
            let mut acked = Vec::new();
            let sent = node.send(&frame, next.company, now, &mut acked);
            self.balancer.charge(number, &statuses);
            self.acked(&acked);
            if let Err(error) = sent {
                self.lose(number, error, now);
                return true;
            }
        }
        false
    }

    fn is_busy_beside(&self, number: usize) -> bool {
        let mut nodes = self.nodes.iter().enumerate();
        nodes.any(|(other, node)| other != number && node.is_busy())
    }

    fn statuses(&self, now: Instant) -> Vec<NodeStatus> {
        self.nodes
            .iter()
            .map(|node| node.status(&self.config, now))
            .collect()
    }

    fn acked(&mut self, acked: &[FrameId]) {
        for id in acked {
            let Some(acked) = self.send_queue.acked(id) else {
                continue;
            };
            self.reporter.count(Count::FrameAcked(acked.records));
            if acked.status != ChunkStatus::Sending {
                self.settle(acked.key, acked.status);
            }
        }
    }

    /// Closes a connection, and queues its frames in flight again.
    fn lose(&mut self, number: usize, error: ConnectionError, now: Instant) {
        let Some(node) = self.nodes.get_mut(number) else {
            return;
        };
        if matches!(error, ConnectionError::Spent) {
            return node.close();
        }
        let was_ready = node.is_ready();
        let Some(Disconnected { to, lost, learnt }) = node.disconnect(&error, now) else {
            return;
        };
        let lesson = node.lesson();
        let never_acknowledged = !node.health().has_ever_acknowledged();
        let has_failed = node.health().has_failed();
        self.teach(number, lesson);
        if let Some(event) = learnt {
            self.reporter.event(&event, now);
        }
        let failure = failure(&error);
        if !was_ready {
            let failed = ClientEvent::ConnectFailed { to, error };
            self.reporter.event(&failed, now);
            return self.record_failure(number, failure, now);
        }
        let closed = matches!(error, ConnectionError::Closed | ConnectionError::Io(_));
        if closed && lost.oldest.is_none() {
            self.reporter
                .event(&ClientEvent::ClosedWhileIdle { to }, now);
            // Servers and load balancers close idle connections. That is a failure
            // only if something has to be sent.
            if self.send_queue.is_active() {
                self.record_failure(number, Failure::Failed, now);
            }
            return;
        }
        let unacked = lost.frames.len();
        let consequence = self.send_queue.lost(&lost, || self.rng.frame_id());
        let hint = match failure {
            _ if !never_acknowledged => None,
            Failure::Silent => Some(ClientEvent::NeverAcknowledged { to: to.clone() }),
            _ if closed && has_failed => Some(ClientEvent::ClosedUnacknowledged { to: to.clone() }),
            _ => None,
        };
        let lost = ClientEvent::ConnectionLost {
            to: to.clone(),
            error,
            unacked,
        };
        self.reporter.event(&lost, now);
        if let Some(hint) = hint {
            self.reporter.event(&hint, now);
        }
        self.carry_out(consequence, to, now);
        self.record_failure(number, failure, now);
    }

    /// Tells the other connections to a receiver what one has learnt about it.
    fn teach(&mut self, number: usize, lesson: Lesson) {
        let connections = self.config.connections.get();
        let node = number.checked_div(connections).unwrap_or_default();
        let siblings = self.nodes.chunks_mut(connections).nth(node);
        for sibling in siblings.into_iter().flatten() {
            sibling.learn(lesson);
        }
    }

    /// Reports the consequence for a frame that `to` was lost over.
    fn carry_out(&mut self, consequence: Consequence, to: String, now: Instant) {
        let settled = match consequence {
            Consequence::Resend => return,
            Consequence::Shrunk { bytes, records } => {
                self.reporter.count(Count::FrameSplit);
                let event = ClientEvent::FrameTooLarge { to, bytes, records };
                return self.reporter.event(&event, now);
            }
            Consequence::Split { bytes, records } => {
                self.reporter.count(Count::FrameSplit);
                let event = ClientEvent::FrameSplit { to, bytes, records };
                return self.reporter.event(&event, now);
            }
            Consequence::Parked {
                bytes,
                records,
                key,
                status,
            } => {
                let event = ClientEvent::FrameParked { to, bytes, records };
                self.reporter.event(&event, now);
                (key, status)
            }
            Consequence::GivenUp {
                entry,
                attempts,
                key,
                status,
            } => {
                let bytes = entry.len();
                let reason = LostRecord::Rejected {
                    to,
                    bytes,
                    attempts,
                };
                self.reporter.record_lost(&reason, &entry);
                (key, status)
            }
        };
        let (key, status) = settled;
        if status != ChunkStatus::Sending {
            self.settle(key, status);
        }
    }

    fn record_failure(&mut self, number: usize, failure: Failure, now: Instant) {
        if let Some(node) = self.nodes.get_mut(number) {
            node.record_failure(failure, now, &mut self.rng);
        }
    }

    /// Sleeps until a descriptor is ready or a deadline after `now` has come.
    fn wait(&self, now: Instant, others: impl Iterator<Item = Instant>) {
        let waker = self.shared.waker();
        let mut fds = vec![PollFd::new(waker, PollFlags::IN)];
        let interests = self.nodes.iter().filter_map(NodeConnection::interest);
        fds.extend(interests.map(|(socket, flags)| PollFd::from_borrowed_fd(socket, flags)));
        let deadlines = self
            .nodes
            .iter()
            .filter_map(|node| node.deadline(&self.config, now));
        let timeout = deadlines.chain(others).min().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or_default()
        });
        // The result does not matter: the next step looks at every node.
        let _ = poll(&mut fds, timeout.as_ref());
        waker.rest();
    }
}

/// Classifies an error of a connection as a failure of its node.
fn failure(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::Timeout(Timeout::Ack(_)) => Failure::Silent,
        error if error.is_lasting() => Failure::Denied,
        _ => Failure::Failed,
    }
}

impl<P> Drop for Worker<P> {
    /// Ends all waiting calls, also if the thread ends by a panic.
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.close();
        }
        self.shared.change(|state| {
            state.phase = Phase::Ended;
            state.chunk_table.release();
        });
    }
}
