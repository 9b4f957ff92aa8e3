//! Flows of extensions to RFC 3261, and over TLS.

use crate::Flow;
use crate::gateway::Gateway;
use crate::kamailio::{Kamailio, LOOSE, relay, secure};
use crate::papers::Authority;
use crate::place::{Scene, own_address};
use crate::rfc3665::{ANSWERS, HANGS_UP, LISTENS, NUMBER, TALKS, assert_voice, between, let_talk, phone};
use crate::sipp::Sipp;
use std::net::SocketAddr;

pub(crate) fn flows() -> Vec<Flow> {
    let mut all: Vec<Flow> = rows! { "RFC 3262";
        "3", "Reliable provisional response", "SIPp, GW, SIPp", yes reliable,
            "183 with 100rel and PRACK on each leg";
        "3", "Reliable provisional response", "SIPp, GW, Kamailio, SIPp", yes reliable_by_proxy,
            "PRACK along the route of the early dialog";
    };
    all.extend(rows! { "RFC 3311";
        "5", "UPDATE", "SIPp, GW, SIPp", yes update,
            "hold by UPDATE: sendonly and recvonly cross";
    });
    all.extend(rows! { "RFC 3264";
        "4", "Offer in place of the caller's", "SIPp, GW, SIPp", yes late_offer,
            "`late_offer = \"offer\"`: INVITE without SDP from the caller, with SDP to the callee; answer in ACK";
    });
    all.extend(rows! { "RFC 3326";
        "2", "Reason", "SIPp, GW, SIPp", yes reason,
            "Reason and Q.850 cause of a BYE reach the other side and the record";
    });
    all.extend(rows! { "RFC 3327";
        "5.3", "Path of a phone that does not know of it", "SIPp, Kamailio (edge), GW", yes crate::register::path_unknown,
            "420 with Unsupported: path";
        "5.5", "Path", "SIPp, GW, Kamailio (edge), SIPp", yes crate::register::path,
            "the edge puts itself into Path; a call, its BYE and a MESSAGE reach the phone through it";
        "5.5", "Path", "baresip, GW, Kamailio (edge), baresip", yes crate::register::path_baresip,
            "`registrar.path = \"any\"`: the phone does not say that it knows of Path; RTP both ways";
    });
    all.extend(rows! { "RFC 3428";
        "7", "Instant message in a call", "SIPp, GW, SIPp", yes message,
            "MESSAGE and its answer are relayed";
        "7", "Instant message", "SIPp, GW, SIPp", yes crate::outside::message,
            "MESSAGE outside of a call and its answer go through";
        "7", "Instant message", "linphone, GW, linphone", yes crate::outside::chat,
            "two registered phones chat; the gateway asks the sender for the password";
    });
    all.extend(rows! { "RFC 3842";
        "3", "Message waiting", "baresip, GW, SIPp", yes crate::register::waiting,
            "the phone subscribes to its own number and is told of its messages (a run in which baresip subscribes without end, as it does with Kamailio too, is played again)";
    });
    all.extend(rows! { "RFC 3903";
        "4", "Event state", "SIPp, GW, SIPp", yes crate::outside::publish,
            "PUBLISH with SIP-ETag and SIP-If-Match";
    });
    all.extend(rows! { "RFC 4028";
        "7", "Session timer", "SIPp, GW, SIPp", yes timer,
            "the caller's interval is granted; the gateway asks the callee for its own";
        "6", "Interval too small", "SIPp, GW, SIPp", yes timer_too_small,
            "422 with Min-SE to the caller; the callee's 422 is obeyed";
    });
    all.extend(rows! { "RFC 4568";
        "7.1", "SRTP, one leg", "baresip (TLS, SRTP), GW, baresip", yes crate::security::protected_caller,
            "keys in SDP; voice and a DTMF key each way; the other leg is in the clear";
        "7.1", "SRTP, both legs", "baresip (TLS, SRTP), GW, baresip (TLS, SRTP)", yes crate::security::protected_both,
            "the same with keys of their own, towards the callee by each of AES_CM_128_HMAC_SHA1_80 and _32, AEAD_AES_128_GCM and AEAD_AES_256_GCM";
    });
    all.extend(rows! { "RFC 4733";
        "2.3", "DTMF in RTP", "baresip, GW, baresip", yes dtmf,
            "a key of the caller is heard by the callee";
    });
    all.extend(rows! { "RFC 5626";
        "4.2", "Registration by a flow", "baresip (TCP, outbound), GW, baresip", yes crate::register::baresip_outbound,
            "reg-id and +sip.instance are kept, Flow-Timer is told; the call and its end go over the phone's connection";
    });
    all.extend(rows! { "RFC 6086";
        "4", "INFO", "SIPp, GW, SIPp", yes info,
            "INFO with application/dtmf-relay and its answer are relayed";
    });
    all.extend(rows! { "RFC 6665";
        "4.1", "Subscription", "SIPp, GW, SIPp", yes crate::outside::subscription,
            "subscribed, renewed, notified in both dialogs, ended by the subscriber";
        "4.1", "Subscription", "SIPp, GW, Kamailio, SIPp", yes crate::outside::subscription_by_proxy,
            "the same with a proxy in the path: requests in the dialog go along its route";
        "4.2", "Subscription refused", "SIPp, GW, SIPp", yes crate::outside::bad_event,
            "489 with Allow-Events reaches the subscriber";
    });
    all.extend(rows! { "RFC 8643";
        "3", "SRTP, left open", "baresip, GW, baresip (TLS, SRTP)", yes crate::security::offered_callee,
            "the gateway offers keys beside RTP/AVP, baresip takes one; voice and a DTMF key each way";
    });
    all.extend(rows! { "RFC 3261";
        "13.2.2.4", "Forked call", "SIPp, GW, Kamailio, 2 SIPp", yes forked,
            "early media of both branches, one dialog for the caller; one branch answers, the other is cancelled by the proxy";
        "14.2", "re-INVITE without offer", "SIPp, GW, SIPp", yes asks_for_offer,
            "the callee's offer comes in the 200, the caller's answer goes on in the ACK";
        "18.1.1", "Large request", "SIPp, GW, Kamailio, SIPp", yes large,
            "an INVITE of more than 1300 bytes goes to a peer on UDP over TCP";
        "18.1.1", "Large request", "SIPp, GW, SIPp", yes large_over_udp,
            "the peer takes no connection: over UDP after all";
        "26.2", "TLS", "baresip (TLS), GW, SIPp", yes tls_caller,
            "baresip calls over TLS and hangs up; RTP both ways";
        "26.2", "TLS", "SIPp, GW, baresip (TLS)", yes tls_callee,
            "the gateway checks baresip's certificate; RTP both ways";
        "26.2", "TLS", "SIPp, Kamailio, GW (TLS), Kamailio (TLS), SIPp", yes tls_proxies,
            "the first proxy checks the gateway's certificate, the gateway the second's; BYE of the callee";
    });
    all
}

const RELIABLE_CALLER: &str = "
    > INVITE sdp | Supported: 100rel
    < 183 dialog get=rseq:RSeq ~Require:.*100rel ~m=audio
    > PRACK | RAck:[$rseq] 1 INVITE
    < 200
    < 200
    > ACK
    pause 100
    > BYE
    < 200";

const RELIABLE_CALLEE: &str = "
    < INVITE ~100rel
    > 183 sdp | Require: 100rel | RSeq: 4711
    < PRACK ~RAck:_4711_1_INVITE
    > 200
    pause 200
    > 200 INVITE
    < ACK
    < BYE
    > 200";

fn reliable(scene: &Scene) {
    between(scene, RELIABLE_CALLER, RELIABLE_CALLEE, 200);
}

fn reliable_by_proxy(scene: &Scene) {
    let bob = Sipp::callee(scene, "bob", RELIABLE_CALLEE);
    let proxy = Kamailio::proxy(scene, "proxy", bob.at(), "udp");
    let gateway = Gateway::start(scene, &crate::rfc3665::trunk(proxy.at), "");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, RELIABLE_CALLER).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

const METHODS: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, INFO, MESSAGE, PRACK";

fn update(scene: &Scene) {
    let caller = format!(
        "
        > INVITE sdp | {METHODS}
        < 180
        < 200
        > ACK
        pause 100
        > UPDATE sdp:sendonly
        < 200 ~a=recvonly
        pause 100
        > BYE
        < 200"
    );
    let callee = format!(
        "
        < INVITE
        > 180
        > 200 sdp | {METHODS}
        < ACK
        < UPDATE ~a=sendonly
        > 200 sdp:recvonly
        < BYE
        > 200"
    );
    between(scene, &caller, &callee, 200);
}

fn reason(scene: &Scene) {
    let caller = LISTENS.replace("< BYE", "< BYE ~Reason:_Q.850;cause=31");
    let callee = HANGS_UP.replace("> BYE", "> BYE | Reason: Q.850;cause=31;text=\"normal, unspecified\"");
    let cdr = between(scene, &caller, &callee, 200);
    assert_eq!(cdr["q850"], 31, "{cdr}");
}

fn message(scene: &Scene) {
    let caller = TALKS.replace("> BYE", "> MESSAGE body=text/plain:hello\n < 200\n > BYE");
    let callee = ANSWERS.replace("< BYE", "< MESSAGE ~hello\n > 200\n < BYE");
    between(scene, &caller, &callee.replace("> 200 sdp", &format!("> 200 sdp | {METHODS}")), 200);
}

fn info(scene: &Scene) {
    let caller = TALKS.replace("> BYE", "> INFO body=application/dtmf-relay:Signal=5\n < 200\n > BYE");
    let callee = ANSWERS.replace("< BYE", "< INFO ~Signal=5\n > 200\n < BYE");
    between(scene, &caller, &callee.replace("> 200 sdp", &format!("> 200 sdp | {METHODS}")), 200);
}

fn timer(scene: &Scene) {
    let caller = TALKS
        .replace("> INVITE sdp", "> INVITE sdp | Supported: timer | Session-Expires: 600;refresher=uac")
        .replace("< 200\n    > ACK", "< 200 ~Session-Expires:_600;refresher=uac\n    > ACK");
    let callee = ANSWERS
        .replace("< INVITE", "< INVITE ~Session-Expires:")
        .replace("> 200 sdp", "> 200 sdp | Require: timer | Session-Expires: 900;refresher=uac");
    between(scene, &caller, &callee, 200);
}

fn timer_too_small(scene: &Scene) {
    let again = "> INVITE sdp | Supported: timer | Session-Expires: 90 | Min-SE: 90";
    let first = "> INVITE sdp | Supported: timer | Session-Expires: 30\n < 422 ~Min-SE:_90\n > ACK";
    let caller = TALKS.replace("> INVITE sdp", &format!("{first}\n {again}"));
    let callee = ANSWERS.replace(
        "< INVITE",
        "< INVITE\n > 422 | Min-SE: 7200\n < ACK\n < INVITE ~Session-Expires:_7200 ~Min-SE:_7200",
    );
    between(scene, &caller, &callee, 200);
}

fn dtmf(scene: &Scene) {
    let mut bob = phone(scene, NUMBER, "answermode=auto");
    let gateway = Gateway::start(scene, &crate::rfc3665::trunk(bob.at), "");
    let mut alice = phone(scene, "alice", "");
    alice.order(&format!("dial sip:{NUMBER}@{}", gateway.sip));
    alice.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_ESTABLISHED");
    alice.order("sndcode 5");
    let heard = bob.wait_for("CALL_DTMF_START");
    assert_eq!(heard["param"], "5", "{heard}");
    alice.order("hangup");
    bob.wait_for("CALL_CLOSED");
    gateway.cdr(200);
}

/// A gateway that serves TLS on the next port, with papers of this authority.
pub(crate) fn gateway_tls(
    scene: &Scene,
    authority: &Authority,
    trunks: &[String],
    more: &str,
) -> (Gateway, SocketAddr) {
    let at = own_address();
    let papers = authority.sign(scene, at);
    let tls = secure(at);
    let config = format!(
        "tls_listen = [\"{tls}\"]\n[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nca = \"{}\"\n{more}",
        papers.certificate.display(),
        papers.key.display(),
        papers.root.display()
    );
    (Gateway::start_at(at, scene, trunks, &config), tls)
}

fn tls_caller(scene: &Scene) {
    let authority = Authority::new(scene);
    let bob = Sipp::callee_at(scene, "bob", own_address(), ANSWERS, &["-rtp_echo"]);
    let (gateway, tls) = gateway_tls(scene, &authority, &crate::rfc3665::trunk(bob.at()), "");
    let at = own_address();
    let root = authority.sign(scene, at).root;
    let settings = format!("sip_cafile {}\n", root.display());
    let account = "regint=0";
    let mut alice = crate::baresip::Baresip::start(at, scene, "alice", &at.to_string(), account, &settings);
    alice.order(&format!("dial sip:{NUMBER}@{tls};transport=tls"));
    alice.wait_for("CALL_ESTABLISHED");
    let_talk();
    alice.order("hangup");
    bob.finish(1);
    assert_voice(&gateway.cdr(200));
}

fn tls_callee(scene: &Scene) {
    let authority = Authority::new(scene);
    let at = own_address();
    let papers = authority.sign(scene, at);
    // Baresip wants certificate and key in one file.
    let both = [&papers.certificate, &papers.key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let both = scene.file("bob.pem", &both);
    let settings = format!("sip_certificate {}\nsip_cafile {}\n", both.display(), papers.root.display());
    let account = "regint=0;answermode=auto";
    let mut bob = crate::baresip::Baresip::start(at, scene, NUMBER, &at.to_string(), account, &settings);
    // Its TLS port is the one above the others.
    let (gateway, _) = gateway_tls(scene, &authority, &[format!("carrier={}/tls", secure(at))], "");
    let script = TALKS.replace("< 180", "< 180?").replace("pause 200", "play");
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &script).finish(1);
    bob.wait_for("CALL_ESTABLISHED");
    bob.wait_for("CALL_CLOSED");
    assert_voice(&gateway.cdr(200));
}

fn tls_proxies(scene: &Scene) {
    let authority = Authority::new(scene);
    let bob = Sipp::callee(scene, "bob", HANGS_UP);
    let [first_at, second_at] = [own_address(), own_address()];
    let lines = format!("{LOOSE}\n{}", relay(bob.at(), "udp"));
    let second = Kamailio::start_tls(second_at, scene, "second", &authority.sign(scene, second_at), &lines);
    let (gateway, tls) = gateway_tls(scene, &authority, &[format!("carrier={}/tls", secure(second.at))], "");
    let lines = format!("{LOOSE}\n{}", relay(tls, "tls"));
    let first = Kamailio::start_tls(first_at, scene, "first", &authority.sign(scene, first_at), &lines);
    Sipp::caller(scene, "alice", NUMBER, first.at, LISTENS).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

fn forked(scene: &Scene) {
    let rings = "
        < INVITE
        > 183 sdp
        < CANCEL
        > 200
        > 487 INVITE
        < ACK";
    let answers = "
        < INVITE
        pause 300
        > 183 sdp
        pause 300
        > 200 sdp
        < ACK
        < BYE
        > 200";
    let (bob, carol) = (Sipp::callee(scene, "bob", rings), Sipp::callee(scene, "carol", answers));
    let lines = format!(
        "{LOOSE}\n$ru = \"sip:{NUMBER}@{}\";\nappend_branch(\"sip:{NUMBER}@{}\");\nt_relay();",
        carol.at(),
        bob.at()
    );
    let proxy = Kamailio::start(scene, "proxy", &lines, "");
    let gateway = Gateway::start(scene, &crate::rfc3665::trunk(proxy.at), "");
    let caller = "
        > INVITE sdp
        < 183 ~m=audio
        < 200 ~m=audio
        > ACK
        pause 200
        > BYE
        < 200";
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    bob.finish(1);
    carol.finish(1);
    gateway.cdr(200);
}

fn asks_for_offer(scene: &Scene) {
    let caller = "
        > INVITE sdp
        < 180
        < 200
        > ACK
        pause 100
        > INVITE
        < 200 ~m=audio
        > ACK sdp
        pause 100
        > BYE
        < 200";
    let callee = "
        < INVITE
        > 180
        > 200 sdp
        < ACK
        < INVITE
        > 200 sdp
        < ACK ~m=audio
        < BYE
        > 200";
    between(scene, caller, callee, 200);
}

/// A caller whose INVITE is too large for a datagram on its way on, and the profile that lets it be.
fn large_caller() -> (String, &'static str) {
    let ballast = "b".repeat(1300);
    let caller = TALKS.replace("> INVITE sdp", &format!("> INVITE sdp | X-Ballast: {ballast}"));
    (caller, "[[profile]]\nname = \"p\"\nheaders.pass = [\"X-*\"]\n")
}

fn large(scene: &Scene) {
    let (caller, profile) = large_caller();
    let bob = Sipp::callee(scene, "bob", ANSWERS);
    let lines = format!(
        "if (is_method(\"INVITE\") && $proto != \"tcp\") {{ sl_send_reply(\"400\", \"Over TCP, please\"); exit; }}\n{LOOSE}\n{}",
        relay(bob.at(), "udp")
    );
    let proxy = Kamailio::start(scene, "proxy", &lines, "");
    let gateway = Gateway::start(scene, &[format!("carrier={},profile=p", proxy.at)], profile);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &caller).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

fn large_over_udp(scene: &Scene) {
    let (caller, profile) = large_caller();
    let bob = Sipp::callee(scene, "bob", &ANSWERS.replace("< INVITE", "< INVITE ~Via:_SIP/2.0/UDP"));
    let gateway = Gateway::start(scene, &[format!("carrier={},profile=p", bob.at())], profile);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, &caller).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}

fn late_offer(scene: &Scene) {
    let caller = "
        > INVITE
        < 180
        < 200 ~m=audio
        > ACK sdp
        pause 200
        > BYE
        < 200";
    let bob = Sipp::callee(scene, "bob", &ANSWERS.replace("< INVITE", "< INVITE ~m=audio"));
    let profile = "[[profile]]\nname = \"p\"\nlate_offer = \"offer\"\n";
    let gateway = Gateway::start(scene, &[format!("carrier={},profile=p", bob.at())], profile);
    Sipp::caller(scene, "alice", NUMBER, gateway.sip, caller).finish(1);
    bob.finish(1);
    gateway.cdr(200);
}
