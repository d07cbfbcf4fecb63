//! Verdicts by hearsay: f+1 members of the view that call a verdict final cannot all lie, and what is final is the same
//! everywhere. So one that joins, or has lost its disk, needs no votes of members that are gone.

use super::*;

impl Engine {
    /// What a peer says of consecutive heights from `first` on.
    pub fn told(
        &mut self,
        now_ms: u64,
        from: ReplicaId,
        first: Height,
        heights: Vec<Vec<(u32, Verdict)>>,
        out: &mut Vec<Action>,
    ) {
        if !self.view().replicas.contains_key(&from) {
            return;
        }
        let most = limits::VERDICTS_TOLD;
        for (height, verdicts) in (first..).zip(heights).take(most as usize) {
            if height <= self.last_final || height - self.last_final > most {
                continue;
            }
            self.told.entry(height).or_default().insert(from, verdicts);
            self.believe(height);
        }
        self.progress(now_ms, out);
    }

    /// Takes over what enough members say of a height that is decided here.
    pub(super) fn believe(&mut self, height: Height) {
        let enough = self.view().one_correct();
        let Some(told) = self.told.remove(&height) else {
            return;
        };
        if let Some(state) = self.state_mut(height) {
            for (index, item) in state.items.iter_mut().enumerate() {
                if !item.is_voted_kind() || item.by_order || item.verdict.is_some() {
                    continue;
                }
                let says = |verdict: Verdict| {
                    let said = told.values().filter(|verdicts| {
                        let mut verdicts = verdicts.iter();
                        verdicts.any(|(at, said)| *at as usize == index && *said == verdict)
                    });
                    said.count() >= enough
                };
                let both = [Verdict::Commit, Verdict::Abort];
                item.verdict = both.into_iter().find(|verdict| says(*verdict));
            }
        }
        self.told.insert(height, told);
    }
}
