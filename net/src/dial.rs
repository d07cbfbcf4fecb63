//! The dialling side: one peer at one address with one key, connected to again and again while the view says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{stopped, tune};
use crate::events::EventSender;
use crate::frame::{HEAD, PING_FRAME};
use crate::slot::{Seat, Slot};
use crate::tls;
use crate::view::{Peers, View};
use crate::{Limits, PeerId};

/// Whom to dial, and with which expectation of its key.
pub struct Target {
    pub peer: PeerId,
    pub address: SocketAddr,
    pub key: [u8; 32],
    /// Proves our key, and demands `key`.
    pub connector: TlsConnector,
    pub slot: Arc<Slot>,
    /// The number of the first view that dials so.
    pub view: u64,
}

/// Keeps the peer connected until told to stop, or until a view dials it differently or not at all. A connection
/// is carried to its end even then: a view that does not want it ends it.
pub async fn keep(
    target: Arc<Target>,
    peers: Arc<Peers>,
    events: EventSender,
    mut stop: watch::Receiver<bool>,
) {
    let limits = &peers.limits;
    let mut view = peers.view.subscribe();
    let mut wait = limits.redial_min;
    let mut last_failure = String::new();
    loop {
        let attempt = async {
            // Whoever is connected, by its own call or since before the view dialled it so, is left in peace.
            target.slot.vacant().await;
            tokio::time::timeout(limits.handshake_timeout, connect(&target, limits)).await
        };
        let attempt = tokio::select! {
            () = stopped(&mut stop) => return,
            () = superseded(&target, &mut view) => return,
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
            () = superseded(&target, &mut view) => return,
            () = tokio::time::sleep(jittered(wait)) => {}
        }
        wait = (wait * 2).min(limits.redial_max);
    }
}

/// Half to all of a wait, so that those who lost a peer together do not dial it together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.5..=1.0))
}

/// Waits until the view no longer dials so.
async fn superseded(target: &Arc<Target>, view: &mut watch::Receiver<View>) {
    let _ = view.wait_for(|view| !view.dials(target)).await;
}

async fn connect(target: &Target, limits: &Limits) -> Result<(TlsStream<TcpStream>, Seat), String> {
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
    if tls::proven_key(stream.get_ref().1) != Some(target.key) || first != PING_FRAME {
        return Err("the listener is not the peer that was dialled".to_owned());
    }
    let seat = target.slot.enter(target.view, limits).await?;
    Ok((stream, seat))
}
