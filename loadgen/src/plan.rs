//! Plans: what a run shall do, as data. A plan that was read is a plan that can be run.

use crate::arrival::{Spacing, Stretch, towards};
use crate::hold::HoldLaw;
use crate::number::NumberPattern;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use serde::Deserialize;

/// A whole run, as read from `plans/*.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Short name, for folders and headings.
    pub name: String,
    /// One sentence for the report's head.
    #[serde(default)]
    pub title: String,
    /// Every draw of the run follows from it.
    #[serde(default = "one")]
    pub seed: u64,
    /// Whom to call.
    pub target: Target,
    /// Carriers to answer in this process; leave out to load a system that has its own.
    #[serde(default, rename = "carrier")]
    pub carriers: Vec<Carrier>,
    /// When calls are due.
    pub arrival: Arrival,
    /// How long they last.
    #[serde(default)]
    pub hold: Hold,
    /// Voice.
    #[serde(default)]
    pub media: Media,
    /// What is left out of the judgement, and how long the end may take.
    #[serde(default)]
    pub phases: Phases,
    /// What the target must keep.
    #[serde(default)]
    pub limits: Limits,
    /// What the generator itself must keep for the run to count.
    #[serde(default)]
    pub validity: Validity,
}

/// Whom to call, and from where.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Request-URI with an IP address: `sip:+4930{00000-99999}@192.0.2.1:5060;transport=udp`.
    pub to: Callee,
    /// Our SIP address; port 0 takes any. Its address also carries the media.
    #[serde(default)]
    pub from: Option<SocketAddr>,
    /// User part of the From header, with a range if each call shall have its own.
    #[serde(default = "Caller::load")]
    pub caller: Caller,
    /// Threads that call, each with a SIP socket of its own.
    #[serde(default = "one_thread")]
    pub threads: Threads,
    /// Whether callees may hang up by themselves; otherwise that is a failed call.
    #[serde(default)]
    pub callee_may_hang_up: bool,
    /// Seconds without any answer after which a call has failed.
    #[serde(default = "Seconds::of_32")]
    pub no_response_seconds: Seconds,
    /// Seconds without a final answer after which a call is cancelled and has failed.
    #[serde(default = "Seconds::of_60")]
    pub no_answer_seconds: Seconds,
}

/// A carrier of this process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carrier {
    /// Name in reports.
    pub name: String,
    /// Where it listens, UDP and TCP.
    pub listen: SocketAddr,
    /// Seconds between 180 and 200.
    #[serde(default)]
    pub ring_seconds: Seconds,
    /// Refuse every call with this status instead.
    #[serde(default)]
    pub status: Option<Status>,
    /// Take everything and answer nothing, as a dead host does.
    #[serde(default)]
    pub silent: bool,
    /// Seconds by which each answer is late.
    #[serde(default)]
    pub slow_seconds: Seconds,
    /// Ring with 183 and voice instead of 180.
    #[serde(default)]
    pub early_media: bool,
    /// Hang up this many seconds after the answer.
    #[serde(default)]
    pub bye_seconds: Option<Seconds>,
    /// Offer anew this many seconds after the answer.
    #[serde(default)]
    pub reinvite_seconds: Option<Seconds>,
}

/// When calls are due.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "ArrivalText")]
pub enum Arrival {
    /// Calls at one rate.
    Rate {
        /// Evenly or Poisson: the plan's law `constant` or `poisson`.
        spacing: Spacing,
        /// Calls per second, in the mean.
        rate: Rate,
        /// For so long.
        seconds: Seconds,
        /// End after so many calls.
        calls: Option<Count>,
    },
    /// Rates that change step by step: the law `stairs`.
    Stairs {
        /// Evenly or Poisson, within a step.
        spacing: Spacing,
        /// The steps, in order; at least one.
        steps: Vec<Step>,
    },
    /// A ramp to a number of calls up at once, then the rate that sustains it (calls / mean hold): the law `concurrent`.
    Concurrent {
        /// Calls up at once.
        calls: Count,
        /// The ramp's length; no call ends while it lasts.
        ramp_seconds: Seconds,
        /// The plateau's length.
        seconds: Seconds,
        /// Evenly or Poisson.
        spacing: Spacing,
    },
}

/// `[arrival]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrivalText {
    law: ArrivalLaw,
    rate: Option<Rate>,
    seconds: Option<Seconds>,
    calls: Option<Count>,
    ramp_seconds: Option<Seconds>,
    spacing: Option<SpacingName>,
    #[serde(default, rename = "step")]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum ArrivalLaw {
    Constant,
    Poisson,
    Stairs,
    Concurrent,
}

impl TryFrom<ArrivalText> for Arrival {
    type Error = &'static str;
    fn try_from(text: ArrivalText) -> Result<Self, Self::Error> {
        let spacing = text.spacing.unwrap_or_default().spacing();
        let one_rate = |spacing| {
            let rate = text.rate.ok_or("this law needs `rate`, in calls per second")?;
            let seconds = text.seconds.ok_or("this law needs `seconds`, the length of the load")?;
            if text.ramp_seconds.is_some() || text.spacing.is_some() || !text.steps.is_empty() {
                return Err("`ramp_seconds`, `spacing` and [[arrival.step]] do not belong to this law");
            }
            Ok(Self::Rate { spacing, rate, seconds, calls: text.calls })
        };
        match text.law {
            ArrivalLaw::Constant => one_rate(Spacing::Constant),
            ArrivalLaw::Poisson => one_rate(Spacing::Poisson),
            ArrivalLaw::Stairs => {
                if text.steps.is_empty() {
                    return Err(
                        "law \"stairs\" needs at least one [[arrival.step]] with `rate` and `seconds`",
                    );
                }
                if text.rate.is_some()
                    || text.seconds.is_some()
                    || text.calls.is_some()
                    || text.ramp_seconds.is_some()
                {
                    return Err("law \"stairs\" takes its rates and seconds from [[arrival.step]] alone");
                }
                Ok(Self::Stairs { spacing, steps: text.steps })
            }
            ArrivalLaw::Concurrent => {
                if text.rate.is_some() || !text.steps.is_empty() {
                    return Err(
                        "law \"concurrent\" derives its rate from `calls` and [hold]: leave `rate` and steps out",
                    );
                }
                Ok(Self::Concurrent {
                    calls: text.calls.ok_or("law \"concurrent\" needs `calls`, the calls up at once")?,
                    ramp_seconds: text.ramp_seconds.ok_or("law \"concurrent\" needs `ramp_seconds`")?,
                    seconds: text
                        .seconds
                        .ok_or("law \"concurrent\" needs `seconds`, the plateau's length")?,
                    spacing,
                })
            }
        }
    }
}

/// One step of the stairs.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Calls per second.
    pub rate: Rate,
    /// For so long.
    pub seconds: Seconds,
}

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum SpacingName {
    /// Evenly.
    #[default]
    Constant,
    /// As a Poisson process.
    Poisson,
}

/// How long calls last.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "HoldText")]
pub struct Hold(pub HoldLaw);

/// `[hold]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldText {
    law: HoldName,
    seconds: Option<Seconds>,
    mean_seconds: Option<Seconds>,
    from_seconds: Option<Seconds>,
    to_seconds: Option<Seconds>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HoldName {
    Fixed,
    Exponential,
    Uniform,
}

impl TryFrom<HoldText> for Hold {
    type Error = &'static str;
    fn try_from(text: HoldText) -> Result<Self, Self::Error> {
        let law = match (text.law, text.seconds, text.mean_seconds, text.from_seconds, text.to_seconds) {
            (HoldName::Fixed, Some(seconds), None, None, None) => HoldLaw::Fixed(seconds.0),
            (HoldName::Exponential, None, Some(mean), None, None) => HoldLaw::Exponential(mean.0),
            (HoldName::Uniform, None, None, Some(from), Some(to)) if from <= to => {
                HoldLaw::Uniform(from.0, to.0)
            }
            (HoldName::Fixed, ..) => return Err("law \"fixed\" needs `seconds` and nothing else"),
            (HoldName::Exponential, ..) => {
                return Err("law \"exponential\" needs `mean_seconds` and nothing else");
            }
            (HoldName::Uniform, ..) => {
                return Err(
                    "law \"uniform\" needs `from_seconds` and `to_seconds`, the smaller first, and nothing else",
                );
            }
        };
        Ok(Self(law))
    }
}

impl Default for Hold {
    fn default() -> Self {
        Self(HoldLaw::Fixed(Duration::from_secs(30)))
    }
}

/// Voice.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Send and check RTP in both directions.
    #[serde(default = "yes")]
    pub rtp: bool,
    /// What is offered and answered.
    #[serde(default)]
    pub codec: Codec,
    /// Milliseconds of voice in a packet.
    #[serde(default)]
    pub ptime_ms: Ptime,
    /// First and last UDP port for RTP; even ones are used.
    #[serde(default)]
    pub ports: PortRange,
}

impl Default for Media {
    fn default() -> Self {
        Self { rtp: true, codec: Codec::default(), ptime_ms: Ptime::default(), ports: PortRange::default() }
    }
}

/// G.711, in its two laws.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Codec {
    /// A-law, payload type 8.
    #[default]
    #[serde(rename = "PCMA")]
    Pcma,
    /// µ-law, payload type 0.
    #[serde(rename = "PCMU")]
    Pcmu,
}

impl Codec {
    /// RTP payload type, RFC 3551 §6.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
        }
    }

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
        }
    }
}

/// What is left out of the judgement, and how long the end may take.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// Calls due in these first seconds are shown but not judged.
    #[serde(default)]
    pub warm_up_seconds: Seconds,
    /// After the last arrival, calls in progress get this long to end by themselves before they are hung up;
    /// without it they end as their hold says.
    #[serde(default)]
    pub drain_seconds: Option<Seconds>,
}

/// What the target must keep; a limit left out is not judged.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Calls that failed, at most.
    #[serde(default)]
    pub failed_calls: u64,
    /// Packets lost, in percent of those expected, at most.
    #[serde(default = "Percent::hundredth")]
    pub loss_percent: Percent,
    /// 99th percentile of the one-way delay, at most.
    #[serde(default)]
    pub delay_p99_ms: Option<f64>,
    /// 99th percentile of the time from the due instant to the 200, ring time included, at most.
    #[serde(default)]
    pub setup_p99_ms: Option<f64>,
    /// A call counts as good from this MOS on (the worse of its two directions).
    #[serde(default = "mos_good")]
    pub mos: f64,
    /// Good calls, in percent of those with voice, at least.
    #[serde(default = "Percent::ninety_nine")]
    pub mos_share_percent: Percent,
    /// Packets of another call heard, at most.
    #[serde(default)]
    pub crosstalk_packets: u64,
    /// Calls with a direction in which nothing was heard, at most.
    #[serde(default)]
    pub one_way_calls: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failed_calls: 0,
            loss_percent: Percent(0.01),
            delay_p99_ms: None,
            setup_p99_ms: None,
            mos: mos_good(),
            mos_share_percent: Percent(99.0),
            crosstalk_packets: 0,
            one_way_calls: 0,
        }
    }
}

/// What the generator itself must keep for the run to count; else the verdict is INVALID.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validity {
    /// 99.9th percentile of actual minus intended instant of sending a packet, at most.
    #[serde(default = "send_error")]
    pub send_error_p999_ms: f64,
    /// 99th percentile of actual minus due instant of placing a call, at most.
    #[serde(default = "start_error")]
    pub start_error_p99_ms: f64,
    /// Busiest thread of the generator, in percent of a core over the run, at most.
    #[serde(default = "Percent::eighty_five")]
    pub thread_percent: Percent,
    /// Datagrams dropped by receive buffers of this host during the run, at most.
    #[serde(default)]
    pub socket_drops: u64,
}

impl Default for Validity {
    fn default() -> Self {
        Self {
            send_error_p999_ms: send_error(),
            start_error_p99_ms: start_error(),
            thread_percent: Percent::eighty_five(),
            socket_drops: 0,
        }
    }
}

const fn one() -> u64 {
    1
}
const fn one_thread() -> Threads {
    Threads(1)
}
const fn yes() -> bool {
    true
}
const fn mos_good() -> f64 {
    4.3
}
/// Half a packet time: a host that shares its cores need not be a quiet one for voice to be judged. Plans that
/// compare figures below it ask for less.
const fn send_error() -> f64 {
    10.0
}
/// Delays count from the due instant anyway; beyond this the arrivals are not those that were planned.
const fn start_error() -> f64 {
    50.0
}

/// A span of time, written as a number of seconds (0 to ten days).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl TryFrom<f64> for Seconds {
    type Error = &'static str;
    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        if !(0.0..=864_000.0).contains(&seconds) {
            return Err("a span of time is a number of seconds from 0 to 864000");
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl Seconds {
    const fn of_32() -> Self {
        Self(Duration::from_secs(32))
    }
    const fn of_60() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// Calls per second, above 0 and at most 100 000.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Rate(pub f64);

impl TryFrom<f64> for Rate {
    type Error = &'static str;
    fn try_from(rate: f64) -> Result<Self, Self::Error> {
        if rate > 0.0 && rate <= 100_000.0 {
            Ok(Self(rate))
        } else {
            Err("a rate is a number of calls per second above 0, at most 100000")
        }
    }
}

/// A number of calls, 1 to 1 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub struct Count(pub u32);

impl TryFrom<u32> for Count {
    type Error = &'static str;
    fn try_from(count: u32) -> Result<Self, Self::Error> {
        if (1..=1_000_000).contains(&count) {
            Ok(Self(count))
        } else {
            Err("a number of calls is 1 to 1000000")
        }
    }
}

/// A number of threads, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Threads(pub u16);

impl TryFrom<u16> for Threads {
    type Error = &'static str;
    fn try_from(count: u16) -> Result<Self, Self::Error> {
        if (1..=64).contains(&count) { Ok(Self(count)) } else { Err("a number of threads is 1 to 64") }
    }
}

/// A SIP status that refuses: 300 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Status(pub u16);

impl TryFrom<u16> for Status {
    type Error = &'static str;
    fn try_from(status: u16) -> Result<Self, Self::Error> {
        if (300..700).contains(&status) {
            Ok(Self(status))
        } else {
            Err("a status that refuses a call is 300 to 699")
        }
    }
}

/// 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Percent(pub f64);

impl TryFrom<f64> for Percent {
    type Error = &'static str;
    fn try_from(percent: f64) -> Result<Self, Self::Error> {
        if (0.0..=100.0).contains(&percent) { Ok(Self(percent)) } else { Err("a percentage is 0 to 100") }
    }
}

impl Percent {
    const fn hundredth() -> Self {
        Self(0.01)
    }
    const fn ninety_nine() -> Self {
        Self(99.0)
    }
    const fn eighty_five() -> Self {
        Self(85.0)
    }
}

/// Milliseconds of voice in a packet: 10, 20, 30, 40 or 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct Ptime(pub u16);

impl Default for Ptime {
    fn default() -> Self {
        Self(20)
    }
}

impl TryFrom<u16> for Ptime {
    type Error = &'static str;
    fn try_from(ms: u16) -> Result<Self, Self::Error> {
        if [10, 20, 30, 40, 60].contains(&ms) {
            Ok(Self(ms))
        } else {
            Err("ptime_ms is 10, 20, 30, 40 or 60")
        }
    }
}

/// UDP ports for RTP, written "LOW-HIGH".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    /// First.
    pub low: u16,
    /// Last.
    pub high: u16,
}

impl Default for PortRange {
    /// Away from the gateway's usual range and from well-known services; single ports that somebody else holds
    /// are stepped over.
    fn default() -> Self {
        Self { low: 34_000, high: 60_999 }
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl PortRange {
    /// Reads "LOW-HIGH".
    pub fn parse(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').map(|(low, high)| (low.trim().parse(), high.trim().parse()));
        match ends {
            Some((Ok(low), Ok(high))) if low >= 1024 && low < high => Ok(Self { low, high }),
            _ => Err(format!(
                "\"{text}\": a range of ports is written LOW-HIGH, from 1024 on, like 20000-29999"
            )),
        }
    }

    /// Even ports in it: calls it has room for.
    pub const fn pairs(self) -> u32 {
        (self.high as u32 - self.low as u32).div_ceil(2)
    }
}

/// Which transport carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SipTransport {
    /// UDP, the default.
    Udp,
    /// TCP: `;transport=tcp`.
    Tcp,
}

/// Whom to call: `sip:NUMBER@ADDR:PORT`, the number possibly a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Callee {
    /// The user part.
    pub number: NumberPattern,
    /// Where the INVITE goes.
    pub address: SocketAddr,
    /// Over what.
    pub transport: SipTransport,
}

impl TryFrom<String> for Callee {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl Callee {
    /// Reads a SIP URI with an IP address for its host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = "whom to call is written sip:NUMBER@ADDR:PORT, like sip:+49301234567@127.0.0.1:5060";
        let wrong = |what: &str| format!("\"{text}\": {what}; {form}");
        let rest = text.strip_prefix("sip:").ok_or_else(|| wrong("does not begin with sip:"))?;
        let (number, rest) = rest.rsplit_once('@').ok_or_else(|| wrong("has no @"))?;
        let (host, parameters) = rest.split_once(';').unwrap_or((rest, ""));
        let transport = match parameters {
            "" => SipTransport::Udp,
            p if p.eq_ignore_ascii_case("transport=udp") => SipTransport::Udp,
            p if p.eq_ignore_ascii_case("transport=tcp") => SipTransport::Tcp,
            _ => return Err(wrong("only ;transport=udp and ;transport=tcp are known")),
        };
        let address = host
            .parse::<SocketAddr>()
            .or_else(|_| host.trim_matches(['[', ']']).parse().map(|ip| SocketAddr::new(ip, 5060)))
            .map_err(|_| wrong("has no IP address behind the @ (names are not looked up)"))?;
        let number = NumberPattern::parse(number).map_err(|error| error.to_string())?;
        Ok(Self { number, address, transport })
    }
}

/// A user part for the From header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Caller(pub NumberPattern);

impl TryFrom<String> for Caller {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        NumberPattern::parse(&text).map(Self).map_err(|error| error.to_string())
    }
}

impl Caller {
    /// The caller when none is named.
    pub fn load() -> Self {
        // "load" is a plain user part; an empty pattern is the only thing the parser could fall back to.
        NumberPattern::parse("load").map_or_else(|_| Self(NumberPattern::empty()), Self)
    }
}

/// Why a plan cannot be run: the file, the key where known, and the cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    file: String,
    message: String,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan {}: {}", self.file, self.message.trim_end())
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// Reads the text of the plan file `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlanError> {
        let wrong = |message: String| PlanError { file: file.to_owned(), message };
        let plan: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if plan.hold.0.mean().is_zero() && matches!(plan.arrival, Arrival::Concurrent { .. }) {
            return Err(wrong(
                "[hold] is 0 s, so no number of calls can be up at once: set hold.seconds".to_owned(),
            ));
        }
        Ok(plan)
    }
}

impl SpacingName {
    const fn spacing(self) -> Spacing {
        match self {
            Self::Constant => Spacing::Constant,
            Self::Poisson => Spacing::Poisson,
        }
    }
}

impl Arrival {
    /// The schedule's stretches, its spacing, and after how many calls it ends.
    pub fn stretches(&self, hold: &HoldLaw) -> (Vec<Stretch>, Spacing, u64) {
        match self {
            Self::Rate { spacing, rate, seconds, calls } => {
                let calls = calls.map_or(u64::MAX, |count| u64::from(count.0));
                (vec![Stretch::steady(seconds.0, rate.0)], *spacing, calls)
            }
            Self::Stairs { spacing, steps } => {
                let stretches =
                    steps.iter().map(|step| Stretch::steady(step.seconds.0, step.rate.0)).collect();
                (stretches, *spacing, u64::MAX)
            }
            Self::Concurrent { calls, ramp_seconds, seconds, spacing } => {
                (towards(calls.0, ramp_seconds.0, seconds.0, hold), *spacing, u64::MAX)
            }
        }
    }

    /// Its name in reports: the plan's word.
    pub fn law(&self) -> &'static str {
        match self {
            Self::Rate { spacing: Spacing::Constant, .. } => "constant",
            Self::Rate { spacing: Spacing::Poisson, .. } => "poisson",
            Self::Stairs { .. } => "stairs",
            Self::Concurrent { .. } => "concurrent",
        }
    }

    /// Calls expected up at once at most, for the sizes of tables and pools.
    pub fn concurrent(&self, hold: &HoldLaw) -> u32 {
        let hold = hold.mean().as_secs_f64() + 1.0;
        let peak = match self {
            Self::Rate { rate, .. } => rate.0 * hold,
            Self::Stairs { steps, .. } => steps.iter().map(|step| step.rate.0).fold(0.0, f64::max) * hold,
            Self::Concurrent { calls, .. } => f64::from(calls.0),
        };
        let limit = match self {
            Self::Rate { calls: Some(calls), .. } => f64::from(calls.0),
            _ => f64::INFINITY,
        };
        peak.min(limit).clamp(1.0, 1_000_000.0) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        name = "x"
        [target]
        to = "sip:1@127.0.0.1:5060"
        [arrival]
        law = "poisson"
        rate = 10
        seconds = 5
    "#;

    #[test]
    fn every_plan_of_the_repository_parses() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let plan = Plan::parse(&path.display().to_string(), &text).unwrap();
            assert_eq!(Some(plan.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
            let arrival = plan.arrival.stretches(&plan.hold.0);
            assert!(!arrival.0.is_empty());
            names.push(plan.name);
        }
        names.sort();
        assert_eq!(names, ["smoke", "stairs", "thousand"]);
    }

    #[test]
    fn the_least_plan_has_documented_defaults() {
        let plan = Plan::parse("x.toml", LEAST).unwrap();
        assert_eq!(plan.seed, 1);
        assert!(plan.media.rtp && plan.media.ptime_ms == Ptime(20) && plan.media.codec == Codec::Pcma);
        assert_eq!(plan.hold.0, HoldLaw::Fixed(Duration::from_secs(30)));
        assert_eq!(plan.arrival.concurrent(&plan.hold.0), 310);
    }

    #[test]
    fn an_error_names_the_file_the_key_and_the_cure() {
        let cases = [
            ("name = \"x\"", "nmae = \"x\"", &["nmae", "unknown field", "expected"][..]),
            ("rate = 10", "", &["needs `rate`"]),
            ("rate = 10", "rate = 0", &["calls per second above 0"]),
            ("rate = 10", "rate = \"ten\"", &["rate"]),
            ("rate = 10", "speed = 10", &["speed"]),
            ("seconds = 5", "seconds = -5", &["seconds from 0"]),
            (
                "sip:1@127.0.0.1:5060",
                "sip:1@example.org",
                &["names are not looked up", "sip:NUMBER@ADDR:PORT"],
            ),
            ("law = \"poisson\"", "law = \"posson\"", &["posson", "poisson"]),
        ];
        for (good, bad, expected) in cases {
            let error = Plan::parse("my/plan.toml", &LEAST.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains("my/plan.toml"), "{error}");
            for part in expected {
                assert!(error.contains(part), "{bad}: {error}");
            }
        }
    }

    #[test]
    fn callees_are_addresses_with_a_transport() {
        let callee = Callee::parse("sip:4930{00-99}@[::1]:5080;transport=tcp").unwrap();
        assert_eq!(callee.transport, SipTransport::Tcp);
        assert_eq!(callee.address, "[::1]:5080".parse().unwrap());
        assert_eq!(Callee::parse("sip:1@10.0.0.1").unwrap().address, "10.0.0.1:5060".parse().unwrap());
        assert_eq!(Callee::parse("sip:1@[::1]").unwrap().address, "[::1]:5060".parse().unwrap());
        for bad in ["1@127.0.0.1", "sip:127.0.0.1", "sip:1@x:5060", "sip:1@127.0.0.1;transport=tls"] {
            assert!(Callee::parse(bad).is_err(), "{bad}");
        }
    }
}
