//! A small peer of a pump, on the crate's inner session object: acknowledges every reliable segment, sends it back as
//! reliable data of its own, grants credit, keeps to the credit it was granted. The reference for how a peer has to
//! behave towards an unmodified pump, and the other end of the pump modes in their own test.
use crate::args::{role, Failure, Options};
use crate::commands::commands;
use crate::peer::{epoch_of, sequence_of, Arrival, Identity, Opened, Peer};
use crate::secret;
use phantom_protocol::transport::{PacketFlags, PacketHeader};
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

const INITIAL_WINDOW: u64 = 65_536;
const MOST_WINDOW: u64 = 524_288;
const CREDIT_THRESHOLD: u32 = 32_768;
const MOST_UNDER_WAY: usize = 400; // the pump's window of sequences is 1024, control packets included
const RETRY: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_micros(50);
const BURST: usize = 64;

struct Segment {
    image: Vec<u8>,
    plaintext: Vec<u8>,
    at: Instant,
}

struct Stream {
    seen: HashSet<u32>,
    queue: VecDeque<Vec<u8>>,
    under_way: BTreeMap<u32, Segment>,
    window: u64,
    consumed: u32,
    touched: bool,
}

impl Stream {
    fn new() -> Self {
        let (queue, under_way) = (VecDeque::new(), BTreeMap::new());
        Self { seen: HashSet::new(), queue, under_way, window: INITIAL_WINDOW, consumed: 0, touched: false }
    }
}

struct Echo {
    peer: Peer,
    socket: UdpSocket,
    to: SocketAddr,
    streams: BTreeMap<u16, Stream>,
    hint: bool,
    repeated: u64,
}

impl Echo {
    fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, self.to); // what does not leave is repeated
    }

    fn emit(&mut self, kind: u16, stream: u16, plaintext: &[u8]) -> Result<(), Failure> {
        let datagram = self.peer.seal(kind, stream, 0, plaintext)?;
        self.send(&datagram);
        Ok(())
    }

    fn receive(&mut self) -> Result<usize, Failure> {
        let mut buffer = [0; 65_535];
        for count in 0..BURST {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
                Err(_) => continue,
            };
            match self.peer.open(&buffer[..length]) {
                Arrival::Packet(opened) => self.act(opened)?,
                Arrival::Replayed(header) => self.acknowledge_again(&header)?,
                Arrival::Dropped => {}
            }
        }
        Ok(BURST)
    }

    /// A duplicate, yes; one that only fell out of the window, no: it was never received.
    fn acknowledge_again(&mut self, header: &PacketHeader) -> Result<(), Failure> {
        let had = self.streams.get(&header.stream_id).is_some_and(|stream| stream.seen.contains(&header.sequence));
        match had && header.flags.is_reliable() {
            true => self.emit(PacketFlags::ACK, header.stream_id, &header.sequence.to_be_bytes()),
            false => Ok(()),
        }
    }

    fn act(&mut self, opened: Opened) -> Result<(), Failure> {
        let header = opened.header;
        if header.flags.contains(PacketFlags::PATH_VALIDATION) {
            if let Some(echo) = self.peer.echo(&opened)? {
                self.send(&echo);
            }
            return Ok(());
        }
        let stream = self.streams.entry(header.stream_id).or_insert_with(Stream::new);
        let number = <[u8; 4]>::try_from(opened.plaintext.as_slice()).map(u32::from_be_bytes);
        if header.flags.is_ack() {
            if let Ok(sequence) = number {
                stream.under_way.remove(&sequence);
            }
        } else if header.flags.contains(PacketFlags::WINDOW_UPDATE) {
            stream.window = (stream.window + u64::from(number.unwrap_or(0))).min(MOST_WINDOW);
        } else if header.flags.is_reliable() {
            stream.consumed += opened.plaintext.len() as u32;
            stream.touched = true;
            stream.seen.insert(header.sequence);
            stream.queue.push_back(opened.plaintext);
            self.emit(PacketFlags::ACK, header.stream_id, &header.sequence.to_be_bytes())?;
        }
        Ok(())
    }

    /// Behind a batch of acknowledgements: credit when enough was consumed; with the hint also a credit of 0, which
    /// wakes the pump's send loop.
    fn grant(&mut self) -> Result<(), Failure> {
        let mut due = Vec::new();
        for (id, stream) in &mut self.streams {
            let credit = if stream.consumed >= CREDIT_THRESHOLD { std::mem::take(&mut stream.consumed) } else { 0 };
            if std::mem::take(&mut stream.touched) && (credit > 0 || self.hint) {
                due.push((*id, credit));
            }
        }
        for (id, credit) in due {
            self.emit(PacketFlags::WINDOW_UPDATE, id, &credit.to_be_bytes())?;
        }
        Ok(())
    }

    fn send_back(&mut self) -> Result<(), Failure> {
        for (id, stream) in &mut self.streams {
            while let Some(plaintext) = stream.queue.pop_front() {
                let oldest = stream.under_way.len() < MOST_UNDER_WAY;
                if !oldest || stream.window < plaintext.len() as u64 {
                    stream.queue.push_front(plaintext);
                    break;
                }
                stream.window -= plaintext.len() as u64;
                let image = self.peer.seal(PacketFlags::RELIABLE, *id, 0, &plaintext)?;
                let _ = self.socket.send_to(&image, self.to);
                stream.under_way.insert(sequence_of(&image), Segment { image, plaintext, at: Instant::now() });
            }
        }
        Ok(())
    }

    /// Inside an epoch the identical image, after a rekey the same segment sealed again.
    fn repeat(&mut self) -> Result<(), Failure> {
        for (id, stream) in &mut self.streams {
            for (sequence, segment) in stream.under_way.iter_mut().filter(|(_, one)| one.at.elapsed() > RETRY) {
                if epoch_of(&segment.image) != self.peer.epoch() {
                    segment.image = self.peer.seal_as(PacketFlags::RELIABLE, *id, 0, *sequence, &segment.plaintext)?;
                }
                segment.at = Instant::now();
                self.repeated += 1;
                let _ = self.socket.send_to(&segment.image, self.to);
            }
        }
        Ok(())
    }
}

pub fn run(options: &Options) -> Result<Value, Failure> {
    let who = Identity {
        id: secret::read(options.text("id-file")?)?,
        secret: secret::read(options.text("secret-file")?)?,
        responder: role(options)?,
    };
    let socket = UdpSocket::bind(options.address("bind")?)?;
    socket.set_nonblocking(true)?;
    let hint = options.maybe("hint") != Some("off");
    let (peer, to, streams) = (Peer::new(&who)?, options.address("peer")?, BTreeMap::new());
    let mut echo = Echo { peer, socket, to, streams, hint, repeated: 0 };
    let lines = commands();
    println!("{}", json!({ "ready": true }));
    while lines.try_recv() != Err(TryRecvError::Disconnected) {
        let arrived = echo.receive()?;
        echo.grant()?;
        echo.send_back()?;
        echo.repeat()?;
        if arrived == 0 {
            std::thread::sleep(PAUSE);
        }
    }
    let mut report = echo.peer.report();
    report["retransmissions"] = json!(echo.repeated);
    Ok(report)
}
