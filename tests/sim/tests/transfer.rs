//! A transfer to who rings, a click to dial or a third party that joins, in which each datagram in turn is lost, doubled, overtaken or
//! late.

#![allow(clippy::panic, reason = "a test fails by it")]

use sim::scene::{Options, Transfer, one_transfer};

/// A transfer with hold and consultation takes some 60 datagrams, and what a fault adds.
const DATAGRAMS: u64 = 72;

fn survives(transfer: Transfer) {
    let mut failures = Vec::new();
    for fault in 0..4 * DATAGRAMS {
        let report = one_transfer(fault, transfer, Options::default());
        if !report.violations.is_empty() {
            failures.push((fault, report.violations));
        }
    }
    let Some((first, _)) = failures.first() else { return };
    let kind = |fault: u64| ["lost", "doubled", "overtaken", "late"][(fault % 4) as usize];
    let told: Vec<String> = failures
        .iter()
        .map(|(fault, wrong)| format!("datagram {} {}: {wrong:#?}", fault / 4, kind(*fault)))
        .collect();
    let log = one_transfer(*first, transfer, Options { keep_log: true, ..Options::default() }).text;
    let log: Vec<&str> = log.lines().filter(|line| !line.ends_with(" timeout")).collect();
    panic!(
        "{transfer:?}: {} faults break it:\n{}\nthe first:\n{}",
        told.len(),
        told.join("\n"),
        log.join("\n")
    );
}

#[test]
fn a_transfer_to_who_rings_survives_any_single_fault() {
    survives(Transfer::Ringing);
}

#[test]
fn a_click_to_dial_survives_any_single_fault() {
    survives(Transfer::Dial);
}

#[test]
fn a_click_to_dial_with_early_media_survives_any_single_fault() {
    survives(Transfer::DialHeard);
}

#[test]
fn a_third_party_that_joins_survives_any_single_fault() {
    survives(Transfer::Join);
}

#[test]
fn a_third_party_that_joins_by_another_shard_survives_any_single_fault() {
    survives(Transfer::JoinAcross);
}
