//! What all links of an endpoint go by at one time, and how one view gives way to the next.
//!
//! Why numbers: a handshake takes a while, and its key is checked against the view that it began under. A slot knows
//! the first view whose proofs count for its peer, so a connection proven under an older one is refused its seat,
//! whenever it arrives. The change raises that number and ends connections under the lock that publishes the view.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::dial::Target;
use crate::slot::Slot;
use crate::{Directory, Identity, Limits, Membership, PeerId, StartError, tls};

const WE_LEFT: &str = "the view no longer lists us";
const LEFT: &str = "the view no longer lists the peer";
const OTHER_KEY: &str = "the view lists another key for the peer";
const MOVED: &str = "the view lists another address for the peer";

/// What the tasks of an endpoint share.
pub struct Peers {
    pub limits: Limits,
    pub view: watch::Sender<View>,
}

impl Peers {
    /// What admits a connection that comes now, and the number of the view that it will be proven under.
    pub fn door(&self) -> (TlsAcceptor, u64) {
        let view = self.view.borrow();
        (view.acceptor.clone(), view.number)
    }

    /// The slot of the peer that owns a key now.
    pub fn slot_of(&self, key: &[u8; 32]) -> Option<Arc<Slot>> {
        let view = self.view.borrow();
        let peer = view.directory.peer(key)?;
        view.slots.get(&peer).cloned()
    }
}

/// A membership with all that follows from it. A process that its directory does not list has no peers in it.
pub struct View {
    number: u64,
    lists_us: bool,
    our_key: [u8; 32],
    directory: Directory,
    pub slots: BTreeMap<PeerId, Arc<Slot>>,
    targets: BTreeMap<PeerId, Arc<Target>>,
    acceptor: TlsAcceptor,
}

/// The slots that are in use, also by connections of former peers on their way out: a peer that comes back gets the
/// same one, so that its `Up` follows its last `Down`.
#[derive(Default)]
pub struct Slots {
    known: BTreeMap<PeerId, Weak<Slot>>,
}

impl Slots {
    fn of(&mut self, peer: PeerId, view: u64) -> Arc<Slot> {
        let known = self.known.get(&peer).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let slot = Arc::new(Slot::new(peer, view));
            self.known.insert(peer, Arc::downgrade(&slot));
            slot
        })
    }

    /// Forgets those that nobody uses.
    pub fn tidy(&mut self) {
        self.known.retain(|_, slot| slot.strong_count() > 0);
    }
}

impl View {
    /// The view that follows `previous`; changes nothing yet. `identity` is what the directory lists for `me`.
    pub fn build(
        previous: Option<&View>,
        me: PeerId,
        identity: &Identity,
        membership: Membership,
        known: &mut Slots,
    ) -> Result<View, StartError> {
        let Membership { directory, dial } = membership;
        let number = previous.map_or(0, |view| view.number + 1);
        let our_key = identity.public_key();
        let lists_us = directory.key(me).is_some();
        let others = directory.peers().filter(|peer| lists_us && *peer != me);
        let slots: BTreeMap<PeerId, Arc<Slot>> =
            others.map(|peer| (peer, known.of(peer, number))).collect();
        let keys = slots.keys().filter_map(|peer| directory.key(*peer));
        let acceptor = TlsAcceptor::from(Arc::new(tls::server(identity, keys.copied().collect())?));
        let mut targets = BTreeMap::new();
        for (peer, address) in dial.into_iter().filter(|_| lists_us) {
            let (slot, key) = slots
                .get(&peer)
                .zip(directory.key(peer))
                .ok_or(StartError::Unlisted(peer))?;
            let same = previous
                .filter(|view| view.our_key == our_key)
                .and_then(|view| view.targets.get(&peer))
                .filter(|target| target.address == address && target.key == *key);
            let target = match same {
                Some(target) => target.clone(),
                None => Arc::new(Target {
                    peer,
                    address,
                    key: *key,
                    connector: TlsConnector::from(Arc::new(tls::client(identity, *key)?)),
                    slot: slot.clone(),
                    view: number,
                }),
            };
            targets.insert(peer, target);
        }
        Ok(View {
            number,
            lists_us,
            our_key,
            directory,
            slots,
            targets,
            acceptor,
        })
    }

    /// Gives way to the next view: ends what it does not allow, leaves all else alone.
    pub fn replace(&mut self, next: View) {
        for (peer, slot) in &self.slots {
            let from = next.slots.contains_key(peer).then_some(next.number);
            match self.parting(*peer, &next) {
                Some(reason) => slot.expel(from, reason),
                // What we proved with our old key is as stale as what a peer did, but who is connected may stay.
                None if self.our_key != next.our_key => slot.admit_from(from),
                None => {}
            }
        }
        for (peer, slot) in &next.slots {
            if !self.slots.contains_key(peer) {
                slot.admit_from(Some(next.number));
            }
        }
        *self = next;
    }

    /// Why the connection of a peer has to end with this view.
    fn parting(&self, peer: PeerId, next: &View) -> Option<&'static str> {
        if !next.lists_us {
            return Some(WE_LEFT);
        }
        match (self.directory.key(peer), next.directory.key(peer)) {
            (_, None) => return Some(LEFT),
            (old, new) if old != new => return Some(OTHER_KEY),
            _ => {}
        }
        let (old, new) = (self.targets.get(&peer)?, next.targets.get(&peer)?);
        (old.address != new.address).then_some(MOVED)
    }

    /// Whether the view dials as `target` says.
    pub fn dials(&self, target: &Arc<Target>) -> bool {
        let ours = self.targets.get(&target.peer);
        ours.is_some_and(|ours| Arc::ptr_eq(ours, target))
    }

    /// The targets that `previous` does not dial.
    pub fn new_targets(&self, previous: Option<&View>) -> Vec<Arc<Target>> {
        let targets = self.targets.values();
        targets
            .filter(|target| !previous.is_some_and(|view| view.dials(target)))
            .cloned()
            .collect()
    }

    pub fn lists_us(&self) -> bool {
        self.lists_us
    }
}
