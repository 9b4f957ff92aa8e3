//! The endpoint's counters: plain numbers, declared once, visited by whoever adds them up.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters of one endpoint since it was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Stats {
            /// Calls `visitor` with name, meaning and value of each counter.
            pub fn visit(&self, visitor: &mut dyn FnMut(&'static str, &'static str, u64)) {
                $(visitor(stringify!($name), concat!($($doc),+).trim_ascii(), self.$name);)+
            }
        }
    };
}

counters! {
    /// Messages received, over UDP and TCP.
    messages_received,
    /// Messages sent, retransmissions included.
    messages_sent,
    /// Messages sent again because a timer ran out.
    retransmissions_sent,
    /// Requests received again and absorbed by their transaction.
    retransmissions_absorbed,
    /// INVITEs sent.
    invites_sent,
    /// Challenges (401, 407) to INVITEs of ours answered with credentials.
    challenges_answered,
    /// INVITEs received that made a leg.
    invites_received,
    /// Messages that could not be parsed and not be answered.
    malformed_dropped,
    /// Requests refused with 400 for their form.
    malformed_refused,
    /// Requests refused for a reason of the protocol (405, 416, 420, 481, 482, 483, 500, 501, 505 and so on).
    requests_refused,
    /// Requests received again by another way (482, merged).
    merged_refused,
    /// INVITEs of our own that came back (482, loop).
    loops_refused,
    /// INVITEs refused without state since their source may place no calls (403, or nothing).
    strangers_calls_refused,
    /// Other requests refused without state since their source may begin nothing (403, or nothing).
    strangers_requests_refused,
    /// Answers not given to sources that are to learn nothing.
    strangers_ignored,
    /// INVITEs and OPTIONS refused without state because of overload (503).
    busy_refused,
    /// Responses that belong to no transaction.
    stray_responses,
    /// ACKs that belong to no transaction and no dialog.
    stray_acks,
    /// Calls answered after they had been given up: ACK and BYE sent.
    late_answers,
    /// Second dialogs of forked calls: ACK and BYE sent.
    forked_answers,
    /// Early dialogs beyond the bound per leg, not told apart.
    forks_beyond,
    /// Transactions that ended because nothing was heard (timers B, F, H).
    transactions_timed_out,
    /// Transactions that ended because ICMP refused or a connection failed or broke.
    transactions_unreachable,
    /// Requests answered 503 without state since the transaction table was full.
    transactions_full,
    /// INVITEs answered 503 without state since the leg table was full.
    legs_full,
    /// Own requests refused since a table was full.
    own_full,
    /// TCP connections closed or not opened since the table was full.
    connections_full,
    /// TCP connections opened.
    connections_opened,
    /// TCP connections accepted.
    connections_accepted,
    /// TCP connections that could not be opened.
    connections_failed,
    /// WebSockets whose opening handshake was done.
    websockets_opened,
    /// Connections closed since their WebSocket handshake was none, or not one for SIP.
    websockets_refused,
    /// TCP connections closed for lack of traffic.
    connections_idle_closed,
    /// TCP connections closed since a ping was not answered by a side that answers pings.
    connections_pong_missing,
    /// Pings (two line ends) sent over connections that are kept open.
    pings_sent,
    /// Pairs of line ends sent so that NATs keep the way to a peer open.
    line_ends_sent,
    /// TCP connections closed since what came was no SIP, or a message too long.
    connections_garbage_closed,
    /// Requests sent over TCP instead of UDP since they were too large for a datagram (RFC 3261 §18.1.1).
    large_over_tcp,
    /// Those of them sent over UDP after all since no connection could be made.
    large_back_to_udp,
    /// Requests too large for a datagram and sent as one all the same: the place is known, or configured, to take no connection.
    large_over_udp,
    /// Places that take no connections not remembered as such since too many are.
    large_places_full,
    /// Messages dropped since there was no socket or connection to send them by.
    unsendable,
    /// Legs whose peer behind a NAT was heard over another way than before, which is taken from then on.
    legs_moved,
    /// Calls lost since our 2xx was never acknowledged.
    acks_missing,
    /// Calls lost since a reliable provisional response was never acknowledged (504, RFC 3262).
    pracks_missing,
    /// Provisional responses not sent since too many waited for a PRACK.
    provisionals_dropped,
    /// Reliable provisional responses that came before one they follow, passed over until they come again (RFC 3262).
    provisionals_early,
    /// Sessions refreshed, by either side (RFC 4028).
    sessions_refreshed,
    /// Calls ended since their session was not refreshed in time (RFC 4028).
    sessions_expired,
    /// Requests refused with 422 since their session interval was too small (RFC 4028).
    intervals_refused,
    /// Own requests sent again with a longer session interval after a 422 (RFC 4028).
    intervals_raised,
    /// SUBSCRIBEs refused with 503, or not sent, since too many dialogs without a call stood (RFC 6665).
    usages_full,
    /// NOTIFYs sent to who asked for a transfer, retransmissions aside (RFC 3515).
    notifies_sent,
    /// Those that were not taken: refused, or not answered.
    notifies_refused,
    /// Timers not set since the wheel was full; cannot happen while limits hold, else the state ends at once.
    timers_full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_visited_under_its_name() {
        let stats = Stats { stray_acks: 7, ..Stats::default() };
        let mut seen = Vec::new();
        stats.visit(&mut |name, _, value| seen.push((name, value)));
        assert!(seen.contains(&("stray_acks", 7)));
        assert_eq!(seen.iter().map(|(_, value)| value).sum::<u64>(), 7);
    }
}
