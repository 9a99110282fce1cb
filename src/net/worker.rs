//! The client's thread: prepares chunks, keeps a connection, sends and settles.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::{Config, Peer, Phase, Shared};
use super::connection::{Connection, Opener};
use super::dial::{Dial, Progress};
use super::ledger::{Command, Standing};
use super::lookup::Lookups;
use super::report::{Count, Loss, News, PrepareError, Reporter};
use super::rng::Rng;
use crate::forward::frames::{Batch, cut};
use crate::forward::outbox::{Attempt, Ending, Outbox, Ticket};
use crate::forward::session::Doubt;

/// The first failure is followed by a new attempt at once, the next ones after
/// 100 ms, 200 ms, … up to 30 s, of which jitter takes up to a half.
const BACKOFF_START: Duration = Duration::from_millis(100);
const BACKOFF_END: Duration = Duration::from_secs(30);

/// How many failures one counts that lasts until somebody changes a setting:
/// as many as make the longest delay.
const LASTING: u32 = 10;

/// How long the thread goes on after it was told to stop, if it is connected
/// and has something under way. Well below the 5 s that Fluent Bit grants.
const DRAIN: Duration = Duration::from_secs(2);

/// Everything that the thread owns.
pub(super) struct Worker<P> {
    config: Config,
    /// One for each node.
    openers: Vec<Opener>,
    shared: Arc<Shared>,
    prepare: P,
    reporter: Reporter,
    rng: Rng,
    lookups: Lookups,
    outbox: Outbox,
    link: Link,
    /// Lost connections and vain rounds since the last acknowledgement.
    failures: u32,
}

/// The way to the peer.
enum Link {
    /// Not needed: made with the next chunk.
    Idle,
    /// Not before this time.
    Down(Instant),
    Dialing(Dial),
    /// Connected, but not ready; the round goes on if it fails.
    Opening(Dial, Connection),
    Up(Connection),
}

impl<P: FnMut(&[u8], &[u8]) -> Batch> Worker<P> {
    pub(super) fn new(
        config: Config,
        openers: Vec<Opener>,
        shared: Arc<Shared>,
        prepare: P,
        reporter: Reporter,
        rng: Rng,
    ) -> Worker<P> {
        let lookups = Lookups::new(Arc::clone(shared.waker()));
        // The first connection is made at once: trouble shows at start, and the
        // first flush finds it ready.
        let link = Link::Dialing(Dial::new(&config.nodes, config.connect_timeout));
        Worker {
            config,
            openers,
            shared,
            prepare,
            reporter,
            rng,
            lookups,
            outbox: Outbox::default(),
            link,
            failures: 0,
        }
    }

    /// Runs until the client stops.
    pub(super) fn run(mut self) {
        let mut end = None;
        loop {
            let now = Instant::now();
            let (commands, phase) = self.shared.take_commands();
            for command in commands {
                self.obey(command);
            }
            while self.step(now) {}
            if phase == Phase::Stopping {
                let end = *end.get_or_insert(now + DRAIN);
                let busy = self.outbox.is_active() && matches!(self.link, Link::Up(_));
                if !busy || now >= end {
                    return;
                }
            }
            self.wait(end);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Take { ticket, tag, chunk } => {
                let prepared = catch_unwind(AssertUnwindSafe(|| (self.prepare)(&tag, &chunk)));
                drop(chunk);
                let taken = match prepared {
                    Ok(batch) => self.take(ticket, batch),
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

    fn take(&mut self, ticket: Ticket, batch: Batch) -> Result<(), PrepareError> {
        let cut = cut(&batch, &self.config.caps)?;
        for error in &cut.too_large {
            let entry = batch.entries.get(error.bytes.clone()).unwrap_or_default();
            self.reporter.record_lost(error, entry);
        }
        if cut.frames.is_empty() {
            self.shared
                .change(|state| state.ledger.settle(ticket, Standing::Delivered));
        } else {
            self.shared
                .change(|state| state.ledger.prepared(ticket, batch.entries.len()));
            self.outbox
                .add(ticket, batch, cut.frames, || self.rng.chunk_id());
        }
        Ok(())
    }

    /// Does what can be done without waiting; whether there may be more of it.
    fn step(&mut self, now: Instant) -> bool {
        match mem::replace(&mut self.link, Link::Idle) {
            Link::Idle if !self.outbox.is_active() => false,
            Link::Down(until) if now < until => {
                self.link = Link::Down(until);
                false
            }
            Link::Idle | Link::Down(_) => {
                self.link =
                    Link::Dialing(Dial::new(&self.config.nodes, self.config.connect_timeout));
                true
            }
            Link::Dialing(mut dial) => match dial.advance(&mut self.lookups, now) {
                Progress::Pending => {
                    self.link = Link::Dialing(dial);
                    false
                }
                Progress::Failed { to, error } => {
                    self.fail(to, error.into(), now);
                    self.link = Link::Dialing(dial);
                    true
                }
                Progress::Connected { node, to, socket } => {
                    let Some(opener) = self.openers.get_mut(node) else {
                        return false;
                    };
                    self.link = match opener.open(socket, to.clone(), &mut self.reporter, now) {
                        Ok(connection) => Link::Opening(dial, connection),
                        Err(loss) => {
                            self.fail(to, loss, now);
                            Link::Dialing(dial)
                        }
                    };
                    true
                }
                Progress::Exhausted => {
                    self.back_off(now);
                    true
                }
            },
            Link::Opening(dial, mut connection) => match open(&mut connection, now) {
                Ok(()) if connection.is_ready() => {
                    let to = connection.to().to_owned();
                    self.reporter.news(&News::Connected { to }, now);
                    self.link = Link::Up(connection);
                    true
                }
                Ok(()) => {
                    self.link = Link::Opening(dial, connection);
                    false
                }
                Err(loss) => {
                    self.fail(connection.to().to_owned(), loss, now);
                    self.link = Link::Dialing(dial);
                    true
                }
            },
            Link::Up(mut connection) => match self.exchange(&mut connection, now) {
                Ok(()) => {
                    self.link = Link::Up(connection);
                    false
                }
                Err(loss) => {
                    self.lose(&connection, loss, now);
                    true
                }
            },
        }
    }

    /// Reads, settles and writes until the socket can do no more.
    fn exchange(&mut self, connection: &mut Connection, now: Instant) -> Result<(), Loss> {
        self.receive(connection, now)?;
        loop {
            connection.transmit(now)?;
            if !connection.can_send() {
                return Ok(());
            }
            let Some((frame, attempt)) = self.outbox.next_frame(now) else {
                return Ok(());
            };
            self.reporter.count(match attempt {
                Attempt::First => Count::FrameSent(frame.entries.len()),
                Attempt::Again => Count::FrameResent(frame.entries.len()),
            });
            connection.send(&frame, now);
        }
    }

    fn receive(&mut self, connection: &mut Connection, now: Instant) -> Result<(), Loss> {
        let mut acked = Vec::new();
        let received = connection.receive(now, &mut acked);
        for id in &acked {
            let Some(acked) = self.outbox.acked(id, now) else {
                continue;
            };
            self.failures = 0;
            self.reporter.count(Count::FrameAcked(acked.records));
            if let Some((ticket, took)) = acked.finished {
                let in_time = took <= self.config.flush_wait;
                self.shared.change(|state| {
                    state.ledger.settle(ticket, Standing::Delivered);
                    state.peer = if in_time { Peer::Prompt } else { Peer::Slow };
                });
            }
        }
        received
    }

    /// Notes that a receiver could not be connected to.
    fn fail(&mut self, to: String, error: Loss, now: Instant) {
        if error.is_lasting() {
            self.failures = self.failures.max(LASTING);
        }
        self.reporter.news(&News::ConnectFailed { to, error }, now);
    }

    /// Puts back what was in flight, and decides about the next connection.
    fn lose(&mut self, connection: &Connection, loss: Loss, now: Instant) {
        if matches!(loss, Loss::Spent) {
            return;
        }
        if loss.is_lasting() {
            self.failures = self.failures.max(LASTING);
        }
        let to = connection.to().to_owned();
        let in_flight: Vec<_> = connection.in_flight().copied().collect();
        let idle = in_flight.is_empty() && matches!(loss, Loss::Closed | Loss::Io(_));
        if idle {
            self.reporter.news(&News::ClosedWhileIdle { to }, now);
            // Servers and load balancers close what they find idle. That is no
            // failure as long as nothing is to be sent.
            if !self.outbox.is_active() {
                return;
            }
        } else {
            let ending = match loss {
                Loss::Doubt(Doubt::Refused) => Ending::Refused,
                _ => Ending::Unclear,
            };
            self.reporter.news(
                &News::ConnectionLost {
                    to,
                    loss,
                    unacked: in_flight.len(),
                },
                now,
            );
            if let Some(ticket) = self.outbox.lost(&in_flight, ending) {
                self.shared
                    .change(|state| state.ledger.settle(ticket, Standing::Parked));
                self.reporter.news(&News::ChunkParked, now);
            }
        }
        self.back_off(now);
    }

    fn back_off(&mut self, now: Instant) {
        if self.failures > 0 {
            self.shared.change(|state| state.peer = Peer::Slow);
        }
        self.link = Link::Down(now + self.rng.jitter(backoff(self.failures)));
        self.failures = self.failures.saturating_add(1);
    }

    /// Sleeps until there is something to do.
    fn wait(&self, end: Option<Instant>) {
        let waker = self.shared.waker();
        let (socket, deadline) = match &self.link {
            Link::Idle => (None, None),
            Link::Down(until) => (None, Some(*until)),
            Link::Dialing(dial) => (
                dial.socket().map(|socket| (socket, PollFlags::OUT)),
                dial.deadline(),
            ),
            Link::Opening(_, connection) | Link::Up(connection) => {
                (Some(connection.interest()), connection.deadline())
            }
        };
        let mut fds = vec![PollFd::new(waker, PollFlags::IN)];
        fds.extend(socket.map(|(socket, flags)| PollFd::from_borrowed_fd(socket, flags)));
        let timeout = [deadline, end].into_iter().flatten().min().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or_default()
        });
        // Whatever woke it, everything is looked at anew.
        let _ = poll(&mut fds, timeout.as_ref());
        waker.rest();
    }
}

impl<P> Drop for Worker<P> {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.shared.change(|state| state.phase = Phase::Ended);
    }
}

/// Takes a connection further towards being ready.
fn open(connection: &mut Connection, now: Instant) -> Result<(), Loss> {
    // Nothing is in flight that could be acknowledged.
    connection.receive(now, &mut Vec::new())?;
    connection.transmit(now)
}

/// The delay after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => BACKOFF_START
            .saturating_mul(2u32.saturating_pow(doublings))
            .min(BACKOFF_END),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_59_backoff_doubles_up_to_its_end() {
        let delays: Vec<_> = (0..12)
            .map(|failures| backoff(failures).as_millis())
            .collect();
        let expected = [
            0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000,
        ];
        assert_eq!(delays, expected);
        assert_eq!(backoff(u32::MAX), BACKOFF_END);
        assert_eq!(backoff(LASTING), BACKOFF_END);
    }
}
