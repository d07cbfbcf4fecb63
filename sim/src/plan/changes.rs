//! Plans in which administrators change the view.
//!
//! What an administrator wants is drawn here; which change of the view that becomes depends on the view that it then knows
//! (`cluster/administration.rs`). There the bound is kept that every claim of safety rests on: **in every view at most f members
//! lie or are gone for good.** A change is signed only if the view that it leads to keeps the bound; it names the
//! view that it was made for, so it leads to that view or to none; and the first view keeps the bound. So by induction
//! all views do, in whatever order changes are decided. One that joins may be behind for as long as it likes: until it
//! has caught up it is a correct member that is slow, and nothing that must hold in the safety phase needs it.
//!
//! Some correct members, the anchors, are never removed, one more than f ever is: whoever comes to the newest view from an old
//! one needs f + 1 correct members of each view on the way (docs/consensus.md, "Views").

use std::collections::BTreeSet;

use consensus::{Mode, ReplicaId};

use crate::byzantine::Habit;
use crate::rng::Rng;

use super::{HEAL_AT, Kind, Plan, faults};

/// Members of a view at most.
pub const MOST_MEMBERS: usize = 9;

/// How one that joins lies, if it does.
pub type Joins = Option<BTreeSet<Habit>>;

/// What an administrator wants. Whom it concerns is drawn when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A fresh machine is to be a member, or one that was a member before. It may lie.
    Add(Joins),
    /// A member is to go.
    Remove,
    /// Both at once.
    Replace(Joins),
    /// A machine is lost; another, empty one with another key takes over its number.
    Renew,
    /// A member gets another key.
    RotateReplica,
    /// A client gets another key; its old one is stolen.
    RotateClient,
    /// f more or less by one.
    Faults,
    /// Other weights, or none.
    Weights,
    /// Another first leader.
    Leader,
    /// Two administrators want something else at the same time.
    Both(Box<Intent>, Box<Intent>),
    /// It knows an old view only.
    Late(Box<Intent>),
    /// A change that was asked for before is asked for again: the same request, and its operation under a new number.
    Again,
    /// One that is no administrator asks for a change.
    Usurp,
}

impl Plan {
    /// The plan of a seed with changes of the view; one in five is in crash-only mode.
    pub fn reconfiguring(seed: u64) -> Self {
        let rng = &mut Rng::new(seed ^ 0x2ec0);
        let mut plan = match rng.chance(20) {
            true => Self::crash_only(seed),
            false if rng.chance(20) => Self::with_weights(seed),
            false => Self::byzantine(seed),
        };
        plan.kind = Kind::Reconfiguration;
        if rng.chance(50) {
            plan.settings.checkpoint_every = rng.between(1, 4);
            plan.settings.max_batch_requests = rng.between(1, 3) as usize;
        }
        plan.anchors = anchors(rng, &plan);
        for _ in 0..rng.between(1, 7) {
            let intent = draw(rng, plan.mode);
            let at = rng.between(100, HEAL_AT - 300);
            plan.changes.push((at, intent));
        }
        // Later members break too.
        let later: Vec<_> = (plan.n..plan.n + 3).map(ReplicaId).collect();
        let broken = faults::draw(rng, &later).into_iter();
        plan.faults.extend(broken.take(3));
        // Enough to be ordered in each view.
        plan.clients.iter_mut().for_each(|count| *count += 5);
        plan
    }

    /// Whether somebody lies, at first or later.
    pub fn has_liars(&self) -> bool {
        let joins = |intent: &Intent| match intent {
            Intent::Late(intent) => lies(intent),
            Intent::Both(one, other) => lies(one) || lies(other),
            intent => lies(intent),
        };
        !self.byzantine.is_empty() || self.changes.iter().any(|(_, intent)| joins(intent))
    }

    /// The largest f that the anchors allow.
    pub fn most_faults(&self) -> usize {
        self.anchors.len().saturating_sub(1)
    }
}

fn lies(intent: &Intent) -> bool {
    matches!(intent, Intent::Add(Some(_)) | Intent::Replace(Some(_)))
}

fn anchors(rng: &mut Rng, plan: &Plan) -> BTreeSet<ReplicaId> {
    let all = (0..plan.n).map(ReplicaId);
    let mut correct: Vec<_> = all.filter(|id| !plan.byzantine.contains_key(id)).collect();
    rng.shuffle(&mut correct);
    let more = usize::from(rng.chance(35));
    correct.truncate(usize::from(plan.f) + 1 + more);
    correct.into_iter().collect()
}

fn draw(rng: &mut Rng, mode: Mode) -> Intent {
    match rng.between(0, 19) {
        0 | 1 => Intent::Both(Box::new(simple(rng, mode)), Box::new(simple(rng, mode))),
        2 => Intent::Late(Box::new(simple(rng, mode))),
        3 => Intent::Again,
        4 => Intent::Usurp,
        _ => simple(rng, mode),
    }
}

fn simple(rng: &mut Rng, mode: Mode) -> Intent {
    match rng.between(0, 15) {
        0..=2 => Intent::Add(joins(rng, mode)),
        3 | 4 => Intent::Remove,
        5 | 6 => Intent::Replace(joins(rng, mode)),
        7 | 8 => Intent::Renew,
        9 | 10 => Intent::RotateReplica,
        11 => Intent::RotateClient,
        12 => Intent::Faults,
        13 | 14 => Intent::Weights,
        _ => Intent::Leader,
    }
}

fn joins(rng: &mut Rng, mode: Mode) -> Joins {
    let lies = mode == Mode::Byzantine && rng.chance(35);
    lies.then(|| {
        let all = Habit::ALL.iter().copied();
        let mut habits: BTreeSet<_> = all.filter(|_| rng.chance(30)).collect();
        habits.insert(Habit::Equivocate);
        habits
    })
}
