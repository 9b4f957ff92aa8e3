//! The deterministic simulator: virtual time, a seeded network, scripted peers, checks.
