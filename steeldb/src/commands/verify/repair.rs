//! Replicas that differ are told to make their data anew, and waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::Cluster;
use consensus::ReplicaId;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::operator::{self, Operator};
use crate::progress::Progress;
use crate::ready::vouched_height;

/// How long a replica may take to begin.
const BEGIN: Duration = Duration::from_secs(30);
/// How long replicas may take to answer one inquiry.
const ASK: Duration = Duration::from_secs(1);
/// How long the administrator's links may take.
const CONNECT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// What is to be repaired, by replica.
pub type Repairs = BTreeMap<u16, Vec<String>>;

/// Who is to be repaired, or why nobody can be.
pub fn plan(audit: &Audit, f: u16) -> Result<Repairs, Failure> {
    audit.repairs(f).map_err(|cause| {
        Failure::new("nothing is repaired").cause(cause).next(
            "keep all directories; bring back replicas that do not answer (`steeldb start`), then try again",
        )
    })
}

/// Has them rebuilt, and returns when all have caught up.
pub async fn repair(
    layout: &Layout,
    cluster: &Cluster,
    operator: &Operator,
    repairs: &Repairs,
    patience: Duration,
    progress: &Progress,
) -> Result<(), Failure> {
    let admin = operator::administrator_shim(layout, cluster).await?;
    for (id, troubles) in repairs {
        let replica = ReplicaId(*id);
        let begin = Instant::now();
        let mut statuses = operator.shim.statuses(ASK).await;
        let before = statuses.remove(&replica).and_then(|s| s.rebuilt);
        progress.step(format!("asking replica {id} to make its data anew"));
        let until = begin + CONNECT;
        while !admin.shim.rebuild(replica) {
            if Instant::now() >= until {
                return Err(failed(layout, *id, "it cannot be reached", None));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut last = None;
        loop {
            let mut others = operator.shim.statuses(ASK).await;
            let now = others.remove(&replica);
            // What a correct one of the others has applied.
            let height = vouched_height(&others, cluster.membership().one_correct());
            let begun = now.as_ref().is_some_and(|s| s.rebuilt != before);
            if let (Some(now), true) = (&now, begun) {
                if now.rebuilding.is_none() && height.is_some_and(|h| now.applied >= h) {
                    println!(
                        "replica {id}: {}; its data were made anew in {:.1} s, the old ones are kept beside them",
                        troubles.join(", "),
                        begin.elapsed().as_secs_f64()
                    );
                    break;
                }
                progress.step(format!(
                    "replica {id} makes its data anew: height {} of {}",
                    now.applied,
                    height.unwrap_or(now.decided)
                ));
            }
            last = now.and_then(|s| s.last_error).or(last);
            let waited = begin.elapsed();
            if waited >= patience || (!begun && waited >= BEGIN) {
                let cause = match begun {
                    true => "it has not caught up in time",
                    false => "it does not begin",
                };
                return Err(failed(layout, *id, cause, last));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn failed(layout: &Layout, id: u16, cause: &str, said: Option<String>) -> Failure {
    let said = said.map(|said| format!("; it says: {said}"));
    Failure::new(format!("replica {id} is not repaired"))
        .cause(format!("{cause}{}", said.unwrap_or_default()))
        .next(format!(
            "steeldb status --data {}, and {}",
            layout.root().display(),
            layout.log_file(Member::Replica(id)).display()
        ))
}
