//! Durations, counted by size with an error of less than 1 %.

use std::time::Duration;

/// Digits that a quantile is exact to.
const DIGITS: u8 = 2;

/// How often each duration came, in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    /// To the microsecond, which the counts are not.
    largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = hdrhistogram::Histogram::new(DIGITS);
        Self {
            counts: counts.expect("up to five digits are possible"),
            largest: 0,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let counted = self.counts.record(micros);
        counted.expect("it grows, to a few thousand counters for the longest duration");
        self.largest = self.largest.max(micros);
    }

    /// Microseconds that `per_mille` of the durations do not exceed; 0 when there are none.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let quantile = self.counts.value_at_quantile(per_mille as f64 / 1000.0);
        quantile.min(self.largest)
    }

    pub fn largest(&self) -> u64 {
        self.largest
    }
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

    #[test]
    fn a_duration_of_any_length_is_counted() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(990), histogram.largest()), (0, 0));
        histogram.record(Duration::MAX);
        histogram.record(Duration::ZERO);
        assert_eq!(
            (histogram.quantile(500), histogram.largest()),
            (0, u64::MAX)
        );
        assert!(histogram.quantile(1000) >= u64::MAX - 1);
    }
}
