//! How values are spread, in a few steps: taking one in is two atomic additions.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values by their size, in a whole unit: milliseconds, octets.
#[derive(Debug)]
pub struct Histogram {
    /// The highest value of each step, ascending.
    steps: &'static [u64],
    /// One for each step, and one for what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The highest value of each step, and how many values lie in it and not in the one before; the last step, [`u64::MAX`], has no end.
    pub steps: Vec<(u64, u64)>,
    /// All values together.
    pub sum: u64,
}

impl Histogram {
    /// One with these steps.
    pub fn new(steps: &'static [u64]) -> Self {
        Histogram { steps, counts: (0..=steps.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Takes a value in.
    pub fn take(&self, value: u64) {
        let step = self.steps.partition_point(|step| *step < value);
        if let Some(count) = self.counts.get(step) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// What it holds now.
    pub fn read(&self) -> Spread {
        let ends = self.steps.iter().copied().chain([u64::MAX]);
        Spread { steps: ends.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect(), sum: self.sum.load(Relaxed) }
    }
}

impl Spread {
    /// How many values it is made of.
    pub fn count(&self) -> u64 {
        self.steps.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_one_step() {
        let histogram = Histogram::new(&[10, 100]);
        [0, 10, 11, 100, 101, 5_000].into_iter().for_each(|value| histogram.take(value));
        let spread = histogram.read();
        assert_eq!(spread, Spread { steps: vec![(10, 2), (100, 2), (u64::MAX, 2)], sum: 5_222 });
        assert_eq!(spread.count(), 6);
    }
}
