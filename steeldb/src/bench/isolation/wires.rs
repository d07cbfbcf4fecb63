//! The ways between the members, each through a forwarder that can hold it: what is sent waits, as behind a cut that heals.
//!
//! No root, no network namespaces: a cut looks to both ends as packets that are lost and sent again later.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::failure::Failure;

/// Connections of one way at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// Bytes of one read at most.
const READ: usize = 64 << 10;

/// Who sends at one end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Replica(u16),
    Proxy(u16),
}

/// One way: whoever opens connections, and who takes them.
struct Wire {
    opener: End,
    server: u16,
    hold: watch::Sender<bool>,
    task: AbortHandle,
}

/// All ways; they end with this.
#[derive(Default)]
pub struct Wires(Vec<Wire>);

impl Wires {
    /// A new way; returns the address at which the opener finds the server.
    pub async fn lay(
        &mut self,
        opener: End,
        server: u16,
        address: SocketAddr,
    ) -> Result<SocketAddr, Failure> {
        let failed = |error| Failure::new("cannot lay a way between members").cause(error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(failed)?;
        let own = listener.local_addr().map_err(failed)?;
        let (hold, held) = watch::channel(false);
        let task = tokio::spawn(listen(listener, address, held)).abort_handle();
        self.0.push(Wire {
            opener,
            server,
            hold,
            task,
        });
        Ok(own)
    }

    /// Cuts a replica off from these ends, or mends it.
    pub fn cut(&self, replica: u16, from: impl Fn(End) -> bool, lost: bool) {
        for wire in &self.0 {
            let ours = match wire.opener {
                End::Replica(id) if id == replica => from(End::Replica(wire.server)),
                opener => wire.server == replica && from(opener),
            };
            if ours {
                wire.hold.send_replace(lost);
            }
        }
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        for wire in &self.0 {
            wire.task.abort();
        }
    }
}

async fn listen(listener: TcpListener, server: SocketAddr, held: watch::Receiver<bool>) {
    // Dropped with this task, so that no connection outlives it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((opener, _)) => {
                    connections.spawn(forward(opener, server, held.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a way cannot take a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Until one direction ends or breaks: then both are closed, and the members connect again.
async fn forward(
    opener: TcpStream,
    server: SocketAddr,
    mut held: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // Its sender lives as long as the way.
    let _ = held.wait_for(|held| !held).await;
    let server = TcpStream::connect(server).await?;
    opener.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_opener, to_opener) = opener.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        done = direction(from_opener, to_server, held.clone()) => done,
        done = direction(from_server, to_opener, held) => done,
    }
}

async fn direction(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; READ];
    loop {
        let read = from.read(&mut bytes).await?;
        let _ = held.wait_for(|held| !held).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    /// Takes connections and counts the bytes that come.
    async fn counter() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let counted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&counted);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut byte = [0; 1];
                while stream.read_exact(&mut byte).await.is_ok() {
                    count.fetch_add(1, Relaxed);
                }
            }
        });
        (address, counted)
    }

    async fn reaches(counted: &AtomicUsize, bytes: usize) -> bool {
        let reached = async {
            while counted.load(Relaxed) < bytes {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), reached)
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn what_is_sent_over_a_cut_way_arrives_when_it_is_mended() {
        let (address, counted) = counter().await;
        let mut wires = Wires::default();
        let way = wires.lay(End::Replica(3), 1, address).await.unwrap();
        let mut stream = TcpStream::connect(way).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert!(reaches(&counted, 1).await);
        // Another replica's cut is not ours; ours works from both ends.
        wires.cut(2, |_| true, true);
        stream.write_all(b"b").await.unwrap();
        assert!(reaches(&counted, 2).await);
        for (replica, other) in [(1, 3), (3, 1)] {
            let before = counted.load(Relaxed);
            wires.cut(replica, |end| end == End::Replica(other), true);
            stream.write_all(b"c").await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(counted.load(Relaxed), before, "it was let through");
            wires.cut(replica, |_| true, false);
            assert!(reaches(&counted, before + 1).await);
        }
    }
}
