//! What a driver counts, declared once: plain numbers on its own thread, published now and then for others.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// What a driver did since it started: plain numbers of its own thread.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct RunStats {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl RunStats {
            /// Calls `visit` with name, meaning and value of each counter, in the order of declaration.
            pub fn visit(&self, mut visit: impl FnMut(&'static str, &'static str, u64)) {
                $(visit(stringify!($name), concat!($($doc),+).trim_ascii(), self.$name);)*
            }
        }

        /// The same numbers where other threads may read them, at most 100 ms old.
        #[derive(Debug, Default)]
        pub struct Gauges {
            $($name: AtomicU64,)*
        }

        impl Gauges {
            pub(crate) fn publish(&self, stats: &RunStats) {
                $(self.$name.store(stats.$name, Ordering::Relaxed);)*
            }

            /// The numbers as last published. Each is right by itself; they are not of one instant.
            pub fn read(&self) -> RunStats {
                RunStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Datagrams handed to the machine.
    datagrams_in,
    /// Datagrams the kernel took.
    datagrams_out,
    /// Datagrams dropped since they were larger than their buffer.
    datagrams_truncated,
    /// Datagrams tried a second time since the socket's send buffer was full or it reported an older error.
    sends_retried,
    /// Datagrams dropped since the socket's send buffer stayed full.
    sends_dropped,
    /// Datagrams the kernel refused for another reason (no route, not permitted, ...).
    send_errors,
    /// Datagrams of the machine for a socket that is not open.
    sends_unknown,
    /// Datagrams the machine could not write down since its packet pool was empty.
    packets_exhausted,
    /// Datagrams the machine could not write down since they were larger than UDP carries.
    datagrams_oversize,
    /// Packets of the outbox's pool in use now; 0 once the driver has ended.
    packets_taken,
    /// ICMP refusals handed to the machine.
    unreachable_in,
    /// Datagrams the kernel dropped since a socket's receive buffer was full (sampled: up to a few seconds late, exact at close).
    socket_drops,
    /// Times the ring had no buffer for a packet; the receive was armed anew and the packet was not lost by it.
    buffers_exhausted,
    /// Receives armed anew after the kernel ended them.
    rearms,
    /// Completions of sockets and streams that were already closed.
    late_completions,
    /// Messages from other threads.
    mail_in,
    /// Messages put into other threads' mailboxes.
    mail_out,
    /// Messages dropped since the other mailbox was full or does not exist.
    mail_full,
    /// Timeouts given to the machine.
    timeouts,
    /// Times the thread came back from waiting.
    wakes,
    /// Waits in which packets were let gather.
    waits_shared,
    /// System calls made for waiting, sending and receiving.
    enters,
    /// Sockets (datagram and listening) open now.
    sockets_open,
    /// Streams accepted.
    streams_accepted,
    /// Streams connected.
    streams_connected,
    /// Connections closed at once or not tried since as many streams as allowed were open.
    streams_refused,
    /// Streams ended since the peer did not take what was written.
    streams_stalled,
    /// Streams open now, those still closing included.
    streams_open,
    /// Accepts that failed, for instance since no file descriptor was left.
    accept_errors,
    /// Bytes received on streams.
    stream_bytes_in,
    /// Bytes written to streams.
    stream_bytes_out,
    /// Processor time of the thread, in nanoseconds.
    cpu_nanos,
    /// Time since the driver started to run, in nanoseconds.
    elapsed_nanos,
}

impl RunStats {
    /// The part of one core that the thread used between `earlier` and now, 0 to 1.
    pub fn busy_since(&self, earlier: &Self) -> f64 {
        let elapsed = self.elapsed_nanos.saturating_sub(earlier.elapsed_nanos);
        if elapsed == 0 {
            return 0.0;
        }
        self.cpu_nanos.saturating_sub(earlier.cpu_nanos) as f64 / elapsed as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_is_read() {
        let mut stats =
            RunStats { datagrams_in: 3, elapsed_nanos: 1000, cpu_nanos: 250, ..Default::default() };
        let gauges = Gauges::default();
        gauges.publish(&stats);
        assert_eq!(gauges.read(), stats);
        stats.elapsed_nanos += 1000;
        stats.cpu_nanos += 500;
        assert!((stats.busy_since(&gauges.read()) - 0.5).abs() < 1e-9);
        let mut sum = 0;
        stats.visit(|_, _, value| sum += value);
        assert_eq!(sum, 3 + 2000 + 750);
    }
}
