//! A call from end to end: Session-ID on both legs, in the record and to find the call by; History-Info and Diversion as the
//! trunk wants to be told of them.

use crate::gateway::{Gateway, binary, finish, folder};
use crate::message::Message;
use crate::phone::{Phone, Way};
use crate::voice::Voice;

on_both_drivers! {
    session_id_is_the_same_on_both_legs
    session_id_is_made_for_who_has_none
    a_trunk_is_told_how_a_call_came
}

const A: &str = "ab30317f1a784dc48ff824d0d3715d86";
const B: &str = "47755a9de7794ba387653f2099600ef2";
const NIL: &str = "00000000000000000000000000000000";

fn start(io: &str, profile: &str, peers: &[&Phone]) -> Gateway {
    let path = folder("ends").join("gateway.toml");
    let trunks: String = peers
        .iter()
        .enumerate()
        .map(|(number, peer)| {
            let address = peer.address;
            format!("[[trunk]]\nname = \"t{number}\"\npeers = [\"{address}\"]\nprofile = \"p\"\npriority = {number}\n")
        })
        .collect();
    let names: Vec<String> = (0..peers.len()).map(|number| format!("\"t{number}\"")).collect();
    let text = format!(
        "[health]\nprobe_interval = \"0s\"\n[[profile]]\nname = \"p\"\n{profile}\n{trunks}[[route]]\nto = [{}]\n",
        names.join(", ")
    );
    std::fs::write(&path, text).unwrap();
    Gateway::start(io, &["--config", path.to_str().unwrap(), "--workers", "2"])
}

/// RFC 7989 §6 and §7.
fn session_id_is_the_same_on_both_legs(io: &str) {
    let mut carrier = Phone::new("127.0.0.1");
    let gateway = start(io, "", &[&carrier]);
    let mut phone = Phone::new("127.0.0.2");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let field = format!("Session-ID: {A};remote={NIL}\r\n");
    let mut call = phone.invite_with(Way::Udp(gateway.sip), gateway.sip, "0900", &field, &sdp);
    let invite = carrier.expect("INVITE");
    assert_eq!(invite.0.field("session-id"), format!("{A};remote={NIL}"), "{}", invite.0.text);
    let own = format!("Session-ID: {B};remote={A}\r\n");
    carrier.respond_with(&invite, 180, "c", &own, "");
    assert_eq!(phone.response(&call, 180).field("session-id"), format!("{B};remote={A}"));
    let answer = Voice::new(carrier.address.ip(), 2).sdp("sendrecv");
    carrier.respond_with(&invite, 200, "c", &own, &answer);
    let answer = phone.answered(&mut call);
    assert_eq!(answer.field("session-id"), format!("{B};remote={A}"), "{}", answer.text);
    let ack = carrier.expect("ACK").0;
    assert_eq!(ack.field("session-id"), format!("{A};remote={B}"), "{}", ack.text);
    // Each request inside, and each answer, though the phone says it no more.
    let mut far = carrier.dialog_of(&invite, "c");
    phone.begin_request(&mut call, "INFO", "");
    let info = carrier.expect("INFO");
    assert_eq!(info.0.field("session-id"), format!("{A};remote={B}"), "{}", info.0.text);
    carrier.respond(&info, 200, "c", "");
    let answered = phone.final_response(&call.call_id.clone(), "2 INFO");
    assert_eq!(answered.field("session-id"), format!("{B};remote={A}"), "{}", answered.text);
    carrier.begin_request(&mut far, "BYE", "");
    let bye = phone.expect("BYE");
    assert_eq!(bye.0.field("session-id"), format!("{B};remote={A}"), "{}", bye.0.text);
    phone.respond(&bye, 200, "", "");
    let done = carrier.final_response(&far.call_id, &format!("{} BYE", far.cseq));
    assert_eq!(done.field("session-id"), format!("{A};remote={B}"), "{}", done.text);
    let record = &gateway.wait_cdrs(1)[0];
    assert_eq!(record["session_id"], format!("{A};remote={B}"));
    // The call is found by either end, by the API and the command line.
    for uuid in [A, B] {
        let (status, text) = gateway.get(&format!("/api/v1/calls/{uuid}/ladder?format=text"));
        assert!(status == 200 && text.contains("INVITE"), "{text}");
    }
    let api = format!("http://{}", gateway.http);
    let (code, out, err) = finish(binary().args(["trace", B, "--api", &api]));
    assert!(code == 0 && out.contains("BYE"), "{out}{err}");
    let (code, out, err) = finish(binary().args(["trace", &format!("{B};remote={A}"), "--api", &api]));
    assert!(code == 0 && out.contains(&format!("Session-ID {A};remote={B}")), "{out}{err}");
    let ladder = gateway.json(&format!("/api/v1/calls/{A}%3Bremote={B}/ladder"));
    assert_eq!(ladder["session_id"], format!("{A};remote={B}"));
    assert_eq!(gateway.get(&format!("/api/v1/calls/{A}%3Bremote={A}/ladder")).0, 404, "no such pair");
    let other = A.replace('a', "b");
    assert_eq!(gateway.get(&format!("/api/v1/calls/{other}/ladder")).0, 404);
}

fn ends(message: &Message) -> (String, String) {
    let field = message.field("session-id");
    let (local, remote) = field.split_once(";remote=").unwrap_or_else(|| panic!("{}", message.text));
    (local.to_owned(), remote.to_owned())
}

/// RFC 7989 §7; the old form of RFC 7329 (§11).
fn session_id_is_made_for_who_has_none(io: &str) {
    let mut carrier = Phone::new("127.0.0.1");
    let gateway = start(io, "", &[&carrier]);
    let mut phone = Phone::new("127.0.0.2");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    for old in ["", &format!("Session-ID: {A}\r\n")] {
        let mut call = phone.invite_with(Way::Udp(gateway.sip), gateway.sip, "0900", old, &sdp);
        let invite = carrier.expect("INVITE");
        let (caller, nobody) = ends(&invite.0);
        assert_eq!((nobody.as_str(), caller == A), (NIL, !old.is_empty()));
        // A carrier of the old kind gives back what it got.
        carrier.respond_with(
            &invite,
            486,
            "c",
            &old.replace("\r\n", "").replace(A, &caller).replace("Session-ID: ", ""),
            "",
        );
        let _ = carrier.expect("ACK");
        let refusal = phone.answered(&mut call);
        let (callee, remote) = ends(&refusal);
        assert!(remote == caller && callee != caller && callee != NIL, "{}", refusal.text);
    }
    let quiet = start(io, "session_id = false", &[&carrier]);
    phone.invite_with(Way::Udp(quiet.sip), quiet.sip, "0900", &format!("Session-ID: {A}\r\n"), &sdp);
    let invite = carrier.expect("INVITE");
    assert_eq!(invite.0.field("session-id"), "", "{}", invite.0.text);
    carrier.respond(&invite, 486, "c", "");
    carrier.expect("ACK");
}

/// RFC 7044 §9.1 and RFC 7544.
fn a_trunk_is_told_how_a_call_came(io: &str) {
    let (mut first, mut second) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let gateway = start(io, "base = \"pbx\"\ndiversions = \"both\"", &[&first, &second]);
    let mut phone = Phone::new("127.0.0.2");
    let sdp = Voice::new(phone.address.ip(), 1).sdp("sendrecv");
    let came = "Diversion: <sip:77@pbx.example>;reason=no-answer\r\n";
    let mut call = phone.invite_with(Way::Udp(gateway.sip), gateway.sip, "0900", came, &sdp);
    let invite = first.expect("INVITE");
    let host = gateway.sip.ip();
    let before = format!("<sip:77@pbx.example>;index=1, <sip:0900@{host};cause=408>;index=1.1;mp=1, ");
    let told = format!("{before}<sip:0900@{host}>;index=1.1.1;rc=1.1");
    assert_eq!(invite.0.field("history-info"), told, "{}", invite.0.text);
    assert_eq!(invite.0.field("diversion"), "<sip:77@pbx.example>;reason=no-answer");
    first.respond(&invite, 503, "c", "");
    let invite = second.expect("INVITE");
    let told = format!(
        "{before}<sip:0900@{host}?Reason=SIP%3Bcause%3D503>;index=1.1.1;rc=1.1, <sip:0900@{host}>;index=1.1.2;rc=1.1"
    );
    assert_eq!(invite.0.field("history-info"), told, "{}", invite.0.text);
    second.respond(&invite, 486, "c", "");
    assert_eq!(phone.answered(&mut call).status(), Some(486));
}
