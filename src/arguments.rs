//! The command line: every subcommand and flag, in the words of a telephony engineer.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// SIP/RTP media gateway and load-testing appliance.
///
/// Without a subcommand: `drill`.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway: a SIP B2BUA with anchored RTP in front of one or more carriers' trunks
    Serve(Box<Serve>),
    /// Read a configuration and say what would run, what is doubtful, or where a call would go; starts nothing
    Check(Check),
    /// Generate load, or answer it: any SIP system can be the target
    Load(Load),
    /// The acceptance drill: 1000 calls with voice through a carrier failure on this machine, with a report
    Drill(Drill),
    /// Render or check the report of a finished run
    Report(Report),
    /// Show the SIP messages of a call, live or ended lately, of a running gateway
    Trace(Trace),
    /// Check this host's kernel and limits for media work; apply and undo profiles
    Tune(Tune),
}

/// `serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Configuration file; flags given beside it win
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// SIP address, served over UDP and TCP; may be given several times [default: 127.0.0.1:5060]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// SIP address served over TLS, with --cert and --key; may be given several times
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) tls: Vec<SocketAddr>,
    /// SIP address served over WebSocket (RFC 7118); may be given several times
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) ws: Vec<SocketAddr>,
    /// SIP address served over WebSocket and TLS, with --cert and --key; may be given several times
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) wss: Vec<SocketAddr>,
    /// Certificate for TLS and its chain (PEM); read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The key to the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A trunk and its peer; options behind it by commas: max_calls=N (100), max_cps=N, weight=N,
    /// priority=N (lower first), codecs=NAME[+NAME]... (others are translated), backup=NAME, profile=NAME; username=NAME,password=WORD for the carrier's challenges,
    /// register=yes to register with it (others on this host can read a password here: in earnest write the trunk into the
    /// file). Several peers: NAME=ADDR:PORT+ADDR:PORT; over TCP: ADDR:PORT/tcp, over TLS: ADDR:PORT/tls; by name, located
    /// through DNS: NAME=HOST, NAME=HOST:PORT or 'NAME=HOST;transport=tcp'
    #[arg(long, value_name = "NAME=ADDR:PORT[,OPTION=N]...")]
    pub(crate) trunk: Vec<String>,
    /// Where numbers beginning with PREFIX go, in this order; an empty PREFIX takes all.
    /// Without any --route, every number goes to the trunks given
    #[arg(long, value_name = "PREFIX=NAME[|NAME]...")]
    pub(crate) route: Vec<String>,
    /// DNS server for peers given by name; may be given several times [default: those of /etc/resolv.conf]
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub(crate) dns: Vec<String>,
    /// HTTP address of API, health and metrics; `off` for none [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<String>,
    /// Network that may place calls; may be given several times [default: loopback only]
    #[arg(long, value_name = "CIDR")]
    pub(crate) allow: Vec<String>,
    /// A phone that may register and call, asked for its password; may be given several times. Others on this host can
    /// read it there: in earnest write [[user]] into the file
    #[arg(long, value_name = "NAME:PASSWORD")]
    pub(crate) user: Vec<String>,
    /// Ports for RTP and RTCP [default: 16384-32767]
    #[arg(long, value_name = "LO-HI")]
    pub(crate) rtp_ports: Option<String>,
    /// Address to name in SIP and SDP, when bound to a wildcard or behind NAT
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise: Option<std::net::IpAddr>,
    /// io_uring, epoll, or what a probe at start finds [default: auto]
    #[arg(long, value_name = "auto|uring|fallback")]
    pub(crate) io: Option<String>,
    /// Whether the workers run before whatever else runs on this host (real-time priority); auto: if the process
    /// may [default: normal]
    #[arg(long, value_name = "auto|realtime|normal")]
    pub(crate) scheduling: Option<String>,
    /// Shards, one thread and core each [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u16>,
    /// Directory for call records [default: trunkline-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// End a call in which one side sends no RTP for this long; 0s for never [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) media_timeout: Option<gatewayd::Span>,
    /// Try the next peer when one says nothing at all to an INVITE for this long [default: 1500ms]
    #[arg(long, value_name = "TIME")]
    pub(crate) no_response: Option<gatewayd::Span>,
    /// Send OPTIONS to peers not heard from for so long [default: 30s; 2s to peers that failed]; 0s: never any
    #[arg(long, value_name = "TIME")]
    pub(crate) probe_interval: Option<gatewayd::Span>,
    /// Read the configuration, say what is wrong with it, and exit
    #[arg(long)]
    pub(crate) check: bool,
}

/// `check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(subcommand)]
    pub(crate) command: CheckCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// What would run by this configuration, and what in it is doubtful
    #[command(mut_arg("check", |flag| flag.hide(true)))]
    Config {
        /// The configuration file; the same as --config
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        #[command(flatten)]
        serve: Box<Serve>,
    },
    /// What would happen to a call to a number, step by step and why
    #[command(mut_arg("check", |flag| flag.hide(true)))]
    Route {
        /// The number dialled, as it stands in the Request-URI
        #[arg(value_name = "NUMBER")]
        number: String,
        /// The calling number [default: none]
        #[arg(long, value_name = "NUMBER", default_value = "", hide_default_value = true)]
        from: String,
        /// Where the call comes from: says whether it would be taken [default: that it is]
        #[arg(long, value_name = "ADDR")]
        source: Option<std::net::IpAddr>,
        /// Say it in JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        serve: Box<Serve>,
    },
}

/// `load`.
#[derive(Args, Debug)]
pub(crate) struct Load {
    #[command(subcommand)]
    pub(crate) command: LoadCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Be a carrier: answer calls (or refuse, or keep silent)
    Answer(Answer),
    /// Be the callers: place calls at a rate that does not wait for answers
    Call(Call),
    /// Run a plan file
    Run(Run),
}

/// `load answer`.
#[derive(Args, Debug)]
pub(crate) struct Answer {
    /// Where to listen (UDP and TCP)
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: SocketAddr,
    /// Ring for this long before answering
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub(crate) ring: f64,
    /// Refuse every call with this status instead of answering
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(300..700))]
    pub(crate) status: Option<u16>,
    /// Say nothing at all
    #[arg(long)]
    pub(crate) silent: bool,
    /// Send and check marked RTP
    #[arg(long)]
    pub(crate) rtp: bool,
    /// Hang up this long after answering [default: the caller hangs up]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) hold: Option<f64>,
    /// Write what was measured there at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// io_uring, epoll, or what a probe at start finds
    #[arg(long, value_name = "auto|uring|fallback", default_value = "auto")]
    pub(crate) io: String,
    /// Whether its threads run before whatever else runs on this host (real-time priority); auto: if the process may
    #[arg(long, value_name = "auto|realtime|normal", default_value = "auto")]
    pub(crate) scheduling: String,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) workers: u16,
}

/// `load call`.
#[derive(Args, Debug)]
pub(crate) struct Call {
    /// Whom to call; # in the number stands for a digit that changes from call to call
    #[arg(long, value_name = "sip:NUMBER@ADDR:PORT")]
    pub(crate) to: String,
    /// Our address [default: one that reaches the target, free port]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) from: Option<SocketAddr>,
    /// New calls a second [default: what keeps --concurrent up, else 10]
    #[arg(long, value_name = "CPS")]
    pub(crate) rate: Option<f64>,
    /// Ramp to this many calls at a time and stay there
    #[arg(long, value_name = "N")]
    pub(crate) concurrent: Option<u32>,
    /// How long each call is held
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) hold: f64,
    /// Stop placing calls after this long [default: 60, unless --calls]
    #[arg(long, value_name = "SECONDS", conflicts_with = "calls")]
    pub(crate) duration: Option<f64>,
    /// Stop after this many calls
    #[arg(long, value_name = "N")]
    pub(crate) calls: Option<u32>,
    /// Send and check marked RTP
    #[arg(long)]
    pub(crate) rtp: bool,
    /// Write result files and the report there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// io_uring, epoll, or what a probe at start finds
    #[arg(long, value_name = "auto|uring|fallback", default_value = "auto")]
    pub(crate) io: String,
    /// Whether its threads run before whatever else runs on this host (real-time priority); auto: if the process may
    #[arg(long, value_name = "auto|realtime|normal", default_value = "auto")]
    pub(crate) scheduling: String,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) workers: u16,
    /// Seed of arrivals and hold times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Language of the report
    #[arg(long, value_name = "en|zh", default_value = "en")]
    pub(crate) lang: String,
}

/// `load run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The plan
    #[arg(value_name = "PLAN.toml")]
    pub(crate) plan: PathBuf,
    /// Write result files and the report there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// io_uring, epoll, or what a probe at start finds
    #[arg(long, value_name = "auto|uring|fallback", default_value = "auto")]
    pub(crate) io: String,
    /// Whether its threads run before whatever else runs on this host (real-time priority); auto: if the process may
    #[arg(long, value_name = "auto|realtime|normal", default_value = "auto")]
    pub(crate) scheduling: String,
    /// Language of the report
    #[arg(long, value_name = "en|zh", default_value = "en")]
    pub(crate) lang: String,
}

/// `drill`.
#[derive(Args, Debug)]
pub(crate) struct Drill {
    /// Calls at a time
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) concurrent: u32,
    /// Length of the whole drill
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) duration: u32,
    /// io_uring, epoll, or what a probe at start finds
    #[arg(long, value_name = "auto|uring|fallback", default_value = "auto")]
    pub(crate) io: String,
    /// Whether the threads of gateway and generator run before whatever else runs on this host (real-time priority); auto: if the process may
    #[arg(long, value_name = "auto|realtime|normal", default_value = "auto")]
    pub(crate) scheduling: String,
    /// The gateway's threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u16>,
    /// Language of the report
    #[arg(long, value_name = "en|zh", default_value = "en")]
    pub(crate) lang: String,
    /// Where results and report go [default: drill/<date-time>]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

impl Default for Drill {
    fn default() -> Self {
        Self {
            concurrent: 1000,
            duration: 120,
            io: "auto".into(),
            scheduling: "auto".into(),
            workers: None,
            lang: "en".into(),
            out: None,
        }
    }
}

/// `report`.
#[derive(Args, Debug)]
pub(crate) struct Report {
    #[command(subcommand)]
    pub(crate) command: ReportCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// Draw index.html and junit.xml anew from the recorded files
    Render {
        /// The run's folder
        dir: PathBuf,
        /// Language [default: en]
        #[arg(long, value_name = "en|zh")]
        lang: Option<String>,
    },
    /// Check that files, hashes, limits and verdict of a run agree
    Check {
        /// The run's folder
        dir: PathBuf,
    },
}

/// `trace`.
#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// The call's id as the API shows it, the Call-ID of any of its legs, or its Session-ID or a UUID of that
    #[arg(value_name = "CALL_ID|SIP-CALL-ID")]
    pub(crate) call: String,
    /// Where the gateway's API is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) api: String,
    /// As a ladder in text, drawn as SVG, as JSON, or as a pcapng file for a protocol analyser
    #[arg(long, value_name = "text|svg|json|pcap", default_value = "text")]
    pub(crate) format: TraceFormat,
    /// Write it there [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// How `trace` shows a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TraceFormat {
    Text,
    Svg,
    Json,
    Pcap,
}

/// `tune`.
#[derive(Args, Debug)]
pub(crate) struct Tune {
    #[command(subcommand)]
    pub(crate) command: TuneCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TuneCommand {
    /// Say what is mis-set on this host and what it costs; changes nothing
    Check {
        /// Profile to hold the host against
        #[arg(long, value_name = "NAME", default_value = "media-gateway")]
        profile: String,
    },
    /// Set what the profile asks for; prints what it would do unless --yes
    Apply {
        /// Profile to apply
        #[arg(long, value_name = "NAME", default_value = "media-gateway")]
        profile: String,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Undo what apply has set; prints what it would do unless --yes
    Restore {
        /// Do it
        #[arg(long)]
        yes: bool,
    },
    /// Print this host's facts as JSON
    Fingerprint,
}
