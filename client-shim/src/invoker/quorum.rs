//! Which sets of replicas are enough: the one place where the invoker asks the view.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use consensus::{ReplicaId, View};

/// A predicate on sets of replicas; monotone: a superset of what is enough is enough.
pub type Enough = Arc<dyn Fn(&BTreeSet<ReplicaId>) -> bool + Send + Sync>;

/// The sets that the counting asks about; it counts no replicas itself, so replicas may have weights.
#[derive(Clone)]
pub struct Quorums {
    /// [`View::id`] of the view that they are of: an answer of a later one does not count yet.
    pub view: u64,
    /// Any two such sets share a correct replica, and the correct replicas alone are one: matching answers.
    pub intersecting: Enough,
    /// Such a set holds a correct replica: what all of it say is true.
    pub one_correct: Enough,
}

impl Quorums {
    /// Those of a view.
    pub fn of(view: &View) -> Self {
        let one_correct = view.one_correct();
        let view = Arc::new(view.clone());
        Self {
            view: view.id,
            intersecting: Arc::new(move |replicas| view.is_quorum(replicas.iter().copied())),
            one_correct: Arc::new(move |replicas| replicas.len() >= one_correct),
        }
    }
}

impl fmt::Debug for Quorums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quorums")
    }
}

#[cfg(test)]
mod tests {
    use consensus::PublicKey;

    use super::*;

    #[test]
    fn votes_are_weighed_and_witnesses_counted() {
        let replicas = (0..5).map(|i| (ReplicaId(i), PublicKey([i as u8; 32])));
        let quorums = Quorums::of(&View {
            f: 1,
            fast: [ReplicaId(0), ReplicaId(1)].into(),
            replicas: replicas.collect(),
            ..View::default()
        });
        let set = |ids: &[u16]| ids.iter().copied().map(ReplicaId).collect::<BTreeSet<_>>();
        // 2 + 2 + 1 of 7 votes are enough, 2 + 1 + 1 are not.
        assert!((quorums.intersecting)(&set(&[0, 1, 4])));
        assert!(!(quorums.intersecting)(&set(&[0, 2, 3])));
        assert!((quorums.intersecting)(&set(&[0, 2, 3, 4])));
        assert!(!(quorums.one_correct)(&set(&[0])));
        assert!((quorums.one_correct)(&set(&[2, 3])));
    }
}
