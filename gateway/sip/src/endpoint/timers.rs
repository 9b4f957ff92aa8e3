//! The endpoint's timers: what each means, and what happens when it fires.

use super::{Endpoint, clients, servers};
use sansio::{Key, StreamId, Time, TimerId};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Timers A and E.
    ClientRetransmit(Key),
    /// Timers B, D, F, K and M.
    ClientLifetime(Key),
    /// Timer G.
    ServerRetransmit(Key),
    /// Timers H, I, J and L.
    ServerLifetime(Key),
    /// Timer J of registrations that were answered.
    Answered,
    /// What a leg waits for: the first response, the final one, its owner, the end of a re-INVITE.
    Leg(Key),
    /// The next repetition of a 2xx.
    Repeat(Key),
    /// The next repetition of a reliable provisional response.
    Provisional(Key),
    /// A session is to be refreshed, or has run out.
    Session(Key),
    /// What a REFER subscribed to has run out.
    Subscription(Key),
    /// A connection being made, or idle.
    Connection(StreamId),
}

impl Endpoint {
    /// Sets a timer.
    pub(crate) fn set_timer(&mut self, deadline: Time, timer: Timer) -> Option<TimerId> {
        let id = self.wheel.insert(deadline, timer);
        if id.is_none() {
            self.stats.timers_full += 1;
        }
        id
    }

    /// Stops a timer, if it is set.
    pub(crate) fn stop_timer(&mut self, timer: Option<TimerId>) {
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
    }

    /// Fires the timers that are due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((_, timer)) = self.wheel.pop(now) {
            self.fire(now, timer);
        }
    }

    fn fire(&mut self, now: Time, timer: Timer) {
        match timer {
            Timer::ClientRetransmit(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.retransmit = None;
                }
                if self.connection_awaited(now, key) {
                    return;
                }
                self.client_input(now, key, clients::Input::Retransmit, None);
            }
            Timer::ClientLifetime(key) => {
                if let Some(client) = self.clients.get_mut(key) {
                    client.lifetime = None;
                }
                self.client_input(now, key, clients::Input::Lifetime, None);
            }
            Timer::ServerRetransmit(key) => self.server_input(now, key, servers::Input::Retransmit),
            Timer::ServerLifetime(key) => self.server_input(now, key, servers::Input::Lifetime),
            Timer::Answered => self.answered_timer(now),
            Timer::Leg(key) => {
                if let Some(leg) = self.legs.get_mut(key) {
                    leg.timer = None;
                }
                self.leg_timer(now, key);
            }
            Timer::Repeat(key) => self.repeat(now, key),
            Timer::Provisional(key) => self.provisional_repeat(now, key),
            Timer::Session(key) => self.session_timer(now, key),
            Timer::Subscription(key) => self.subscription_timer(now, key),
            Timer::Connection(stream) => self.connection_timer(now, stream),
        }
    }
}
