//! Speech quality from network figures: the E-model (ITU-T G.107), with G.113 Appendix I impairments and G.109 bands.

use crate::transmission;
use core::time::Duration;

/// R of a connection without any impairment but the defaults of ITU-T G.107 (its basic value less the
/// simultaneous impairments of the default parameters).
pub const R_MAX: f64 = 93.2;

/// How a codec suffers from loss: ITU-T G.113 Appendix I.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Codec {
    /// Equipment impairment without loss.
    pub ie: f64,
    /// Packet-loss robustness.
    pub bpl: f64,
}

impl Codec {
    /// G.711 without concealment: the pessimistic view, where nothing is known of the listener's decoder.
    pub const G711: Self = Self { ie: 0.0, bpl: 4.3 };
    /// G.711 with the concealment of its Appendix I.
    pub const G711_CONCEALED: Self = Self { ie: 0.0, bpl: 25.1 };
    /// G.729A with VAD.
    pub const G729A: Self = Self { ie: 11.0, bpl: 19.0 };
    /// G.723.1 at 6.3 kbit/s with VAD.
    pub const G723_1: Self = Self { ie: 15.0, bpl: 16.1 };
    /// GSM enhanced full rate.
    pub const GSM_EFR: Self = Self { ie: 5.0, bpl: 10.0 };

    /// The codec of an SDP encoding name (any case); `None` if G.113 has no figures for it.
    pub fn named(encoding: &str) -> Option<Self> {
        let table = [
            ("PCMU", Self::G711),
            ("PCMA", Self::G711),
            ("G729", Self::G729A),
            ("G723", Self::G723_1),
            ("GSM-EFR", Self::GSM_EFR),
        ];
        table.iter().find(|(name, _)| name.eq_ignore_ascii_case(encoding)).map(|&(_, codec)| codec)
    }
}

/// What the E-model makes of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The rating factor, 0 to 93.2.
    pub r: f64,
    /// The mean opinion score that it stands for, 1 to 4.41.
    pub mos: f64,
}

/// What was measured of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// BurstR: 1 for independent losses, more for bursts.
    pub burst_ratio: f64,
    /// Mouth-to-ear delay one way; zero gives the listening quality (MOS-LQE), otherwise conversational (MOS-CQE).
    pub delay: Duration,
}

impl Score {
    /// Rates a stream.
    pub fn of(codec: Codec, measured: Measured) -> Self {
        Self::impaired(codec, measured.loss, measured.burst_ratio, delay_impairment(measured.delay))
    }

    /// The same with what delay takes from R calculated already.
    pub fn impaired(codec: Codec, loss: f64, burst_ratio: f64, delay: f64) -> Self {
        let r = (R_MAX - delay - equipment_impairment(codec, loss, burst_ratio)).max(0.0);
        Self { r, mos: mos(r) }
    }

    /// The G.109 band of the rating.
    pub fn band(&self) -> Band {
        Band::of(self.r)
    }
}

/// What a delay takes from R: Id of ITU-T G.107 (06/2015) §7.5 with the default values of everything else, beyond what it is
/// without delay.
pub fn delay_impairment(delay: Duration) -> f64 {
    if delay.is_zero() {
        return 0.0;
    }
    transmission::rating(Duration::ZERO) - transmission::rating(delay)
}

/// Ie,eff of ITU-T G.107: `Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl)`, with `loss` as a share of 1.
pub fn equipment_impairment(codec: Codec, loss: f64, burst_ratio: f64) -> f64 {
    let ppl = loss.clamp(0.0, 1.0) * 100.0;
    codec.ie + (95.0 - codec.ie) * ppl / (ppl / burst_ratio.max(f64::MIN_POSITIVE) + codec.bpl)
}

/// The mean opinion score of a rating (ITU-T G.107 Annex B).
pub fn mos(r: f64) -> f64 {
    if r <= 0.0 {
        1.0
    } else if r >= 100.0 {
        4.5
    } else {
        // The cubic dips just below 1 for ratings under 6.5.
        (1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r)).max(1.0)
    }
}

/// How users feel about a rating (ITU-T G.109).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Band {
    /// R below 60: nearly all users dissatisfied.
    NearlyAllDissatisfied,
    /// R from 60: many users dissatisfied.
    ManyDissatisfied,
    /// R from 70: some users dissatisfied.
    SomeDissatisfied,
    /// R from 80: satisfied.
    Satisfied,
    /// R from 90: very satisfied.
    VerySatisfied,
}

impl Band {
    /// The band of a rating.
    pub fn of(r: f64) -> Self {
        match r {
            r if r >= 90.0 => Self::VerySatisfied,
            r if r >= 80.0 => Self::Satisfied,
            r if r >= 70.0 => Self::SomeDissatisfied,
            r if r >= 60.0 => Self::ManyDissatisfied,
            _ => Self::NearlyAllDissatisfied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 0.005
    }

    fn measured(loss: f64, burst_ratio: f64, delay_ms: u64) -> Measured {
        Measured { loss, burst_ratio, delay: Duration::from_millis(delay_ms) }
    }

    #[test]
    fn ratings_worked_out_by_hand() {
        let clean = Score::of(Codec::G711, measured(0.0, 1.0, 0));
        assert!(close(clean.r, 93.2) && close(clean.mos, 4.41), "{clean:?}");
        // Idte 1.964, Idle 0.728 less the 0.149 that it is without delay.
        assert!(close(Score::of(Codec::G711, measured(0.0, 1.0, 100)).r, 93.2 - 2.5425));
        // Idte 4.834, Idle 1.094, Idd 14.761.
        assert!(close(Score::of(Codec::G711, measured(0.0, 1.0, 300)).r, 93.2 - 20.5398));
        // 95 * 1 / (1 + 4.3) = 17.92
        assert!(close(Score::of(Codec::G711, measured(0.01, 1.0, 0)).r, 93.2 - 17.9245));
        // 95 * 1 / (1 + 25.1) = 3.64
        assert!(close(Score::of(Codec::G711_CONCEALED, measured(0.01, 1.0, 0)).r, 93.2 - 3.6398));
        // 11 + 84 * 2 / (2 / 2 + 19) = 19.4
        assert!(close(Score::of(Codec::G729A, measured(0.02, 2.0, 0)).r, 93.2 - 19.4));
    }

    #[test]
    fn scores_of_g_107_annex_b() {
        for (r, expected) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            // The table rounds 4.024 to 4.03.
            assert!((mos(r) - expected).abs() < 0.0061, "R {r} gives {}", mos(r));
        }
        assert_eq!((mos(-3.0), mos(0.0), mos(100.0), mos(120.0)), (1.0, 1.0, 4.5, 4.5));
        assert_eq!(mos(3.0), 1.0);
    }

    #[test]
    fn bands_of_g_109() {
        let bands: Vec<Band> = [93.2, 90.0, 89.9, 80.0, 79.9, 70.0, 69.9, 60.0, 59.9].map(Band::of).to_vec();
        use Band::*;
        assert_eq!(
            bands,
            [
                VerySatisfied,
                VerySatisfied,
                Satisfied,
                Satisfied,
                SomeDissatisfied,
                SomeDissatisfied,
                ManyDissatisfied,
                ManyDissatisfied,
                NearlyAllDissatisfied
            ]
        );
    }

    #[test]
    fn codecs_by_name() {
        assert_eq!(Codec::named("pcma"), Some(Codec::G711));
        assert_eq!(Codec::named("opus"), None);
    }

    proptest! {
        #[test]
        fn stays_in_range_and_falls_with_loss_and_delay(
            loss in 0.0..=1.0f64, more in 0.0..=1.0f64, burst in 1.0..50.0f64, delay in 0u64..5000,
        ) {
            for codec in [Codec::G711, Codec::G729A, Codec::GSM_EFR] {
                let score = Score::of(codec, measured(loss, burst, delay));
                prop_assert!((0.0..=R_MAX).contains(&score.r));
                prop_assert!((1.0..=4.5).contains(&score.mos));
                let worse = Score::of(codec, measured((loss + more).min(1.0), burst, delay + 10));
                prop_assert!(worse.r <= score.r && worse.mos <= score.mos + 1e-9);
            }
        }
    }
}
