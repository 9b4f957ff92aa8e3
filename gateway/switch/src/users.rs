//! The phones that may register and call: names, passwords, and how they are asked for.

use crate::registrar::{Limits, Offer};
use sip::auth::Algorithm;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The users of a configuration. Printing them shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Users {
    /// Passwords by name.
    pub accounts: Accounts,
    /// Further numbers of a user, by name: those that he may be asserted with.
    pub numbers: Arc<BTreeMap<String, Vec<String>>>,
    /// The realm of challenges.
    pub realm: String,
    /// The algorithms taken, the preferred one first.
    pub algorithms: Vec<Algorithm>,
    /// Which of them phones are asked with.
    pub offer: Offer,
    /// Bounds of registrations.
    pub limits: Limits,
    /// Whether Path is taken from phones that do not say that they know of it (RFC 3327 §5.3).
    pub path_from_any: bool,
    /// What temporary GRUUs are made with (RFC 5627); none: a secret of the process.
    pub gruu_key: Option<Arc<str>>,
}

/// Passwords by name.
pub type Accounts = Arc<BTreeMap<String, String>>;

impl Default for Users {
    fn default() -> Self {
        Self {
            accounts: Accounts::default(),
            numbers: Arc::default(),
            realm: String::from("trunkline"),
            algorithms: vec![Algorithm::SHA_256, Algorithm::MD5],
            offer: Offer::default(),
            limits: Limits::default(),
            path_from_any: false,
            gruu_key: None,
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.accounts.keys().collect();
        f.debug_struct("Users").field("names", &names).field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl Users {
    /// Whether there is none: then nobody is asked for a password.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The numbers of a user besides his name.
    pub fn numbers_of(&self, name: &str) -> &[String] {
        self.numbers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether there is one of this name.
    pub fn has(&self, name: &str) -> bool {
        self.accounts.contains_key(name)
    }
}
