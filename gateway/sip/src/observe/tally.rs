//! How many requests of each method and responses of each status came and went.

use super::recorder::Direction;
use crate::message::{Method, Start};

/// All methods, in the order of their counters.
const METHODS: [Method; 15] = [
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Options,
    Method::Register,
    Method::Prack,
    Method::Update,
    Method::Info,
    Method::Refer,
    Method::Notify,
    Method::Subscribe,
    Method::Message,
    Method::Publish,
    Method::Other,
];

/// Statuses that a response can have: 100 to 699.
const STATUSES: usize = 600;

/// Requests by method and responses by status, each by direction, since the endpoint was made; retransmissions count.
/// One fixed table of about 10 KB: counting allocates nothing.
#[derive(Clone, Debug)]
pub struct Tally {
    requests: [[u64; METHODS.len()]; 2],
    responses: [[u64; STATUSES]; 2],
}

impl Default for Tally {
    fn default() -> Self {
        Self { requests: [[0; METHODS.len()]; 2], responses: [[0; STATUSES]; 2] }
    }
}

impl Tally {
    pub(crate) fn count(&mut self, direction: Direction, start: Start) {
        let side = direction as usize;
        let place = match start {
            Start::Request(method) => {
                let at = METHODS.iter().position(|it| *it == method).unwrap_or(METHODS.len() - 1);
                self.requests[side].get_mut(at)
            }
            Start::Response(status) => self.responses[side].get_mut(usize::from(status.wrapping_sub(100))),
        };
        if let Some(place) = place {
            *place += 1;
        }
    }

    /// Calls `visitor` for each method with its token (`other` for those without a name) and count, 0 too.
    pub fn visit_requests(&self, visitor: &mut dyn FnMut(Direction, &'static str, u64)) {
        for direction in Direction::BOTH {
            for (method, count) in METHODS.iter().zip(self.requests[direction as usize]) {
                let name = if *method == Method::Other { "other" } else { method.as_str() };
                visitor(direction, name, count);
            }
        }
    }

    /// Calls `visitor` for each status that was seen, with its count.
    pub fn visit_responses(&self, visitor: &mut dyn FnMut(Direction, u16, u64)) {
        for direction in Direction::BOTH {
            for (status, count) in (100..).zip(self.responses[direction as usize]) {
                if count > 0 {
                    visitor(direction, status, count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_and_status_has_a_place_of_its_own() {
        let mut tally = Tally::default();
        for method in METHODS {
            tally.count(Direction::In, Start::Request(method));
        }
        for status in 100..700 {
            tally.count(Direction::Out, Start::Response(status));
        }
        tally.count(Direction::Out, Start::Response(99));
        tally.count(Direction::Out, Start::Response(700));
        let (mut requests, mut responses) = (Vec::new(), Vec::new());
        tally.visit_requests(&mut |direction, name, count| {
            if count > 0 {
                assert_eq!((direction, count), (Direction::In, 1), "{name}");
                requests.push(name);
            }
        });
        tally.visit_responses(&mut |direction, status, count| {
            assert_eq!((direction, count), (Direction::Out, 1), "{status}");
            responses.push(status);
        });
        assert_eq!(requests.len(), 15);
        assert!(requests.contains(&"other") && requests.contains(&"INVITE"));
        assert_eq!(responses, (100..700).collect::<Vec<_>>());
    }
}
