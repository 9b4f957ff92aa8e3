//! Measures what the receive-buffer knobs bring: how many datagrams a UDP socket keeps while nobody reads it.
//!
//! Prints a JSON result; the profiles name the stored one (`reports/results/tuning/receive-buffer.json`). Counts only,
//! no clock: the figures depend on the kernel's accounting, not on the speed of the machine.
#![expect(clippy::disallowed_methods, reason = "an edge: sockets are the thing measured")]

use kernel_tuning::fingerprint;
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// Payloads measured: an RTP packet of 20 ms G.711, and a typical INVITE.
const PAYLOADS: [usize; 2] = [172, 874];
/// Buffer sizes asked for, bytes; 0 keeps the host's default.
const WISHES: [usize; 4] = [0, 212_992, 1 << 20, 4 << 20];

fn main() -> io::Result<()> {
    let facts = fingerprint();
    let mut rows = Vec::new();
    for payload in PAYLOADS {
        for wish in WISHES {
            let (granted, kept) = measure(payload, wish)?;
            rows.push(serde_json::json!({
                "payload_bytes": payload,
                "asked_bytes": if wish == 0 { None } else { Some(wish) },
                "granted_bytes": granted,
                "datagrams_kept": kept,
            }));
        }
    }
    let result = serde_json::json!({
        "schema": "trunkline.tuning/1",
        "question": "How many datagrams does a UDP socket on loopback keep while nobody reads it?",
        "command": "cargo run -p kernel-tuning --example receive_buffer",
        "rows": rows,
        "environment": facts,
    });
    println!("{}", serde_json::to_string_pretty(&result).map_err(io::Error::other)?);
    Ok(())
}

/// Sends until nothing more can fit, then counts what arrived. Returns the granted buffer and the datagrams kept.
fn measure(payload: usize, wish: usize) -> io::Result<(usize, usize)> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    if wish > 0 {
        SockRef::from(&receiver).set_recv_buffer_size(wish)?;
    }
    let granted = SockRef::from(&receiver).recv_buffer_size()?;
    let datagram = vec![0u8; payload];
    let to = receiver.local_addr()?;
    // Each datagram is charged at least its payload, so this many cannot all fit.
    for _ in 0..granted / payload + 1 {
        sender.send_to(&datagram, to)?;
    }
    receiver.set_nonblocking(true)?;
    let mut buffer = vec![0u8; payload];
    let mut kept = 0;
    loop {
        match receiver.recv(&mut buffer) {
            Ok(_) => kept += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((granted, kept)),
            Err(error) => return Err(error),
        }
    }
}
