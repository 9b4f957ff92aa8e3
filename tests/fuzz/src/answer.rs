//! What must hold for any answer of a DNS server whatever. Called by the fuzz target here and, with mutations of a real
//! answer, by `gateway/locate/tests/locator.rs` on stable Rust.

use locate::Name;
use locate::fuzzed::{Kind, Outcome, Records, is_answer_to, query, read};

/// One answer to a question of each kind.
pub fn answer(bytes: &[u8]) {
    let Ok(asked) = Name::new("_sip._udp.carrier.example") else { return };
    for kind in [Kind::A, Kind::Aaaa, Kind::Srv, Kind::Naptr] {
        if let Some(question) = query(7, &asked, kind) {
            let _ = is_answer_to(&question, bytes);
        }
        let Some(answer) = read(bytes, &asked, kind) else { continue };
        if let Outcome::Records(records) = answer.outcome {
            let count = match records {
                Records::Addresses(all) => all.len(),
                Records::Services(all) => all.len(),
                Records::Rules(all) => all.len(),
            };
            assert!((1..=32).contains(&count), "{count} records");
            assert!(answer.ttl <= i32::MAX as u32, "a TTL of {}", answer.ttl);
        } else {
            assert_eq!(answer.cut, 0);
        }
    }
}
