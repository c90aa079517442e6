//! The published crate phantom-protocol 0.1.1, unmodified, as the peer of a gateway. See README.md.
mod args;
mod inner;
mod packet;
mod peer;
mod secret;

use args::{Failure, Options};
use serde_json::Value;

const USAGE: &str = "usage: phantom-interop packet --option value ...; see README.md";

fn run() -> Result<Value, Failure> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("packet") => packet::run(&Options::parse(words, &["bind", "peer", "id", "secret-file", "role", "suite"])?),
        _ => Err(USAGE.into()),
    }
}

fn main() {
    match run() {
        Ok(report) => println!("{report}"),
        Err(error) => {
            eprintln!("phantom-interop: {error}");
            std::process::exit(1);
        }
    }
}
