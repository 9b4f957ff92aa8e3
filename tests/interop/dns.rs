//! dnsmasq as the DNS server that knows where a carrier is.

use crate::gateway::Gateway;
use crate::place::{DRIVERS, Running, Scene, own_address, wait_until};
use crate::plain::scenario;
use crate::sipp::Sipp;
use std::process::Command;

/// NAPTR leads to SRV, the first server is dead, the second takes all calls (RFC 3263 §4.3).
#[test]
fn a_carrier_by_name_is_located_through_dnsmasq() {
    for io in DRIVERS {
        let scene = Scene::new("dns", io);
        let [caller_at, carrier_at, dns_at, dead_at] = [(); 4].map(|()| own_address());
        let mut command = Command::new("dnsmasq");
        command
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
            .args(["--bind-interfaces", "--local-ttl=30", "--pid-file="])
            .arg(format!("--listen-address={}", dns_at.ip()))
            .arg(format!("--port={}", dns_at.port()))
            .arg("--naptr-record=carrier.test,10,10,s,SIP+D2U,,_sip._udp.carrier.test")
            .arg(format!("--srv-host=_sip._udp.carrier.test,dead.carrier.test,{},1,10", dead_at.port()))
            .arg(format!("--srv-host=_sip._udp.carrier.test,sbc.carrier.test,{},2,10", carrier_at.port()))
            .arg("--cname=sbc.carrier.test,host.carrier.test")
            .arg(format!("--host-record=dead.carrier.test,{}", dead_at.ip()))
            .arg(format!("--host-record=host.carrier.test,{}", carrier_at.ip()));
        let _server = Running::start(&mut command, &scene.dir.join("dnsmasq.log"), "dnsmasq-base");
        let trunk = String::from("carrier=carrier.test,max_calls=500");
        let gateway = Gateway::start(&scene, &[trunk], &format!("dns.servers = [\"{dns_at}\"]\n"));
        let trunks = || gateway.get("/api/v1/trunks").to_string();
        wait_until("the carrier to be located", || {
            trunks().contains(&format!("\"address\":\"{carrier_at}\""))
        });
        assert!(trunks().contains("\"by\":\"NAPTR\""), "{}", trunks());
        let mut carrier = Sipp::start(&scene.dir, &scenario("carrier_answer.xml"), carrier_at, 20, &[]);
        carrier.wait_bound();
        let target = gateway.sip.to_string();
        let options = ["-s", "1000", "-r", "20", &target];
        Sipp::start(&scene.dir, &scenario("caller_basic.xml"), caller_at, 20, &options).finish(20);
        carrier.finish(20);
        let cdrs = gateway.cdrs(20);
        let peer = carrier_at.to_string();
        assert!(cdrs.iter().all(|cdr| cdr["status"] == 200 && cdr["peer"] == peer.as_str()), "{cdrs:?}");
        assert!(cdrs.iter().any(|cdr| cdr["attempts"].as_array().unwrap().len() == 2), "{cdrs:?}");
    }
}
