//! The items of a height on their way to being final.

use super::*;

/// What an item needs to become final.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Nothing: its effect was its place in the order.
    Order,
    /// A snapshot at the end of the height.
    Begin(TxId),
    /// Votes of all replicas. `begun` is `None` for what is judged against the state at its place.
    Voted {
        tx: TxId,
        begun: Option<Height>,
        schema_change: bool,
        /// The change of the schema ends nothing that began before it.
        adds_only: bool,
        /// The height with whose catalogs the master began it.
        ran_from: Height,
    },
    /// Execution by all, alone at its place.
    Executed,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub placed: Placed,
    pub kind: Kind,
    /// The executor was asked to judge or execute it.
    pub dispatched: bool,
    pub judged: Option<Ballot>,
    /// Judged COMMIT by a live session, which holds the locks of everything that the item wrote.
    pub holds: bool,
    pub voted: bool,
    /// Effects of something earlier came by adoption while this one ran: its result does not count.
    pub lapsed: bool,
    pub tally: Tally,
    pub verdict: Option<Verdict>,
    /// The verdict followed from the order alone: nobody votes.
    pub by_order: bool,
    pub apply_sent: bool,
    pub applied: bool,
    /// When n−f votes had been seen (ms), and when their ordering was last asked for.
    pub quorum_at: Option<u64>,
    pub ordering_asked: Option<u64>,
}

impl Item {
    pub fn new(placed: Placed, kind: Kind) -> Item {
        let applied = matches!(kind, Kind::Order | Kind::Begin(_));
        Item {
            placed,
            kind,
            dispatched: false,
            judged: None,
            holds: false,
            voted: false,
            lapsed: false,
            tally: Tally::default(),
            verdict: None,
            by_order: false,
            apply_sent: false,
            applied,
            quorum_at: None,
            ordering_asked: None,
        }
    }

    pub fn is_voted_kind(&self) -> bool {
        matches!(self.kind, Kind::Voted { .. })
    }

    /// Later items of the height may be judged beside this one, because its locks keep them apart.
    pub fn is_barrier(&self) -> bool {
        match &self.kind {
            Kind::Executed => true,
            Kind::Voted { schema_change, .. } => *schema_change,
            Kind::Order | Kind::Begin(_) => false,
        }
    }

    /// This replica commits or rolls back its own session; otherwise it adopts.
    pub fn is_direct(&self) -> bool {
        match self.verdict {
            Some(Verdict::Abort) => true,
            Some(Verdict::Commit) => self.judged == Some(Ballot::Commit) && self.holds,
            None => false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct HeightState {
    pub height: Height,
    pub time_ms: u64,
    pub items: Vec<Item>,
    /// First moment at which this height was worked on (ms).
    pub started_at: Option<u64>,
    pub snapshots_asked: bool,
    pub snapshots_taken: bool,
    /// When votes of peers were last asked for.
    pub votes_fetched_at: Option<u64>,
    pub taken: TakenOf,
    /// What is ordered later began at this height or later.
    pub horizon: Height,
}
