//! The gateway as a process part: configuration, shards, steering, link end.
