//! How long to wait between reports (RFC 3550 §6.2, §6.3.1, A.7).

use core::time::Duration;
use sansio::Random;

/// The least interval between reports (RFC 3550 §6.2), before it is varied.
pub const MINIMUM: Duration = Duration::from_secs(5);
/// Makes up for the reconsideration of timers, which converges to less than what is wanted: e - 3/2 (RFC 3550 §6.3.1).
const COMPENSATION: f64 = core::f64::consts::E - 1.5;
/// The share of RTCP's rate that is for senders.
const SENDERS: f64 = 0.25;

/// What the interval depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Session {
    /// Everybody in the session, ourselves included.
    pub members: u32,
    /// Those of them that send RTP.
    pub senders: u32,
    /// Octets a second that all RTCP together may take: a twentieth of what the session takes.
    pub octets_per_second: f64,
    /// Whether we send RTP.
    pub we_send: bool,
    /// Mean octets of a compound packet, with UDP and IP.
    pub packet_octets: f64,
    /// Whether nothing was sent yet: half the least interval is waited then.
    pub initial: bool,
}

impl Session {
    /// The next interval, varied between half and one and a half of what was calculated.
    pub fn interval(&self, random: &mut Random) -> Duration {
        let (members, senders) = (f64::from(self.members.max(1)), f64::from(self.senders));
        // RFC 3550 §6.3.1: senders share a quarter of the rate as long as they are no more than that.
        let (sharing, rate) = if senders > members * SENDERS {
            (members, self.octets_per_second)
        } else if self.we_send {
            (senders.max(1.0), self.octets_per_second * SENDERS)
        } else {
            (members - senders, self.octets_per_second * (1.0 - SENDERS))
        };
        let minimum = if self.initial { MINIMUM / 2 } else { MINIMUM }.as_secs_f64();
        let calculated = (self.packet_octets * sharing / rate.max(1.0)).max(minimum);
        Duration::from_secs_f64(calculated * (0.5 + random.unit()) / COMPENSATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Session {
        Session {
            members: 2,
            senders: 2,
            octets_per_second: 500.0,
            we_send: true,
            packet_octets: 120.0,
            initial: false,
        }
    }

    fn range(session: Session) -> (f64, f64, f64) {
        let mut random = Random::new(3);
        let all: Vec<f64> = (0..20_000).map(|_| session.interval(&mut random).as_secs_f64()).collect();
        let bounds = all.iter().fold((f64::MAX, 0.0_f64), |(low, high), it| (low.min(*it), high.max(*it)));
        (bounds.0, bounds.1, all.iter().sum::<f64>() / all.len() as f64)
    }

    #[test]
    fn rfc_3550_section_6_2_five_seconds_varied_and_half_of_it_first() {
        let (low, high, mean) = range(call());
        // 5 / 1.21828 = 4.104, from half of it to one and a half.
        assert!((2.05..2.06).contains(&low) && (6.15..6.16).contains(&high) && (mean - 4.104).abs() < 0.02);
        let (low, high, mean) = range(Session { initial: true, ..call() });
        assert!((1.02..1.03).contains(&low) && (3.07..3.08).contains(&high) && (mean - 2.052).abs() < 0.01);
    }

    #[test]
    fn rfc_3550_a_7_many_members_share_the_rate() {
        // A hundred listeners and one speaker: 100 × 120 octets over three quarters of 500 a second: 32 s.
        let crowd = Session { members: 101, senders: 1, we_send: false, ..call() };
        assert!((range(crowd).2 - 32.0 / 1.218_28).abs() < 0.2);
        // The speaker has a quarter for itself: the minimum holds.
        assert!((range(Session { we_send: true, ..crowd }).2 - 4.104).abs() < 0.02);
    }
}
