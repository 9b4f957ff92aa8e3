//! A real NAT: network namespaces of this test's own, one of them a router that masquerades with random ports and lets nothing
//! in that was not asked for. Where the host permits no namespaces, or has no `ip` or `nft`, there is nothing to be shown.

use crate::gateway::{Gateway, folder, rtp_ports};
use crate::phone::{Phone, Way};
use crate::register::User;
use crate::voice::{Voice, meet, talk};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

on_both_drivers! {
    a_phone_behind_a_real_nat_calls_and_is_called
}

/// `outside` (198.51.100.0/24) - router - `home` (192.168.1.0/24).
struct Net {
    names: [String; 3],
}

fn runs(command: &str) -> bool {
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Net {
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let word = format!("tl{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let names = ["out", "nat", "home"].map(|part| format!("{word}{part}"));
        let net = Self { names };
        let [out, nat, home] = &net.names;
        let script = [
            format!("ip netns add {out}"),
            format!("ip netns add {nat}"),
            format!("ip netns add {home}"),
            format!("ip -n {out} link add east type veth peer name west netns {nat}"),
            format!("ip -n {home} link add east type veth peer name inner netns {nat}"),
            format!("ip -n {out} addr add 198.51.100.1/24 dev east"),
            format!("ip -n {out} addr add 198.51.100.2/24 dev east"),
            format!("ip -n {nat} addr add 198.51.100.254/24 dev west"),
            format!("ip -n {nat} addr add 192.168.1.1/24 dev inner"),
            format!("ip -n {home} addr add 192.168.1.7/24 dev east"),
            format!("ip -n {out} link set lo up"),
            format!("ip -n {out} link set east up"),
            format!("ip -n {nat} link set west up"),
            format!("ip -n {nat} link set inner up"),
            format!("ip -n {home} link set east up"),
            format!("ip -n {home} route add default via 192.168.1.1"),
            format!("ip netns exec {nat} sysctl -qw net.ipv4.ip_forward=1"),
        ];
        (script.iter().all(|line| runs(line)) && net.masquerades()).then_some(net)
    }

    fn masquerades(&self) -> bool {
        let rules = "table ip nat {\n chain out {\n  type nat hook postrouting priority 100;\n  oifname \"west\" masquerade random\n }\n}\n\
                     table ip wall {\n chain through {\n  type filter hook forward priority 0; policy drop;\n\
                     ct state established,related accept\n  iifname \"inner\" accept\n }\n}\n";
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.names[1], "nft", "-f", "-"]).stderr(Stdio::null());
        let Ok(mut nft) = nft.stdin(Stdio::piped()).spawn() else { return false };
        let written = nft.stdin.take().unwrap().write_all(rules.as_bytes()).is_ok();
        nft.wait().is_ok_and(|status| status.success()) && written
    }

    /// Has what this thread opens and starts from now on be in a namespace.
    fn enter(&self, part: usize) {
        let file = File::open(format!("/var/run/netns/{}", self.names[part])).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            runs(&format!("ip netns del {name}"));
        }
    }
}

fn a_phone_behind_a_real_nat_calls_and_is_called(io: &str) {
    let io = io.to_owned();
    // A thread of its own: it does not come back from the namespace.
    let test = std::thread::spawn(move || match Net::new() {
        Some(net) => through(&net, &io),
        None => eprintln!("no network namespaces here: skipped"),
    });
    if let Err(panic) = test.join() {
        std::panic::resume_unwind(panic);
    }
}

fn through(net: &Net, io: &str) {
    net.enter(0);
    let data = folder("real-nat");
    let ports = rtp_ports(240);
    let mut outside = Phone::new("198.51.100.2");
    let trunk = format!("--trunk=far={}", outside.address);
    let arguments = [
        "--workers=2",
        "--user=bob:secret2",
        "--allow=198.51.100.0/24",
        "--probe-interval=0s",
        &trunk,
        "--rtp-ports",
        &ports,
    ];
    let gateway = Gateway::start_at(io, &["198.51.100.1:5060"], "127.0.0.1:0", data, &arguments);
    net.enter(2);
    let mut bob = User::new("192.168.1.7", "bob", "secret2");
    let over_tcp = bob.phone.connect(gateway.sip);
    let mut far = Voice::new("192.168.1.7".parse().unwrap(), 2);
    net.enter(0);
    let mut near = Voice::new("198.51.100.2".parse().unwrap(), 1);
    for (way, transport, suffix) in [(None, "UDP", ""), (Some(over_tcp), "TCP", ";transport=tcp")] {
        bob.over = way.map(|way| (way, transport));
        let fields = format!("Contact: <sip:bob@{}{suffix}>\r\nExpires: 600\r\n", bob.phone.address);
        let answer = bob.register(gateway.sip, "SHA-256", &fields);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        assert!(answer.field("via").contains(";received=198.51.100.254;rport="), "{}", answer.text);
        let (here, there) = (way.unwrap_or(Way::Udp(gateway.sip)), Way::Udp(gateway.sip));

        // Called: voice both ways, a change, and the end come through.
        let mut dialog = outside.invite(there, gateway.sip, "bob", &near.sdp("sendrecv"));
        let invite = bob.phone.expect("INVITE");
        bob.phone.respond(&invite, 200, "phone", &far.sdp("sendrecv"));
        let told = outside.answered(&mut dialog);
        assert_eq!(told.status(), Some(200));
        bob.phone.expect("ACK");
        speak((&mut near, told.audio()), (&mut far, invite.0.audio()));
        outside.begin_request(&mut dialog, "INVITE", &near.sdp("sendonly"));
        let change = bob.phone.expect("INVITE");
        bob.phone.respond(&change, 200, "phone", &far.sdp("recvonly"));
        assert_eq!(outside.answered(&mut dialog).status(), Some(200));
        bob.phone.expect("ACK");
        outside.begin_request(&mut dialog, "BYE", "");
        let bye = bob.phone.expect("BYE");
        assert_eq!(bye.1, here);
        bob.phone.respond(&bye, 200, "phone", "");
        gateway.wait_calls(0);

        // Calling: the other side hangs up.
        let mut dialog = bob.phone.invite(here, gateway.sip, "0123", &far.sdp("sendrecv"));
        let invite = outside.expect("INVITE");
        outside.respond(&invite, 200, "taken", &near.sdp("sendrecv"));
        let told = bob.phone.answered(&mut dialog);
        assert_eq!(told.status(), Some(200));
        outside.expect("ACK");
        speak((&mut near, invite.0.audio()), (&mut far, told.audio()));
        let mut theirs = outside.dialog_of(&invite, "taken");
        outside.begin_request(&mut theirs, "BYE", "");
        let bye = bob.phone.expect("BYE");
        bob.phone.respond(&bye, 200, "phone", "");
        gateway.wait_calls(0);
    }
}

/// Both speak; `far` first, from a port that only its NAT knows.
fn speak((near, near_to): (&mut Voice, SocketAddr), (far, far_to): (&mut Voice, SocketAddr)) {
    for _ in 0..6 {
        far.send(far_to);
        std::thread::sleep(Duration::from_millis(10));
    }
    meet((&mut *near, near_to), (&mut *far, far_to));
    talk((near, near_to), (far, far_to), 20);
}
