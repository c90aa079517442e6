//! Packet level: the crate's session object as the far end of a tunnel. Commands come line by line on standard input,
//! each is answered by one line of JSON, and the end of the input by the final report.
//!
//! ```text
//! flow FROM TO RATE COUNT BYTES STREAMS   a counted UDP flow into the tunnel, over streams 1 to STREAMS
//! every SEALS                             own rekeys after so many seals, from now on
//! jump STEPS                              so many epochs at once
//! move ADDRESS                            to another address or port; the old one is still heard
//! report
//! ```
use crate::args::{parse, role, Failure, Options};
use crate::commands::commands;
use crate::inner::{flow_packet, ping_answer, Tally};
use crate::peer::{Arrival, Identity, Opened, Peer};
use crate::secret;
use phantom_protocol::crypto::adaptive_crypto::{CipherSuite, HwCaps};
use phantom_protocol::transport::PacketFlags;
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

const MOST_STREAMS: u16 = 16;
const LARGEST_DATAGRAM: usize = 65_535;
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_micros(200);

struct Flow {
    from: SocketAddr,
    to: SocketAddr,
    rate: f64,
    total: u64,
    size: usize,
    streams: u16,
    sent: u64,
    started: Instant,
}

impl Flow {
    /// How many are due by now and not sent yet.
    fn due(&self) -> u64 {
        let due = (self.started.elapsed().as_secs_f64() * self.rate) as u64;
        due.min(self.total).saturating_sub(self.sent).min(BURST as u64)
    }
}

struct Tunnel {
    peer: Peer,
    suite: CipherSuite,
    gateway: SocketAddr,
    sockets: Vec<UdpSocket>, // the last one is where we are
    heard: BTreeMap<String, u64>,
    flow: Option<Flow>,
    flow_sent: u64,
    runs: u32,
    tally: Tally,
    pings: u64,
    refused: u64,
}

fn open_socket(address: SocketAddr) -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Tunnel {
    fn new(options: &Options) -> Result<Self, Failure> {
        let who = Identity {
            id: secret::from_hex(options.text("id")?)?,
            secret: secret::read(options.text("secret-file")?)?,
            responder: role(options)?,
        };
        let (suite, peer) = match options.maybe("suite") {
            None => (HwCaps::detect().recommended_cipher(), Peer::new(&who)?),
            Some("aes-256-gcm") => (CipherSuite::Aes256Gcm, Peer::with_suite(&who, CipherSuite::Aes256Gcm)?),
            Some("chacha20-poly1305") => {
                (CipherSuite::ChaCha20Poly1305, Peer::with_suite(&who, CipherSuite::ChaCha20Poly1305)?)
            }
            Some(other) => return Err(format!("there is no suite {other}").into()),
        };
        Ok(Self {
            peer,
            suite,
            gateway: options.address("peer")?,
            sockets: vec![open_socket(options.address("bind")?)?],
            heard: BTreeMap::new(),
            flow: None,
            flow_sent: 0,
            runs: 0,
            tally: Tally::default(),
            pings: 0,
            refused: 0,
        })
    }

    /// Errors of the network are counted: a datagram that did not leave is no datagram.
    fn send(&mut self, datagram: &[u8]) {
        let socket = self.sockets.last().expect("there is always one");
        if socket.send_to(datagram, self.gateway).is_err() {
            self.refused += 1;
        }
    }

    fn send_inner(&mut self, stream: u16, packet: &[u8]) -> Result<(), Failure> {
        let datagram = self.peer.seal(PacketFlags::UNRELIABLE, stream, 0, packet)?;
        self.send(&datagram);
        Ok(())
    }

    fn receive(&mut self) -> Result<usize, Failure> {
        let mut buffer = [0; LARGEST_DATAGRAM];
        let mut total = 0;
        for index in 0..self.sockets.len() {
            for _ in 0..BURST {
                let length = match self.sockets[index].recv(&mut buffer) {
                    Ok(length) => length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => continue, // an ICMP error of an earlier datagram
                };
                *self.heard.entry(self.sockets[index].local_addr()?.to_string()).or_insert(0) += 1;
                total += 1;
                if let Arrival::Packet(opened) = self.peer.open(&buffer[..length]) {
                    self.act(&opened)?;
                }
            }
        }
        Ok(total)
    }

    fn act(&mut self, opened: &Opened) -> Result<(), Failure> {
        let flags = opened.header.flags;
        if flags.contains(PacketFlags::PATH_VALIDATION) {
            if let Some(echo) = self.peer.echo(opened)? {
                self.send(&echo);
            }
        } else if let Some(answer) = ping_answer(&opened.plaintext) {
            self.pings += 1;
            self.send_inner(opened.header.stream_id.clamp(1, MOST_STREAMS), &answer)?;
        } else if flags.contains(PacketFlags::UNRELIABLE) {
            self.tally.add(&opened.plaintext);
        }
        Ok(())
    }

    fn send_flow(&mut self) -> Result<u64, Failure> {
        let Some(mut flow) = self.flow.take() else { return Ok(0) };
        let due = flow.due();
        for _ in 0..due {
            let stream = (flow.sent % u64::from(flow.streams)) as u16;
            let mut from = flow.from;
            from.set_port(from.port() + stream);
            let number = flow.sent / u64::from(flow.streams);
            let packet = flow_packet(from, flow.to, self.runs << 8 | u32::from(stream), number, flow.size);
            self.send_inner(1 + stream, &packet)?;
            flow.sent += 1;
            self.flow_sent += 1;
        }
        if flow.sent < flow.total {
            self.flow = Some(flow);
        }
        Ok(due)
    }

    fn obey(&mut self, line: &str) -> Result<Value, Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["flow", from, to, rate, count, size, streams] => {
                self.runs += 1;
                self.flow = Some(Flow {
                    from: parse("from", from)?,
                    to: parse("to", to)?,
                    rate: parse("rate", rate)?,
                    total: parse("count", count)?,
                    size: parse("bytes", size)?,
                    streams: parse::<u16>("streams", streams)?.clamp(1, MOST_STREAMS),
                    sent: 0,
                    started: Instant::now(),
                });
                Ok(json!({}))
            }
            ["every", seals] => {
                self.peer.rekey_every(parse("seals", seals)?);
                Ok(json!({}))
            }
            ["jump", steps] => Ok(json!({ "epoch": self.peer.jump(parse("steps", steps)?)? })),
            ["move", address] => {
                self.sockets.push(open_socket(parse("address", address)?)?);
                Ok(json!({}))
            }
            ["report"] => Ok(self.report()),
            _ => Err(format!("unknown command: {line}").into()),
        }
    }

    fn report(&self) -> Value {
        let mut report = self.peer.report();
        report["suite"] = json!(format!("{:?}", self.suite));
        report["heard_at"] = json!(self.heard);
        report["inner"] = json!(self.tally.counts);
        report["pings_answered"] = json!(self.pings);
        report["flow_sent"] = json!(self.flow_sent);
        report["flow_running"] = json!(self.flow.is_some());
        report["send_refused"] = json!(self.refused);
        report
    }
}

pub fn run(options: &Options) -> Result<Value, Failure> {
    let mut tunnel = Tunnel::new(options)?;
    let commands = commands();
    loop {
        match commands.try_recv() {
            Ok(line) => println!("{}", tunnel.obey(&line)?),
            Err(TryRecvError::Disconnected) => return Ok(tunnel.report()),
            Err(TryRecvError::Empty) => {}
        }
        if tunnel.receive()? == 0 && tunnel.send_flow()? == 0 {
            std::thread::sleep(PAUSE);
        }
    }
}
