//! The other half of the handshake, played inside this process with the crate's own public types, so that the secret of
//! a real pump is known here. Each function is one end; what it exchanges never leaves the process.
use crate::args::Failure;
use crate::peer::Identity;
use borsh::BorshSerialize;
use phantom_protocol::crypto::hybrid_kem::HybridSecretKey;
use phantom_protocol::crypto::hybrid_sign::{HybridSigningKey, HybridVerifyingKey};
use phantom_protocol::crypto::pow::MAX_CLIENT_POW_DIFFICULTY;
use phantom_protocol::transport::handshake::{
    ClientHello, HelloRetryRequest, ServerHello, PROTOCOL_VARIANT, PROTOCOL_VERSION,
};
use sha2::{Digest, Sha256};

/// What both signatures of a ServerHello sign: hash of the transcript with the hello as finally sent.
fn transcript_hash(hello: &ClientHello, answer: &ServerHello) -> Result<[u8; 32], Failure> {
    let mut image = Vec::new();
    PROTOCOL_VARIANT.serialize(&mut image)?;
    hello.serialize(&mut image)?;
    answer.server_key_package.serialize(&mut image)?;
    answer.ciphertext.serialize(&mut image)?;
    answer.server_verify_key.serialize(&mut image)?;
    answer.session_id.serialize(&mut image)?;
    answer.early_data_accepted.serialize(&mut image)?;
    Ok(Sha256::digest(&image).into())
}

fn session_id(secret: &[u8; 32], nonce: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(b"phantom-session-id-v1").chain_update(secret).chain_update(nonce).finalize().into()
}

/// The responder's half: the bytes of a ServerHello for this hello, and who the responder then is.
pub fn answer_hello(hello: &[u8], key: &HybridSigningKey) -> Result<(Vec<u8>, Identity), Failure> {
    let hello: ClientHello = borsh::from_slice(hello)?;
    let (secret, ciphertext) = hello.client_key_package.encapsulate().map_err(|error| error.to_string())?;
    let id = session_id(&secret, &hello.nonce);
    let (_, server_key_package) = HybridSecretKey::generate();
    let mut answer = ServerHello {
        server_key_package,
        ciphertext,
        server_verify_key: key.verifying_key(),
        signature: key.sign(&[]),
        session_id: id,
        early_data_accepted: false,
    };
    answer.signature = key.sign(&transcript_hash(&hello, &answer)?);
    Ok((borsh::to_vec(&answer)?, Identity { id, secret, responder: true }))
}

/// The initiator's half, with as many rounds as the responder asks for.
pub struct Greeting {
    key: HybridSecretKey,
    hello: ClientHello,
}

impl Greeting {
    pub fn new(nonce: [u8; 32]) -> Self {
        let (key, client_key_package) = HybridSecretKey::generate();
        let (_, client_verify_key) = HybridSigningKey::generate();
        let hello = ClientHello {
            client_key_package,
            client_verify_key,
            nonce,
            version: PROTOCOL_VERSION,
            cookie: None,
            pow_solution: None,
            resume_session_id: None,
            resumption_binder: None,
            protocol_variant: PROTOCOL_VARIANT.to_vec(),
            early_data: None,
        };
        Self { key, hello }
    }

    pub fn hello(&self) -> Result<Vec<u8>, Failure> {
        Ok(borsh::to_vec(&self.hello)?)
    }

    /// Who the initiator is once the responder agreed; nothing when the hello is to be sent again.
    pub fn answered(&mut self, answer: &[u8], expected: &HybridVerifyingKey) -> Result<Option<Identity>, Failure> {
        if let Ok(retry) = borsh::from_slice::<HelloRetryRequest>(answer) {
            self.hello.cookie = retry.cookie;
            if let Some(challenge) = retry.challenge {
                let solution = challenge.solve_capped(MAX_CLIENT_POW_DIFFICULTY).map_err(|error| error.to_string())?;
                self.hello.pow_solution = Some(solution);
            }
            return Ok(None);
        }
        let answer: ServerHello = borsh::from_slice(answer)?;
        if answer.server_verify_key != *expected {
            return Err("another key answered".into());
        }
        expected
            .verify(&transcript_hash(&self.hello, &answer)?, &answer.signature)
            .map_err(|error| error.to_string())?;
        let secret = self.key.decapsulate(&answer.ciphertext).map_err(|error| error.to_string())?;
        Ok(Some(Identity { id: answer.session_id, secret, responder: false }))
    }
}
