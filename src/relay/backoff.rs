//! How long to wait before the next try: twice as long each time, up to a bound, and never the same for all.

/// The pauses between the tries of one connection.
#[derive(Clone, Debug)]
pub struct Backoff {
    first_ms: u64,
    longest_ms: u64,
    tries: u32,
    random: u64,
}

impl Backoff {
    /// Pauses from `first_ms` to `longest_ms`; `seed` is random.
    pub fn new(first_ms: u64, longest_ms: u64, seed: u64) -> Backoff {
        Backoff {
            first_ms,
            longest_ms,
            tries: 0,
            random: seed | 1,
        }
    }

    /// Milliseconds until the next try: between half of the pause and all of it, so that a thousand clients that lost the
    /// same broker at once do not come back at once.
    pub fn pause(&mut self) -> u64 {
        let doubled = self.first_ms.saturating_mul(1_u64 << self.tries.min(32));
        let pause = doubled.min(self.longest_ms.max(self.first_ms));
        self.tries = self.tries.saturating_add(1);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        pause - self.random % (pause / 2 + 1)
    }

    /// A try succeeded: the next pause is the first again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again() {
        for seed in 0..200_u64 {
            let mut backoff = Backoff::new(250, 5_000, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            for most in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
                let pause = backoff.pause();
                assert!((most / 2..=most).contains(&pause), "{pause} of {most}");
            }
            backoff.reset();
            assert!(backoff.pause() <= 250);
        }
    }

    #[test]
    fn not_all_pauses_are_alike() {
        let mut pauses: Vec<u64> = (0..100u64)
            .map(|seed| Backoff::new(1_000, 1_000, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)).pause())
            .collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 50, "{}", pauses.len());
    }

    #[test]
    fn odd_settings_do_no_harm() {
        for (first, longest) in [(0, 0), (1, 0), (u64::MAX, u64::MAX), (5_000, 10)] {
            let mut backoff = Backoff::new(first, longest, 7);
            for _ in 0..100 {
                assert!(backoff.pause() <= first.max(longest));
            }
        }
    }
}
