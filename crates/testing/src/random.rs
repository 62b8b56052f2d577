//! Random numbers from a printed seed; `SKEP_SEED` in the environment gives the same ones again.

/// Name of the variable that holds the seed.
const SEED: &str = "SKEP_SEED";

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From the seed in the environment, else from one of its own; prints it, so that a failed test
    /// says how to repeat it.
    ///
    /// # Panics
    /// When the variable does not hold a number.
    pub fn from_environment() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|error| panic!("{SEED} is {text:?}: {error}")),
            Err(_) => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).expect("the system has random bytes");
                u64::from_le_bytes(bytes)
            }
        };
        println!("{SEED}={seed}");
        Self::from_seed(seed)
    }

    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.any() % limit
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.any().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_another_seed_others() {
        let numbers = |seed| {
            let mut random = Random::from_seed(seed);
            [(); 4].map(|()| random.any())
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        // The first numbers of the reference implementation for the seed 1234567.
        assert_eq!(numbers(1_234_567)[0], 6_457_827_717_110_365_317);
    }

    #[test]
    fn bytes_are_filled_to_the_last() {
        let mut bytes = [0; 13];
        Random::from_seed(1).fill(&mut bytes);
        assert!(bytes[8..].iter().any(|byte| *byte != 0));
    }
}
