//! Session ids and shared secrets as files and text: 64 hexadecimal digits.
use crate::args::Failure;
use std::fs;

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

pub fn read(path: &str) -> Result<[u8; 32], Failure> {
    from_hex(&fs::read_to_string(path)?)
}
