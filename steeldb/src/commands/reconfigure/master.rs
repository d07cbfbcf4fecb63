//! `steeldb reconfigure master`: another replica runs open transactions, and nobody's is cut off if it ends in time.

use std::collections::BTreeMap;
use std::time::Duration;

use client_shim::{ReplicaStatus, Shim};
use cluster::Cluster;
use consensus::{ReplicaId, Step};
use tokio::time::Instant;

use super::change;
use crate::commands::status;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::members;
use crate::operator::Operator;
use crate::progress::Progress;

/// The longest time that open transactions may be given, seconds.
const MAX_DRAIN: u64 = 30;
/// Heights that the new master may be behind the others.
const LAG: u64 = 100;
/// What the votes of the replicas may take once the time is over.
const VOTES: Duration = Duration::from_secs(20);

/// Has the master moved and waits until it is.
pub async fn run(
    layout: &Layout,
    cluster: &Cluster,
    replica: u16,
    drain: u64,
    progress: &Progress,
) -> Result<String, Failure> {
    let member = members::replica(cluster, replica)?;
    if drain > MAX_DRAIN {
        return Err(
            Failure::usage(format!("--drain {drain}: {MAX_DRAIN} seconds are the most"))
                .next("applications wait with their next transaction for as long"),
        );
    }
    let operator = Operator::connect(layout, cluster).await?;
    let statuses = status::ask(layout, cluster, &operator.shim).await;
    let now = fit(&statuses, replica)?;
    if now.master == replica {
        return Ok(format!("{member} is the master (epoch {})", now.epoch));
    }
    let step = Step::MoveMaster {
        replica: ReplicaId(replica),
        drain_ms: (drain * 1000) as u32,
    };
    let after = change(layout, cluster, vec![step], progress).await?;
    progress.step("waiting for open transactions to end");
    let patience = Duration::from_secs(drain) + VOTES;
    let enough = after.membership().one_correct();
    let moved = wait(&operator.shim, replica, now.epoch, enough, patience).await;
    let seen = moved.ok_or_else(|| {
        Failure::new(format!("{member} is not the master yet"))
            .cause("the move is ordered, and was not over in time")
            .next(format!("steeldb status --data {}", layout.root().display()))
    })?;
    Ok(format!(
        "{member} is the master (epoch {}); view {}",
        seen.epoch, after.view
    ))
}

/// What the replica says of itself, if it could take over.
fn fit(
    statuses: &BTreeMap<ReplicaId, ReplicaStatus>,
    replica: u16,
) -> Result<&ReplicaStatus, Failure> {
    let unfit = |cause: String| {
        Failure::new(format!("replica {replica} cannot be the master"))
            .cause(cause)
            .next("look at `steeldb status`")
    };
    let own = statuses
        .get(&ReplicaId(replica))
        .ok_or_else(|| unfit("it does not answer".into()))?;
    let highest = statuses.values().map(|s| s.applied).max().unwrap_or(0);
    match highest.saturating_sub(own.applied) {
        lag if lag > LAG => Err(unfit(format!("it is {lag} heights behind"))),
        _ => Ok(own),
    }
}

/// Asks until f+1 replicas say that the epoch moved to the new master.
async fn wait(
    shim: &Shim,
    replica: u16,
    before: u64,
    enough: usize,
    patience: Duration,
) -> Option<ReplicaStatus> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let statuses = shim.statuses(Duration::from_secs(1)).await;
        let moved = |s: &&ReplicaStatus| s.epoch > before && s.master == replica;
        let mut said = statuses.values().filter(moved);
        if let Some(seen) = said.nth(enough - 1) {
            return Some(seen.clone());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}
