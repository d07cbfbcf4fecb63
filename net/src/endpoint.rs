//! One process's end of all its links.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::keeper::Keeper;
use crate::view::Peers;
use crate::{ChangeError, Directory, Events, Identity, Limits, Membership, PeerId, events};

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
    keeper: Arc<Mutex<Keeper>>,
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
        let listener = match listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let (sender, events) = events::channel(&limits);
        let membership = Membership { directory, dial };
        let mut keeper = Keeper::start(me, identity, membership, limits, sender)?;
        let local_addr = listener.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = listener {
            keeper.listen(listener);
        }
        let endpoint = Endpoint {
            peers: keeper.peers(),
            local_addr,
            keeper: Arc::new(Mutex::new(keeper)),
        };
        Ok((endpoint, events))
    }

    /// Queues a message. Never waits. Messages to one peer on one channel arrive in the order of the calls, or, after the
    /// connection was lost, not at all.
    pub fn send(&self, to: PeerId, channel: u8, payload: Bytes) -> Result<(), SendError> {
        let view = self.peers.view.borrow();
        let slot = view.slots.get(&to).ok_or(SendError::Unlisted(to))?;
        slot.send(channel, payload)
    }

    /// The peers connected now, in order.
    pub fn connected(&self) -> Vec<PeerId> {
        let view = self.peers.view.borrow();
        let slots = view.slots.iter();
        slots
            .filter(|(_, slot)| slot.connected())
            .map(|(peer, _)| *peer)
            .collect()
    }

    /// Follows a change of the membership. Calls are carried out one after another, and each is in force when it
    /// returns; it never waits for the network.
    ///
    /// - A new peer is admitted from now on, and dialled if it is in the list.
    /// - A peer that left is disconnected at once, with a [`Down`](crate::Event::Down) that says so. What was queued for
    ///   it is dropped; it is refused as often as it comes.
    /// - A peer with another key is disconnected and has to prove the new one. No connection that was proven under an
    ///   older view takes its place, not even one whose handshake was under way.
    /// - A peer that is dialled at another address than before is disconnected and dialled there.
    /// - Every other peer keeps its connection and its queue, also one that is now dialled or no longer is: a connected
    ///   peer is dialled once it is lost.
    /// - If the directory lists the [offered](Endpoint::offer) key for us, connections are made with it from now on;
    ///   those that there are stay until the peers' own changes end them.
    ///
    /// Frames that a peer had sent before may still come before its `Down`. A peer that is in `dial` twice is dialled at the last
    /// address. After a shutdown a change does nothing.
    ///
    /// # Errors
    ///
    /// [`Refused`](ChangeError::Refused) changes nothing: the directory lacks a peer to dial, or lists a key for us that we
    /// do not have. After [`Removed`](ChangeError::Removed) the change is in force, and we are not of the view: nobody is a peer,
    /// all connections end, and everybody is refused, until a change lists us again.
    pub fn change(&self, membership: Membership) -> Result<(), ChangeError> {
        self.keeper().change(membership)
    }

    /// Keeps a second key ready, in place of one offered before. It is used from the [change](Endpoint::change) on whose
    /// directory lists it for us; the key used until then is on offer after that.
    pub fn offer(&self, identity: Identity) {
        self.keeper().offer(identity);
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where this endpoint listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Sends what is queued, for a second at most, and ends all connections, whoever else holds a handle.
    pub async fn shutdown(self) {
        let mut running = self.keeper().stop();
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
