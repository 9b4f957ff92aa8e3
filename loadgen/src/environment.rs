//! The host a run takes place on, for its record.

use kernel_tuning::{Options, Profile, Root, check, fingerprint};
use reports::result::Environment;

/// The profile that a run's host is held against.
const PROFILE: &str = "media-gateway";

/// What this host says of itself.
pub(crate) fn describe() -> Environment {
    let facts = fingerprint();
    let mut environment = Environment {
        host: facts.host,
        os: facts.os,
        kernel: facts.kernel,
        cpu: facts.cpu,
        cores: Some(facts.usable_cpus),
        memory_bytes: facts.memory_bytes,
        virtual_machine: facts.virtual_machine,
        container: facts.container,
        governor: facts.governor,
        placement: Some("one host, loopback".to_owned()),
        sysctls: facts.sysctls,
        limits: facts.limits,
        ..Environment::default()
    };
    environment.tuning = Profile::built_in(PROFILE)
        .ok()
        .map(|profile| check(&Root::host(), &profile, Options::default()).summary());
    for (name, value) in [
        ("idle driver", facts.idle_driver),
        ("clock source", facts.clock_source),
        ("multithreading", facts.smt),
    ] {
        if let Some(value) = value {
            environment.notes.insert(name.to_owned(), value);
        }
    }
    environment
}
