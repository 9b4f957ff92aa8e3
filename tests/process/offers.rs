//! Offers and answers in all the ways that calls make them (RFC 3261 §13.2.1, §14; RFC 3262 §5; RFC 6337), early dialogs of
//! forked calls (RFC 3960), preconditions (RFC 3312), and extensions that somebody demands (RFC 3261 §21.4.16).

use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way, unique};
use crate::voice::Voice;
use std::time::Duration;

on_both_drivers! {
    a_call_without_an_offer_is_offered_to_a_trunk_that_demands_one
    an_answer_to_our_offer_that_is_none_ends_the_call
    a_trunk_that_demands_100rel_of_an_offerless_call_gets_an_offer
    a_reinvite_without_an_offer_asks_the_other_side
    a_refused_reinvite_leaves_the_session
    the_codecs_of_a_trunk_hold_for_reinvites
    hold_passes_in_each_of_its_forms
    the_network_s_word_on_early_media_goes_to_trusted_callers
    an_offer_in_a_provisional_response_is_answered_in_its_prack
    the_reliable_responses_of_each_branch_are_acknowledged
    media_of_the_latest_or_the_first_early_dialog_is_heard
    another_branch_than_the_one_heard_early_answers_with_other_codecs
    what_is_missing_or_unknown_is_named
    preconditions_pass_between_the_ends
}

struct Row {
    gateway: Gateway,
    caller: Phone,
    callee: Phone,
    sdp: String,
    answer: String,
}

impl Row {
    /// A gateway with one trunk of this profile and these keys.
    fn start(io: &str, profile: &str, keys: &str) -> Self {
        Self::start_with(io, "", profile, keys)
    }

    fn start_with(io: &str, settings: &str, profile: &str, keys: &str) -> Self {
        let (caller, callee) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
        let path = folder("offers").join("gateway.toml");
        let text = format!(
            "{settings}\n[[profile]]\nname = \"p\"\n{profile}\n[health]\nprobe_interval = \"0s\"\n\
             [[trunk]]\nname = \"t\"\npeers = [\"{}\"]\nprofile = \"p\"\n{keys}\n[[route]]\nto = [\"t\"]\n",
            callee.address
        );
        std::fs::write(&path, text).unwrap();
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        let gateway = Gateway::start(io, &arguments);
        let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
        let answer = Voice::new(callee.address.ip(), 2).sdp("sendrecv");
        Self { gateway, caller, callee, sdp, answer }
    }

    fn call(&mut self, fields: &str, sdp: &str) -> Dialog {
        let way = Way::Udp(self.gateway.sip);
        self.caller.invite_with(way, self.gateway.sip, "1000", fields, sdp)
    }

    /// A call that stands: both sides of it.
    fn talk(&mut self) -> (Dialog, Dialog) {
        let (sdp, answer) = (self.sdp.clone(), self.answer.clone());
        let mut call = self.call("", &sdp);
        let invite = self.callee.expect("INVITE");
        self.callee.respond(&invite, 200, "callee", &answer);
        assert_eq!(self.caller.answered(&mut call).status(), Some(200));
        self.callee.expect("ACK");
        (call, self.callee.dialog_of(&invite, "callee"))
    }

    fn hang_up(&mut self, mut call: Dialog) {
        self.caller.begin_request(&mut call, "BYE", "");
        let bye = self.callee.expect("BYE");
        self.callee.respond(&bye, 200, "callee", "");
        let cseq = format!("{} BYE", call.cseq);
        assert_eq!(self.caller.final_response(&call.call_id, &cseq).status(), Some(200));
    }
}

/// The 2xx to our INVITE; the dialog is complete, its ACK still to be sent.
fn offered(caller: &mut Phone, call: &mut Dialog) -> Message {
    let answer = caller.final_response(&call.call_id, &format!("{} INVITE", call.cseq));
    answer.field("to").clone_into(&mut call.remote);
    answer.contact().clone_into(&mut call.target);
    answer
}

fn a_call_without_an_offer_is_offered_to_a_trunk_that_demands_one(io: &str) {
    let mut row = Row::start(io, "late_offer = \"offer\"", "codecs = [\"PCMA\", \"G722\"]");
    for held in [false, true] {
        let mut call = row.call("", "");
        let invite = row.callee.expect("INVITE");
        let offer = &invite.0.body;
        assert!(
            offer.contains(" RTP/AVP 8 9 101\r\n") && offer.contains("a=sendrecv\r\n"),
            "{}",
            invite.0.text
        );
        assert_eq!(invite.0.audio().ip(), row.gateway.sip.ip());
        row.callee.respond(&invite, 200, "callee", &row.answer.clone());
        // RFC 3264 §4: the answer of one side is the offer to the other.
        let answer = offered(&mut row.caller, &mut call);
        assert!(
            answer.body.contains("m=audio ") && answer.body.contains(" RTP/AVP 8\r\n"),
            "{}",
            answer.text
        );
        assert_eq!(row.callee.expect("ACK").0.body, "", "it has given its answer");
        let sdp = if held { row.sdp.replace("sendrecv", "sendonly") } else { row.sdp.clone() };
        row.caller.ack(&call, &sdp);
        if held {
            // RFC 3725 §4.4: who was offered more is told of what there is.
            let reinvite = row.callee.expect("INVITE");
            assert!(reinvite.0.body.contains("a=sendonly\r\n"), "{}", reinvite.0.text);
            let on_hold = row.answer.replace("sendrecv", "recvonly");
            row.callee.respond(&reinvite, 200, "callee", &on_hold);
            row.callee.expect("ACK");
        }
        row.hang_up(call);
    }
    assert_eq!(row.gateway.metric("trunkline_offers_made_total"), 2.0);
}

fn an_answer_to_our_offer_that_is_none_ends_the_call(io: &str) {
    let mut row = Row::start(io, "late_offer = \"offer\"", "");
    let mut call = row.call("", "");
    let invite = row.callee.expect("INVITE");
    row.callee.respond(&invite, 200, "callee", &row.answer.clone());
    offered(&mut row.caller, &mut call);
    row.caller.ack(&call, "");
    for phone in [&mut row.caller, &mut row.callee] {
        let bye = phone.expect("BYE");
        assert!(bye.0.field("reason").contains("cause=488"), "{}", bye.0.text);
        phone.respond(&bye, 200, "", "");
    }
    assert_eq!(row.gateway.wait_cdrs(1)[0]["q850"], 88);
}

fn a_trunk_that_demands_100rel_of_an_offerless_call_gets_an_offer(io: &str) {
    let mut row = Row::start(io, "", "");
    let mut call = row.call("", "");
    let invite = row.callee.expect("INVITE");
    assert_eq!((invite.0.body.as_str(), invite.0.field("supported").contains("100rel")), ("", false));
    row.callee.respond_with(&invite, 421, "callee", "Require: 100rel\r\n", "");
    row.callee.expect("ACK");
    let invite = row.callee.expect("INVITE");
    assert!(
        invite.0.body.contains("m=audio ") && invite.0.field("supported").contains("100rel"),
        "{}",
        invite.0.text
    );
    row.callee.respond(&invite, 200, "callee", &row.answer.clone());
    assert!(offered(&mut row.caller, &mut call).body.contains("m=audio "));
    row.callee.expect("ACK");
    row.caller.ack(&call, &row.sdp.clone());
    row.hang_up(call);
}

fn a_reinvite_without_an_offer_asks_the_other_side(io: &str) {
    let mut row = Row::start(io, "", "");
    let (mut call, _) = row.talk();
    // Held, as the caller's phone has it: what stands would keep it held.
    row.caller.begin_request(&mut call, "INVITE", &row.sdp.replace("sendrecv", "sendonly"));
    let reinvite = row.callee.expect("INVITE");
    row.callee.respond(&reinvite, 200, "callee", &row.answer.replace("sendrecv", "recvonly"));
    assert!(offered(&mut row.caller, &mut call).body.contains("a=recvonly"));
    row.caller.ack(&call, "");
    row.callee.expect("ACK");
    // RFC 6337 §5.2.5: an offer asked for is one of everything.
    row.caller.begin_request(&mut call, "INVITE", "");
    let reinvite = row.callee.expect("INVITE");
    assert_eq!(reinvite.0.body, "");
    row.callee.respond(&reinvite, 200, "callee", &row.answer.clone());
    let offer = offered(&mut row.caller, &mut call);
    assert!(offer.body.contains("a=sendrecv"), "{}", offer.text);
    row.caller.ack(&call, &row.sdp.clone());
    let ack = row.callee.expect("ACK");
    assert!(ack.0.body.contains("a=sendrecv") && ack.0.body.contains("m=audio "), "{}", ack.0.text);
    // Who cannot be asked is passed over: what stands is offered anew.
    row.caller.begin_request(&mut call, "INVITE", "");
    let reinvite = row.callee.expect("INVITE");
    row.callee.respond(&reinvite, 488, "callee", "");
    let offer = offered(&mut row.caller, &mut call);
    assert!(offer.status() == Some(200) && offer.body.contains("m=audio "), "{}", offer.text);
    row.caller.ack(&call, &row.sdp.clone());
    // Glare is told (RFC 3261 §14.1).
    row.callee.expect("ACK");
    row.caller.begin_request(&mut call, "INVITE", "");
    let reinvite = row.callee.expect("INVITE");
    row.callee.respond(&reinvite, 491, "callee", "");
    assert_eq!(
        row.caller.final_response(&call.call_id, &format!("{} INVITE", call.cseq)).status(),
        Some(491)
    );
    row.hang_up(call);
}

fn a_refused_reinvite_leaves_the_session(io: &str) {
    let mut row = Row::start(io, "", "");
    let (mut call, _) = row.talk();
    for (status, field, expected) in [(488, "", 488), (491, "", 491), (500, "Retry-After: 7\r\n", 500)] {
        row.caller.begin_request(&mut call, "INVITE", &row.sdp.replace("sendrecv", "inactive"));
        let reinvite = row.callee.expect("INVITE");
        row.callee.respond_with(&reinvite, status, "callee", field, "");
        let answer = row.caller.final_response(&call.call_id, &format!("{} INVITE", call.cseq));
        assert_eq!(answer.status(), Some(expected), "{}", answer.text);
        // RFC 3261 §14.2
        assert_eq!(answer.field("retry-after"), if status == 500 { "7" } else { "" });
    }
    row.hang_up(call);
    assert_eq!(row.gateway.wait_cdrs(1)[0]["cause"], "normal");
}

fn the_codecs_of_a_trunk_hold_for_reinvites(io: &str) {
    let mut row = Row::start(io, "transcode = false", "codecs = [\"PCMA\"]");
    let (mut call, _) = row.talk();
    let both = row.sdp.replace(" RTP/AVP 8", " RTP/AVP 0 8");
    row.caller.begin_request(&mut call, "INVITE", &both);
    let reinvite = row.callee.expect("INVITE");
    assert!(reinvite.0.body.contains(" RTP/AVP 8\r\n"), "{}", reinvite.0.text);
    row.callee.respond(&reinvite, 200, "callee", &row.answer.clone());
    assert_eq!(offered(&mut row.caller, &mut call).status(), Some(200));
    row.caller.ack(&call, "");
    let other = row.sdp.replace(" RTP/AVP 8", " RTP/AVP 0");
    row.caller.begin_request(&mut call, "INVITE", &other);
    assert_eq!(
        row.caller.final_response(&call.call_id, &format!("{} INVITE", call.cseq)).status(),
        Some(488)
    );
    row.hang_up(call);
}

fn hold_passes_in_each_of_its_forms(io: &str) {
    let mut row = Row::start(io, "", "");
    let (mut call, mut callee) = row.talk();
    let nowhere = |sdp: &str| sdp.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    let (sdp, answer) = (row.sdp.clone(), row.answer.clone());
    // Offer, what the callee is offered of it, its answer, what the caller hears of that (RFC 3264 §8.4, RFC 2543 §B.5).
    for (offer, heard, says, told) in [
        (sdp.replace("sendrecv", "sendonly"), "a=sendonly", "recvonly", "a=recvonly"),
        (sdp.replace("sendrecv", "inactive"), "a=inactive", "inactive", "a=inactive"),
        (nowhere(&sdp), "a=sendonly", "recvonly", "a=recvonly"),
        (sdp.clone(), "a=sendrecv", "sendrecv", "a=sendrecv"),
    ] {
        row.caller.begin_request(&mut call, "INVITE", &offer);
        let reinvite = row.callee.expect("INVITE");
        assert!(reinvite.0.body.contains(&format!("{heard}\r\n")), "{heard}: {}", reinvite.0.text);
        assert_eq!(reinvite.0.audio().ip(), row.gateway.sip.ip(), "the gateway's address in any case");
        row.callee.respond(&reinvite, 200, "callee", &answer.replace("sendrecv", says));
        let ok = offered(&mut row.caller, &mut call);
        assert!(ok.body.contains(&format!("{told}\r\n")), "{told}: {}", ok.text);
        row.caller.ack(&call, "");
        row.callee.expect("ACK");
    }
    // And from the other side.
    let reinvite = loop {
        row.callee.begin_request(&mut callee, "INVITE", &nowhere(&answer));
        let cseq = format!("{} INVITE", callee.cseq);
        let mut reinvite = None;
        while reinvite.is_none() {
            reinvite = row.caller.find(Duration::from_millis(10), |message| message.method() == "INVITE");
            // The caller's ACK may still have been on its way: then the two crossed.
            let crossed =
                |message: &Message| message.answers(&callee.call_id, &cseq) && message.status() == Some(491);
            if row.callee.find(Duration::from_millis(10), crossed).is_some() {
                break;
            }
        }
        if let Some(reinvite) = reinvite {
            break reinvite;
        }
    };
    assert!(reinvite.0.body.contains("a=sendonly\r\n"), "{}", reinvite.0.text);
    row.caller.respond(&reinvite, 200, "", &sdp.replace("sendrecv", "recvonly"));
    assert_eq!(offered(&mut row.callee, &mut callee).status(), Some(200));
    row.callee.ack(&callee, "");
    row.caller.expect("ACK");
    row.hang_up(call);
}

fn the_network_s_word_on_early_media_goes_to_trusted_callers(io: &str) {
    // RFC 5009 §4, §5
    for (trusted, expected) in [("trusted = [\"127.0.0.1/32\"]", "sendonly"), ("", "")] {
        let mut row = Row::start_with(io, trusted, "", "");
        let sdp = row.sdp.clone();
        let call = row.call("P-Early-Media: supported\r\n", &sdp);
        let invite = row.callee.expect("INVITE");
        let answer = row.answer.clone();
        row.callee.respond_with(&invite, 183, "callee", "P-Early-Media: sendonly\r\n", &answer);
        let progress = row.caller.response(&call, 183);
        assert_eq!(progress.field("p-early-media"), expected, "{}", progress.text);
        assert!(progress.body.contains("m=audio "));
        row.caller.cancel(&call);
    }
}

/// PRACK of a reliable provisional response, answered 200.
fn prack(caller: &mut Phone, call: &mut Dialog, progress: &Message, sdp: &str) {
    progress.field("to").clone_into(&mut call.remote);
    progress.contact().clone_into(&mut call.target);
    let rack = format!("RAck: {} {}\r\n", progress.field("rseq"), progress.field("cseq"));
    send(caller, call, "PRACK", &rack, sdp);
    assert_eq!(finally(caller, call, "PRACK").status(), Some(200));
}

fn an_offer_in_a_provisional_response_is_answered_in_its_prack(io: &str) {
    // RFC 3262 §5, RFC 6337 §2.1
    let mut row = Row::start(io, "", "");
    let mut call = row.call("Supported: 100rel\r\n", "");
    let invite = row.callee.expect("INVITE");
    assert_eq!(invite.0.body, "");
    assert!(invite.0.copied("supported", "S").contains("100rel"), "{}", invite.0.text);
    let offer = row.answer.clone();
    row.callee.respond_with(&invite, 183, "callee", "Require: 100rel\r\nRSeq: 5\r\n", &offer);
    let progress = row.caller.response(&call, 183);
    assert!(
        progress.field("require").contains("100rel") && progress.body.contains("m=audio "),
        "{}",
        progress.text
    );
    prack(&mut row.caller, &mut call, &progress, &row.sdp.clone());
    let acknowledged = row.callee.expect("PRACK");
    assert_eq!(acknowledged.0.field("rack"), "5 1 INVITE");
    assert!(acknowledged.0.body.contains("m=audio "), "the answer: {}", acknowledged.0.text);
    row.callee.respond(&acknowledged, 200, "callee", "");
    row.callee.respond(&invite, 200, "callee", "");
    call.cseq = 1;
    assert_eq!(row.caller.answered(&mut call).body, "", "all is said");
    assert_eq!(row.callee.expect("ACK").0.body, "");
    call.cseq = 9;
    row.hang_up(call);
}

fn the_reliable_responses_of_each_branch_are_acknowledged(io: &str) {
    let mut row = Row::start(io, "", "");
    let sdp = row.sdp.clone();
    let mut call = row.call("Supported: 100rel\r\n", &sdp);
    let invite = row.callee.expect("INVITE");
    // RFC 3262 §4, RFC 3261 §12.1: each in the dialog that its tag makes.
    for (tag, rseq, status) in [("one", 7, 183), ("two", 40, 183), ("one", 8, 180), ("two", 41, 180)] {
        let fields = format!("Require: 100rel\r\nRSeq: {rseq}\r\n");
        let body = if status == 183 { row.answer.clone() } else { String::new() };
        row.callee.respond_with(&invite, status, tag, &fields, &body);
        let acknowledged = row.callee.expect("PRACK");
        assert_eq!(
            (acknowledged.0.tag("to"), acknowledged.0.field("rack")),
            (tag, &*format!("{rseq} 1 INVITE"))
        );
        row.callee.respond(&acknowledged, 200, tag, "");
        // The caller has one dialog, in which the numbers go on.
        let last = core::mem::replace(&mut call.cseq, 1);
        let progress = row.caller.response(&call, status);
        call.cseq = last;
        prack(&mut row.caller, &mut call, &progress, "");
    }
    row.callee.respond(&invite, 200, "two", "");
    call.cseq = 1;
    assert_eq!(row.caller.answered(&mut call).status(), Some(200));
    assert_eq!(row.callee.expect("ACK").0.tag("to"), "two");
    call.cseq = 900;
    row.hang_up(call);
}

/// Says a packet to the gateway and tells whether it comes out at the caller's.
fn is_heard(voice: &mut Voice, to: std::net::SocketAddr, mark: u8, caller: &mut Voice) -> bool {
    let before = caller.heard(mark);
    for _ in 0..10 {
        voice.send(to);
        std::thread::sleep(Duration::from_millis(10));
        caller.hear();
        if caller.heard(mark) > before {
            return true;
        }
    }
    false
}

fn media_of_the_latest_or_the_first_early_dialog_is_heard(io: &str) {
    for (policy, first_heard) in [("latest", false), ("first", true)] {
        let mut row = Row::start(io, &format!("early_dialogs = \"{policy}\""), "");
        let mut ears = Voice::new(row.caller.address.ip(), 1);
        let mut call = row.call("", &ears.sdp("sendrecv"));
        let invite = row.callee.expect("INVITE");
        let gateway = invite.0.audio();
        let mut mouths = [2, 3].map(|mark| Voice::new(row.callee.address.ip(), mark));
        for (tag, mouth) in ["one", "two"].iter().zip(&mouths) {
            row.callee.respond(&invite, 183, tag, &mouth.sdp("sendrecv"));
            // Toward the caller it is one dialog.
            let heard = row.caller.response(&call, 183);
            assert!(!heard.tag("to").is_empty());
            row.caller.forget();
            if policy == "first" {
                break;
            }
        }
        if policy == "first" {
            row.callee.respond(&invite, 183, "two", &mouths[1].sdp("sendrecv"));
            row.caller.response(&call, 183);
        }
        assert_eq!(is_heard(&mut mouths[0], gateway, 2, &mut ears), first_heard, "{policy}");
        assert_eq!(is_heard(&mut mouths[1], gateway, 3, &mut ears), !first_heard, "{policy}");
        // RFC 5009: what the network forbids is not heard.
        let mut third = Voice::new(row.callee.address.ip(), 4);
        row.callee.respond_with(&invite, 183, "three", "P-Early-Media: inactive\r\n", &third.sdp("sendrecv"));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!is_heard(&mut third, gateway, 4, &mut ears), "{policy}");
        // The other branch answers: RFC 3261 §13.2.2.4.
        let other = usize::from(first_heard);
        let sdp = mouths[other].sdp("sendrecv");
        row.callee.respond(&invite, 200, ["one", "two"][other], &sdp);
        assert_eq!(row.caller.answered(&mut call).status(), Some(200));
        row.callee.expect("ACK");
        assert!(is_heard(&mut mouths[other], gateway, 2 + other as u8, &mut ears), "{policy}");
        // A second one answers as well: acknowledged, and ended.
        row.callee.respond(&invite, 200, "three", &third.sdp("sendrecv"));
        let ack = row.callee.expect("ACK");
        assert_eq!(ack.0.tag("to"), "three");
        let bye = row.callee.expect("BYE");
        assert_eq!(bye.0.tag("to"), "three", "{}", bye.0.text);
        row.callee.respond(&bye, 200, "three", "");
        row.hang_up(call);
        assert_eq!(row.gateway.metric("trunkline_sip_forked_answers_total"), 1.0);
    }
}

fn another_branch_than_the_one_heard_early_answers_with_other_codecs(io: &str) {
    let mut row = Row::start(io, "", "");
    let both = row.sdp.replace(" RTP/AVP 8", " RTP/AVP 8 0");
    let mut call = row.call("", &both);
    let invite = row.callee.expect("INVITE");
    row.callee.respond(&invite, 183, "one", &row.answer.clone());
    assert!(row.caller.response(&call, 183).body.contains(" RTP/AVP 8\r\n"));
    let other = row.answer.replace(" RTP/AVP 8", " RTP/AVP 0");
    row.callee.respond(&invite, 200, "two", &other);
    assert_eq!(row.caller.answered(&mut call).status(), Some(200));
    row.callee.expect("ACK");
    // RFC 3261 §13.2.1: the caller did not heed the second answer; it is told by a re-INVITE. The first try crosses its own.
    let reinvite = row.caller.expect("INVITE");
    assert!(reinvite.0.body.contains(" RTP/AVP 0\r\n"), "{}", reinvite.0.text);
    row.caller.respond(&reinvite, 491, "", "");
    row.caller.expect("ACK");
    let reinvite = row.caller.expect("INVITE");
    row.caller.respond(&reinvite, 200, "", &row.sdp.replace(" RTP/AVP 8", " RTP/AVP 0"));
    row.caller.expect("ACK");
    assert_eq!(row.gateway.metric("trunkline_sessions_resynced_total"), 2.0);
    assert_eq!(row.gateway.metric("trunkline_glares_total"), 1.0);
    row.hang_up(call);
}

fn what_is_missing_or_unknown_is_named(io: &str) {
    let mut row = Row::start(io, "", "");
    let sdp = row.sdp.clone();
    // RFC 3261 §8.2.2.3, §16.3: what the gateway does not know.
    let mut call = row.call("Require: 100rel, made-up\r\nProxy-Require: made-down\r\n", &sdp);
    let answer = row.caller.answered(&mut call);
    assert_eq!((answer.status(), answer.field("unsupported")), (Some(420), "made-up, made-down"));
    assert!(row.callee.leftovers(Duration::from_millis(50)).is_empty());
    // §21.4.15, §21.4.16: what the callee does not know, or misses.
    for (status, field) in [(420, "unsupported"), (421, "require")] {
        let mut call = row.call("", &sdp);
        let invite = row.callee.expect("INVITE");
        row.callee.respond_with(&invite, status, "callee", &format!("{field}: made-up\r\n"), "");
        let answer = row.caller.answered(&mut call);
        assert_eq!((answer.status(), answer.field(field)), (Some(status), "made-up"), "{}", answer.text);
    }
}

/// The port of the audio in a session description.
fn port_of(sdp: &str) -> u16 {
    let rest = sdp.split("m=audio ").nth(1).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn preconditions_pass_between_the_ends(io: &str) {
    let mut row = Row::start(io, "base = \"ims\"", "");
    let wants = "a=curr:qos local none\r\na=curr:qos remote none\r\na=des:qos mandatory local sendrecv\r\n\
        a=des:qos none remote sendrecv\r\n";
    let offer = format!("{}{wants}", row.sdp);
    let mut call = row
        .call("Require: precondition, 100rel\r\nAllow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE\r\n", &offer);
    let invite = row.callee.expect("INVITE");
    assert_eq!(invite.0.field("require"), "precondition", "{}", invite.0.text);
    assert!(invite.0.body.contains(wants), "untouched: {}", invite.0.body);
    // RFC 3312 §13: the answer comes before anybody's phone rings, with what is there and a wish to be told.
    let has = "a=curr:qos local none\r\na=curr:qos remote none\r\na=des:qos mandatory local sendrecv\r\n\
        a=des:qos mandatory remote sendrecv\r\na=conf:qos remote sendrecv\r\n";
    let fields =
        "Require: precondition, 100rel\r\nRSeq: 7\r\nAllow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE\r\n";
    let answer = format!("{}{has}", row.answer);
    row.callee.respond_with(&invite, 183, "callee", fields, &answer);
    let prack = row.callee.expect("PRACK");
    row.callee.respond(&prack, 200, "callee", "");
    let progress = row.caller.response(&call, 183);
    assert!(progress.copied("require", "R").contains("precondition"), "{}", progress.text);
    assert!(progress.body.contains(has), "{}", progress.text);
    progress.field("to").clone_into(&mut call.remote);
    progress.contact().clone_into(&mut call.target);
    send(&mut row.caller, &mut call, "PRACK", &format!("RAck: {} 1 INVITE\r\n", progress.field("rseq")), "");
    assert_eq!(finally(&mut row.caller, &call, "PRACK").status(), Some(200));
    // RFC 3311 §5: the caller's side is ready.
    let ready = format!("{}{}", row.sdp, wants.replace("curr:qos local none", "curr:qos local sendrecv"));
    send(&mut row.caller, &mut call, "UPDATE", "Require: precondition\r\n", &ready);
    let update = row.callee.expect("UPDATE");
    assert_eq!(update.0.field("require"), "precondition", "{}", update.0.text);
    assert!(update.0.body.contains("a=curr:qos local sendrecv\r\n"), "{}", update.0.text);
    let agreed = answer.replace("curr:qos remote none", "curr:qos remote sendrecv");
    row.callee.respond(&update, 200, "callee", &agreed);
    let updated = finally(&mut row.caller, &call, "UPDATE");
    assert!(updated.body.contains("a=curr:qos remote sendrecv\r\n"), "{}", updated.text);
    row.callee.respond_with(&invite, 180, "callee", "", "");
    call.cseq = 1;
    row.caller.response(&call, 180);
    row.callee.respond(&invite, 200, "callee", "");
    assert_eq!(row.caller.answered(&mut call).status(), Some(200));
    row.callee.expect("ACK");
    call.cseq = 9;
    row.hang_up(call);
    // RFC 3312 §8: what cannot be had ends the call, and the caller hears why.
    let mut call = row.call("Supported: precondition, 100rel\r\n", &offer);
    let invite = row.callee.expect("INVITE");
    assert!(invite.0.copied("supported", "S").contains("precondition"), "{}", invite.0.text);
    let failed = format!("{}{}", row.answer, "a=des:qos failure e2e sendrecv\r\n");
    row.callee.respond(&invite, 580, "callee", &failed);
    let refused = row.caller.answered(&mut call);
    assert_eq!(refused.status(), Some(580), "{}", refused.text);
    // What is said of them goes through, and no address of the callee's with it.
    assert!(refused.body.contains("a=des:qos failure e2e sendrecv\r\n"), "{}", refused.text);
    assert_eq!(refused.field("content-type"), "application/sdp", "{}", refused.text);
    assert_ne!(refused.audio().port(), port_of(&failed), "{}", refused.text);
}

/// A request within a call with further fields.
fn send(phone: &mut Phone, call: &mut Dialog, method: &str, fields: &str, sdp: &str) {
    call.cseq += 1;
    let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let text = format!(
        "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: {} {method}\r\nContact: <sip:phone@{}>\r\n{fields}{kind}Content-Length: {}\r\n\r\n{sdp}",
        call.target,
        phone.address,
        unique(),
        call.local,
        call.remote,
        call.call_id,
        call.cseq,
        phone.address,
        sdp.len()
    );
    phone.send(call.way, &text);
}

fn finally(phone: &mut Phone, call: &Dialog, method: &str) -> Message {
    phone.final_response(&call.call_id, &format!("{} {method}", call.cseq))
}
