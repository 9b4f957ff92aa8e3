//! A locator's counters: plain numbers, declared once.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters of a locator since its start.
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
    /// Questions put to DNS, however often they were sent.
    questions,
    /// Questions sent over UDP or TCP, repetitions included.
    sent,
    /// Questions sent again since a server did not answer in time.
    timeouts,
    /// Questions sent again since a server refused or failed.
    refused,
    /// Questions asked over TCP since the answer did not fit into a datagram.
    truncated,
    /// Answers with records.
    answered,
    /// Answers that there is no such name or record.
    negative,
    /// Questions that no server answered.
    failed,
    /// Answers that could not be read.
    malformed,
    /// Datagrams from another source, or with another identifier or question, than was asked: dropped.
    mismatched,
    /// Names with more aliases than are followed, or in a circle.
    alias_loops,
    /// Records left out since an answer or a target had too many.
    records_cut,
    /// Answers forgotten early since the cache was full.
    cache_evicted,
    /// Questions dropped since too many waited.
    questions_dropped,
    /// Targets given up until later since they took too many questions.
    questions_exceeded,
    /// Names not located since there are too many.
    names_dropped,
    /// Sockets that could not be opened.
    sockets_failed,
    /// Timers that could not be set.
    timers_full,
    /// Targets located, for the first time or again.
    located,
    /// Targets located by answers past their time, since no server answers.
    located_stale,
    /// Targets that could not be located.
    unlocated,
    /// Changes in the addresses of a target.
    changed,
}
