//! Phones with a password: asked for it, registered, called, refused, and still registered after a restart.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, folder, rtp_ports, wait_until};
use crate::message::Message;
use crate::phone::{Dialog, Phone, Way, unique};
use crate::voice::Voice;
use crate::websocket::{WebSocket, plain};
use md5::Digest as _;
use std::net::SocketAddr;
use std::time::Duration;

on_both_drivers! {
    a_phone_registers_and_is_called
    phones_are_called_over_the_connection_they_opened
    wrong_passwords_and_replays_are_refused
    registrations_outlive_a_restart
    a_phone_behind_a_nat_is_called_where_it_came_from
    bindings_follow_the_book
    a_carrier_that_asks_for_the_password_is_told
    who_guesses_passwords_is_banned
    caps_against_fraud_hold_by_user
}

/// A phone with a name and a password.
pub(crate) struct User {
    pub(crate) phone: Phone,
    name: &'static str,
    password: &'static str,
    pub(crate) call_id: String,
    cseq: u32,
    /// The lines that say what kind of phone it is: one that chooses among algorithms.
    pub(crate) agent: &'static str,
    /// The connection it registers over, and its transport.
    pub(crate) over: Option<(Way, &'static str)>,
}

/// What a phone says of itself that is asked with all algorithms at once.
const CHOOSES: &str = "User-Agent: Linphone (as a test has it)\r\n";

/// A digest response, worked out here.
pub(crate) struct Digest<'a> {
    name: &'a str,
    password: &'a str,
    algorithm: &'a str,
    nonce: &'a str,
    nc: u32,
}

fn hash(algorithm: &str, text: &str) -> String {
    let bytes = match algorithm {
        "MD5" => md5::Md5::digest(text).to_vec(),
        "SHA-256" => sha2::Sha256::digest(text).to_vec(),
        other => panic!("{other}"),
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Digest<'_> {
    pub(crate) fn field(&self, method: &str, uri: &str) -> String {
        let Self { name, password, algorithm, nonce, nc } = self;
        let a1 = hash(algorithm, &format!("{name}:trunkline:{password}"));
        let a2 = hash(algorithm, &format!("{method}:{uri}"));
        let response = hash(algorithm, &format!("{a1}:{nonce}:{nc:08x}:abc:auth:{a2}"));
        format!(
            "Authorization: Digest username=\"{name}\", realm=\"trunkline\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={algorithm}, qop=auth, nc={nc:08x}, cnonce=\"abc\"\r\n"
        )
    }
}

/// The nonce that a 401 gives for an algorithm.
pub(crate) fn nonce(challenge: &Message, algorithm: &str) -> String {
    assert_eq!(challenge.status(), Some(401), "{}", challenge.text);
    let fields = challenge.copied("www-authenticate", "W");
    let line = fields.lines().find(|line| line.contains(&format!("algorithm={algorithm},"))).unwrap();
    line.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

impl User {
    pub(crate) fn new(host: &str, name: &'static str, password: &'static str) -> Self {
        Self {
            phone: Phone::new(host),
            name,
            password,
            call_id: unique(),
            cseq: 0,
            agent: CHOOSES,
            over: None,
        }
    }

    pub(crate) fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.name, self.phone.shown())
    }

    /// One REGISTER with these further fields, and its final response.
    pub(crate) fn send(&mut self, gateway: SocketAddr, fields: &str) -> Message {
        self.cseq += 1;
        let (address, host, name) = (self.phone.shown(), self.phone.host(), self.name);
        let (way, transport) = self.over.unwrap_or((Way::Udp(gateway), "UDP"));
        let text = format!(
            "REGISTER sip:{gateway} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};rport;branch=z9hG4bK{}\r\nMax-Forwards: 70\r\n\
             From: <sip:{name}@{host}>;tag=r\r\nTo: <sip:{name}@{host}>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n{}{fields}\
             Content-Length: 0\r\n\r\n",
            unique(),
            self.call_id,
            self.cseq,
            self.agent
        );
        self.phone.send(way, &text);
        self.phone.final_response(&self.call_id.clone(), &format!("{} REGISTER", self.cseq))
    }

    pub(crate) fn digest<'a>(&'a self, algorithm: &'a str, nonce: &'a str) -> Digest<'a> {
        Digest { name: self.name, password: self.password, algorithm, nonce, nc: 1 }
    }

    /// A REGISTER that is asked for the password once.
    pub(crate) fn register(&mut self, gateway: SocketAddr, algorithm: &str, fields: &str) -> Message {
        let challenge = self.send(gateway, fields);
        let nonce = nonce(&challenge, algorithm);
        let shown = self.digest(algorithm, &nonce).field("REGISTER", &format!("sip:{gateway}"));
        self.send(gateway, &format!("{fields}{shown}"))
    }

    pub(crate) fn register_contact(&mut self, gateway: SocketAddr, algorithm: &str) -> Message {
        let fields = format!("Contact: {}\r\nExpires: 600\r\n", self.contact());
        let answer = self.register(gateway, algorithm, &fields);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        answer
    }
}

/// A caller's INVITE and its final response, acknowledged; the callee answers if it comes to that.
fn call(caller: &mut Phone, gateway: SocketAddr, number: &str, fields: &str) -> (Dialog, Message) {
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite_with(Way::Udp(gateway), gateway, number, fields, &sdp);
    let answer = caller.answered(&mut dialog);
    (dialog, answer)
}

/// A call that the callee answers, and that the caller ends.
fn talk(caller: &mut Phone, gateway: SocketAddr, number: &str, fields: &str, callee: &mut Phone) -> Message {
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite_with(Way::Udp(gateway), gateway, number, fields, &sdp);
    let invite = callee.expect("INVITE");
    let answer = Voice::new(callee.address.ip(), 2).sdp("sendrecv");
    callee.respond(&invite, 200, "phone", &answer);
    assert_eq!(caller.answered(&mut dialog).status(), Some(200));
    callee.expect("ACK");
    caller.begin_request(&mut dialog, "BYE", "");
    let bye = callee.expect("BYE");
    callee.respond(&bye, 200, "phone", "");
    invite.0
}

fn start(io: &str) -> Gateway {
    Gateway::start(io, &["--workers", "2", "--user", "4711:secret one", "--user", "bob:secret2"])
}

fn a_phone_registers_and_is_called(io: &str) {
    let gateway = start(io);
    let mut alice = User::new("127.0.0.2", "4711", "secret one");
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let answer = bob.register_contact(gateway.sip, "SHA-256");
    assert!(
        answer.field("contact").starts_with(&format!("{};expires=600", bob.contact())),
        "{}",
        answer.text
    );
    alice.register_contact(gateway.sip, "MD5");
    let mut known = serde_json::Value::Null;
    wait_until("two registrations", || {
        known = gateway.json("/api/v1/registrations");
        known["registrations"].as_array().unwrap().len() == 2
    });
    assert_eq!(known["registrations"][0]["user"], "4711");
    assert_eq!(known["registrations"][1]["contacts"][0]["target"], bob.phone.address.to_string());

    // Alice calls in her own name: asked once, then through, from whichever shard.
    for _ in 0..4 {
        let (dialog, challenge) = call(&mut alice.phone, gateway.sip, "bob", "");
        let nonce = nonce(&challenge, "MD5");
        let shown = alice.digest("MD5", &nonce).field("INVITE", &dialog.target);
        let invite = talk(&mut alice.phone, gateway.sip, "bob", &shown, &mut bob.phone);
        assert_eq!(invite.start, format!("INVITE sip:bob@{} SIP/2.0", bob.phone.address));
        assert_eq!(invite.field("authorization"), "", "what she shows the gateway is not passed on");
    }
    let cdr = &gateway.wait_cdrs(4)[0];
    assert_eq!((cdr["trunk"].as_str(), cdr["dialled"].as_str()), (Some("user:bob"), Some("bob")));

    // Bob shows his own password in Alice's name.
    let (dialog, challenge) = call(&mut bob.phone, gateway.sip, "4711", "");
    let nonce = nonce(&challenge, "MD5");
    let shown = bob.digest("MD5", &nonce).field("INVITE", &dialog.target);
    assert_eq!(call(&mut bob.phone, gateway.sip, "4711", &shown).1.status(), Some(403));
}

/// A browser, whose contact names no address, and a phone on TCP that nobody can connect to: reached through the connection
/// that they opened, from whichever shard; once it is closed, they are unavailable (RFC 5626 §5.3).
fn phones_are_called_over_the_connection_they_opened(io: &str) {
    // These phones over WebSocket are no browsers.
    let path = folder("register-ws").join("gateway.toml");
    std::fs::write(&path, "[media]\nsrtp_keying = \"sdes\"\n").unwrap();
    let config = path.to_str().unwrap();
    let arguments = ["--config", config, "--workers", "2", "--ws", "127.0.0.1:0", "--user", "bob:secret2"];
    let gateway = Gateway::start(io, &arguments);
    let mut caller = Phone::new("127.0.0.2");
    for transport in ["WS", "TCP"] {
        let mut bob = User::new("127.0.0.3", "bob", "secret2");
        let way = match transport {
            "WS" => {
                let socket = WebSocket::open(plain(gateway.address("ws")));
                bob.phone.take(Box::new(socket), "WS")
            }
            _ => bob.phone.connect(gateway.sip),
        };
        bob.over = Some((way, transport));
        let contact = format!("<sip:bob@df7jal23ls0d.invalid;transport={}>", transport.to_lowercase());
        let fields = format!("Contact: {contact}\r\nExpires: 600\r\n");
        let answer = bob.register(gateway.sip, "SHA-256", &fields);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        // Call-IDs spread calls over the shards: with ten of them the phone's own and the other are all but certain.
        for _ in 0..10 {
            let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
            let mut dialog = caller.invite_with(Way::Udp(gateway.sip), gateway.sip, "bob", "", &sdp);
            let invite = bob.phone.expect("INVITE");
            assert_eq!(invite.1, way, "over the phone's own connection");
            assert!(invite.0.text.starts_with("INVITE sip:bob@df7jal23ls0d.invalid"), "{}", invite.0.text);
            bob.phone.respond(&invite, 200, "phone", &Voice::new(bob.phone.address.ip(), 2).sdp("sendrecv"));
            assert_eq!(caller.answered(&mut dialog).status(), Some(200));
            bob.phone.expect("ACK");
            caller.begin_request(&mut dialog, "BYE", "");
            let bye = bob.phone.expect("BYE");
            // On plain TCP the phone's 200 has named where it listens.
            assert!(transport == "TCP" || bye.1 == way);
            bob.phone.respond(&bye, 200, "phone", "");
        }
        bob.phone.close(way);
        gateway.wait_calls(0);
        for _ in 0..4 {
            let (_, answer) = call(&mut caller, gateway.sip, "bob", "");
            assert_eq!(answer.status(), Some(480), "{transport}: {}", answer.text);
        }
        let mut again = User::new("127.0.0.3", "bob", "secret2");
        let answer = again.register(gateway.sip, "SHA-256", "Contact: *\r\nExpires: 0\r\n");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }
}

fn wrong_passwords_and_replays_are_refused(io: &str) {
    let gateway = start(io);
    let uri = format!("sip:{}", gateway.sip);
    let mut alice = User::new("127.0.0.2", "4711", "secret one");
    let mut thief = User::new("127.0.0.2", "4711", "guess");
    let mut nobody = User::new("127.0.0.2", "nobody", "secret one");
    let fields = format!("Contact: {}\r\n", alice.contact());
    let wrong = thief.register(gateway.sip, "MD5", &fields);
    let unknown = nobody.register(gateway.sip, "MD5", &fields);
    assert_eq!((wrong.status(), unknown.status()), (Some(403), Some(403)));
    let bare = |message: &Message| message.text.lines().skip(6).collect::<String>();
    assert_eq!(bare(&wrong), bare(&unknown), "neither tells which names there are");

    let challenge = alice.send(gateway.sip, &fields);
    let all = challenge.copied("www-authenticate", "W");
    assert!(all.find("SHA-256").unwrap() < all.find("MD5").unwrap(), "the strongest first: {all}");
    let once = nonce(&challenge, "SHA-256");
    let shown = alice.digest("SHA-256", &once).field("REGISTER", &uri);
    assert_eq!(alice.send(gateway.sip, &format!("{fields}{shown}")).status(), Some(200));
    // The same again, on whichever shard its Call-ID leads to: asked anew, and told that the password was right.
    for _ in 0..4 {
        alice.call_id = unique();
        let again = alice.send(gateway.sip, &format!("{fields}{shown}"));
        assert!(again.status() == Some(401) && again.text.contains("stale=true"), "{}", again.text);
    }
    // His own password does not let him register somebody else's name.
    let bob = Digest { name: "bob", password: "secret2", algorithm: "MD5", nonce: "", nc: 1 };
    let given = nonce(&alice.send(gateway.sip, &fields), "MD5");
    let shown = Digest { nonce: &given, ..bob }.field("REGISTER", &uri);
    assert_eq!(alice.send(gateway.sip, &format!("{fields}{shown}")).status(), Some(403));
    assert_eq!(gateway.metric("trunkline_auth_wrong_total"), 2.0);
    assert_eq!(gateway.metric("trunkline_auth_replayed_total"), 4.0);

    // A caller that is no user goes on as before; no route takes its call, but nobody asks it for a password.
    let mut caller = Phone::new("127.0.0.4");
    let text = caller.invite_as("stranger", gateway.sip, "999");
    assert_eq!(caller.final_response(&text, "1 INVITE").status(), Some(404));
}

fn registrations_outlive_a_restart(io: &str) {
    let data = folder("registrations");
    let arguments = ["--workers", "2", "--user", "bob:secret2"];
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let mut caller = Phone::new("127.0.0.2");
    let mut gateway = Gateway::start_at(io, &["127.0.0.1:0"], "127.0.0.1:0", data.clone(), &arguments);
    let sip = gateway.sip;
    bob.register_contact(sip, "SHA-256");
    wait_until("the registration is on disk", || {
        gateway.metric("trunkline_control_writes_waiting") == 0.0
            && !gateway.json("/api/v1/registrations")["registrations"].as_array().unwrap().is_empty()
    });
    gateway.kill();
    let gateway = Gateway::start_at(io, &[&sip.to_string()], "127.0.0.1:0", data, &arguments);
    assert_eq!(gateway.json("/api/v1/registrations")["registrations"][0]["user"], "bob");
    // Control tells the shards right after they have started.
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..4 {
        talk(&mut caller, sip, "bob", "", &mut bob.phone);
    }
}

fn a_phone_behind_a_nat_is_called_where_it_came_from(io: &str) {
    let gateway = Gateway::start(io, &["--user", "bob:secret2"]);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let fields = "Contact: <sip:bob@192.0.2.55:5062>;expires=120\r\n";
    assert_eq!(bob.register(gateway.sip, "SHA-256", fields).status(), Some(200));
    let invite = talk(&mut Phone::new("127.0.0.2"), gateway.sip, "bob", "", &mut bob.phone);
    assert_eq!(invite.start, "INVITE sip:bob@192.0.2.55:5062 SIP/2.0");
}

/// RFC 3261 §10.3, and §10.2.2 for `*`.
fn bindings_follow_the_book(io: &str) {
    let gateway = start(io);
    let mut bob = User::new("127.0.0.3", "bob", "secret2");
    let brief = bob.register(gateway.sip, "MD5", "Contact: <sip:bob@192.0.2.1>;expires=5\r\n");
    assert_eq!((brief.status(), brief.field("min-expires")), (Some(423), "60"));
    let two = "Contact: <sip:bob@192.0.2.1>;q=0.2, <sip:bob@192.0.2.2>;expires=70\r\nExpires: 90\r\n";
    let answer = bob.register(gateway.sip, "MD5", two);
    let listed = answer.copied("contact", "m");
    assert!(listed.contains("<sip:bob@192.0.2.1>;expires=90;q=0.200"), "{listed}");
    assert!(listed.contains("<sip:bob@192.0.2.2>;expires=70\r\n"), "{listed}");
    let asked = bob.register(gateway.sip, "MD5", "");
    assert_eq!(asked.copied("contact", "m").lines().count(), 2, "{}", asked.text);
    let gone = bob.register(gateway.sip, "MD5", "Contact: <sip:bob@192.0.2.2>;expires=0\r\n");
    assert_eq!(gone.copied("contact", "m").lines().count(), 1, "{}", gone.text);
    let star = bob.register(gateway.sip, "MD5", "Contact: *\r\nExpires: 60\r\n");
    assert_eq!(star.status(), Some(400));
    let star = bob.register(gateway.sip, "MD5", "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((star.status(), star.field("contact")), (Some(200), ""));
    let mut caller = Phone::new("127.0.0.2");
    let call = caller.invite_as("stranger", gateway.sip, "bob");
    assert_eq!(caller.final_response(&call, "1 INVITE").status(), Some(480));
}

fn a_carrier_that_asks_for_the_password_is_told(io: &str) {
    let (mut caller, mut carrier) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
    let data = folder("challenged");
    let config = data.join("gateway.toml");
    let trunk = format!(
        "[[trunk]]\nname = \"carrier\"\npeers = [\"{}\"]\nusername = \"line7\"\npassword = \"pw7\"\n",
        carrier.address
    );
    std::fs::write(&config, format!("health.probe_interval = \"0s\"\n{trunk}")).unwrap();
    let config = config.to_str().unwrap();
    let gateway = Gateway::start(io, &["--config", config, "--rtp-ports", &rtp_ports(240)]);
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut dialog = caller.invite(Way::Udp(gateway.sip), gateway.sip, "4420", &sdp);
    let first = carrier.expect("INVITE");
    let challenge =
        "Proxy-Authenticate: Digest realm=\"trunkline\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";
    carrier.respond_with(&first, 407, "asked", challenge, "");
    carrier.expect("ACK");
    let second = carrier.expect("INVITE");
    let shown = second.0.field("proxy-authorization").to_owned();
    let cnonce = shown.split("cnonce=\"").nth(1).unwrap().split('"').next().unwrap();
    let a1 = hash("MD5", "line7:trunkline:pw7");
    let a2 = hash("MD5", &format!("INVITE:sip:4420@{}", carrier.address));
    let response = hash("MD5", &format!("{a1}:n1:00000001:{cnonce}:auth:{a2}"));
    assert!(shown.contains(&format!("response=\"{response}\"")), "{shown}");
    assert_eq!(second.0.field("call-id"), first.0.field("call-id"));
    assert_eq!((first.0.field("cseq"), second.0.field("cseq")), ("1 INVITE", "2 INVITE"));
    carrier.respond(&second, 200, "taken", &Voice::new(carrier.address.ip(), 2).sdp("sendrecv"));
    assert_eq!(caller.answered(&mut dialog).status(), Some(200));
    let ack = carrier.expect("ACK");
    assert_eq!(ack.0.field("cseq"), "2 ACK");
    caller.begin_request(&mut dialog, "BYE", "");
    let bye = carrier.expect("BYE");
    assert_eq!(bye.0.field("cseq"), "3 BYE");
    carrier.respond(&bye, 200, "taken", "");
    let cdrs = gateway.wait_cdrs(1);
    assert_eq!(
        (cdrs[0]["trunk"].as_str(), cdrs[0]["attempts"].as_array().unwrap().len()),
        (Some("carrier"), 1)
    );
}

/// A gateway with the same users on a file's text; who may call without a password is 127.0.0.1 alone.
fn start_guarded(io: &str, text: &str, trunk: &str) -> Gateway {
    let config = folder("guarded").join("gateway.toml");
    std::fs::write(&config, format!("allow = [\"127.0.0.1/32\"]\n{text}")).unwrap();
    let (config, ports) = (config.to_str().unwrap(), rtp_ports(240));
    let users = ["--user", "4711:secret one", "--user", "bob:secret2"];
    let more = ["--config", config, "--workers", "2", "--rtp-ports", &ports, trunk];
    Gateway::start(io, &[&users[..], &more[..]].concat())
}

fn who_guesses_passwords_is_banned(io: &str) {
    let gateway = start_guarded(io, "[guard]\nban_auth_failures = 3\n", "--trunk=a=127.0.0.9:9");
    let mut thief = User::new("127.0.0.4", "4711", "guess");
    for _ in 0..3 {
        // Each under the same Call-ID: one worker counts them.
        assert_eq!(thief.register(gateway.sip, "MD5", "").status(), Some(403));
    }
    let mut bans = serde_json::Value::Null;
    wait_until("a ban", || {
        bans = gateway.json("/api/v1/bans");
        bans["count"] == 1
    });
    let ban = &bans["bans"][0];
    assert_eq!((&ban["source"], &ban["reason"]), (&"127.0.0.4".into(), &"authentication".into()), "{ban}");
    // The user whose password was guessed at comes from elsewhere, and is served.
    let mut alice = User::new("127.0.0.2", "4711", "secret one");
    alice.register_contact(gateway.sip, "SHA-256");
    // Whoever guesses from an allowed network is refused, never banned.
    let mut inside = User::new("127.0.0.1", "bob", "guess");
    for _ in 0..6 {
        assert_eq!(inside.register(gateway.sip, "MD5", "").status(), Some(403));
    }
    assert_eq!(gateway.json("/api/v1/bans")["count"], 1);
}

fn caps_against_fraud_hold_by_user(io: &str) {
    let carrier = Carrier::start_at(SocketAddr::from(([127, 0, 0, 9], 0)), Manner::Answer);
    let text = "[[fraud]]\nname = \"phones\"\nprefix = \"9\"\nwho = \"each-user\"\nmax_calls = 2\n";
    let gateway = start_guarded(io, text, &carrier.trunk("carrier", ""));
    let mut alice = User::new("127.0.0.2", "4711", "secret one");
    let mut dial = |number: &str| {
        let (dialog, challenge) = call(&mut alice.phone, gateway.sip, number, "");
        let nonce = nonce(&challenge, "MD5");
        let shown = alice.digest("MD5", &nonce).field("INVITE", &dialog.target);
        call(&mut alice.phone, gateway.sip, number, &shown).1.status()
    };
    let statuses: Vec<Option<u16>> = (0..4).map(|n| dial(&format!("9{n}"))).collect();
    assert_eq!(statuses, [Some(200), Some(200), Some(403), Some(403)]);
    assert_eq!(dial("5"), Some(200), "no rule for it");
    wait_until("the alarm", || {
        let alarm = &gateway.json("/api/v1/alarms")["alarms"][0];
        alarm["rule"] == "phones" && alarm["who"] == "user 4711"
    });
}
