//! How long flushes may hold up their caller. Reads no clock.

use std::time::{Duration, Instant};

/// Answers within this time are waited for whenever there is a chunk: a receiver
/// in the same network gives them, and waiting makes the host read no faster
/// than the receiver takes.
const PROMPT: Duration = Duration::from_millis(50);

/// What is known of the nodes' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    /// The last chunk was acknowledged within [`PROMPT`], or there was none yet.
    Prompt,
    /// It took longer.
    Slow,
    /// It took longer than a flush may, or no node can be reached.
    Away,
}

/// Allots waiting to flushes.
///
/// A flush may wait up to `longest` for a peer, but after such a wait flushes
/// rest: until `rest` times as long has passed, they wait for prompt answers
/// alone. It begins at rest, because nothing is known of the peer at first.
#[derive(Debug)]
pub(super) struct Patience {
    longest: Duration,
    rest: u32,
    peer: Peer,
    rests_until: Instant,
}

/// How long a flush may wait at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// For its chunk to be prepared; perhaps there is nothing of it to be sent.
    pub(super) prepared: Duration,
    /// From then on for the answer.
    pub(super) answered: Duration,
}

impl Patience {
    pub(super) fn new(longest: Duration, rest: u32, now: Instant) -> Patience {
        Patience {
            longest,
            rest,
            peer: Peer::Prompt,
            rests_until: now + longest * rest,
        }
    }

    /// For a flush that begins now.
    pub(super) fn allow(&self, now: Instant) -> Allowance {
        let prompt = PROMPT.min(self.longest);
        let (prepared, answered) = match (self.peer, now < self.rests_until) {
            (Peer::Prompt | Peer::Slow, false) => (self.longest, self.longest),
            (Peer::Prompt, true) => (self.longest, prompt),
            (Peer::Away, false) => (self.longest, Duration::ZERO),
            (Peer::Slow | Peer::Away, true) => (Duration::ZERO, Duration::ZERO),
        };
        Allowance { prepared, answered }
    }

    /// Whether an answer may come while a flush waits.
    pub(super) fn is_hopeful(&self) -> bool {
        self.peer != Peer::Away
    }

    /// A flush that ends now has waited so long.
    pub(super) fn waited(&mut self, waited: Allowance, now: Instant) {
        let charged = match self.peer {
            // Preparing is work that has to be done, at the pace of this machine.
            Peer::Prompt if waited.answered < PROMPT => return,
            Peer::Prompt => waited.answered,
            Peer::Slow | Peer::Away => waited.prepared + waited.answered,
        };
        self.rests_until = self.rests_until.max(now + charged * self.rest);
    }

    /// A chunk was acknowledged, so long after its first frame was sent.
    pub(super) fn answered(&mut self, took: Duration) {
        self.peer = match took {
            _ if took <= PROMPT => Peer::Prompt,
            _ if took <= self.longest => Peer::Slow,
            _ => Peer::Away,
        };
    }

    /// A flush waited in vain, or no node can be reached.
    pub(super) fn disappointed(&mut self) {
        self.peer = Peer::Away;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(500);
    const NONE: Duration = Duration::ZERO;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn allowance(prepared: Duration, answered: Duration) -> Allowance {
        Allowance { prepared, answered }
    }

    #[test]
    fn what_a_peer_is_worth() {
        let start = Instant::now();
        let after = start + 9 * LONGEST;
        let cases = [
            (None, (LONGEST, PROMPT), (LONGEST, LONGEST)),
            (Some(ms(50)), (LONGEST, PROMPT), (LONGEST, LONGEST)),
            (Some(ms(51)), (NONE, NONE), (LONGEST, LONGEST)),
            (Some(ms(501)), (NONE, NONE), (LONGEST, NONE)),
        ];
        for (took, resting, rested) in cases {
            let mut patience = Patience::new(LONGEST, 9, start);
            if let Some(took) = took {
                patience.answered(took);
            }
            let allowed = [start, after].map(|now| patience.allow(now));
            let expected =
                [resting, rested].map(|(prepared, answered)| allowance(prepared, answered));
            assert_eq!(allowed, expected, "{took:?}");
        }
    }

    /// Flushes without a pause between them, for 100 s, with chunks that take that
    /// long to prepare and to be answered; the part of the time that they waited.
    fn share(prepared: Duration, answered: Option<Duration>) -> f64 {
        let start = Instant::now();
        let mut patience = Patience::new(LONGEST, 9, start);
        let (mut now, mut waited) = (start, NONE);
        while now < start + ms(100_000) {
            let allowed = patience.allow(now);
            let wait = allowance(
                allowed.prepared.min(prepared),
                match patience.is_hopeful() {
                    true => answered.unwrap_or(LONGEST).min(allowed.answered),
                    false => NONE,
                },
            );
            now += wait.prepared + wait.answered;
            waited += wait.prepared + wait.answered;
            patience.waited(wait, now);
            match answered {
                Some(took) => patience.answered(took),
                None => patience.disappointed(),
            }
            now += ms(1);
        }
        waited.as_secs_f64() / (now - start).as_secs_f64()
    }

    #[test]
    fn case_56_waiting_takes_a_tenth_of_the_time() {
        for answered in [Some(51), Some(90), Some(400), Some(499), Some(2000), None] {
            for prepared in [0, 10, 300] {
                let share = share(ms(prepared), answered.map(ms));
                assert!(share < 0.105, "{prepared} {answered:?}: {share}");
            }
        }
        assert!(
            share(ms(10), Some(ms(40))) > 0.9,
            "a prompt one sets the pace"
        );
    }

    #[test]
    fn rests_are_as_long_as_they_have_to_be() {
        let start = Instant::now();
        let mut patience = Patience::new(LONGEST, 0, start);
        patience.answered(ms(400));
        patience.waited(allowance(NONE, ms(400)), start);
        assert_eq!(
            patience.allow(start),
            allowance(LONGEST, LONGEST),
            "none at all"
        );
        let mut patience = Patience::new(LONGEST, 9, start);
        let after = start + 9 * LONGEST;
        patience.waited(allowance(ms(300), ms(49)), after);
        assert_eq!(
            patience.allow(after),
            allowance(LONGEST, LONGEST),
            "not after preparing"
        );
        patience.waited(allowance(NONE, ms(100)), after);
        assert_eq!(patience.allow(after + ms(899)).answered, PROMPT);
        assert_eq!(patience.allow(after + ms(900)).answered, LONGEST);
    }
}
