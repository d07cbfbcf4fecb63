//! Provability: whoever has the view's keys can check each decision by its proof.

use consensus::{Decided, ReplicaId, View};

use super::Verdict;

/// A correct replica decides.
pub fn decided(view: &View, replica: ReplicaId, decided: &Decided) -> Verdict {
    let height = decided.height;
    decided
        .check(view)
        .map_err(|error| format!("proof: {replica}'s decision at height {height}: {error}"))
}
