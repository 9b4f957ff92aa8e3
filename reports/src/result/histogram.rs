//! A mergeable log-linear histogram: 128 cells per power of two, so any percentile is within 0.8 % of the true value;
//! MOS values are exact.

use serde::{Deserialize, Serialize};

/// What the recorded integers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    #[default]
    Nanoseconds,
    /// Thousandths of a MOS point (4 410 is MOS 4.41).
    MilliMos,
    /// Parts per million (of packets, of calls).
    PartsPerMillion,
    /// A plain number of things.
    Count,
}

impl Unit {
    /// log2 of the cells per power of two; values below twice as many are exact. A MOS rounded up by 0.8 % would read
    /// 0.03 better than it was, so all of its 4 500 values have their own cell.
    fn cell_bits(self) -> u32 {
        match self {
            Self::MilliMos => 12,
            Self::Nanoseconds | Self::PartsPerMillion | Self::Count => 7,
        }
    }
}

/// The percentiles that pages show, in the histogram's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Largest value recorded, exact.
    pub max: u64,
}

/// Counts of non-negative integers in log-linear cells. Minimum, maximum, count and sum are exact.
///
/// Memory while recording: at most 58 x 128 counters (59 KB), less when values are small; the file form is sparse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    unit: Unit,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
    cells: Vec<u64>,
}

impl Histogram {
    /// An empty histogram of `unit`.
    #[must_use]
    pub fn new(unit: Unit) -> Self {
        Self { unit, ..Self::default() }
    }

    /// What the values mean.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Counts one `value`.
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts `value` `times` times; nothing when `times` is 0.
    pub fn record_many(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        let cell = cell_of(value, self.unit);
        if cell >= self.cells.len() {
            self.cells.resize(cell + 1, 0);
        }
        self.cells[cell] += times;
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += times;
        self.sum += u128::from(value) * u128::from(times);
    }

    /// Adds all counts of `other`; an empty histogram takes over `other`'s unit.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = Self { unit: other.unit, min: other.min, ..Self::default() };
        }
        if self.unit != other.unit {
            other.filled().for_each(|(low, _, count)| self.record_many(low, count));
            return;
        }
        if self.cells.len() < other.cells.len() {
            self.cells.resize(other.cells.len(), 0);
        }
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Forgets all values, keeps the unit and the memory (for per-second histograms).
    pub fn clear(&mut self) {
        self.cells.fill(0);
        self.count = 0;
        self.sum = 0;
        self.min = 0;
        self.max = 0;
    }

    /// Values recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing was recorded: "not measured".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Smallest value, exact; `None` when empty.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// Largest value, exact; `None` when empty.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// Arithmetic mean, exact up to `f64`; `None` when empty.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The smallest recorded value that at least `share` (0..=1) of all values do not exceed, rounded up to its
    /// cell's upper edge (at most 0.8 % high, never beyond the maximum); `None` when empty.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let wanted = (share.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (cell, count) in self.cells.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(bounds_of(cell, self.unit).1.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// p50, p90, p95, p99, p99.9 and the maximum; `None` when empty.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        Some(Percentiles {
            p50: self.quantile(0.50)?,
            p90: self.quantile(0.90)?,
            p95: self.quantile(0.95)?,
            p99: self.quantile(0.99)?,
            p999: self.quantile(0.999)?,
            max: self.max()?,
        })
    }

    /// Share (0..=1) of values that are at least `value`, to the cell; `None` when empty.
    #[must_use]
    pub fn share_at_least(&self, value: u64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let from = cell_of(value, self.unit);
        let above: u64 = self.cells.iter().skip(from).sum();
        Some(above as f64 / self.count as f64)
    }

    /// The filled cells in rising order: lowest value, highest value, count.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.cells.iter().enumerate().filter(|(_, count)| **count > 0).map(|(cell, count)| {
            let (low, high) = bounds_of(cell, self.unit);
            (low, high, *count)
        })
    }
}

/// The cell that counts `value`.
fn cell_of(value: u64, unit: Unit) -> usize {
    let bits = unit.cell_bits();
    if value >> (bits + 1) == 0 {
        return value as usize;
    }
    let shift = u64::BITS - 1 - bits - value.leading_zeros();
    ((u64::from(shift) << bits) + (value >> shift)) as usize
}

/// Lowest and highest value of a cell.
fn bounds_of(cell: usize, unit: Unit) -> (u64, u64) {
    let (cell, cells) = (cell as u64, 1 << unit.cell_bits());
    if cell < 2 * cells {
        return (cell, cell);
    }
    let shift = cell / cells - 1;
    let base = cell % cells + cells;
    (base << shift, (base << shift) + ((1 << shift) - 1))
}

/// The file form: percentiles for readers, `[lowest value of the cell, count]` pairs for machines.
#[derive(Serialize, Deserialize)]
struct Stored {
    unit: Unit,
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p50: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p90: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p95: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p99: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p999: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    /// Decimal text: JSON numbers lose precision beyond 2^53.
    sum: String,
    cells: Vec<(u64, u64)>,
}

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles = self.percentiles();
        Stored {
            unit: self.unit,
            count: self.count,
            min: self.min(),
            mean: self.mean(),
            p50: percentiles.map(|p| p.p50),
            p90: percentiles.map(|p| p.p90),
            p95: percentiles.map(|p| p.p95),
            p99: percentiles.map(|p| p.p99),
            p999: percentiles.map(|p| p.p999),
            max: self.max(),
            sum: self.sum.to_string(),
            cells: self.filled().map(|(low, _, count)| (low, count)).collect(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let stored = Stored::deserialize(deserializer)?;
        let mut histogram = Self::new(stored.unit);
        for (low, count) in stored.cells {
            histogram.record_many(low, count);
        }
        if histogram.count != stored.count {
            return Err(D::Error::custom("a histogram's cells do not add up to its count"));
        }
        histogram.min = stored.min.unwrap_or(0);
        histogram.max = stored.max.unwrap_or(0);
        histogram.sum = stored.sum.parse().map_err(D::Error::custom)?;
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_cell_and_cells_are_narrow() {
        let mut values: Vec<u64> = (0..4096).collect();
        values.extend((12..64).flat_map(|bit| {
            let power = 1u64 << bit;
            [power - 1, power, power + 1, power + power / 3]
        }));
        values.push(u64::MAX);
        for unit in [Unit::Nanoseconds, Unit::MilliMos] {
            for value in values.iter().copied() {
                let (low, high) = bounds_of(cell_of(value, unit), unit);
                assert!(low <= value && value <= high, "{value} not in {low}..={high}");
                assert!((high - low) as f64 <= value as f64 / 127.0, "{value}: {low}..={high}");
            }
        }
        assert_eq!(bounds_of(cell_of(4_406, Unit::MilliMos), Unit::MilliMos), (4_406, 4_406), "MOS is exact");
    }

    #[test]
    fn percentiles_match_the_sorted_list_within_a_cell() {
        let mut histogram = Histogram::new(Unit::Nanoseconds);
        let mut sorted: Vec<u64> = (1..=10_000u64).map(|i| i * i % 999_983).collect();
        sorted.iter().for_each(|v| histogram.record(*v));
        sorted.sort_unstable();
        for share in [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = ((share * 10_000.0f64).ceil() as usize).max(1) - 1;
            let exact = sorted[rank] as f64;
            let got = histogram.quantile(share).unwrap() as f64;
            assert!(got >= exact && got <= exact * 1.008 + 1.0, "{share}: {got} for {exact}");
        }
        assert_eq!(histogram.max(), sorted.last().copied());
        assert_eq!(histogram.min(), sorted.first().copied());
    }

    #[test]
    fn merging_parts_equals_recording_the_whole() {
        let (mut left, mut right, mut whole) =
            (Histogram::default(), Histogram::default(), Histogram::default());
        for value in 0..5000u64 {
            if value % 3 == 0 { &mut left } else { &mut right }.record(value * 7);
            whole.record(value * 7);
        }
        left.merge(&right);
        assert_eq!(left, whole);
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), whole);
    }

    #[test]
    fn empty_is_not_measured_and_bad_files_are_refused() {
        let empty = Histogram::new(Unit::MilliMos);
        assert_eq!(empty.quantile(0.5), None);
        assert_eq!(empty.mean(), None);
        let text = serde_json::to_string(&empty).unwrap();
        assert!(!text.contains("p99"), "{text}");
        assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), empty);
        let lie = r#"{"unit":"count","count":5,"sum":"5","cells":[[1,4]]}"#;
        assert!(serde_json::from_str::<Histogram>(lie).is_err());
    }

    #[test]
    fn share_at_least_counts_the_upper_part() {
        let mut histogram = Histogram::new(Unit::Count);
        (0..100).for_each(|v| histogram.record(v));
        assert_eq!(histogram.share_at_least(40), Some(0.6));
        assert_eq!(histogram.share_at_least(1000), Some(0.0));
    }
}
