//! Every quorum size of the total order, in one place (DESIGN.md, "Quorums").
//!
//! Two things are asked of a set of replicas. *One correct*: they are so many that the faulty ones are not all of them;
//! replicas are counted for it. *Intersection*: any two such sets share a correct replica; weights are added for it.
//!
//! **WHEAT** (thesis, 5.3.2 and App. C). Of n = 3f + 1 + Δ replicas, 2f have the weight Vmax = 1 + Δ/f, the others
//! Vmin = 1 (crash-only: f of n = 2f + 1 + Δ). Multiplied by f all weights are whole numbers: f + Δ and f. The faulty
//! ones have at most Fv = f + Δ votes of 3Fv + 1 (2Fv + 1), and 2Fv + 1 (Fv + 1) are a quorum. Equal weights are the
//! case in which nobody is fast, and there the quorum is ⌈(n + f + 1) / 2⌉ (⌈(n + 1) / 2⌉).

use serde::{Deserialize, Serialize};

/// Which faults are borne.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Replicas that crash, lie or are taken over: n ≥ 3f + 1.
    #[default]
    Byzantine,
    /// Replicas that crash and nothing else: n ≥ 2f + 1, and no WRITE phase.
    CrashOnly,
}

/// What decides all sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Which faults.
    pub mode: Mode,
    /// Replicas.
    pub n: usize,
    /// Faulty or recovering ones.
    pub f: usize,
    /// Whether [`Sizes::fast`] of them weigh more than the others.
    pub weighted: bool,
}

impl Mode {
    /// The least n for f, Δ = 0.
    pub const fn least_replicas(self, f: usize) -> usize {
        match self {
            Mode::Byzantine => 3 * f + 1,
            Mode::CrashOnly => 2 * f + 1,
        }
    }

    /// The largest f that n replicas carry.
    pub const fn max_faulty(self, n: usize) -> usize {
        match self {
            Mode::Byzantine => n.saturating_sub(1) / 3,
            Mode::CrashOnly => n.saturating_sub(1) / 2,
        }
    }
}

impl Sizes {
    /// Δ: replicas more than needed.
    pub const fn delta(&self) -> usize {
        self.n.saturating_sub(self.mode.least_replicas(self.f))
    }

    /// How many replicas have Vmax where weights differ: 2f, crash-only f.
    pub const fn fast(&self) -> usize {
        match self.mode {
            Mode::Byzantine => 2 * self.f,
            Mode::CrashOnly => self.f,
        }
    }

    /// The scaled weight of a replica.
    pub const fn weight(&self, fast: bool) -> usize {
        match (self.weighted, fast) {
            (false, _) => 1,
            (true, true) => self.f + self.delta(),
            (true, false) => self.f,
        }
    }

    /// The scaled weight of all.
    pub const fn total(&self) -> usize {
        if self.weighted {
            self.fast() * self.weight(true) + (self.n - self.fast()) * self.weight(false)
        } else {
            self.n
        }
    }

    /// The most that f replicas weigh, scaled.
    pub const fn faulty(&self) -> usize {
        self.f * self.weight(true)
    }

    /// Q for WRITE, ACCEPT, answers to clients and the rebuild from disks, as a scaled weight. Two sets of it share a
    /// correct replica.
    pub const fn quorum(&self) -> usize {
        let votes = match (self.mode, self.weighted) {
            (Mode::Byzantine, false) => return (self.n + self.f + 1).div_ceil(2),
            (Mode::CrashOnly, false) => return self.n / 2 + 1,
            (Mode::Byzantine, true) => 2 * (self.f + self.delta()) + 1,
            (Mode::CrashOnly, true) => self.f + self.delta() + 1,
        };
        self.f * votes
    }

    /// The least number of replicas that are a quorum whoever they are.
    pub const fn any_quorum(&self) -> usize {
        if !self.weighted {
            return self.quorum();
        }
        // The lightest first.
        let (slow, light, heavy) = (self.n - self.fast(), self.weight(false), self.weight(true));
        let need = self.quorum();
        if slow * light >= need {
            return need.div_ceil(light);
        }
        slow + (need - slow * light).div_ceil(heavy)
    }

    /// The least number of replicas that can be a quorum: the heaviest first.
    pub const fn least_quorum(&self) -> usize {
        if !self.weighted {
            return self.quorum();
        }
        let (fast, light, heavy) = (self.fast(), self.weight(false), self.weight(true));
        let need = self.quorum();
        if fast * heavy >= need {
            return need.div_ceil(heavy);
        }
        fast + (need - fast * heavy).div_ceil(light)
    }

    /// So many replicas are not all faulty liars: f + 1; where nobody lies, one.
    pub const fn one_correct(&self) -> usize {
        match self.mode {
            Mode::Byzantine => self.f + 1,
            Mode::CrashOnly => 1,
        }
    }

    /// STOPs that install a regency: 2f + 1, so that f + 1 correct ones make all join; crash-only f + 1.
    pub const fn install(&self) -> usize {
        match self.mode {
            Mode::Byzantine => 2 * self.f + 1,
            Mode::CrashOnly => self.f + 1,
        }
    }

    /// STOPDATA that a SYNC must hold: n − f, all that one can wait for at first.
    pub const fn sync(&self) -> usize {
        self.n - self.f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODES: [Mode; 2] = [Mode::Byzantine, Mode::CrashOnly];

    fn sizes(mode: Mode, f: usize, delta: usize, weighted: bool) -> Sizes {
        Sizes {
            mode,
            n: mode.least_replicas(f) + delta,
            f,
            weighted,
        }
    }

    /// All f ≤ 3, Δ ≤ 6, both modes; weights only where somebody can be fast.
    fn all() -> Vec<Sizes> {
        let mut all = Vec::new();
        for mode in MODES {
            for f in 0..=3 {
                for delta in 0..=6 {
                    all.push(sizes(mode, f, delta, false));
                    if f > 0 {
                        all.push(sizes(mode, f, delta, true));
                    }
                }
            }
        }
        all
    }

    /// Every subset of the replicas as (fast ones in it, others in it): replicas of one weight are interchangeable.
    fn subsets(sizes: &Sizes) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (fast, slow) = (sizes.fast(), sizes.n - sizes.fast());
        (0..=fast).flat_map(move |a| (0..=slow).map(move |b| (a, b)))
    }

    fn weight(sizes: &Sizes, (fast, slow): (usize, usize)) -> usize {
        fast * sizes.weight(true) + slow * sizes.weight(false)
    }

    #[test]
    fn app_c_consistency_two_quorums_share_a_correct_replica_exhaustively() {
        for sizes in all() {
            let (all_fast, all_slow) = (sizes.fast(), sizes.n - sizes.fast());
            for one in subsets(&sizes).filter(|s| weight(&sizes, *s) >= sizes.quorum()) {
                for two in subsets(&sizes).filter(|s| weight(&sizes, *s) >= sizes.quorum()) {
                    // The least that they can share, and whether f replicas can be all of it.
                    let shared = (
                        (one.0 + two.0).saturating_sub(all_fast),
                        (one.1 + two.1).saturating_sub(all_slow),
                    );
                    let liars = match sizes.mode {
                        Mode::Byzantine => sizes.f,
                        Mode::CrashOnly => 0,
                    };
                    assert!(
                        shared.0 + shared.1 > liars,
                        "{sizes:?}: {one:?} and {two:?} share {shared:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn app_c_availability_the_correct_ones_are_a_quorum_whoever_fails() {
        for sizes in all() {
            for gone in subsets(&sizes).filter(|gone| gone.0 + gone.1 <= sizes.f) {
                let left = sizes.total() - weight(&sizes, gone);
                assert!(left >= sizes.quorum(), "{sizes:?} without {gone:?}");
            }
            assert_eq!(
                sizes.any_quorum().max(sizes.sync()),
                sizes.sync(),
                "{sizes:?}"
            );
        }
    }

    #[test]
    fn app_c_speed_with_spare_replicas_weights_make_a_smaller_quorum() {
        for mode in MODES {
            for f in 1..=3 {
                for delta in 0..=6 {
                    let (even, weighted) =
                        (sizes(mode, f, delta, false), sizes(mode, f, delta, true));
                    let fast_and_one = weighted.fast() + 1;
                    assert_eq!(weighted.least_quorum(), fast_and_one, "{weighted:?}");
                    // As small as a group without spares needs, however many there are.
                    assert!(weighted.least_quorum() <= even.quorum(), "{weighted:?}");
                    assert_eq!(
                        weighted.least_quorum() < even.quorum(),
                        even.quorum() > fast_and_one
                    );
                }
            }
        }
    }

    #[test]
    fn a_quorum_less_the_faulty_holds_one_correct_set() {
        for sizes in all() {
            for set in subsets(&sizes).filter(|s| weight(&sizes, *s) >= sizes.quorum()) {
                // So that a value that a quorum wrote is certified by f + 1 correct writers.
                let correct = (set.0 + set.1).saturating_sub(match sizes.mode {
                    Mode::Byzantine => sizes.f,
                    Mode::CrashOnly => 0,
                });
                assert!(correct >= sizes.one_correct(), "{sizes:?}: {set:?}");
            }
            assert!(
                sizes.install() <= sizes.n - sizes.f,
                "{sizes:?}: f silent ones stop a change"
            );
        }
    }

    #[test]
    fn the_figures_of_the_thesis() {
        // Equal weights.
        assert_eq!(sizes(Mode::Byzantine, 1, 0, false).quorum(), 3);
        assert_eq!(sizes(Mode::Byzantine, 2, 0, false).quorum(), 5);
        assert_eq!(sizes(Mode::Byzantine, 1, 1, false).quorum(), 4);
        assert_eq!(sizes(Mode::CrashOnly, 1, 0, false).quorum(), 2);
        assert_eq!(Mode::Byzantine.max_faulty(10), 3);
        // n = 5, f = 1, Δ = 1: Vmax = 2, a quorum of 5 votes out of 7, three replicas at best.
        let wheat = sizes(Mode::Byzantine, 1, 1, true);
        assert_eq!((wheat.weight(true), wheat.weight(false)), (2, 1));
        assert_eq!((wheat.total(), wheat.quorum()), (7, 5));
        assert_eq!((wheat.least_quorum(), wheat.any_quorum()), (3, 4));
        // Crash-only with a spare: n = 4, Vmax = 2, 3 votes of 5.
        let crash = sizes(Mode::CrashOnly, 1, 1, true);
        assert_eq!((crash.total(), crash.quorum()), (5, 3));
        assert_eq!((crash.least_quorum(), crash.any_quorum()), (2, 3));
    }
}
