//! The messages of RFC 4475 and RFC 5118 against the running gateway, over UDP and over TCP: the answer that
//! `tests/torture/expected.tsv` asks for, and an OPTIONS answered after each.
//!
//! `TRUNKLINE_WRITE_DOCS=1 cargo test --test process torture` writes what was seen to docs/torture.md.

use crate::carrier::{Carrier, Manner};
use crate::gateway::Gateway;
use crate::message::Message;
use crate::phone::{Phone, Way};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn each_message_gets_its_answer_on_both_drivers() {
    let rows = rows();
    assert_eq!(rows.len(), 61, "49 messages of RFC 4475 and 12 of RFC 5118");
    let seen: Vec<Vec<[String; 2]>> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            ["uring", "fallback"].into_iter().enumerate().map(|(n, io)| (n, io, &rows)).collect();
        let runs: Vec<_> =
            runs.into_iter().map(|(n, io, rows)| scope.spawn(move || torment(io, n, rows))).collect();
        runs.into_iter().map(|run| run.join().expect("a run without failure")).collect()
    });
    if std::env::var_os("TRUNKLINE_WRITE_DOCS").is_some() {
        write_docs(&rows, &seen);
    }
}

struct Row {
    file: String,
    section: String,
    tcp: String,
    answer: String,
    remark: String,
    bytes: Vec<u8>,
}

fn torture_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn rows() -> Vec<Row> {
    let folder = torture_folder();
    let table = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Row {
            file: columns[0].to_owned(),
            section: columns[1].to_owned(),
            tcp: columns[5].to_owned(),
            answer: columns[6].to_owned(),
            remark: columns[7].to_owned(),
            bytes: std::fs::read(folder.join(format!("{}.dat", columns[0]))).unwrap(),
        }
    };
    table.lines().skip(1).map(row).collect()
}

/// Sends every message over UDP and over TCP; tells what was answered to each.
fn torment(io: &str, number: usize, rows: &[Row]) -> Vec<[String; 2]> {
    let carrier = Carrier::start(Manner::Refuse(486));
    let mut gateway = Gateway::start(io, &["--workers", "2", &carrier.trunk("carrier", "")]);
    // One for each transport: to the same, a message sent again is a retransmission (RFC 3261 §17.2.3).
    // This one has one shard: a stream that ends in nonsense is closed at once, and what another shard would have
    // answered to the messages before it is lost with it.
    let mut over = Gateway::start(io, &["--workers", "1", &carrier.trunk("carrier", "")]);
    // RFC 3261 §18.2.2: without rport an answer goes to the port in Via, or to 5060, of where the request came from.
    // A loopback address of their own gives the test all the ports that the messages name.
    let host = format!("127.75.{}.{}", std::process::id() % 250 + 1, number + 1);
    let ports = rows.iter().map(via_port).chain([5060]);
    let mut phones: BTreeMap<u16, Phone> = BTreeMap::new();
    for port in ports {
        let address = SocketAddr::new(host.parse().unwrap(), port);
        phones.entry(port).or_insert_with(|| Phone::at(address));
    }
    let mut prober = Phone::new("127.0.0.1");
    let mut outcome = Vec::new();
    for row in rows {
        let udp = over_udp(&gateway, &mut phones, &mut prober, row);
        assert!(holds(&row.answer, &udp), "{io}: {} over UDP: {udp}, expected {}", row.file, row.answer);
        let tcp = over_tcp(&over, &mut prober, row);
        match row.tcp.as_str() {
            "whole" => assert!(
                holds(&row.answer, tcp.strip_suffix(", closed").unwrap_or(&tcp)),
                "{io}: {} over TCP: {tcp}, expected {}",
                row.file,
                row.answer
            ),
            "broken" => {
                assert!(tcp.contains("closed"), "{io}: {} over TCP: {tcp}, expected a close", row.file)
            }
            _ => assert_eq!(tcp, "-", "{io}: {} over TCP: the rest is waited for", row.file),
        }
        assert!(gateway.is_running() && over.is_running(), "{io}: {}", row.file);
        outcome.push([udp, tcp]);
    }
    for gateway in [gateway, over] {
        gateway.wait_calls(0);
        crate::gateway::wait_until("an empty trunk", || gateway.trunk("carrier")["calls"] == 0);
    }
    outcome
}

/// The port that the topmost Via asks answers to be sent to.
fn via_port(row: &Row) -> u16 {
    let text = String::from_utf8_lossy(&row.bytes);
    let via = text.lines().find(|line| line.starts_with("Via:") || line.starts_with("Via  :")).unwrap_or("");
    let sent_by = via.split([';', ',']).next().unwrap_or("");
    let port = sent_by.rsplit_once(':').filter(|(before, _)| !before.contains('[') || before.ends_with(']'));
    port.and_then(|(_, port)| port.trim().parse().ok()).unwrap_or(5060)
}

/// The first Call-ID of the message; empty if it has none that could be copied into an answer.
fn call_id(row: &Row) -> String {
    let text = String::from_utf8_lossy(&row.bytes);
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        matches!(name.trim().to_ascii_lowercase().as_str(), "call-id" | "i").then(|| value.trim().to_owned())
    };
    text.lines().find_map(named).unwrap_or_default()
}

fn holds(expected: &str, seen: &str) -> bool {
    match expected {
        "-" => seen == "-",
        refusal if refusal.starts_with('!') => seen.parse::<u16>().is_ok() && seen != &refusal[1..],
        list => list.split(',').any(|status| seen == status),
    }
}

/// The final status of the first answer to a message, waited for; `-` if there is none by the time that an OPTIONS
/// sent behind it is answered.
fn first_final(phones: &mut [&mut Phone], row: &Row, patience: Duration) -> Option<Message> {
    let call_id = call_id(row);
    let begun = std::time::Instant::now();
    loop {
        for phone in phones.iter_mut() {
            let fits = |message: &Message| {
                // Answers to earlier ones are repeated until they are acknowledged, which nobody does here.
                let ours = call_id.is_empty() || message.field("call-id") == call_id;
                ours && message.status().is_some_and(|status| status >= 200)
            };
            if let Some((message, _)) = phone.find(Duration::ZERO, fits) {
                return Some(message);
            }
        }
        if begun.elapsed() > patience {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How long an answer that should come may take, and how long it is watched that none comes.
fn patience(expected: &str) -> Duration {
    if expected == "-" { Duration::from_millis(60) } else { Duration::from_secs(10) }
}

fn over_udp(gateway: &Gateway, phones: &mut BTreeMap<u16, Phone>, prober: &mut Phone, row: &Row) -> String {
    let way = Way::Udp(gateway.sip);
    // Some share Call-ID and branch, and then get the very same answer.
    phones.values_mut().for_each(Phone::forget);
    phones.get_mut(&5060).unwrap().send_bytes(way, &row.bytes);
    let mut all: Vec<&mut Phone> = phones.values_mut().collect();
    let answer = first_final(&mut all, row, patience(&row.answer));
    assert_eq!(prober.options(way, gateway.sip), Some(200), "{}: the next OPTIONS", row.file);
    // Retransmissions and what else may come belong to this message, not to the next.
    all.iter_mut().for_each(|phone| drop(phone.leftovers(Duration::ZERO)));
    answer.map_or_else(|| "-".to_owned(), |message| message.status().unwrap_or(0).to_string())
}

fn over_tcp(gateway: &Gateway, prober: &mut Phone, row: &Row) -> String {
    let mut phone = Phone::new("127.0.0.1");
    let way = phone.connect(gateway.sip);
    phone.send_bytes(way, &row.bytes);
    let expected = if row.tcp == "whole" { row.answer.as_str() } else { "-" };
    let mut said = String::new();
    if row.tcp == "broken" {
        crate::gateway::wait_until(&format!("{}: a close", row.file), || phone.is_closed(way));
    }
    if let Some(answer) = first_final(&mut [&mut phone], row, patience(expected)) {
        said = answer.status().unwrap_or(0).to_string();
    }
    if phone.is_closed(way) {
        said.push_str(if said.is_empty() { "closed" } else { ", closed" });
    }
    let after = prober.connect(gateway.sip);
    assert_eq!(prober.options(after, gateway.sip), Some(200), "{}: the next OPTIONS over TCP", row.file);
    prober.close(after);
    if said.is_empty() { "-".to_owned() } else { said }
}

fn write_docs(rows: &[Row], seen: &[Vec<[String; 2]>]) {
    let mut page = String::from(
        "# SIP torture messages: what the gateway answers\n\n\
         Written by `TRUNKLINE_WRITE_DOCS=1 cargo test --test process torture` from a run of the binary: every message of RFC 4475 \
         and RFC 5118 sent over UDP and over TCP to a gateway whose only carrier answers 486, on both drivers, \
         with an OPTIONS answered 200 after each. `!400` means any final answer but that, `-` none. In the column TCP, `closed` is a \
         stream closed because nobody can tell where its message ends.\n\n\
         | message | section | expected | UDP | TCP | what it is about |\n|---|---|---|---|---|---|\n",
    );
    for (n, row) in rows.iter().enumerate() {
        let both = |transport: usize| {
            let (uring, fallback) = (&seen[0][n][transport], &seen[1][n][transport]);
            if uring == fallback { uring.clone() } else { format!("{uring} (io_uring), {fallback} (epoll)") }
        };
        let (udp, tcp) = (both(0), both(1));
        let remark = row.remark.replace('|', "\\|");
        let _ =
            writeln!(page, "| {} | {} | {} | {udp} | {tcp} | {remark} |", row.file, row.section, row.answer);
    }
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/torture.md"), page).unwrap();
}
