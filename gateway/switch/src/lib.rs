//! The calls of one shard: two legs, a bridge, a trunk.
