//! From order to verdict: the rules of Byzantium as one plain value (DESIGN.md, "The life of a transaction").
//!
//! Heights are finished one after another: every voted item of a height is judged, voted on, final and applied before
//! the snapshots of the height's `Begin`s are taken, and only then the next height's items are judged. What depends on
//! the order alone (which transactions are open, the master epoch, the tally of ordered votes) is computed as soon as a
//! batch is decided, so that votes ordered later can end an earlier height.

use crate::ballot::{Ballot, VotePart};
use crate::client::Answer;
use crate::given::{Given, Refused, Repeat, Taken};
use crate::limits;
use crate::ordered::{Isolation, Ordered, TxId};
use crate::tally::{Group, Tally, Verdict};
use consensus::{ClientId, Digest, Height, PublicKey, ReplicaId, View};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

mod absence;
mod checkpoint;
mod decide;
mod item;
mod moving;
mod progress;
mod sequences;
mod suspicion;
mod told;
mod votes;

use absence::Absence;
pub use checkpoint::{EngineState, Settled};
use item::{HeightState, Item, Kind};
use sequences::{Fate, TakenOf};
use suspicion::Suspicion;

/// A request at its place in a decided batch.
#[derive(Clone, Debug)]
pub struct Placed {
    pub client: ClientId,
    pub incarnation: u64,
    pub seq: u64,
    pub ordered: Arc<Ordered>,
}

/// What this replica's log knows of a height that it replays.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Own ballots, durable before the restart: never revised.
    pub ballots: BTreeMap<u32, Ballot>,
    pub verdicts: BTreeMap<u32, Verdict>,
}

/// Why an open transaction ended without its client asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doom {
    MasterChanged,
    SchemaChanged,
    Expired,
    /// The client started anew: nobody can end this transaction any more.
    ClientRestarted,
    /// Replicas agree that the client is gone.
    ClientGone,
    /// The client rolled back.
    RolledBack,
}

/// What the executor is to do, in this order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Execute this item's operations at its snapshot and report with [`Engine::judged`]. `again`: an earlier run's
    /// result has lapsed; roll back to the savepoint and run at the item's turn.
    Judge {
        height: Height,
        index: u32,
        tx: TxId,
        ordered: Arc<Ordered>,
        /// Height of the snapshot; `None` for an autocommit write and for a SERIALIZABLE transaction that wrote: they
        /// read the state at their place.
        begun: Option<Height>,
        again: bool,
    },
    /// Make this vote durable with the write sets of its items, then send it to all and feed it to [`Engine::vote`].
    Cast(VotePart),
    /// Obey the verdict, then report with [`Engine::applied`]. `own` is this replica's ballot; where it is not COMMIT
    /// and the verdict is, the write set is adopted.
    Apply {
        height: Height,
        index: u32,
        tx: TxId,
        ordered: Arc<Ordered>,
        verdict: Verdict,
        own: Option<Ballot>,
        client: ClientId,
    },
    /// Execute at this place (`Exec`, `Audit`, `Compare`, `Copy`), then report with [`Engine::applied`].
    Execute {
        height: Height,
        index: u32,
        client: ClientId,
        incarnation: u64,
        seq: u64,
        ordered: Arc<Ordered>,
    },
    /// Open a session for each and take its snapshot now, then report with [`Engine::snapshots_taken`].
    Snapshots {
        height: Height,
        time_ms: u64,
        begins: Vec<(TxId, Arc<Ordered>)>,
    },
    /// The transaction is over; give up its session.
    Drop { tx: TxId, doom: Doom },
    /// Every item of the height is applied and its snapshots are taken.
    Final {
        height: Height,
        time_ms: u64,
        verdicts: Vec<(u32, Verdict)>,
        /// What belongs to the state after it: heights may be final one behind the other before this is read.
        settled: Settled,
    },
    /// Tell the client, once the decision is durable.
    Answer {
        client: ClientId,
        incarnation: u64,
        seq: u64,
        height: Height,
        index: u32,
        time_ms: u64,
        epoch: u64,
        answer: Answer,
    },
    /// An item is ABORT by the order: a sequence is said to have given it a value that was given before. No honest master's does
    /// unless a client sets it back.
    Repeated {
        height: Height,
        index: u32,
        ordered: Arc<Ordered>,
        begun: Option<Height>,
        repeat: Repeat,
    },
    /// Ask for the ordering of these votes.
    OrderVotes(Vec<VotePart>),
    /// Ask all peers for their votes of this height.
    FetchVotes { height: Height },
    /// Clients that are more than half of the active ones find this epoch's master's word worthless.
    Suspected { epoch: u64 },
    /// The master epoch moved by the order.
    EpochChanged { epoch: u64, height: Height },
}

/// An open transaction, by the order alone: equal at every correct replica at the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    begun: Height,
    time_ms: u64,
    isolation: Isolation,
}

/// The state machine. See the module's text.
pub struct Engine {
    me: ReplicaId,
    /// This replica's keys: those that a view named, or will.
    keys: Vec<ed25519_dalek::SigningKey>,
    /// The views and the heights from which they hold, the newest last: votes count in the view of their height.
    views: Vec<(Height, Arc<View>)>,
    epoch: u64,
    /// Replicas that found the current epoch's master silent, by the order.
    change_votes: BTreeSet<ReplicaId>,
    suspicion: Suspicion,
    absence: Absence,
    /// Who is to be the next master, by an administrator's word.
    moving: Option<ReplicaId>,
    open: BTreeMap<TxId, Open>,
    /// Highest incarnation seen of each client.
    incarnations: BTreeMap<ClientId, u64>,
    /// Consensus times of the last decided heights, for autocommit writes.
    times: BTreeMap<Height, u64>,
    /// Decided and not yet final here.
    queue: VecDeque<HeightState>,
    decided: Height,
    last_final: Height,
    /// Last final height with a committed schema change.
    schema_changed: Height,
    /// The same, of those too that only add.
    schema_touched: Height,
    /// Of all verdicts up to the last final height.
    verdicts: Digest,
    /// What sequences gave to what was committed up to there; shared with states that are taken down.
    given: Arc<Given>,
    /// Vote parts by height: early ones, those in use, and some past ones for peers that ask.
    parts: BTreeMap<Height, Vec<VotePart>>,
    /// Verdicts that members say are final, for heights that are not final here.
    told: BTreeMap<Height, BTreeMap<ReplicaId, Vec<(u32, Verdict)>>>,
    /// Who leads, and whether all replicas are connected: only for deciding when to ask for an ordering of votes.
    leading: bool,
    all_connected: bool,
    /// How long after n−f votes the last one usually comes (ms), and how many items in a row it did not.
    last_vote_ms: u64,
    stayed_out: u32,
}

impl Engine {
    /// A replica before height 1.
    pub fn new(me: ReplicaId, key: ed25519_dalek::SigningKey, view: View) -> Engine {
        Engine {
            me,
            keys: vec![key],
            views: vec![(1, Arc::new(view))],
            epoch: 0,
            change_votes: BTreeSet::new(),
            suspicion: Suspicion::default(),
            absence: Absence::default(),
            moving: None,
            open: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            times: BTreeMap::new(),
            queue: VecDeque::new(),
            decided: 0,
            last_final: 0,
            schema_changed: 0,
            schema_touched: 0,
            verdicts: Digest::default(),
            given: Arc::default(),
            parts: BTreeMap::new(),
            told: BTreeMap::new(),
            leading: false,
            all_connected: true,
            last_vote_ms: 0,
            stayed_out: 0,
        }
    }

    /// Another key that a view may name for this replica.
    pub fn offer_key(&mut self, key: ed25519_dalek::SigningKey) {
        self.keys.push(key);
    }

    /// The key that votes of a height are signed with: the one that its view names, if it is here still.
    fn key_at(&self, height: Height) -> &ed25519_dalek::SigningKey {
        let named = self.view_at(height).replica_key(self.me);
        let mut keys = self.keys.iter();
        keys.find(|key| named == Some(&PublicKey::of(key)))
            .unwrap_or(&self.keys[0])
    }

    /// The key by which this replica is known now.
    pub fn key(&self) -> &ed25519_dalek::SigningKey {
        self.key_at(self.decided + 1)
    }

    /// The master epoch by the order so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The master of an epoch: epochs go round the replicas.
    pub fn master_of(&self, epoch: u64) -> ReplicaId {
        let view = self.view();
        let place = (epoch % view.n() as u64) as usize;
        *view
            .replicas
            .keys()
            .nth(place)
            .expect("place is below the number of replicas")
    }

    /// The master of the current epoch.
    pub fn master(&self) -> ReplicaId {
        self.master_of(self.epoch)
    }

    /// Last height fed to [`Engine::decided`].
    pub fn decided_height(&self) -> Height {
        self.decided
    }

    /// Last height of which every effect is applied here.
    pub fn final_height(&self) -> Height {
        self.last_final
    }

    /// Transactions open by the order.
    pub fn open_transactions(&self) -> usize {
        self.open.len()
    }

    /// Whether the order knows this transaction as open.
    pub fn is_open(&self, tx: &TxId) -> bool {
        self.open.contains_key(tx)
    }

    /// The catalogs are others than when this height's snapshots were taken: what differs from then is nobody's lie.
    pub fn schema_touched_since(&self, begun: Height) -> bool {
        begun < self.schema_touched
    }

    /// What sequences gave to what is committed and final here.
    pub fn given(&self) -> &Given {
        &self.given
    }

    /// Heights decided and not yet final here.
    pub fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// Tells who leads and whether every replica is connected: both move only the moment at which votes are ordered.
    pub fn network(&mut self, leading: bool, all_connected: bool) {
        self.leading = leading;
        self.all_connected = all_connected;
    }

    /// The view that holds after the last decided height.
    pub fn view(&self) -> &Arc<View> {
        let (_, view) = self.views.last().expect("there is always one");
        view
    }

    /// The view in which a height was decided, or will be as far as is known.
    fn view_at(&self, height: Height) -> &Arc<View> {
        let held = self.views.iter().rev().find(|(since, _)| *since <= height);
        // Older ones are forgotten with the votes of their heights.
        held.map_or_else(|| &self.views[0].1, |(_, view)| view)
    }

    /// The votes held of a height, for a peer that asks.
    pub fn votes_of(&self, height: Height) -> Vec<VotePart> {
        self.parts.get(&height).cloned().unwrap_or_default()
    }

    fn state_mut(&mut self, height: Height) -> Option<&mut HeightState> {
        let front = self.queue.front()?.height;
        let place = height.checked_sub(front)?;
        self.queue.get_mut(usize::try_from(place).ok()?)
    }

    fn item_mut(&mut self, height: Height, index: u32) -> Option<&mut Item> {
        self.state_mut(height)?.items.get_mut(index as usize)
    }
}

#[cfg(test)]
mod group;
#[cfg(test)]
mod moving_tests;
#[cfg(test)]
mod nonce_tests;
#[cfg(test)]
mod sequence_tests;
#[cfg(test)]
mod serial_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
