//! RTP and RTCP without IO: packets, receiver statistics, latching, quality.
