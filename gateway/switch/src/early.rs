//! Media before the answer: of a call forked behind the callee, whose is heard; what the network says of it
//! (P-Early-Media, RFC 5009).

use crate::profile::EarlyDialogs;
use sip::Received;

/// The header field by which a network allows or forbids early media.
pub(crate) const P_EARLY_MEDIA: &str = "P-Early-Media";

/// Which early dialogs have described their media.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// The one whose media is heard, in order of appearance.
    fork: Option<u8>,
}

impl Heard {
    /// Whether the media that this early dialog describes is to be heard from now on.
    pub(crate) fn admits(&mut self, policy: EarlyDialogs, fork: u8, response: &Received) -> bool {
        let barred = match policy {
            EarlyDialogs::Latest => false,
            EarlyDialogs::First => self.fork.is_some_and(|first| first != fork),
        };
        if barred || is_withheld(response) {
            return false;
        }
        self.fork = Some(fork);
        true
    }
}

/// Whether the network says that nothing comes from the callee before the answer (RFC 5009 §8: `inactive`, `recvonly`).
fn is_withheld(response: &Received) -> bool {
    let Ok(message) = response.parse() else { return false };
    let Some(value) = message.header_by_name(P_EARLY_MEDIA) else { return false };
    let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    words.any(|word| [&b"inactive"[..], b"recvonly"].iter().any(|no| word.eq_ignore_ascii_case(no)))
}
