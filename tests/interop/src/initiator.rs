//! The crate's connect call over UDP, through its public transport trait. The transport answers the hello itself and so
//! knows the secret; what comes after the handshake is one datagram each way for each message.
use crate::args::Failure;
use crate::handshake::answer_hello;
use crate::peer::Identity;
use crate::wire::Wire;
use bytes::Bytes;
use phantom_protocol::api::{PhantomSession, SessionTransport};
use phantom_protocol::crypto::hybrid_sign::HybridSigningKey;
use phantom_protocol::runtime::Runtime;
use phantom_protocol::CoreError;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

enum Phase {
    Hello,
    Answer(Bytes),
    Packets,
}

/// Only the handshake's two messages go by this before the session stands.
struct Transport {
    wire: Arc<Wire>,
    key: HybridSigningKey,
    phase: Mutex<Phase>,
    learnt: Mutex<Option<oneshot::Sender<Identity>>>,
}

impl Transport {
    fn answer(&self, hello: &[u8]) -> Result<(), CoreError> {
        let (answer, identity) =
            answer_hello(hello, &self.key).map_err(|error| CoreError::HandshakeError(error.to_string()))?;
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Phase::Answer(Bytes::from(answer));
        if let Some(learnt) = self.learnt.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = learnt.send(identity);
        }
        Ok(())
    }

    /// The answer, once.
    fn take_answer(&self) -> Option<Bytes> {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *phase, Phase::Packets) {
            Phase::Answer(answer) => Some(answer),
            Phase::Hello | Phase::Packets => None,
        }
    }

    fn in_handshake(&self) -> bool {
        matches!(*self.phase.lock().unwrap_or_else(PoisonError::into_inner), Phase::Hello)
    }
}

impl SessionTransport for Transport {
    async fn send_bytes(&self, data: &[u8]) -> Result<(), CoreError> {
        if self.in_handshake() {
            return self.answer(data);
        }
        self.wire.send(data).await;
        Ok(())
    }

    async fn recv_bytes(&self) -> Result<Bytes, CoreError> {
        if let Some(answer) = self.take_answer() {
            return Ok(answer);
        }
        self.wire.receive().await.ok_or(CoreError::ConnectionClosed)
    }
}

/// A session of the crate as initiator, and what its peer has to know.
pub async fn connect(
    wire: Arc<Wire>,
    peer: &str,
    runtime: Arc<dyn Runtime>,
) -> Result<(Arc<PhantomSession>, Identity), Failure> {
    let (key, expected) = HybridSigningKey::generate();
    let (learnt, identity) = oneshot::channel();
    let transport = Transport { wire, key, phase: Mutex::new(Phase::Hello), learnt: Mutex::new(Some(learnt)) };
    let session = Arc::new(PhantomSession::connect_with_transport_with_runtime(peer, transport, expected, runtime));
    Ok((session, identity.await?))
}
