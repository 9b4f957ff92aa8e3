//! What a call's record tells of the media of its legs.

use crate::call::{CallMedia, at};
use crate::media_stats::{LegQuality, StreamQuality};
use link::Side;

/// The media part of a call's record.
pub(crate) fn summary(media: &CallMedia) -> link::Media {
    let (one_way, no_audio) = media.bridge.troubles();
    let leg = |side: Side| {
        let quality = LegQuality::of(&media.bridge, side.into());
        link::LegMedia {
            codec: codec(media, side).into(),
            remote: quality.remote,
            received: facts(&quality.received),
            sent: facts(&quality.sent),
            strangers: quality.strangers,
            srtp: media.bridge.leg(side.into()).suite().map_or("", |suite| suite.name()).into(),
            forged: quality.forged,
            replayed: quality.replayed,
            round_trip_ms: quality.round_trip_ms.map(|ms| ms as f32),
            early: quality.early,
            flooded: quality.flooded,
            withheld: quality.withheld,
            untranslated: quality.untranslated,
            unsent: quality.unsent,
            rtcp_received: quality.rtcp.0,
            rtcp_passed: quality.rtcp.1,
            rtcp_own: quality.rtcp.2,
            peer_r: quality.told.and_then(|told| told.r),
            peer_mos_lq: quality.told.and_then(|told| told.mos_lq).map(|tenths| f32::from(tenths) / 10.0),
            peer_mos_cq: quality.told.and_then(|told| told.mos_cq).map(|tenths| f32::from(tenths) / 10.0),
            silent: one_way == Some(side.into()),
        }
    };
    link::Media { caller: leg(Side::Caller), callee: leg(Side::Callee), no_audio }
}

/// The codec that a side speaks, as its SDP names it.
fn codec(media: &CallMedia, side: Side) -> String {
    let heard = media.bridge.leg(side.into()).payload_type();
    let codecs = media.sessions[at(side)].codecs();
    codecs.iter().find(|(number, _)| Some(*number) == heard).map(|(_, name)| name.clone()).unwrap_or_default()
}

fn facts(stream: &StreamQuality) -> link::StreamFacts {
    let mean = stream.course.mean();
    link::StreamFacts {
        packets: stream.packets,
        bytes: stream.octets,
        lost: stream.lost,
        out_of_order: stream.out_of_order,
        duplicates: stream.duplicates,
        jitter_ms: stream.jitter_ms.map(|ms| ms as f32),
        longest_gap_ms: stream.longest_gap_ms.map(|ms| ms as u32),
        r: stream.r.map(|r| r as f32),
        mos: stream.mos.map(|mos| mos as f32),
        mos_lq: stream.mos_lq.map(|mos| mos as f32),
        r_mean: mean.map(|(r, _)| r as f32),
        mos_mean: mean.map(|(_, mos)| mos as f32),
        r_min: mean.map(|_| stream.course.r_min as f32),
        mos_min: mean.map(|_| stream.course.mos_min as f32),
        seconds: stream.course.seconds,
        poor_seconds: stream.course.poor,
    }
}
