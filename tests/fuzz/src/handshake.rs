//! What must hold for what comes to a media port as DTLS. Called by the fuzz target here and by `gateway/secure/tests/dtls.rs`.

use rtp::dtls::{DATAGRAM_MAX, Ends, Step};
use sansio::Time;
use secure::DtlsEnds;
use std::sync::OnceLock;
use std::time::Duration;

/// Datagrams to an end of a handshake, each behind an octet with its length in fours; the first octet says who begins. However
/// they look, nobody gets keys without having shown a certificate, and each input leads to few steps.
pub fn dtls(bytes: &[u8]) {
    static ENDS: OnceLock<DtlsEnds> = OnceLock::new();
    let ends = ENDS.get_or_init(|| DtlsEnds::new().expect("a certificate"));
    let Some((&first, mut rest)) = bytes.split_first() else { return };
    let mut now = Time::from_millis(1000);
    let mut end = ends.open(now, first & 1 == 1);
    let (mut room, mut shown, mut inputs) = ([0; DATAGRAM_MAX], false, 0);
    while let Some((&length, tail)) = rest.split_first() {
        let (datagram, tail) = tail.split_at(tail.len().min(usize::from(length) * 4));
        rest = tail;
        now += Duration::from_millis(u64::from(length));
        inputs += 1;
        if end.handle(now, datagram).is_err() || inputs > 32 {
            return;
        }
        let mut steps = 0;
        loop {
            steps += 1;
            assert!(steps < 64, "no end of steps");
            match end.poll(&mut room) {
                Step::Send(datagram) => assert!(datagram.len() <= 1500),
                Step::Certificate(_) => shown = true,
                Step::Keys(_) => assert!(shown, "keys with nobody"),
                Step::Closed => return,
                Step::Wait(_) => break,
            }
        }
    }
}
