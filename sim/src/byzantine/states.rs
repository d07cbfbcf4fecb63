//! Lies in the synchronization phase: false states, and false collections of them.

use consensus::{Digest, LastDecided, OpenVotes, Proof, Regency, StopData, Sync, Written};

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
        // Somewhere among the heights that it may speak of.
        let votes = state.votes.len() as u64;
        let height = state.decided + 1 + self.rng.between(0, votes);
        let at = state.votes_at(height).cloned();
        let mut told = at.unwrap_or(OpenVotes {
            height,
            ..OpenVotes::default()
        });
        let own = told.lock.map(|lock| lock.1);
        let written = |regency: Regency, digest, after| Written {
            regency,
            digest,
            after,
        };
        let kind = if self.colludes {
            state.regency.wrapping_mul(7).wrapping_add(mind.other_side) % 11
        } else {
            self.rng.between(0, 10)
        };
        match kind {
            0 => state.votes.clear(),
            1 => (told.lock, told.writeset) = (None, Vec::new()),
            // A value that others wrote, locked as late as can be.
            2 | 3 => {
                let rival = mind.rival(height, own);
                let value = rival.map_or(Digest([3; 32]), |heard| heard.digest);
                let after = mind.stands_on(value).unwrap_or_default();
                told.lock = Some((before, value));
                told.writeset = vec![written(before, value, after)];
            }
            // The same, locked when the true one was.
            4..=6 => {
                if let Some(rival) = mind.rival(height, own) {
                    let at = told.lock.map_or(rival.regency, |lock| lock.0).min(before);
                    let after = mind.stands_on(rival.digest).unwrap_or_default();
                    told.lock = Some((at, rival.digest));
                    told.writeset.push(written(at, rival.digest, after));
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
                state.votes.clear();
            }
            // It wrote what it wrote, after something else.
            9 => told
                .writeset
                .iter_mut()
                .for_each(|w| w.after = Digest([5; 32])),
            _ => told.lock = Some((before, Digest([9; 32]))),
        }
        let decided = state.decided;
        state.votes.retain(|votes| votes.height != height);
        state.votes.push(told);
        state.votes.retain(|votes| {
            let speaks = votes.lock.is_some() || !votes.writeset.is_empty();
            speaks && votes.height > decided
        });
        state.votes.sort_by_key(|votes| votes.height);
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
                    state.votes.clear();
                }
            }
            // Its own state, in which nothing happened, for everyone's.
            1 => {
                let mine = sync.states.iter().find(|(s, _)| s.replica == self.me);
                if let Some((mut state, _)) = mine.cloned() {
                    mind.betrayed.insert(sync.regency);
                    state.votes.clear();
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
