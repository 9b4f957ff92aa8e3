//! The control plane as a process part: engine, store and HTTP API.
