//! The instances in flight: the open one and those that follow it, decided in order (pipelining, which the thesis leaves to
//! later work, ch. 7).
//!
//! A value stands on the one below it ([`Batch::after`](crate::Batch)), so it is good in one history only. Three rules keep the
//! instances in flight as safe as one alone; `choice` has the argument.
//!
//! * A value is written at a height only after the value that this replica wrote below, in the same regency, or after the one
//!   decided there; γ is judged behind everything in between.
//! * It is accepted only once the one below is accepted in the same regency, or decided.
//! * Nothing is written above a value that changes the view until that is decided.

use std::collections::{BTreeMap, VecDeque};

use crate::crypto::Digest;
use crate::ids::{Height, Regency, ReplicaId};
use crate::record::VoteState;
use crate::request::{Request, Verified};

use super::instance::Instance;

/// Consecutive instances from the open one on; never empty.
#[derive(Debug)]
pub(crate) struct Pipeline {
    instances: VecDeque<Instance>,
    depth: usize,
    /// Durable votes of instances that come later.
    ahead: BTreeMap<Height, VoteState>,
}

impl Pipeline {
    /// `depth` instances from `open` on, with the votes that are known; those below are forgotten.
    pub fn new(open: Height, depth: usize, votes: BTreeMap<Height, VoteState>) -> Self {
        let mut pipeline = Self {
            instances: VecDeque::new(),
            depth: depth.max(1),
            ahead: votes,
        };
        pipeline.move_to(open);
        pipeline
    }

    /// Opens the instance at a height above the open one; returns the heights of those that came in and have votes.
    pub fn move_to(&mut self, open: Height) -> Vec<Height> {
        self.instances.retain(|instance| instance.height >= open);
        self.ahead = self.ahead.split_off(&open);
        let mut voted = Vec::new();
        while self.instances.len() < self.depth {
            let next = open + self.instances.len() as Height;
            let votes = self.ahead.remove(&next);
            voted.extend(votes.is_some().then_some(next));
            let instance = Instance::new(next, votes.unwrap_or_default());
            self.instances.push_back(instance);
        }
        voted
    }

    /// The height of the open instance.
    pub fn open(&self) -> Height {
        self.first().height
    }

    /// The first height beyond those in flight.
    pub fn end(&self) -> Height {
        self.open() + self.instances.len() as Height
    }

    /// The open instance.
    pub fn first(&self) -> &Instance {
        &self.instances[0]
    }

    /// The open instance.
    pub fn first_mut(&mut self) -> &mut Instance {
        &mut self.instances[0]
    }

    fn at(&self, height: Height) -> Option<usize> {
        usize::try_from(height.checked_sub(self.open())?).ok()
    }

    /// An instance in flight.
    pub fn get(&self, height: Height) -> Option<&Instance> {
        self.instances.get(self.at(height)?)
    }

    /// An instance in flight.
    pub fn get_mut(&mut self, height: Height) -> Option<&mut Instance> {
        let at = self.at(height)?;
        self.instances.get_mut(at)
    }

    /// By ascending height.
    pub fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter()
    }

    /// By ascending height.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.instances.iter_mut()
    }

    /// The votes of all heights that are not decided here.
    pub fn votes(&self) -> impl Iterator<Item = (Height, &VoteState)> {
        let here = self
            .iter()
            .map(|instance| (instance.height, &instance.votes));
        here.chain(self.ahead.iter().map(|(height, votes)| (*height, votes)))
    }

    /// The value that this replica wrote at a height in a regency.
    pub fn wrote(&self, height: Height, regency: Regency) -> Option<Digest> {
        self.get(height)?.votes.wrote_in(regency)
    }

    /// Gives a body to whichever values miss it.
    pub fn fill(&mut self, request: &Verified<Request>) -> bool {
        self.iter_mut()
            .fold(false, |taken, instance| instance.fill(request) | taken)
    }

    /// The next time at which missing bodies are to be asked for.
    pub fn ask_bodies_at(&self) -> Option<u64> {
        self.iter().filter_map(Instance::ask_bodies_at).min()
    }

    /// A view begins. What those who are the `same` said of these heights `stays` if it can be of its first regency: correct ones
    /// say nothing of them in the view before.
    pub fn change_view(&mut self, same: impl Fn(ReplicaId) -> bool, stays: bool) {
        for instance in self.iter_mut() {
            if !stays {
                instance.enter_regency();
            }
            instance.my_write = None;
            instance.writes.retain(|id, _| same(*id));
            instance.accepts.retain(|id, _| same(*id));
        }
    }

    /// Forgets this replica's votes of views before this one.
    pub fn forget_votes_before(&mut self, view: u64) {
        self.ahead.retain(|_, votes| votes.view >= view);
        for instance in self.iter_mut() {
            if instance.votes.view < view {
                instance.votes = VoteState::default();
            }
        }
    }
}
