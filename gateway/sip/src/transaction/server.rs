//! The server transaction of all methods but INVITE: RFC 3261 figure 8.

use super::Actions;

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The request came, nothing was answered.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// The final response was sent; it is sent again when the request comes again.
    Completed,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The request came again.
    Request,
    /// The user sends 100 to 199.
    SendProvisional,
    /// The user sends 200 to 699.
    SendFinal,
    /// Timer J; before the final response: the user forgot to answer.
    Lifetime,
    /// The transport could not deliver.
    TransportError,
}

/// The next state and what to do (RFC 3261 §17.2.2).
pub const fn step(state: State, input: Input) -> (State, Actions) {
    use Actions as A;
    match (state, input) {
        (State::Trying | State::Proceeding, Input::SendProvisional) => (State::Proceeding, A::SEND),
        (State::Trying | State::Proceeding, Input::SendFinal) => (State::Completed, A::SEND.and(A::LIFETIME)),
        (State::Trying | State::Proceeding, Input::Lifetime) => (State::Terminated, A::TIMED_OUT),
        (State::Proceeding | State::Completed, Input::Request) => (state, A::SEND),
        (State::Proceeding | State::Completed, Input::TransportError) => (State::Terminated, A::UNREACHABLE),
        (State::Completed, Input::Lifetime) => (State::Terminated, A::NONE),
        (state, _) => (state, A::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_takes_every_input_as_figure_8_says() {
        use Actions as A;
        use Input::{Lifetime, Request, SendFinal, SendProvisional, TransportError};
        use State::{Completed, Proceeding, Terminated, Trying};
        let table = [
            (Trying, Request, Trying, A::NONE),
            (Trying, SendProvisional, Proceeding, A::SEND),
            (Trying, SendFinal, Completed, A::SEND | A::LIFETIME),
            (Trying, Lifetime, Terminated, A::TIMED_OUT),
            (Trying, TransportError, Trying, A::NONE),
            (Proceeding, Request, Proceeding, A::SEND),
            (Proceeding, SendProvisional, Proceeding, A::SEND),
            (Proceeding, SendFinal, Completed, A::SEND | A::LIFETIME),
            (Proceeding, Lifetime, Terminated, A::TIMED_OUT),
            (Proceeding, TransportError, Terminated, A::UNREACHABLE),
            (Completed, Request, Completed, A::SEND),
            (Completed, SendProvisional, Completed, A::NONE),
            (Completed, SendFinal, Completed, A::NONE),
            (Completed, Lifetime, Terminated, A::NONE),
            (Completed, TransportError, Terminated, A::UNREACHABLE),
            (Terminated, Request, Terminated, A::NONE),
            (Terminated, SendProvisional, Terminated, A::NONE),
            (Terminated, SendFinal, Terminated, A::NONE),
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
