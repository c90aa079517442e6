//! Options of the command line: `--name value` pairs, each known by its mode.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

pub struct Options(HashMap<String, String>);

impl Options {
    pub fn parse(words: impl Iterator<Item = String>, known: &[&str]) -> Result<Self, Failure> {
        let mut found = HashMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or_default();
            if !known.contains(&name) {
                return Err(format!("unknown option {word}; known are --{}", known.join(", --")).into());
            }
            let value = words.next().ok_or(format!("--{name} needs a value"))?;
            found.insert(name.to_string(), value);
        }
        Ok(Self(found))
    }

    pub fn text(&self, name: &str) -> Result<&str, Failure> {
        Ok(self.maybe(name).ok_or(format!("--{name} is missing"))?)
    }

    pub fn maybe(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn address(&self, name: &str) -> Result<SocketAddr, Failure> {
        parse(name, self.text(name)?)
    }

    pub fn number(&self, name: &str, otherwise: u64) -> Result<u64, Failure> {
        self.maybe(name).map_or(Ok(otherwise), |text| parse(name, text))
    }
}

pub fn parse<T: FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| format!("{what}: '{text}' is none").into())
}

/// True for a responder.
pub fn role(options: &Options) -> Result<bool, Failure> {
    match options.text("role")? {
        "initiator" => Ok(false),
        "responder" => Ok(true),
        other => Err(format!("role '{other}' is neither initiator nor responder").into()),
    }
}
