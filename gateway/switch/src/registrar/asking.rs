//! Which algorithms a phone is asked with.
//!
//! RFC 8760 §2.4 has a challenge for each algorithm in one response, the preferred one first, and a phone take the first it
//! knows. Phones made before it do otherwise: some read one challenge alone, some give up when one of several is of
//! an algorithm they do not know. So several are offered to those that can choose: they show a stronger algorithm than MD5 in
//! the very request, or are of a kind that is known for it. Others are asked with MD5 alone. Who was asked and comes again without
//! an answer is asked the other way, so that neither kind is shut out by a wrong guess.
//!
//! Whoever can change messages on the way could take out the stronger challenges as well; whoever cannot has no say in
//! this. Where MD5 is not among the algorithms it is never offered.

use link::UnixMicros;
use sip::auth::Algorithm;
use std::collections::{BTreeMap, VecDeque};

/// Phones asked that have not answered yet, remembered at most; about 40 bytes each.
const REMEMBERED: usize = 4096;
/// How long it is remembered that a phone has not answered, in microseconds: longer than phones pause before they try again.
const SPAN: u64 = 600_000_000;

/// How phones are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// With all algorithms at once (RFC 8760 §2.4).
    All,
    /// The same to those that can choose, and to those whose User-Agent begins so; the others with MD5, if it is among them.
    ByPhone(Vec<String>),
}

impl Default for Offer {
    fn default() -> Self {
        Self::ByPhone(vec![String::from("Linphone")])
    }
}

impl Offer {
    /// Whether the User-Agent is of a kind that chooses.
    fn knows(&self, user_agent: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::ByPhone(kinds) => kinds.iter().any(|kind| {
                user_agent.get(..kind.len()).is_some_and(|it| it.eq_ignore_ascii_case(kind.as_bytes()))
            }),
        }
    }

    /// The algorithms to ask with. `shown` is the algorithm of credentials that came and do not count, `unanswered` how often
    /// the phone was asked before and gave no answer.
    pub(crate) fn choose(
        &self,
        algorithms: &[Algorithm],
        user_agent: &[u8],
        shown: Option<Algorithm>,
        unanswered: u8,
    ) -> Vec<Algorithm> {
        let is_strong = shown.is_some_and(|it| it.hash > Algorithm::MD5.hash);
        let other_way = *self != Self::All && !is_strong && unanswered % 2 == 1;
        let all = is_strong || self.knows(user_agent) != other_way;
        if all || !algorithms.contains(&Algorithm::MD5) {
            return algorithms.to_vec();
        }
        vec![Algorithm::MD5]
    }
}

/// Who was asked and has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// By what the phone is known by: when, and how often.
    phones: BTreeMap<u64, (UnixMicros, u8)>,
    /// The same in the order in which they were asked first.
    order: VecDeque<(UnixMicros, u64)>,
}

impl Asked {
    /// A phone is asked now; how often it was before without an answer.
    pub(super) fn ask(&mut self, now: UnixMicros, phone: u64) -> u8 {
        if let Some((last, times)) = self.phones.get_mut(&phone)
            && now.since(*last) < SPAN
        {
            let before = *times;
            *times = times.wrapping_add(1).max(1);
            return before;
        }
        while let Some((asked, oldest)) = self.order.front().copied() {
            if self.order.len() < REMEMBERED && now.since(asked) < SPAN {
                break;
            }
            self.order.pop_front();
            if self.phones.get(&oldest).is_some_and(|known| known.0 == asked) {
                self.phones.remove(&oldest);
            }
        }
        self.phones.insert(phone, (now, 1));
        self.order.push_back((now, phone));
        0
    }

    /// A phone has answered in a way that can be judged.
    pub(super) fn answered(&mut self, phone: u64) {
        self.phones.remove(&phone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Algorithm; 2] = [Algorithm::SHA_256, Algorithm::MD5];

    #[test]
    fn who_can_choose_is_offered_all_and_the_others_md5() {
        let it = Offer::default();
        let choose = |agent: &str, shown, unanswered| it.choose(&BOTH, agent.as_bytes(), shown, unanswered);
        for (agent, shown, unanswered, all) in [
            ("LinphoneDaemon/5.1", None, 0, true),
            ("linphone", None, 2, true),
            ("LinphoneDaemon/5.1", None, 1, false),
            ("baresip v1.0.0", None, 0, false),
            ("baresip v1.0.0", Some(Algorithm::MD5), 0, false),
            ("baresip v3", Some(Algorithm::SHA_256), 0, true),
            ("baresip v3", Some(Algorithm::SHA_512_256), 1, true),
            ("", None, 0, false),
            ("", None, 1, true),
            ("", None, 2, false),
        ] {
            let offered = choose(agent, shown, unanswered);
            assert_eq!(offered.len(), if all { 2 } else { 1 }, "{agent} {shown:?} {unanswered}");
            assert_eq!(offered.last(), Some(&Algorithm::MD5));
        }
    }

    #[test]
    fn md5_is_offered_only_where_it_is_among_the_algorithms() {
        for (agent, unanswered) in [("", 0), ("", 1), ("Linphone", 0), ("Linphone", 1)] {
            let offered = Offer::default().choose(&BOTH[..1], agent.as_bytes(), None, unanswered);
            assert_eq!(offered, [Algorithm::SHA_256]);
        }
    }

    /// RFC 8760 §2.4.
    #[test]
    fn all_are_offered_in_their_order_to_everyone_if_wanted() {
        for unanswered in 0..4 {
            assert_eq!(Offer::All.choose(&BOTH, b"", None, unanswered), BOTH);
        }
    }

    #[test]
    fn who_does_not_answer_is_known_for_a_while() {
        let mut it = Asked::default();
        let at = |seconds: u64| UnixMicros(seconds * 1_000_000);
        assert_eq!([it.ask(at(0), 7), it.ask(at(1), 7), it.ask(at(2), 8), it.ask(at(3), 7)], [0, 1, 0, 2]);
        it.answered(7);
        assert_eq!(it.ask(at(4), 7), 0);
        assert_eq!(it.ask(at(700), 8), 0, "too long ago");
        for phone in 100..10_000 {
            it.ask(at(700), phone);
        }
        assert!(it.phones.len() <= REMEMBERED && it.order.len() <= REMEMBERED);
    }
}
