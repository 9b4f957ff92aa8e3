//! SDP (RFC 8866): read kindly, written strictly, rewritten for a relay.
