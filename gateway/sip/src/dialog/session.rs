//! Session timers (RFC 4028): what a request asks for, what is granted, who refreshes, and when a session has run out.

use crate::config::SessionTimers;
use crate::message::{Message, Name, Params};
use core::time::Duration;
use sansio::{Time, TimerId};

/// Below this no peer may make us refresh, in seconds, whatever it grants (RFC 4028 §5 has 90 as the least).
const LEAST: u32 = 30;
/// Above this an interval is no limit any more: a week, in seconds.
const MOST: u32 = 7 * 24 * 3600;

/// What is agreed between us and a peer: how long a session lasts without a refresh, and who refreshes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Session interval in seconds.
    pub(crate) interval: u32,
    /// Whether we refresh.
    pub(crate) ours: bool,
    /// Whether the response has to say `Require: timer`: the peer refreshes (RFC 4028 §9).
    pub(crate) require: bool,
}

/// A session that ends unless it is refreshed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// What was agreed.
    pub(crate) grant: Grant,
    /// When it is over.
    pub(crate) ends: Time,
    /// Whether our refresh was asked for.
    pub(crate) asked: bool,
    /// The timer of the refresh or of the end.
    pub(crate) timer: Option<TimerId>,
}

impl Session {
    /// A session agreed upon, or refreshed, at `now`. It ends before its interval does, by the smaller of 32 s and a
    /// third (RFC 4028 §10).
    pub(crate) fn new(now: Time, grant: Grant) -> Self {
        let interval = Duration::from_secs(grant.interval.into());
        let early = (interval / 3).min(Duration::from_secs(32));
        Self { grant, ends: now + (interval - early), asked: false, timer: None }
    }

    /// When something is to be done: half-way the refresh, if it is ours (RFC 4028 §10), else the end.
    pub(crate) fn due(&self, now: Time) -> Time {
        if self.grant.ours && !self.asked {
            (now + Duration::from_secs(self.grant.interval.into()) / 2).min(self.ends)
        } else {
            self.ends
        }
    }
}

/// Seconds and refresher of a Session-Expires (RFC 4028 §4).
fn expires<'a>(message: &Message<'a>) -> Option<(u32, Option<&'a [u8]>)> {
    let seconds = message.seconds(Name::SessionExpires)?;
    let value = message.header(Name::SessionExpires)?;
    let params = memchr::memchr(b';', value).map_or(&b""[..], |at| &value[at..]);
    Some((seconds, Params::new(params).value("refresher")))
}

/// Whether the sender of a message knows of an option tag.
pub(crate) fn supports(message: &Message<'_>, tag: &str) -> bool {
    message.lists(Name::Supported, tag) || message.lists(Name::Require, tag)
}

/// What is granted to a request that may begin or refresh a session (RFC 4028 §9), in which we are the called side;
/// `None`: it does not know of timers and no proxy asked in its place.
///
/// # Errors
/// Asked for less than our least interval: 422.
pub(crate) fn grant(timers: SessionTimers, request: &Message<'_>) -> Result<Option<Grant>, TooSmall> {
    let knows = supports(request, "timer");
    let asked = expires(request);
    let floor = request.seconds(Name::MinSe).unwrap_or(0).max(timers.min_se).max(LEAST);
    let interval = match asked {
        Some((seconds, _)) if seconds < timers.min_se.max(LEAST) => {
            return if knows { Err(TooSmall) } else { Ok(None) };
        }
        Some((seconds, _)) => timers.expires.max(floor).min(seconds).min(MOST),
        None if knows => timers.expires.max(floor).min(MOST),
        None => return Ok(None),
    };
    let theirs = knows && asked.is_some_and(|(_, by)| by.is_some_and(|by| by.eq_ignore_ascii_case(b"uac")));
    Ok(Some(Grant { interval, ours: !theirs, require: theirs }))
}

/// The session interval asked for is below ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSmall;

/// What a 2xx to our own request grants (RFC 4028 §7.2); `None`: the session does not run out.
pub(crate) fn granted(response: &Message<'_>) -> Option<Grant> {
    let (seconds, by) = expires(response)?;
    let theirs = by.is_some_and(|by| by.eq_ignore_ascii_case(b"uas"));
    Some(Grant { interval: seconds.clamp(LEAST, MOST), ours: !theirs, require: false })
}

/// The lines of our own request (RFC 4028 §7.1): `min_se` is what a 422 told us, `grant` what stands already.
pub(crate) fn request_lines(timers: SessionTimers, min_se: u32, grant: Option<Grant>) -> String {
    let least = timers.min_se.max(min_se);
    let by = match grant {
        None => "",
        Some(grant) if grant.ours => ";refresher=uac",
        Some(_) => ";refresher=uas",
    };
    let interval = grant.map_or(timers.expires, |grant| grant.interval).max(least);
    format!("Session-Expires: {interval}{by}\r\nMin-SE: {least}\r\n")
}

/// The lines of a 2xx of ours.
pub(crate) fn response_lines(grant: Grant) -> String {
    let by = if grant.ours { "uas" } else { "uac" };
    let require = if grant.require { "Require: timer\r\n" } else { "" };
    format!("Session-Expires: {};refresher={by}\r\n{require}", grant.interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMERS: SessionTimers = SessionTimers { expires: 1800, min_se: 90 };

    fn request(lines: &str) -> Vec<u8> {
        format!(
            "INVITE sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
             Call-ID: c\r\nCSeq: 1 INVITE\r\n{lines}\r\n"
        )
        .into_bytes()
    }

    fn granted_to(lines: &str) -> Result<Option<(u32, bool, bool)>, TooSmall> {
        let bytes = request(lines);
        let granted = grant(TIMERS, &Message::parse(&bytes).unwrap())?;
        Ok(granted.map(|grant| (grant.interval, grant.ours, grant.require)))
    }

    #[test]
    fn what_is_granted_follows_rfc_4028_9_and_its_table_2() {
        assert_eq!(granted_to(""), Ok(None));
        assert_eq!(granted_to("Supported: timer\r\n"), Ok(Some((1800, true, false))));
        assert_eq!(granted_to("k: timer\r\nx: 600\r\n"), Ok(Some((600, true, false))));
        assert_eq!(granted_to("k: timer\r\nx: 600;refresher=uac\r\n"), Ok(Some((600, false, true))));
        assert_eq!(granted_to("k: timer\r\nx: 600;refresher=uas\r\n"), Ok(Some((600, true, false))));
        assert_eq!(granted_to("k: timer\r\nx: 7200\r\n"), Ok(Some((1800, true, false))));
        assert_eq!(granted_to("k: timer\r\nx: 7200\r\nMin-SE: 3600\r\n"), Ok(Some((3600, true, false))));
        assert_eq!(granted_to("k: timer\r\nx: 89\r\n"), Err(TooSmall));
        // A proxy asked, the caller does not know: only we can refresh, and nothing may be refused.
        assert_eq!(granted_to("x: 600\r\n"), Ok(Some((600, true, false))));
        assert_eq!(granted_to("x: 60;refresher=uac\r\n"), Ok(None));
    }

    #[test]
    fn a_session_is_refreshed_half_way_and_ends_before_its_interval() {
        let now = Time::from_millis(1000);
        let seconds = |time: Time| time.since(now).as_secs();
        for (interval, ends) in [(1800, 1768), (90, 60), (60, 40)] {
            let mut session = Session::new(now, Grant { interval, ours: true, require: false });
            assert_eq!(seconds(session.due(now)), u64::from(interval / 2));
            assert_eq!(seconds(session.ends), ends);
            session.asked = true;
            assert_eq!(seconds(session.due(now)), ends);
            let theirs = Session::new(now, Grant { interval, ours: false, require: true });
            assert_eq!(seconds(theirs.due(now)), ends);
        }
    }

    #[test]
    fn our_own_lines_keep_the_roles_and_raise_the_interval_as_told() {
        assert_eq!(request_lines(TIMERS, 0, None), "Session-Expires: 1800\r\nMin-SE: 90\r\n");
        assert_eq!(request_lines(TIMERS, 3600, None), "Session-Expires: 3600\r\nMin-SE: 3600\r\n");
        let grant = Grant { interval: 600, ours: false, require: true };
        assert_eq!(
            request_lines(TIMERS, 0, Some(grant)),
            "Session-Expires: 600;refresher=uas\r\nMin-SE: 90\r\n"
        );
        assert_eq!(response_lines(grant), "Session-Expires: 600;refresher=uac\r\nRequire: timer\r\n");
    }

    #[test]
    fn what_a_response_grants_is_never_shorter_than_we_can_bear() {
        let response = |line: &str| {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\n\
                 Call-ID: c\r\nCSeq: 1 INVITE\r\n{line}\r\n"
            );
            granted(&Message::parse(text.as_bytes()).unwrap())
        };
        assert_eq!(response(""), None);
        assert_eq!(
            response("x: 1;refresher=uas\r\n").map(|grant| (grant.interval, grant.ours)),
            Some((LEAST, false))
        );
        assert_eq!(response("x: 600\r\n").map(|grant| grant.ours), Some(true));
    }
}
