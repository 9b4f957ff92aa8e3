//! A gateway between two networks: signalling and media of each stay on its addresses, and are named as its peers know them.

use crate::gateway::{Gateway, folder, rtp_ports, run};
use crate::message::Message;
use crate::phone::{Phone, Way};
use crate::voice::{Voice, talk};
use std::net::SocketAddr;

on_both_drivers! {
    calls_go_from_realm_to_realm
    realms_are_told_by_check
    connections_leave_from_their_realm
    each_family_has_its_advertised_address
}

/// Inside is 127.1.0.0/16, outside whatever else; outside is known by another address for signalling and another for voice.
fn text(trunks: &str, outside: &str) -> String {
    let (inner, outer) = (rtp_ports(120), rtp_ports(120));
    format!(
        "http = \"127.0.0.1:0\"\nallow = [\"127.0.0.0/8\"]\nhealth.probe_interval = \"0s\"\n\
         [[realm]]\nname = \"inside\"\nlisten = [\"127.1.0.1:0\"]\nnetworks = [\"127.1.0.0/16\"]\nrtp_ports = \"{inner}\"\n\
         [[realm]]\nname = \"outside\"\nlisten = [\"127.2.0.1:0\"]\nrtp_address = [\"127.2.0.2\"]\nnetworks = [\"0.0.0.0/0\"]\n\
         rtp_ports = \"{outer}\"\n{outside}{trunks}"
    )
}

fn start(io: &str, text: &str) -> Gateway {
    let data = folder("realms");
    let file = data.join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    let mut command = crate::gateway::binary();
    command.args(["serve", "--io", io, "--workers", "2", "--config"]).arg(&file).arg("--data").arg(&data);
    Gateway::spawn(command, data)
}

/// The addresses of the ready line, in the order of the realms.
fn listening(gateway: &Gateway) -> Vec<SocketAddr> {
    let ready = gateway.logged("ready: ").unwrap();
    let list = ready.split("sip ").nth(1).unwrap();
    list.split([' ', ',']).map_while(|text| text.parse().ok()).collect()
}

fn calls_go_from_realm_to_realm(io: &str) {
    let mut carrier = Phone::new("127.9.0.1");
    let mut pbx = Phone::new("127.1.0.9");
    let trunks = format!(
        "[[trunk]]\nname = \"carrier\"\npeers = [\"{}\"]\n[[trunk]]\nname = \"pbx\"\npeers = [\"{}\"]\n\
         [[route]]\nprefix = \"0\"\nto = [\"carrier\"]\n[[route]]\nprefix = \"2\"\nto = [\"pbx\"]\n",
        carrier.address, pbx.address
    );
    let advertised = "advertise = [\"127.2.0.99\"]\nrtp_advertise = [\"127.2.0.2\"]\n";
    let gateway = start(io, &text(&trunks, advertised));
    let at = listening(&gateway);
    let (inside, outside) = (at[0], at[1]);
    assert_eq!((inside.ip().to_string(), outside.ip().to_string()), ("127.1.0.1".into(), "127.2.0.1".into()));
    let named = SocketAddr::new("127.2.0.99".parse().unwrap(), outside.port());
    let came_from = |way: Way| match way {
        Way::Udp(from) => from,
        Way::Stream(_) => unreachable!("it goes by UDP"),
    };
    let check = |invite: &(Message, Way), from: SocketAddr, named: SocketAddr, media: &str| {
        assert_eq!(came_from(invite.1), from);
        assert!(invite.0.field("via").starts_with(&format!("SIP/2.0/UDP {named};")), "{}", invite.0.text);
        assert_eq!(invite.0.contact(), format!("sip:{named}"));
        assert!(invite.0.field("from").contains(&format!("@{}>", named.ip())), "{}", invite.0.text);
        assert_eq!(invite.0.audio().ip().to_string(), media);
        assert!(invite.0.body.contains(&format!("IN IP4 {media}\r\ns=")), "o= too: {}", invite.0.body);
    };
    // From inside to the carrier, and back in.
    for outward in [true, false] {
        let (caller, callee, number, entry) = if outward {
            (&mut pbx, &mut carrier, "0123", inside)
        } else {
            (&mut carrier, &mut pbx, "2123", outside)
        };
        let mut a = Voice::new(caller.address.ip(), 1);
        let mut b = Voice::new(callee.address.ip(), 2);
        let mut dialog = caller.invite(Way::Udp(entry), entry, number, &a.sdp("sendrecv"));
        let invite = callee.expect("INVITE");
        callee.respond(&invite, 200, "taken", &b.sdp("sendrecv"));
        let answer = caller.answered(&mut dialog);
        assert_eq!(answer.status(), Some(200));
        callee.expect("ACK");
        let ours = if outward { ("127.2.0.2", "127.1.0.1") } else { ("127.1.0.1", "127.2.0.2") };
        if outward {
            check(&invite, outside, named, ours.0);
            assert_eq!(answer.contact(), format!("sip:{number}@{inside}"));
        } else {
            check(&invite, inside, inside, ours.0);
            assert_eq!(answer.contact(), format!("sip:{number}@{named}"));
            // The name is nobody's on this host: a real carrier's way there leads through a NAT.
            dialog.target = format!("sip:{number}@{outside}");
        }
        assert_eq!(answer.audio().ip().to_string(), ours.1);
        talk((&mut a, answer.audio()), (&mut b, invite.0.audio()), 10);
        caller.begin_request(&mut dialog, "BYE", "");
        let bye = callee.expect("BYE");
        assert_eq!(came_from(bye.1), if outward { outside } else { inside });
        callee.respond(&bye, 200, "taken", "");
        gateway.wait_calls(0);
    }
}

fn connections_leave_from_their_realm(io: &str) {
    let mut carrier = Phone::new("127.9.0.1");
    let trunks = format!("[[trunk]]\nname = \"carrier\"\npeers = [\"{}/tcp\"]\n", carrier.address);
    let gateway = start(io, &text(&trunks, ""));
    let at = listening(&gateway);
    let mut caller = Phone::new("127.1.0.9");
    let mut dialog =
        caller.invite(Way::Udp(at[0]), at[0], "0123", &Voice::new(caller.address.ip(), 1).sdp("sendrecv"));
    let invite = carrier.expect("INVITE");
    assert!(invite.0.field("via").starts_with(&format!("SIP/2.0/TCP {};", at[1])), "{}", invite.0.text);
    assert_eq!(invite.0.contact(), format!("sip:{};transport=tcp", at[1]));
    assert_eq!(carrier.peer_of(invite.1).unwrap().ip(), at[1].ip());
    carrier.respond(&invite, 486, "busy", "");
    assert_eq!(caller.answered(&mut dialog).status(), Some(486));
}

/// Without realms: one address of each family for SIP, another for media, neither of them the one bound.
fn each_family_has_its_advertised_address(io: &str) {
    let mut carrier = Phone::new("::1");
    let config = format!(
        "http = \"127.0.0.1:0\"\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\nadvertise = [\"2001:db8::10\", \"203.0.113.10\"]\n\
         health.probe_interval = \"0s\"\n[media]\nadvertise = [\"127.0.0.1\", \"::1\"]\nrtp_ports = \"{}\"\n\
         [[trunk]]\nname = \"six\"\npeers = [\"{}\"]\n",
        rtp_ports(120),
        carrier.address
    );
    let gateway = start(io, &config);
    let at = listening(&gateway);
    let mut caller = Phone::new("127.0.0.2");
    let mut a = Voice::new(caller.address.ip(), 1);
    let mut b = Voice::new(carrier.address.ip(), 2);
    let mut dialog = caller.invite(Way::Udp(at[0]), at[0], "0123", &a.sdp("sendrecv"));
    let invite = carrier.expect("INVITE");
    let named = format!("[2001:db8::10]:{}", at[1].port());
    assert!(invite.0.field("via").starts_with(&format!("SIP/2.0/UDP {named};")), "{}", invite.0.text);
    assert_eq!(invite.0.contact(), format!("sip:{named}"));
    assert_eq!(invite.0.audio().ip().to_string(), "::1");
    carrier.respond(&invite, 200, "taken", &b.sdp("sendrecv"));
    let answer = caller.answered(&mut dialog);
    assert_eq!(answer.contact(), format!("sip:0123@203.0.113.10:{}", at[0].port()));
    assert_eq!(answer.audio().ip().to_string(), "127.0.0.1");
    talk((&mut a, answer.audio()), (&mut b, invite.0.audio()), 10);
    let mut theirs = carrier.dialog_of(&invite, "taken");
    carrier.begin_request(&mut theirs, "BYE", "");
    let bye = caller.expect("BYE");
    caller.respond(&bye, 200, "", "");
    gateway.wait_calls(0);
}

fn realms_are_told_by_check(_: &str) {
    let trunks = "[[trunk]]\nname = \"carrier\"\npeers = [\"198.51.100.1:5060\"]\n\
        [[trunk]]\nname = \"pbx\"\npeers = [\"198.51.100.2:5060\"]\nrealm = \"inside\"\n";
    let file = folder("check-realms").join("gateway.toml");
    std::fs::write(&file, text(trunks, "advertise = [\"203.0.113.10\"]\nnat = \"always\"\n")).unwrap();
    let path = file.to_str().unwrap();
    let (code, out, err) = run(&["check", "config", path]);
    assert_eq!(code, 0, "{err}");
    for words in [
        "realm      inside: 127.1.0.1:0 (udp, tcp); rtp 127.1.0.1 ",
        "; peers: 127.1.0.0/16\n",
        "realm      outside: 127.2.0.1:0 (udp, tcp), named as 203.0.113.10; rtp 127.2.0.2 ",
        ", named as 203.0.113.10; peers: 0.0.0.0/0; nat always\n",
        "profile carrier-lenient, realm outside\n",
        "profile carrier-lenient, realm inside\n",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert!(!out.contains("sip        "), "no address but those of the realms: {out}");
    let (code, out, err) = run(&["check", "route", "1", "--config", path]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("carrier 198.51.100.1:5060: at most 100 calls;") && out.contains("; realm outside\n"),
        "{out}"
    );
    let (_, out, _) = run(&["check", "route", "1", "--json", "--config", path]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    let realms: Vec<&str> =
        told["tries"].as_array().unwrap().iter().filter_map(|attempt| attempt["realm"].as_str()).collect();
    assert_eq!(realms, ["outside", "inside"]);
    std::fs::write(
        &file,
        text("[[trunk]]\nname = \"a\"\npeers = [\"198.51.100.1:5060\"]\nrealm = \"x\"\n", ""),
    )
    .unwrap();
    let (code, _, err) = run(&["check", "config", path]);
    assert_eq!(code, 2);
    assert!(
        err.contains(path) && err.contains("trunk \"a\": realm: \"x\" is no realm; known: inside, outside"),
        "{err}"
    );
}
