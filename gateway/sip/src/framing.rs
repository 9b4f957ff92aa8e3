//! Cutting a TCP stream into messages (RFC 3261 §18.3).
