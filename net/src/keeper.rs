//! What makes an endpoint's changes one after another: its keys, and the tasks that own its connections.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dial::Target;
use crate::events::EventSender;
use crate::view::{Peers, Slots, View};
use crate::{
    ChangeError, Directory, Identity, Limits, Membership, PeerId, StartError, accept, dial,
};

/// Whoever holds it makes the change.
pub struct Keeper {
    me: PeerId,
    keys: Keys,
    slots: Slots,
    peers: Arc<Peers>,
    /// `None` once the endpoint shuts down.
    tasks: Option<Tasks>,
    stopping: watch::Sender<bool>,
}

/// The key in use and the one on offer.
struct Keys {
    used: Identity,
    offered: Option<Identity>,
}

/// The listener and the diallers, which own all connections.
struct Tasks {
    running: JoinSet<()>,
    runtime: Handle,
    events: EventSender,
}

impl Keys {
    /// The key that the directory lists for us; when it lists none, the one in use, for there is nobody to prove it to.
    fn listed(&self, me: PeerId, directory: &Directory) -> Result<&Identity, StartError> {
        let Some(key) = directory.key(me) else {
            return Ok(&self.used);
        };
        [Some(&self.used), self.offered.as_ref()]
            .into_iter()
            .flatten()
            .find(|identity| identity.public_key() == *key)
            .ok_or(StartError::NotOurKey(me))
    }

    /// The other key stays on offer, for a membership that takes the change back.
    fn use_listed(&mut self, me: PeerId, directory: &Directory) {
        let listed = directory.key(me);
        if let Some(offered) = &mut self.offered
            && listed == Some(&offered.public_key())
        {
            std::mem::swap(&mut self.used, offered);
        }
    }
}

impl Keeper {
    /// Begins with a first view; must be called within a tokio runtime.
    pub fn start(
        me: PeerId,
        identity: Identity,
        membership: Membership,
        limits: Limits,
        events: EventSender,
    ) -> Result<Keeper, StartError> {
        let mut slots = Slots::default();
        let keys = Keys {
            used: identity,
            offered: None,
        };
        if membership.directory.key(me).is_none() {
            return Err(StartError::Unlisted(me));
        }
        let identity = keys.listed(me, &membership.directory)?;
        let view = View::build(None, me, identity, membership, &mut slots)?;
        let targets = view.new_targets(None);
        let peers = Arc::new(Peers {
            limits,
            view: watch::Sender::new(view),
        });
        let mut tasks = Tasks {
            running: JoinSet::new(),
            runtime: Handle::current(),
            events,
        };
        let stopping = watch::Sender::new(false);
        tasks.dial(targets, &peers, &stopping);
        Ok(Keeper {
            me,
            keys,
            slots,
            peers,
            tasks: Some(tasks),
            stopping,
        })
    }

    pub fn peers(&self) -> Arc<Peers> {
        self.peers.clone()
    }

    pub fn listen(&mut self, listener: TcpListener) {
        if let Some(tasks) = &mut self.tasks {
            let (peers, events) = (self.peers.clone(), tasks.events.clone());
            tasks.spawn(accept::listen(
                listener,
                peers,
                events,
                self.stopping.subscribe(),
            ));
        }
    }

    pub fn offer(&mut self, identity: Identity) {
        self.keys.offered = Some(identity);
    }

    pub fn change(&mut self, membership: Membership) -> Result<(), ChangeError> {
        let Some(tasks) = &mut self.tasks else {
            return Ok(());
        };
        let me = self.me;
        let identity = self.keys.listed(me, &membership.directory)?;
        let directory = membership.directory.clone();
        let (next, targets) = {
            let view = self.peers.view.borrow();
            let next = View::build(Some(&view), me, identity, membership, &mut self.slots)?;
            let targets = next.new_targets(Some(&view));
            (next, targets)
        };
        self.keys.use_listed(me, &directory);
        let lists_us = next.lists_us();
        // Under the lock that senders read the view with: nobody sees one half of the change without the other.
        self.peers.view.send_modify(|view| view.replace(next));
        self.slots.tidy();
        tasks.reap();
        tasks.dial(targets, &self.peers, &self.stopping);
        if lists_us {
            Ok(())
        } else {
            Err(ChangeError::Removed(me))
        }
    }

    /// Lets all connections send what is queued and end; returns the tasks to wait for.
    pub fn stop(&mut self) -> JoinSet<()> {
        self.stopping.send_replace(true);
        for slot in self.peers.view.borrow().slots.values() {
            slot.close();
        }
        // With the last sender of events the owner's reading ends.
        let tasks = self.tasks.take();
        tasks.map(|tasks| tasks.running).unwrap_or_default()
    }
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn_on(task, &self.runtime);
    }

    fn dial(
        &mut self,
        targets: Vec<Arc<Target>>,
        peers: &Arc<Peers>,
        stopping: &watch::Sender<bool>,
    ) {
        for target in targets {
            let (peers, events) = (peers.clone(), self.events.clone());
            self.spawn(dial::keep(target, peers, events, stopping.subscribe()));
        }
    }

    /// Diallers end by themselves when the view no longer dials so.
    fn reap(&mut self) {
        while let Some(ended) = self.running.try_join_next() {
            accept::report(ended);
        }
    }
}
