//! SIP over TLS: calls from a phone and to a carrier, who is trusted, what breaks a handshake, and new certificates.

use crate::gateway::{Gateway, folder, rtp_ports, run, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::{Voice, talk};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

on_both_drivers! {
    a_phone_calls_over_tls
    a_call_goes_to_a_carrier_over_tls
    a_trunk_registers_over_tls_and_is_called_over_it
    a_carrier_that_nobody_vouches_for_gets_no_call
    who_has_to_show_a_certificate_and_shows_none_is_refused
    what_is_no_tls_is_closed
    a_handshake_that_stands_still_is_closed_in_time
    new_certificates_are_taken_without_losing_connections
}

/// Who signs certificates for a test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    root: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let folder = folder("certificates");
        let root = folder.join("root.pem");
        std::fs::write(&root, parameters.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(parameters, key), folder, root }
    }

    /// Writes a certificate for a host and the key to it.
    pub(crate) fn sign(&self, host: &str) -> (PathBuf, PathBuf) {
        let files = (self.folder.join(format!("{host}.pem")), self.folder.join(format!("{host}.key.pem")));
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &self.issuer);
        std::fs::write(&files.0, certificate.unwrap().pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.root).unwrap()).unwrap();
        roots
    }

    /// A client that trusts this authority alone; with a certificate of its own if one is given.
    pub(crate) fn client(&self, own: Option<&(PathBuf, PathBuf)>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (certificate, key) = read(files);
                builder.with_client_auth_cert(certificate, key).unwrap()
            }
        })
    }

    /// A server for a host that demands a certificate which this authority signed.
    fn server(&self, host: &str) -> Arc<ServerConfig> {
        let (certificate, key) = read(&self.sign(host));
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(self.roots().into(), provider.clone());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(clients.build().unwrap());
        Arc::new(builder.with_single_cert(certificate, key).unwrap())
    }
}

fn read(files: &(PathBuf, PathBuf)) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (vec![CertificateDer::from_pem_file(&files.0).unwrap()], PrivateKeyDer::from_pem_file(&files.1).unwrap())
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A gateway with a TLS address, and more arguments and lines in its `[tls]` section.
fn gateway(io: &str, files: &(PathBuf, PathBuf), more: &[&str], lines: &str) -> Gateway {
    let config = folder("config").join("gateway.toml");
    std::fs::write(&config, format!("[tls]\n{lines}\n")).unwrap();
    let ports = rtp_ports(240);
    let mut arguments = vec![
        "--config",
        text(&config),
        "--tls",
        "127.0.0.1:0",
        "--cert",
        text(&files.0),
        "--key",
        text(&files.1),
    ];
    arguments.extend(["--probe-interval", "0s", "--rtp-ports", &ports]);
    arguments.extend(more);
    Gateway::start(io, &arguments)
}

/// Rings and answers: both sides' dialogs and where each speaks to.
pub(crate) fn set_up(
    caller: &mut Phone,
    callee: &mut Phone,
    voices: (&Voice, &Voice),
    mut a: Dialog,
) -> ((Dialog, std::net::SocketAddr), (Dialog, std::net::SocketAddr)) {
    let invite = callee.expect("INVITE");
    callee.respond(&invite, 180, "b", "");
    caller.response(&a, 180);
    callee.respond(&invite, 200, "b", &voices.1.sdp("sendrecv"));
    let answer = caller.answered(&mut a);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let b = callee.dialog_of(&invite, "b");
    callee.expect_in(&b, "ACK");
    ((a, answer.audio()), (b, invite.0.audio()))
}

fn a_phone_calls_over_tls(io: &str) {
    let authority = Authority::new();
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let trunk = format!("--trunk=carrier={}", callee.address);
    // Two shards: half of such calls are handed over from the shard that decrypts.
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &["--workers", "2", &trunk], "");
    let tls = gateway.address("tls");
    let way = caller.connect_tls(tls, authority.client(None)).unwrap();
    assert_eq!(caller.options(way, tls), Some(200));
    for round in 0..4 {
        let (mut a_voice, mut b_voice) =
            (Voice::new(caller.address.ip(), 0xa1), Voice::new(callee.address.ip(), 0xb2));
        let a = caller.invite(way, tls, "4420", &a_voice.sdp("sendrecv"));
        let ((mut a, a_to), (mut b, b_to)) = set_up(&mut caller, &mut callee, (&a_voice, &b_voice), a);
        assert!(a.target.ends_with(&format!("{tls};transport=tls")), "{}", a.target);
        talk((&mut a_voice, a_to), (&mut b_voice, b_to), 5);
        if round % 2 == 0 {
            // The way back is the connection the phone has opened: it listens nowhere.
            callee.bye(&mut b);
            let (bye, back) = caller.expect_in(&a, "BYE");
            assert_eq!(back, way);
            assert!(bye.field("via").starts_with(&format!("SIP/2.0/TLS {tls};")), "{}", bye.text);
            caller.respond(&(bye, back), 200, "a", "");
        } else {
            caller.bye(&mut a);
            let bye = callee.expect_in(&b, "BYE");
            callee.respond(&bye, 200, "b", "");
        }
        gateway.wait_calls(0);
    }
    assert_eq!(gateway.metric("trunkline_tls_handshakes_in_total"), 1.0);
    assert_eq!(gateway.causes().into_keys().collect::<Vec<_>>(), ["normal"]);
}

fn a_call_goes_to_a_carrier_over_tls(io: &str) {
    let authority = Authority::new();
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    callee.serve_tls(authority.server("127.0.0.3"));
    let trunk = format!("--trunk=carrier={};transport=tls", callee.address);
    let ca = format!("ca = \"{}\"", text(&authority.root));
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &[&trunk], &ca);
    let (mut a_voice, mut b_voice) =
        (Voice::new(caller.address.ip(), 0xa1), Voice::new(callee.address.ip(), 0xb2));
    let a = caller.invite(Way::Udp(gateway.sip), gateway.sip, "4420", &a_voice.sdp("sendrecv"));
    let ((mut a, a_to), (b, b_to)) = set_up(&mut caller, &mut callee, (&a_voice, &b_voice), a);
    let invite = callee.received.iter().find(|message| message.method() == "INVITE").unwrap();
    assert!(invite.field("via").starts_with("SIP/2.0/TLS "), "{}", invite.text);
    assert!(b.target.ends_with(&format!("{};transport=tls", gateway.address("tls"))), "{}", b.target);
    talk((&mut a_voice, a_to), (&mut b_voice, b_to), 5);
    caller.bye(&mut a);
    let bye = callee.expect_in(&b, "BYE");
    callee.respond(&bye, 200, "b", "");
    gateway.wait_calls(0);
    assert_eq!(gateway.metric("trunkline_tls_handshakes_out_total"), 1.0);
}

fn a_trunk_registers_over_tls_and_is_called_over_it(io: &str) {
    let authority = Authority::new();
    let (mut carrier, mut near) = (Phone::new("127.0.0.3"), Phone::new("127.0.0.5"));
    carrier.serve_tls(authority.server("127.0.0.3"));
    let own = format!("--trunk=carrier={}/tls,username=4711,password=x,register=yes", carrier.address);
    let other = format!("--trunk=near={}", near.address);
    let ca = format!("ca = \"{}\"", text(&authority.root));
    let arguments = [own.as_str(), &other, "--route=4711=near", "--workers=2"];
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &arguments, &ca);
    let request = carrier.expect("REGISTER");
    assert!(request.0.field("via").starts_with("SIP/2.0/TLS "), "{}", request.0.text);
    assert_eq!(request.0.contact(), format!("sip:4711@{};transport=tls", gateway.address("tls")));
    let contact = format!("Contact: <{}>;expires=600\r\n", request.0.contact());
    carrier.respond_with(&request, 200, "granted", &contact, "");
    wait_until("registered", || gateway.trunk("carrier")["registration"]["registered"] == true);
    for _ in 0..3 {
        let (a_voice, b_voice) =
            (Voice::new(carrier.address.ip(), 0xa1), Voice::new(near.address.ip(), 0xb2));
        let a = carrier.invite(request.1, gateway.address("tls"), "4711", &a_voice.sdp("sendrecv"));
        let ((mut a, _), (b, _)) = set_up(&mut carrier, &mut near, (&a_voice, &b_voice), a);
        carrier.bye(&mut a);
        let bye = near.expect_in(&b, "BYE");
        near.respond(&bye, 200, "b", "");
    }
    assert_eq!(gateway.trunk("carrier")["registration"]["calls_in"], 3);
    assert_eq!(gateway.metric("trunkline_tls_handshakes_out_total"), 1.0);
}

fn a_carrier_that_nobody_vouches_for_gets_no_call(io: &str) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (mut caller, mut callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    callee.serve_tls(stranger.server("127.0.0.3"));
    let trunk = format!("--trunk=carrier={}/tls", callee.address);
    let ca = format!("ca = \"{}\"", text(&authority.root));
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &[&trunk], &ca);
    let voice = Voice::new(caller.address.ip(), 0xa1);
    let a = caller.invite(Way::Udp(gateway.sip), gateway.sip, "4420", &voice.sdp("sendrecv"));
    // The callee's side of the handshake is carried on by looking for messages.
    let begun = Instant::now();
    let answer = loop {
        assert!(callee.find(Duration::from_millis(20), |_| true).is_none(), "nothing may come through");
        if let Some((answer, _)) =
            caller.find(Duration::from_millis(20), |message| message.status() >= Some(300))
        {
            break answer;
        }
        assert!(begun.elapsed() < crate::gateway::PATIENCE, "no answer");
    };
    assert_eq!(answer.status(), Some(503), "{}", answer.text);
    drop(a);
    assert_eq!(gateway.metric("trunkline_tls_certificates_refused_total"), 1.0);
    assert_eq!(gateway.metric("trunkline_tls_sessions"), 0.0);
}

fn who_has_to_show_a_certificate_and_shows_none_is_refused(io: &str) {
    let authority = Authority::new();
    let clients = format!("client_ca = \"{}\"", text(&authority.root));
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &[], &clients);
    let tls = gateway.address("tls");
    let mut phone = Phone::new("127.0.0.2");
    // TLS 1.3: the client is done before the server has judged it, and hears of it afterwards.
    if let Ok(way) = phone.connect_tls(tls, authority.client(None)) {
        wait_until("the connection is closed", || phone.is_closed(way));
    }
    let own = authority.sign("phone.example");
    let way = phone.connect_tls(tls, authority.client(Some(&own))).unwrap();
    assert_eq!(phone.options(way, tls), Some(200));
    assert_eq!(gateway.metric("trunkline_tls_certificates_refused_total"), 1.0);
}

fn what_is_no_tls_is_closed(io: &str) {
    let authority = Authority::new();
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &[], "");
    let mut phone = Phone::new("127.0.0.2");
    let tls = gateway.address("tls");
    let way = phone.connect(tls);
    phone.send(way, "OPTIONS sip:gateway SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.2;branch=z9hG4bKx\r\n\r\n");
    wait_until("the connection is closed", || phone.is_closed(way));
    assert!(phone.received.is_empty());
    wait_until("it is counted", || gateway.metric("trunkline_tls_handshakes_failed_total") == 1.0);
    // The next one is served.
    let way = phone.connect_tls(tls, authority.client(None)).unwrap();
    assert_eq!(phone.options(way, tls), Some(200));
}

fn a_handshake_that_stands_still_is_closed_in_time(io: &str) {
    let authority = Authority::new();
    let gateway = gateway(io, &authority.sign("127.0.0.1"), &[], "handshake_timeout = \"400ms\"");
    let mut silent = TcpStream::connect(gateway.address("tls")).unwrap();
    let mut half = TcpStream::connect(gateway.address("tls")).unwrap();
    // The beginning of a ClientHello that never ends.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).unwrap();
    let begun = Instant::now();
    for stream in [&mut silent, &mut half] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 64];
        assert!(matches!(stream.read(&mut buffer), Ok(0) | Err(_)), "nothing is said");
    }
    assert!(begun.elapsed() > Duration::from_millis(200), "not before its time: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(9), "closed by the gateway");
    wait_until("both are counted", || gateway.metric("trunkline_tls_handshakes_late_total") == 2.0);
    assert_eq!(gateway.metric("trunkline_tls_sessions"), 0.0);
}

fn new_certificates_are_taken_without_losing_connections(io: &str) {
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.sign("127.0.0.1");
    let gateway = gateway(io, &files, &[], "");
    let tls = gateway.address("tls");
    let mut phone = Phone::new("127.0.0.2");
    let before = phone.connect_tls(tls, old.client(None)).unwrap();
    assert_eq!(phone.options(before, tls), Some(200));
    // A file that cannot be used changes nothing.
    std::fs::write(&files.1, "no key").unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    wait_until("it is refused", || gateway.logged("not reloaded").is_some());
    let line = gateway.logged("not reloaded").unwrap();
    assert!(line.contains("tls.key (--key)") && line.contains("holds no private key"), "{line}");
    assert!(phone.connect_tls(tls, old.client(None)).is_ok());
    let (certificate, key) = new.sign("127.0.0.1");
    std::fs::copy(certificate, &files.0).unwrap();
    std::fs::copy(key, &files.1).unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    wait_until("it is reloaded", || gateway.logged(" reloaded: ").is_some());
    let after = phone.connect_tls(tls, new.client(None)).unwrap();
    assert_eq!(phone.options(after, tls), Some(200));
    assert!(phone.connect_tls(tls, old.client(None)).is_err(), "the old one is not shown any more");
    assert_eq!(phone.options(before, tls), Some(200), "what stood still stands");
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_cure() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.sign("127.0.0.1");
    let (_, foreign) = other.sign("127.0.0.1");
    let empty = authority.folder.join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let serve = ["serve", "--check", "--tls", "127.0.0.1:5061"];
    let cases: [(&[&str], &[&str]); 7] = [
        (&[], &["tls_listen (--tls)", "--cert FILE"]),
        (&["--cert", text(&certificate)], &["tls.key (--key)", "give --key FILE"]),
        (&["--key", text(&key)], &["tls.certificate (--cert)", "give --cert FILE"]),
        (&["--cert", text(&empty), "--key", text(&key)], &["(--cert)", "empty.pem", "BEGIN CERTIFICATE"]),
        (
            &["--cert", text(&certificate), "--key", text(&empty)],
            &["(--key)", "empty.pem", "BEGIN PRIVATE KEY"],
        ),
        (
            &["--cert", "/nowhere/c.pem", "--key", text(&key)],
            &["(--cert)", "/nowhere/c.pem", "cannot be read"],
        ),
        (&["--cert", text(&certificate), "--key", text(&foreign)], &["(--key)", "not the key to"]),
    ];
    for (arguments, words) in cases {
        let (code, _, error) = run(&[&serve, arguments].concat());
        assert_eq!(code, 2, "{arguments:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{word} in: {error}");
        }
    }
    let (code, out, error) =
        run(&[&serve[..], &["--cert", text(&certificate), "--key", text(&key)]].concat());
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let elsewhere =
        ["serve", "--check", "--tls", "127.0.0.2:5061", "--cert", text(&certificate), "--key", text(&key)];
    let (code, _, error) = run(&elsewhere);
    assert_eq!(code, 2);
    assert!(error.contains("tls_listen: 127.0.0.2:5061") && error.contains("--listen"), "{error}");
}
