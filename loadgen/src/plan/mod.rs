//! Plans: what a run shall do, as data. A plan that was read is a plan that can be run.

mod value;

pub use value::{
    Callee, Caller, Count, Percent, PortRange, Ptime, Rate, Seconds, SipTransport, Status, Threads,
};

use crate::arrival::{Spacing, Stretch, towards};
use crate::callee::Behaviour;
use crate::hold::HoldLaw;
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
    /// What carriers are told while the run goes on.
    #[serde(default, rename = "act")]
    pub acts: Vec<Act>,
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

impl Carrier {
    /// How it behaves until it is told otherwise.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour {
            ring: self.ring_seconds.0,
            status: self.status.map(|status| status.0),
            silent: self.silent,
            slow: self.slow_seconds.0,
            early_media: self.early_media,
            bye_after: self.bye_seconds.map(|seconds| seconds.0),
            reinvite_after: self.reinvite_seconds.map(|seconds| seconds.0),
        }
    }
}

/// Something a carrier of this process is told at an instant of the run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Seconds after the start.
    pub at_seconds: Seconds,
    /// The carrier's name.
    pub carrier: String,
    /// What it does from then on.
    pub does: Does,
    /// For `refuse`: the status (503 if left out).
    #[serde(default)]
    pub status: Option<Status>,
    /// For `slow`: by how much each answer is late (1 s if left out).
    #[serde(default)]
    pub seconds: Option<Seconds>,
}

/// What a carrier may be told.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Does {
    /// As the plan first said.
    Answer,
    /// Refuse every call.
    Refuse,
    /// Swallow everything.
    Silent,
    /// Answer late.
    Slow,
    /// Be gone, without a word; for the rest of the run.
    Die,
}

impl Act {
    /// What to tell the carrier that first behaved as `first`; `None`: to die.
    pub fn behaviour(&self, first: Behaviour) -> Option<Behaviour> {
        match self.does {
            Does::Answer => Some(first),
            Does::Refuse => {
                Some(Behaviour { status: Some(self.status.map_or(503, |status| status.0)), ..first })
            }
            Does::Silent => Some(Behaviour { silent: true, ..first }),
            Does::Slow => {
                let slow = self.seconds.map_or(Duration::from_secs(1), |seconds| seconds.0);
                Some(Behaviour { slow, ..first })
            }
            Does::Die => None,
        }
    }
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
    /// What carriers of this process take and answer, if it is another: what is between has to translate.
    #[serde(default)]
    pub carrier_codec: Option<Codec>,
    /// Milliseconds of voice in a packet.
    #[serde(default)]
    pub ptime_ms: Ptime,
    /// First and last UDP port for RTP; even ones are used.
    #[serde(default)]
    pub ports: PortRange,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            rtp: true,
            codec: Codec::default(),
            carrier_codec: None,
            ptime_ms: Ptime::default(),
            ports: PortRange::default(),
        }
    }
}

/// How packets say whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// In the bytes of their payload.
    Bytes,
    /// In levels, which both laws of G.711 keep apart.
    Levels,
    /// In tones, over many packets.
    Signs,
}

impl Media {
    /// The same as carriers see it: their codec, and the callers' as the other one.
    pub fn of_carriers(self) -> Self {
        let codec = self.carrier_codec.unwrap_or(self.codec);
        Self { codec, carrier_codec: Some(self.codec), ..self }
    }

    /// Whether callers and carriers speak different codecs.
    pub fn is_translated(&self) -> bool {
        self.carrier_codec.is_some_and(|codec| codec != self.codec)
    }

    /// How packets say whose they are, so that it gets through.
    pub(crate) fn marks(&self) -> Marks {
        match self.carrier_codec {
            Some(Codec::Opus) => Marks::Signs,
            _ if self.codec == Codec::Opus => Marks::Signs,
            _ if self.is_translated() => Marks::Levels,
            _ => Marks::Bytes,
        }
    }
}

/// What is spoken: G.711 in its two laws, or Opus.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Codec {
    /// A-law, payload type 8.
    #[default]
    #[serde(rename = "PCMA")]
    Pcma,
    /// µ-law, payload type 0.
    #[serde(rename = "PCMU")]
    Pcmu,
    /// Opus at 24 kbit/s (RFC 7587).
    #[serde(rename = "opus")]
    Opus,
}

impl Codec {
    /// RTP payload type, RFC 3551 §6; the one that we offer where none is assigned.
    pub const fn payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
            Self::Opus => 111,
        }
    }

    /// Its encoding in SDP, behind its name: clock rate and channels (RFC 3551 §6, RFC 7587 §7).
    pub const fn clock(self) -> &'static str {
        match self {
            Self::Pcma | Self::Pcmu => "8000",
            Self::Opus => "48000/2",
        }
    }

    /// Its name in SDP.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::Opus => "opus",
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
/// Beyond this the arrivals are not those that were planned. The slots that calls share are a millisecond long.
const fn start_error() -> f64 {
    20.0
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
        let samples = usize::from(plan.media.ptime_ms.0) * 8;
        if plan.media.marks() == Marks::Signs && samples != crate::sign::SAMPLES {
            return Err(wrong(String::from(
                "[media] ptime_ms: with codec or carrier_codec opus it has to be 20",
            )));
        }
        if plan.media.is_translated() && samples < crate::mark::LEVEL_SAMPLES {
            return Err(wrong(String::from(
                "[media] ptime_ms: marks that are translated (carrier_codec) take 12 ms; give 20, or one codec to both sides",
            )));
        }
        if plan.hold.0.mean().is_zero() && matches!(plan.arrival, Arrival::Concurrent { .. }) {
            return Err(wrong(
                "[hold] is 0 s, so no number of calls can be up at once: set hold.seconds".to_owned(),
            ));
        }
        for act in &plan.acts {
            if plan.carriers.iter().all(|carrier| carrier.name != act.carrier) {
                let text = format!(
                    "[[act]] carrier = \"{}\": no [[carrier]] of this plan has that name",
                    act.carrier
                );
                return Err(wrong(text));
            }
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
        assert_eq!(names, ["smoke", "stairs", "thousand", "transcode", "transcode-opus"]);
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
            (
                "[target]",
                "[[act]]\nat_seconds = 1\ncarrier = \"nobody\"\ndoes = \"die\"\n[target]",
                &["nobody", "no [[carrier]]"],
            ),
        ];
        for (good, bad, expected) in cases {
            let error = Plan::parse("my/plan.toml", &LEAST.replace(good, bad)).unwrap_err().to_string();
            assert!(error.contains("my/plan.toml"), "{error}");
            for part in expected {
                assert!(error.contains(part), "{bad}: {error}");
            }
        }
    }
}
