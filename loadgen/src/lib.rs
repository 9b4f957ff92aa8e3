//! The load generator: callers, carriers, measurement and verdict.
