//! Waiting until nothing depends on the members before a change any more.
//!
//! What was ordered before a change is voted on by the members of then, and n-f of them have to. A member that is removed or replaced
//! counts among those that are missing; one more that stops before these votes are cast would be one too many, for good. So a
//! change is over when the heights up to it are final at so many that others can learn the verdicts from them (decision 14).

use std::time::Duration;

use client_shim::ReplicaStatus;
use consensus::{Height, ReplicaId, View};
use std::collections::BTreeMap;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::operator::Operator;
use crate::progress::Progress;

/// How long replicas may take to answer one inquiry.
const ASK: Duration = Duration::from_secs(1);
/// Between two inquiries.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take in all.
const LIMIT: Duration = Duration::from_secs(60);

/// A change that is ordered, with the views before and after it.
pub struct Ordered {
    pub administrator: Operator,
    pub before: View,
    pub after: View,
    pub height: Height,
}

/// Waits until what was ordered up to the change is final.
///
/// # Errors
/// When it does not become so in a minute. The change is ordered all the same.
pub async fn settled(change: &Ordered, progress: &Progress) -> Result<(), Failure> {
    let Ordered {
        administrator,
        before,
        after,
        height,
    } = change;
    let until = Instant::now() + LIMIT;
    let needed = needed(before, after);
    loop {
        let statuses = administrator.shim.statuses(ASK).await;
        let done = done(&statuses, before, after, *height);
        if done >= needed {
            return Ok(());
        }
        progress.step(format!(
            "{done} of {needed} replicas have finished what was ordered before the change"
        ));
        if Instant::now() >= until {
            return Err(Failure::new(format!(
                "view {} is ordered, and what was ordered before it is not finished",
                after.id
            ))
            .cause(format!(
                "{done} replicas have applied height {height}, {needed} must"
            ))
            .next("look at `steeldb status`; stop, remove or replace no other replica before they have"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Members of both views; one that was replaced too, which has applied it when it has caught up.
fn stayed<'a>(before: &'a View, after: &'a View) -> impl Iterator<Item = ReplicaId> + 'a {
    let members = before.replicas.keys().copied();
    members.filter(|id| after.replicas.contains_key(id))
}

/// So many that f+1 correct ones are among them, as far as there are so many.
fn needed(before: &View, after: &View) -> usize {
    (after.one_correct() + after.f()).min(stayed(before, after).count())
}

fn done(
    statuses: &BTreeMap<ReplicaId, ReplicaStatus>,
    before: &View,
    after: &View,
    height: Height,
) -> usize {
    let applied = |id: &ReplicaId| statuses.get(id).is_some_and(|s| s.applied >= height);
    stayed(before, after).filter(applied).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::PublicKey;

    fn view(members: &[(u16, u8)]) -> View {
        let key = |seed| PublicKey([seed; 32]);
        View {
            f: 1,
            replicas: members
                .iter()
                .map(|(id, seed)| (ReplicaId(*id), key(*seed)))
                .collect(),
            ..View::default()
        }
    }

    #[test]
    fn so_many_that_stayed_have_applied_it() {
        let five = view(&[(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        let four = view(&[(0, 0), (1, 1), (2, 2), (4, 4)]);
        let three = View {
            f: 0,
            ..view(&[(0, 0), (1, 1), (2, 2)])
        };
        assert_eq!(needed(&five, &four), 3);
        assert_eq!(needed(&four, &three), 1);
        let at = |replica, applied| {
            let status = ReplicaStatus {
                replica,
                applied,
                ..ReplicaStatus::default()
            };
            (ReplicaId(replica), status)
        };
        let statuses = [at(0, 7), at(1, 6), at(2, 8), at(3, 9), at(4, 7)].into();
        assert_eq!(done(&statuses, &five, &four, 7), 3, "not the removed one");
        assert_eq!(done(&statuses, &four, &four, 7), 3);
    }
}
