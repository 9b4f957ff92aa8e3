//! The errors of the operating system, in the words of the contract and of an operator.

use core::fmt;
use sansio::IoError;
use std::io;

/// Why io_uring cannot be used here, in words for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried.
    pub step: &'static str,
    /// The likely cause, for instance `kernel.io_uring_disabled=2`.
    pub cause: String,
    /// The operating system's error number, 0 if none.
    pub code: i32,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring not usable: {} (while trying {}", self.cause, self.step)?;
        if self.code != 0 {
            write!(f, ", error {}", self.code)?;
        }
        f.write_str(")")
    }
}

impl core::error::Error for Refusal {}

/// Why a driver could not be made.
#[derive(Debug)]
pub enum DriverError {
    /// io_uring was demanded and is not usable.
    Refused(Refusal),
    /// Real-time priority was demanded and is not given.
    Priority(io::Error),
    /// Anything else the operating system would not give: what, and its error.
    System(&'static str, io::Error),
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Priority(error) => write!(
                f,
                "no real-time priority: {error}; give the process CAP_SYS_NICE or an rtprio limit of 1 (ulimit -r 1), \
                 or choose auto or normal"
            ),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl core::error::Error for DriverError {}

impl DriverError {
    /// The flag of `trunkline` that asked for what could not be had.
    pub const fn flag(&self) -> &'static str {
        match self {
            Self::Priority(_) => "--scheduling",
            Self::Refused(_) | Self::System(..) => "--io",
        }
    }
}

/// An operating system error as machines see it.
pub fn io_error(error: &io::Error) -> IoError {
    errno_error(error.raw_os_error().unwrap_or(0))
}

/// An error number as machines see it.
pub(crate) fn errno_error(code: i32) -> IoError {
    match code {
        libc::EADDRINUSE => IoError::AddressInUse,
        libc::EADDRNOTAVAIL => IoError::AddressNotAvailable,
        libc::EACCES | libc::EPERM => IoError::PermissionDenied,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM => IoError::TooManyFiles,
        libc::ECONNREFUSED => IoError::Refused,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => IoError::Unreachable,
        libc::ETIMEDOUT => IoError::TimedOut,
        libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED => IoError::Reset,
        other => IoError::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_their_meaning() {
        let cases = [
            (libc::EADDRINUSE, IoError::AddressInUse),
            (libc::EMFILE, IoError::TooManyFiles),
            (libc::EPIPE, IoError::Reset),
            (libc::EHOSTUNREACH, IoError::Unreachable),
            (libc::ELOOP, IoError::Other(libc::ELOOP)),
        ];
        for (code, error) in cases {
            assert_eq!(io_error(&io::Error::from_raw_os_error(code)), error);
        }
    }

    #[test]
    fn a_refusal_reads_as_a_sentence() {
        let refusal =
            Refusal { step: "io_uring_setup", cause: "kernel.io_uring_disabled=2".into(), code: libc::EPERM };
        assert_eq!(
            refusal.to_string(),
            "io_uring not usable: kernel.io_uring_disabled=2 (while trying io_uring_setup, error 1)"
        );
    }
}
