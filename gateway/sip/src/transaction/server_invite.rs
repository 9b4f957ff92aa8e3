//! The INVITE server transaction: RFC 3261 figure 7, with Accepted of RFC 6026 §7.1.

use super::Actions;

/// Where the transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The request came; provisional responses may have been sent.
    Proceeding,
    /// A final response of 300 to 699 was sent; it is repeated until the ACK comes.
    Completed,
    /// The ACK came; its repetitions are absorbed.
    Confirmed,
    /// A 2xx was sent; repetitions of the request are absorbed, the user repeats the 2xx.
    Accepted,
    /// Over.
    Terminated,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The INVITE came again.
    Request,
    /// The ACK came.
    Ack,
    /// The user sends 101 to 199.
    SendProvisional,
    /// The user sends 2xx (again).
    SendSuccess,
    /// The user sends 300 to 699.
    SendFailure,
    /// Timer G: send again.
    Retransmit,
    /// Timer H, I or L, whichever belongs to the state.
    Lifetime,
    /// The transport could not deliver.
    TransportError,
}

/// The next state and what to do (RFC 3261 §17.2.1, RFC 6026 §8.5).
///
/// `RETRANSMIT` (timer G) is for unreliable transports; over others the endpoint leaves it out.
pub const fn step(state: State, input: Input) -> (State, Actions) {
    use Actions as A;
    match (state, input) {
        (State::Proceeding, Input::Request | Input::SendProvisional) => (State::Proceeding, A::SEND),
        (State::Proceeding, Input::SendSuccess) => (State::Accepted, A::SEND.and(A::LIFETIME)),
        (State::Proceeding, Input::SendFailure) => {
            (State::Completed, A::SEND.and(A::RETRANSMIT).and(A::LIFETIME))
        }
        (State::Proceeding | State::Completed, Input::TransportError) => (State::Terminated, A::UNREACHABLE),
        (State::Completed, Input::Request) => (State::Completed, A::SEND),
        (State::Completed, Input::Retransmit) => (State::Completed, A::SEND.and(A::RETRANSMIT)),
        (State::Completed, Input::Ack) => (State::Confirmed, A::STOP_RETRANSMIT.and(A::LIFETIME)),
        (State::Completed, Input::Lifetime) => (State::Terminated, A::TIMED_OUT),
        (State::Confirmed, Input::Lifetime) => (State::Terminated, A::NONE),
        (State::Accepted, Input::SendSuccess) => (State::Accepted, A::SEND),
        (State::Accepted, Input::Ack) => (State::Accepted, A::DELIVER),
        // Whoever did not get the 2xx hears it from the user's own repetitions.
        (State::Accepted, Input::Lifetime) => (State::Terminated, A::NONE),
        (state, _) => (state, A::NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_takes_every_input_as_figure_7_and_rfc_6026_say() {
        use Actions as A;
        use Input::{
            Ack, Lifetime, Request, Retransmit, SendFailure, SendProvisional, SendSuccess, TransportError,
        };
        use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        let table = [
            (Proceeding, Request, Proceeding, A::SEND),
            (Proceeding, Ack, Proceeding, A::NONE),
            (Proceeding, SendProvisional, Proceeding, A::SEND),
            (Proceeding, SendSuccess, Accepted, A::SEND | A::LIFETIME),
            (Proceeding, SendFailure, Completed, A::SEND | A::RETRANSMIT | A::LIFETIME),
            (Proceeding, Retransmit, Proceeding, A::NONE),
            (Proceeding, Lifetime, Proceeding, A::NONE),
            (Proceeding, TransportError, Terminated, A::UNREACHABLE),
            (Completed, Request, Completed, A::SEND),
            (Completed, Ack, Confirmed, A::STOP_RETRANSMIT | A::LIFETIME),
            (Completed, SendProvisional, Completed, A::NONE),
            (Completed, SendSuccess, Completed, A::NONE),
            (Completed, SendFailure, Completed, A::NONE),
            (Completed, Retransmit, Completed, A::SEND | A::RETRANSMIT),
            (Completed, Lifetime, Terminated, A::TIMED_OUT),
            (Completed, TransportError, Terminated, A::UNREACHABLE),
            (Confirmed, Request, Confirmed, A::NONE),
            (Confirmed, Ack, Confirmed, A::NONE),
            (Confirmed, SendProvisional, Confirmed, A::NONE),
            (Confirmed, SendSuccess, Confirmed, A::NONE),
            (Confirmed, SendFailure, Confirmed, A::NONE),
            (Confirmed, Retransmit, Confirmed, A::NONE),
            (Confirmed, Lifetime, Terminated, A::NONE),
            (Confirmed, TransportError, Confirmed, A::NONE),
            (Accepted, Request, Accepted, A::NONE),
            (Accepted, Ack, Accepted, A::DELIVER),
            (Accepted, SendProvisional, Accepted, A::NONE),
            (Accepted, SendSuccess, Accepted, A::SEND),
            (Accepted, SendFailure, Accepted, A::NONE),
            (Accepted, Retransmit, Accepted, A::NONE),
            (Accepted, Lifetime, Terminated, A::NONE),
            (Accepted, TransportError, Accepted, A::NONE),
            (Terminated, Request, Terminated, A::NONE),
            (Terminated, Ack, Terminated, A::NONE),
            (Terminated, SendProvisional, Terminated, A::NONE),
            (Terminated, SendSuccess, Terminated, A::NONE),
            (Terminated, SendFailure, Terminated, A::NONE),
            (Terminated, Retransmit, Terminated, A::NONE),
            (Terminated, Lifetime, Terminated, A::NONE),
            (Terminated, TransportError, Terminated, A::NONE),
        ];
        assert_eq!(table.len(), 5 * 8);
        for (index, (state, input, next, actions)) in table.into_iter().enumerate() {
            assert_eq!(step(state, input), (next, actions), "{state:?} {input:?}");
            assert!(table[..index].iter().all(|row| (row.0, row.1) != (state, input)), "row twice");
        }
    }
}
