//! The listening side: whoever connects proves a key of the directory within bounds of number and time, or goes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::endpoint::{stopped, tune};
use crate::events::EventSender;
use crate::frame::PING_FRAME;
use crate::slot::Seat;
use crate::tls;
use crate::view::Peers;

/// The pause after the system refused to accept (no file descriptors), so that the loop does not spin.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Accepts until told to stop, then waits for its connections to end.
pub async fn listen(
    listener: TcpListener,
    peers: Arc<Peers>,
    events: EventSender,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    // A connection holds the other half of its entry until it has proven its key.
    let mut unproven: VecDeque<Arc<Notify>> = VecDeque::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    unproven.retain(|entry| Arc::strong_count(entry) > 1);
                    if unproven.len() >= peers.limits.handshakes.max(1)
                        && let Some(oldest) = unproven.pop_front()
                    {
                        // The oldest goes: an honest handshake takes milliseconds, so idlers cannot keep honest peers out.
                        oldest.notify_one();
                    }
                    let evicted = Arc::new(Notify::new());
                    unproven.push_back(evicted.clone());
                    connections.spawn(serve(
                        stream, address, evicted, peers.clone(), events.clone(),
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                }
            },
        }
    }
    drop(listener);
    unproven.iter().for_each(|entry| entry.notify_one());
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// A task that failed is told, and its connection lost.
pub fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    evicted: Arc<Notify>,
    peers: Arc<Peers>,
    events: EventSender,
) {
    let limit = peers.limits.handshake_timeout;
    let admitted = tokio::select! {
        done = tokio::time::timeout(limit, admit(stream, &peers)) => {
            done.unwrap_or_else(|_| Err(format!("no proof of a key within {limit:?}")))
        }
        () = evicted.notified() => Err("too many connections without a proven key".to_owned()),
    };
    drop(evicted);
    match admitted {
        Ok((stream, seat)) => seat.carry(stream, &events, &peers.limits).await,
        Err(reason) => tracing::warn!(%address, reason, "refused a connection"),
    }
}

async fn admit(stream: TcpStream, peers: &Peers) -> Result<(TlsStream<TcpStream>, Seat), String> {
    tune(&stream).map_err(|error| error.to_string())?;
    let (acceptor, view) = peers.door();
    let mut stream = acceptor
        .accept(stream)
        .await
        .map_err(|error| error.to_string())?;
    let slot = tls::proven_key(stream.get_ref().1)
        .and_then(|key| peers.slot_of(&key))
        .ok_or("not a peer of the directory")?;
    let seat = slot.enter(view, &peers.limits).await?;
    // In TLS 1.3 the dialler ends its handshake before its key is checked: this first frame tells it that it is in.
    let first = async {
        stream.write_all(&PING_FRAME).await?;
        stream.flush().await
    };
    first
        .await
        .map_err(|error: std::io::Error| error.to_string())?;
    Ok((stream, seat))
}
