//! When a master that is caught at giving its word for what is not so has to go (DESIGN.md, 8).
//!
//! One difference proves nothing: two honest servers can answer the same statement differently, and a client can look for
//! such a statement. So differences fill a bucket that agreement drains, and each change that it brought about doubles the
//! next one's size: a liar is replaced within a few transactions, and nobody can have masters replaced on and on.

/// Differences that ask for the first change.
const FIRST: u64 = 4;
/// Agreements that make up for a difference.
const MAKE_UP: u64 = 32;
/// Doublings at most.
const MOST_DOUBLINGS: u32 = 24;
/// After so long without a change, one is forgotten (ms).
const FORGET_AFTER_MS: u64 = 10 * 60 * 1_000;

/// What is held against the master of an epoch.
#[derive(Clone, Debug, Default)]
pub struct Blame {
    /// Differences, in parts of `MAKE_UP`.
    level: u64,
    /// Changes brought about, less those forgotten.
    changes: u32,
    /// When the last change was, or one was forgotten.
    since_ms: u64,
    /// The epoch whose master was found to have to go.
    found: Option<u64>,
}

impl Blame {
    /// The master of this epoch gave its word for something that is not so here, at the same snapshot. True when it is to be
    /// replaced.
    pub fn differed(&mut self, epoch: u64) -> bool {
        self.level += MAKE_UP;
        let full = self.level >= (FIRST << self.changes.min(MOST_DOUBLINGS)) * MAKE_UP;
        if full {
            self.found = Some(epoch);
        }
        full
    }

    /// What it gave its word for is so.
    pub fn agreed(&mut self) {
        self.level = self.level.saturating_sub(1);
    }

    /// A new master: it begins with nothing held against it.
    pub fn changed(&mut self, from: u64, now_ms: u64) {
        self.level = 0;
        while self.changes > 0 && now_ms.saturating_sub(self.since_ms) >= FORGET_AFTER_MS {
            self.changes -= 1;
            self.since_ms += FORGET_AFTER_MS;
        }
        if self.found.take() == Some(from) {
            self.changes += 1;
            self.since_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences until the master of an epoch is to be replaced.
    fn needed(blame: &mut Blame, epoch: u64) -> u64 {
        (1..).find(|_| blame.differed(epoch)).unwrap()
    }

    #[test]
    fn a_liar_goes_at_once_and_changes_become_rare() {
        let mut blame = Blame::default();
        for (epoch, wanted) in [4, 8, 16, 32].into_iter().enumerate() {
            let epoch = epoch as u64;
            assert_eq!(needed(&mut blame, epoch), wanted);
            blame.changed(epoch, 1_000);
        }
    }

    #[test]
    fn changes_are_forgotten_and_those_for_other_reasons_do_not_count() {
        let mut blame = Blame::default();
        assert_eq!(needed(&mut blame, 0), 4);
        blame.changed(0, 0);
        // The next one was silent.
        blame.differed(1);
        blame.changed(1, 10);
        assert_eq!(needed(&mut blame, 2), 8, "a new master, one change so far");
        blame.changed(2, 20);
        blame.changed(3, 20 + 2 * FORGET_AFTER_MS);
        assert_eq!(needed(&mut blame, 4), 4, "both are forgotten");
    }

    #[test]
    fn now_and_then_is_not_on_and_on() {
        let mut blame = Blame::default();
        for _ in 0..1_000 {
            assert!(!blame.differed(0));
            (0..MAKE_UP).for_each(|_| blame.agreed());
        }
    }
}
