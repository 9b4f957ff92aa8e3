//! Calls of browsers: ICE with a lite agent (RFC 8445), DTLS-SRTP (RFC 5764), all on one port (RFC 5761, RFC 9143), with carriers
//! that speak plain RTP; and who is not the browser.

use crate::browser::{Browser, Told, value};
use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use crate::websocket::{WebSocket, plain};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use stun::{Class, ICE_CONTROLLED, ICE_CONTROLLING};

on_both_drivers! {
    a_browser_talks_with_a_plain_carrier
    a_carrier_keyed_by_dtls_is_offered_it
    who_does_not_know_the_password_is_not_heard
    another_certificate_ends_the_call
}

struct Row {
    gateway: Gateway,
    phone: Phone,
    way: Way,
    ws: SocketAddr,
    carrier: Phone,
    far: Voice,
    browser: Browser,
}

impl Row {
    fn start(io: &str, trunk: &str) -> Self {
        let (mut phone, carrier) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("webrtc").join("gateway.toml");
        let text = format!(
            "[health]\nprobe_interval = \"0s\"\n[[profile]]\nname = \"p\"\n{trunk}\n[[trunk]]\nname = \"t\"\n\
             peers = [\"{}\"]\nprofile = \"p\"\n[[route]]\nto = [\"t\"]\n",
            carrier.address
        );
        std::fs::write(&path, text).unwrap();
        let (path, ports) = (path.to_str().unwrap().to_owned(), rtp_ports(40));
        let arguments = ["--config", &path, "--workers", "2", "--rtp-ports", &ports, "--ws", "127.0.0.1:0"];
        let gateway = Gateway::start(io, &arguments);
        let ws = gateway.address("ws");
        let way = phone.take(Box::new(WebSocket::open(plain(ws))), "WS");
        let far = Voice::new(carrier.address.ip(), 2);
        Self { gateway, phone, way, ws, carrier, far, browser: Browser::new(1) }
    }

    /// The browser calls; the carrier takes the call.
    fn call(&mut self, sdp: &str) -> (Dialog, Message, Message) {
        let mut call = self.phone.invite(self.way, self.ws, "1000", sdp);
        let invite = self.carrier.expect("INVITE");
        self.carrier.respond(&invite, 200, "callee", &self.far.sdp("sendrecv"));
        let answer = self.phone.answered(&mut call);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        self.carrier.expect("ACK");
        (call, answer, invite.0)
    }

    /// Voice both ways until each has heard the other.
    fn talk(&mut self, told: &Told, far_to: SocketAddr) {
        let late = Instant::now() + Duration::from_secs(10);
        while self.browser.count(2) < 25 || self.far.heard(1) < 25 {
            assert!(Instant::now() < late, "heard {} and {}", self.browser.count(2), self.far.heard(1));
            self.browser.speak(told.to);
            self.far.send(far_to);
            self.browser.listen(told, Duration::from_millis(20));
            self.far.hear();
        }
    }

    fn hang_up(&mut self, mut call: Dialog) -> serde_json::Value {
        self.phone.begin_request(&mut call, "BYE", "");
        let bye = self.carrier.expect("BYE");
        self.carrier.respond(&bye, 200, "callee", "");
        self.gateway.wait_cdrs(1).remove(0)
    }
}

fn a_browser_talks_with_a_plain_carrier(io: &str) {
    for setup in ["actpass", "active", "passive"] {
        let mut row = Row::start(io, "");
        let offer = row.browser.sdp(setup);
        let (call, answer, invite) = row.call(&offer);
        for line in ["m=audio ", " RTP/AVP 8 111\r\n"] {
            assert!(invite.body.contains(line), "{}", invite.body);
        }
        let of_browsers =
            ["fingerprint", "ice-", "candidate", "mid:", "BUNDLE", "extmap", "ssrc", "rtcp-", "msid"];
        for word in of_browsers {
            assert!(!invite.body.contains(word), "{word} is not for the carrier: {}", invite.body);
        }
        let body = &answer.body;
        let expected = if setup == "active" { "passive" } else { "active" };
        assert_eq!(value(body, "setup"), Some(expected), "RFC 5763 §5: {body}");
        for line in [
            " UDP/TLS/RTP/SAVPF 8\r\n",
            "a=group:BUNDLE a\r\n",
            "a=mid:a\r\n",
            "a=ice-lite\r\n",
            "a=rtcp-mux\r\n",
            "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\n",
        ] {
            assert!(body.contains(line), "{line} in {body}");
        }
        let told = Told::of(body);
        row.browser.join(&told, setup == "active");
        row.browser.check(&told, &told.password, ICE_CONTROLLING, true);
        row.browser.until(&told, "a handshake", Browser::is_keyed);
        assert_eq!(row.browser.answers, [(Class::Success, None)]);
        row.talk(&told, invite.audio());
        let record = row.hang_up(call);
        assert_eq!(record["media"]["caller"]["srtp"], "AEAD_AES_256_GCM");
        assert_eq!(record["media"]["callee"]["srtp"], "");
        assert_eq!(record["media"]["caller"]["forged"], 0, "{record}");
        assert_eq!(row.gateway.metric("trunkline_dtls_keyed_total"), 1.0);
    }
}

/// Without ICE, and offered by the gateway: the carrier answers `active` and shows where it is by its first flight.
fn a_carrier_keyed_by_dtls_is_offered_it(io: &str) {
    let mut row = Row::start(io, "srtp = \"required\"\nsrtp_keying = \"dtls\"");
    let mut near = Voice::new(row.phone.address.ip(), 1);
    let mut call = row.phone.invite(row.way, row.ws, "1000", &near.sdp("sendrecv"));
    let invite = row.carrier.expect("INVITE");
    let offer = invite.0.body.clone();
    assert!(offer.contains(" UDP/TLS/RTP/SAVP 8\r\n"), "{offer}");
    assert_eq!(value(&offer, "setup"), Some("actpass"));
    assert!(offer.contains("a=ice-lite\r\n") && offer.contains("a=rtcp-mux\r\n"), "{offer}");
    let mut browser = Browser::new(2);
    let sdp = browser.sdp("active").replace("c=IN IP4 0.0.0.0", "c=IN IP4 127.0.0.1");
    let port = value(&sdp, "candidate").unwrap().split(' ').nth(5).unwrap().to_owned();
    let audio: String = sdp
        .split("m=video")
        .next()
        .unwrap()
        .replace("m=audio 9 UDP/TLS/RTP/SAVPF", &format!("m=audio {port} UDP/TLS/RTP/SAVP"))
        .lines()
        .filter(|line| !line.contains("ice") && !line.contains("rtcp") && !line.contains("BUNDLE"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    row.carrier.respond(&invite, 200, "callee", &audio);
    let answer = row.phone.answered(&mut call);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert!(!answer.body.contains("fingerprint"), "{}", answer.body);
    row.carrier.expect("ACK");
    let told = Told::of(&offer);
    browser.join(&told, true);
    browser.until(&told, "a handshake", Browser::is_keyed);
    let late = Instant::now() + Duration::from_secs(10);
    while browser.count(1) < 25 || near.heard(2) < 25 {
        assert!(Instant::now() < late, "heard {} and {}", browser.count(1), near.heard(2));
        browser.speak(told.to);
        near.send(answer.audio());
        browser.listen(&told, Duration::from_millis(20));
        near.hear();
    }
    let record = row.hang_up(call);
    assert_eq!(record["media"]["callee"]["srtp"], "AEAD_AES_256_GCM", "{record}");
}

fn who_does_not_know_the_password_is_not_heard(io: &str) {
    let mut row = Row::start(io, "");
    let (call, answer, invite) = row.call(&row.browser.sdp("actpass"));
    let told = Told::of(&answer.body);
    let mut stranger = Browser::new(9);
    stranger.join(&told, true);
    stranger.check(&told, "not the password at all", ICE_CONTROLLING, true);
    stranger.speak(told.to);
    stranger.until(&told, "an answer", |it| !it.answers.is_empty());
    assert_eq!(stranger.answers, [(Class::Error, Some(401))]);
    stranger.listen(&told, Duration::from_millis(500));
    assert!(!stranger.is_keyed(), "nor is it answered by DTLS");
    row.browser.check(&told, &told.password, ICE_CONTROLLED, true);
    row.browser.until(&told, "an answer", |it| !it.answers.is_empty());
    assert_eq!(row.browser.answers, [(Class::Error, Some(487))], "RFC 8445 §7.3.1.1");
    row.browser.join(&told, false);
    row.browser.check(&told, &told.password, ICE_CONTROLLING, true);
    // What the carrier says before there are keys goes nowhere.
    row.far.send(invite.audio());
    row.browser.until(&told, "a handshake", Browser::is_keyed);
    row.far.hear();
    assert_eq!(row.far.heard(9), 0);
    row.talk(&told, invite.audio());
    for _ in 0..5 {
        stranger.speak(told.to);
    }
    stranger.listen(&told, Duration::from_millis(200));
    row.far.hear();
    assert_eq!((row.far.heard(9), stranger.count(2)), (0, 0));
    row.hang_up(call);
    assert_eq!(row.gateway.metric("trunkline_ice_unchecked_total"), 6.0);
    assert_eq!(row.gateway.metric("trunkline_ice_role_conflicts_total"), 1.0);
    assert_eq!(row.gateway.metric("trunkline_ice_unauthentic_total"), 1.0);
}

/// RFC 5763 §5: the session is torn down.
fn another_certificate_ends_the_call(io: &str) {
    let mut row = Row::start(io, "");
    let named = Browser::new(3).fingerprint();
    let offer = row.browser.sdp("actpass").replace(&row.browser.fingerprint(), &named);
    let (call, answer, _) = row.call(&offer);
    let told = Told::of(&answer.body);
    row.browser.join(&told, false);
    row.browser.check(&told, &told.password, ICE_CONTROLLING, true);
    row.browser.listen(&told, Duration::from_millis(1500));
    let bye = row.phone.expect_in(&call, "BYE");
    assert!(bye.0.field("reason").contains("DTLS fingerprint mismatch"), "{}", bye.0.text);
    row.phone.respond(&bye, 200, "a", "");
    let bye = row.carrier.expect("BYE");
    row.carrier.respond(&bye, 200, "callee", "");
    let record = row.gateway.wait_cdrs(1).remove(0);
    assert!(record["cause"].to_string().contains("certificate"), "{record}");
    assert_eq!(row.gateway.metric("trunkline_dtls_mismatched_total"), 1.0);
    assert_eq!(row.gateway.metric("trunkline_calls_unkeyed_total"), 1.0);
}
