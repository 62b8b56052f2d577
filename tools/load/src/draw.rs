//! Numbers that look like chance and are the same for the same seed, whatever version of whatever
//! library this is built with: the bytes of a load must not change with a dependency.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// A sequence of its own for each `number` of a `seed`.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut draw = Self(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        draw.next();
        draw
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`; 0 when that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(end);
        u64::try_from(wide >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("less than a usize")
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// True `thousandths` times in a thousand.
    pub fn chance(&mut self, thousandths: u64) -> bool {
        self.below(1000) < thousandths
    }

    /// Around `mean`, mostly less and sometimes much more: the product of two even draws.
    pub fn around(&mut self, mean: u64) -> u64 {
        let [one, two] = [self.below(2048), self.below(2048)];
        ((u128::from(mean) * u128::from(one * two)) >> 20) as u64
    }

    /// An index below `len`, the first ones far more often: the rank of a Zipf-like choice.
    pub fn skewed(&mut self, len: usize) -> usize {
        // An even draw to the fourth power: a tenth of the files get more than half of the opens.
        let even = self.below(1 << 16) as u128;
        let fourth = (even * even) >> 16;
        let fourth = (fourth * fourth) >> 16;
        usize::try_from((fourth * len as u128) >> 16).expect("less than a usize")
    }

    /// So many hexadecimal digits, lower case.
    pub fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(digits);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_tenth_gets_more_than_half_and_every_place_is_reached() {
        let mut draw = Draw::new(1, 2);
        let mut hits = vec![0_u32; 100];
        for _ in 0..100_000 {
            hits[draw.skewed(100)] += 1;
        }
        assert!(hits[..10].iter().sum::<u32>() > 50_000, "{hits:?}");
        assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
    }

    #[test]
    fn a_mean_is_kept() {
        let mut draw = Draw::new(3, 4);
        let sum: u64 = (0..10_000).map(|_| draw.around(1000)).sum();
        assert!((9_500_000..10_500_000).contains(&sum), "{sum}");
    }
}
