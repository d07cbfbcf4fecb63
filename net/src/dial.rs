//! The dialling side: one peer, connected to again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::PeerId;
use crate::endpoint::{Peers, stopped, tune};
use crate::events::EventSender;
use crate::frame::{HEAD, PING_FRAME};
use crate::slot::Seat;
use crate::tls;

/// Whom to dial, and with which expectation of its key.
pub struct Target {
    pub peer: PeerId,
    pub address: SocketAddr,
    pub connector: TlsConnector,
}

/// Keeps a connection to the peer until told to stop.
pub async fn keep(
    target: Target,
    peers: Arc<Peers>,
    events: EventSender,
    mut stop: watch::Receiver<bool>,
) {
    let limits = &peers.limits;
    let mut wait = limits.redial_min;
    let mut last_failure = String::new();
    loop {
        let attempt = tokio::time::timeout(limits.handshake_timeout, connect(&target, &peers));
        let attempt = tokio::select! {
            () = stopped(&mut stop) => return,
            done = attempt => done.unwrap_or_else(|_| Err("no answer in time".to_owned())),
        };
        match attempt {
            Ok((stream, seat)) => {
                let up = Instant::now();
                seat.carry(stream, &events, limits).await;
                last_failure.clear();
                // A peer that drops us at once is dialled no faster than one that refuses.
                if up.elapsed() >= limits.redial_max {
                    wait = limits.redial_min;
                }
            }
            // A failure that repeats is told once.
            Err(reason) if reason == last_failure => {}
            Err(reason) => {
                tracing::warn!(peer = %target.peer, address = %target.address, reason, "cannot connect");
                last_failure = reason;
            }
        }
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(jittered(wait)) => {}
        }
        wait = (wait * 2).min(limits.redial_max);
    }
}

/// Half to all of a wait, so that those who lost a peer together do not dial it together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.5..=1.0))
}

async fn connect<'a>(
    target: &Target,
    peers: &'a Peers,
) -> Result<(TlsStream<TcpStream>, Seat<'a>), String> {
    let opened = async {
        let stream = TcpStream::connect(target.address).await?;
        tune(&stream)?;
        let mut stream = target.connector.connect(tls::no_name(), stream).await?;
        // The listener's first frame comes once it has checked our key.
        let mut first = [0; HEAD];
        stream.read_exact(&mut first).await?;
        Ok((stream, first))
    };
    let (stream, first) = opened
        .await
        .map_err(|error: std::io::Error| error.to_string())?;
    let proven = tls::proven_key(stream.get_ref().1).and_then(|key| peers.directory.peer(&key));
    if proven != Some(target.peer) || first != PING_FRAME {
        return Err("the listener is not the peer that was dialled".to_owned());
    }
    let slot = peers
        .slots
        .get(&target.peer)
        .ok_or("not a peer of the directory")?;
    let seat = slot
        .enter(&peers.limits)
        .await
        .ok_or("replaced by a newer connection")?;
    Ok((stream, seat))
}
