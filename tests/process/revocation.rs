//! Certificates that were revoked (RFC 5280 §6.3): lists made by OpenSSL, named by certificates, fetched over HTTP and HTTPS,
//! late, missing, or given as a file.

use crate::authority::{Authority, Repository, Token, openssl};
use crate::gateway::{Gateway, wait_until};
use crate::phone::Phone;
use crate::stir::{call, gateway, trunk, verifies};
use std::time::{Duration, Instant};

on_both_drivers! {
    a_revoked_certificate_is_refused_and_its_list_is_asked_for_once
    what_happens_without_the_list_is_configured
    a_call_waits_for_the_list_and_not_for_ever
    a_list_may_be_a_file_that_is_read_again
}

const CONFIG: &str =
    "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = sha256\n";

impl Authority {
    /// Writes the list of those revoked, for so many seconds.
    fn write_list(&self, seconds: &str) {
        if !self.0.join("index.txt").exists() {
            std::fs::write(self.0.join("index.txt"), "").unwrap();
            std::fs::write(self.0.join("crlnumber"), "01\n").unwrap();
            std::fs::write(self.0.join("ca.cnf"), CONFIG).unwrap();
        }
        let arguments = "ca -config ca.cnf -gencrl -keyfile root.key -cert root.pem -out root.crl -crlsec";
        let arguments: Vec<&str> = arguments.split(' ').chain([seconds]).collect();
        openssl(&self.0, &arguments);
    }

    fn revoke(&self, name: &str) {
        let certificate = format!("{name}.pem");
        let arguments = "ca -config ca.cnf -keyfile root.key -cert root.pem -revoke";
        let arguments: Vec<&str> = arguments.split(' ').chain([&*certificate]).collect();
        openssl(&self.0, &arguments);
    }

    /// A signer whose certificate says where its list is.
    fn listed(&self, name: &str, place: &str) {
        let list = format!("crlDistributionPoints=URI:{place}\nkeyUsage=critical,digitalSignature\n");
        self.sign(name, "30", &list);
    }
}

struct World {
    authority: Authority,
    repository: Repository,
    caller: Phone,
    callee: Phone,
}

impl World {
    fn new() -> Self {
        let authority = Authority::new();
        authority.write_list("3600");
        let repository = Repository::new(&authority);
        let (caller, callee) = (Phone::new("127.0.0.2"), Phone::new("127.0.0.3"));
        Self { authority, repository, caller, callee }
    }

    fn gateway(&self, io: &str, more: &str) -> (Gateway, std::path::PathBuf) {
        let lines = verifies("reject", &self.authority, &self.repository);
        let ports = format!("http_ports = [{}]\n", self.repository.plain.port());
        // More patience than a busy host takes.
        let patience = if more.contains("patience") { "" } else { "patience = \"4s\"\n" };
        let lines = format!("{lines}{ports}{patience}{more}");
        gateway(io, &lines, &trunk("callee", self.callee.address, ""))
    }

    /// A signer by that name is there, with its list at `place`.
    fn signer(&self, name: &str, place: &str) -> String {
        self.authority.listed(name, place);
        self.repository.put(&self.authority, &format!("{name}.pem"), Duration::ZERO)
    }

    /// The status of a call signed by somebody; 486 if it passed.
    fn call(&mut self, gateway: &Gateway, key: &str, url: &str) -> u16 {
        let field = Token { key, ..Token::new(url, "12155551213") }.field(&self.authority);
        call(&mut self.caller, &mut self.callee, gateway, "12155551213", &field).1.status().unwrap()
    }
}

fn a_revoked_certificate_is_refused_and_its_list_is_asked_for_once(io: &str) {
    let mut world = World::new();
    let place = format!("http://{}/root.crl", world.repository.plain);
    let (good, bad) = (world.signer("good", &place), world.signer("bad", &place));
    world.authority.revoke("bad");
    world.authority.write_list("3600");
    world.repository.put(&world.authority, "root.crl", Duration::ZERO);
    let (gateway, _) = world.gateway(io, "revocation = \"require\"\n");
    for _ in 0..3 {
        assert_eq!(world.call(&gateway, "good", &good), 486);
        assert_eq!(world.call(&gateway, "bad", &bad), 437);
    }
    assert_eq!((world.repository.asked("root.crl"), world.repository.asked("bad.pem")), (1, 1));
    let cdrs = gateway.wait_cdrs(6);
    let cause = cdrs[0]["identity"]["cause"].as_str().unwrap();
    assert!(cause.ends_with("has been revoked"), "{cause}");
    assert_eq!(gateway.metric("trunkline_identity_unsupported_total"), 3.0);
    assert_eq!(gateway.metric("trunkline_identity_lists_failed_total"), 0.0);
}

fn what_happens_without_the_list_is_configured(io: &str) {
    let mut world = World::new();
    let (tls, plain) = (world.repository.address, world.repository.plain);
    std::fs::write(world.authority.0.join("wrong.crl"), "no list").unwrap();
    world.repository.put(&world.authority, "wrong.crl", Duration::ZERO);
    world.authority.write_list("1");
    std::fs::copy(world.authority.file("root.crl"), world.authority.file("old.crl")).unwrap();
    world.repository.put(&world.authority, "old.crl", Duration::ZERO);
    std::thread::sleep(Duration::from_millis(2100));
    let places = [
        format!("http://{plain}/nothing.crl"),
        format!("https://{tls}/wrong.crl"),
        format!("http://{plain}/old.crl"),
        "http://127.0.0.1:2/port-not-allowed.crl".to_owned(),
    ];
    let urls: Vec<_> =
        places.iter().enumerate().map(|(n, place)| world.signer(&format!("signer{n}"), place)).collect();
    for (policy, status) in [("prefer", 486), ("require", 437), ("off", 486)] {
        let (gateway, _) = world.gateway(io, &format!("revocation = \"{policy}\"\n"));
        for (n, url) in urls.iter().enumerate() {
            assert_eq!(world.call(&gateway, &format!("signer{n}"), url), status, "{policy}: {}", places[n]);
        }
        let asked = gateway.metric("trunkline_identity_lists_asked_total");
        assert_eq!(asked > 0.0, policy != "off", "{policy}: {asked}");
    }
}

fn a_call_waits_for_the_list_and_not_for_ever(io: &str) {
    let mut world = World::new();
    let place = format!("https://{}/root.crl", world.repository.address);
    let (one, other) = (world.signer("one", &place), world.signer("other", &place));
    world.authority.revoke("other");
    world.authority.write_list("3600");
    world.repository.put(&world.authority, "root.crl", Duration::from_millis(400));
    let (first, _) = world.gateway(io, "");
    let begun = Instant::now();
    assert_eq!(world.call(&first, "other", &other), 437);
    assert!(begun.elapsed() >= Duration::from_millis(400), "it waited for the list");
    assert_eq!(world.call(&first, "one", &one), 486);
    // Later than a call waits: what is known has to do, and what comes late counts from then on.
    world.repository.put(&world.authority, "root.crl", Duration::from_millis(2500));
    let (second, _) = world.gateway(io, "patience = \"500ms\"\n");
    let begun = Instant::now();
    assert_eq!(world.call(&second, "other", &other), 486);
    assert!((500..2400).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(second.metric("trunkline_identity_unlisted_total"), 1.0);
}

fn a_list_may_be_a_file_that_is_read_again(io: &str) {
    let mut world = World::new();
    world.authority.signer("signer");
    let url = world.repository.put(&world.authority, "signer.pem", Duration::ZERO);
    let list = world.authority.file("root.crl");
    let more = format!("revocation = \"require\"\nrevocation_lists = [\"{list}\"]\n");
    let (gateway, _) = world.gateway(io, &more);
    assert_eq!(world.call(&gateway, "signer", &url), 486);
    world.authority.revoke("signer");
    world.authority.write_list("3600");
    gateway.signal(rustix::process::Signal::HUP);
    wait_until("the list is read again", || gateway.logged("reloaded: ").is_some());
    wait_until("it counts", || world.call(&gateway, "signer", &url) == 437);
    // A file that is none is named, and the old one stays.
    std::fs::write(&list, "nothing").unwrap();
    gateway.signal(rustix::process::Signal::HUP);
    wait_until("it is refused", || gateway.logged("stir.revocation_lists: ").is_some());
    assert_eq!(world.call(&gateway, "signer", &url), 437);
}
