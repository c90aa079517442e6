//! The crate's own `Session` object as one end of a session: its sealing, opening, rekeying and catching up, around
//! them what its data pump does with a datagram, and a count of everything.
use crate::args::Failure;
use phantom_protocol::crypto::adaptive_crypto::{CipherSuite, CryptoSession};
use phantom_protocol::transport::path::{PathStateKind, PATH_CHALLENGE_LEN};
use phantom_protocol::transport::path_validation_codec::build_path_validation_packet;
use phantom_protocol::transport::session::{CryptoState, MAX_REKEY_CATCHUP};
use phantom_protocol::transport::{
    PacketFlags, PacketHeader, PhantomPacket, SchedulerMode, Session, SessionId, WIRE_VERSION,
};
use phantom_protocol::CoreError;
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// One end of a session: `responder` says which.
pub struct Identity {
    pub id: [u8; 32],
    pub secret: [u8; 32],
    pub responder: bool,
}

/// A packet that opened.
pub struct Opened {
    pub header: PacketHeader,
    pub plaintext: Vec<u8>,
}

/// What a datagram was.
pub enum Arrival {
    Packet(Opened),
    /// Authentic, and seen before or too old: the pump drops it; who wants may acknowledge it again.
    Replayed(PacketHeader),
    Dropped,
}

/// The epoch in the header of a packet.
pub fn epoch_of(datagram: &[u8]) -> u8 {
    datagram[43]
}

/// The sequence in the header of a packet.
pub fn sequence_of(datagram: &[u8]) -> u32 {
    u32::from_be_bytes([datagram[35], datagram[36], datagram[37], datagram[38]])
}

#[derive(Default)]
struct Counters {
    sent: BTreeMap<String, u64>,
    received: u64,
    opened: BTreeMap<String, u64>,
    dropped: BTreeMap<&'static str, u64>,
    streams: BTreeMap<u16, u64>,
    rekeys: u64,
    followed: u64,
    longest_jump: u8,
    echoes: u64,
}

pub struct Peer {
    session: Session,
    sequences: BTreeMap<u16, u32>,
    echo_sequence: u32,
    counters: Counters,
}

fn flags_text(flags: PacketFlags) -> String {
    format!("0x{:04x}", flags.0)
}

fn count<K: Ord>(table: &mut BTreeMap<K, u64>, key: K) {
    *table.entry(key).or_insert(0) += 1;
}

impl Peer {
    /// With the suite that the processor implies, as every session of the crate.
    pub fn new(who: &Identity) -> Result<Self, Failure> {
        Ok(Self::around(Session::new(SessionId(who.id), &who.secret, who.responder)?))
    }

    /// With a named suite in epoch 0. The crate's rekey goes back to what the processor implies.
    pub fn with_suite(who: &Identity, suite: CipherSuite) -> Result<Self, Failure> {
        let keys = match who.responder {
            true => CryptoSession::with_suite_peer(&who.secret, suite)?,
            false => CryptoSession::with_suite(&who.secret, suite)?,
        };
        let state = CryptoState { session: keys, session_key: [0; 32] };
        let mode = SchedulerMode::LowLatency;
        Ok(Self::around(Session::from_derived(SessionId(who.id), state, mode, who.secret, who.responder)))
    }

    fn around(session: Session) -> Self {
        Self { session, sequences: BTreeMap::new(), echo_sequence: 0, counters: Counters::default() }
    }

    pub fn epoch(&self) -> u8 {
        self.session.current_epoch()
    }

    /// Own rekeys after so many seals of an epoch, from now on.
    pub fn rekey_every(&self, seals: u64) {
        self.session.set_rekey_threshold(seals);
    }

    /// So many epochs on at once; the peer sees it by the next packet.
    pub fn jump(&mut self, steps: u8) -> Result<u8, Failure> {
        self.session.ratchet_to_epoch(self.epoch().saturating_add(steps))?;
        self.counters.rekeys += u64::from(steps);
        Ok(self.epoch())
    }

    fn next_sequence(&mut self, stream: u16) -> u32 {
        let next = self.sequences.entry(stream).or_insert(0);
        let sequence = *next;
        *next = next.wrapping_add(1);
        sequence
    }

    /// A datagram of the next sequence, in the order of the pump: rekey when due, header, seal, image.
    pub fn seal(&mut self, kind: u16, stream: u16, path: u8, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
        let sequence = self.next_sequence(stream);
        self.seal_as(kind, stream, path, sequence, plaintext)
    }

    /// The same with a sequence that was used before, as the pump repeats a segment: only in another epoch, or with the
    /// very same content, is that safe.
    pub fn seal_as(
        &mut self,
        kind: u16,
        stream: u16,
        path: u8,
        sequence: u32,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let mut flags = PacketFlags::new(kind | PacketFlags::ENCRYPTED);
        if self.session.send_needs_rekey() || self.session.stream_seq_needs_rekey(stream, sequence) {
            self.session.rekey()?;
            self.counters.rekeys += 1;
            flags.set(PacketFlags::REKEY);
        }
        let header = PacketHeader::new(*self.session.id(), stream, sequence, flags);
        self.image(header.with_epoch(self.epoch()).with_path_id(path), plaintext)
    }

    fn image(&mut self, header: PacketHeader, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
        let sealed = self.session.encrypt_packet(&header, plaintext)?;
        count(&mut self.counters.sent, flags_text(header.flags));
        Ok(PhantomPacket::new(header, sealed).to_wire())
    }

    fn drop_as(&mut self, reason: &'static str) -> Arrival {
        count(&mut self.counters.dropped, reason);
        Arrival::Dropped
    }

    /// A datagram in the order of the pump's receive path, up to its path gate.
    pub fn open(&mut self, datagram: &[u8]) -> Arrival {
        self.counters.received += 1;
        let packet = match PhantomPacket::from_wire(datagram) {
            Ok(packet) => packet,
            Err(_) => return self.drop_as("malformed"),
        };
        let header = packet.header;
        if header.version != WIRE_VERSION {
            return self.drop_as("version");
        }
        if header.session_id != *self.session.id() {
            return self.drop_as("foreign_session");
        }
        self.session.mark_path_seen(header.path_id);
        if !header.flags.contains(PacketFlags::ENCRYPTED) {
            return self.drop_as("unencrypted");
        }
        let before = self.epoch();
        let result = self.session.decrypt_packet_accepting_rekey(&header, &packet.payload);
        self.note_epoch(before);
        match result {
            Ok(plaintext) => {
                count(&mut self.counters.opened, flags_text(header.flags));
                count(&mut self.counters.streams, header.stream_id);
                self.gate(Opened { header, plaintext })
            }
            Err(CoreError::ReplayDetected(_)) => {
                self.drop_as("replayed");
                Arrival::Replayed(header)
            }
            Err(_) if header.epoch < before => self.drop_as("epoch_behind"),
            Err(_) if header.epoch - before > MAX_REKEY_CATCHUP => self.drop_as("epoch_too_far"),
            Err(_) => self.drop_as("auth"),
        }
    }

    fn note_epoch(&mut self, before: u8) {
        let jump = self.epoch() - before;
        if jump > 0 {
            self.counters.followed += 1;
            self.counters.longest_jump = self.counters.longest_jump.max(jump);
        }
    }

    /// Data on a path that was never validated goes, as in the pump; control packets act on any path.
    fn gate(&mut self, opened: Opened) -> Arrival {
        let control = PacketFlags::ACK | PacketFlags::WINDOW_UPDATE | PacketFlags::PATH_VALIDATION;
        let validated = self.session.path_state(opened.header.path_id) == Some(PathStateKind::Validated);
        if opened.header.flags.0 & control == 0 && !validated {
            return self.drop_as("path_not_validated");
        }
        Arrival::Packet(opened)
    }

    /// What the pump answers to a packet of the PATH_VALIDATION kind: an echo, on a path it knows nothing of.
    pub fn echo(&mut self, opened: &Opened) -> Result<Option<Vec<u8>>, Failure> {
        let Ok(value) = <[u8; PATH_CHALLENGE_LEN]>::try_from(opened.plaintext.as_slice()) else {
            self.drop_as("path_validation_length");
            return Ok(None);
        };
        let path = opened.header.path_id;
        if !matches!(self.session.path_state(path), None | Some(PathStateKind::Unvalidated)) {
            self.drop_as("path_validation_ignored");
            return Ok(None);
        }
        let packet = build_path_validation_packet(*self.session.id(), path, self.echo_sequence, value);
        self.echo_sequence = self.echo_sequence.wrapping_add(1);
        self.counters.echoes += 1;
        let mut header = packet.header.with_epoch(self.epoch());
        header.flags.set(PacketFlags::ENCRYPTED);
        self.image(header, &value).map(Some)
    }

    pub fn report(&self) -> Value {
        let c = &self.counters;
        let sum = |table: &BTreeMap<String, u64>| table.values().sum::<u64>();
        json!({
            "epoch": self.epoch(),
            "rekeys": c.rekeys,
            "followed": c.followed,
            "longest_jump": c.longest_jump,
            "sent": sum(&c.sent),
            "sent_by_flags": c.sent,
            "received": c.received,
            "opened": sum(&c.opened),
            "opened_by_flags": c.opened,
            "opened_by_stream": c.streams.iter().map(|(id, n)| (id.to_string(), *n)).collect::<BTreeMap<_, _>>(),
            "dropped": c.dropped,
            "echoes": c.echoes,
        })
    }
}
