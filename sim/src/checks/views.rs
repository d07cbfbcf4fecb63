//! Views: which decisions make which view, judged again by code of its own; every correct replica is in the view that
//! its decisions make, and speaks in no view that does not name it by a key of its machine.

use std::collections::{BTreeMap, BTreeSet};

use consensus::{Change, Decided, Height, Message, Mode, PublicKey, ReplicaId, Status, Step, View};

use super::{Group, Verdict};

/// A view and the heights from which on it holds.
#[derive(Debug)]
pub struct Era {
    /// Its first height.
    pub since: Height,
    /// The view.
    pub view: View,
    /// Its sizes.
    pub group: Group,
}

/// All views so far, and whose keys are whose.
#[derive(Debug)]
pub struct Views {
    eras: Vec<Era>,
    decided: Height,
    /// Keys of liars, whether a view names them or not.
    liars: BTreeSet<PublicKey>,
    /// Keys of each correct replica's machine.
    keys: BTreeMap<ReplicaId, BTreeSet<PublicKey>>,
    /// The view that each correct replica is in. What is in flight is voted on in that one, though the heights below may have
    /// made another that the replica has not come to.
    current: BTreeMap<ReplicaId, u64>,
}

impl Views {
    /// Begins with the first view.
    pub fn new(genesis: View) -> Self {
        let mut views = Self {
            eras: Vec::new(),
            decided: 0,
            liars: BTreeSet::new(),
            keys: BTreeMap::new(),
            current: BTreeMap::new(),
        };
        views.begin(1, genesis);
        views
    }

    fn begin(&mut self, since: Height, view: View) {
        let group = Group::of(&view, &self.liars);
        self.eras.push(Era { since, view, group });
    }

    /// A liar's key; before a view names it, but for the first view.
    pub fn lies(&mut self, key: PublicKey) {
        self.liars.insert(key);
        if let [genesis] = self.eras.as_mut_slice() {
            genesis.group = Group::of(&genesis.view, &self.liars);
        }
    }

    /// Whether this is the key of a liar.
    pub fn is_liar(&self, key: &PublicKey) -> bool {
        self.liars.contains(key)
    }

    /// A correct replica runs on another machine, which has no key yet.
    pub fn replaced(&mut self, replica: ReplicaId) {
        self.keys.remove(&replica);
    }

    /// A correct replica's machine has this key.
    pub fn owns(&mut self, replica: ReplicaId, key: PublicKey) {
        self.keys.entry(replica).or_default().insert(key);
    }

    /// The view of a height.
    pub fn of(&self, height: Height) -> &Era {
        let mut past = self.eras.iter().rev();
        past.find(|era| era.since <= height)
            .unwrap_or(&self.eras[0])
    }

    /// The view of this number.
    pub fn named(&self, id: u64) -> Option<&Era> {
        self.eras.iter().find(|era| era.view.id == id)
    }

    /// The last one.
    pub fn newest(&self) -> &Era {
        self.eras.last().expect("there is a first view")
    }

    /// A correct replica decides.
    pub fn decided(&mut self, decided: &Decided) {
        if decided.height != self.decided + 1 {
            return;
        }
        self.decided = decided.height;
        if let Some(view) = after(&self.newest().view, decided) {
            self.begin(decided.height + 1, view);
        }
    }

    /// The view in which a correct replica votes at a height: that of the height, or the one before which it has not left. One
    /// that lost power is back in the view that its log ends in.
    pub fn voting(&self, replica: ReplicaId, height: Height) -> &Era {
        let then = self.of(height);
        let current = self.current.get(&replica);
        let current = current.map_or(self.eras.first(), |id| self.named(*id));
        let before = current.filter(|era| era.view.id < then.view.id);
        before.unwrap_or(then)
    }

    /// Whether a view names a correct replica by a key that it has.
    pub fn is_member(&self, replica: ReplicaId, view: &View) -> bool {
        let named = view.replicas.get(&replica);
        let mine = self.keys.get(&replica);
        named.is_some_and(|key| mine.is_some_and(|keys| keys.contains(key)))
    }

    /// A correct replica speaks.
    pub fn says(&self, replica: ReplicaId, message: &Message) -> Verdict {
        let era = match message {
            Message::Propose { height, .. }
            | Message::Write { height, .. }
            | Message::Accept { height, .. } => Some(self.voting(replica, *height)),
            Message::Stop { view, .. } => self.named(*view),
            Message::StopData(data) => self.named(data.state.view),
            Message::Sync(sync) => sync
                .states
                .first()
                .and_then(|(state, _)| self.named(state.view)),
            _ => return Ok(()),
        };
        let name = message.name();
        match era {
            Some(era) if self.is_member(replica, &era.view) => Ok(()),
            Some(era) => Err(format!(
                "views: {replica} sends {name} in view {}, of which it is no member",
                era.view.id
            )),
            None => Err(format!(
                "views: {replica} sends {name} in a view that no decision made"
            )),
        }
    }

    /// A correct replica has handled an input.
    pub fn stands(&self, replica: ReplicaId, status: &Status) -> Verdict {
        let view = &self.of(status.height + 1).view;
        if status.view != view.id {
            return Err(format!(
                "views: {replica} decided height {} and is in view {}; the decisions make view {}",
                status.height, status.view, view.id
            ));
        }
        let member = self.is_member(replica, view);
        if status.member == member {
            return Ok(());
        }
        Err(format!(
            "views: {replica} takes itself for a member of view {}: {}; it is one: {member}",
            view.id, status.member
        ))
    }

    /// A correct replica returns at a height.
    pub fn restarted(&mut self, replica: ReplicaId, height: Height) {
        let view = self.of(height + 1).view.id;
        self.current.insert(replica, view);
    }

    /// A correct replica begins a view.
    pub fn begins(&mut self, replica: ReplicaId, begun: &View) -> Verdict {
        self.current.insert(replica, begun.id);
        let made = self.named(begun.id).map(|era| &era.view);
        if made == Some(begun) {
            return Ok(());
        }
        Err(format!(
            "views: {replica} begins {begun:?}; the decisions make {made:?}"
        ))
    }
}

/// The view after a decision, if it makes one: the last request is an administrator's, made for this view, and leads
/// to a view that can be used.
fn after(view: &View, decided: &Decided) -> Option<View> {
    let last = decided.requests.last()?;
    let administrator = view.administrators.contains(&last.client);
    let change = administrator.then(|| postcard::take_from_bytes::<Change>(&last.op));
    let (change, rest) = change?.ok()?;
    if change.base != view.id || !rest.is_empty() {
        return None;
    }
    let mut next = view.clone();
    next.id = view.id + 1;
    let taken = change.steps.iter().all(|step| take(&mut next, step));
    (taken && is_usable(&next)).then_some(next)
}

/// False: it names what is not there, or there already.
fn take(view: &mut View, step: &Step) -> bool {
    match step {
        Step::AddReplica { id, key, contact } => {
            view.contacts.insert(*id, contact.clone());
            view.replicas.insert(*id, *key).is_none()
        }
        Step::RemoveReplica { id } => {
            view.contacts.remove(id);
            view.fast.remove(id);
            if view.first_leader == Some(*id) {
                view.first_leader = None;
            }
            view.replicas.remove(id).is_some()
        }
        Step::RotateReplicaKey { id, key } => {
            view.replicas.contains_key(id) && view.replicas.insert(*id, *key).is_some()
        }
        Step::MoveReplica { id, contact } => {
            view.contacts.insert(*id, contact.clone());
            view.replicas.contains_key(id)
        }
        Step::SetFaults { f } => {
            view.f = *f;
            true
        }
        Step::SetFast { replicas } => {
            view.fast = replicas.clone();
            true
        }
        Step::SetLeader { replica } => {
            view.first_leader = Some(*replica);
            view.replicas.contains_key(replica)
        }
        Step::MoveMaster { replica, .. } => view.replicas.contains_key(replica),
        Step::AddClient { id, key } => view.clients.insert(*id, *key).is_none(),
        Step::RemoveClient { id } => {
            view.administrators.remove(id);
            view.clients.remove(id).is_some() && !view.administrators.is_empty()
        }
        Step::RotateClientKey { id, key } => {
            view.clients.contains_key(id) && view.clients.insert(*id, *key).is_some()
        }
    }
}

fn is_usable(view: &View) -> bool {
    let (n, f) = (view.replicas.len(), usize::from(view.f));
    let (least, fast) = match view.mode {
        Mode::Byzantine => (3 * f + 1, 2 * f),
        Mode::CrashOnly => (2 * f + 1, f),
    };
    let keys: BTreeSet<_> = view
        .replicas
        .values()
        .chain(view.clients.values())
        .collect();
    let members = view.fast.iter().all(|id| view.replicas.contains_key(id));
    n >= least
        && (view.fast.is_empty() || view.fast.len() == fast && members)
        && keys.len() == n + view.clients.len()
}
