//! Many measurements of one thing, and what they come to.

use std::time::Duration;

/// Figures of one kind, in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The figure in the middle.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The median of the ratios to what was measured beside.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        self.ratios_to(other).median()
    }

    /// How far the ratios lie apart: the lowest and the highest.
    pub(crate) fn range_to(&self, other: &Self) -> (f64, f64) {
        let ratios = self.ratios_to(other);
        (ratios.quantile(0.0), ratios.quantile(1.0))
    }

    /// The figure that a fraction of all lie below.
    pub(crate) fn quantile(&self, fraction: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted
            .get((last as f64 * fraction).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }

    fn ratios_to(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(one, other)| one / other)
                .collect(),
        )
    }
}

impl Extend<Duration> for Samples {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, times: I) {
        self.0.extend(times.into_iter().map(micros));
    }
}

/// Microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_neighbours() {
        let (mut ours, mut theirs) = (Samples::default(), Samples::default());
        for (one, other) in [(1.0, 2.0), (30.0, 60.0), (4.0, 2.0)] {
            ours.push(one);
            theirs.push(other);
        }
        assert_eq!(ours.ratio_to(&theirs), 0.5);
        assert_eq!(ours.range_to(&theirs), (0.5, 2.0));
        assert_eq!(ours.median(), 4.0);
        assert!(Samples::default().median().is_nan());
    }
}
