//! Durations, counted by size with an error of less than 2 %.

use std::time::Duration;

/// Steps within each doubling.
const STEPS: u64 = 64;

/// How often each duration came, in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let place = place(micros);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
        self.largest = self.largest.max(micros);
    }

    /// Microseconds that `per_mille` of the durations do not exceed; 0 when there are none.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper_end(place as u64).min(self.largest);
            }
        }
        0
    }

    pub fn largest(&self) -> u64 {
        self.largest
    }
}

fn place(micros: u64) -> usize {
    let place = if micros < STEPS {
        micros
    } else {
        let shift = u64::from(micros.ilog2()) - 6;
        STEPS * (shift + 1) + (micros >> shift) - STEPS
    };
    usize::try_from(place).expect("at most 64 times 60")
}

fn upper_end(place: u64) -> u64 {
    if place < STEPS {
        return place;
    }
    let shift = place / STEPS - 1;
    ((place % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_two_per_cent_too_high() {
        for micros in [0_u64, 1, 63, 64, 65, 1000, 123_456, 987_654_321] {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(micros));
            histogram.record(Duration::from_secs(100_000));
            let found = histogram.quantile(500);
            assert!(
                found >= micros && found <= micros + micros / 50,
                "{micros}: {found}"
            );
        }
    }

    #[test]
    fn quantiles_follow_the_durations() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        assert!((500_000..=510_000).contains(&histogram.quantile(500)));
        assert!((990_000..=1_000_000).contains(&histogram.quantile(990)));
        assert_eq!(
            (histogram.quantile(1000), histogram.largest()),
            (1_000_000, 1_000_000)
        );
    }
}
