//! Random numbers of the client: ids, salts and jitter.

use std::io;
use std::time::Duration;

use crate::protocol::FrameId;

/// Source of ids and jitter, seeded differently in every client.
#[derive(Debug)]
pub(super) struct Rng {
    prefix: [u8; 8],
    count: u64,
    state: u64,
}

impl Rng {
    pub(super) fn new() -> Result<Rng, getrandom::Error> {
        let (prefix, state) = (getrandom::u64()?.to_be_bytes(), getrandom::u64()?);
        Ok(Rng {
            prefix,
            count: 0,
            state,
        })
    }

    /// Returns a unique frame id: a random prefix of the client and a counter.
    pub(super) fn frame_id(&mut self) -> FrameId {
        let mut bytes = [0; 16];
        let (prefix, count) = bytes.split_at_mut(8);
        prefix.copy_from_slice(&self.prefix);
        count.copy_from_slice(&self.count.to_be_bytes());
        self.count = self.count.wrapping_add(1);
        FrameId::new(bytes)
    }

    /// Returns an unpredictable salt for a handshake, from the system's source.
    pub(super) fn salt() -> io::Result<[u8; 16]> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(salt)
    }

    /// Shortens a delay at random, by half at most, so that clients that failed
    /// together do not return together.
    pub(super) fn jitter(&mut self, delay: Duration) -> Duration {
        let half = delay.checked_div(2).unwrap_or_default();
        let share = f64::from(self.next() >> 16) / f64::from(u32::MAX >> 16);
        half.saturating_add(half.mul_f64(share))
    }

    /// Returns a random number, to be taken modulo the length of a list.
    pub(super) fn turn(&mut self) -> usize {
        usize::try_from(self.next()).unwrap_or_default()
    }

    /// SplitMix64, its upper half.
    fn next(&mut self) -> u32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, ..] = (mixed ^ mixed >> 31).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_between_frames_and_clients() {
        let mut rngs = [Rng::new().unwrap(), Rng::new().unwrap()];
        let ids: HashSet<_> = (0..1000)
            .flat_map(|_| rngs.each_mut().map(Rng::frame_id))
            .collect();
        assert_eq!(ids.len(), 2000);
    }

    #[test]
    fn jitter_takes_up_to_a_half() {
        let mut rng = Rng::new().unwrap();
        let delays: Vec<_> = (0..1000)
            .map(|_| rng.jitter(Duration::from_millis(200)))
            .collect();
        assert!(
            delays
                .iter()
                .all(|delay| (100..=200).contains(&delay.as_millis()))
        );
        assert!(delays.iter().any(|delay| delay.as_millis() < 110));
        assert!(delays.iter().any(|delay| delay.as_millis() > 190));
        assert_eq!(rng.jitter(Duration::ZERO), Duration::ZERO);
    }
}
