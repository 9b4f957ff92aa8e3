//! The real binary as a process: started with flags, spoken to over sockets by peers written for these tests, which
//! share no code with what they test, and ended by signals. Each behaviour is shown on both drivers.
#![allow(clippy::disallowed_methods, reason = "tests of a process use clocks, sockets, files and threads")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

/// Names the tests of a module once per driver.
macro_rules! on_both_drivers {
    ($($name:ident)*) => {
        mod uring {
            $(#[test] fn $name() { super::$name("uring"); })*
        }
        mod fallback {
            $(#[test] fn $name() { super::$name("fallback"); })*
        }
    };
}

mod abuse;
mod api;
mod authority;
mod bad_input;
mod basics;
mod browser;
mod carrier;
mod check;
mod cli;
mod conference;
mod cover;
mod dial;
mod diversions;
mod ends;
mod gateway;
mod gruu;
mod identity;
mod keys;
mod large;
mod life;
mod message;
mod names;
mod nameserver;
mod nat;
mod offers;
mod outside;
mod paths;
mod phone;
mod phones;
mod profiles;
mod prompts;
mod real_nat;
mod realms;
mod redirects;
mod register;
mod replaced;
mod revocation;
mod rtcp;
mod srtp;
mod stir;
mod streams;
mod tls;
mod torture;
mod trace;
mod transcode;
mod transfer;
mod trunk_registration;
mod trunks;
mod voice;
mod webrtc;
mod websocket;
