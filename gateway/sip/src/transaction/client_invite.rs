//! The INVITE client transaction: RFC 3261 figure 5, with Accepted of RFC 6026 §7.2.

use super::Actions;

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The request was sent.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final response of 300 to 699 came and was acknowledged; repetitions are acknowledged again.
    Completed,
    /// A 2xx came; repetitions and the 2xx of other forks go to the user, who acknowledges them.
    Accepted,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// 100 to 199.
    Provisional,
    /// 200 to 299.
    Success,
    /// 300 to 699.
    Failure,
    /// Timer A: send again.
    Retransmit,
    /// Timer B, D or M, whichever belongs to the state.
    Lifetime,
    /// The transport could not deliver.
    TransportError,
}

/// The next state and what to do (RFC 3261 §17.1.1.2, RFC 6026 §8.4).
pub const fn step(state: State, input: Input) -> (State, Actions) {
    use Actions as A;
    let stop = A::STOP_RETRANSMIT.and(A::STOP_LIFETIME);
    match (state, input) {
        (State::Calling, Input::Provisional) => (State::Proceeding, A::DELIVER.and(stop)),
        (State::Proceeding, Input::Provisional) => (State::Proceeding, A::DELIVER),
        (State::Calling | State::Proceeding, Input::Success) => {
            (State::Accepted, A::DELIVER.and(A::STOP_RETRANSMIT).and(A::LIFETIME))
        }
        (State::Calling | State::Proceeding, Input::Failure) => {
            (State::Completed, A::DELIVER.and(A::ACK).and(A::STOP_RETRANSMIT).and(A::LIFETIME))
        }
        (State::Calling, Input::Retransmit) => (State::Calling, A::SEND.and(A::RETRANSMIT)),
        (State::Calling | State::Proceeding, Input::Lifetime) => (State::Terminated, A::TIMED_OUT),
        (State::Calling | State::Proceeding | State::Completed, Input::TransportError) => {
            (State::Terminated, A::UNREACHABLE)
        }
        (State::Completed, Input::Failure) => (State::Completed, A::ACK),
        (State::Accepted, Input::Success) => (State::Accepted, A::DELIVER),
        (State::Completed | State::Accepted, Input::Lifetime) => (State::Terminated, A::NONE),
        // RFC 6026 §7.2: the loss of a connection does not end Accepted; timer M does.
        (state, _) => (state, A::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_takes_every_input_as_figure_5_and_rfc_6026_say() {
        use Actions as A;
        use Input::{Failure, Lifetime, Provisional, Retransmit, Success, TransportError};
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};
        let end = A::STOP_RETRANSMIT | A::LIFETIME;
        let table = [
            (Calling, Provisional, Proceeding, A::DELIVER | A::STOP_RETRANSMIT | A::STOP_LIFETIME),
            (Calling, Success, Accepted, A::DELIVER | end),
            (Calling, Failure, Completed, A::DELIVER | A::ACK | end),
            (Calling, Retransmit, Calling, A::SEND | A::RETRANSMIT),
            (Calling, Lifetime, Terminated, A::TIMED_OUT),
            (Calling, TransportError, Terminated, A::UNREACHABLE),
            (Proceeding, Provisional, Proceeding, A::DELIVER),
            (Proceeding, Success, Accepted, A::DELIVER | end),
            (Proceeding, Failure, Completed, A::DELIVER | A::ACK | end),
            (Proceeding, Retransmit, Proceeding, A::NONE),
            (Proceeding, Lifetime, Terminated, A::TIMED_OUT),
            (Proceeding, TransportError, Terminated, A::UNREACHABLE),
            (Completed, Provisional, Completed, A::NONE),
            (Completed, Success, Completed, A::NONE),
            (Completed, Failure, Completed, A::ACK),
            (Completed, Retransmit, Completed, A::NONE),
            (Completed, Lifetime, Terminated, A::NONE),
            (Completed, TransportError, Terminated, A::UNREACHABLE),
            (Accepted, Provisional, Accepted, A::NONE),
            (Accepted, Success, Accepted, A::DELIVER),
            (Accepted, Failure, Accepted, A::NONE),
            (Accepted, Retransmit, Accepted, A::NONE),
            (Accepted, Lifetime, Terminated, A::NONE),
            (Accepted, TransportError, Accepted, A::NONE),
            (Terminated, Provisional, Terminated, A::NONE),
            (Terminated, Success, Terminated, A::NONE),
            (Terminated, Failure, Terminated, A::NONE),
            (Terminated, Retransmit, Terminated, A::NONE),
            (Terminated, Lifetime, Terminated, A::NONE),
            (Terminated, TransportError, Terminated, A::NONE),
        ];
        assert_eq!(table.len(), 5 * 6);
        for (index, (state, input, next, actions)) in table.into_iter().enumerate() {
            assert_eq!(step(state, input), (next, actions), "{state:?} {input:?}");
            assert!(table[..index].iter().all(|row| (row.0, row.1) != (state, input)), "row twice");
        }
    }
}
