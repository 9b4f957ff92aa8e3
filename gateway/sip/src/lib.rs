//! SIP and SDP without IO: messages, transactions, dialogs, offer/answer, the user agent.
