//! Kamailio as a carrier's registrar: a trunk registers there with digest, over UDP and TCP, is called through it, calls
//! through it, and finds it again after its death.

use crate::gateway::Gateway;
use crate::kamailio::Kamailio;
use crate::place::{DRIVERS, Scene, own_address};
use crate::plain::scenario;
use crate::sipp::Sipp;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

fn start_kamailio(scene: &Scene, at: SocketAddr, far: SocketAddr) -> Kamailio {
    let script = include_str!("registrar.cfg")
        .replace("ADDRESS", &at.to_string())
        .replace("FAR", &far.to_string())
        .replace("FOLDER", &scene.dir.display().to_string());
    Kamailio::with_script(at, scene, "registrar", &script)
}

fn registration(gateway: &Gateway) -> serde_json::Value {
    let trunks = gateway.get("/api/v1/trunks");
    let all = trunks["trunks"].as_array().unwrap();
    all.iter().find(|trunk| trunk["name"] == "carrier").unwrap()["registration"].clone()
}

fn wait(gateway: &Gateway, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let begun = Instant::now();
    loop {
        let now = registration(gateway);
        if holds(&now) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {now}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn a_trunk_at_kamailio(io: &'static str, transport: &str) {
    let scene = Scene::new(&format!("registrar-{transport}"), io);
    let (kamailio_at, caller_at, far) = (own_address(), own_address(), own_address());
    let near = own_address();
    let text = format!(
        "health.probe_interval = \"0s\"\n[[trunk]]\nname = \"carrier\"\npeers = [\"{kamailio_at}/{transport}\"]\n\
         username = \"4711\"\npassword = \"pw7\"\n\
         register = {{ registrar = \"carrier.example\", expires = \"10s\", retry_base = \"500ms\", retry_max = \"2s\" }}\n\
         [[trunk]]\nname = \"near\"\npeers = [\"{near}\"]\nhealth = {{ probe_interval = \"0s\" }}\n\
         [[route]]\nprefix = \"4711\"\nto = [\"near\"]\n[[route]]\nprefix = \"86\"\nto = [\"carrier\"]\n"
    );
    let kamailio = start_kamailio(&scene, kamailio_at, far);
    let gateway = Gateway::start(&scene, &[], &text);
    let facts = wait(&gateway, "registered", |it| it["registered"] == true);
    assert_eq!(facts["associated"][0], "sip:+861014711@carrier.example", "{facts}");
    assert!(facts["service_route"][0].as_str().unwrap().contains(";orig"), "{facts}");

    // Called: SIPp calls the address of record at Kamailio.
    let mut answering = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), near, 10, &[]);
    answering.wait_bound();
    let target = kamailio_at.to_string();
    let options = ["-s", "4711", "-r", "10", target.as_str()];
    Sipp::start(&scene.dir, &scenario("caller_basic.xml"), caller_at, 10, &options).finish(10);
    answering.finish(10);
    assert_eq!(registration(&gateway)["calls_in"], 10);

    // Calling: Kamailio asks for the password again (407), and for the service route.
    let mut answering = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), far, 10, &[]);
    answering.wait_bound();
    let target = gateway.sip.to_string();
    let options = ["-s", "8613800", "-r", "10", target.as_str()];
    Sipp::start(&scene.dir, &scenario("caller_basic.xml"), own_address(), 10, &options).finish(10);
    answering.finish(10);
    let cdrs = gateway.cdrs(20);
    assert!(cdrs.len() == 20 && cdrs.iter().all(|cdr| cdr["status"] == 200), "{cdrs:?}");

    // Refreshes are granted, though nonces grow old between them.
    wait(&gateway, "refreshed", |it| it["granted"].as_u64() >= Some(3));
    assert_eq!(registration(&gateway)["failed"], 0);

    // Killed and started again: it knows neither us nor its own nonces any more.
    drop(kamailio);
    wait(&gateway, "the death is noticed", |it| it["failed"].as_u64() >= Some(2));
    let _kamailio = start_kamailio(&scene, kamailio_at, far);
    wait(&gateway, "registered again", |it| it["state"] == "registered" && it["registered"] == true);
    let mut answering = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), near, 2, &[]);
    answering.wait_bound();
    let target = kamailio_at.to_string();
    let options = ["-s", "4711", target.as_str()];
    Sipp::start(&scene.dir, &scenario("caller_basic.xml"), own_address(), 2, &options).finish(2);
    answering.finish(2);
}

#[test]
fn a_trunk_registers_at_kamailio_over_udp() {
    for io in DRIVERS {
        a_trunk_at_kamailio(io, "udp");
    }
}

#[test]
fn a_trunk_registers_at_kamailio_over_tcp() {
    for io in DRIVERS {
        a_trunk_at_kamailio(io, "tcp");
    }
}
