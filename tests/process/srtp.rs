//! Calls whose media is protected on one leg or on both: SRTP (RFC 3711) with keys in SDP (RFC 4568), and who may not be heard.

use crate::cover::{Cover, SUITE, key, key_in, protected};
use crate::gateway::{Gateway, folder, rtp_ports, run, wait_until};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use crate::voice::{Voice, talk};
use std::net::SocketAddr;

on_both_drivers! {
    a_protected_caller_talks_with_a_plain_carrier
    a_plain_caller_talks_with_a_protected_carrier
    both_legs_have_keys_of_their_own
    a_new_key_in_a_reinvite_takes_the_place_of_the_old_one
    what_is_not_authentic_is_not_heard
    what_may_not_be_in_the_clear_is_refused
    no_key_is_shown
}

/// A gateway with one trunk, a caller and a callee, both with a voice.
struct Row {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    near: Voice,
    far: Voice,
}

/// A call that stands, and where each side was told to send.
struct Talk {
    call: Dialog,
    /// The same as the callee sees it.
    dialog: Dialog,
    answer: Message,
    invite: Message,
    near_to: SocketAddr,
    far_to: SocketAddr,
}

impl Row {
    /// `caller` for all legs, `trunk` for the trunk's.
    fn start(io: &str, caller: &str, trunk: &str) -> Self {
        let (phone, callee) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("srtp").join("gateway.toml");
        let text = format!(
            "[media]\n{caller}\n[[profile]]\nname = \"p\"\n{trunk}\n[health]\nprobe_interval = \"0s\"\n\
             [[trunk]]\nname = \"t\"\npeers = [\"{}\"]\nprofile = \"p\"\n[[route]]\nto = [\"t\"]\n",
            callee.address
        );
        std::fs::write(&path, text).unwrap();
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        let gateway = Gateway::start(io, &arguments);
        let (near, far) = (Voice::new(phone.address.ip(), 1), Voice::new(callee.address.ip(), 2));
        Self { gateway, caller: phone, callee, near, far }
    }

    fn call(&mut self, sdp: &str) -> Dialog {
        let way = Way::Udp(self.gateway.sip);
        self.caller.invite(way, self.gateway.sip, "1000", sdp)
    }

    /// A call with these descriptions; the callee's is made of what it was offered.
    fn begin(&mut self, sdp: &str, answer: impl Fn(&str, &str) -> String) -> Talk {
        let mut call = self.call(sdp);
        let invite = self.callee.expect("INVITE");
        let body = answer(&invite.0.body, &self.far.sdp("sendrecv"));
        self.callee.respond(&invite, 200, "callee", &body);
        let answer = self.caller.answered(&mut call);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        self.callee.expect("ACK");
        let (near_to, far_to) = (answer.audio(), invite.0.audio());
        let dialog = self.callee.dialog_of(&invite, "callee");
        Talk { call, dialog, answer, invite: invite.0, near_to, far_to }
    }

    fn talk(&mut self, at: &Talk) {
        talk((&mut self.near, at.near_to), (&mut self.far, at.far_to), 25);
    }

    fn hang_up(&mut self, mut call: Dialog) -> serde_json::Value {
        self.caller.begin_request(&mut call, "BYE", "");
        let bye = self.callee.expect("BYE");
        self.callee.respond(&bye, 200, "callee", "");
        let cseq = format!("{} BYE", call.cseq);
        assert_eq!(self.caller.final_response(&call.call_id, &cseq).status(), Some(200));
        self.gateway.wait_cdrs(1).remove(0)
    }

    /// The protected caller's voice, by the answer.
    fn cover(&mut self, own: &str, answer: &Message) {
        let (tag, other) = key_in(&answer.body).expect("a key in the answer");
        assert_eq!(tag, "7", "the tag that was offered (RFC 4568 §5.1.2)");
        self.near.cover = Some(Cover::new(own, &other));
    }
}

fn plain(offer: &str, sdp: &str) -> String {
    assert!(offer.contains(" RTP/AVP 8\r\n") && !offer.contains("a=crypto"), "{offer}");
    sdp.to_owned()
}

const CLEAR: &str = "srtp_keys_in_clear = true";

fn a_protected_caller_talks_with_a_plain_carrier(io: &str) {
    let mut row = Row::start(io, &format!("srtp = \"optional\"\n{CLEAR}"), "srtp = \"off\"");
    let own = key(0x11);
    let other = format!("a=crypto:3 F8_128_HMAC_SHA1_80 inline:{}\r\na=crypto:7", key(0x22));
    let sdp = protected(&row.near.sdp("sendrecv"), "7", &own).replace("a=crypto:7", &other);
    let at = row.begin(&sdp, plain);
    assert!(at.answer.body.contains(" RTP/SAVP 8\r\n"), "{}", at.answer.body);
    assert_eq!(at.answer.body.matches("a=crypto:").count(), 1, "one key is answered (RFC 4568 §5.1.2)");
    assert!(!at.answer.body.contains(&own), "the key is the gateway's");
    row.cover(&own, &at.answer);
    row.talk(&at);
    let record = row.hang_up(at.call);
    let suites = ["caller", "callee"].map(|leg| record["media"][leg]["srtp"].as_str().unwrap().to_owned());
    assert_eq!(suites, [SUITE, ""]);
    assert_eq!(record["media"]["caller"]["received"]["packets"], 25);
    assert_eq!(record["media"]["caller"]["forged"], 0);
    assert_eq!(row.near.cover.unwrap().refused, 0, "all that came was protected");
}

fn a_plain_caller_talks_with_a_protected_carrier(io: &str) {
    let suites = format!("srtp_suites = [\"AEAD_AES_256_GCM\", \"{SUITE}\"]\n{CLEAR}");
    for (policy, profile) in [("required", " RTP/SAVP 8\r\n"), ("optional", " RTP/AVP 8\r\n")] {
        let mut row = Row::start(io, "", &format!("srtp = \"{policy}\"\n{suites}"));
        let own = key(0x33);
        let sdp = row.near.sdp("sendrecv");
        let at = row.begin(&sdp, |offer, sdp| {
            assert!(offer.contains(profile), "{offer}");
            assert!(offer.contains("a=crypto:1 AEAD_AES_256_GCM inline:"), "{offer}");
            let (tag, _) = key_in(offer).unwrap();
            assert_eq!(tag, "2");
            let answer = protected(sdp, &tag, &own);
            // RFC 8643: who need not have it answers in the profile of the offer.
            if policy == "optional" { answer.replace("RTP/SAVP", "RTP/AVP") } else { answer }
        });
        assert!(
            at.answer.body.contains(" RTP/AVP 8\r\n") && !at.answer.body.contains("crypto"),
            "{}",
            at.answer.body
        );
        let (_, other) = key_in(&at.invite.body).unwrap();
        row.far.cover = Some(Cover::new(&own, &other));
        row.talk(&at);
        let record = row.hang_up(at.call);
        assert_eq!(record["media"]["callee"]["srtp"], SUITE);
    }
    // Who may choose may choose the clear.
    let mut row = Row::start(io, "", &format!("srtp = \"optional\"\n{suites}"));
    let sdp = row.near.sdp("sendrecv");
    let at = row.begin(&sdp, |_, sdp| sdp.to_owned());
    row.talk(&at);
    assert_eq!(row.hang_up(at.call)["media"]["callee"]["srtp"], "");
}

fn both_legs_have_keys_of_their_own(io: &str) {
    let mut row = Row::start(io, &format!("srtp = \"required\"\n{CLEAR}"), "");
    let (own, theirs) = (key(0x44), key(0x55));
    let sdp = protected(&row.near.sdp("sendrecv"), "7", &own);
    let at = row.begin(&sdp, |offer, sdp| protected(sdp, &key_in(offer).unwrap().0, &theirs));
    let (_, towards) = key_in(&at.invite.body).unwrap();
    let (_, back) = key_in(&at.answer.body).unwrap();
    let keys = [&own, &theirs, &towards, &back];
    assert!((1..4).all(|at| !keys[..at].contains(&keys[at])), "no key goes from one leg to the other");
    row.cover(&own, &at.answer);
    row.far.cover = Some(Cover::new(&theirs, &towards));
    row.talk(&at);
    // A change by the callee keeps the keys of both legs.
    let mut call = at.dialog.clone();
    let sdp = protected(&row.far.sdp("sendonly"), &key_in(&at.invite.body).unwrap().0, &theirs);
    row.callee.begin_request(&mut call, "INVITE", &sdp);
    let reinvite = row.caller.expect("INVITE");
    let offered = &reinvite.0.body;
    assert!(offered.contains(" RTP/SAVP 8\r\n") && offered.contains("a=sendonly\r\n"), "{offered}");
    assert_eq!(key_in(offered), key_in(&at.answer.body));
    let answer = protected(&row.near.sdp("recvonly"), "7", &own);
    row.caller.respond(&reinvite, 200, "", &answer);
    let cseq = format!("{} INVITE", call.cseq);
    let told = row.callee.final_response(&call.call_id, &cseq);
    assert_eq!((told.status(), key_in(&told.body)), (Some(200), key_in(&at.invite.body)), "{}", told.text);
    row.callee.ack(&call, "");
    row.caller.expect("ACK");
    let record = row.hang_up(at.call);
    assert_eq!([&record["media"]["caller"]["srtp"], &record["media"]["callee"]["srtp"]], [SUITE, SUITE]);
}

fn a_new_key_in_a_reinvite_takes_the_place_of_the_old_one(io: &str) {
    let mut row = Row::start(io, &format!("srtp = \"optional\"\n{CLEAR}"), "srtp = \"off\"");
    let sdp = row.near.sdp("sendrecv");
    let mut at = row.begin(&protected(&sdp, "7", &key(0x11)), plain);
    row.cover(&key(0x11), &at.answer);
    row.talk(&at);
    let first = key_in(&at.answer.body).unwrap();
    let far = row.far.sdp("sendrecv");
    for (byte, accepted) in [(0x66, true), (0x77, false), (0x66, true)] {
        row.caller.begin_request(&mut at.call, "INVITE", &protected(&sdp, "7", &key(byte)));
        let unchanged = row.callee.find(std::time::Duration::from_secs(2), |it| it.method() == "INVITE");
        if let Some(reinvite) = unchanged {
            plain(&reinvite.0.body, "");
            row.callee.respond(
                &reinvite,
                if accepted { 200 } else { 488 },
                "callee",
                if accepted { &far } else { "" },
            );
            row.callee.expect("ACK");
        }
        let cseq = format!("{} INVITE", at.call.cseq);
        let answer = row.caller.final_response(&at.call.call_id, &cseq);
        row.caller.ack(&at.call, "");
        if accepted {
            assert_eq!(answer.status(), Some(200), "{}", answer.text);
            assert_ne!(key_in(&answer.body).unwrap(), first, "to a new key belongs a new one of ours");
            row.cover(&key(byte), &answer);
        } else {
            assert_eq!(answer.status(), Some(488), "{}", answer.text);
        }
        row.talk(&at);
    }
    let record = row.hang_up(at.call);
    assert_eq!(record["media"]["caller"]["received"]["packets"], 100);
}

fn what_is_not_authentic_is_not_heard(io: &str) {
    let mut row = Row::start(io, &format!("srtp = \"optional\"\n{CLEAR}"), "srtp = \"off\"");
    let own = key(0x11);
    let at = row.begin(&protected(&row.near.sdp("sendrecv"), "7", &own), plain);
    row.cover(&own, &at.answer);
    row.talk(&at);
    let counted = |name: &str, count: f64| {
        wait_until(name, || row.gateway.metric(name) >= count);
        assert_eq!(row.gateway.metric(name), count, "{name}");
    };
    // From the peer's own address and port: in the clear, under another key, cut short, and as it was before.
    let mut stranger = Voice::new(row.caller.address.ip(), 9);
    let clear = stranger.next();
    stranger.cover = Some(Cover::new(&key(0x99), &key(0x99)));
    let (wrong, packet) = (stranger.next(), row.near.next());
    let forged = [&clear[..], &wrong, &packet[..packet.len() - 1], &packet[..14]];
    for bytes in forged {
        row.near.send_raw(bytes, at.near_to);
    }
    counted("trunkline_srtp_forged_total", 4.0);
    for _ in 0..3 {
        row.near.send_raw(&packet, at.near_to);
    }
    counted("trunkline_srtp_replayed_total", 2.0);
    // From elsewhere: neither forged nor replayed packets move the media.
    for _ in 0..10 {
        let bytes = stranger.next();
        stranger.send_raw(&bytes, at.near_to);
        stranger.send_raw(&packet, at.near_to);
    }
    counted("trunkline_srtp_forged_total", 14.0);
    counted("trunkline_srtp_replayed_total", 12.0);
    row.far.hear();
    row.talk(&at);
    assert_eq!((row.far.heard(9), row.far.heard(1)), (0, 51), "what was forged is not heard");
    let record = row.hang_up(at.call);
    let leg = &record["media"]["caller"];
    assert_eq!([&leg["forged"], &leg["replayed"], &leg["received"]["packets"]], [14, 12, 51]);
}

fn what_may_not_be_in_the_clear_is_refused(io: &str) {
    let (media, key) = (Voice::new([127, 0, 0, 1].into(), 1).sdp("sendrecv"), key(0x11));
    let (clear, sealed) = (media.clone(), protected(&media, "7", &key));
    let weak = sealed.replace(SUITE, "AES_CM_128_HMAC_SHA1_32");
    let cases = [
        ("srtp = \"off\"", &sealed, "SRTP is off here"),
        ("srtp = \"optional\"", &sealed, "SRTP is off here"),
        ("srtp = \"required\"", &sealed, "keys may not go over unencrypted signalling"),
        ("srtp = \"required\"\nsrtp_keys_in_clear = true", &clear, "SRTP is required here"),
        ("srtp = \"optional\"\nsrtp_keys_in_clear = true", &weak, "no key of a suite that is agreed to"),
    ];
    for (settings, sdp, _) in &cases {
        let mut row = Row::start(io, settings, "srtp = \"off\"");
        let call = row.call(sdp);
        let refused = row.caller.final_response(&call.call_id, "1 INVITE");
        assert_eq!(refused.status(), Some(488), "{settings}: {}", refused.text);
        row.caller.ack(&call, "");
        assert_eq!(row.gateway.metric("trunkline_calls_sdp_refused_total"), 1.0);
    }
    // The carrier answers in the clear where that may not be, or with a key that nobody offered.
    for answer in [clear.clone(), protected(&clear, "9", &key)] {
        let mut row = Row::start(io, "", &format!("srtp = \"required\"\n{CLEAR}"));
        let call = row.call(&clear);
        let invite = row.callee.expect("INVITE");
        row.callee.respond(&invite, 200, "callee", &answer);
        let refused = row.caller.final_response(&call.call_id, "1 INVITE");
        assert_eq!(refused.status(), Some(488), "{}", refused.text);
        row.caller.ack(&call, "");
        row.callee.expect("BYE");
    }
}

fn no_key_is_shown(io: &str) {
    let mut row = Row::start(io, &format!("srtp = \"required\"\n{CLEAR}"), "");
    let (own, theirs) = (key(0x44), key(0x55));
    let at = row.begin(&protected(&row.near.sdp("sendrecv"), "7", &own), |offer, sdp| {
        protected(sdp, &key_in(offer).unwrap().0, &theirs)
    });
    let keys = [own, theirs, key_in(&at.invite.body).unwrap().1, key_in(&at.answer.body).unwrap().1];
    let id = at.call.call_id.replace('@', "%40");
    row.hang_up(at.call);
    let mut shown = row.gateway.log();
    for page in ["ladder", "ladder?format=text", "ladder?format=svg"] {
        let (status, body) = row.gateway.get(&format!("/api/v1/calls/{id}/{page}"));
        assert_eq!(status, 200, "{page}");
        assert!(body.contains("inline:xxxx") || page.contains("text"), "{page} has the messages: {body}");
        shown += &body;
    }
    let (api, file) = (format!("http://{}", row.gateway.http), folder("srtp").join("call.pcapng"));
    let out = file.to_str().unwrap();
    assert_eq!(
        run(&["trace", &id.replace("%40", "@"), "--api", &api, "--format", "pcap", "--out", out]).0,
        0
    );
    let packets = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
    assert!(packets.contains("inline:xxxx"), "the packets have the messages");
    shown += &packets;
    shown += &row.gateway.get("/api/v1/cdrs").1;
    for key in keys {
        assert!(!shown.contains(&key), "{key}");
    }
}
