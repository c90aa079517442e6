//! Session ids and shared secrets as files and text: 64 hexadecimal digits; secret files are ours alone (mode 0600).
use crate::args::Failure;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;

pub fn from_hex(text: &str) -> Result<[u8; 32], Failure> {
    let digits = text.trim();
    if digits.len() != 64 || !digits.is_ascii() {
        return Err("64 hexadecimal digits are needed".into());
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16)?;
    }
    Ok(bytes)
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub fn read(path: &str) -> Result<[u8; 32], Failure> {
    from_hex(&fs::read_to_string(path)?)
}

/// Complete or not there: whoever waits for the file never reads half of it.
pub fn write(path: &str, bytes: &[u8; 32]) -> Result<(), Failure> {
    let unfinished = format!("{path}.new");
    let _ = fs::remove_file(&unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", to_hex(bytes))?;
    Ok(fs::rename(&unfinished, path)?)
}
