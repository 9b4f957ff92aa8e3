//! One call in which each datagram in turn is lost, doubled, overtaken or late.

use sim::scene::one_fault;

#[test]
fn a_call_survives_any_single_fault_as_caller_and_as_callee() {
    let mut failures = Vec::new();
    for calling in [false, true] {
        // A call with a session change takes some 13 datagrams, and what a fault adds.
        for fault in 0..4 * 16 {
            let (wrong, log) = one_fault(fault, calling);
            if !wrong.is_empty() {
                let kind = ["lost", "doubled", "overtaken", "late"][(fault % 4) as usize];
                failures.push(format!("datagram {} {kind}, calling {calling}: {wrong:#?}\n{log}", fault / 4));
            }
        }
    }
    assert!(failures.is_empty(), "{} faults break the call; the first:\n{}", failures.len(), failures[0]);
}
