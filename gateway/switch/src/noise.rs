//! Noise for a leg whose codec cannot say silence, while the other leg's says that there is nothing to be sent (G.729 Annex B).

use crate::bridge::{Bridge, Side};
use crate::translator::FILLED_MS;
use core::time::Duration;
use sansio::{Outbox, Time};

const STEP: Duration = Duration::from_millis(FILLED_MS as u64);
/// How much later than the packet for which it stands noise begins: speech that comes back somewhat late does not overlap with it.
const LATE: Duration = Duration::from_millis(20);
/// Behind by so much, packets are no longer made up for.
const BEHIND: Duration = Duration::from_millis(100);

impl Bridge {
    /// A packet came from a side; `quiet`: none follows until there is speech again.
    #[inline]
    pub(crate) fn expect_noise(&mut self, side: Side, now: Time, quiet: bool) {
        let leg = self.legs(side).0;
        leg.noise_due = quiet.then(|| now + STEP + LATE);
        if let Some(due) = leg.noise_due {
            self.tends |= self.due_at.is_none_or(|at| due < at);
        }
    }

    /// Sends the noise that is due in the place of what a side does not send.
    pub(crate) fn make_noise<M>(&mut self, side: Side, now: Time, out: &mut Outbox<M>) {
        let (from, to) = self.legs(side);
        let target = to.target().filter(|_| from.direction.sends && to.direction.receives);
        let (Some(target), Some(translator)) = (target, from.translator.as_mut()) else {
            from.noise_due = None;
            return;
        };
        while let Some(due) = from.noise_due.filter(|due| *due <= now) {
            let next = due + STEP;
            from.noise_due = Some(if now.since(next) > BEHIND { now + STEP } else { next });
            let way = &mut from.keys.way;
            from.filled += 1;
            translator.fill(|header, payload| {
                let header = match way {
                    // A key may be being said in the place of all else.
                    Some(way) => (!way.covers()).then(|| way.pass(now, header)).flatten(),
                    None => Some(header),
                };
                if let Some(header) = header {
                    to.send_on(now, target, header, payload, out);
                }
            });
        }
    }
}
