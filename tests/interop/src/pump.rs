//! Pump level: a whole public session of the crate sends a file and receives one, over its raw stream or one it opened.
//!
//! It prints `ready` once the session stands and its secret is written, waits for a line of input (or its end), transfers,
//! prints the result, waits for the end of the input and prints the result again with what was seen meanwhile.
use crate::args::{Failure, Options};
use crate::commands::commands;
use crate::pattern::{self, Puzzle};
use crate::threads::Threads;
use crate::wire::Wire;
use crate::{initiator, responder, secret};
use phantom_protocol::api::{PhantomSession, PhantomStream};
use phantom_protocol::runtime::{Runtime, TokioRuntime};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{timeout_at, Instant};

const CHUNK: usize = 1300; // TRANSPORT_MTU: the pump cuts messages there
const CHUNKS: usize = 10; // of a message
                          // Chunks handed over and not acknowledged. At 1024 the crate's send loop waits for itself. Long before that its own
                          // control packets, numbered when they leave, run ahead of data numbered when it was handed over, and past the 1024
                          // sequences of a peer's window.
const OUTSTANDING: u64 = 256;
const MIB: u64 = 1 << 20;
const AFTER_FIN: Duration = Duration::from_millis(10);
const READY_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Channel {
    session: Arc<PhantomSession>,
    stream: Option<Arc<PhantomStream>>,
}

impl Channel {
    async fn send(&self, data: Vec<u8>) -> Result<(), Failure> {
        match &self.stream {
            Some(stream) => stream.send_reliable(data).await?,
            None => self.session.send(data).await?,
        }
        Ok(())
    }

    /// The session's queue has everything of every stream, and nothing of it is ever lost: who does not read it stops
    /// the session.
    async fn receive(&self) -> Result<Vec<u8>, Failure> {
        Ok(self.session.recv().await?)
    }
}

/// The copies that a stream's handle gets of what the session's queue gets, counted. Its queue also takes the stream's
/// acknowledgements, and what finds it full is dropped without a word (W-24): nobody may wait for a piece there.
async fn drain(stream: Arc<PhantomStream>, copies: Arc<AtomicU64>) -> ! {
    loop {
        match stream.recv().await {
            Ok(_) => drop(copies.fetch_add(1, Ordering::Relaxed)),
            Err(_) => tokio::time::sleep(AFTER_FIN).await, // the peer's FIN; what comes behind it comes all the same
        }
    }
}

struct Sent {
    bytes: u64,
    acknowledged: bool,
    seconds: f64,
    digest: String,
}

/// Never more under way than the crate can bear; done when everything was acknowledged.
async fn send(
    channel: Channel,
    wire: Arc<Wire>,
    request: Vec<u8>,
    total: u64,
    deadline: Instant,
) -> Result<Sent, Failure> {
    let (start, mut offset, mut chunks, mut digest) = (Instant::now(), 0, 0, Sha256::new());
    if !request.is_empty() {
        chunks += request.len().div_ceil(CHUNK) as u64;
        channel.send(request).await?;
    }
    while offset < total {
        let wanted = u64::saturating_sub(chunks, OUTSTANDING);
        if timeout_at(deadline, wire.wait_acknowledged(wanted)).await.is_err() {
            break;
        }
        let message = pattern::bytes(offset, (CHUNK * CHUNKS).min((total - offset) as usize));
        digest.update(&message);
        offset += message.len() as u64;
        chunks += message.len().div_ceil(CHUNK) as u64;
        channel.send(message).await?;
    }
    let acknowledged = timeout_at(deadline, wire.wait_acknowledged(chunks)).await.is_ok();
    let seconds = start.elapsed().as_secs_f64();
    Ok(Sent { bytes: offset, acknowledged, seconds, digest: secret::to_hex(&digest.finalize()) })
}

struct Received {
    puzzle: Puzzle,
    pieces: u64,
    seconds: f64,
}

/// `pause` is that of an application which is slow.
async fn receive(channel: Channel, total: u64, pause: Duration, deadline: Instant) -> Result<Received, Failure> {
    let (mut puzzle, mut pieces, mut start, mut seconds) = (Puzzle::new(total as usize), 0, None, 0.0);
    while !puzzle.complete() {
        let Ok(piece) = timeout_at(deadline, channel.receive()).await else { break };
        let start = start.get_or_insert_with(Instant::now);
        puzzle.add(&piece?);
        pieces += 1;
        seconds = start.elapsed().as_secs_f64();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(Received { puzzle, pieces, seconds })
}

fn rate(bytes: u64, seconds: f64) -> u64 {
    (bytes as f64 / seconds.max(1e-3)) as u64
}

fn result(sent: &Sent, received: &Received) -> Value {
    let (puzzle, seconds) = (&received.puzzle, received.seconds);
    json!({
        "complete": sent.acknowledged && puzzle.complete(),
        "sent": {
            "bytes": sent.bytes, "sha256": sent.digest, "acknowledged": sent.acknowledged,
            "seconds": sent.seconds, "bytes_per_second": rate(sent.bytes, sent.seconds),
        },
        "received": {
            "bytes": puzzle.bytes, "pieces": received.pieces, "sha256": secret::to_hex(&Sha256::digest(puzzle.data())),
            "duplicates": puzzle.duplicates, "out_of_order": puzzle.out_of_order,
            "seconds": seconds, "bytes_per_second": rate(puzzle.bytes, seconds),
        },
    })
}

fn wait_for_line(lines: &Receiver<String>) {
    let _ = tokio::task::block_in_place(|| lines.recv());
}

async fn establish(options: &Options, wire: &Arc<Wire>, responds: bool) -> Result<Channel, Failure> {
    let explicit = match options.maybe("stream").unwrap_or("raw") {
        "raw" => false,
        "explicit" => true,
        other => return Err(format!("stream '{other}' is neither raw nor explicit").into()),
    };
    let runtime: Arc<dyn Runtime> = if explicit { Threads::new() } else { Arc::new(TokioRuntime) };
    let (session, other) = match responds {
        true => responder::accept(wire.clone(), runtime).await?,
        false => initiator::connect(wire.clone(), options.text("peer")?, runtime).await?,
    };
    let deadline = Instant::now() + READY_LIMIT;
    while !session.is_data_ready() || session.current_epoch().await.is_none() {
        if Instant::now() > deadline {
            return Err(format!("the session is {:?}", session.connection_state()).into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if let Some(seals) = options.maybe("rekey-every") {
        session.set_rekey_threshold(crate::args::parse("rekey-every", seals)?).await;
    }
    secret::write(options.text("id-file")?, &other.id)?;
    secret::write(options.text("secret-file")?, &other.secret)?;
    let stream = explicit.then(|| session.open_stream());
    println!(
        "{}",
        json!({ "ready": true, "peer_is_responder": other.responder,
                           "stream": stream.as_ref().map_or(1, |stream| stream.stream_id()) })
    );
    Ok(Channel { session, stream })
}

pub async fn run(options: Options, responds: bool) -> Result<Value, Failure> {
    let lines = commands();
    let wire = Wire::open(options.address("bind")?, options.address("peer")?).await?;
    let channel = establish(&options, &wire, responds).await?;
    wait_for_line(&lines);

    let deadline = Instant::now() + Duration::from_secs(options.number("limit", 60)?);
    let request = options.maybe("request").unwrap_or_default().as_bytes().to_vec();
    let sending = send(channel.clone(), wire.clone(), request, options.number("send-mib", 0)? * MIB, deadline);
    let (bytes, pause) = (options.number("receive-mib", 0)? * MIB, options.number("read-pause-us", 0)?);
    let receiving = receive(channel.clone(), bytes, Duration::from_micros(pause), deadline);
    let copies = Arc::new(AtomicU64::new(0));
    if let Some(stream) = &channel.stream {
        tokio::spawn(drain(stream.clone(), copies.clone()));
    }
    let (sent, received) = tokio::join!(tokio::spawn(sending), tokio::spawn(receiving));
    let (sent, received) = (sent??, received??);
    let mut report = result(&sent, &received);
    println!("{report}");

    while tokio::task::block_in_place(|| lines.recv()).is_ok() {}
    report["epoch"] = json!(channel.session.current_epoch().await);
    report["state"] = json!(format!("{:?}", channel.session.connection_state()));
    report["wire"] = wire.report();
    if channel.stream.is_some() {
        let copies = copies.load(Ordering::Relaxed);
        report["handle"] = json!({ "pieces": copies, "lost": received.pieces.saturating_sub(copies) });
    }
    channel.session.disconnect().await?;
    Ok(report)
}
