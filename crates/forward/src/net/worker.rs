//! The client's thread: prepares chunks, spreads frames over the nodes, settles.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::choice::{Choice, Delivery, Standing};
use super::config::Config;
use super::connection::Opener;
use super::health::Setback;
use super::lane::{Disconnected, Event, Lane, Released};
use super::ledger::{Command, Standing as ChunkStanding};
use super::lookup::Lookups;
use super::report::{Count, Loss, News, PrepareError, Reporter};
use super::rng::Rng;
use super::shared::{Flow, Orders, Phase, Shared};
use crate::protocol::ChunkId;
use crate::protocol::frames::{Batch, cut};
use crate::protocol::outbox::{Order, Outbox, Settled};
use crate::protocol::pending::{Attempt, Ticket, Verdict};

/// How long the thread goes on after it was told to stop, if it is connected
/// and has something under way. Well below the 5 s that Fluent Bit grants.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything that the thread owns.
pub(super) struct Worker<P> {
    config: Config,
    shared: Arc<Shared>,
    prepare: P,
    reporter: Reporter,
    rng: Rng,
    lookups: Lookups,
    outbox: Outbox,
    choice: Choice,
    lanes: Vec<Lane>,
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
        let choice = Choice::new(&config.nodes, config.delivery);
        let nodes = config.nodes.iter().cloned().zip(openers);
        let lanes = nodes
            .map(|(node, opener)| Lane::new(node, opener, rng.turn()))
            .collect();
        let order = match config.delivery {
            Delivery::Balanced => Order::Free,
            Delivery::Ordered => Order::Strict,
        };
        Worker {
            config,
            shared,
            prepare,
            reporter,
            rng,
            lookups,
            outbox: Outbox::new(order),
            choice,
            lanes,
        }
    }

    /// Runs until the client stops.
    pub(super) fn run(mut self) {
        // Connections are made at once: trouble shows at start, and the first
        // flush finds them ready.
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
                self.obey(command);
            }
            while self.step(now) {}
            self.report_nodes();
            if phase == Phase::Stopping {
                let end = *end.get_or_insert(now + DRAIN);
                let busy = self.outbox.is_active() && self.lanes.iter().any(Lane::is_ready);
                if !busy || now >= end {
                    return;
                }
            }
            self.wait(now, deadline.into_iter().chain(end));
            now = Instant::now();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Take { ticket, tag, chunk } => {
                let prepared = catch_unwind(AssertUnwindSafe(|| (self.prepare)(&tag, &chunk)));
                drop(chunk);
                let taken = match prepared {
                    Ok(batches) => self.take(ticket, batches),
                    Err(_) => Err(PrepareError::Panicked),
                };
                if let Err(error) = taken {
                    self.shared.change(|state| state.ledger.strike(ticket));
                    self.reporter
                        .news(&News::PrepareFailed(error), Instant::now());
                }
            }
            Command::Resume(ticket) => self.outbox.resume(ticket),
            Command::Forget(ticket) => self.outbox.forget(ticket),
        }
    }

    fn take(&mut self, ticket: Ticket, batches: Vec<Batch>) -> Result<(), PrepareError> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        for batch in batches {
            let cut = cut(&batch, &self.config.caps)?;
            for error in &cut.too_large {
                let entry = batch.entries.get(error.bytes.clone()).unwrap_or_default();
                self.reporter.record_lost(error, entry);
            }
            if !cut.frames.is_empty() {
                bytes += batch.entries.len();
                parts.push((batch, cut.frames));
            }
        }
        if parts.is_empty() {
            self.settle(ticket, ChunkStanding::Delivered);
        } else {
            self.shared
                .change(|state| state.ledger.prepared(ticket, bytes));
            self.outbox.add(ticket, parts, || self.rng.chunk_id());
        }
        Ok(())
    }

    fn settle(&self, ticket: Ticket, standing: ChunkStanding) {
        self.shared.change(|state| {
            state.ledger.settle(ticket, standing);
            if standing == ChunkStanding::Delivered {
                state.flow = Flow::Flowing;
            }
        });
    }

    /// Does what can be done without waiting; whether there may be more of it.
    fn step(&mut self, now: Instant) -> bool {
        for lane in 0..self.lanes.len() {
            self.advance(lane, now);
        }
        self.relieve(now);
        let lost = self.distribute(now);
        self.connect(false, now) | lost
    }

    fn report_nodes(&mut self) {
        for (number, lane) in self.lanes.iter().enumerate() {
            if let Some(state) = lane.state() {
                self.reporter.node(number, state);
            }
        }
    }

    /// Connects the nodes that are needed, and those that have failed, so that
    /// it is known whether waiting for them is worth while.
    fn connect(&mut self, needed: bool, now: Instant) -> bool {
        let standings = self.standings(now);
        let needed = needed || self.outbox.is_active();
        let mut begun = false;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let needed = needed || lane.health().has_failed();
            if needed && self.choice.is_wanted(number, &standings) {
                begun |= lane.connect(&self.config, now);
            }
        }
        begun
    }

    /// Lets one node go on.
    fn advance(&mut self, number: usize, now: Instant) {
        let mut acked = Vec::new();
        loop {
            let Some(lane) = self.lanes.get_mut(number) else {
                return;
            };
            let (config, lookups) = (&self.config, &mut self.lookups);
            let event = lane.advance(config, lookups, &mut self.rng, now, &mut acked);
            self.acked(&acked);
            acked.clear();
            match event {
                None => return,
                Some(Event::ConnectFailed { to, error }) => {
                    self.reporter.news(&News::ConnectFailed { to, error }, now);
                }
                Some(Event::Refreshed(news)) => self.reporter.news(&news, now),
                Some(Event::Unreachable) => self.set_back(number, Setback::Failed, now),
                Some(Event::Ready { to }) => self.reporter.news(&News::Connected { to }, now),
                Some(Event::Lost(loss)) => self.lose(number, loss, now),
                Some(Event::Retired) => (),
            }
        }
    }

    /// Gives the frames of nodes that have been silent for too long to others, as
    /// soon as one is up. Should the silent one answer after all, that counts too.
    fn relieve(&mut self, now: Instant) {
        if !self.standings(now).contains(&Standing::Up) {
            return;
        }
        for lane in &mut self.lanes {
            if let Some(Released {
                to,
                silence,
                frames,
            }) = lane.release(&self.config, now)
            {
                self.outbox.release(&frames);
                let frames = frames.len();
                let silent = News::Silent {
                    to,
                    silence,
                    frames,
                };
                self.reporter.news(&silent, now);
            }
        }
    }

    /// Hands out frames as long as there are some, and the node whose turn it is
    /// has room; whether a connection was lost over it.
    fn distribute(&mut self, now: Instant) -> bool {
        while self.outbox.has_waiting() {
            let standings = self.standings(now);
            let Some(number) = self.choice.next(&standings) else {
                break;
            };
            if self.config.delivery == Delivery::Ordered && self.is_busy_beside(number) {
                break;
            }
            let Some(lane) = self.lanes.get_mut(number) else {
                break;
            };
            let (record, limit) = (lane.record(), lane.limit(now));
            let next = self.outbox.next(record, limit, || self.rng.chunk_id());
            if !next.is_some_and(|next| lane.has_room_for(next, &self.config, now)) {
                break;
            }
            let Some((frame, attempt)) = self.outbox.send(record) else {
                break;
            };
            self.reporter.count(match attempt {
                Attempt::First => Count::FrameSent(frame.entries.len()),
                Attempt::Again => Count::FrameResent(frame.entries.len()),
            });
            let mut acked = Vec::new();
            let sent = lane.send(&frame, now, &mut acked);
            self.choice.charge(number, &standings);
            self.acked(&acked);
            if let Err(loss) = sent {
                self.lose(number, loss, now);
                return true;
            }
        }
        false
    }

    fn is_busy_beside(&self, number: usize) -> bool {
        let mut lanes = self.lanes.iter().enumerate();
        lanes.any(|(other, lane)| other != number && lane.is_busy())
    }

    fn standings(&self, now: Instant) -> Vec<Standing> {
        self.lanes
            .iter()
            .map(|lane| lane.standing(&self.config, now))
            .collect()
    }

    fn acked(&mut self, acked: &[ChunkId]) {
        for id in acked {
            let Some(acked) = self.outbox.acked(id) else {
                continue;
            };
            self.reporter.count(Count::FrameAcked(acked.records));
            match acked.settled {
                None => (),
                Some((ticket, Settled::Parked)) => self.settle(ticket, ChunkStanding::Parked),
                Some((ticket, Settled::Delivered)) => self.settle(ticket, ChunkStanding::Delivered),
            }
        }
    }

    /// Puts back what was in flight on a connection that can't be used any more.
    fn lose(&mut self, number: usize, loss: Loss, now: Instant) {
        let Some(lane) = self.lanes.get_mut(number) else {
            return;
        };
        let was_ready = lane.is_ready();
        let Some(Disconnected { to, lost }) = lane.disconnect(&loss, now) else {
            return;
        };
        if matches!(loss, Loss::Spent) {
            return;
        }
        let setback = setback(&loss);
        if !was_ready {
            let failed = News::ConnectFailed { to, error: loss };
            self.reporter.news(&failed, now);
            return self.set_back(number, setback, now);
        }
        let closed = matches!(loss, Loss::Closed | Loss::Io(_));
        if closed && lost.oldest.is_none() {
            self.reporter.news(&News::ClosedWhileIdle { to }, now);
            // Servers and load balancers close what they find idle. That is no
            // failure as long as nothing is to be sent.
            if self.outbox.is_active() {
                self.set_back(number, Setback::Failed, now);
            }
            return;
        }
        let unacked = lost.frames.len();
        let verdict = self.outbox.lost(&lost, || self.rng.chunk_id());
        let lost = News::ConnectionLost {
            to: to.clone(),
            loss,
            unacked,
        };
        self.reporter.news(&lost, now);
        match verdict {
            Verdict::Again => (),
            Verdict::Split { bytes, records } => {
                self.reporter.count(Count::FrameSplit);
                let split = News::FrameSplit { to, bytes, records };
                self.reporter.news(&split, now);
            }
            Verdict::Parked {
                bytes,
                records,
                settled,
            } => {
                if let Some(ticket) = settled {
                    self.settle(ticket, ChunkStanding::Parked);
                }
                let parked = News::FrameParked { to, bytes, records };
                self.reporter.news(&parked, now);
            }
        }
        self.set_back(number, setback, now);
    }

    fn set_back(&mut self, number: usize, setback: Setback, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.set_back(setback, now, &mut self.rng);
        }
    }

    /// Sleeps until there is something to do that was not done at `now`.
    fn wait(&self, now: Instant, others: impl Iterator<Item = Instant>) {
        let waker = self.shared.waker();
        let mut fds = vec![PollFd::new(waker, PollFlags::IN)];
        let interests = self.lanes.iter().filter_map(Lane::interest);
        fds.extend(interests.map(|(socket, flags)| PollFd::from_borrowed_fd(socket, flags)));
        let deadlines = self
            .lanes
            .iter()
            .filter_map(|lane| lane.deadline(&self.config, now));
        let timeout = deadlines.chain(others).min().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or_default()
        });
        // Whatever woke it, everything is looked at anew.
        let _ = poll(&mut fds, timeout.as_ref());
        waker.rest();
    }
}

/// How bad a loss is for the node.
fn setback(loss: &Loss) -> Setback {
    match loss.is_lasting() {
        true => Setback::Denied,
        false => Setback::Failed,
    }
}

impl<P> Drop for Worker<P> {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.phase = Phase::Ended;
            state.ledger.release();
        });
    }
}
