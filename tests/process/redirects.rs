//! Redirections (RFC 3261 §8.1.3.4, §21.3): followed within the gateway's own routing, told to the caller, or refused.

use crate::gateway::{Gateway, folder, rtp_ports};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way};
use crate::register::User;
use crate::voice::Voice;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    a_redirection_to_a_number_of_ours_is_routed
    a_redirection_to_a_peer_goes_there_in_the_order_of_q
    elsewhere_is_not_called
    no_target_is_tried_twice_and_their_number_is_bounded
    caps_and_fraud_rules_hold_for_who_is_called_instead
    a_redirection_is_told_to_the_caller
    a_redirection_by_proxy_keeps_the_number
    a_phone_sends_its_calls_on
}

struct Row {
    gateway: Gateway,
    caller: Phone,
}

impl Row {
    /// A gateway whose trunks are these peers, with the routes and settings of `more`.
    fn start(io: &str, trunks: &[(&str, SocketAddr, &str)], more: &str) -> Self {
        let trunks: String = trunks
            .iter()
            .map(|(name, peer, keys)| format!("[[trunk]]\nname = \"{name}\"\npeers = [\"{peer}\"]\n{keys}\n"))
            .collect();
        let path = folder("redirects").join("gateway.toml");
        std::fs::write(&path, format!("{more}\n[health]\nprobe_interval = \"0s\"\n{trunks}")).unwrap();
        let ports = rtp_ports(40);
        let arguments = ["--config", path.to_str().unwrap(), "--workers", "2", "--rtp-ports", &ports];
        Self { gateway: Gateway::start(io, &arguments), caller: Phone::new("127.0.0.1") }
    }

    fn call(&mut self, number: &str) -> Dialog {
        let sdp = Voice::new(self.caller.address.ip(), 1).sdp("sendrecv");
        self.caller.invite(Way::Udp(self.gateway.sip), self.gateway.sip, number, &sdp)
    }

    fn cdr(&self) -> Value {
        self.gateway.wait_cdrs(1).remove(0)
    }
}

/// Sends an INVITE elsewhere: the request it was.
fn redirect(phone: &mut Phone, status: u16, contacts: &str) -> Message {
    let invite = phone.expect("INVITE");
    phone.respond_with(&invite, status, "moved", &format!("Contact: {contacts}\r\n"), "");
    let ack = phone.expect("ACK");
    assert_eq!(ack.0.branch(), invite.0.branch(), "RFC 3261 §17.1.1.3");
    invite.0
}

/// Answers an INVITE: the request it was.
fn answer(phone: &mut Phone) -> Message {
    let invite = phone.expect("INVITE");
    let sdp = Voice::new(phone.address.ip(), 2).sdp("sendrecv");
    phone.respond(&invite, 200, "answered", &sdp);
    invite.0
}

/// Ends a call that the callee has answered.
fn hang_up(row: &mut Row, mut call: Dialog, callee: &mut Phone) {
    assert_eq!(row.caller.answered(&mut call).status(), Some(200));
    callee.expect("ACK");
    row.caller.begin_request(&mut call, "BYE", "");
    let bye = callee.expect("BYE");
    callee.respond(&bye, 200, "answered", "");
    let cseq = format!("{} BYE", call.cseq);
    assert_eq!(row.caller.final_response(&call.call_id, &cseq).status(), Some(200));
}

fn a_redirection_to_a_number_of_ours_is_routed(io: &str) {
    let (mut first, mut second) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let trunks = [("first", first.address, ""), ("second", second.address, "")];
    let routes = "[calls]\nredirect_hosts = [\"numbers.example\"]\n[[route]]\nprefix = \"1\"\nto = [\"first\"]\n\
        [[route]]\nprefix = \"2\"\nto = [\"second\"]\n";
    let mut row = Row::start(io, &trunks, routes);
    let own = row.gateway.sip;
    for contact in [format!("<sip:2000@{own}>"), "<sip:2001@Numbers.Example>".into(), "<tel:2002>".into()] {
        let call = row.call("1000");
        redirect(&mut first, 302, &contact);
        let invite = answer(&mut second);
        assert!(invite.number().starts_with("200"), "{contact}: {}", invite.text);
        hang_up(&mut row, call, &mut second);
    }
    let cdr = row.gateway.wait_cdrs(3).remove(0);
    assert_eq!(
        (&cdr["dialled"], &cdr["routed"], &cdr["trunk"]),
        (&"1000".into(), &"2002".into(), &"second".into())
    );
    let moved = &cdr["attempts"][0];
    assert_eq!((&moved["status"], &moved["redirected"]), (&302.into(), &"2002".into()), "{cdr}");
    assert_eq!(cdr["attempts"][1]["redirected"], Value::Null);
    assert_eq!(row.gateway.metric("trunkline_redirects_followed_total"), 3.0);
}

fn a_redirection_to_a_peer_goes_there_in_the_order_of_q(io: &str) {
    let phones: Vec<Phone> = (0..3).map(|_| Phone::new("127.0.0.1")).collect();
    let [mut server, mut low, mut high]: [Phone; 3] = phones.try_into().ok().unwrap();
    let trunks = [("server", server.address, ""), ("low", low.address, ""), ("high", high.address, "")];
    let mut row = Row::start(io, &trunks, "[[route]]\nto = [\"server\"]\n");
    let call = row.call("1000");
    // The routing number of a ported one goes along (RFC 4694).
    let contacts =
        format!("<sip:3000;npdi;rn=+4930@{}>;q=0.2, <sip:3001@{}>;q=0.9", low.address, high.address);
    let asked = redirect(&mut server, 300, &contacts);
    assert_eq!(asked.number(), "1000");
    // RFC 3261 §8.1.3.4: the next when one fails.
    let invite = high.expect("INVITE");
    assert_eq!(invite.0.number(), "3001");
    high.respond(&invite, 486, "busy", "");
    let invite = answer(&mut low);
    assert!(invite.start.starts_with("INVITE sip:3000;npdi;rn=+4930@"), "{}", invite.text);
    hang_up(&mut row, call, &mut low);
    let cdr = row.cdr();
    let attempts = cdr["attempts"].as_array().unwrap();
    let trunks: Vec<&str> = attempts.iter().map(|attempt| attempt["trunk"].as_str().unwrap()).collect();
    assert_eq!(trunks, ["server", "high", "low"], "{cdr}");
    let led = format!("3001@{}, 3000;npdi;rn=+4930@{}", high.address, low.address);
    assert_eq!(attempts[0]["redirected"], Value::from(led));
}

fn elsewhere_is_not_called(io: &str) {
    let (mut first, mut stranger) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let trunks = [("first", first.address, "")];
    let mut row = Row::start(io, &trunks, "[[route]]\nprefix = \"1\"\nto = [\"first\"]\n");
    let contacts = format!(
        "<sip:1001@{0}>, <sip:1002@elsewhere.example>, <mailto:a@b>, <sips:1003@{1}>, <sip:1004@{1};maddr=127.0.0.9>",
        stranger.address, first.address
    );
    let mut call = row.call("1000");
    redirect(&mut first, 302, &contacts);
    let answer = row.caller.answered(&mut call);
    assert_eq!((answer.status(), answer.field("contact")), (Some(480), ""), "{}", answer.text);
    // A number without a route stays without, whoever names it.
    let mut call = row.call("1000");
    let at = first.address;
    redirect(&mut first, 302, &format!("<sip:9000@{at}>, <sip:9001@{}>", row.gateway.sip));
    assert_eq!(row.caller.answered(&mut call).status(), Some(404));
    // RFC 3261 §21.3.5: another service is described in a way that is not known here.
    let mut call = row.call("1000");
    redirect(&mut first, 380, &format!("<sip:1001@{at}>"));
    assert_eq!(row.caller.answered(&mut call).status(), Some(480));
    assert!(stranger.leftovers(Duration::from_millis(100)).is_empty());
    assert_eq!(row.gateway.metric("trunkline_redirects_refused_total"), 2.0);
}

fn no_target_is_tried_twice_and_their_number_is_bounded(io: &str) {
    let mut first = Phone::new("127.0.0.1");
    let more = "[calls]\nredirects_max = 3\n[[route]]\nto = [\"first\"]\n";
    let mut row = Row::start(io, &[("first", first.address, "")], more);
    let at = first.address;
    // Back to where it came from, and to what was tried already.
    let mut call = row.call("1000");
    redirect(&mut first, 302, &format!("<sip:1000@{}>, <sip:1000@{at}>, <sip:1001@{at}>", row.gateway.sip));
    redirect(&mut first, 302, &format!("<sip:1001@{at}>, <sip:1000@{at}>"));
    assert_eq!(row.caller.answered(&mut call).status(), Some(480));
    // Each time to another number.
    let mut call = row.call("2000");
    for number in 0..4 {
        let asked = redirect(&mut first, 302, &format!("<sip:300{number}@{at}>"));
        assert_eq!(asked.number() == "2000", number == 0);
    }
    assert_eq!(row.caller.answered(&mut call).status(), Some(480));
    assert!(first.leftovers(Duration::from_millis(100)).is_empty());
    assert_eq!(row.gateway.metric("trunkline_redirects_beyond_total"), 1.0);
}

fn caps_and_fraud_rules_hold_for_who_is_called_instead(io: &str) {
    let (mut first, mut second) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let trunks = [("first", first.address, ""), ("second", second.address, "max_calls = 1")];
    let more = "[[fraud]]\nname = \"dear\"\nprefix = \"900\"\nwho = \"all\"\nmax_calls = 1\n\
        [[route]]\nprefix = \"1\"\nto = [\"first\"]\n[[route]]\nto = [\"second\"]\n";
    let mut row = Row::start(io, &trunks, more);
    let to = second.address;
    let held = row.call("1000");
    redirect(&mut first, 302, &format!("<sip:9001@{to}>"));
    assert_eq!(answer(&mut second).number(), "9001");
    // The one call to such numbers is taken, whoever leads to them; and so is the trunk's only place.
    for (number, status) in [("9002", 403), ("5000", 503)] {
        let mut call = row.call("1000");
        redirect(&mut first, 302, &format!("<sip:{number}@{to}>"));
        assert_eq!(row.caller.answered(&mut call).status(), Some(status), "{number}");
    }
    hang_up(&mut row, held, &mut second);
    // Nothing is left of them.
    let call = row.call("1000");
    redirect(&mut first, 302, &format!("<sip:9003@{to}>"));
    assert_eq!(answer(&mut second).number(), "9003");
    hang_up(&mut row, call, &mut second);
    assert_eq!(row.gateway.metric("trunkline_calls_fraud_refused_total"), 1.0);
}

fn a_redirection_is_told_to_the_caller(io: &str) {
    let (mut first, second) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let trunks = [("first", first.address, "profile = \"ims\""), ("second", second.address, "")];
    let mut row = Row::start(io, &trunks, "[[route]]\nto = [\"first\"]\n");
    let own = row.gateway.sip;
    let mut call = row.call("1000");
    let contacts = format!(
        "<sip:2000@{}>;q=0.5, <sip:2001@{own}>, <sip:2002@elsewhere.example>, <tel:+4930123>;q=0.1",
        second.address
    );
    redirect(&mut first, 301, &contacts);
    let answer = row.caller.answered(&mut call);
    // Numbers at the gateway, so that the caller comes back to it; nothing of the inside, nothing from elsewhere.
    let told = format!("<sip:2001@{own}>, <sip:2000@{own}>;q=0.500, <tel:+4930123>;q=0.100");
    assert_eq!((answer.status(), answer.field("contact")), (Some(301), &*told), "{}", answer.text);
    let cdr = row.cdr();
    assert_eq!((&cdr["status"], &cdr["q850"]), (&301.into(), &20.into()), "{cdr}");
    assert_eq!(cdr["attempts"][0]["redirected"], "2001, 2000, +4930123", "{cdr}");
    // Where nothing is left to be told, and of a proxy on the inside, the caller hears that nobody is there.
    for (status, contact) in [(302, "<sip:1@elsewhere.example>".to_owned()), (305, format!("<sip:{own}>"))] {
        let mut call = row.call("1000");
        redirect(&mut first, status, &contact);
        assert_eq!(row.caller.answered(&mut call).status(), Some(480));
    }
    // RFC 3261 §21.3.5
    let mut call = row.call("1000");
    let invite = first.expect("INVITE");
    first.respond_with(&invite, 380, "other", "", "v=0\r\n");
    let answer = row.caller.answered(&mut call);
    assert_eq!((answer.status(), answer.body.as_str()), (Some(380), "v=0\r\n"), "{}", answer.text);
}

fn a_redirection_by_proxy_keeps_the_number(io: &str) {
    // RFC 3261 §21.3.4
    let (mut first, mut proxy) = (Phone::new("127.0.0.1"), Phone::new("127.0.0.1"));
    let trunks = [("first", first.address, ""), ("proxy", proxy.address, "")];
    let mut row = Row::start(io, &trunks, "[[route]]\nto = [\"first\"]\n");
    let call = row.call("1000");
    redirect(&mut first, 305, &format!("<sip:{};lr>", proxy.address));
    assert_eq!(answer(&mut proxy).number(), "1000");
    hang_up(&mut row, call, &mut proxy);
}

fn a_phone_sends_its_calls_on(io: &str) {
    let mut carrier = Phone::new("127.0.0.1");
    let more = "[[user]]\nname = \"bob\"\npassword = \"secret\"\n[[user]]\nname = \"carol\"\npassword = \"secret\"\n\
        [[fraud]]\nname = \"forwarding\"\nprefix = \"1\"\nwho = \"each-user\"\nmax_calls = 1\n\
        [[route]]\nprefix = \"1\"\nto = [\"carrier\"]\n";
    let mut row = Row::start(io, &[("carrier", carrier.address, "")], more);
    let own = row.gateway.sip;
    let mut bob = User::new("127.0.0.2", "bob", "secret");
    let mut carol = User::new("127.0.0.3", "carol", "secret");
    bob.register_contact(own, "MD5");
    carol.register_contact(own, "MD5");
    // To another phone, by the registrar's own name (its realm).
    let call = row.call("bob");
    redirect(&mut bob.phone, 302, "<sip:carol@trunkline>");
    assert_eq!(answer(&mut carol.phone).number(), "carol");
    hang_up(&mut row, call, &mut carol.phone);
    // Outside: who sends calls on answers for them, each user for his own.
    let held = row.call("bob");
    redirect(&mut bob.phone, 302, &format!("<sip:1000@{own}>"));
    assert_eq!(answer(&mut carrier).number(), "1000");
    let mut call = row.call("bob");
    redirect(&mut bob.phone, 302, &format!("<sip:1001@{own}>"));
    assert_eq!(row.caller.answered(&mut call).status(), Some(403));
    let call = row.call("carol");
    redirect(&mut carol.phone, 302, &format!("<sip:1002@{own}>"));
    assert_eq!(answer(&mut carrier).number(), "1002");
    hang_up(&mut row, call, &mut carrier);
    hang_up(&mut row, held, &mut carrier);
}
