//! The crate's TCP listener over UDP: only it can start a responder's pump. The bridge is its TCP client: it plays the
//! initiator's half of the handshake, and then turns each TCP message into one datagram and back.
use crate::args::Failure;
use crate::handshake::Greeting;
use crate::peer::Identity;
use crate::wire::Wire;
use phantom_protocol::api::{PhantomListener, PhantomSession};
use phantom_protocol::crypto::hybrid_sign::HybridVerifyingKey;
use phantom_protocol::runtime::Runtime;
use phantom_protocol::transport::SessionId;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;

const MOST_MESSAGE: usize = 4 << 20;
const MOST_ROUNDS: usize = 4;

async fn read_message(tcp: &mut OwnedReadHalf) -> Result<Vec<u8>, Failure> {
    let length = tcp.read_u32().await? as usize;
    if length > MOST_MESSAGE {
        return Err(format!("a message of {length} bytes").into());
    }
    let mut message = vec![0; length];
    tcp.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(tcp: &mut OwnedWriteHalf, message: &[u8]) -> Result<(), Failure> {
    let mut framed = (message.len() as u32).to_be_bytes().to_vec();
    framed.extend(message);
    Ok(tcp.write_all(&framed).await?)
}

async fn shake_hands(
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    expected: &HybridVerifyingKey,
) -> Result<Identity, Failure> {
    let mut greeting = Greeting::new(SessionId::random().0);
    for _ in 0..MOST_ROUNDS {
        write_message(writer, &greeting.hello()?).await?;
        let answer = read_message(reader).await?;
        if let Some(identity) = greeting.answered(&answer, expected)? {
            return Ok(identity);
        }
    }
    Err("the listener asks for ever more rounds".into())
}

async fn to_network(wire: Arc<Wire>, mut tcp: OwnedReadHalf) {
    while let Ok(message) = read_message(&mut tcp).await {
        wire.send(&message).await;
    }
}

async fn from_network(wire: Arc<Wire>, mut tcp: OwnedWriteHalf) {
    while let Some(datagram) = wire.receive().await {
        if write_message(&mut tcp, &datagram).await.is_err() {
            return;
        }
    }
}

/// A session of the crate as responder, and what its peer has to know.
pub async fn accept(wire: Arc<Wire>, runtime: Arc<dyn Runtime>) -> Result<(Arc<PhantomSession>, Identity), Failure> {
    let listener = PhantomListener::bind_with_runtime("127.0.0.1:0".into(), runtime).await?;
    let expected =
        HybridVerifyingKey::from_bytes(&listener.verifying_key_bytes()).map_err(|error| error.to_string())?;
    let address = listener.local_addr();
    let bridge = tokio::spawn(async move {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let (mut reader, mut writer) = tcp.into_split();
        let identity = shake_hands(&mut reader, &mut writer, &expected).await?;
        tokio::spawn(to_network(wire.clone(), reader));
        tokio::spawn(from_network(wire, writer));
        Ok::<_, Failure>(identity)
    });
    let session = listener.accept().await?.session();
    Ok((session, bridge.await??))
}
