//! The shard's counters: plain numbers, declared once.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters of one shard since its start.
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
    /// Calls accepted for processing.
    calls_started,
    /// Calls answered.
    calls_answered,
    /// Calls refused because the source is in no allowed network (403).
    calls_source_refused,
    /// Calls refused while draining (503).
    calls_draining_refused,
    /// Calls refused at the shard's limit of calls (503).
    calls_limit_refused,
    /// Calls refused because no route matches (404).
    calls_unrouted,
    /// Calls refused because a trunk's peer sent back what was sent to it (482).
    calls_looped,
    /// Calls refused because their SDP could not be used (488).
    calls_sdp_refused,
    /// Calls refused because no RTP ports were free (503).
    calls_ports_refused,
    /// Calls refused because every trunk was full (503).
    calls_trunks_full,
    /// Calls refused because no trunk was in service (503).
    calls_trunks_down,
    /// Calls refused because no address is known of a trunk whose peers are names (503).
    calls_trunks_unlocated,
    /// Calls refused because every peer tried failed.
    calls_attempts_failed,
    /// Calls ended because one side sent no media.
    calls_media_timeout,
    /// Peers tried.
    attempts,
    /// Peers tried after another one failed the same call.
    failovers,
    /// Header fields that a profile lets pass and that were left out because there were too many.
    headers_dropped,
    /// Messages handed to the shard that owns them.
    handovers_out,
    /// Messages taken over from another shard.
    handovers_in,
    /// RTP or RTCP packets for a port that no call holds.
    media_unclaimed,
    /// Call records dropped because control did not acknowledge them and the spool was full.
    cdrs_dropped,
    /// Call records sent to control again.
    cdrs_repeated,
    /// Timers that could not be set because the wheel was full.
    timers_full,
    /// Requests asked for credentials (401).
    auth_challenged,
    /// Requests refused because name or password was wrong, or the name another than that of the request (403).
    auth_wrong,
    /// Requests asked again because their nonce had been used before.
    auth_replayed,
    /// Requests asked again because the table of used nonces was full.
    auth_nonces_full,
    /// REGISTER requests carried out (200).
    registers_accepted,
    /// REGISTER requests asked for credentials (401).
    registers_challenged,
    /// REGISTER requests refused (400, 403, 423, 500, 503).
    registers_refused,
    /// REGISTER requests refused because the user or the gateway had too many contacts (403, 503).
    registrations_full,
    /// Users whose bindings expired or who are configured no more.
    registrations_expired,
    /// Calls to users.
    calls_to_users,
    /// Calls refused because the user called is not registered (480).
    calls_user_unavailable,
    /// Tables made of what peers' names stand for.
    tables_located,
    /// Such tables sent again since a shard had not confirmed them.
    tables_repeated,
    /// Route questions to control that were not answered in time.
    routes_unanswered,
}
