//! One process's end of all its links.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::slot::Slot;
use crate::{Directory, Events, Identity, Limits, PeerId, accept, dial, events, tls};

/// How long a shutdown waits for what is queued to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes the kernel may hold unsent before we stop giving it more: they delay whatever is queued after them.
const UNSENT_IN_KERNEL: u32 = 256 << 10;

/// What an [`Endpoint`] is started with.
#[derive(Debug)]
pub struct EndpointConfig {
    /// Who we are; the directory must list `identity`'s key for it.
    pub me: PeerId,
    /// Our key.
    pub identity: Identity,
    /// Everybody who may speak with us.
    pub directory: Directory,
    /// Where to listen, if at all; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Peers to connect to, again and again. For two peers that both listen, list each at one side only.
    pub dial: Vec<(PeerId, SocketAddr)>,
    /// Bounds.
    pub limits: Limits,
}

/// Why an endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The directory lacks us or a peer to dial.
    #[error("the directory does not list {0}")]
    Unlisted(PeerId),
    /// The directory lists another key for us.
    #[error("the identity given is not the one that the directory lists for {0}")]
    NotOurKey(PeerId),
    /// The key cannot be used for TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a message was not queued.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// The directory does not list the peer.
    #[error("the directory does not list {0}")]
    Unlisted(PeerId),
    /// There is no connection now.
    #[error("{0} is not connected")]
    NotConnected(PeerId),
    /// More waits for this peer than [`Limits::queue_bytes`] allows.
    #[error("the queue is full: the peer reads too slowly")]
    Full,
    /// The message is longer than [`Limits::max_message`].
    #[error("a message of {0} bytes is over the limit of {1}")]
    TooLong(usize, usize),
}

/// All links of a process. Clones are handles to the same endpoint; it ends with [`shutdown`](Endpoint::shutdown) or the last handle.
#[derive(Clone)]
pub struct Endpoint {
    peers: Arc<Peers>,
    local_addr: Option<SocketAddr>,
    tasks: Arc<Tasks>,
}

/// The listener and the diallers, which own all connections.
struct Tasks {
    running: Mutex<JoinSet<()>>,
    stopping: watch::Sender<bool>,
}

/// What the tasks of an endpoint share.
pub(crate) struct Peers {
    pub directory: Directory,
    pub slots: BTreeMap<PeerId, Slot>,
    pub limits: Limits,
}

impl Endpoint {
    /// Listens and dials, as configured; must be called within a tokio runtime.
    pub async fn start(config: EndpointConfig) -> Result<(Endpoint, Events), StartError> {
        let EndpointConfig {
            me,
            identity,
            directory,
            listen,
            dial,
            limits,
        } = config;
        match directory.key(me) {
            None => return Err(StartError::Unlisted(me)),
            Some(key) if *key != identity.public_key() => return Err(StartError::NotOurKey(me)),
            Some(_) => {}
        }
        let others: Vec<PeerId> = directory.peers().filter(|peer| *peer != me).collect();
        let mut connectors = Vec::new();
        for (peer, address) in dial {
            let key = others
                .contains(&peer)
                .then(|| directory.key(peer))
                .flatten()
                .ok_or(StartError::Unlisted(peer))?;
            let connector = TlsConnector::from(Arc::new(tls::client(&identity, *key)?));
            connectors.push((peer, address, connector));
        }
        let listener = match listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let allowed: BTreeSet<[u8; 32]> = others
            .iter()
            .filter_map(|peer| directory.key(*peer).copied())
            .collect();
        let acceptor = TlsAcceptor::from(Arc::new(tls::server(&identity, allowed)?));

        let (sender, events) = events::channel(&limits);
        let slots = others
            .into_iter()
            .map(|peer| (peer, Slot::new(peer)))
            .collect();
        let peers = Arc::new(Peers {
            directory,
            slots,
            limits,
        });
        let (stopping, stop) = watch::channel(false);
        let mut running = JoinSet::new();
        let local_addr = listener.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = listener {
            let accepting = accept::listen(
                listener,
                acceptor,
                peers.clone(),
                sender.clone(),
                stop.clone(),
            );
            running.spawn(accepting);
        }
        for (peer, address, connector) in connectors {
            let target = dial::Target {
                peer,
                address,
                connector,
            };
            running.spawn(dial::keep(
                target,
                peers.clone(),
                sender.clone(),
                stop.clone(),
            ));
        }
        let tasks = Arc::new(Tasks {
            running: Mutex::new(running),
            stopping,
        });
        let endpoint = Endpoint {
            peers,
            local_addr,
            tasks,
        };
        Ok((endpoint, events))
    }

    /// Queues a message. Never waits. Messages to one peer on one channel arrive in the order of the calls, or, after the
    /// connection was lost, not at all.
    pub fn send(&self, to: PeerId, channel: u8, payload: Bytes) -> Result<(), SendError> {
        let slot = self.peers.slots.get(&to).ok_or(SendError::Unlisted(to))?;
        slot.send(channel, payload)
    }

    /// The peers connected now, in order.
    pub fn connected(&self) -> Vec<PeerId> {
        let slots = self.peers.slots.iter();
        slots
            .filter(|(_, slot)| slot.connected())
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// Where this endpoint listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Sends what is queued, for a second at most, and ends all connections, whoever else holds a handle.
    pub async fn shutdown(self) {
        self.tasks.stopping.send_replace(true);
        for slot in self.peers.slots.values() {
            slot.close();
        }
        let mut running = std::mem::take(
            &mut *self
                .tasks
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let ended = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, ended).await.is_err() {
            running.shutdown().await;
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?;
        Ok((listener, local))
    };
    bound
        .await
        .map_err(|source| StartError::Listen { address, source })
}

/// Small frames leave at once, and little is buffered where we can no longer reorder it.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_IN_KERNEL)
}

/// Waits until the endpoint is to end, or is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
