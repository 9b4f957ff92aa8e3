//! SIPp, which shares no code with us, as caller and as carrier around the real gateway, on both drivers: no failed call
//! and no unexpected message on either side. Scenarios stand in `tests/interop/`.
use crate::gateway::{Gateway, packets};
use crate::place::{DRIVERS, Scene, own_address};
use crate::sipp::{Sipp, write_speech};
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

pub(crate) fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// One test: a gateway with one trunk, a caller's and a carrier's scenario, so many calls.
fn meet(name: &str, caller: &str, carrier: &str, calls: u32, more: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    for io in DRIVERS {
        let scene = Scene::new(name, io);
        let (caller_at, carrier_at) = (own_address(), own_address());
        write_speech(&scene.dir);
        let trunk = format!("carrier={carrier_at},max_calls=500");
        let gateway = Gateway::start(&scene, &[trunk], "");
        let echo: &[&str] = if caller.contains("rtp") { &["-rtp_echo"] } else { &[] };
        let mut carrier =
            Sipp::start(&scene.dir, &scenario(carrier), carrier_at, calls, &[more, echo].concat());
        carrier.wait_bound();
        let target = gateway.sip.to_string();
        let options = [&["-s", "8613800138000", "-r", "20", &target], more].concat();
        Sipp::start(&scene.dir, &scenario(caller), caller_at, calls, &options).finish(calls);
        carrier.finish(calls);
        let cdrs = gateway.cdrs(calls as usize);
        assert_eq!(cdrs.len(), calls as usize, "{io}: records");
        all.extend(cdrs);
    }
    all
}

#[test]
fn plain_calls() {
    let cdrs = meet("basic", "caller_basic.xml", "carrier_answer.xml", 40, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["ended_by"] == "caller"), "{cdrs:?}");
}

#[test]
fn plain_calls_over_tcp_callers() {
    // SIPp speaks TCP to the gateway, one connection for all calls; the trunk is UDP.
    for io in DRIVERS {
        let scene = Scene::new("tcp", io);
        let (caller_at, carrier_at) = (own_address(), own_address());
        let trunk = format!("carrier={carrier_at},max_calls=500");
        let gateway = Gateway::start(&scene, &[trunk], "");
        let mut carrier = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), carrier_at, 20, &[]);
        carrier.wait_bound();
        let target = gateway.sip.to_string();
        let options = ["-t", "t1", "-s", "1000", "-r", "20", &target];
        Sipp::start(&scene.dir, &scenario("caller_basic.xml"), caller_at, 20, &options).finish(20);
        carrier.finish(20);
    }
}

#[test]
fn calls_with_rtp_both_ways() {
    let cdrs = meet("rtp", "caller_rtp.xml", "carrier_answer.xml", 5, &[]);
    for cdr in cdrs {
        assert!(packets(&cdr).iter().all(|count| *count > 40), "{cdr}");
    }
}

#[test]
fn early_media() {
    meet("early", "caller_early_media.xml", "carrier_early_media.xml", 20, &[]);
}

#[test]
fn cancel() {
    let cdrs = meet("cancel", "caller_cancel.xml", "carrier_cancelled.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 487), "{cdrs:?}");
}

#[test]
fn busy() {
    let cdrs = meet("busy", "caller_busy.xml", "carrier_busy.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 486 && cdr["q850"] == 17), "{cdrs:?}");
}

#[test]
fn hold_by_reinvite_of_the_caller() {
    meet("hold", "caller_reinvite.xml", "carrier_reinvited.xml", 20, &[]);
}

#[test]
fn reinvite_of_the_callee() {
    meet("reinvited", "caller_reinvited.xml", "carrier_reinvites.xml", 20, &[]);
}

#[test]
fn reliable_provisional_responses_updates_and_session_timers() {
    let cdrs = meet("extensions", "caller_extensions.xml", "carrier_extensions.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["ended_by"] == "caller"), "{cdrs:?}");
}

#[test]
fn session_intervals_that_are_too_small_on_either_side() {
    let cdrs = meet("intervals", "caller_422.xml", "carrier_422.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["ended_by"] == "caller"), "{cdrs:?}");
}

#[test]
fn dtmf_by_info_and_the_reason_of_a_bye() {
    let cdrs = meet("info", "caller_info.xml", "carrier_info.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["q850"] == 31), "{cdrs:?}");
}

#[test]
fn bye_from_the_callee() {
    let cdrs = meet("hangup", "caller_hung_up_on.xml", "carrier_hangs_up.xml", 20, &[]);
    assert!(cdrs.iter().all(|cdr| cdr["ended_by"] == "callee"), "{cdrs:?}");
}

#[test]
fn retransmissions_carry_calls_through_five_percent_loss() {
    let scene = Scene::new("lossy-scenario", "both");
    // The carrier stays until late retransmissions have been answered.
    let patient = fs::read_to_string(scenario("carrier_answer.xml")).unwrap();
    let patient = patient
        .replace("timewait milliseconds=\"1000\"", "timewait milliseconds=\"9000\"")
        // An INVITE that comes again is taken as such from the second time on, and the 200 is sent again. To have SIPp answer it
        // anew does not do: it waits for the ACK to the first answer then, which it does not expect there.
        // An ACK that was lost is sent again only when the 200 is, and the BYE may be there before that.
        .replace(
            "<recv request=\"ACK\" />",
            "<recv request=\"INVITE\" optional=\"true\" />\n<recv request=\"ACK\" optional=\"true\" />",
        );
    fs::write(scene.dir.join("carrier_patient.xml"), patient).unwrap();
    let carrier = scene.dir.join("carrier_patient.xml");
    meet("loss", "caller_basic.xml", carrier.to_str().unwrap(), 60, &["-lost", "5"]);
}

#[test]
fn a_503_and_a_silent_carrier_are_failed_over() {
    for io in DRIVERS {
        let scene = Scene::new("failover", io);
        let (caller_at, refusing, answering) = (own_address(), own_address(), own_address());
        let silent = UdpSocket::bind(own_address()).unwrap();
        let silent_at = silent.local_addr().unwrap();
        let trunks = [
            format!("refusing={refusing},priority=1"),
            format!("silent={silent_at},priority=2"),
            format!("answering={answering},priority=3"),
        ];
        let gateway = Gateway::start(&scene, &trunks, "[calls]\nno_response = \"600ms\"\n");
        // Five failures in a row take a trunk out of service: then it is not asked any more.
        let mut first = Sipp::start(&scene.dir, &scenario("carrier_503.xml"), refusing, 5, &[]);
        first.wait_bound();
        let mut last = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), answering, 8, &[]);
        last.wait_bound();
        let target = gateway.sip.to_string();
        let options = ["-s", "1000", "-r", "1", "-rp", "1200", &target];
        Sipp::start(&scene.dir, &scenario("caller_basic.xml"), caller_at, 8, &options).finish(8);
        first.finish(5);
        last.finish(8);
        let cdrs = gateway.cdrs(8);
        let oldest = cdrs.first().unwrap();
        let causes: Vec<&str> =
            oldest["attempts"].as_array().unwrap().iter().filter_map(|a| a["cause"].as_str()).collect();
        assert_eq!(causes.len(), 3, "{oldest}");
        assert!(causes[0].starts_with("503") && causes[1].contains("no response"), "{causes:?}");
        assert!(cdrs.iter().all(|cdr| cdr["trunk"] == "answering" && cdr["status"] == 200), "{cdrs:?}");
        let newest = cdrs.last().unwrap();
        assert_eq!(
            newest["attempts"].as_array().unwrap().len(),
            1,
            "both dead trunks are out of service: {newest}"
        );
    }
}

/// A phone registers, and another one calls it in its own name: SIPp works out the digests. It knows MD5 alone and reads
/// the first challenge only.
#[test]
fn phones_register_and_call_each_other() {
    for io in DRIVERS {
        let scene = Scene::new("phones", io);
        let (caller_at, phone_at) = (own_address(), own_address());
        let users = ["1001", "1002"]
            .map(|name| format!("[[user]]\nname = \"{name}\"\npassword = \"secret{name}\"\n"))
            .concat();
        let gateway = Gateway::start(&scene, &[], &users);
        let target = gateway.sip.to_string();
        let options = ["-s", "1002", target.as_str()];
        Sipp::start(&scene.dir, &scenario("phone_registers.xml"), phone_at, 1, &options).finish(1);
        let known = gateway.get("/api/v1/registrations");
        assert_eq!(known["registrations"][0]["contacts"][0]["target"], phone_at.to_string(), "{known}");
        let mut phone = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), phone_at, 20, &[]);
        phone.wait_bound();
        let options = ["-s", "1002", "-r", "20", &target];
        Sipp::start(&scene.dir, &scenario("caller_authenticated.xml"), caller_at, 20, &options).finish(20);
        phone.finish(20);
        let cdrs = gateway.cdrs(20);
        assert!(cdrs.iter().all(|cdr| cdr["trunk"] == "user:1002" && cdr["status"] == 200), "{cdrs:?}");
    }
}
