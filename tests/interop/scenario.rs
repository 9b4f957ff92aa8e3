//! Scenarios of SIPp written as a figure of an RFC reads, one line for each message:
//!
//! ```text
//! > INVITE sdp | Header: value      we send; `sdp:sendonly` and `sdp@ADDR:PORT` describe it
//!                                   otherwise; `body=TYPE:TEXT` is another body
//! < 180?                            we await it; `?` may be missing, `~regexp` is checked in it,
//! < 401 auth                        `auth` learns the challenge, `get=name:Header` keeps a field for `[$name]`
//! > ACK
//! pause 200                         milliseconds
//! play                              two seconds of voice
//! ```
//!
//! The script whose first line awaits something is that of the callee.

use std::fmt::Write as _;

/// The scenario in SIPp's own language. `name` is the user that the side speaks as.
pub(crate) fn scenario(name: &str, script: &str) -> String {
    let lines: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let callee = lines[0].starts_with('<');
    let mut writer = Writer { name, callee, ..Writer::default() };
    for line in lines {
        writer.step(line);
    }
    writer.finish()
}

#[derive(Default)]
struct Writer<'a> {
    name: &'a str,
    callee: bool,
    body: String,
    variables: Vec<String>,
    /// CSeq of our last request, and of our last INVITE.
    cseq: u32,
    invited: u32,
    descriptions: u32,
    /// Whether the dialog is known: then requests go to the remote target along the route set.
    dialog: bool,
    /// Whether an INVITE was received, and whether requests of the peer bear our tag already.
    received_invite: bool,
    tag_known: bool,
    /// What we sent and received last.
    sent: String,
    received: String,
    status: u16,
}

/// A line taken apart: what, its words, its header fields.
struct Step<'a> {
    what: &'a str,
    words: Vec<&'a str>,
    headers: Vec<&'a str>,
}

impl<'a> Step<'a> {
    fn read(line: &'a str) -> Self {
        let mut parts = line.split(" | ");
        let mut words = parts.next().unwrap().split_whitespace();
        let what = words.next().unwrap();
        Self { what, words: words.collect(), headers: parts.collect() }
    }

    fn word(&self, name: &str) -> Option<&'a str> {
        self.words.iter().find_map(|word| word.strip_prefix(name))
    }
}

impl Writer<'_> {
    fn step(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("> ") {
            let step = Step::read(rest);
            match step.what.parse() {
                Ok(status) => self.respond(status, &step),
                Err(_) => self.request(&step),
            }
        } else if let Some(rest) = line.strip_prefix("< ") {
            self.receive(&Step::read(rest));
        } else if let Some(milliseconds) = line.strip_prefix("pause ") {
            let _ = writeln!(self.body, "  <pause milliseconds=\"{milliseconds}\" />");
        } else if line == "play" {
            self.body.push_str(
                "  <nop><action><exec rtp_stream=\"speech.al,1,8,PCMA/8000\" /></action></nop>\n  <pause milliseconds=\"1500\" />\n",
            );
        } else {
            panic!("a line of a script that is none: {line}");
        }
    }

    fn receive(&mut self, step: &Step<'_>) {
        let optional = step.what.ends_with('?');
        let what = step.what.trim_end_matches('?');
        let mut attributes = String::new();
        let mut actions = String::new();
        if let Ok(status) = what.parse::<u16>() {
            if self.sent == "INVITE" && status != 100 {
                self.body.push_str("  <recv response=\"100\" optional=\"true\" />\n");
            }
            let _ = write!(attributes, "response=\"{what}\"");
            let to_invite =
                self.sent == "INVITE" || (self.sent == "PRACK" && status == 200 && self.status == 200);
            if to_invite && !self.dialog && !self.callee && (200..300).contains(&status)
                || step.words.contains(&"dialog")
            {
                attributes.push_str(" rrs=\"true\"");
                self.dialog = true;
            }
            if !optional {
                self.status = status;
            }
        } else {
            let _ = write!(attributes, "request=\"{what}\"");
            if matches!(what, "INVITE" | "SUBSCRIBE") && !self.received_invite && !self.dialog {
                self.received_invite = true;
                if self.callee {
                    attributes.push_str(" rrs=\"true\"");
                    self.dialog = true;
                    for (name, field) in [("peer", "From:"), ("own", "To:"), ("icseq", "CSeq:")] {
                        actions.push_str(&self.keep(name, field));
                    }
                    self.variables.push("vias".to_owned());
                    actions.push_str(
                        "<ereg regexp=\"(Via:[^\n]*\n)+\" search_in=\"msg\" check_it=\"true\" assign_to=\"vias\" />",
                    );
                }
            } else {
                self.tag_known = true;
            }
            self.received = what.to_owned();
        }
        if step.words.contains(&"auth") {
            attributes.push_str(" auth=\"true\"");
        }
        if optional {
            attributes.push_str(" optional=\"true\"");
        }
        for word in &step.words {
            if let Some(regexp) = word.strip_prefix('~') {
                let name = format!("seen{}", self.variables.len());
                // A blank cannot stand in a word.
                let regexp = regexp
                    .replace('_', " ")
                    .replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('"', "&quot;");
                let _ = write!(
                    actions,
                    "<ereg regexp=\"{regexp}\" search_in=\"msg\" check_it=\"true\" assign_to=\"{name}\" />"
                );
                self.variables.push(name);
            } else if let Some((name, field)) =
                word.strip_prefix("get=").and_then(|rest| rest.split_once(':'))
            {
                actions.push_str(&self.keep(name, &format!("{field}:")));
            }
        }
        let _ = match actions.as_str() {
            "" => writeln!(self.body, "  <recv {attributes} />"),
            _ => writeln!(self.body, "  <recv {attributes}><action>{actions}</action></recv>"),
        };
    }

    fn keep(&mut self, name: &str, field: &str) -> String {
        self.variables.push(name.to_owned());
        format!(
            "<ereg regexp=\".*\" search_in=\"hdr\" header=\"{field}\" check_it=\"true\" assign_to=\"{name}\" />"
        )
    }

    fn request(&mut self, step: &Step<'_>) {
        let method = step.what;
        let user = step.word("as=").unwrap_or(self.name).to_owned();
        let refused = method == "ACK" && self.status >= 300;
        // These two belong to the INVITE (RFC 3261 §9.1, §17.1.1.3).
        let of_invite = refused || method == "CANCEL";
        let cseq = if method == "ACK" || method == "CANCEL" {
            self.invited
        } else {
            self.cseq += 1;
            self.cseq
        };
        if method == "INVITE" {
            self.invited = cseq;
        }
        let inside = self.dialog && !of_invite;
        let target = match method {
            _ if inside => "[next_url]",
            "REGISTER" => "sip:[remote_ip]:[remote_port]",
            _ => "sip:[service]@[remote_ip]:[remote_port]",
        };
        let retrans = if method == "ACK" { "" } else { " retrans=\"500\"" };
        let _ = writeln!(self.body, "  <send{retrans}>\n    <![CDATA[\n\n      {method} {target} SIP/2.0");
        let via = if of_invite {
            "[last_Via:]"
        } else {
            "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"
        };
        self.line(via);
        if self.callee {
            self.line("From:[$own];tag=[pid]s[call_number]");
            self.line("To:[$peer]");
        } else {
            self.line(&format!(
                "From: \"{user}\" <sip:{user}@[local_ip]:[local_port]>;tag=[pid]c[call_number]"
            ));
            self.line(&match (method, refused) {
                (_, true) => "[last_To:]".to_owned(),
                ("REGISTER", _) => format!("To: <sip:{user}@[remote_ip]:[remote_port]>"),
                ("CANCEL", _) => "To: <sip:[service]@[remote_ip]:[remote_port]>".to_owned(),
                _ if inside => "To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]".to_owned(),
                _ => "To: <sip:[service]@[remote_ip]:[remote_port]>".to_owned(),
            });
        }
        if inside {
            self.line("[routes]");
        }
        self.line("Call-ID: [call_id]");
        self.line(&format!("CSeq: {cseq} {method}"));
        self.line("Max-Forwards: 70");
        if matches!(method, "INVITE" | "UPDATE" | "REFER" | "SUBSCRIBE" | "NOTIFY") {
            self.line(&format!("Contact: <sip:{user}@[local_ip]:[local_port];transport=[transport]>"));
        }
        if let Some((user, password)) = step.word("auth=").and_then(|pair| pair.split_once(':')) {
            self.line(&format!("[authentication username={user} password={password}]"));
        }
        self.rest(step);
        if method != "ACK" {
            method.clone_into(&mut self.sent);
        }
    }

    fn respond(&mut self, status: u16, step: &Step<'_>) {
        let to_invite = step.words.contains(&"INVITE") || self.received == "INVITE";
        let kept = to_invite && self.received != "INVITE";
        let retrans = if to_invite && status >= 200 { " retrans=\"500\"" } else { "" };
        let reason = reason(status);
        let _ = writeln!(self.body, "  <send{retrans}>\n    <![CDATA[\n\n      SIP/2.0 {status} {reason}");
        if kept {
            self.line("[$vias]From:[$peer]");
            self.line("To:[$own];tag=[pid]s[call_number]");
            self.line("Call-ID: [call_id]");
            self.line("CSeq:[$icseq]");
        } else {
            self.line("[last_Via:]");
            self.line("[last_From:]");
            let first = self.received == "CANCEL" || !self.tag_known && status > 100;
            self.line(if first && (self.callee || !self.dialog) {
                "[last_To:];tag=[pid]s[call_number]"
            } else {
                "[last_To:]"
            });
            self.line("[last_Record-Route:]");
            self.line("[last_Call-ID:]");
            self.line("[last_CSeq:]");
        }
        if to_invite && status < 300 || matches!(self.received.as_str(), "UPDATE" | "SUBSCRIBE") {
            let name = self.name;
            self.line(&format!("Contact: <sip:{name}@[local_ip]:[local_port];transport=[transport]>"));
        }
        self.rest(step);
    }

    /// What both end in: further fields, and a body or none.
    fn rest(&mut self, step: &Step<'_>) {
        for header in &step.headers {
            self.line(header);
        }
        let Some(sdp) = step.words.iter().find(|word| word.starts_with("sdp")) else {
            match step.word("body=").and_then(|body| body.split_once(':')) {
                Some((kind, text)) => {
                    self.line(&format!("Content-Type: {kind}"));
                    self.line("Content-Length: [len]");
                    self.body.push('\n');
                    // A blank cannot stand in a word.
                    self.line(&text.replace('_', " "));
                }
                None => self.line("Content-Length: 0"),
            }
            self.body.push_str("\n    ]]>\n  </send>\n");
            return;
        };
        self.descriptions += 1;
        let (what, elsewhere) = sdp.split_once('@').unwrap_or((sdp, ""));
        let (ip, port) = elsewhere.split_once(':').unwrap_or(("[media_ip]", "[media_port]"));
        let (number, version) = (if self.callee { 2 } else { 1 }, self.descriptions);
        self.line("Content-Type: application/sdp");
        self.line("Content-Length: [len]");
        self.body.push('\n');
        self.line("v=0");
        self.line(&format!("o={} {number} {version} IN IP4 [local_ip]", self.name));
        self.line("s=-");
        self.line(&format!("c=IN IP4 {ip}"));
        self.line("t=0 0");
        self.line(&format!("m=audio {port} RTP/AVP 8 101"));
        self.line("a=rtpmap:8 PCMA/8000");
        self.line("a=rtpmap:101 telephone-event/8000");
        self.line("a=fmtp:101 0-15");
        self.line(&format!("a={}", what.split_once(':').map_or("sendrecv", |(_, way)| way)));
        self.body.push_str("\n    ]]>\n  </send>\n");
    }

    fn line(&mut self, text: &str) {
        let _ = writeln!(self.body, "      {text}");
    }

    fn finish(self) -> String {
        let references = match self.variables.as_slice() {
            [] => String::new(),
            all => format!("  <Reference variables=\"{}\" />\n", all.join(",")),
        };
        // Who answered last stays to answer once more, should the answer have been lost.
        format!(
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\" ?>\n<!DOCTYPE scenario SYSTEM \"sipp.dtd\">\n\
             <scenario name=\"{}\">\n{}{references}  <timewait milliseconds=\"600\" />\n</scenario>\n",
            self.name, self.body
        )
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        202 => "Accepted",
        200 => "OK",
        302 => "Moved Temporarily",
        480 => "Temporarily Unavailable",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        603 => "Decline",
        _ => "Whatever",
    }
}
