//! No sequence gives a value twice: what the evidence of a batch says, against what is committed.

use super::*;

/// What the items of one height took from sequences.
#[derive(Clone, Debug, Default)]
pub(super) struct TakenOf {
    by_item: BTreeMap<u32, Taken>,
    /// Items by the sequences that they used.
    by_name: BTreeMap<String, Vec<u32>>,
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
    /// An item at its place. One that was given a value twice itself is ABORT already.
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
        match Taken::of(steps) {
            Ok(taken) if taken.is_empty() => {}
            Ok(taken) => {
                for name in taken.names() {
                    self.by_name.entry(name.clone()).or_default().push(index);
                }
                self.by_item.insert(index, taken);
            }
            Err(repeat) => {
                item.verdict = Some(Verdict::Abort);
                item.by_order = true;
                out.push(Action::Repeated {
                    height,
                    index,
                    ordered,
                    begun,
                    repeat,
                });
            }
        }
    }

    /// What becomes of an item. Equal at all: earlier heights are final, and of its own only verdicts count.
    pub fn fate(&self, given: &Given, items: &[Item], index: u32) -> Fate {
        let Some(own) = self.by_item.get(&index) else {
            return Fate::Fresh;
        };
        // One that changed the schema is applied before anything behind it comes to this.
        let committed = |earlier: u32| items[earlier as usize].verdict == Some(Verdict::Commit);
        let earlier = || self.by_item.range(..index);
        let mut decides = earlier().any(|(at, taken)| taken.clears() && committed(*at));
        for name in own.names() {
            for at in self.by_name.get(name).into_iter().flatten() {
                if *at >= index || !own.depends_on(&self.by_item[at], name) {
                    continue;
                }
                match items[*at as usize].verdict {
                    None => return Fate::Waits,
                    Some(Verdict::Commit) => decides = true,
                    Some(Verdict::Abort) => {}
                }
            }
        }
        let repeated = match decides {
            false => given.repeated(own),
            true => {
                let mut here = given.of_its(own);
                for (_, taken) in earlier().filter(|(at, _)| committed(**at)) {
                    here.commit(0, taken);
                }
                here.repeated(own)
            }
        };
        repeated.map_or(Fate::Fresh, Fate::Repeats)
    }
}

impl Engine {
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
            if committed(*index) {
                given.commit(state.height, taken);
            }
        }
        given.settle(state.height, state.horizon);
    }
}
