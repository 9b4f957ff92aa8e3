//! Systems in the middle: the gateway on either driver, and its peers.

use crate::process::{Cores, Outcome, Running, Usage, free_port, pause};
use std::fs;
use std::path::Path;

/// Which system stands between callers and carriers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `trunkline serve --io uring`.
    Uring,
    /// `trunkline serve --io fallback`.
    Fallback,
    /// Kamailio, signalling only.
    Kamailio,
    /// Kamailio with rtpengine in user space.
    Rtpengine,
}

impl Kind {
    /// Its name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uring => "trunkline (io_uring)",
            Self::Fallback => "trunkline (epoll)",
            Self::Kamailio => "Kamailio",
            Self::Rtpengine => "rtpengine + Kamailio",
        }
    }
}

/// How a system is started for a measurement of its own.
#[derive(Default)]
pub struct Setting {
    /// Further arguments of `trunkline serve`.
    pub gateway: Vec<String>,
    /// Options behind each trunk of `trunkline serve`.
    pub trunk: String,
    /// Kamailio's configuration, instead of the one for [`Kind`].
    pub kamailio: String,
    /// What Kamailio asks of rtpengine for the callee's side.
    pub rtpengine: String,
    /// Where the gateway shows its metrics, if anywhere.
    pub http: Option<u16>,
    /// It stands behind the one that is measured: on the generator's cores, with media ports of its own.
    pub behind: bool,
}

/// A system that runs, on the last core.
pub struct Middle {
    processes: Vec<Running>,
    /// Where it takes calls.
    pub port: u16,
}

impl Middle {
    /// Starts it in front of carriers at these two ports.
    pub fn start(kind: Kind, trunkline: &str, carriers: [u16; 2], folder: &Path) -> Outcome<Self> {
        Self::start_as(kind, trunkline, carriers, folder, &Setting::default())
    }

    /// The same as a setting says.
    pub fn start_as(
        kind: Kind,
        trunkline: &str,
        carriers: [u16; 2],
        folder: &Path,
        setting: &Setting,
    ) -> Outcome<Self> {
        let port = free_port()?;
        let (cores, rtp_ports) =
            if setting.behind { (Cores::Load, "30000-39999") } else { (Cores::Middle, "10000-29999") };
        let mut processes = Vec::new();
        match kind {
            Kind::Uring | Kind::Fallback => {
                let io = if kind == Kind::Uring { "uring" } else { "fallback" };
                let data = folder.join("data");
                let _ = fs::remove_dir_all(&data);
                let mut arguments: Vec<String> =
                    ["serve", "--workers", "1", "--io", io].into_iter().map(str::to_owned).collect();
                let http = setting.http.map_or_else(|| "off".to_owned(), |port| format!("127.0.0.1:{port}"));
                arguments.extend([
                    format!("--http={http}"),
                    format!("--listen=127.0.0.1:{port}"),
                    format!("--trunk=a=127.0.0.1:{},max_calls=20000{}", carriers[0], setting.trunk),
                    format!("--trunk=b=127.0.0.1:{},max_calls=20000{}", carriers[1], setting.trunk),
                    format!("--rtp-ports={rtp_ports}"),
                    "--probe-interval=0s".to_owned(),
                    "--media-timeout=0s".to_owned(),
                    format!("--data={}", data.display()),
                ]);
                arguments.extend(setting.gateway.iter().cloned());
                processes.push(Running::start("trunkline", trunkline, &arguments, cores, folder)?);
            }
            Kind::Kamailio => processes.push(kamailio(port, None, carriers, folder, setting)?),
            Kind::Rtpengine => {
                let ng = free_port()?;
                let arguments = [
                    "--foreground",
                    "--config-file=none",
                    "--table=-1",
                    "--interface=127.0.0.1",
                    &format!("--listen-ng=127.0.0.1:{ng}"),
                    "--port-min=10000",
                    "--port-max=29999",
                    "--num-threads=1",
                    "--delete-delay=0",
                    "--log-stderr",
                    "--log-level=3",
                    &format!("--pidfile={}/rtpengine.pid", folder.display()),
                ]
                .map(str::to_owned);
                let mut engine = Running::start("rtpengine", "rtpengine", &arguments, Cores::Middle, folder)?;
                engine.wait_for_port(ng, folder)?;
                processes.push(engine);
                processes.push(kamailio(port, Some(ng), carriers, folder, setting)?);
            }
        }
        let mut middle = Self { processes, port };
        if let Some(last) = middle.processes.last_mut() {
            last.wait_for_port(port, folder)?;
        }
        // The gateway opens its media ports, the proxy starts its children.
        pause(1.0);
        Ok(middle)
    }

    /// What all its processes have used since they started.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.processes.iter().map(Running::id).collect::<Vec<_>>())
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.processes.clear();
        // A ring gives its ports back a moment after its process has ended; the next system wants the same.
        pause(0.5);
    }
}

/// Kamailio in the foreground, with a configuration of its own.
fn kamailio(
    port: u16,
    ng: Option<u16>,
    carriers: [u16; 2],
    folder: &Path,
    setting: &Setting,
) -> Outcome<Running> {
    let template = match ng {
        _ if !setting.kamailio.is_empty() => &setting.kamailio,
        None => include_str!("kamailio.cfg"),
        Some(_) => include_str!("kamailio-media.cfg"),
    };
    let text = template
        .replace("SIP_PORT", &port.to_string())
        .replace("NG_PORT", &ng.unwrap_or(0).to_string())
        .replace("CALLEE_SIDE", &setting.rtpengine)
        .replace("FOLDER", &folder.display().to_string());
    let file = folder.join("kamailio-run.cfg");
    let list = carriers.map(|carrier| format!("1 sip:127.0.0.1:{carrier}\n")).concat();
    fs::write(&file, text).map_err(|error| error.to_string())?;
    fs::write(folder.join("dispatcher.list"), list).map_err(|error| error.to_string())?;
    let arguments = [
        "-DD".to_owned(),
        "-E".to_owned(),
        "-m".to_owned(),
        "256".to_owned(),
        "-f".to_owned(),
        file.display().to_string(),
        "-Y".to_owned(),
        folder.display().to_string(),
        "-P".to_owned(),
        format!("{}/kamailio.pid", folder.display()),
    ];
    let program = if Path::new("/usr/sbin/kamailio").exists() { "/usr/sbin/kamailio" } else { "kamailio" };
    Running::start("kamailio", program, &arguments, Cores::Middle, folder)
}
