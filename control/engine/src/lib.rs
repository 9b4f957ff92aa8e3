//! The control plane's decisions, without IO: routing and call records.
