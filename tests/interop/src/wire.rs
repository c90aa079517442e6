//! A UDP socket that carries one packet of the crate in each datagram, and what can be seen of them from outside: flags
//! and sequences stand in clear. Network errors are swallowed; the reader never waits for anybody.
use crate::args::Failure;
use crate::peer::sequence_of;
use bytes::Bytes;
use phantom_protocol::transport::PacketFlags;
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, Notify};

const LARGEST_DATAGRAM: usize = 65_535;
const SMALLEST_PACKET: usize = 53; // header and the two lengths
const INBOX: usize = 16_384;

#[derive(Default)]
struct Counters {
    sent: BTreeMap<String, u64>,
    received: BTreeMap<String, u64>,
    reliable: HashSet<(u16, u32)>,
    repeated: u64,
    send_errors: u64,
    inbox_full: u64,
}

pub struct Wire {
    socket: UdpSocket,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Bytes>>,
    counters: Mutex<Counters>,
    acknowledged: AtomicU64,
    progress: Notify,
}

fn flags_of(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[39], datagram[40]])
}

fn stream_of(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[33], datagram[34]])
}

fn class(datagram: &[u8]) -> String {
    match datagram.len() < SMALLEST_PACKET {
        true => "short".into(),
        false => format!("0x{:04x}", flags_of(datagram)),
    }
}

impl Wire {
    /// Must be called inside a runtime, which then also runs the reader.
    pub async fn open(bind: SocketAddr, peer: SocketAddr) -> Result<Arc<Self>, Failure> {
        let socket = UdpSocket::bind(bind).await?;
        socket.connect(peer).await?;
        let (sender, receiver) = mpsc::channel(INBOX);
        let wire = Arc::new(Self {
            socket,
            inbox: tokio::sync::Mutex::new(receiver),
            counters: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            progress: Notify::new(),
        });
        tokio::spawn(Self::read(wire.clone(), sender));
        Ok(wire)
    }

    async fn read(wire: Arc<Self>, inbox: mpsc::Sender<Bytes>) {
        let mut buffer = vec![0; LARGEST_DATAGRAM];
        loop {
            let Ok(length) = wire.socket.recv(&mut buffer).await else { continue };
            let datagram = &buffer[..length];
            let entered = inbox.try_send(Bytes::copy_from_slice(datagram));
            let mut counters = wire.counters();
            *counters.received.entry(class(datagram)).or_insert(0) += 1;
            counters.inbox_full += u64::from(entered.is_err());
            drop(counters);
            if length >= SMALLEST_PACKET && flags_of(datagram) & PacketFlags::ACK != 0 {
                wire.acknowledged.fetch_add(1, Ordering::Relaxed);
                wire.progress.notify_waiters();
            }
        }
    }

    fn counters(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn send(&self, datagram: &[u8]) {
        let sent = self.socket.send(datagram).await;
        let mut counters = self.counters();
        counters.send_errors += u64::from(sent.is_err());
        *counters.sent.entry(class(datagram)).or_insert(0) += 1;
        if datagram.len() >= SMALLEST_PACKET && flags_of(datagram) & PacketFlags::RELIABLE != 0 {
            let fresh = counters.reliable.insert((stream_of(datagram), sequence_of(datagram)));
            counters.repeated += u64::from(!fresh);
        }
    }

    pub async fn receive(&self) -> Option<Bytes> {
        self.inbox.lock().await.recv().await
    }

    /// Acknowledgements that arrived, repeated ones too.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Returns once so many acknowledgements arrived.
    pub async fn wait_acknowledged(&self, wanted: u64) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.acknowledged() >= wanted {
                return;
            }
            progress.await;
        }
    }

    pub fn report(&self) -> Value {
        let c = self.counters();
        json!({
            "sent_by_flags": c.sent,
            "received_by_flags": c.received,
            "segments": c.reliable.len(),
            "retransmissions": c.repeated,
            "send_errors": c.send_errors,
            "inbox_full": c.inbox_full,
        })
    }
}
