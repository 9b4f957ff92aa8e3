//! SIP and SDP without IO: messages, transactions, dialogs, offer/answer, the user agent.
pub mod framing;
pub mod message;
pub mod sdp;
