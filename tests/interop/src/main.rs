//! The published crate phantom-protocol 0.1.1, unmodified, as the peer of a gateway. See README.md.
mod args;
mod commands;
mod echo;
mod handshake;
mod initiator;
mod inner;
mod packet;
mod pattern;
mod peer;
mod pump;
mod responder;
mod secret;
mod speed;
mod threads;
mod wire;

use args::{Failure, Options};
use serde_json::Value;
use std::io::Write;

const USAGE: &str =
    "usage: phantom-interop packet|pump-initiator|pump-responder|echo|pattern|speed --option value ...; see README.md";
const PACKET: [&str; 6] = ["bind", "peer", "id", "secret-file", "role", "suite"];
const PUMP: [&str; 11] = [
    "bind",
    "peer",
    "id-file",
    "secret-file",
    "stream",
    "send-mib",
    "receive-mib",
    "read-pause-us",
    "request",
    "rekey-every",
    "limit",
];
const ECHO: [&str; 6] = ["bind", "peer", "id-file", "secret-file", "role", "hint"];

fn pump(options: Options, responds: bool) -> Result<Value, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(pump::run(options, responds))
}

/// The data that a pump sends and expects, on standard output.
fn print_pattern(options: &Options) -> Result<(), Failure> {
    const PIECE: u64 = 1 << 20;
    let mut out = std::io::stdout().lock();
    for piece in 0..options.number("mib", 1)? {
        out.write_all(&pattern::bytes(piece * PIECE, PIECE as usize))?;
    }
    Ok(())
}

fn run() -> Result<Option<Value>, Failure> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("packet") => packet::run(&Options::parse(words, &PACKET)?).map(Some),
        Some("pump-initiator") => pump(Options::parse(words, &PUMP)?, false).map(Some),
        Some("pump-responder") => pump(Options::parse(words, &PUMP)?, true).map(Some),
        Some("echo") => echo::run(&Options::parse(words, &ECHO)?).map(Some),
        Some("pattern") => print_pattern(&Options::parse(words, &["mib"])?).map(|()| None),
        Some("speed") => speed::run(&Options::parse(words, &["bytes", "millis"])?).map(Some),
        _ => Err(USAGE.into()),
    }
}

fn main() {
    match run() {
        Ok(report) => {
            if let Some(report) = report {
                println!("{report}");
            }
            std::process::exit(0); // whatever the crate's tasks are at
        }
        Err(error) => {
            eprintln!("phantom-interop: {error}");
            std::process::exit(1);
        }
    }
}
