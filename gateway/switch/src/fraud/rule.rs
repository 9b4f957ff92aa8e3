//! One rule against toll fraud: which numbers, whose calls, how much, and what follows.

/// Whose calls a rule counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those of each source address (an IPv6 /64 network is one). Trunks' peers and `never_limit` are not counted.
    EachSource,
    /// Those of each user who showed a password.
    EachUser,
    /// Those offered to each trunk.
    EachTrunk,
    /// All.
    All,
}

/// What follows when a rule's limit is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// An alarm.
    Alarm,
    /// An alarm, and the call is refused with this status, 400 to 699.
    Refuse(u16),
}

impl Action {
    pub(super) const fn status(self) -> Option<u16> {
        match self {
            Self::Alarm => None,
            Self::Refuse(status) => Some(status),
        }
    }
}

/// A rule. A limit of 0 is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, unique.
    pub name: String,
    /// How the numbers begin; empty: every number. A leading `+` also stands for 00.
    pub prefix: String,
    /// Whose calls are counted together.
    pub who: Who,
    /// Calls at a time.
    pub max_calls: u32,
    /// New calls a second, with a burst of a second's worth.
    pub max_cps: u32,
    /// Minutes of answered calls within the last hour, to the minute.
    pub max_minutes_per_hour: u32,
    /// Minutes of answered calls within the last day, to the hour.
    pub max_minutes_per_day: u32,
    /// New MESSAGE requests outside of calls a second, with a burst of a second's worth.
    pub max_messages_per_second: u32,
    /// Such requests within the last hour, to the minute.
    pub max_messages_per_hour: u32,
    /// What follows.
    pub action: Action,
}

impl Rule {
    /// Whether the rule is for calls to this number.
    pub(super) fn covers(&self, number: &str) -> bool {
        // RFC 3966 §5.1.1: visual separators mean nothing.
        let mut digits = number.chars().filter(|digit| !"-.() ".contains(*digit)).peekable();
        let mut prefix = self.prefix.as_str();
        if let Some(international) = prefix.strip_prefix('+') {
            match digits.next() {
                Some('+') => {}
                Some('0') if digits.next() == Some('0') => {}
                _ => return false,
            }
            prefix = international;
        }
        prefix.chars().all(|wanted| digits.next() == Some(wanted))
    }

    /// Whether it has a limit on messages.
    pub(super) const fn counts_messages(&self) -> bool {
        self.max_messages_per_second > 0 || self.max_messages_per_hour > 0
    }

    /// What so many milliseconds within an hour and a day exceed.
    pub(super) fn minutes_exceeded(&self, hour: u64, day: u64) -> Option<String> {
        let over = |spent: u64, max: u32| max > 0 && spent >= u64::from(max) * 60_000;
        if over(hour, self.max_minutes_per_hour) {
            Some(format!("{} minutes within an hour", self.max_minutes_per_hour))
        } else if over(day, self.max_minutes_per_day) {
            Some(format!("{} minutes within a day", self.max_minutes_per_day))
        } else {
            None
        }
    }
}
