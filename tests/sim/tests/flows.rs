//! Every flow of the table with every message lost, doubled, overtaken, late, kept from arriving at all, refused or damaged;
//! with control dying at every message, and its connection cut at every write. What was seen is compared with
//! docs/simulation.md.
//!
//! Of the faults every so many are played; `cargo test -p sim --test flows -- --ignored` plays all of them, and with
//! `TRUNKLINE_WRITE_DOCS=1` writes that page. `FLOW=name` plays all faults of one flow alone, and `FAULT='8 Stalled' SHARDS=2`
//! beside it only that fault, with its log.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use sim::flow::{Fault, Flow, Kind, Tally, faults, flows, play, sweep};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulation.md");
/// Of so many faults one is played if not all are. It shares no factor with the number of kinds, so that each is.
const STRIDE: usize = 7;

/// The tallies of these flows, in their order; played on all processors.
fn tallies(flows: &[&Flow], stride: usize) -> Vec<Tally> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![Tally::default(); flows.len()]);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(flow) = flows.get(at) else { return };
                    let tally = sweep(flow, stride);
                    done.lock().unwrap()[at] = tally;
                }
            });
        }
    });
    done.into_inner().unwrap()
}

fn page(flows: &[&Flow], tallies: &[Tally]) -> String {
    let mut page = String::from(
        "# Call flows under every single fault\n\n\
         Written by `TRUNKLINE_WRITE_DOCS=1 cargo test -p sim --test flows -- --ignored` from what the simulator saw. Each flow is \
         played over one gateway shard and over two: once clean, which numbers its messages, and then from the same seed once for \
         each message and each fault: lost; doubled; overtaken by the next in its direction; 1.2 s, 25 s and 40 s late; 40 s late \
         with all its retransmissions; refused by ICMP; cut short; with one byte changed; with control dying when it is sent and back \
         5 s later, knowing nothing; for streams, the write arriving byte by byte, and \
         the connection cut before the write arrives, in the middle of it, and after. \
         Messages on both legs count, and those of registrars and of DNS. `cargo test -p sim` plays one fault of seven.\n\n\
         A fault that retransmissions repair must not change what the flow comes to, nor may the death of control. One that keeps a \
         message from arriving within 64 × T1, or changes it, may fail the call, with a final status that its record names too. \
         After each run no call, transaction, dialog, subscription, timer, port, packet, place on a trunk, session of TLS, \
         connection or binding is left; each call that the gateway counted has one record, and what it counted of attempts, \
         answers, transfers and requests adds up; where retransmissions repair, no side of a call is up for more than 64 × T1 after the other; drained shards \
         stop.\n\n\
         TLS is that of the gateway itself, on both sides. What rustls draws is not seeded: the bytes differ from run to run, their \
         lengths and what comes of them do not.\n\n\
         | flow | after | messages | runs | failures |\n|---|---|---|---|---|\n",
    );
    let mut total = (0, 0, 0);
    for (flow, tally) in flows.iter().zip(tallies) {
        let failures = tally.failures.len();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {failures} |",
            flow.name, flow.section, tally.messages, tally.runs
        );
        total = (total.0 + tally.messages, total.1 + tally.runs, total.2 + failures);
    }
    let _ = writeln!(page, "| all {} | | {} | {} | {} |", flows.len(), total.0, total.1, total.2);
    page
}

/// Plays one flow with one fault and prints what happened.
fn show(name: &str, fault: &str) {
    let flow = flows().find(|flow| flow.name == name).expect("no flow of that name");
    let shards = std::env::var("SHARDS").map_or(1, |shards| shards.parse().unwrap());
    let (number, kind) = fault.split_once(' ').unwrap_or((fault, "Lost"));
    let kinds = Kind::DATAGRAM.into_iter().chain(Kind::STREAM);
    let kind = kinds.into_iter().find(|it| format!("{it:?}") == kind);
    let clean = play(flow, shards, None, false);
    let fits = |fault: &Fault| Some(fault.kind) == kind && number.parse() == Ok(fault.number);
    let fault = faults(&clean).into_iter().find(fits);
    let run = play(flow, shards, fault, true);
    println!("{}", run.log);
    assert!(run.wrong.is_empty(), "{fault:?}: {:#?}", run.wrong);
}

/// Plays flows and says what failed; gives the page.
fn played(flows: &[&Flow], stride: usize) -> String {
    let tallies = tallies(flows, stride);
    let page = page(flows, &tallies);
    let played: u64 = tallies.iter().map(|tally| tally.played).sum();
    println!("{page}\n{played} runs played");
    let failures: Vec<&String> = tallies.iter().flat_map(|tally| &tally.failures).collect();
    let shown = std::env::var("SHOW").map_or(20, |shown| shown.parse().unwrap());
    for failure in failures.iter().take(shown) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} runs failed; the first: {}", failures.len(), failures[0]);
    page
}

#[test]
fn every_flow_lives_through_a_sample_of_single_faults() {
    let only = std::env::var("FLOW").ok();
    if let (Some(name), Ok(fault)) = (&only, std::env::var("FAULT")) {
        return show(name, &fault);
    }
    let some: Vec<&Flow> =
        flows().filter(|flow| only.as_ref().is_none_or(|only| flow.name == only)).collect();
    assert!(!some.is_empty(), "no flow of that name");
    let names: BTreeSet<&str> = flows().map(|flow| flow.name).collect();
    assert_eq!(names.len(), flows().count(), "two flows have one name");
    if only.is_some() {
        played(&some, 1);
        return;
    }
    let stride = std::env::var("STRIDE").map_or(STRIDE, |stride| stride.parse().unwrap());
    let page = played(&some, stride);
    let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        stored == page,
        "docs/simulation.md is out of date: TRUNKLINE_WRITE_DOCS=1 cargo test -p sim --test flows -- --ignored writes it"
    );
}

#[test]
#[ignore = "all faults of all flows take minutes"]
fn every_flow_lives_through_every_single_fault() {
    let all: Vec<&Flow> = flows().collect();
    let page = played(&all, 1);
    if std::env::var_os("TRUNKLINE_WRITE_DOCS").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(stored == page, "docs/simulation.md is out of date: TRUNKLINE_WRITE_DOCS=1 writes it");
}
