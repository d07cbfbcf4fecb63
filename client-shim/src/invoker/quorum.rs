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
    /// Any two such sets share a correct replica, and the correct replicas alone are one: matching answers.
    pub intersecting: Enough,
    /// Such a set holds a correct replica: what all of it say is true.
    pub one_correct: Enough,
}

impl Quorums {
    /// Those of a view.
    pub fn of(view: &View) -> Self {
        let (quorum, one_correct) = (view.quorum(), view.one_correct());
        Self {
            intersecting: Arc::new(move |replicas| replicas.len() >= quorum),
            one_correct: Arc::new(move |replicas| replicas.len() >= one_correct),
        }
    }
}

impl fmt::Debug for Quorums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quorums")
    }
}
