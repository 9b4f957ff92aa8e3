//! What goes wrong at the start or runs out later: a clear error that names key, file and cure, or a counted refusal;
//! never a panic, never a hang.

use crate::carrier::{Carrier, Manner};
use crate::gateway::{Gateway, binary, finish, folder, rtp_ports, run, wait_until};
use crate::phone::{Dialog, Phone, Way};
use crate::voice::Voice;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

on_both_drivers! {
    a_second_gateway_is_told_whose_the_port_is
    without_rtp_ports_calls_are_refused_and_counted
    without_file_descriptors_nothing_hangs
    nonsense_on_every_port_is_survived
    real_time_priority_is_had_or_refused_and_never_passed_on
}

/// Runs `serve` with flags that cannot work; tells what it said on standard error.
fn refused(arguments: &[&str]) -> String {
    let data = folder("refused");
    let mut all = vec!["serve"];
    for (flag, value) in [("--http", "off"), ("--data", data.to_str().unwrap())] {
        if !arguments.contains(&flag) {
            all.extend([flag, value]);
        }
    }
    all.extend(arguments);
    let (code, out, err) = run(&all);
    assert_eq!(code, 2, "{arguments:?}: {out}{err}");
    assert!(out.is_empty(), "errors belong on standard error: {out}");
    err
}

/// Runs `serve` on a file that cannot work.
fn file_refused(text: &str) -> String {
    let path = folder("file").join("gateway.toml");
    std::fs::write(&path, text).unwrap();
    let said = refused(&["--config", path.to_str().unwrap()]);
    assert!(said.contains(path.to_str().unwrap()), "the file is named: {said}");
    said
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "\"{word}\" in: {said}");
    }
    assert!(said.starts_with("trunkline: ") && said.lines().count() <= 3, "short and to the point: {said}");
}

#[test]
fn mistakes_in_a_file_are_named_with_line_and_key() {
    let trunk = "[[trunk]]\nname = \"a\"\npeers = [\"127.0.0.1:5999\"]\n";
    says(&file_refused("[calls]\nmax_call = 3\n"), &["line 2", "max_call", "expected one of", "no_response"]);
    says(&file_refused("workers = \"two\"\n"), &["line 1", "\"two\"", "u16"]);
    says(&file_refused("[media]\ntimeout = 30\n"), &["line 2", "\"2s\""]);
    says(&file_refused("listen = [\n"), &["line"]);
    says(&file_refused("workers = 65\n"), &["workers", "65", "0 to 64"]);
    says(&file_refused("listen = []\n"), &["listen", "0.0.0.0:5060"]);
    says(&file_refused("[media]\nrtp_ports = \"9\"\n"), &["media.rtp_ports"]);
    says(&file_refused("[media]\nlatch = \"maybe\"\n"), &["media.latch", "maybe", "strict"]);
    says(&file_refused("allow = [\"10.0.0.0/99\"]\n"), &["allow", "10.0.0.0/99", "192.0.2.0/24"]);
    says(&file_refused("[timers]\nt1 = \"0s\"\n"), &["timers", "t1"]);
    says(&file_refused("io = \"fast\"\n"), &["io", "fast"]);
    says(&file_refused("scheduling = \"fast\"\n"), &["scheduling", "fast", "realtime"]);
    says(&file_refused(&format!("{trunk}backup = \"b\"\n")), &["trunk", "\"a\" names trunk \"b\""]);
    says(&file_refused(&format!("{trunk}{trunk}")), &["trunk \"a\": name", "two trunks"]);
    says(&file_refused(&format!("{trunk}max_calls = -1\n")), &["line 4"]);
    says(
        &file_refused("[[trunk]]\nname = \"a\"\npeers = [\"198.51.100\"]\n"),
        &["198.51.100", "peers", "ADDR:PORT"],
    );
    says(&file_refused(&format!("{trunk}[[route]]\nto = [\"b\"]\n")), &["route", "names b,"]);
    says(&file_refused(&format!("{trunk}[[group]]\nname = \"g\"\ntrunks = [\"b\"]\n")), &["\"b\""]);
    says(
        &file_refused(&format!("{trunk}[[group]]\nname = \"g\"\ntrunks = [\"a\"]\nselection = \"best\"\n")),
        &["best", "line"],
    );
}

#[test]
fn mistakes_in_flags_are_named() {
    let trunk = "--trunk=a=127.0.0.1:5999";
    says(&refused(&["--config", "/nowhere/gateway.toml"]), &["/nowhere/gateway.toml", "cannot be read"]);
    says(&refused(&["--trunk", "carrier"]), &["--trunk carrier", "NAME=ADDR:PORT"]);
    says(&refused(&["--trunk", "a=127.0.0.1:5999,max_call=3"]), &["max_call", "known are max_calls"]);
    says(&refused(&["--trunk", "a=127.0.0.1:5999,max_calls=many"]), &["max_calls=many", "whole number"]);
    says(&refused(&["--trunk", "a=127.0.0.1:5999/sctp"]), &["sctp", "/udp, /tcp or /tls"]);
    says(&refused(&[trunk, "--route", "44"]), &["--route 44", "PREFIX=NAME"]);
    says(&refused(&[trunk, "--route", "44=b"]), &["route", "\"44\" names b,"]);
    says(&refused(&[trunk, "--route", "44=a", "--route", "44=a"]), &["44"]);
    says(&refused(&[trunk, "--http", "here"]), &["--http here", "ADDR:PORT"]);
    says(&refused(&[trunk, "--rtp-ports", "2000-1000"]), &["rtp_ports"]);
    says(&refused(&[trunk, "--io", "fast"]), &["fast", "uring"]);
    says(&refused(&["--listen", "192.0.2.77:5060", trunk]), &["--listen 192.0.2.77:5060", "no interface"]);
}

#[test]
fn check_reads_and_opens_nothing() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (code, out, err) =
        run(&["serve", "--check", "--listen", &listen, "--trunk=a=127.0.0.1:5999", "--workers=2"]);
    assert_eq!((code, out.trim(), err.as_str()), (0, "configuration is good: 1 trunks, 2 workers", ""));
}

fn a_second_gateway_is_told_whose_the_port_is(io: &str) {
    let first = Gateway::start(io, &["--workers", "2", "--trunk=a=127.0.0.1:9"]);
    let (sip, http) = (first.sip.to_string(), first.http.to_string());
    let said = refused(&["--io", io, "--listen", &sip, "--rtp-ports", &rtp_ports(240)]);
    says(&said, &[&format!("--listen {sip}"), "in use", "choose another"]);
    // Somebody else's TCP alone is enough.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let said = refused(&["--io", io, "--listen", &taken, "--rtp-ports", &rtp_ports(240)]);
    says(&said, &[&format!("--listen {taken}"), "in use"]);
    let said =
        refused(&["--io", io, "--listen", "127.0.0.1:0", "--http", &http, "--rtp-ports", &rtp_ports(240)]);
    says(&said, &[&format!("--http {http}"), "in use"]);
    let data = first.data.to_str().unwrap();
    let said =
        refused(&["--io", io, "--listen", "127.0.0.1:0", "--data", data, "--rtp-ports", &rtp_ports(240)]);
    says(&said, &[data, &format!("process {}", first.pid()), "--data"]);
    // The first has not noticed.
    let mut phone = Phone::new("127.0.0.1");
    assert_eq!(phone.options(Way::Udp(first.sip), first.sip), Some(200));
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let said = refused(&["--listen", "127.0.0.1:0", "--data", "/dev/null/calls"]);
    says(&said, &["/dev/null/calls"]);
    // Somebody who is not root meets permissions. Root meets none, so root becomes nobody for it.
    let closed = folder("closed");
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    let mut command = binary();
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let data = closed.join("calls");
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--http", "off", "--workers", "1", "--data"])
        .arg(&data);
    command.args(["--rtp-ports", &rtp_ports(240)]);
    if command.get_program().to_str().is_some_and(|path| !may_be_run_by_all(Path::new(path))) {
        return eprintln!("not shown as nobody: the binary lies where nobody else may go");
    }
    let (code, _, err) = finish(&mut command);
    assert_eq!(code, 2, "{err}");
    says(&err, &[data.to_str().unwrap(), "permission", "--data"]);
}

fn may_be_run_by_all(path: &Path) -> bool {
    path.ancestors()
        .all(|part| std::fs::metadata(part).is_ok_and(|facts| facts.permissions().mode() & 0o001 != 0))
}

/// Refuses io_uring_setup (425) with EPERM, as containers do, and becomes the command behind it.
const SECCOMP: &str = "
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('rules', ctypes.c_void_p)]
program = Program(len(rules), ctypes.cast(code, ctypes.c_void_p))
libc = ctypes.CDLL(None)
libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
if libc.prctl(38, 1, None, 0, 0) or libc.prctl(22, 2, ctypes.addressof(program), 0, 0):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn without_io_uring_auto_falls_back_and_uring_says_why() {
    let python = || {
        let mut command = Command::new("python3");
        command.args(["-c", SECCOMP, env!("CARGO_BIN_EXE_trunkline")]);
        command
    };
    let probe = python().arg("--version").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return eprintln!("not shown: no python3 here to set a seccomp filter with");
    }
    let data = folder("seccomp");
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--workers",
        "2",
        "--trunk=a=127.0.0.1:9",
    ];
    let ports = rtp_ports(240);
    let mut demanded = python();
    demanded.args(arguments).args(["--io", "uring", "--rtp-ports", &ports, "--data"]).arg(&data);
    let (code, _, err) = finish(&mut demanded);
    assert_eq!(code, 2, "{err}");
    says(&err, &["--io", "io_uring not usable", "seccomp"]);
    let mut left_to_it = python();
    left_to_it.args(arguments).args(["--io", "auto", "--rtp-ports", &ports, "--data"]).arg(&data);
    let gateway = Gateway::spawn(left_to_it, data);
    assert!(gateway.logged("io: fallback (epoll), since io_uring not usable").is_some(), "{}", gateway.log());
    assert_eq!(gateway.json("/healthz")["io"], "fallback");
    let mut phone = Phone::new("127.0.0.1");
    assert_eq!(phone.options(Way::Udp(gateway.sip), gateway.sip), Some(200));
}

/// What `/proc` says of how the threads of a process whose names begin so are scheduled: 0 normal, 2 round robin.
fn policies(pid: u32, name: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    let of_that_name = stats.filter(|stat| stat.contains(&format!("({name}")));
    // Fields are counted from behind the name; proc_pid_stat(5) numbers the policy 41, the first of these is 3.
    of_that_name
        .map(|stat| stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().to_owned())
        .collect()
}

fn real_time_priority_is_had_or_refused_and_never_passed_on(io: &str) {
    let trunk = "--trunk=a=127.0.0.1:9";
    let normal = Gateway::start(io, &["--workers", "1", trunk]);
    assert_eq!(normal.json("/healthz")["scheduling"], "normal");
    assert_eq!(policies(normal.pid(), "shard-"), ["0"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", normal.pid())).unwrap();
    let huge = status.lines().find(|line| line.starts_with("THP_enabled"));
    assert!(
        huge.is_none_or(|line| line.ends_with('0')),
        "no page is made huge behind a packet's back: {huge:?}"
    );
    let left_to_it = Gateway::start(io, &["--workers", "1", trunk, "--scheduling", "auto"]);
    let may = left_to_it.json("/healthz")["scheduling"] == "realtime";
    assert_eq!(policies(left_to_it.pid(), "shard-"), [if may { "2" } else { "0" }]);
    assert!(policies(left_to_it.pid(), "").iter().filter(|policy| *policy != "0").count() <= 1);
    // Without the right to it.
    let data = folder("scheduling");
    let mut demanded = binary();
    if may {
        demanded = Command::new("setpriv");
        let rights = ["--bounding-set=-sys_nice", "--inh-caps=-sys_nice"];
        demanded.args(rights).arg(env!("CARGO_BIN_EXE_trunkline"));
    }
    demanded.args(["serve", "--listen", "127.0.0.1:0", "--http", "off"]);
    demanded.args(["--io", io, "--scheduling", "realtime"]);
    demanded.args([trunk, "--workers", "1", "--rtp-ports", &rtp_ports(240), "--data"]).arg(&data);
    let (code, _, err) = finish(&mut demanded);
    assert_eq!(code, 2, "{err}");
    says(&err, &["--scheduling", "CAP_SYS_NICE", "auto"]);
}

fn without_rtp_ports_calls_are_refused_and_counted(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    // Four pairs are two calls.
    let arguments = ["--workers", "1", &carrier.trunk("carrier", ""), "--rtp-ports", &rtp_ports(8)];
    let gateway = Gateway::start(io, &arguments);
    wait_until("four pairs open", || gateway.metric("trunkline_rtp_pairs_ready") == 4.0);
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let mut calls: Vec<Dialog> = Vec::new();
    for n in 0..5 {
        let mut call = caller.invite(Way::Udp(gateway.sip), gateway.sip, &format!("1{n}"), &sdp);
        let answer = caller.answered(&mut call);
        if n < 2 {
            assert_eq!(answer.status(), Some(200), "{}", answer.text);
            calls.push(call);
        } else {
            assert_eq!(answer.status(), Some(503), "{}", answer.text);
            assert!(!answer.field("retry-after").is_empty(), "{}", answer.text);
        }
    }
    assert_eq!(gateway.metric("trunkline_calls_ports_refused_total"), 3.0);
    let alarms = gateway.json("/api/v1/alarms");
    let alarm = &alarms["alarms"][0];
    assert_eq!(alarms["alarms"].as_array().unwrap().len(), 1, "one a minute: {alarms}");
    assert_eq!(alarm["kind"], "ports");
    let what = alarm["what"].as_str().unwrap();
    assert!(what.contains("of 4 pairs 4 are in calls") && what.contains("media.rtp_ports"), "{what}");
    let cdrs = gateway.wait_cdrs(3);
    assert!(cdrs.iter().all(|cdr| cdr["cause"] == "no RTP ports free"), "{cdrs:?}");
    // Ports that a call gave back are lent again, after a rest.
    for call in &mut calls {
        caller.bye(call);
    }
    wait_until("rested pairs", || gateway.metric("trunkline_rtp_pairs_ready") == 4.0);
    let mut call = caller.invite(Way::Udp(gateway.sip), gateway.sip, "9", &sdp);
    assert_eq!(caller.answered(&mut call).status(), Some(200));
}

fn without_file_descriptors_nothing_hangs(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let limited = |limit: u32, data: &Path| {
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_trunkline");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh", program, "serve", "--io", io]);
        command.args([
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--workers",
            "2",
            "--rtp-ports",
            &rtp_ports(800),
        ]);
        command.arg(carrier.trunk("carrier", "")).arg("--data").arg(data);
        command
    };
    // Too few to start at all: an error that says so.
    for limit in [12, 64, 256] {
        let (code, _, err) = finish(&mut limited(limit, &folder("few")));
        assert_eq!(code, 2, "ulimit -n {limit}: {err}");
        says(&err, &[&format!("the limit of {limit} open files is too low"), "ulimit -n", "260"]);
    }
    // Enough to start, too few for all ports: the log says how many calls that allows, the rest are refused and counted.
    let data = folder("some");
    let gateway = Gateway::spawn(limited(320, &data), data);
    let said = "the limit of 320 open files allows 16 calls; raise it (ulimit -n 1056)";
    assert!(gateway.logged(said).is_some(), "{}", gateway.log());
    let mut caller = Phone::new("127.0.0.1");
    let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
    let statuses: Vec<Option<u16>> = (0..40)
        .map(|n| {
            let mut call = caller.invite(Way::Udp(gateway.sip), gateway.sip, &format!("1{n}"), &sdp);
            caller.answered(&mut call).status()
        })
        .collect();
    let refused = statuses.iter().filter(|status| **status == Some(503)).count();
    let answered = statuses.iter().filter(|status| **status == Some(200)).count();
    assert_eq!(refused + answered, 40, "{statuses:?}");
    assert!((1..=16).contains(&answered), "{answered} calls");
    assert_eq!(gateway.metric("trunkline_calls_ports_refused_total"), refused as f64);
    assert_eq!(gateway.calls(), answered as u64);
    assert_eq!(caller.options(Way::Udp(gateway.sip), gateway.sip), Some(200));
    gateway.wait_cdrs(refused);
    // Connections take descriptors too, and give them back.
    for _ in 0..3 {
        let ways: Vec<Way> = (0..60).map(|_| caller.connect(gateway.sip)).collect();
        let last = ways[59];
        assert_eq!(caller.options(last, gateway.sip), Some(200));
        ways.into_iter().for_each(|way| caller.close(way));
    }
    assert_eq!(gateway.get("/healthz").0, 200);
}

fn nonsense_on_every_port_is_survived(io: &str) {
    let carrier = Carrier::start(Manner::Answer);
    let gateway = Gateway::start(io, &["--workers", "2", &carrier.trunk("carrier", "")]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut word = 0x9e37_79b9_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                word ^= word << 13;
                word ^= word >> 17;
                word ^= word << 5;
                word as u8
            })
            .collect()
    };
    let mut call = {
        let mut caller = Phone::new("127.0.0.1");
        let sdp = Voice::new(caller.address.ip(), 1).sdp("sendrecv");
        let mut call = caller.invite(Way::Udp(gateway.sip), gateway.sip, "1", &sdp);
        let answer = caller.answered(&mut call);
        assert_eq!(answer.status(), Some(200));
        // RTP and RTCP ports of a call: empty, short, long, absurd.
        let audio = answer.audio();
        for length in [0, 1, 3, 11, 12, 13, 172, 1500, 9000, 60_000] {
            for port in [audio.port(), audio.port() + 1] {
                socket.send_to(&noise(length), (audio.ip(), port)).unwrap();
            }
        }
        (caller, call)
    };
    for length in (0..2000).step_by(37).chain([9000, 65_000]) {
        socket.send_to(&noise(length), gateway.sip).unwrap();
    }
    socket.send_to(b"INVITE sip:1@h SIP/2.0\r\n\r\n", gateway.sip).unwrap();
    socket.send_to(b"SIP/2.0 200 OK\r\n\r\n", gateway.sip).unwrap();
    for bytes in
        [noise(5000), b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"INVITE sip:1@h SIP/2.0\r\nX: ".repeat(4000)]
    {
        let way = call.0.connect(gateway.sip);
        call.0.send_bytes(way, &bytes);
        assert_eq!(call.0.options(Way::Udp(gateway.sip), gateway.sip), Some(200));
        call.0.close(way);
    }
    std::thread::sleep(Duration::from_millis(50));
    gateway.wait_calls(1);
    call.0.bye(&mut call.1);
    gateway.wait_calls(0);
}
