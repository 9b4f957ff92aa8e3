//! The client transaction of all methods but INVITE: RFC 3261 figure 6.

use super::Actions;

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The request was sent.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// The final response came; its repetitions are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// 100 to 199.
    Provisional,
    /// 200 to 699.
    Final,
    /// Timer E: send again.
    Retransmit,
    /// Timer F or K, whichever belongs to the state.
    Lifetime,
    /// The transport could not deliver.
    TransportError,
}

/// The next state and what to do (RFC 3261 §17.1.2.2).
pub const fn step(state: State, input: Input) -> (State, Actions) {
    use Actions as A;
    match (state, input) {
        (State::Trying | State::Proceeding, Input::Provisional) => (State::Proceeding, A::DELIVER),
        (State::Trying | State::Proceeding, Input::Final) => {
            (State::Completed, A::DELIVER.and(A::STOP_RETRANSMIT).and(A::LIFETIME))
        }
        (State::Trying | State::Proceeding, Input::Retransmit) => (state, A::SEND.and(A::RETRANSMIT)),
        (State::Trying | State::Proceeding, Input::Lifetime) => (State::Terminated, A::TIMED_OUT),
        (State::Trying | State::Proceeding, Input::TransportError) => (State::Terminated, A::UNREACHABLE),
        (State::Completed, Input::Lifetime) => (State::Terminated, A::NONE),
        (state, _) => (state, A::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_takes_every_input_as_figure_6_says() {
        use Actions as A;
        use Input::{Final, Lifetime, Provisional, Retransmit, TransportError};
        use State::{Completed, Proceeding, Terminated, Trying};
        let table = [
            (Trying, Provisional, Proceeding, A::DELIVER),
            (Trying, Final, Completed, A::DELIVER | A::STOP_RETRANSMIT | A::LIFETIME),
            (Trying, Retransmit, Trying, A::SEND | A::RETRANSMIT),
            (Trying, Lifetime, Terminated, A::TIMED_OUT),
            (Trying, TransportError, Terminated, A::UNREACHABLE),
            (Proceeding, Provisional, Proceeding, A::DELIVER),
            (Proceeding, Final, Completed, A::DELIVER | A::STOP_RETRANSMIT | A::LIFETIME),
            (Proceeding, Retransmit, Proceeding, A::SEND | A::RETRANSMIT),
            (Proceeding, Lifetime, Terminated, A::TIMED_OUT),
            (Proceeding, TransportError, Terminated, A::UNREACHABLE),
            (Completed, Provisional, Completed, A::NONE),
            (Completed, Final, Completed, A::NONE),
            (Completed, Retransmit, Completed, A::NONE),
            (Completed, Lifetime, Terminated, A::NONE),
            (Completed, TransportError, Completed, A::NONE),
            (Terminated, Provisional, Terminated, A::NONE),
            (Terminated, Final, Terminated, A::NONE),
            (Terminated, Retransmit, Terminated, A::NONE),
            (Terminated, Lifetime, Terminated, A::NONE),
            (Terminated, TransportError, Terminated, A::NONE),
        ];
        assert_eq!(table.len(), 4 * 5);
        for (index, (state, input, next, actions)) in table.into_iter().enumerate() {
            assert_eq!(step(state, input), (next, actions), "{state:?} {input:?}");
            assert!(table[..index].iter().all(|row| (row.0, row.1) != (state, input)), "row twice");
        }
    }
}
