//! A made-up drill, the same at every call: 1000 calls, one carrier killed after a minute. No figure in it was measured.

use reports::Recorder;
use reports::limits::on;
use reports::result::*;
use std::path::Path;

/// A small generator of reproducible noise.
pub(crate) struct Noise(u64);

impl Noise {
    /// In 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Long-tailed around `middle`.
    pub(crate) fn tailed(&mut self, middle: f64) -> f64 {
        let u = self.unit().max(1e-9);
        middle * (0.6 + 0.35 * (-u.ln()))
    }
}

const T0: f64 = 60.0;
const BACK: f64 = 92.0;
const END: f64 = 130.0;

/// Writes the sample run into `dir` after `change` had its way with it, and returns what was recorded.
pub(crate) fn write(
    dir: &Path,
    change: impl FnOnce(&mut RunResult, &mut Vec<SeriesPoint>, &mut Vec<Event>),
) -> RunResult {
    let (mut result, mut series, mut events) = (result(), series(), events());
    change(&mut result, &mut series, &mut events);
    let mut recorder = Recorder::create(dir, &RunResult::default()).unwrap();
    series.iter().for_each(|point| recorder.series(point).unwrap());
    events.iter().for_each(|event| recorder.event(event).unwrap());
    recorder.finish(result).unwrap()
}

fn histogram(noise: &mut Noise, count: u64, middle_ms: f64) -> Histogram {
    let mut h = Histogram::new(Unit::Nanoseconds);
    (0..count).for_each(|_| h.record((noise.tailed(middle_ms) * 1e6) as u64));
    h
}

pub(crate) fn series() -> Vec<SeriesPoint> {
    let mut noise = Noise(7);
    (1..=END as u64)
        .map(|second| {
            let t = second as f64;
            let up = if t < 22.0 {
                50.0 * (t - 2.0).max(0.0)
            } else if t > 115.0 {
                1000.0 - 66.0 * (t - 115.0)
            } else {
                1000.0
            };
            let on_a = match t {
                t if t <= T0 => up / 2.0,
                t if t < T0 + 20.0 => up / 2.0 * (1.0 - (t - T0) / 20.0),
                t if t < BACK + 2.0 => 0.0,
                t => (up / 2.0).min((t - BACK - 2.0) * 16.0),
            };
            let in_fault = t > T0 && t <= T0 + 1.0;
            let cps = if t < 22.0 {
                50
            } else if t > 112.0 {
                0
            } else {
                16
            };
            let failed = u64::from(in_fault) * 2;
            let mut point = SeriesPoint {
                t,
                calls: Some(up as u64),
                target_calls: Some(up as u64),
                attempts: cps,
                answered: cps - failed.min(cps),
                failed,
                completed: if t > 30.0 { 16 } else { 0 },
                mos: (up > 0.0).then(|| 4.40 - 0.01 * noise.unit()),
                mos_p1: (up > 0.0).then(|| if in_fault { 3.95 } else { 4.38 - 0.02 * noise.unit() }),
                rtp_sent: (up * 100.0) as u64,
                rtp_received: (up * 100.0) as u64,
                rtp_lost: if in_fault { 3 } else { 0 },
                setup_p50_ms: (cps > 0).then(|| noise.tailed(1.1)),
                setup_p99_ms: (cps > 0).then(|| if in_fault { 612.0 } else { noise.tailed(2.6) }),
                delay_p50_ms: (up > 0.0).then(|| noise.tailed(0.45)),
                delay_p99_ms: (up > 0.0).then(|| noise.tailed(1.6)),
                jitter_p99_ms: (up > 0.0).then(|| noise.tailed(0.5)),
                send_error_p99_ms: (up > 0.0).then(|| noise.tailed(0.2)),
                ..SeriesPoint::default()
            };
            if failed > 0 {
                point.causes.insert("503".into(), 1);
                point.causes.insert("timeout".into(), 1);
            }
            for (name, idle, full) in [
                ("gateway", 0.02, 0.43),
                ("callers", 0.02, 0.31),
                ("carrier-a", 0.01, 0.14),
                ("carrier-b", 0.01, 0.17),
            ] {
                let load = if name == "carrier-a" { on_a / 500.0 } else { up / 1000.0 };
                if name != "carrier-a" || !(T0..BACK).contains(&t) {
                    point.cores.insert(name.into(), idle + full * load + 0.02 * noise.unit());
                    point.rss.insert(name.into(), 14_000_000 + (load * 42_000_000.0) as u64);
                    point.fds.insert(name.into(), 24 + (load * 4000.0) as u64);
                }
            }
            point.trunks.insert("carrier-a".into(), on_a as u64);
            point.trunks.insert("carrier-b".into(), (up - on_a).max(0.0) as u64);
            point
        })
        .collect()
}

pub(crate) fn events() -> Vec<Event> {
    use event_kind::*;
    vec![
        Event::new(0.0, STARTED, "run started"),
        Event::new(2.0, PHASE, "ramp").with("phase", "ramp"),
        Event::new(22.0, PHASE, "hold").with("phase", "hold"),
        Event::new(22.31, TARGET_REACHED, "1000 calls up").with("calls", 1000),
        Event::new(T0, CARRIER_KILLED, "carrier-a killed").with("carrier", "carrier-a"),
        Event::new(T0 + 0.004, FIRST_FAILURE, "first harm").with("carrier", "carrier-a"),
        Event::new(T0 + 0.061, BREAKER_OPEN, "breaker open").with("trunk", "carrier-a"),
        Event::new(T0 + 0.118, TAKEOVER, "takeover").with("carrier", "carrier-b"),
        Event::new(T0 + 0.421, RESTORED, "restored").with("calls", 20),
        Event::new(T0 + 20.2, LAST_CALL_ENDED, "last call ended").with("carrier", "carrier-a"),
        Event::new(BACK, CARRIER_RETURNED, "carrier-a back").with("carrier", "carrier-a"),
        Event::new(BACK + 1.9, BREAKER_CLOSED, "breaker closed").with("trunk", "carrier-a"),
        Event::new(END, FINISHED, "run finished"),
    ]
}

pub(crate) fn result() -> RunResult {
    let mut r = RunResult { phases: phases(), ..RunResult::default() };
    describe(&mut r);
    signalling(&mut r);
    media(&mut r);
    resources(&mut r);
    r.capacity = Capacity {
        concurrent_planned: Some(1000),
        concurrent_peak: Some(1003),
        concurrent_sustained: Some(1000),
        hold_s: Some(93.0),
        offered_cps: Some(16.0),
        peak_cps: Some(52.0),
        mean_hold_s: Some(62.5),
        erlangs: Some(1000.0),
        bhca: Some(57_600.0),
        arrivals: Some("constant".into()),
        agreement: (1..=120u32)
            .map(|t| CountAgreement {
                t: t.into(),
                callers: Some(1000),
                target: Some(1000 + u64::from(t % 40 == 0)),
                carriers: Some(1000),
            })
            .collect(),
        steps: vec![],
    };
    r.failover = vec![fault()];
    limits(&mut r);
    r
}

fn phases() -> Vec<Phase> {
    [
        ("warm-up", 0.0, 2.0),
        ("ramp", 2.0, 22.0),
        ("hold", 22.0, T0),
        ("fault", T0, T0 + 22.0),
        ("recovery", T0 + 22.0, 115.0),
        ("drain", 115.0, END),
    ]
    .into_iter()
    .map(|(name, start_s, end_s)| Phase { name: name.into(), start_s, end_s })
    .collect()
}

fn describe(r: &mut RunResult) {
    r.run = Run {
        title: "Drill: 1000 calls with voice through a carrier failure".into(),
        command: "trunkline drill --concurrent 1000 --duration 130 --seed 4711".into(),
        plan: "[load]\nconcurrent = 1000\nrate = 50.0\narrivals = \"constant\"\n\n[media]\ncodec = \"PCMA\"\npacket_ms = 20\n\n[[fault]]\nat = 60.0\nkind = \"carrier-killed\"\ncarrier = \"carrier-a\"\nreturns_after = 32.0\n".into(),
        seed: 4711,
        start_unix: 1_795_246_385.25,
        end_unix: 1_795_246_515.25,
        duration_s: END,
        ended: Ended::Completed,
        abort: None,
        versions: [("trunkline", "0.1.0"), ("rustc", "1.89.0")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        commit: Some("8f0e894c1d2b".into()),
    };
    r.target = Target {
        name: "Trunkline gateway".into(),
        version: Some("0.1.0".into()),
        address: "udp:127.0.0.1:5060".into(),
        configuration: Some("trunkline serve --listen 127.0.0.1:5060 --trunk carrier-a=127.0.0.1:5071 --trunk carrier-b=127.0.0.1:5072".into()),
        relays_media: Some(true),
        codec: Some("G.711 A-law".into()),
        packet_ms: Some(20),
        transport: Some("udp".into()),
        topology: Some("callers → gateway → carrier-a, carrier-b".into()),
    };
    let io = |process: &str, workers| IoInForce {
        process: process.into(),
        mode: "io_uring".into(),
        scheduling: "realtime".into(),
        note: "probe: multishot receive and buffer rings work".into(),
        workers: Some(workers),
    };
    let pairs =
        |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    r.environment = Environment {
        host: Some("bench-2".into()),
        os: Some("Debian GNU/Linux 12 (bookworm)".into()),
        kernel: Some("6.18.2-amd64".into()),
        cpu: Some("AMD EPYC 9B14".into()),
        cores: Some(2),
        memory_bytes: Some(8 << 30),
        virtual_machine: Some("kvm".into()),
        container: Some("none".into()),
        governor: None,
        steal: Some(0.0012),
        placement: Some("one host, loopback".into()),
        io: vec![io("gateway", 1), io("callers", 1), io("carrier-a", 1), io("carrier-b", 1)],
        sysctls: pairs(&[
            ("net.core.rmem_max", "212992"),
            ("net.core.netdev_max_backlog", "1000"),
            ("net.ipv4.ip_local_port_range", "32768 60999"),
        ]),
        limits: pairs(&[("nofile", "20000"), ("memlock", "8388608")]),
        tuning: Some("media-gateway: 4 of 14 knobs off".into()),
        notes: pairs(&[]),
    };
}

fn signalling(r: &mut RunResult) {
    let mut noise = Noise(11);
    let s = &mut r.signalling;
    s.invites = 2442;
    s.finals = [("200", 2440), ("503", 1), ("timeout", 1)].map(|(k, n)| (k.to_owned(), n)).into();
    s.answered = 2440;
    s.completed = 1938;
    s.failed_outside_fault = 0;
    s.failed_in_fault = 2;
    s.retransmissions = Some(3);
    s.timer_b = Some(1);
    s.timer_f = Some(0);
    s.timer_h = Some(0);
    s.unexpected = Some(0);
    s.delays.srd = histogram(&mut noise, 2440, 0.7);
    s.delays.pdd = s.delays.srd.clone();
    s.delays.setup = histogram(&mut noise, 2436, 1.1);
    (0..4).for_each(|i| s.delays.setup.record(600_000_000 + i * 3_000_000));
    s.delays.added = histogram(&mut noise, 2440, 0.21);
    s.delays.sdd = histogram(&mut noise, 1938, 0.5);
    s.delays.sdt.record_many(60_000_000_000, 1938);
    s.trunks = [("carrier-a", 1221, 1203, 1201, 500), ("carrier-b", 1239, 1239, 1239, 1000)]
        .into_iter()
        .map(|(name, bids, seizures, answered, peak)| Trunk {
            name: name.into(),
            bids,
            seizures,
            answered,
            talk_s: answered as f64 * 55.0,
            max_calls: Some(1100),
            peak_calls: Some(peak),
            calls_at_end: Some(0),
            ..Trunk::default()
        })
        .collect();
}

fn media(r: &mut RunResult) {
    let mut noise = Noise(13);
    let mut direction = |name: &str, middle| Direction {
        name: name.into(),
        streams: 2440,
        sent: 5_310_422,
        received: 5_300_210,
        lost: 12,
        unreadable: Some(0),
        lost_to_fault: 10_200,
        delay: histogram(&mut noise, 200_000, middle),
        jitter: histogram(&mut noise, 2440, 0.2),
        gap: histogram(&mut noise, 2440, 1.1),
        ..Direction::default()
    };
    r.media.directions = vec![direction("caller-to-callee", 0.46), direction("callee-to-caller", 0.49)];
    r.media.added_delay = histogram(&mut noise, 200_000, 0.41);
    r.media.bare_delay_ns = Some(61_000);
    r.media.mos = Histogram::new(Unit::MilliMos);
    r.media.mos.record_many(4406, 2400);
    r.media.mos.record_many(4380, 38);
    r.media.mos.record_many(4180, 2);
    r.media.call_loss = Histogram::new(Unit::PartsPerMillion);
    r.media.first_audio = histogram(&mut noise, 4880, 11.0);
    r.media.calls = 2440;
    r.media.one_way_audio = Some(0);
    r.media.no_audio = Some(0);
    r.media.cross_talk_calls = Some(0);
    r.media.clock_error_ns = Some(0);
    r.media.model = Some("G.711 with PLC: Ie 0, Bpl 25.1".into());
    r.media.waterfall = [
        ("caller-to-callee: sent", Some(5_310_422)),
        ("caller-to-callee: sent to the living", Some(5_300_222)),
        ("caller-to-callee: heard", Some(5_300_210)),
        ("callee-to-caller: sent", Some(5_310_422)),
        ("callee-to-caller: heard", None),
    ]
    .into_iter()
    .map(|(name, packets)| Stage { name: name.into(), packets })
    .collect();
}

fn resources(r: &mut RunResult) {
    let process = |name: &str, role: &str, user, system| Process {
        name: name.into(),
        role: role.into(),
        pid: Some(4242),
        seconds: END,
        cpu_user_s: Some(user),
        cpu_system_s: Some(system),
        cpu_peak_cores: Some((user + system) / END * 1.2),
        rss_start: Some(14 << 20),
        rss_peak: Some(56 << 20),
        rss_end: Some(31 << 20),
        fds_peak: Some(4031),
        fds_end: Some(4031),
        threads: Some(3),
        switches_voluntary: Some(120_000),
        switches_involuntary: Some(900),
    };
    r.resources.processes = vec![
        process("gateway", "target", 11.2, 40.3),
        process("callers", "generator", 9.1, 28.2),
        process("carrier-a", "generator", 2.3, 9.8),
        process("carrier-b", "generator", 4.9, 16.0),
    ];
    r.resources.cost = Cost {
        cores_per_1000_calls: Some(0.41),
        cpu_s_per_1000_setups: Some(0.094),
        memory_per_call: Some(43_000.0),
        fds_per_call: Some(4.0),
        packets_per_cpu_s: Some(251_000.0),
        method: Some("slope over the ramp".into()),
    };
}

fn fault() -> Fault {
    let mut noise = Noise(17);
    Fault {
        kind: "carrier-killed".into(),
        target: "carrier-a".into(),
        t0_s: T0,
        t0_error_ms: Some(0.3),
        moments: Moments {
            first_failure_s: Some(0.004),
            detected_s: Some(0.061),
            takeover_s: Some(0.118),
            restored_s: Some(0.421),
            last_call_ended_s: Some(20.2),
        },
        calls: vec![
            CallsAtFault {
                state: "established".into(),
                bound: 499,
                kept: 0,
                ended_with_cause: 499,
                stuck: 0,
                others: 500,
                others_harmed: 0,
            },
            CallsAtFault {
                state: "early".into(),
                bound: 2,
                kept: 0,
                ended_with_cause: 2,
                stuck: 0,
                others: 1,
                others_harmed: 0,
            },
        ],
        window: FaultWindow {
            start_s: T0,
            end_s: T0 + 22.0,
            attempts: 352,
            answered: 350,
            failed: 2,
            setup: histogram(&mut noise, 350, 1.2),
        },
        signalling_outage_s: Some(0.118),
        media_gap: Histogram::default(),
        cdr_causes: [("media-timeout".to_owned(), 499), ("503".to_owned(), 2)].into(),
        cdrs_expected: Some(501),
        cdrs_missing: Some(0),
        media_timeout_s: Some(20.0),
        zombie_legs: Some(0),
        phantom_billed_s: Some(0.0),
        cap_counter_error: Some(0),
        fail_back: Some(FailBack {
            returned_s: BACK,
            detected_s: Some(1.9),
            first_call_s: Some(2.1),
            failed: Some(0),
        }),
        trials: Some(1),
    }
}

fn limits(r: &mut RunResult) {
    use Comparison::*;
    const PLAN: &str = "plan";
    r.limits = vec![
        on("calls-concurrent", AtLeast, 1000.0, PLAN),
        on("calls-failed-outside-fault", Equal, 0.0, PLAN),
        on("packet-loss", Below, 0.01, PLAN),
        on("added-delay-p99", Below, 5.0, PLAN),
        on("mos-p1", AtLeast, 4.3, PLAN),
        on("one-way-audio", Equal, 0.0, PLAN),
        on("no-audio", Equal, 0.0, PLAN),
        on("cross-talk", Equal, 0.0, PLAN),
        on("fault-new-calls-failed", AtMost, 2.0, PLAN),
        on("fault-restored", Below, 2.0, PLAN),
        on("fault-last-call-ended", AtMost, 22.0, PLAN),
        on("fault-others-harmed", Equal, 0.0, PLAN),
        on("cdrs-missing", Equal, 0.0, PLAN),
        on("cap-counter-error", Equal, 0.0, PLAN),
        Limit::new("rrd-p99", "Registration delay, 99th percentile", AtMost, 500.0, "ms", PLAN).optional(),
    ];
    let own = |id: &str, name: &str, comparison, limit, unit: &str, measured| {
        Limit::new(id, name, comparison, limit, unit, "RFC 7502").measured(Some(measured))
    };
    r.validity = vec![
        on("count-agreement", AtMost, 2.0, "method"),
        own("send-error-p999", "send-time error", Below, 2.0, "ms", 0.61),
        own("generator-cpu", "generator CPU", Below, 70.0, "%", 48.2),
        own("socket-drops", "socket drops", Equal, 0.0, "packets", 0.0),
        own("port-headroom", "ports", AtLeast, 100.0, "ports", 1450.0),
        own("limiter-hits", "limiter hits", Equal, 0.0, "events", 0.0),
    ];
}
