//! A connection to either side that tells what it hears in frames.

use crate::client::startup;
use bytes::{Bytes, BytesMut};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(60);

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

pub struct Peer {
    stream: Box<dyn Duplex>,
    input: BytesMut,
    name: &'static str,
}

impl Peer {
    pub async fn tcp(address: std::net::SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Peer::over(Box::new(stream), "SteelDB").await
    }

    pub async fn unix(path: &Path) -> Peer {
        let stream = UnixStream::connect(path).await.unwrap();
        Peer::over(Box::new(stream), "PostgreSQL").await
    }

    async fn over(stream: Box<dyn Duplex>, name: &'static str) -> Peer {
        let mut peer = Peer {
            stream,
            input: BytesMut::new(),
            name,
        };
        let parameters = [("user", "postgres"), ("database", "postgres")];
        let greeting = peer.ask(&startup(3 << 16, &parameters), 1).await;
        greeting.expect("a log-in");
        peer
    }

    /// Sends messages; the answers up to this many ReadyForQuery.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn ask(&mut self, messages: &[u8], readies: usize) -> Result<Vec<Bytes>, String> {
        self.stream.write_all(messages).await.unwrap();
        let mut frames = Vec::new();
        let mut left = readies;
        while left > 0 {
            let frame = self.frame().await?;
            left -= usize::from(frame[0] == b'Z');
            frames.push(frame);
        }
        Ok(frames)
    }

    async fn frame(&mut self) -> Result<Bytes, String> {
        loop {
            if let Some(header) = self.input.first_chunk::<5>() {
                let [_, a, b, c, d] = *header;
                let whole = u32::from_be_bytes([a, b, c, d]) as usize + 1;
                if self.input.len() >= whole {
                    return Ok(self.input.split_to(whole).freeze());
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            match read {
                Err(_) => return Err(format!("{} does not answer", self.name)),
                Ok(Ok(0) | Err(_)) => return Err(format!("{} closed the connection", self.name)),
                Ok(Ok(_)) => {}
            }
        }
    }
}
