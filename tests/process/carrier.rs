//! A carrier on a thread of its own: answers, refuses or keeps silent, and counts.

use crate::message::Message;
use crate::phone::{Dialog, Phone, Way, unique};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a carrier does with an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Answer,
    Refuse(u16),
    /// Nothing, not even to OPTIONS.
    Silent,
    /// Nothing at first; a 200 after that time, whatever happened in between.
    Late(Duration),
}

/// What a carrier has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Requests, in order, without OPTIONS.
    pub(crate) requests: Vec<Message>,
    pub(crate) options: usize,
    /// Calls up, as the carrier counts: from INVITE to BYE, CANCEL or its own refusal.
    pub(crate) up: usize,
    pub(crate) most_up: usize,
}

impl Seen {
    pub(crate) fn count(&self, method: &str) -> usize {
        self.requests.iter().filter(|message| message.method() == method).count()
    }
}

/// The carrier.
pub(crate) struct Carrier {
    pub(crate) address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Seen>>,
    hang_up: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Carrier {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), manner)
    }

    pub(crate) fn start_at(address: SocketAddr, manner: Manner) -> Self {
        let phone = Phone::at(address);
        let (address, manner) = (phone.address, Arc::new(Mutex::new(manner)));
        let (seen, hang_up, stop) = (Arc::default(), Arc::default(), Arc::default());
        let mut desk =
            Desk { phone, manner: manner.clone(), seen: Arc::clone(&seen), up: Vec::new(), late: Vec::new() };
        let (hang_up_at_desk, stop_at_desk): (Arc<AtomicBool>, Arc<AtomicBool>) =
            (Arc::clone(&hang_up), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stop_at_desk.load(Ordering::Relaxed) {
                desk.turn();
                if hang_up_at_desk.swap(false, Ordering::Relaxed) {
                    desk.hang_up();
                }
            }
        });
        Self { address, manner, seen, hang_up, stop, thread: Some(thread) }
    }

    /// The trunk flag for it: name, address, options.
    pub(crate) fn trunk(&self, name: &str, options: &str) -> String {
        format!("--trunk={name}={}{options}", self.address)
    }

    pub(crate) fn turn_to(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// BYE to all calls that are up.
    pub(crate) fn hang_up(&self) {
        self.hang_up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the carrier's thread failed");
        }
    }
}

struct Desk {
    phone: Phone,
    manner: Arc<Mutex<Manner>>,
    seen: Arc<Mutex<Seen>>,
    up: Vec<Dialog>,
    late: Vec<(std::time::Instant, (Message, Way))>,
}

impl Desk {
    fn turn(&mut self) {
        self.answer_late();
        let Some(request) = self.phone.find(Duration::from_millis(2), |message| message.status().is_none())
        else {
            // Responses to our BYEs are of no interest. Nothing else may be taken here: a request may have come since.
            let _ = self.phone.find(Duration::ZERO, |message| message.status().is_some());
            return;
        };
        let manner = *self.manner.lock().unwrap();
        if request.0.method() == "OPTIONS" {
            self.seen.lock().unwrap().options += 1;
            match manner {
                Manner::Silent => {}
                Manner::Refuse(503) => self.phone.respond(&request, 503, "options", ""),
                _ => self.phone.respond(&request, 200, "options", ""),
            }
            return;
        }
        self.seen.lock().unwrap().requests.push(request.0.clone());
        match request.0.method() {
            "INVITE" => self.invited(request, manner),
            "BYE" => {
                self.phone.respond(&request, 200, "bye", "");
                let before = self.up.len();
                self.up.retain(|dialog| dialog.call_id != request.0.field("call-id"));
                self.count(self.up.len() as isize - before as isize);
            }
            // Whoever answers late says yes to the CANCEL, and then to the INVITE.
            "CANCEL" => self.phone.respond(&request, 200, "cancel", ""),
            // RFC 3261 §8.2.1: what it does not know.
            "MESSAGE" | "SUBSCRIBE" | "PUBLISH" if manner != Manner::Silent => {
                self.phone.respond(&request, 501, "unknown", "");
            }
            _ => {}
        }
    }

    fn invited(&mut self, invite: (Message, Way), manner: Manner) {
        match manner {
            Manner::Answer => {
                self.count(1);
                self.phone.respond(&invite, 100, "", "");
                self.accept(&invite);
            }
            Manner::Refuse(status) => self.phone.respond(&invite, status, "refused", ""),
            Manner::Silent => {}
            Manner::Late(delay) => self.late.push((std::time::Instant::now() + delay, invite)),
        }
    }

    fn answer_late(&mut self) {
        let now = std::time::Instant::now();
        if let Some(at) = self.late.iter().position(|(due, _)| *due <= now) {
            let (_, invite) = self.late.remove(at);
            self.count(1);
            self.accept(&invite);
        }
    }

    fn accept(&mut self, invite: &(Message, Way)) {
        let tag = unique();
        // A port where nobody listens: these calls carry no voice.
        let sdp = "v=0\r\no=carrier 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
                   m=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n";
        self.phone.respond(invite, 200, &tag, sdp);
        let dialog = self.phone.dialog_of(invite, &tag);
        self.up.push(dialog);
    }

    fn hang_up(&mut self) {
        let dialogs = std::mem::take(&mut self.up);
        self.count(-(dialogs.len() as isize));
        for mut dialog in dialogs {
            self.phone.begin_request(&mut dialog, "BYE", "");
        }
    }

    fn count(&self, change: isize) {
        let mut seen = self.seen.lock().unwrap();
        seen.up = seen.up.checked_add_signed(change).expect("no more calls end than began");
        seen.most_up = seen.most_up.max(seen.up);
    }
}
