//! Kamailio as a proxy on the way to or from the gateway, by a routing script that a flow completes.

use crate::papers::Papers;
use crate::place::{Running, Scene, is_bound, own_address, wait_until};
use std::net::SocketAddr;
use std::process::Command;

/// What stands in front of a flow's own lines. Both transports on one address; Record-Route on request of the flow.
const BEGIN: &str = r#"#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
tcp_children=1
auto_aliases=no
dns=no
rev_dns=no
listen=udp:ADDRESS
listen=tcp:ADDRESS
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "corex.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "path.so"
modparam("tm", "fr_timer", 1500)
modparam("tm", "fr_inv_timer", 30000)
modparam("auth", "algorithm", "ALGORITHM")

route[WITHIN] {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (is_method("CANCEL")) { if (t_check_trans()) t_relay(); exit; }
    if (has_totag()) {
#CHECK
        if (loose_route()) { if (!t_relay()) sl_reply_error(); exit; }
        if (is_method("ACK")) { if (t_check_trans()) t_relay(); exit; }
        sl_send_reply("404", "Not here");
        exit;
    }
    t_check_trans();
    if (is_method("OPTIONS")) { sl_send_reply("200", "OK"); exit; }
}

"#;

/// How the proxy stays in the path of a dialog (RFC 3261 §16.6 step 4, §16.12.1.1).
pub(crate) const LOOSE: &str = "record_route();";

pub(crate) struct Kamailio {
    _process: Running,
    pub(crate) at: SocketAddr,
}

impl Kamailio {
    /// A proxy that asks nobody anything, stays in the path, and sends all to `next` over `transport`.
    pub(crate) fn proxy(scene: &Scene, name: &str, next: SocketAddr, transport: &str) -> Self {
        Self::start(scene, name, &format!("{LOOSE}\n{}", relay(next, transport)), "")
    }

    /// One with these lines for a request that begins something, and further routes.
    pub(crate) fn start(scene: &Scene, name: &str, lines: &str, routes: &str) -> Self {
        Self::start_at(own_address(), scene, name, lines, routes)
    }

    /// One that serves TLS too, on the next port, and trusts who `papers` trust.
    pub(crate) fn start_tls(at: SocketAddr, scene: &Scene, name: &str, papers: &Papers, lines: &str) -> Self {
        let Papers { certificate, key, root } = papers;
        let (certificate, key, root) = (certificate.display(), key.display(), root.display());
        let config = format!(
            "[server:default]\nmethod = TLSv1.2+\nprivate_key = {key}\ncertificate = {certificate}\n\
             [client:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\nca_list = {root}\n"
        );
        let config = scene.file(&format!("{name}.tls"), &config);
        let begin = BEGIN.replace(
            "loadmodule \"tm.so\"",
            &format!(
                "enable_tls=yes\nlisten=tls:{}\nloadmodule \"tm.so\"\nloadmodule \"tls.so\"\nmodparam(\"tls\", \"config\", \"{}\")",
                secure(at),
                config.display()
            ),
        );
        Self::run(at, scene, name, &begin, lines, "")
    }

    pub(crate) fn start_at(at: SocketAddr, scene: &Scene, name: &str, lines: &str, routes: &str) -> Self {
        Self::run(at, scene, name, BEGIN, lines, routes)
    }

    fn run(at: SocketAddr, scene: &Scene, name: &str, begin: &str, lines: &str, routes: &str) -> Self {
        let begin = begin.replace("ADDRESS", &at.to_string());
        let (begin, lines) = match lines.strip_prefix("#SHA-256\n") {
            Some(lines) => (begin.replace("ALGORITHM", "SHA-256"), lines),
            None => (begin.replace("ALGORITHM", "MD5"), lines),
        };
        // Who routes by a strict router puts its URI into the Request-URI (RFC 3261 §12.2.1.1).
        let check = match lines.contains("STRICT") {
            true => format!(
                "if ($ua == \"trunkline\" && $ru != \"sip:{at}\") {{ sl_send_reply(\"400\", \"Not my URI\"); exit; }}"
            ),
            false => String::new(),
        };
        let begin = begin.replace("#CHECK", &check);
        let script = format!("{begin}request_route {{\n    route(WITHIN);\n{lines}\n}}\n{routes}\n")
            // A strict router: its URI has no lr (RFC 3261 §16.12.1.2).
            .replace("STRICT", &format!("insert_hf(\"Record-Route: <sip:{at}>\\r\\n\", \"Via\");"));
        Self::with_script(at, scene, name, &script)
    }

    /// One with a script of its own, which has it listen on `at` over UDP and TCP.
    pub(crate) fn with_script(at: SocketAddr, scene: &Scene, name: &str, script: &str) -> Self {
        let file = scene.file(&format!("{name}.cfg"), script);
        let run = scene.dir.join(format!("{name}.run"));
        std::fs::create_dir_all(&run).unwrap();
        let mut command = Command::new("kamailio");
        command.arg("-f").arg(file).args(["-DD", "-E", "-m", "64", "-M", "8", "-Y"]).arg(run);
        let log = scene.dir.join(format!("{name}.log"));
        let mut process = Running::start(&mut command, &log, "kamailio");
        wait_until(&format!("{name} to listen"), || {
            let running = process.is_running();
            assert!(running, "{}", std::fs::read_to_string(&log).unwrap_or_default());
            is_bound(at, "udp") && is_bound(at, "tcp")
        });
        Self { _process: process, at }
    }
}

/// Where one that speaks TLS does.
pub(crate) fn secure(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip(), at.port() + 1)
}

/// The lines that send a request on to there.
pub(crate) fn relay(next: SocketAddr, transport: &str) -> String {
    format!("$du = \"sip:{next};transport={transport}\";\nt_relay();")
}

/// The lines that ask for a password before anything else (RFC 3261 §22.3).
pub(crate) fn challenge(realm: &str, password: &str) -> String {
    format!(
        "if (!pv_proxy_authenticate(\"{realm}\", \"{password}\", \"0\")) {{ proxy_challenge(\"{realm}\", \"1\"); exit; }}\n\
         consume_credentials();\n"
    )
}
