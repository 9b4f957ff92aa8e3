//! Every flow of the table with every message lost, doubled, overtaken, late, or kept from arriving at all; and with its
//! connection cut at every write. What was seen is compared with docs/simulation.md.
//!
//! `TRUNKLINE_WRITE_DOCS=1 cargo test -p sim --test flows` writes that page; `FLOW=name` plays one flow alone, and
//! `FAULT='8 Stalled' SHARDS=2` beside it only that fault, with its log.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use sim::flow::{FLOWS, Fault, Flow, Kind, Tally, play, sweep};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/simulation.md");

/// The tallies of these flows, in their order; played on all processors.
fn tallies(flows: &[&Flow]) -> Vec<Tally> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![Tally::default(); flows.len()]);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(flow) = flows.get(at) else { return };
                    let tally = sweep(flow);
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
         Written by `TRUNKLINE_WRITE_DOCS=1 cargo test -p sim --test flows` from what the simulator saw. Each flow is played over \
         one gateway shard and over two: once clean, which numbers its messages, and then from the same seed once for each \
         message and each fault: lost; doubled; overtaken by the next in its direction; 40 s late; 40 s late with all its \
         retransmissions; for streams, the connection cut before the write arrives and after. Messages on both legs \
         count, and those of registrars and of DNS.\n\n\
         A fault that retransmissions repair must not change what the call comes to. One that keeps a message from arriving \
         within 64 × T1 may fail the call, with a final status that its record names too. After each run no call, \
         transaction, dialog, timer, port, packet, place on a trunk, connection or binding is left, and drained shards stop.\n\n\
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
    let flow = FLOWS.iter().find(|flow| flow.name == name).expect("no flow of that name");
    let shards = std::env::var("SHARDS").map_or(1, |shards| shards.parse().unwrap());
    let (number, kind) = fault.split_once(' ').unwrap_or((fault, "Lost"));
    let kinds = Kind::DATAGRAM.into_iter().chain(Kind::STREAM);
    let kind = kinds.into_iter().find(|it| format!("{it:?}") == kind).expect("no fault of that kind");
    let fault = Fault { kind, number: number.parse().unwrap(), held: Duration::from_millis(30) };
    let run = play(flow, shards, Some(fault), true);
    println!("{}", run.log);
    assert!(run.wrong.is_empty(), "{:#?}", run.wrong);
}

#[test]
fn every_flow_lives_through_every_single_fault() {
    let only = std::env::var("FLOW").ok();
    if let (Some(name), Ok(fault)) = (&only, std::env::var("FAULT")) {
        return show(name, &fault);
    }
    let flows: Vec<&Flow> =
        FLOWS.iter().filter(|flow| only.as_ref().is_none_or(|only| flow.name == only)).collect();
    assert!(!flows.is_empty(), "no flow of that name");
    let names: BTreeSet<&str> = FLOWS.iter().map(|flow| flow.name).collect();
    assert_eq!(names.len(), FLOWS.len(), "two flows have one name");
    let tallies = tallies(&flows);
    let page = page(&flows, &tallies);
    println!("{page}");
    let failures: Vec<&String> = tallies.iter().flat_map(|tally| &tally.failures).collect();
    for failure in failures.iter().take(20) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} runs failed; the first: {}", failures.len(), failures[0]);
    if only.is_some() {
        return;
    }
    if std::env::var_os("TRUNKLINE_WRITE_DOCS").is_some() {
        std::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        stored == page,
        "docs/simulation.md is out of date: TRUNKLINE_WRITE_DOCS=1 cargo test -p sim --test flows writes it"
    );
}
