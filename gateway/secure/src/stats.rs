//! What the TLS layer counts, declared once: plain numbers on its own thread, published for others.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// What the TLS layer of one machine did since it was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl Stats {
            /// Calls `visit` with name, meaning and value of each counter, in the order of declaration.
            pub fn visit(&self, mut visit: impl FnMut(&'static str, &'static str, u64)) {
                $(visit(stringify!($name), concat!($($doc),+).trim_ascii(), self.$name);)*
            }
        }

        /// The same numbers where other threads may read them.
        #[derive(Debug, Default)]
        pub struct Gauges {
            $($name: AtomicU64,)*
        }

        impl Gauges {
            pub(crate) fn publish(&self, stats: &Stats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)*
            }

            /// The numbers as last published. Each is right by itself; they are not of one instant.
            pub fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// TLS sessions now, those in handshake among them.
    sessions,
    /// Handshakes done with peers that connected.
    handshakes_in,
    /// Handshakes done with peers that were connected to.
    handshakes_out,
    /// Handshakes in which an earlier session was taken up again.
    handshakes_resumed,
    /// Connections closed since what came was no TLS, or no version and cipher fits both sides.
    handshakes_failed,
    /// Connections closed since the peer's certificate was missing, or not one that is trusted.
    certificates_refused,
    /// Connections closed since the handshake was not done in time.
    handshakes_late,
    /// Connections that ended before the handshake was done.
    handshakes_abandoned,
    /// Connections closed since a record could not be decrypted.
    records_broken,
    /// Connections closed since more was written to them than is kept while they shake hands.
    writes_stalled,
    /// Connections closed at once since there were as many sessions as there may be.
    sessions_full,
    /// Connections not opened since nothing is configured that a peer's certificate could be held against.
    clients_unconfigured,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_published_and_visited_under_its_name() {
        let stats = Stats { handshakes_late: 7, ..Stats::default() };
        let gauges = Gauges::default();
        gauges.publish(&stats);
        assert_eq!(gauges.read(), stats);
        let mut seen = Vec::new();
        stats.visit(|name, _, value| seen.push((name, value)));
        assert!(seen.contains(&("handshakes_late", 7)));
    }
}
