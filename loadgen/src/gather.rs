//! The sum of what all shards measured: the whole run, and the second that is being gathered.

use crate::measure::{Part, nanos};
use core::time::Duration;
use reports::result::{Histogram, SeriesPoint, Unit};

/// One side of the run: all callers, or all carriers.
#[derive(Debug, Default)]
pub struct Side {
    /// Everything so far.
    pub total: Part,
    second: Part,
    /// The last word of each shard on its calls up and open.
    gauges: Vec<(u64, u64)>,
    /// CPU time and elapsed time of each shard, ns.
    busy: Vec<(u64, u64)>,
}

impl Side {
    /// Takes a part of shard `shard` of this side.
    pub fn take(&mut self, shard: usize, part: &Part) {
        if shard >= self.gauges.len() {
            self.gauges.resize(shard + 1, (0, 0));
            self.busy.resize(shard + 1, (0, 0));
        }
        self.busy[shard].0 += part.busy;
        self.busy[shard].1 += part.to.saturating_sub(part.from);
        self.gauges[shard] = (part.up, part.open);
        self.second.merge(part);
        self.total.merge(part);
    }

    /// A shard is dead: its calls are not up any more.
    pub fn forget(&mut self, shard: usize) {
        if let Some(gauge) = self.gauges.get_mut(shard) {
            *gauge = (0, 0);
        }
    }

    /// CPU time of the busiest shard in percent of a core; `None` before the first part.
    pub fn busiest_percent(&self) -> Option<f64> {
        let shares =
            self.busy.iter().filter(|(_, span)| *span > 0).map(|(busy, span)| *busy as f64 / *span as f64);
        shares.reduce(f64::max).map(|share| share * 100.0)
    }

    /// Calls up, by the last word of each shard.
    pub fn up(&self) -> u64 {
        self.gauges.iter().map(|gauge| gauge.0).sum()
    }

    /// Calls up at one shard.
    pub fn up_of(&self, shard: usize) -> u64 {
        self.gauges.get(shard).map_or(0, |gauge| gauge.0)
    }

    /// What was gathered since the last call of this.
    fn close(&mut self) -> Part {
        core::mem::take(&mut self.second)
    }
}

/// Both sides.
#[derive(Debug, Default)]
pub struct Gather {
    /// Those who call.
    pub callers: Side,
    /// Those who answer.
    pub carriers: Side,
}

impl Gather {
    /// Closes the second that ends `t` seconds after the start. CPU, memory and target counts are for the caller to add.
    pub fn close_second(&mut self, t: f64) -> SeriesPoint {
        let (callers, carriers) = (self.callers.close(), self.carriers.close());
        let mut mos = Histogram::new(Unit::MilliMos);
        let mut delay = Histogram::new(Unit::Nanoseconds);
        let mut jitter = Histogram::new(Unit::Nanoseconds);
        let mut send_error = Histogram::new(Unit::Nanoseconds);
        let (mut sent, mut heard, mut lost) = (0, 0, 0);
        for voice in [&callers.voice, &carriers.voice] {
            mos.merge(&voice.mos);
            delay.merge(&voice.delay);
            jitter.merge(&voice.jitter);
            send_error.merge(&voice.send_error);
            sent += voice.sent;
            heard += voice.heard;
            lost += voice.lost;
        }
        let point = |milli: u64| milli as f64 / 1000.0;
        SeriesPoint {
            t,
            calls: Some(self.callers.up()),
            attempts: callers.attempts,
            answered: callers.answered,
            failed: callers.failed,
            completed: callers.completed,
            causes: callers.causes.clone(),
            mos: mos.mean().map(|mos| mos / 1000.0),
            mos_p1: mos.quantile(0.01).map(point),
            rtp_sent: sent,
            rtp_received: heard,
            rtp_lost: u64::try_from(lost).unwrap_or(0),
            setup_p50_ms: milliseconds(&callers.setup, 0.5),
            setup_p99_ms: milliseconds(&callers.setup, 0.99),
            delay_p50_ms: milliseconds(&delay, 0.5),
            delay_p99_ms: milliseconds(&delay, 0.99),
            jitter_p99_ms: milliseconds(&jitter, 0.99),
            send_error_p99_ms: milliseconds(&send_error, 0.99),
            ..SeriesPoint::default()
        }
    }
}

/// A quantile of a histogram of nanoseconds, in milliseconds.
pub fn milliseconds(histogram: &Histogram, share: f64) -> Option<f64> {
    histogram.quantile(share).map(|ns| ns as f64 / 1e6)
}

/// The same histogram with `less` taken off each value, not below 0.
pub fn shifted(histogram: &Histogram, less: Duration) -> Histogram {
    let less = nanos(less);
    let mut out = Histogram::new(histogram.unit());
    for (low, high, count) in histogram.filled() {
        out.record_many((low + (high - low) / 2).saturating_sub(less), count);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_of_now_and_counters_of_the_second() {
        let mut gather = Gather::default();
        gather.callers.take(0, &Part { up: 3, attempts: 2, to: 1, ..Part::default() });
        gather.callers.take(1, &Part { up: 4, attempts: 1, to: 1, ..Part::default() });
        let point = gather.close_second(1.0);
        assert_eq!((point.calls, point.attempts), (Some(7), 3));
        gather.callers.take(0, &Part { up: 5, attempts: 1, to: 2, ..Part::default() });
        let point = gather.close_second(2.0);
        assert_eq!((point.calls, point.attempts), (Some(9), 1));
        assert_eq!(gather.callers.total.attempts, 4);
        gather.callers.forget(1);
        assert_eq!((gather.callers.up(), gather.callers.up_of(0)), (5, 5));
    }

    #[test]
    fn what_the_bare_path_costs_is_taken_off() {
        let mut delay = Histogram::new(Unit::Nanoseconds);
        for us in [20u64, 30, 700] {
            delay.record(us * 1000);
        }
        let added = shifted(&delay, Duration::from_micros(25));
        assert_eq!(added.count(), 3);
        assert_eq!(added.min(), Some(0));
        let max = added.max().unwrap();
        assert!((670_000..=680_000).contains(&max), "{max}");
    }
}
