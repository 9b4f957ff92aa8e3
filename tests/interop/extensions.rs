//! Flows of extensions to RFC 3261, and over TLS.

use crate::Flow;

pub(crate) fn flows() -> Vec<Flow> {
    vec![]
}
