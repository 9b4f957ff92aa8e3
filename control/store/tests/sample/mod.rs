//! Sample records for the tests of this crate.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses a part"
)]

use link::{
    Attempt, CallAnswered, CallId, CallRecord, Cdr, End, Identity, LegMedia, Media, ShardId, Side,
    StreamFacts, UnixMicros,
};

pub const SECOND: u64 = 1_000_000;

/// So many seconds after a call's start, which is its number less the shard.
const fn at(call: u64, later: u64) -> UnixMicros {
    UnixMicros(((call & (SHARD_ONE - 1)) + later) * SECOND)
}

pub fn started(call: u64) -> CallRecord {
    CallRecord {
        call: CallId(call),
        shard: CallId(call).shard(),
        started: at(call, 0),
        sip_call_id: format!("{call}@caller"),
        from: "1000".into(),
        dialled: format!("86{}", call.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1_000_000_007),
        source: "[::1]:5080".parse().unwrap(),
    }
}

pub fn answered(call: u64) -> CallAnswered {
    CallAnswered {
        call: CallId(call),
        at: at(call, 2),
        trunk: "alpha".into(),
        peer: "127.0.0.1:5070".parse().unwrap(),
        heard_us: Some(3),
    }
}

pub fn ended(call: u64) -> Cdr {
    let received = StreamFacts {
        packets: 100,
        bytes: 16_000,
        lost: 1,
        jitter_ms: Some(0.25),
        r: Some(93.2),
        mos: Some(4.41),
        ..StreamFacts::default()
    };
    let leg = LegMedia { codec: "PCMU".into(), received, ..LegMedia::default() };
    Cdr {
        call: CallId(call),
        shard: CallId(call).shard(),
        caller_sip_call_id: format!("{call}@caller"),
        callee_sip_call_id: Some(format!("{call}@callee")),
        from: "1000".into(),
        dialled: format!("86{}", call.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 1_000_000_007),
        routed: Some(format!("0{call}")),
        source: "[::1]:5080".parse().unwrap(),
        trunk: Some("alpha".into()),
        peer: Some("127.0.0.1:5070".parse().unwrap()),
        attempts: vec![Attempt {
            trunk: "alpha".into(),
            peer: "127.0.0.1:5070".parse().unwrap(),
            status: Some(200),
            cause: "answered".into(),
            spent_us: 7,
            heard_us: Some(3),
            reason: link::Reason::Answered,
            redirected: None,
        }],
        started: at(call, 0),
        answered: Some(at(call, 2)),
        ended: at(call, 60),
        pdd_us: Some(1),
        setup_us: Some(2),
        end: End { side: Side::Callee, status: 200, q850: Some(16), cause: "normal".into() },
        media: Some(Media { caller: leg.clone(), callee: leg, no_audio: false }),
        session_id: Some("ab30317f1a784dc48ff824d0d3715d86;remote=47755a9de7794ba387653f2099600ef2".into()),
        identity: Some(Identity {
            verstat: Some("TN-Validation-Failed".into()),
            attest: Some("B".into()),
            origid: Some("0d6d2e8a".into()),
            cause: Some("438 Invalid Identity Header: the signature is wrong".into()),
            signed: Some("C".into()),
            diverted: vec!["4930100".into(), "sip:bob@example.com".into()],
            priority: Some("ets.0".into()),
        }),
        transfer: Some(link::Transfer {
            part: link::Part::Referred,
            by: "1000".into(),
            to: "1003".into(),
            status: 486,
            call: Some(CallId(call + 1)),
        }),
    }
}

/// A folder of this test alone, removed at the end.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trunkline-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub const SHARD_ONE: u64 = 1 << 56;

pub fn shard(call: u64) -> ShardId {
    CallId(call).shard()
}
