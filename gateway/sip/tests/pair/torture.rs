//! The torture messages and mutations of them against a whole endpoint: the right answer, no panic, nothing left,
//! and the next OPTIONS is answered.

use crate::harness::*;
use core::time::Duration;
use sansio::{StreamEvent, StreamId};
use sip::Event;
use std::path::PathBuf;

const PEER: &str = "192.0.2.9:5060";

fn files() -> Vec<(String, String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/torture");
    let table = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let rows = table.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        let bytes = std::fs::read(folder.join(format!("{}.dat", columns[0]))).unwrap();
        (columns[0].to_owned(), columns[6].to_owned(), bytes)
    });
    rows.collect()
}

/// The owner of a gateway without a single number: refuses every call, answers every OPTIONS.
fn serve(pair: &mut Pair) {
    let now = pair.now;
    for event in core::mem::take(&mut pair.nodes[B].events) {
        match event {
            Event::Invite { leg, request, .. } => {
                assert!(request.parse().is_ok());
                let _ = pair.nodes[B].endpoint.reject(now, leg, 404, None, &[]);
            }
            Event::Request { id, .. } => pair.nodes[B].endpoint.respond_options(now, id, false).unwrap(),
            _ => {}
        }
    }
    pair.settle();
}

fn final_status(pair: &Pair) -> Option<String> {
    let line = pair.log.iter().find(|(_, line)| !line.starts_with("SIP/2.0 1"))?;
    Some(line.1.split(' ').nth(1)?.to_owned())
}

fn ask(pair: &mut Pair) {
    pair.log.clear();
    let options = format!(
        "OPTIONS sip:192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKask{}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
         Call-ID: ask\r\nMax-Forwards: 70\r\nCSeq: 1 OPTIONS\r\n\r\n",
        pair.now.as_nanos()
    );
    pair.inject(B, PEER, options.as_bytes());
    serve(pair);
    assert_eq!(final_status(pair).as_deref(), Some("200"));
}

#[test]
fn each_message_gets_the_answer_of_the_table() {
    for (file, expected, bytes) in files() {
        let mut pair = Pair::new(1);
        pair.inject(B, PEER, &bytes);
        serve(&mut pair);
        let answer = final_status(&pair);
        let holds = match (expected.as_str(), answer.as_deref()) {
            ("-", None) => true,
            (refusal, Some(answer)) if refusal.starts_with('!') => answer != &refusal[1..],
            (list, Some(answer)) => list.split(',').any(|status| status == answer),
            _ => false,
        };
        assert!(holds, "{file}: {answer:?}, expected {expected}");
        pair.run(Duration::from_secs(60));
        ask(&mut pair);
        pair.finish();
    }
}

#[test]
fn mutated_messages_leave_nothing_behind() {
    let files = files();
    for seed in 0..40 {
        let mut pair = Pair::new(seed);
        let local = pair.nodes[B].address;
        for (n, (_, _, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            for _ in 0..=pair.random.below(4) {
                let at = pair.random.below(bytes.len() as u64) as usize;
                match pair.random.below(4) {
                    0 => bytes[at] = pair.random.u32() as u8,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"\r\n;,:<>\" =0"[pair.random.below(11) as usize]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let source = format!("192.0.2.9:{}", 5060 + n);
            pair.inject(B, &source, &bytes);
            let stream = StreamId(StreamId::ACCEPTED + n as u32);
            let remote = source.parse().unwrap();
            let accepted = StreamEvent::Accepted { listener: TCP, local, remote };
            let now = pair.now;
            pair.nodes[B].endpoint.handle_stream(now, stream, accepted);
            pair.nodes[B].endpoint.handle_stream(now, stream, StreamEvent::Data(&bytes));
            serve(&mut pair);
        }
        pair.run(Duration::from_secs(60));
        ask(&mut pair);
        pair.finish();
    }
}
