//! How a peer says keys, and what follows for each direction of a call.

use media::codec::Codec;

/// How a peer says keys (DTMF), and is told them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dtmf {
    /// However it likes. Telephone events, INFO and tones pass as they come, and are translated only where the other side has one way of its own.
    #[default]
    Pass,
    /// As telephone events in its RTP (RFC 4733); as tones if it refuses those.
    Rfc4733,
    /// In INFO, as `application/dtmf-relay`.
    Info,
    /// In INFO, as `application/dtmf`: the key alone.
    InfoPlain,
    /// As tones in its sound.
    Inband,
}

impl Dtmf {
    /// The words of the configuration, in order.
    pub const WORDS: &[&str] = &["pass", "rfc4733", "info", "info-plain", "inband"];

    /// The way of this word; `None` if it is none.
    pub fn named(word: &str) -> Option<Self> {
        let all = [Self::Pass, Self::Rfc4733, Self::Info, Self::InfoPlain, Self::Inband];
        all.into_iter().zip(Self::WORDS).find(|(_, known)| **known == word).map(|(it, _)| it)
    }

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Rfc4733 => "rfc4733",
            Self::Info => "info",
            Self::InfoPlain => "info-plain",
            Self::Inband => "inband",
        }
    }

    /// Whether telephone events are none of its ways.
    pub(crate) const fn is_without_events(self) -> bool {
        matches!(self, Self::Info | Self::InfoPlain | Self::Inband)
    }
}

/// What is known of a side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speaker {
    /// How it says keys.
    pub dtmf: Dtmf,
    /// The payload types of telephone events agreed upon: the one it wants, and the one that it was told.
    pub events: Option<(u8, u8)>,
    /// The codecs it takes that are known here, by payload type, the preferred one first.
    pub codecs: Vec<(u8, Codec)>,
}

/// As what keys go to a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Telephone events of this payload type.
    Events(u8),
    /// INFO; whether with the key alone.
    Info {
        plain: bool,
    },
    Tones,
}

/// What is to be done with keys in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// As what they go on.
    pub(crate) form: Form,
    /// Telephone events that are taken: their payload types.
    pub(crate) events: Option<(u8, u8)>,
    /// Whether INFO is taken.
    pub(crate) info: bool,
    /// Whether tones are listened for.
    pub(crate) tones: bool,
    /// Whether keys are expected, so that all is made ready.
    pub(crate) expected: bool,
    /// The codecs of who says them.
    pub(crate) heard: Vec<(u8, Codec)>,
    /// The codecs of who is told them.
    pub(crate) spoken: Vec<(u8, Codec)>,
}

impl Plan {
    /// What is to be done with the keys of `from` for `to`; `None`: nothing.
    pub(crate) fn new(from: &Speaker, to: &Speaker) -> Option<Self> {
        if from.dtmf == Dtmf::Pass && to.dtmf == Dtmf::Pass {
            return None;
        }
        let form = match (to.dtmf, to.events) {
            (Dtmf::Info, _) => Form::Info { plain: false },
            (Dtmf::InfoPlain, _) => Form::Info { plain: true },
            (Dtmf::Rfc4733 | Dtmf::Pass, Some((theirs, _))) => Form::Events(theirs),
            (Dtmf::Inband | Dtmf::Rfc4733 | Dtmf::Pass, _) => Form::Tones,
        };
        // Who takes them however they come, and no events, is left those that pass by themselves.
        let takes_any = to.dtmf == Dtmf::Pass && to.events.is_none();
        let speaks_tones = from.dtmf == Dtmf::Inband || (from.dtmf == Dtmf::Rfc4733 && from.events.is_none());
        let says_info = match from.dtmf {
            Dtmf::Info => Some(false),
            Dtmf::InfoPlain => Some(true),
            _ => None,
        };
        let same = match form {
            // Whatever INFO it is passes, unless it is known to be the other.
            Form::Info { plain } => says_info.is_none_or(|said| said == plain),
            _ => takes_any,
        };
        let plan = Self {
            form,
            events: from.events.filter(|_| !matches!(form, Form::Events(_))),
            info: !same,
            tones: speaks_tones && form != Form::Tones,
            expected: !same && says_info.is_some(),
            heard: from.codecs.clone(),
            spoken: to.codecs.clone(),
        };
        (plan.events.is_some() || plan.info || plan.tones).then_some(plan)
    }

    /// Whether packets have to be looked at before a key was said in an INFO.
    pub(crate) const fn is_always_on(&self) -> bool {
        self.events.is_some() || self.tones || self.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(dtmf: Dtmf, events: bool) -> Speaker {
        Speaker { dtmf, events: events.then_some((101, 96)), codecs: vec![(8, Codec::Pcma)] }
    }

    fn plan(from: (Dtmf, bool), to: (Dtmf, bool)) -> Option<(Form, bool, bool, bool)> {
        let plan = Plan::new(&speaker(from.0, from.1), &speaker(to.0, to.1))?;
        Some((plan.form, plan.events.is_some(), plan.info, plan.tones))
    }

    #[test]
    fn words_are_known() {
        for word in Dtmf::WORDS {
            assert_eq!(Dtmf::named(word).unwrap().word(), *word);
        }
        assert_eq!(Dtmf::named("RFC4733"), None);
    }

    #[test]
    fn nothing_is_done_where_nobody_asks_for_it() {
        for events in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(plan((Dtmf::Pass, events.0), (Dtmf::Pass, events.1)), None);
        }
        for same in [Dtmf::Info, Dtmf::InfoPlain, Dtmf::Inband] {
            let plan = plan((same, false), (same, false));
            assert!(plan.is_none_or(|plan| plan == (Form::Tones, false, true, false)), "{plan:?}");
        }
    }

    #[test]
    fn each_kind_becomes_what_the_other_side_speaks() {
        use Dtmf::{Inband, Info, InfoPlain, Pass, Rfc4733};
        let info = Form::Info { plain: false };
        for (from, to, expected) in [
            // A phone that says events, a carrier that wants INFO, and back.
            ((Pass, true), (Info, false), (info, true, false, false)),
            ((Info, false), (Pass, true), (Form::Events(101), false, true, false)),
            ((Rfc4733, true), (InfoPlain, false), (Form::Info { plain: true }, true, false, false)),
            ((Info, false), (InfoPlain, false), (Form::Info { plain: true }, false, true, false)),
            ((Inband, false), (Info, false), (info, false, false, true)),
            ((Inband, false), (Rfc4733, true), (Form::Events(101), false, true, true)),
            ((Rfc4733, true), (Inband, false), (Form::Tones, true, true, false)),
            ((Info, false), (Inband, false), (Form::Tones, false, true, false)),
            // Who refused events has tones in its sound, which go on as events or as they are.
            ((Rfc4733, false), (Rfc4733, true), (Form::Events(101), false, true, true)),
            ((Rfc4733, true), (Rfc4733, false), (Form::Tones, true, true, false)),
            // Who takes anything and no events is left INFO and tones as they come.
            ((Rfc4733, true), (Pass, false), (Form::Tones, true, false, false)),
        ] {
            assert_eq!(plan(from, to), Some(expected), "{from:?} {to:?}");
        }
        assert_eq!(plan((Info, false), (Pass, false)), None);
        assert_eq!(plan((Inband, false), (Pass, false)), None);
    }
}
