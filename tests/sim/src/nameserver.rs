//! A DNS server: a zone that changes, and the bad habits of servers.

use sansio::{Input, Outbox, Random, SocketId, StreamEvent, StreamId, Time};
use simple_dns::rdata::{A, AAAA, RData, SOA, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// As the zone says.
    Honest,
    /// Not at all.
    Silent,
    /// SERVFAIL.
    Failing,
    /// Over UDP only that the answer does not fit.
    Truncating,
    /// Each answer is preceded by two forged ones: another identifier, another question.
    Forging,
    /// With noise.
    Babbling,
}

/// The server.
#[derive(Debug)]
pub struct NameServer {
    random: Random,
    /// The carrier's name.
    pub carrier: &'static str,
    /// Where its SRV records lead: priority and address.
    pub hosts: Vec<(u16, SocketAddr)>,
    /// How long an answer holds, in seconds.
    pub ttl: u32,
    /// How it answers.
    pub habit: Habit,
    streams: BTreeMap<StreamId, Vec<u8>>,
    /// Questions it got.
    pub asked: u64,
}

impl NameServer {
    /// An honest server of one carrier.
    pub const fn new(random: Random, carrier: &'static str, hosts: Vec<(u16, SocketAddr)>, ttl: u32) -> Self {
        let habit = Habit::Honest;
        Self { random, carrier, hosts, ttl, habit, streams: BTreeMap::new(), asked: 0 }
    }

    /// Takes one input; see [`sansio::Machine::handle`].
    pub fn handle<M>(&mut self, _now: Time, input: Input<'_, M>, out: &mut Outbox<M>) {
        match input {
            Input::Datagram(datagram) => {
                self.asked += 1;
                let Some(answer) = self.answer(datagram.payload, false) else { return };
                let mut say = |bytes: &[u8]| out.send(datagram.socket, datagram.source, bytes);
                match self.habit {
                    Habit::Silent => return,
                    Habit::Forging => {
                        let mut forged = answer.clone();
                        forged[0] ^= 0x40;
                        say(&forged);
                        forged[0] ^= 0x40;
                        forged[14] ^= 0x03;
                        say(&forged);
                    }
                    Habit::Babbling => {
                        // Cut short and filled up with noise: whatever it is, it is no answer.
                        let mut noise = answer;
                        noise.truncate(noise.len() - 3);
                        noise.splice(12.., core::iter::repeat_with(|| self.random.u32() as u8).take(40));
                        return say(&noise);
                    }
                    _ => {}
                }
                say(&answer);
            }
            Input::Stream(stream, StreamEvent::Data(bytes)) => {
                let got = self.streams.entry(stream).or_default();
                got.extend_from_slice(bytes);
                let Some(length) = got.first_chunk::<2>().map(|l| usize::from(u16::from_be_bytes(*l))) else {
                    return;
                };
                let Some(question) = got.get(2..2 + length).map(<[u8]>::to_vec) else { return };
                self.asked += 1;
                if let Some(answer) = self.answer(&question, true).filter(|_| self.habit != Habit::Silent) {
                    out.write(stream, &(answer.len() as u16).to_be_bytes());
                    out.write(stream, &answer);
                }
            }
            Input::Stream(stream, StreamEvent::Closed(_)) => {
                self.streams.remove(&stream);
            }
            _ => {}
        }
    }

    fn answer(&self, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let asked = Packet::parse(bytes).ok()?;
        let question = asked.questions.first()?.clone();
        let mut packet = Packet::new_reply(asked.id());
        packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
        let owner = question.qname.to_string();
        let kind = question.qtype;
        packet.questions.push(question);
        if self.habit == Habit::Failing {
            *packet.rcode_mut() = RCODE::ServerFailure;
        } else if self.habit == Habit::Truncating && !tcp {
            packet.set_flags(PacketFlag::TRUNCATION);
        } else {
            for record in self.records(&owner, kind)? {
                packet.answers.push(record);
            }
            if packet.answers.is_empty() {
                packet.name_servers.push(self.authority()?);
            }
        }
        packet.build_bytes_vec().ok()
    }

    fn records(&self, owner: &str, kind: QTYPE) -> Option<Vec<ResourceRecord<'static>>> {
        let record = |owner: &str, data| {
            let name = Name::new(owner).ok()?.into_owned();
            Some(ResourceRecord::new(name, CLASS::IN, self.ttl, data))
        };
        let mut records = Vec::new();
        for (index, (priority, place)) in self.hosts.iter().enumerate() {
            let host = format!("h{index}.{}", self.carrier);
            let data = match (kind, place.ip()) {
                (QTYPE::TYPE(TYPE::SRV), _) if owner == format!("_sip._udp.{}", self.carrier) => {
                    let target = Name::new(&host).ok()?.into_owned();
                    RData::SRV(SRV { priority: *priority, weight: 10, port: place.port(), target })
                }
                (QTYPE::TYPE(TYPE::A), IpAddr::V4(ip)) if owner == host => {
                    RData::A(A { address: ip.to_bits() })
                }
                (QTYPE::TYPE(TYPE::AAAA), IpAddr::V6(ip)) if owner == host => {
                    RData::AAAA(AAAA { address: ip.to_bits() })
                }
                _ => continue,
            };
            records.push(record(owner, data)?);
        }
        Some(records)
    }

    fn authority(&self) -> Option<ResourceRecord<'static>> {
        let zone = Name::new("example").ok()?.into_owned();
        let soa = SOA {
            mname: zone.clone(),
            rname: zone.clone(),
            serial: 1,
            refresh: 1,
            retry: 1,
            expire: 1,
            minimum: self.ttl,
        };
        Some(ResourceRecord::new(zone, CLASS::IN, self.ttl, RData::SOA(soa)))
    }

    /// The socket it is asked at.
    pub const SOCKET: SocketId = SocketId(0);
    /// The socket it accepts connections at.
    pub const LISTENER: SocketId = SocketId(1);
}
