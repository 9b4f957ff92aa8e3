//! Host checks and profiles as code.
