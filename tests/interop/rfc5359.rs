//! The flows of RFC 5359 (service examples).

use crate::Flow;
use crate::gateway::{Gateway, packets};
use crate::kamailio::{Kamailio, LOOSE, relay};
use crate::place::{Scene, own_address, wait_until};
use crate::rfc3665::{ANSWERS, LISTENS, NUMBER, RINGS, TALKS, assert_voice, between, let_talk, phone, trunk};
use crate::scenario::scenario;
use crate::sipp::Sipp;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

pub(crate) fn flows() -> Vec<Flow> {
    rows! { "RFC 5359";
        "2.1", "Call hold", "SIPp, GW, SIPp", yes hold_by_caller,
            "the caller holds and resumes: sendonly and recvonly cross, then sendrecv";
        "2.1", "Call hold", "SIPp, GW, SIPp", yes hold_by_callee,
            "the same by the callee";
        "2.1", "Call hold", "baresip, GW, SIPp", yes hold_by_baresip,
            "baresip holds and resumes";
        "2.1", "Call hold", "SIPp, GW, baresip", yes hold_of_baresip,
            "baresip is held and resumed";
        "2.2", "Consultation hold", "SIPp, GW, baresip, GW, SIPp", yes consultation,
            "baresip holds its caller, calls a third, hangs up there and resumes: two records";
        "2.3", "Music on hold", "SIPp, GW, SIPp and a music server", yes music,
            "the callee's re-INVITE names the music server's address; its RTP reaches the caller";
        "2.4", "Transfer, unattended", "SIPp, GW, SIPp and SIPp", yes transfer,
            "the caller refers: 202, NOTIFY with 100, 180, 200; the callee and the target talk on, by the first one's session";
        "2.4", "Transfer, unattended", "SIPp, GW, SIPp and SIPp", yes transfer_failed,
            "the target is busy: NOTIFY with 486, the call goes on";
        "2.4", "Transfer, unattended", "SIPp, GW, baresip and SIPp", yes transfer_by_baresip,
            "baresip refers its caller and hears that it is done";
        "2.4", "Transfer, unattended", "SIPp, GW, SIPp and baresip", yes transfer_to_baresip,
            "baresip is the target and talks with the first callee: RTP both ways";
        "2.4", "Transfer, unattended", "linphone, GW, baresip and SIPp", yes transfer_by_linphone,
            "linphone refers baresip, which talks with the target";
        "2.4", "Transfer, unattended", "SIPp, GW, SIPp", yes transfer_passed,
            "transfer = pass: REFER reaches the other side, its NOTIFYs the referrer";
        "2.5", "Transfer, attended", "SIPp and SIPp, GW, SIPp and SIPp", yes transfer_attended,
            "Refer-To with Replaces: both far ends are joined, the consultation leg gets BYE";
        "2.5", "Transfer, attended", "linphone, GW, baresip and baresip", yes transfer_attended_by_linphone,
            "linphone holds baresip, calls a third party, and has both put through to each other: re-INVITE to baresip";
        "2.6", "Transfer, instant messaging", "SIPp, GW, SIPp", yes crate::outside::message,
            "the MESSAGE that asks for it goes through; the REFER that it asks for is executed as in 2.4";
        "2.7", "Forwarding, unconditional", "SIPp, GW, Kamailio, SIPp", yes forwarded,
            "the proxy forwards; 181 reaches the caller";
        "2.8", "Forwarding, busy", "SIPp, GW, Kamailio, baresip and SIPp", yes forwarded_busy,
            "the first phone refuses, the second answers: two early dialogs on one INVITE";
        "2.8", "Forwarding, busy", "SIPp, GW, SIPp and SIPp", yes forwarded_by_gateway,
            "the gateway forwards: 486 among failover_statuses sends the call to the backup trunk";
        "2.9", "Forwarding, no answer", "SIPp, GW, Kamailio, baresip and SIPp", yes forwarded_unanswered,
            "the proxy gives the first phone up and rings the second";
        "2.10", "Conference, third party is added", "SIPp and SIPp, GW, SIPp", yes conference,
            "the callee moves its media to the mixer and calls the third party; isfocus in its Contact does not cross a B2BUA";
        "2.11", "Conference, third party joins", "SIPp and SIPp, GW, SIPp", yes joined,
            "an INVITE with Join goes on to the far end of the call, which is to mix, with Join naming the dialog as it knows it";
        "2.11", "Conference, third party joins", "SIPp and SIPp, GW, baresip", yes join_unsupported,
            "baresip does not know the extension: its 420 with Unsupported reaches who wanted to join, and the call goes on";
        "2.11", "Conference, third party joins", "SIPp, GW", yes join_refused,
            "a Join of no dialog is answered 481";
        "2.12", "Find me", "SIPp, GW, Kamailio, baresip and SIPp", yes forwarded_busy,
            "one place after the other, as 2.8";
        "2.12", "Find me", "SIPp, GW, Kamailio, baresip and SIPp", yes forked,
            "all places at once: the first to answer has the call, the other stops ringing";
        "2.13", "Incoming call screening", "SIPp, GW, Kamailio", yes screened,
            "403 of the callee's proxy reaches the caller";
        "2.14", "Outgoing call screening", "SIPp, GW", yes screened_out,
            "the gateway screens: a number without route is answered 404, and no carrier is asked";
        "2.15", "Call park", "SIPp, GW, SIPp, SIPp and SIPp", yes parked,
            "the callee refers its caller to the park server; an INVITE with Replaces takes the call up from there";
        "2.16", "Call pickup", "SIPp, GW, SIPp and SIPp", yes picked_up,
            "an INVITE with Replaces and early-only takes the ringing phone's place; that one gets CANCEL";
        "2.17", "Automatic redial", "SIPp, GW, SIPp", yes crate::outside::redial,
            "486; the caller subscribes to the callee's dialog, is told when it is over, and calls again";
        "2.18", "Click to dial", "SIPp, GW, SIPp and SIPp", yes clicked,
            "a REFER outside of calls: the gateway calls the phone, then whom it refers to; 202, NOTIFY with 100, 180, 200";
        "2.18", "Click to dial", "SIPp, GW, baresip and SIPp", yes clicked_baresip,
            "baresip is the phone that is rung, and talks with whom it is put through to: RTP both ways";
        "2.18", "Click to dial", "SIPp, GW", yes refer_outside_refused,
            "without refer = execute in the configuration: 403";
    }
}

/// A caller who holds and resumes.
const HOLDS: &str = "
    > INVITE sdp
    < 180?
    < 200
    > ACK
    pause 200
    > INVITE sdp:sendonly
    < 200 ~a=recvonly
    > ACK
    pause 200
    > INVITE sdp
    < 200 ~a=sendrecv
    > ACK
    pause 200
    > BYE
    < 200";

/// A callee who is held and resumed.
const IS_HELD: &str = "
    < INVITE
    > 180
    > 200 sdp
    < ACK
    < INVITE ~a=sendonly
    > 200 sdp:recvonly
    < ACK
    < INVITE ~a=sendrecv
    > 200 sdp
    < ACK
    < BYE
    > 200";

fn hold_by_caller(scene: &Scene) {
    between(scene, HOLDS, IS_HELD, 200);
}

fn hold_by_callee(scene: &Scene) {
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < INVITE ~a=sendonly
        > 200 sdp:recvonly
        < ACK
        < INVITE ~a=sendrecv
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 200
        > INVITE sdp:sendonly
        < 200 ~a=recvonly
        > ACK
        pause 200
        > INVITE sdp
        < 200 ~a=sendrecv
        > ACK
        pause 200
        > BYE
        < 200";
    between(scene, caller, callee, 200);
}

fn hold_by_baresip(scene: &Scene) {
    let bob = Sipp::callee_at(scene, "bob", own_address(), IS_HELD, &["-rtp_echo"]);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let mut alice = phone(scene, "alice", "");
    alice.order(&format!("dial sip:{NUMBER}@{}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("hold");
    alice.wait_for("CALL_REMOTE_SDP");
    alice.order("resume");
    alice.wait_for("CALL_REMOTE_SDP");
    alice.order("hangup");
    bob.finish(1);
    assert_voice(&gateway.cdr(200));
}

fn hold_of_baresip(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=auto");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, HOLDS).finish(1);
    bob.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_CLOSED");
    gateway.cdr(200);
}

fn consultation(scene: &Scene) {
    let mut bob = phone(scene, "1002", "answermode=auto");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let routes =
        "[[route]]\nprefix = \"1002\"\nto = [\"bob\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n";
    let trunks = [format!("bob={}", bob.at), format!("carol={}", carol.at())];
    let gateway = Gateway::start(scene, &trunks, routes);
    let caller = "
        > INVITE sdp
        < 180?
        < 200
        > ACK
        < INVITE ~a=sendonly
        > 200 sdp:recvonly
        < ACK
        < INVITE ~a=sendrecv
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, caller);
    bob.wait_for("CALL_ESTABLISHED");
    bob.order("hold");
    bob.wait_for("CALL_REMOTE_SDP");
    bob.order(&format!("dial sip:1003@{}", gateway.sip));
    bob.wait_for("CALL_ESTABLISHED");
    bob.order("hangup");
    carol.finish(1);
    bob.order("resume");
    bob.wait_for("CALL_REMOTE_SDP");
    bob.order("hangup");
    alice.finish(1);
    let cdrs = gateway.cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");
}

fn music(scene: &Scene) {
    let server = UdpSocket::bind(own_address()).unwrap();
    let place = server.local_addr().unwrap();
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < INVITE ~a=sendonly
        > 200 sdp:recvonly
        < ACK
        < BYE
        > 200";
    let callee = format!(
        "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 200
        > INVITE sdp:sendonly@{place}
        < 200 ~a=recvonly
        > ACK
        pause 2000
        > BYE
        < 200"
    );
    let bob = Sipp::callee(scene, "bob", &callee);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller);
    // Where the gateway takes the callee's voice: as the answer to the re-INVITE says.
    let mut port = 0;
    wait_until("the music to be wanted", || {
        let answer = bob.messages();
        let answer = answer.split("CSeq: 1 INVITE").filter(|part| part.contains("a=recvonly")).last();
        let named = answer.and_then(|part| part.split("m=audio ").nth(1)?.split(' ').next()?.parse().ok());
        port = named.unwrap_or(0);
        port != 0
    });
    for number in 0..50_u16 {
        let mut packet = [0x55; 172];
        packet[..2].copy_from_slice(&[0x80, 8]);
        packet[2..4].copy_from_slice(&number.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(number) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(b"song");
        server.send_to(&packet, SocketAddr::new(gateway.sip.ip(), port)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    alice.finish(1);
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert!(packets(&cdr)[1] >= 45, "music: {cdr}");
    assert_eq!(cdr["media"]["callee"]["remote"], place.to_string(), "{cdr}");
}

/// Trunks for two callees, 1002 and 1003.
fn two_trunks(bob: SocketAddr, carol: SocketAddr) -> ([String; 2], &'static str) {
    const ROUTES: &str =
        "[[route]]\nprefix = \"1002\"\nto = [\"bob\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n";
    ([format!("bob={bob}"), format!("carol={carol}")], ROUTES)
}

/// A caller who has the callee put through, and hears that it is done.
const REFERS: &str = "
    > INVITE sdp
    < 180?
    < 200
    > ACK
    pause 200
    > REFER | Refer-To: <sip:1003@gateway>
    < 202
    < NOTIFY ~100_Trying
    > 200
    < NOTIFY ~180_Ringing
    > 200
    < NOTIFY ~200_OK ~terminated;reason=noresource
    > 200
    > BYE
    < 200";

/// A target that is told who refers.
const IS_TARGET: &str = "
    < INVITE ~Referred-By:
    > 180
    pause 200
    > 200 sdp
    < ACK
    pause 500
    > BYE
    < 200";

fn transfer(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let carol = Sipp::callee(scene, "carol", &IS_TARGET.replace(" ~Referred-By:", ""));
    let (trunks, routes) = two_trunks(bob.at(), carol.at());
    let gateway = Gateway::start(scene, &trunks, routes);
    Sipp::caller(scene, "alice", "1002", gateway.sip, REFERS).finish(1);
    carol.finish(1);
    bob.finish(1);
    assert_transferred(&gateway.cdrs(2), "1003");
}

/// The first call was transferred to the second.
fn assert_transferred(cdrs: &[serde_json::Value], to: &str) {
    let part = |name: &str| cdrs.iter().find(|cdr| cdr["transfer"]["part"] == name);
    let (referred, target) = (part("referred"), part("target"));
    let (Some(referred), Some(target)) = (referred, target) else { panic!("{cdrs:?}") };
    assert_eq!(
        (&referred["transfer"]["to"], &referred["transfer"]["status"]),
        (&to.into(), &200.into()),
        "{cdrs:?}"
    );
    assert_eq!(referred["transfer"]["call"], target["id"], "{cdrs:?}");
}

fn transfer_failed(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let carol = Sipp::callee(scene, "carol", "< INVITE\n> 486\n< ACK");
    let (trunks, routes) = two_trunks(bob.at(), carol.at());
    let gateway = Gateway::start(scene, &trunks, routes);
    let caller =
        REFERS.replace("    < NOTIFY ~180_Ringing\n    > 200\n", "").replace("~200_OK", "~486_Busy_Here");
    Sipp::caller(scene, "alice", "1002", gateway.sip, &caller).finish(1);
    carol.finish(1);
    bob.finish(1);
    let cdrs = gateway.cdrs(2);
    assert!(cdrs.iter().any(|cdr| cdr["status"] == 200 && cdr["transfer"]["status"] == 486), "{cdrs:?}");
}

fn transfer_by_baresip(scene: &Scene) {
    let mut bob = phone(scene, "1002", "answermode=auto");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let (trunks, routes) = two_trunks(bob.at, carol.at());
    let gateway = Gateway::start(scene, &trunks, routes);
    let caller = "
        > INVITE sdp
        < 180?
        < 200
        > ACK
        pause 2000
        > BYE
        < 200";
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, caller);
    bob.wait_for("CALL_ESTABLISHED");
    bob.order(&format!("transfer sip:1003@{}", gateway.sip));
    bob.wait_for("CALL_CLOSED");
    alice.finish(1);
    carol.finish(1);
    assert_transferred(&gateway.cdrs(2), "1003");
}

fn transfer_to_baresip(scene: &Scene) {
    let bob = Sipp::callee_at(scene, "bob", own_address(), ANSWERS, &["-rtp_echo"]);
    let mut carol = phone(scene, "1003", "answermode=manual");
    let (trunks, routes) = two_trunks(bob.at(), carol.at);
    let gateway = Gateway::start(scene, &trunks, routes);
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, REFERS);
    carol.wait_for("CALL_INCOMING");
    // NOTIFY tells of ringing first.
    std::thread::sleep(Duration::from_millis(300));
    carol.order("accept");
    carol.wait_for("CALL_ESTABLISHED");
    alice.finish(1);
    let_talk();
    carol.order("hangup");
    bob.finish(1);
    let cdrs = gateway.cdrs(2);
    assert_transferred(&cdrs, "1003");
    assert_voice(cdrs.iter().find(|cdr| cdr["dialled"] == "1003").unwrap());
}

fn transfer_by_linphone(scene: &Scene) {
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let (gateway, mut alice, mut bob) = crate::register::phones_and_trunk(scene, carol.at());
    alice.order(&format!("call sip:1002@{}", gateway.sip));
    bob.wait_for("CALL_INCOMING");
    bob.order("accept");
    alice.wait_for("Media streams established");
    alice.order(&format!("transfer sip:1003@{}", gateway.sip));
    gateway.wait_transferred(1);
    bob.order("hangup");
    carol.finish(1);
    assert_transferred(&gateway.all_cdrs(2), "1003");
}

/// Linphone has a call with each of two phones and puts them through to each other.
fn transfer_attended_by_linphone(scene: &Scene) {
    let mut carol = phone(scene, "1003", "answermode=auto");
    let (gateway, mut alice, mut bob) = crate::register::phones_and_trunk(scene, carol.at);
    alice.order(&format!("call sip:1002@{}", gateway.sip));
    bob.wait_for("CALL_INCOMING");
    bob.order("accept");
    alice.wait_for("Media streams established");
    alice.order("pause");
    alice.wait_for("is now paused");
    alice.order(&format!("call sip:1003@{}", gateway.sip));
    alice.wait_for("Media streams established");
    alice.order("transfer 1 --to-call 2");
    gateway.wait_transferred(1);
    let_talk();
    bob.order("hangup");
    carol.wait_for("CALL_CLOSED");
    let cdrs = gateway.all_cdrs(2);
    assert!(cdrs.iter().any(|cdr| cdr["transfer"]["part"] == "referred"), "{cdrs:?}");
}

fn transfer_passed(scene: &Scene) {
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 200
        > REFER | Refer-To: <sip:1003@elsewhere.invalid>
        < 202
        < NOTIFY ~100_Trying
        > 200
        < NOTIFY ~200_OK ~terminated
        > 200
        > BYE
        < 200";
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < REFER ~1003@elsewhere.invalid ~Referred-By:
        > 202
        > NOTIFY body=message/sipfrag;version=2.0:SIP/2.0_100_Trying | Event: refer | Subscription-State: active;expires=60
        < 200
        > NOTIFY body=message/sipfrag;version=2.0:SIP/2.0_200_OK | Event: refer | Subscription-State: terminated;reason=noresource
        < 200
        < BYE
        > 200";
    let bob = Sipp::callee(scene, "bob", callee);
    let config = "[[profile]]\nname = \"passes\"\ntransfer = \"pass\"\n";
    let gateway = Gateway::start(scene, &[format!("carrier={},profile=passes", bob.at())], config);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    bob.finish(1);
    let cdr = gateway.cdr(200);
    assert_eq!(
        (&cdr["transfer"]["part"], &cdr["transfer"]["status"]),
        (&"passed".into(), &200.into()),
        "{cdr}"
    );
}

/// The dialog that a SIPp has with the gateway, as Replaces names it to the gateway; escaped for a URI if `in_uri`. Waits
/// until its peer's tag is known.
fn dialog_of(sipp: &Sipp, is_caller: bool, in_uri: bool) -> String {
    let mut found = String::new();
    wait_until("a dialog with both tags", || {
        let messages = sipp.messages();
        let tagged = messages.split("UDP message").find(|message| {
            message.contains("CSeq: 1 INVITE")
                && message.lines().any(|it| it.starts_with("To:") && it.contains(";tag="))
        });
        let Some(message) = tagged else { return false };
        let field =
            |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let tag = |name: &str| {
            field(name).split(";tag=").nth(1).unwrap_or_default().split(';').next().unwrap_or_default()
        };
        let (theirs, ours) = if is_caller { (tag("To:"), tag("From:")) } else { (tag("From:"), tag("To:")) };
        found = format!("{};to-tag={theirs};from-tag={ours}", field("Call-ID:"));
        true
    });
    if in_uri { found.replace('@', "%40").replace(';', "%3B").replace('=', "%3D") } else { found }
}

fn transfer_attended(scene: &Scene) {
    let (bob, carol) = (Sipp::callee(scene, "bob", ANSWERS), Sipp::callee(scene, "carol", HANGS_UP_LATE));
    let (trunks, routes) = two_trunks(bob.at(), carol.at());
    let gateway = Gateway::start(scene, &trunks, routes);
    let consultation = Sipp::caller(scene, "consultation", "1003", gateway.sip, LISTENS);
    gateway.wait_calls(1);
    let dialog = dialog_of(&consultation, true, true);
    let caller = REFERS
        .replace("    < NOTIFY ~180_Ringing\n    > 200\n", "")
        .replace("<sip:1003@gateway>", &format!("<sip:1003@gateway?Replaces={dialog}>"));
    Sipp::caller(scene, "alice", "1002", gateway.sip, &caller).finish(1);
    consultation.finish(1);
    carol.finish(1);
    bob.finish(1);
    let cdrs = gateway.all_cdrs(2);
    assert!(
        cdrs.iter().any(|cdr| cdr["transfer"]["part"] == "referred" && cdr["transfer"]["status"] == 200),
        "{cdrs:?}"
    );
}

/// A callee that answers and hangs up after everybody else was put through.
const HANGS_UP_LATE: &str = "
    < INVITE
    > 180
    > 200 sdp
    < ACK
    pause 4000
    > BYE
    < 200";

fn parked(scene: &Scene) {
    let bob = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 200
        > REFER | Refer-To: <sip:1003@park>
        < 202
        < NOTIFY ~100_Trying
        > 200
        < NOTIFY ~200_OK ~terminated
        > 200
        > BYE
        < 200";
    let bob = Sipp::callee(scene, "bob", bob);
    // No 180: the park server answers at once.
    let park = Sipp::callee(scene, "park", &ANSWERS.replace("    > 180\n", ""));
    let (trunks, routes) = two_trunks(bob.at(), park.at());
    let gateway = Gateway::start(scene, &trunks, routes);
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, LISTENS);
    gateway.wait_transferred(1);
    bob.finish(1);
    let dialog = dialog_of(&park, false, false);
    let carol =
        TALKS.replace("> INVITE sdp", &format!("> INVITE sdp | Require: replaces | Replaces: {dialog}"));
    Sipp::caller(scene, "carol", "1002", gateway.sip, &carol.replace("< 180", "< 180?")).finish(1);
    park.finish(1);
    alice.finish(1);
    let cdrs = gateway.all_cdrs(2);
    assert!(cdrs.iter().any(|cdr| cdr["transfer"]["part"] == "replaced"), "{cdrs:?}");
}

fn picked_up(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", RINGS);
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, LISTENS);
    let dialog = dialog_of(&bob, false, false);
    let carol = TALKS.replace(
        "> INVITE sdp",
        &format!("> INVITE sdp | Require: replaces | Replaces: {dialog};early-only"),
    );
    Sipp::caller(scene, "carol", NUMBER, gateway.sip, &carol.replace("< 180", "< 180?")).finish(1);
    bob.finish(1);
    alice.finish(1);
    let cdrs = gateway.all_cdrs(1);
    assert!(cdrs.iter().any(|cdr| cdr["status"] == 200 && cdr["transfer"]["part"] == "replaced"), "{cdrs:?}");
}

fn joined(scene: &Scene) {
    // One phone with two calls.
    let at = own_address();
    let file = scene.file("bob.xml", &scenario("bob", ANSWERS));
    let mut bob = Sipp::start(&scene.dir, &file, at, 2, &[]);
    bob.wait_bound();
    let gateway = Gateway::start(scene, &trunk(bob.at()), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS_LONG);
    let dialog = dialog_of(&alice, true, false);
    wait_until("the call to stand", || alice.messages().contains("\nACK sip:"));
    let joins = format!("> INVITE sdp | Require: join | Join: {dialog}");
    Sipp::caller(scene, "carol", NUMBER, gateway.sip, &TALKS.replace("> INVITE sdp", &joins)).finish(1);
    alice.finish(1);
    let messages = bob.messages();
    bob.finish(2);
    // He is told of his own dialog with the gateway, by its Call-ID and his tag in To.
    let field = |message: &str, name: &str| {
        message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
    };
    let invites: Vec<&str> =
        messages.split("UDP message").filter(|message| message.contains("\nINVITE sip:")).collect();
    let join = invites.iter().map(|invite| field(invite, "Join:")).find(|join| !join.is_empty());
    let join = join.unwrap_or_else(|| panic!("{messages}"));
    let first = field(invites[0], "Call-ID:");
    assert!(join.starts_with(&format!("{first};to-tag=")) && !dialog.starts_with(&first), "{join}");
    let cdrs = gateway.cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");
}

/// A caller who stays for a while.
const TALKS_LONG: &str = "
    > INVITE sdp
    < 180?
    < 200
    > ACK
    pause 4000
    > BYE
    < 200";

fn join_unsupported(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=auto");
    let gateway = Gateway::start(scene, &trunk(bob.at), "");
    let alice = Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS_LONG);
    bob.wait_for("CALL_ESTABLISHED");
    let dialog = dialog_of(&alice, true, false);
    let joins = format!("> INVITE sdp | Require: join | Join: {dialog}\n< 420 ~Unsupported:_join\n> ACK");
    Sipp::caller(scene, "carol", NUMBER, gateway.sip, &joins).finish(1);
    alice.finish(1);
    let cdrs = gateway.cdrs(2);
    let statuses: Vec<_> = cdrs.iter().map(|cdr| cdr["status"].clone()).collect();
    assert!(statuses.contains(&200.into()) && statuses.contains(&420.into()), "{cdrs:?}");
}

fn join_refused(scene: &Scene) {
    outside(scene, "> INVITE sdp | Require: join | Join: abc;to-tag=1;from-tag=2\n< 481\n> ACK");
}

/// Somebody at a computer, who asks and is told.
const CLICKS: &str = "
    > REFER | Refer-To: <sip:1003@gateway>
    < 202 dialog
    < NOTIFY ~100_Trying
    > 200
    < NOTIFY ~180_Ringing
    > 200
    < NOTIFY ~200_OK ~terminated;reason=noresource
    > 200";

fn clicked(scene: &Scene) {
    let (bob, carol) = (Sipp::callee(scene, "bob", ANSWERS), Sipp::callee(scene, "carol", IS_TARGET));
    let (trunks, routes) = two_trunks(bob.at(), carol.at());
    let gateway = Gateway::start(scene, &trunks, &format!("[outside]\nrefer = \"execute\"\n{routes}"));
    Sipp::caller(scene, "alice", "1002", gateway.sip, CLICKS).finish(1);
    carol.finish(1);
    bob.finish(1);
    assert_transferred(&gateway.cdrs(2), "1003");
}

fn clicked_baresip(scene: &Scene) {
    let mut bob = phone(scene, "1002", "answermode=auto");
    let carol = IS_TARGET.replace("pause 500", "pause 2500");
    let carol = Sipp::callee_at(scene, "carol", own_address(), &carol, &["-rtp_echo"]);
    let (trunks, routes) = two_trunks(bob.at, carol.at());
    let gateway = Gateway::start(scene, &trunks, &format!("[outside]\nrefer = \"execute\"\n{routes}"));
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, CLICKS);
    bob.wait_for("CALL_ESTABLISHED");
    alice.finish(1);
    carol.finish(1);
    bob.wait_for("CALL_CLOSED");
    let cdrs = gateway.cdrs(2);
    assert_transferred(&cdrs, "1003");
    assert_voice(cdrs.iter().find(|cdr| cdr["dialled"] == "1003").unwrap());
}

fn refer_outside_refused(scene: &Scene) {
    outside(scene, "> REFER | Refer-To: <sip:1003@127.0.0.1>\n< 403");
}

/// A request that ends at the gateway: nothing of it reaches the carrier.
pub(crate) fn outside(scene: &Scene, caller: &str) {
    let carrier = UdpSocket::bind(own_address()).unwrap();
    let gateway = Gateway::start(scene, &trunk(carrier.local_addr().unwrap()), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    carrier.set_nonblocking(true).unwrap();
    assert!(carrier.recv(&mut [0; 100]).is_err(), "the carrier was asked");
}

/// A call to a proxy that has it answered by this callee.
fn by_proxy(scene: &Scene, caller: &str, carol: Sipp, lines: &str, routes: &str) -> Gateway {
    let proxy = Kamailio::start(scene, "proxy", lines, routes);
    let gateway = Gateway::start(scene, &trunk(proxy.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    carol.finish(1);
    gateway.cdr(200);
    gateway
}

fn forwarded(scene: &Scene) {
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let lines = format!(
        "{LOOSE}\nt_newtran();\nt_reply(\"181\", \"Call Is Being Forwarded\");\n$rU = \"carol\";\n{}",
        relay(carol.at(), "udp")
    );
    by_proxy(scene, &TALKS.replace("< 180", "< 181\n < 180"), carol, &lines, "");
}

// SIPp takes the second 180 for a retransmission of the first: its scripts await one.
fn forwarded_busy(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let lines = format!("{LOOSE}\nt_on_failure(\"NEXT\");\n{}", relay(bob.at, "udp"));
    let next = format!(
        "failure_route[NEXT] {{\n if (t_is_canceled()) exit;\n if (t_check_status(\"486\")) {{ $rU = \"carol\"; {} }}\n}}",
        relay(carol.at(), "udp")
    );
    std::thread::scope(|scope| {
        scope.spawn(|| {
            bob.wait_for("CALL_INCOMING");
            bob.order("hangup");
            bob.wait_for("CALL_CLOSED");
        });
        by_proxy(scene, TALKS, carol, &lines, &next);
    });
}

fn forwarded_by_gateway(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", "< INVITE\n> 486\n< ACK");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let config = format!(
        "[[trunk]]\nname = \"bob\"\npeers = [\"{}\"]\nfailover_statuses = [486]\nbackup = \"carol\"\n\
         [[trunk]]\nname = \"carol\"\npeers = [\"{}\"]\n[[route]]\nprefix = \"\"\nto = [\"bob\"]\n",
        bob.at(),
        carol.at()
    );
    let gateway = Gateway::start(scene, &[], &config);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, TALKS).finish(1);
    bob.finish(1);
    carol.finish(1);
    let cdr = gateway.cdr(200);
    assert_eq!(cdr["trunk"], "carol", "{cdr}");
}

fn forwarded_unanswered(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let lines = format!("{LOOSE}\nt_on_failure(\"NEXT\");\nt_set_fr(1000, 1500);\n{}", relay(bob.at, "udp"));
    let next = format!(
        "failure_route[NEXT] {{\n if (t_is_canceled()) exit;\n if (t_branch_timeout()) {{ $rU = \"carol\"; {} }}\n}}",
        relay(carol.at(), "udp")
    );
    by_proxy(scene, TALKS, carol, &lines, &next);
    bob.wait_for("CALL_INCOMING");
    bob.wait_for("CALL_CLOSED");
}

fn forked(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=manual");
    // Answers once the other place rings too.
    let carol = Sipp::callee(scene, "carol", &ANSWERS.replace("> 180", "> 180\npause 500"));
    let lines = format!(
        "{LOOSE}\nappend_branch(\"sip:{NUMBER}@{}\");\n$ru = \"sip:carol@{}\";\nt_relay();",
        bob.at,
        carol.at()
    );
    by_proxy(scene, TALKS, carol, &lines, "");
    bob.wait_for("CALL_INCOMING");
    bob.wait_for("CALL_CLOSED");
}

fn conference(scene: &Scene) {
    let mixer = UdpSocket::bind(own_address()).unwrap().local_addr().unwrap();
    let carol = Sipp::callee(scene, "carol", ANSWERS);
    let callee = format!(
        "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        pause 100
        > INVITE sdp@{mixer}
        < 200
        > ACK
        pause 2500
        > BYE
        < 200"
    );
    let bob = Sipp::callee(scene, "bob", &callee);
    let routes =
        "[[route]]\nprefix = \"1002\"\nto = [\"bob\"]\n[[route]]\nprefix = \"1003\"\nto = [\"carol\"]\n";
    let trunks = [format!("bob={}", bob.at()), format!("carol={}", carol.at())];
    let gateway = Gateway::start(scene, &trunks, routes);
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        < INVITE
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let alice = Sipp::caller(scene, "alice", "1002", gateway.sip, caller);
    gateway.wait_calls(1);
    let added = TALKS.replace("> INVITE sdp", &format!("> INVITE sdp@{mixer}"));
    Sipp::caller(scene, "focus", "1003", gateway.sip, &added).finish(1);
    carol.finish(1);
    alice.finish(1);
    bob.finish(1);
    let cdrs = gateway.cdrs(2);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");
}

fn screened(scene: &Scene) {
    let proxy = Kamailio::start(scene, "proxy", "sl_send_reply(\"403\", \"Screening Failure\"); exit;", "");
    let gateway = Gateway::start(scene, &trunk(proxy.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, "> INVITE sdp\n< 403\n> ACK").finish(1);
    gateway.cdr(403);
}

fn screened_out(scene: &Scene) {
    let carrier = UdpSocket::bind(own_address()).unwrap();
    let routes = "[[route]]\nprefix = \"86\"\nto = [\"carrier\"]\n";
    let gateway = Gateway::start(scene, &trunk(carrier.local_addr().unwrap()), routes);
    Sipp::caller(scene, "alice", "900190", gateway.sip, "> INVITE sdp\n< 404\n> ACK").finish(1);
    gateway.cdr(404);
    carrier.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert!(carrier.recv(&mut [0; 100]).is_err(), "the carrier was asked");
}
