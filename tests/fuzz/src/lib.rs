//! The bodies of the fuzz targets.

pub mod exercise;
pub mod identity;
