//! The bodies of the fuzz targets.

pub mod answer;
pub mod exercise;
pub mod identity;
