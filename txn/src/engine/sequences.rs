//! No sequence gives a value twice: what the evidence of a batch says, against what is committed.

use super::*;
use crate::word::Account;

/// What the items of one height took from sequences.
#[derive(Clone, Debug, Default)]
pub(super) struct TakenOf {
    by_item: BTreeMap<u32, Taken>,
    /// Items by the sequences that they used.
    by_name: BTreeMap<String, Vec<u32>>,
    /// For whose verdict an item was found to wait.
    waits: BTreeMap<u32, u32>,
}

/// What becomes of an item for the values that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Fresh,
    /// That depends on a verdict that is still open, of one ordered earlier in its height.
    Waits,
    Repeats(Repeat),
}

impl TakenOf {
    /// An item at its place. One that was given a value twice itself, or says of sequences what has no sense, is ABORT already.
    pub fn place(&mut self, height: Height, index: u32, item: &mut Item, out: &mut Vec<Action>) {
        let Kind::Voted { begun, .. } = item.kind else {
            return;
        };
        let ordered = item.placed.ordered.clone();
        let steps = match &*ordered {
            Ordered::Commit(commit) => commit.steps.as_slice(),
            Ordered::Auto(auto) => std::slice::from_ref(&auto.step),
            _ => return,
        };
        if item.by_order {
            return;
        }
        let refused = match Taken::of(steps) {
            Ok(taken) if taken.is_empty() => return,
            Ok(taken) => {
                for name in taken.names() {
                    self.by_name.entry(name.clone()).or_default().push(index);
                }
                self.by_item.insert(index, taken);
                return;
            }
            Err(refused) => refused,
        };
        item.verdict = Some(Verdict::Abort);
        item.by_order = true;
        if let Refused::Repeat(repeat) = refused {
            out.push(Action::Repeated {
                height,
                index,
                ordered,
                begun,
                repeat,
            });
        }
    }

    /// What becomes of an item. Equal at all: earlier heights are final, and of its own only verdicts count.
    pub fn fate(&mut self, given: &Given, items: &[Item], index: u32) -> Fate {
        let Some(own) = self.by_item.get(&index) else {
            return Fate::Fresh;
        };
        let verdict = |earlier: u32| items[earlier as usize].verdict;
        if let Some(earlier) = self.waits.get(&index)
            && verdict(*earlier).is_none()
        {
            return Fate::Waits;
        }
        let committed = |at: &u32| verdict(*at) == Some(Verdict::Commit);
        // One that changed the schema is applied before anything behind it comes to this.
        let earlier = self.by_item.range(..index);
        let cleared = earlier.filter(|(at, taken)| taken.clears() && committed(at));
        let cleared = cleared.map(|(at, _)| *at).next_back();
        for name in own.names() {
            let users = self.by_name.get(name).into_iter().flatten();
            let before: Vec<u32> = users.copied().take_while(|at| *at < index).collect();
            let open = before.iter().filter(|at| verdict(**at).is_none());
            let mut open = open.filter(|at| own.depends_on(&self.by_item[at], name));
            if let Some(open) = open.next() {
                self.waits.insert(index, *open);
                return Fate::Waits;
            }
            let there = before.iter().filter(|at| committed(at));
            let there: Vec<u32> = there.copied().collect();
            // The last that made it begin anew: what was given before that counts no more.
            let anew = there.iter().filter(|at| self.by_item[at].sets(name)).max();
            let anew = anew.copied().max(cleared);
            let recent = there
                .iter()
                .filter(|at| anew.is_none_or(|anew| **at >= anew));
            let mut recent = recent.map(|at| own.repeats(&self.by_item[at], name));
            let value = match recent.find_map(|value| value) {
                None if anew.is_none() => given.repeated(own, name),
                found => found,
            };
            if let Some(value) = value {
                return Fate::Repeats(Repeat {
                    sequence: name.clone(),
                    value,
                    // In this very height: whoever is refused began before it.
                    since: given.since(name, value).filter(|_| anew.is_none()),
                });
            }
        }
        Fate::Fresh
    }
}

impl Engine {
    /// Whether an item used sequences, and the master does not stand for it: a client alone could say that they gave what others hold.
    /// In its epoch the order knows who the master is.
    pub(super) fn is_unsigned(&self, height: Height, item: &Item) -> bool {
        let (tx, epoch, steps, word) = match &*item.placed.ordered {
            Ordered::Commit(commit) => (commit.tx, commit.epoch, &commit.steps[..], commit.word),
            Ordered::Auto(auto) => (
                auto.tx,
                auto.epoch,
                std::slice::from_ref(&auto.step),
                auto.word.as_deref().copied(),
            ),
            _ => return false,
        };
        let uses = steps.iter().any(|step| !step.evidence.sequences.is_empty());
        if item.by_order || !uses {
            return false;
        }
        let key = self.view_at(height).replica_key(self.master_of(epoch));
        let signed = word.zip(key);
        !signed.is_some_and(|(word, key)| Account::of(tx, epoch, steps).is_signed(&word, key))
    }

    /// What may be ordered later began at this height or later.
    pub(super) fn horizon(&self) -> Height {
        let begun = self.open.values().map(|open| open.begun);
        let oldest = begun.min().unwrap_or(self.decided);
        oldest.min(self.decided.saturating_sub(limits::AUTO_WINDOW))
    }

    /// A height is final: what its commits took is given.
    pub(super) fn commit_taken(&mut self, state: &HeightState) {
        let committed = |index: u32| state.items[index as usize].verdict == Some(Verdict::Commit);
        if state.taken.by_item.is_empty() && !Given::is_due(state.height) {
            return;
        }
        let given = Arc::make_mut(&mut self.given);
        for (index, taken) in &state.taken.by_item {
            let Kind::Voted { ran_from, .. } = state.items[*index as usize].kind else {
                continue;
            };
            if committed(*index) {
                given.commit(state.height, ran_from, taken);
            }
        }
        given.settle(state.height, state.horizon);
    }
}
