//! Mode `speed`: what the crate's packet functions cost, without I/O. One end seals and encodes, the other decodes and
//! opens the same packets, in turns; time stamp cycles a packet, one sample a turn.
use crate::args::{Failure, Options};
use phantom_protocol::transport::{PacketFlags, PacketHeader, PhantomPacket, Session, SessionId};
use serde_json::{json, Value};
use std::time::{Duration, Instant};

const TURN: u32 = 256;
const WARM_TURNS: usize = 8;
const MOST_TURNS: u32 = 1 << 16;
const STREAM: u16 = 1;

/// The counter that never changes its pace, once everything before is done.
fn stamp() -> u64 {
    // SAFETY: both instructions are part of x86-64's base, for which alone this program is built.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

struct Ends {
    sender: Session,
    receiver: Session,
    sequence: u32,
}

impl Ends {
    fn new() -> Result<Self, Failure> {
        let (id, secret) = (SessionId([7; 32]), [9; 32]);
        let sender = Session::new(id, &secret, false)?;
        Ok(Self { sender, receiver: Session::new(SessionId([7; 32]), &secret, true)?, sequence: 0 })
    }

    fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
        let flags = PacketFlags::new(PacketFlags::UNRELIABLE | PacketFlags::ENCRYPTED);
        let header = PacketHeader::new(*self.sender.id(), STREAM, self.sequence, flags);
        self.sequence += 1;
        let header = header.with_epoch(self.sender.current_epoch());
        let sealed = self.sender.encrypt_packet(&header, plaintext)?;
        Ok(PhantomPacket::new(header, sealed).to_wire())
    }

    fn open(&mut self, datagram: &[u8]) -> Result<usize, Failure> {
        let packet = PhantomPacket::from_wire(datagram)?;
        Ok(self.receiver.decrypt_packet_accepting_rekey(&packet.header, &packet.payload)?.len())
    }

    /// One turn: cycles a packet of sealing and of opening.
    fn turn(&mut self, plaintext: &[u8]) -> Result<(f64, f64), Failure> {
        let begin = stamp();
        let mut datagrams = Vec::with_capacity(TURN as usize);
        for _ in 0..TURN {
            datagrams.push(self.seal(plaintext)?);
        }
        let between = stamp();
        let mut bytes = 0;
        for datagram in &datagrams {
            bytes += self.open(datagram)?;
        }
        let end = stamp();
        if bytes != plaintext.len() * TURN as usize {
            return Err("a packet came back with another length".into());
        }
        let cycles = |from: u64, to: u64| (to - from) as f64 / f64::from(TURN);
        Ok((cycles(begin, between), cycles(between, end)))
    }
}

fn summary(mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    json!({ "median": samples[samples.len() / 2], "min": samples[0], "samples": samples.len() })
}

pub fn run(options: &Options) -> Result<Value, Failure> {
    let plaintext = vec![0x5a; usize::try_from(options.number("bytes", 64)?)?];
    let limit = Duration::from_millis(options.number("millis", 500)?);
    let mut ends = Ends::new()?;
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for turn in 0..MOST_TURNS as usize {
        let (seal, open) = ends.turn(&plaintext)?;
        if turn >= WARM_TURNS {
            sealing.push(seal);
            opening.push(open);
        }
        if turn > WARM_TURNS && began.elapsed() > limit {
            break;
        }
    }
    Ok(json!({ "bytes": plaintext.len(), "seal": summary(sealing), "open": summary(opening) }))
}
