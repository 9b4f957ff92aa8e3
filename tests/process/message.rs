//! A SIP message as plain text: just enough reading for a test peer.

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) start: String,
    fields: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) text: String,
}

impl Message {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { start, fields, body: body.to_owned(), text: text.clone() }
    }

    /// The first field of that name (lower case); empty if there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All fields of that name, as lines to be put into another message.
    pub(crate) fn copied(&self, name: &str, written: &str) -> String {
        let fields = self.fields.iter().filter(|(n, _)| n == name);
        fields.map(|(_, value)| format!("{written}: {value}\r\n")).collect()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The method of a request; empty for a response.
    pub(crate) fn method(&self) -> &str {
        if self.status().is_some() { "" } else { self.start.split(' ').next().unwrap_or_default() }
    }

    /// The number in the Request-URI.
    pub(crate) fn number(&self) -> &str {
        let uri = self.start.split(' ').nth(1).unwrap_or_default();
        uri.strip_prefix("sip:").and_then(|rest| rest.split(['@', ';']).next()).unwrap_or_default()
    }

    /// Whether it answers a request of that CSeq.
    pub(crate) fn answers(&self, call_id: &str, cseq: &str) -> bool {
        self.status().is_some() && self.field("call-id") == call_id && self.field("cseq") == cseq
    }

    /// The tag of From or To; empty if there is none.
    pub(crate) fn tag(&self, name: &str) -> &str {
        let value = self.field(name);
        value.split_once(";tag=").map_or("", |(_, rest)| rest.split(';').next().unwrap_or_default())
    }

    /// The URI of Contact.
    pub(crate) fn contact(&self) -> &str {
        let value = self.field("contact");
        value.split_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or_default())
    }

    /// The branch of the topmost Via.
    pub(crate) fn branch(&self) -> &str {
        let via = self.field("via");
        via.split_once(";branch=").map_or("", |(_, rest)| rest.split([';', ',']).next().unwrap_or_default())
    }

    /// Address and port of the audio in SDP.
    pub(crate) fn audio(&self) -> std::net::SocketAddr {
        let value = |key: &str| self.body.lines().find_map(|line| line.strip_prefix(key));
        let host = value("c=IN IP4 ").or_else(|| value("c=IN IP6 ")).expect("an address in SDP");
        let port = value("m=audio ").and_then(|rest| rest.split(' ').next()).expect("audio in SDP");
        (host.trim().parse::<std::net::IpAddr>().unwrap(), port.parse::<u16>().unwrap()).into()
    }
}
