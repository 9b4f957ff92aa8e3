//! Trunkline: arguments in, one of the daemons started.
fn main() {}
