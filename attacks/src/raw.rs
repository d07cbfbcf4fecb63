//! A client that speaks PostgreSQL's protocol by hand, so that it can stop anywhere.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Shorter than the 30 s after which the proxy gives up who does not log in.
const PATIENCE: Duration = Duration::from_secs(25);

pub struct Raw {
    pub stream: TcpStream,
}

impl Raw {
    /// Connects and says nothing.
    pub async fn silent(front: SocketAddr) -> Raw {
        let stream = TcpStream::connect(front).await.unwrap();
        Raw { stream }
    }

    /// Connects and logs in.
    pub async fn ready(front: SocketAddr) -> Raw {
        let mut raw = Raw::silent(front).await;
        raw.send(&startup(196_608)).await;
        raw.until(b'Z').await;
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A closed connection shows when it is read.
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await;
    }

    pub async fn query(&mut self, sql: &str) {
        self.send(&message(b'Q', format!("{sql}\0").as_bytes()))
            .await;
    }

    /// A query and its answers up to ReadyForQuery; fails on an error.
    pub async fn done(&mut self, sql: &str) {
        self.query(sql).await;
        let kinds = self.until(b'Z').await;
        assert!(!kinds.contains(&b'E'), "{sql} failed");
    }

    /// Reads up to a message of this kind; the kinds that came.
    pub async fn until(&mut self, wanted: u8) -> Vec<u8> {
        let mut kinds = Vec::new();
        while kinds.last() != Some(&wanted) {
            let found = timeout(PATIENCE, self.message())
                .await
                .expect("an answer in time");
            kinds.push(found.unwrap_or_else(|| panic!("closed after {kinds:?}")));
        }
        kinds
    }

    async fn message(&mut self) -> Option<u8> {
        let kind = self.stream.read_u8().await.ok()?;
        let length = self.stream.read_u32().await.ok()?;
        let mut body = vec![0; (length as usize).checked_sub(4)?];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(kind)
    }

    /// Asserts that the other side closes the connection.
    pub async fn closed(&mut self, why: &str) {
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "still open: {why}");
    }
}

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn startup(version: u32) -> Vec<u8> {
    let body = b"user\0postgres\0database\0postgres\0\0";
    let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend(body);
    bytes
}
