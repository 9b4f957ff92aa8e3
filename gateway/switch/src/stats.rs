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
    /// Of those, calls whose answer the caller never heard, since he acknowledged no ringing (504), took too long, or the call ended (480) or was cancelled before: their records say refused.
    calls_answers_unheard,
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
    /// Calls refused because they had been diverted too often (482).
    calls_diverted_refused,
    /// Calls refused because they ask for an unknown privacy as critical (500).
    calls_privacy_refused,
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
    /// Calls refused by a rule against toll fraud.
    calls_fraud_refused,
    /// Messages refused by a rule against toll fraud.
    messages_fraud_refused,
    /// Transfers asked for with REFER.
    transfers_asked,
    /// Transfers that the gateway carried out: the other side was put through.
    transfers_executed,
    /// Transfers accepted and not done: the target failed, or a side hung up.
    transfers_failed,
    /// REFERs refused (400, 403, 416, 481, 491, 503, 603).
    transfers_refused,
    /// REFERs handed on to the other side of the call.
    transfers_passed,
    /// REFERs outside of calls that the gateway executes: it has called the phone that they are for.
    referrals_executed,
    /// REFERs outside of calls refused at the limit of those executed at a time (503).
    referrals_full,
    /// Transfers to a dialog of another worker, and INVITEs to replace or join one: carried out by a call between the two workers, or once that worker has said who is across.
    transfers_elsewhere,
    /// Transfers in which who was put through heard the target before it answered.
    transfers_heard_early,
    /// Calls ended after a transfer since one side did not take the other's session.
    transfers_mute,
    /// INVITEs that were to replace a leg (Replaces).
    replaces_asked,
    /// Those that did.
    replaces_done,
    /// Those refused (400, 481, 486, 488, 491, 603).
    replaces_refused,
    /// INVITEs that were to join a call (Join).
    joins_asked,
    /// Those that went on to the far end of the call, which can mix.
    joins_passed,
    /// Those refused (481, 488, 603).
    joins_refused,
    /// Calls ended because one side sent no media.
    calls_media_timeout,
    /// Calls in which one side sent no RTP for a while, `media.one_way_after`, and the other did.
    calls_one_way,
    /// Calls in which neither side sent RTP for so long.
    calls_no_audio,
    /// Times that a trunk came to be chosen last for how calls to it sounded.
    trunks_avoided,
    /// Times that such a trunk was found to sound well again.
    trunks_sound_again,
    /// Calls ended because a leg came to no keys by DTLS, or its peer showed another certificate than SDP names.
    calls_unkeyed,
    /// DTLS handshakes that had to wait since as many were under way as may be at a time.
    dtls_deferred,
    /// Peers tried.
    attempts,
    /// Peers tried after another one failed the same call.
    failovers,
    /// Calls sent on to where a redirection (3xx) led.
    redirects_followed,
    /// Redirections told to the caller.
    redirects_relayed,
    /// Redirections that ended the attempt: refused by the profile, or to nowhere that the gateway calls.
    redirects_refused,
    /// Places that redirections led to and that were not tried since a call had been sent on often enough.
    redirects_beyond,
    /// Offers made to callees for callers that made none.
    offers_made,
    /// re-INVITEs of our own by which a side was told of the session that the other side's answer had made.
    sessions_resynced,
    /// re-INVITEs of our own that crossed another (491), tried again after a while.
    glares,
    /// Header fields that a profile lets pass and that were left out because there were too many.
    headers_dropped,
    /// Messages handed to the shard that owns them.
    handovers_out,
    /// Messages taken over from another shard.
    handovers_in,
    /// INFO of our own that say keys (DTMF) and could not be sent, were refused or not answered.
    keys_unsaid,
    /// Streams beside speech (video, T.38) that were given ports.
    streams_added,
    /// Those that were offered and refused for want of ports, or since a call had too many.
    streams_refused,
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
    /// Nonces in use that were forgotten before their time because there was no room for more.
    auth_nonces_full,
    /// REGISTER requests carried out (200).
    registers_accepted,
    /// REGISTER requests refused for their Path: too long, or from phones that do not know of it (RFC 3327 §5.3).
    registers_path_refused,
    /// REGISTER requests refused because a contact is a GRUU of the user's own (403, RFC 5627 §5.1).
    registers_gruu_refused,
    /// Pairs of GRUUs, public and temporary, told to phones (RFC 5627 §5.2).
    gruus_given,
    /// Requests refused because their temporary GRUU is void, or none of ours (404, RFC 5627 §5.3).
    gruus_void,
    /// Users some of whose bindings went with the connection that they had registered over.
    registrations_flow_lost,
    /// REGISTER requests asked for credentials (401).
    registers_challenged,
    /// REGISTER requests refused (400, 403, 420, 423, 439, 500, 503).
    registers_refused,
    /// REGISTER requests refused because the user or the gateway had too many contacts (403, 503).
    registrations_full,
    /// Users whose bindings expired or who are configured no more.
    registrations_expired,
    /// REGISTER requests by flows refused since a proxy on the way holds them without knowing (439).
    registers_first_hop_refused,
    /// Calls from peers behind a NAT.
    calls_behind_nat,
    /// OPTIONS sent to phones behind NATs, to keep the way to them open.
    phones_pinged,
    /// OPTIONS to phones behind NATs that were not answered.
    phones_ping_missed,
    /// OPTIONS to phones behind NATs replaced by line ends since too many awaited an answer.
    phones_pings_full,
    /// Phones taken out of service since they stopped to answer OPTIONS.
    phones_silent,
    /// Phones taken out of service that answered again.
    phones_back,
    /// STUN Binding requests answered.
    stun_answered,
    /// STUN messages dropped: malformed, no Binding request, or from sources that are to learn nothing.
    stun_dropped,
    /// Calls to users.
    calls_to_users,
    /// Calls refused because the user called is not registered (480).
    calls_user_unavailable,
    /// Contacts called, or sent a request, where their REGISTER came from, since the name of the first proxy before them was not
    /// found (RFC 3327, RFC 3263).
    paths_unlocated,
    /// Names of proxies before phones that are not located since there are too many.
    path_names_dropped,
    /// Calls to one phone of a user alone, by its GRUU (RFC 5627).
    calls_to_gruus,
    /// Service-Route of registrars not used since it was too long or named no loose router.
    service_routes_dropped,
    /// Calls that carriers sent to the contact of a registered trunk.
    calls_to_contacts,
    /// Copies of SIP messages sent to the capture server.
    hep_sent,
    /// Copies of SIP messages not sent: too long, no packet free, or overwritten before the socket was open.
    hep_dropped,
    /// Times that the socket for copies of SIP messages could not be opened.
    hep_unopened,
    /// Ends of sessions on trunks not told to control since too many waited: RFC 6076 figures lack them.
    releases_dropped,
    /// Datagrams and requests dropped unread because their source sent more than `guard.datagrams`.
    guard_flood_dropped,
    /// INVITEs dropped unread because their source sent more than `guard.invites`.
    guard_invites_dropped,
    /// REGISTERs dropped unread because their source sent more than `guard.registers`.
    guard_registers_dropped,
    /// Other requests dropped unread because their source sent more than `guard.others`.
    guard_others_dropped,
    /// Datagrams and requests dropped unread because their source is banned.
    guard_banned_dropped,
    /// Requests dropped unread because User-Agent holds a scanner's name.
    guard_scanner_dropped,
    /// Connections closed because their source is banned or sent too much.
    guard_connections_closed,
    /// Sources banned.
    guard_bans,
    /// New calls that stood back behind other messages because there was a queue.
    overload_stood_back,
    /// INVITEs and OPTIONS refused because messages wait too long to be handled (503).
    overload_queue_refused,
    /// INVITEs and OPTIONS refused because too many calls are in set-up (503).
    overload_setups_refused,
    /// Microseconds that SIP datagrams waited to be handled, added up.
    queue_wait_us,
    /// Requests outside of calls taken to be passed on.
    outside_taken,
    /// Requests outside of calls refused, for whatever reason.
    outside_refused,
    /// Requests outside of calls refused because their method does not pass there (405).
    outside_not_passed,
    /// Requests outside of calls, and inside subscriptions, refused because their body is too long (413).
    outside_too_large,
    /// Requests outside of calls refused because too many waited for their answer (503).
    outside_full,
    /// Requests outside of calls refused because no route matches (404).
    outside_unrouted,
    /// Requests outside of calls refused because the user has no phone registered (480).
    outside_unavailable,
    /// Requests outside of calls to one phone of a user alone, by its GRUU (RFC 5627).
    outside_to_gruus,
    /// Requests outside of calls sent to phones and peers.
    outside_sent,
    /// Requests outside of calls sent to a further phone or peer after another one failed.
    outside_failovers,
    /// Requests outside of calls answered with a 2xx.
    outside_answered,
    /// Requests outside of calls that every phone or peer asked refused or did not answer.
    outside_failed,
    /// SUBSCRIBEs and NOTIFYs passed on inside subscriptions.
    outside_exchanges,
    /// Challenges to requests outside of calls answered with a trunk's account.
    outside_challenges_answered,
    /// Subscriptions that came to stand.
    subscriptions_begun,
    /// SUBSCRIBEs refused because too many subscriptions stood (503).
    subscriptions_full,
    /// Subscriptions ended because nobody renewed them and the notifier did not end them.
    subscriptions_expired,
    /// Subscriptions ended because the notifier sent no NOTIFY after a SUBSCRIBE (RFC 6665, Timer N).
    subscriptions_unnotified,
    /// Subscriptions ended because the subscriber did not answer a NOTIFY.
    subscriptions_unreachable,
    /// Times that a call exceeded a rule against toll fraud, refused or not.
    fraud_exceeded,
    /// Alarms about toll fraud.
    fraud_alarms,
    /// Tables made of what peers' names stand for.
    tables_located,
    /// Such tables sent again since a shard had not confirmed them.
    tables_repeated,
    /// Route questions to control that were not answered in time.
    routes_unanswered,
    /// Calls whose caller's identity was verified.
    identity_passed,
    /// Calls to be verified that had no Identity field to verify (428 where that is refused).
    identity_absent,
    /// Calls whose token or Date field was not fresh (403 where that is refused).
    identity_stale,
    /// Calls whose token's certificate could not be had, or not in time (436 where that is refused).
    identity_no_certificate,
    /// Calls whose token's certificate was not trusted, not valid or for other numbers (437 where that is refused).
    identity_unsupported,
    /// Calls whose Identity field was malformed, wrong, forged or copied from another call (438 where that is refused).
    identity_invalid,
    /// Those of them whose token was copied from another call.
    identity_replayed,
    /// Tokens forgotten while they were fresh because too many came: their copies would not be noticed.
    identity_replays_crowded,
    /// Calls refused since their identity could not be verified.
    calls_identity_refused,
    /// Messages refused since their identity could not be verified.
    messages_identity_refused,
    /// Calls verified that somebody had sent on before they came (RFC 8946).
    identity_diverted,
    /// Calls verified whose caller is entitled to the Resource-Priority that they have (RFC 8443).
    identity_priority_passed,
    /// Calls verified whose token about Resource-Priority was wrong: they go on without that.
    identity_priority_failed,
    /// Lists of revoked certificates asked for.
    identity_lists_asked,
    /// Lists of revoked certificates that could not be had, or not be used.
    identity_lists_failed,
    /// Certificates taken though not all lists of revoked ones that they name could be had.
    identity_unlisted,
    /// Calls that waited for a certificate.
    identity_waited,
    /// Calls that could not wait for a certificate because too many did.
    identity_waiting_full,
    /// Verified certificates forgotten before their time because too many were kept.
    identity_certificates_evicted,
    /// INVITEs signed with full attestation.
    identity_signed_a,
    /// INVITEs signed with partial attestation.
    identity_signed_b,
    /// INVITEs signed with gateway attestation.
    identity_signed_c,
    /// INVITEs not signed because caller or callee is no telephone number.
    identity_unsigned,
    /// Diversions signed: calls that the gateway sent on and that kept the tokens they came with (RFC 8946).
    identity_signed_diversions,
    /// Messages signed (RFC 9475).
    identity_signed_messages,
    /// Prompts and music that began to be played.
    plays_started,
    /// Orders to play that were refused.
    plays_refused,
    /// Prompts and music that could not be read.
    plays_failed,
    /// Packets of prompts and music sent.
    play_packets,
    /// Packet lengths of silence in place of packets of prompts that would have been too late.
    play_packets_missed,
}
