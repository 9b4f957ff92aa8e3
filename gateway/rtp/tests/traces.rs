//! The jitter buffer against network traces, made and recorded: how much comes too late, with how much delay, and what the best fixed delay
//! would have cost for the same.
#![allow(clippy::unwrap_used, missing_docs)]

use rtp::Header;
use rtp::jitter::{Adjust, Bounds, Buffer, Config, Content, Counts, Put, Step};
use sansio::{Random, Time};
use std::time::Duration;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;
/// Ticks of a packet of 20 ms and of the consumer's tick.
const PACKET: u32 = 160;

/// A packet as it comes.
#[derive(Clone, Debug)]
struct Came {
    at: i64,
    header: Header,
    content: Content,
}

const AUDIO: Content = Content::Audio { ticks: PACKET, then_silent: false };

/// Packet `n` is sent at `20 ms * n` of the sender's clock, which is `ppm` fast, and takes as long as `delay` says; `None` is lost.
fn sent(count: u32, ppm: i64, mut delay: impl FnMut(u32) -> Option<i64>) -> Vec<Came> {
    let mut came: Vec<Came> = (0..count)
        .filter_map(|n| {
            let sent = i64::from(n) * 20 * MS;
            let header = Header {
                sequence: (n as u16).wrapping_add(65_000), // wraps after ten seconds
                timestamp: n.wrapping_mul(PACKET).wrapping_sub(100_000), // wraps as well
                marker: n == 0,
                ..Header::default()
            };
            delay(n).map(|delay| Came {
                at: SECOND + sent - sent * ppm / 1_000_000 + delay,
                header,
                content: AUDIO,
            })
        })
        .collect();
    came.sort_by_key(|came| came.at);
    came
}

/// What a consumer with a tick of 20 ms saw.
#[derive(Debug, Default)]
struct Heard {
    counts: Counts,
    /// Ticks of each kind, after the first packet was played.
    played: u64,
    concealed: u64,
    noise: u64,
    silence: u64,
    /// The least and the greatest offset after ten seconds, in milliseconds.
    offsets: (f64, f64),
    /// Sequence numbers in the order in which they were played.
    order: Order,
    skew: Option<f64>,
    target: f64,
}

/// Too long to be printed.
#[derive(Default)]
struct Order(Vec<u16>);

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} packets", self.0.len())
    }
}

impl Heard {
    /// Delay on the average of packets, in milliseconds.
    fn mean(&self) -> f64 {
        self.counts.offset_micros as f64 / self.counts.played as f64 / 1000.0
    }

    /// Share of packets that were not there when they should have been and came, and of those played late.
    fn late(&self) -> f64 {
        (self.counts.late + self.counts.delayed + self.counts.skipped) as f64 / self.counts.packets as f64
    }
}

fn config(min: u64, max: u64) -> Config {
    let ms = Duration::from_millis;
    let bounds = Bounds { min: ms(min), max: ms(max), start: ms(60), quantile: 0.98 };
    Config { bounds, ..Config::telephony(8000, 160) }
}

/// Plays a trace, changing speech as a consumer does: by 2.5 to 10 ms at a time.
fn hear(config: &Config, trace: &[Came]) -> Heard {
    let mut buffer = Buffer::new(config);
    let mut heard = Heard { offsets: (f64::MAX, 0.0), ..Heard::default() };
    let first = trace[0].at;
    let mut coming = trace.iter().peekable();
    let mut queued = 0u32;
    // Somewhere between two packets.
    let mut now = first - 7 * MS;
    while coming.peek().is_some() || buffer.waiting() > 0 {
        while let Some(came) = coming.next_if(|came| came.at <= now) {
            buffer.put(Time::from_nanos(came.at as u64), &came.header, came.content, &[0; 160]);
        }
        let at = Time::from_nanos(now as u64);
        if now > first + 10 * SECOND
            && let Some(offset) = buffer.offset(at, queued)
        {
            let offset = offset.as_secs_f64() * 1000.0;
            heard.offsets = (heard.offsets.0.min(offset), heard.offsets.1.max(offset));
        }
        let mut turns = 0;
        while queued < PACKET {
            turns += 1;
            assert!(turns < 100, "a step that takes no time again and again");
            match buffer.take(at, queued, PACKET - queued) {
                Step::Play { header, adjust, payload, .. } => {
                    assert_eq!(payload.len(), 160);
                    heard.order.0.push(header.sequence);
                    heard.played += u64::from(PACKET);
                    queued += PACKET;
                    match adjust {
                        Adjust::Shrink(most) if most >= 20 => queued -= most.min(80),
                        Adjust::Stretch(most) if most >= 20 => queued += most.min(80),
                        _ => {}
                    }
                }
                Step::Conceal(ticks) => {
                    heard.concealed += u64::from(ticks);
                    queued += ticks;
                }
                Step::Noise(ticks) => {
                    heard.noise += u64::from(ticks);
                    queued += ticks;
                }
                Step::Silence(ticks) => {
                    heard.silence += u64::from(ticks);
                    queued += ticks;
                }
                Step::Describe(_) => {}
            }
        }
        queued -= PACKET;
        now += 20 * MS;
    }
    let sum = |c: &Counts| {
        c.played + c.events + c.late + c.duplicates + c.overflow + c.early + c.skipped + c.flushed + c.jumps
    };
    heard.counts = *buffer.counts();
    assert_eq!(heard.counts.packets, sum(&heard.counts) + buffer.waiting() as u64, "{:?}", heard.counts);
    heard.skew = buffer.skew();
    heard.target = buffer.target().as_secs_f64() * 1000.0;
    heard
}

/// The smallest fixed delay, in milliseconds, with which no more than `share` of the packets comes too late.
fn oracle(trace: &[Came], ppm: i64, share: f64) -> f64 {
    let start = trace.iter().map(|came| came.header.timestamp.wrapping_add(100_000)).min().unwrap();
    let mut relative: Vec<i64> = trace
        .iter()
        .map(|came| {
            let ticks = i64::from(came.header.timestamp.wrapping_add(100_000).wrapping_sub(start));
            let sent = ticks * 125_000;
            came.at - (sent - sent * ppm / 1_000_000)
        })
        .collect();
    relative.sort_unstable();
    let least = relative[0];
    let kept = ((1.0 - share) * relative.len() as f64).ceil() as usize;
    (relative[kept.clamp(1, relative.len()) - 1] - least) as f64 / 1e6
}

/// Gamma distribution of an integral shape.
fn gamma(random: &mut Random, shape: u32, mean: f64) -> i64 {
    ((0..shape).map(|_| random.exponential(mean / f64::from(shape))).sum::<f64>() * 1e6) as i64
}

#[test]
fn without_jitter_the_least_delay_and_nothing_made_up() {
    let heard = hear(&config(20, 200), &sent(3000, 0, |_| Some(5 * MS)));
    assert_eq!((heard.counts.played, heard.concealed, heard.counts.late), (3000, 0, 0), "{heard:?}");
    assert!(heard.order.0.windows(2).all(|w| w[1] == w[0].wrapping_add(1)));
    assert!((20.0..45.0).contains(&heard.offsets.1), "{heard:?}");
}

#[test]
fn gamma_jitter_costs_little_more_than_the_best_fixed_delay() {
    for (shape, mean) in [(1, 5.0), (2, 10.0), (4, 20.0), (2, 25.0)] {
        let mut random = Random::new(u64::from(shape));
        let trace = sent(15_000, 0, |_| Some(gamma(&mut random, shape, mean)));
        let heard = hear(&config(10, 300), &trace);
        let best = oracle(&trace, 0, heard.late());
        println!(
            "gamma {shape} x {mean} ms: late {:.4}, mean {:.1} ms, oracle {best:.1} ms",
            heard.late(),
            heard.mean()
        );
        assert!(heard.late() < 0.03, "{}", heard.late());
        assert!(heard.mean() < 1.1 * best + 6.0, "mean {} ms, oracle {best} ms", heard.mean());
    }
}

#[test]
fn in_order_jitter_costs_little_more_than_the_best_fixed_delay() {
    // A queue: no packet overtakes another.
    let mut random = Random::new(5);
    let mut free = 0i64;
    let trace = sent(15_000, 0, |n| {
        let at = i64::from(n) * 20 * MS;
        free = free.max(at) + gamma(&mut random, 1, 12.0);
        Some(free - at)
    });
    let heard = hear(&config(10, 300), &trace);
    let best = oracle(&trace, 0, heard.late());
    println!("queue: late {:.4}, mean {:.1} ms, oracle {best:.1} ms", heard.late(), heard.mean());
    assert!(heard.late() < 0.03, "{}", heard.late());
    assert!(heard.mean() < 1.1 * best + 6.0, "mean {} ms, oracle {best} ms", heard.mean());
}

#[test]
fn spikes_are_played_late_and_then_expected() {
    // Every four seconds nothing for 150 ms, then all at once.
    let mut random = Random::new(6);
    let trace = sent(6000, 0, |n| {
        let since = i64::from(n % 200) * 20 * MS;
        let held = 150 * MS - since;
        Some(if held > 0 { held + i64::from(n % 200) * 10_000 } else { random.below(3_000_000) as i64 })
    });
    let heard = hear(&config(20, 250), &trace);
    println!("spikes: {:?}", heard.counts);
    // The first two are a surprise, the other twenty-eight are not.
    assert!(heard.counts.underruns <= 6, "{heard:?}");
    assert!(heard.late() < 0.005);
    // The delay that holds them off, no more.
    assert!(heard.offsets.1 < 190.0, "{heard:?}");
}

#[test]
fn reordered_packets_are_put_in_order() {
    let mut random = Random::new(8);
    // Neighbours swap now and then.
    let trace = sent(5000, 0, |_| Some(if random.chance(0.05) { 25 * MS } else { 0 }));
    let heard = hear(&config(20, 200), &trace);
    assert!(heard.counts.late < 20, "{heard:?}");
    assert!(heard.order.0.windows(2).all(|w| w[1].wrapping_sub(w[0]) < 100), "out of order");
    assert!(heard.mean() < 55.0);
}

#[test]
fn loss_is_concealed_tick_for_tick_and_costs_no_delay() {
    for share in [0.01, 0.03, 0.1] {
        let mut random = Random::new(9);
        let trace = sent(6000, 0, |_| (!random.chance(share)).then(|| random.below(4_000_000) as i64));
        let heard = hear(&config(20, 200), &trace);
        let missing = 6000 - trace.len() as u64;
        assert_eq!(heard.counts.lost, missing, "{share}: {heard:?}");
        assert_eq!(heard.counts.played, trace.len() as u64);
        let concealed = heard.concealed.abs_diff(missing * u64::from(PACKET));
        assert!(concealed < 400, "{share}: {heard:?}");
        assert!(heard.offsets.1 < 55.0, "{share}: {heard:?}");
    }
}

#[test]
fn a_clock_that_is_fast_or_slow_is_followed_for_ten_minutes() {
    for ppm in [-200, 200] {
        let mut random = Random::new(10);
        let trace = sent(30_000, ppm, |_| Some(random.below(10_000_000) as i64));
        let heard = hear(&config(20, 200), &trace);
        println!("{ppm} ppm: {:?}, skew {:?}, offsets {:?}", heard.counts, heard.skew, heard.offsets);
        // 120 ms in ten minutes: the offset stays, nothing is lost, nothing given up.
        let c = heard.counts;
        assert_eq!((c.late, c.skipped, c.underruns, c.lost), (0, 0, 0, 0), "{heard:?}");
        assert!(heard.offsets.0 > 17.0 && heard.offsets.1 < 57.0, "{heard:?}");
        assert!((heard.skew.unwrap() - ppm as f64).abs() < 30.0, "{heard:?}");
        if ppm > 0 { assert!(c.shrinks >= 10, "{heard:?}") } else { assert!(c.stretches >= 10, "{heard:?}") }
    }
}

#[test]
fn talk_spurts_with_pauses_choose_their_delay_anew() {
    // Two seconds of speech, one of silence: with comfort noise, with silence in band, with nothing said at all.
    for announced in [Some(Content::Noise), None] {
        for in_band in [false, true] {
            let mut random = Random::new(11);
            let mut sequence = 0u16;
            let mut trace = Vec::new();
            for n in 0..6000u32 {
                let place = n % 150;
                let content = match place {
                    99 if in_band => Content::Audio { ticks: PACKET, then_silent: true },
                    0..100 => AUDIO,
                    100 => match announced {
                        Some(noise) => noise,
                        None => continue,
                    },
                    _ => continue,
                };
                let header =
                    Header { sequence, timestamp: n * PACKET, marker: place == 0, ..Header::default() };
                sequence = sequence.wrapping_add(1);
                trace.push(Came {
                    at: SECOND + i64::from(n) * 20 * MS + random.below(30_000_000) as i64,
                    header,
                    content,
                });
            }
            trace.sort_by_key(|came| came.at);
            let heard = hear(&config(20, 200), &trace);
            let said = format!("{announced:?}, {in_band}: {heard:?}");
            assert_eq!(heard.counts.lost, heard.counts.late, "silence is not loss: {said}");
            assert!(heard.counts.late <= 40, "{said}");
            assert!(heard.counts.spurts >= 38, "{said}");
            if announced.is_some() || in_band {
                let pauses = 39 * 8000;
                assert!(heard.noise.abs_diff(pauses) < pauses / 10, "{said}");
                assert!(heard.concealed < 50 * u64::from(PACKET), "{said}");
            }
            assert!(heard.offsets.1 < 75.0, "{said}");
        }
    }
}

#[test]
fn telephone_events_are_neither_loss_nor_sound() {
    let mut trace = sent(1000, 0, |_| Some(0));
    for (n, came) in trace.iter_mut().enumerate() {
        // RFC 4733 §2.2.1: the timestamp stands still.
        if (500..510).contains(&n) {
            came.content = Content::Other;
            came.header.timestamp = 500u32.wrapping_mul(PACKET).wrapping_sub(100_000);
        }
    }
    let heard = hear(&config(20, 200), &trace);
    let c = heard.counts;
    assert_eq!((c.events, c.played, c.lost, c.underruns), (10, 990, 0, 0), "{heard:?}");
    assert!(heard.noise.abs_diff(1600) <= 160, "{heard:?}");
    assert_eq!(heard.concealed, 0);
}

#[test]
fn a_new_source_a_new_sequence_and_a_new_time_base_are_followed() {
    let change = |f: fn(&mut Came)| {
        let mut trace = sent(2000, 0, |_| Some(0));
        trace.iter_mut().skip(1000).for_each(f);
        hear(&config(20, 200), &trace)
    };
    let ssrc = change(|came| came.header.ssrc = 9);
    assert_eq!((ssrc.counts.ssrc_changes, ssrc.counts.lost, ssrc.counts.restarts), (1, 0, 0));
    let sequence = change(|came| came.header.sequence = came.header.sequence.wrapping_add(20_000));
    assert_eq!((sequence.counts.restarts, sequence.counts.jumps, sequence.counts.lost), (1, 1, 0));
    let time = change(|came| came.header.timestamp = came.header.timestamp.wrapping_add(1 << 30));
    assert_eq!((time.counts.restarts, time.counts.jumps), (1, 1));
    for heard in [ssrc, sequence, time] {
        assert!(heard.counts.played >= 1990, "{heard:?}");
        assert!(heard.counts.flushed <= 5, "{heard:?}");
        assert!(heard.offsets.1 < 100.0, "{heard:?}");
    }
    // One packet of another world changes nothing.
    let mut trace = sent(1000, 0, |_| Some(0));
    trace[500].header.sequence = 30_000;
    let lone = hear(&config(20, 200), &trace);
    assert_eq!((lone.counts.jumps, lone.counts.restarts, lone.counts.played), (1, 0, 999), "{lone:?}");
}

#[test]
fn an_outage_and_a_longer_way_are_gone_through() {
    // Three seconds of nothing; then all at once, or never.
    for held in [true, false] {
        let trace = sent(3000, 0, |n| match n {
            1000..1150 if held => Some(i64::from(1150 - n) * 20 * MS),
            1000..1150 => None,
            _ => Some(0),
        });
        let heard = hear(&config(20, 200), &trace);
        assert!(heard.counts.played >= 2840, "{held}: {heard:?}");
        assert!(
            heard.counts.played + heard.counts.early + heard.counts.skipped + 15 >= trace.len() as u64,
            "{heard:?}"
        );
        assert!(heard.offsets.1 < 230.0, "{held}: {heard:?}");
        assert!(heard.target < 61.0, "{held}: {heard:?}");
    }
    // From one packet to the next the way is longer by 700 ms, more than the bounds allow.
    let heard = hear(&config(20, 200), &sent(3000, 0, |n| Some(if n < 1000 { 0 } else { 700 * MS })));
    assert!(heard.counts.played >= 2900, "{heard:?}");
    // And shorter again.
    let heard = hear(&config(20, 200), &sent(3000, 0, |n| Some(if n < 1000 { 700 * MS } else { 0 })));
    assert!(heard.counts.played >= 2900, "{heard:?}");
}

#[test]
fn duplicates_and_what_is_too_large_are_counted() {
    // While the first copy waits, and when it was played long ago.
    for later in [0, 150 * MS] {
        let mut trace = sent(500, 0, |_| Some(0));
        let twice = trace.clone();
        trace.extend(twice.into_iter().map(|came| Came { at: came.at + later, ..came }));
        trace.sort_by_key(|came| came.at);
        let heard = hear(&config(20, 200), &trace);
        let c = heard.counts;
        assert_eq!((c.duplicates, c.played, c.late, c.lost), (500, 500, 0, 0), "{later}: {heard:?}");
        assert!(heard.target < 60.1, "a copy's delay is nobody's: {heard:?}");
    }
    let mut buffer = Buffer::new(&config(20, 200));
    assert_eq!(buffer.put(Time::ZERO, &Header::default(), AUDIO, &[0; 161]), Put::Overflow);
    assert_eq!(buffer.put(Time::ZERO, &Header::default(), AUDIO, &[0; 160]), Put::Kept);
    // 64 slots: what lies farther ahead takes the place of what waits.
    let far = Header { sequence: 64, timestamp: 64 * PACKET, ..Header::default() };
    assert_eq!(buffer.put(Time::ZERO, &far, AUDIO, &[0; 160]), Put::Jump, "a second ahead of its time");
    let far = Header { sequence: 64, timestamp: PACKET, ..Header::default() };
    assert_eq!(buffer.put(Time::ZERO, &far, AUDIO, &[0; 160]), Put::Kept);
    assert_eq!((buffer.counts().early, buffer.waiting()), (1, 1));
}

#[test]
fn packets_and_ticks_of_any_length_go_together() {
    for (packet, tick) in [(10, 20), (30, 20), (20, 10), (60, 20), (20, 30), (10, 10), (5, 20), (40, 30)] {
        let mut random = Random::new(12);
        let mut buffer = Buffer::new(&config(20, 200));
        let content = Content::Audio { ticks: packet * 8, then_silent: false };
        let count = 60_000 / packet;
        let mut came: Vec<(i64, Header)> = (0..count)
            .map(|n| {
                let at = SECOND + i64::from(n * packet) * MS + random.below(8_000_000) as i64;
                let header = Header { sequence: n as u16, timestamp: n * packet * 8, ..Header::default() };
                (at, header)
            })
            .collect();
        came.sort_by_key(|came| came.0);
        let mut coming = came.iter().peekable();
        let (mut now, mut queued) = (SECOND + 3 * MS, 0);
        while coming.peek().is_some() {
            while let Some((at, header)) = coming.next_if(|came| came.0 <= now) {
                buffer.put(Time::from_nanos(*at as u64), header, content, &[]);
            }
            while queued < tick * 8 {
                match buffer.take(Time::from_nanos(now as u64), queued, tick * 8 - queued) {
                    Step::Play { adjust, .. } => {
                        queued += packet * 8;
                        match adjust {
                            Adjust::Shrink(most) if most >= 20 => queued -= most.min(packet * 4),
                            Adjust::Stretch(most) if most >= 20 => queued += most.min(packet * 4),
                            _ => {}
                        }
                    }
                    Step::Conceal(ticks) | Step::Silence(ticks) | Step::Noise(ticks) => queued += ticks,
                    Step::Describe(_) => {}
                }
            }
            queued -= tick * 8;
            now += i64::from(tick) * MS;
        }
        let c = *buffer.counts();
        let mean = c.offset_micros as f64 / c.played as f64 / 1000.0;
        println!("packets of {packet} ms, ticks of {tick} ms: mean {mean:.1} ms, {c:?}");
        assert_eq!((c.late, c.lost, c.skipped, c.early), (0, 0, 0, 0), "{packet}, {tick}: {c:?}");
        assert!(c.underruns <= 1, "{packet}, {tick}: {c:?}");
        // It comes to rest.
        assert!(c.shrinks + c.stretches < 20, "{packet}, {tick}: {c:?}");
        // The least target and a tick, and what a packet that is cut by ticks adds.
        assert!(mean < 20.0 + f64::from(tick) + f64::from(packet) + 8.0, "{packet}, {tick}: {mean} ms");
    }
}

#[test]
fn a_recorded_minute_of_a_loaded_machine() {
    // tests/traces/loopback.tsv: sent each 20 ms over loopback between two threads of a machine of two processors that was compiling
    // meanwhile. Number and microseconds of arrival.
    let trace: Vec<Came> = include_str!("traces/loopback.tsv")
        .lines()
        .map(|line| {
            let (n, at) = line.split_once('\t').unwrap();
            let (n, at): (u32, i64) = (n.parse().unwrap(), at.parse().unwrap());
            let header = Header { sequence: n as u16, timestamp: n * PACKET, ..Header::default() };
            Came { at: SECOND + at * 1000, header, content: AUDIO }
        })
        .collect();
    assert!(trace.len() > 2900);
    let heard = hear(&config(10, 200), &trace);
    println!(
        "recorded: late {:.4}, mean {:.1} ms, target {:.1} ms, {:?}",
        heard.late(),
        heard.mean(),
        heard.target,
        heard.counts
    );
    assert!(heard.late() < 0.03, "{heard:?}");
    assert!(heard.mean() < oracle(&trace, 0, heard.late()) + 30.0, "{heard:?}");
}
