//! The bodies of the fuzz targets.

pub mod answer;
pub mod datagram;
pub mod digest;
pub mod exercise;
pub mod handshake;
pub mod identity;
pub mod link;
pub mod rtp;
