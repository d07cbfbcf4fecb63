//! Lies in the synchronization phase: false states, and false collections of them.

use consensus::{Digest, LastDecided, Proof, StopData, Sync};

use super::Liar;
use super::mind::Mind;

impl Liar {
    /// Its state with another past. Colluders lie alike about one regency.
    pub(super) fn false_state(&mut self, mind: &Mind, data: StopData) -> StopData {
        let StopData {
            mut state,
            mut last,
            ..
        } = data;
        let before = state.regency.saturating_sub(1);
        let open = state.decided + 1;
        let own = state.lock.map(|lock| lock.1);
        let kind = if self.colludes {
            state.regency.wrapping_mul(7).wrapping_add(mind.other_side) % 10
        } else {
            self.rng.between(0, 9)
        };
        match kind {
            0 | 1 => (state.lock, state.writeset) = (None, Vec::new()),
            // A value that others wrote, locked as late as can be.
            2 | 3 => {
                let value = mind
                    .rival(open, own)
                    .map_or(Digest([3; 32]), |heard| heard.digest);
                state.lock = Some((before, value));
                state.writeset = vec![(before, value)];
            }
            // The same, locked when the true one was.
            4..=6 => {
                if let Some(rival) = mind.rival(open, own) {
                    let at = state.lock.map_or(rival.regency, |lock| lock.0);
                    state.lock = Some((at.min(before), rival.digest));
                    state.writeset.push((at.min(before), rival.digest));
                }
            }
            7 => (state.decided, last) = (0, None),
            8 => {
                // Heights that nobody decided, "proven" by nobody.
                state.decided += 3;
                last = Some(LastDecided {
                    height: state.decided,
                    digest: Digest([8; 32]),
                    proof: Proof {
                        regency: before,
                        accepts: Vec::new(),
                    },
                });
                (state.lock, state.writeset) = (None, Vec::new());
            }
            _ => state.lock = Some((before, Digest([9; 32]))),
        }
        let signature = state.sign(&self.key);
        StopData {
            state,
            signature,
            last,
        }
    }

    /// One lie per regency, told to most; none: it keeps silent.
    pub(super) fn false_sync(&mut self, mind: &mut Mind, mut sync: Sync) -> Option<Sync> {
        let salt = mind.other_side >> 8;
        let lie = sync.regency.wrapping_mul(5).wrapping_add(salt) % 7;
        if lie > 5 || (lie > 1 && self.rng.chance(40)) {
            return Some(sync);
        }
        match lie {
            // It bends the others' states, whose signatures no longer hold, to propose
            // another value than the one that they locked.
            0 => {
                mind.betrayed.insert(sync.regency);
                for (state, _) in &mut sync.states {
                    (state.lock, state.writeset) = (None, Vec::new());
                }
            }
            // Its own state, in which nothing happened, for everyone's.
            1 => {
                let mine = sync.states.iter().find(|(s, _)| s.replica == self.me);
                if let Some((mut state, _)) = mine.cloned() {
                    mind.betrayed.insert(sync.regency);
                    (state.lock, state.writeset) = (None, Vec::new());
                    let signature = state.sign(&self.key);
                    sync.states = vec![(state, signature); sync.states.len()];
                }
            }
            // It forgets one that it was told.
            2 => drop(sync.states.pop()),
            // It claims a later end of the log than anyone proved.
            3 => {
                if let Some(last) = &mut sync.last {
                    last.height += 2;
                }
            }
            // It claims an older end of the log.
            4 => sync.last = None,
            // It lets the regency fail.
            _ => return None,
        }
        Some(sync)
    }
}
