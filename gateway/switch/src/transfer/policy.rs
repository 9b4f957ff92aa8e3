//! What is done with a REFER: a trunk's profile says.

/// What is done with the REFERs of a trunk's peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferPolicy {
    /// The gateway puts the other side through itself.
    #[default]
    Execute,
    /// They are handed on to the other side of the call, its NOTIFYs back.
    Pass,
    /// They are refused (603).
    Refuse,
}

impl TransferPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Execute, Self::Pass, Self::Refuse];

    /// The policy of a name: `execute`, `pass` or `refuse`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Pass => "pass",
            Self::Refuse => "refuse",
        }
    }
}
