//! The decided log, replayed on one fresh PostgreSQL, against what the replicas hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use client_shim::AuditReport;
use cluster::Cluster;
use consensus::{Height, ReplicaId};
use oracle::{Outline, Replayed, Server, Until};

use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::progress::Progress;
use crate::replica_file;

/// How long a replica may take to log that a height is final which it has compared its tables at.
const LOGGED: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Differences that are told.
const TOLD: usize = 20;

/// The logs of the replicas that lie on this machine.
struct Logs(BTreeMap<u16, (replica::Config, PathBuf)>);

impl Logs {
    fn here(layout: &Layout, cluster: &Cluster) -> Result<Logs, Failure> {
        let mut logs = BTreeMap::new();
        for entry in &cluster.replicas {
            let file = layout.config(Member::Replica(entry.id));
            if !file.exists() {
                continue;
            }
            let config = replica_file::read(&file)?;
            let log = config.data.join("log");
            if log.is_dir() {
                logs.insert(entry.id, (config, log));
            }
        }
        match logs.is_empty() {
            false => Ok(Logs(logs)),
            true => Err(Failure::new("there is no log to replay")
                .cause(format!(
                    "no replica of {} has its log on this machine",
                    layout.root().display()
                ))
                .next("run it on a machine of a replica, with that one's directory")),
        }
    }

    /// Reads them all; and which of them is the longest.
    async fn outlines(&self) -> Result<(u16, BTreeMap<u16, Outline>), Failure> {
        let paths: Vec<(u16, PathBuf)> = self
            .0
            .iter()
            .map(|(id, (_, path))| (*id, path.clone()))
            .collect();
        let read = move || {
            paths
                .into_iter()
                .map(|(id, path)| Ok((id, Outline::read(&path)?)))
                .collect::<Result<BTreeMap<u16, Outline>, oracle::Error>>()
        };
        let outlines = tokio::task::spawn_blocking(read)
            .await
            .map_err(failed)?
            .map_err(failed)?;
        let longest = outlines
            .iter()
            .max_by_key(|(_, outline)| outline.last_final());
        let longest = longest.map_or(0, |(id, _)| *id);
        Ok((longest, outlines))
    }
}

fn failed(cause: impl std::fmt::Display) -> Failure {
    Failure::new("the decided log could not be replayed").cause(cause)
}

/// Replays everything up to the place of an audit, and compares: the logs with each other, what each transaction came to with
/// its evidence, the tables with those of the replicas.
///
/// # Errors
/// When it cannot be done. What differs is told by the result.
pub async fn against(
    layout: &Layout,
    cluster: &Cluster,
    height: Height,
    reports: &BTreeMap<ReplicaId, AuditReport>,
    progress: &Progress,
) -> Result<Replayed, Failure> {
    let logs = Logs::here(layout, cluster)?;
    progress.step("reading the decided logs");
    let until = tokio::time::Instant::now() + LOGGED;
    let (longest, outlines) = loop {
        let (longest, outlines) = logs.outlines().await?;
        let cut = outlines.values().all(|outline| outline.last_final() == 0);
        if cut || outlines[&longest].last_final() >= height || tokio::time::Instant::now() >= until
        {
            break (longest, outlines);
        }
        tokio::time::sleep(LOOK).await;
    };
    if outlines[&longest].last_final() == 0 && height > 0 {
        return Err(Failure::new("the decided log could not be replayed")
            .cause("every log here begins with a checkpoint: the history before it is gone")
            .next(
                "to keep it, set checkpoint_every = 0 in every replica.toml when a cluster is new",
            ));
    }
    let (config, path) = &logs.0[&longest];
    let outline = &outlines[&longest];
    progress.step("starting a PostgreSQL for the replay");
    let server = Server::start(&config.server()).await.map_err(failed)?;
    let blocks = oracle::blocks(path).map_err(failed)?;
    let told = |done| {
        // A line a tenth, not one a height.
        if done % (height / 10).max(1) == 0 {
            progress.step(format!("replayed {done} of {height} heights"));
        }
    };
    let replayed = oracle::replay(
        &server.database,
        blocks,
        outline,
        Until::Audit(height),
        told,
    )
    .await;
    server.stop().await.map_err(failed)?;
    let mut replayed = replayed.map_err(failed)?;
    for (id, other) in outlines.iter().filter(|(id, _)| **id != longest) {
        let found = outline.contradictions(other, &format!("replica {id}"), height);
        replayed.differences.extend(found);
    }
    for (replica, report) in reports {
        if report.height == height && report.error.is_none() {
            replayed.compare(&format!("replica {}", replica.0), &report.tables);
        }
    }
    Ok(replayed)
}

/// What a replay came to, a line.
pub fn summary(replayed: &Replayed) -> String {
    format!(
        "{} committed transactions with {} operations ({} of them at snapshots) up to height {} were replayed one after another: {}",
        replayed.transactions,
        replayed.operations,
        replayed.at_snapshots,
        replayed.heights,
        match replayed.differences.len() {
            0 => "results, writes and tables are the agreed ones".to_owned(),
            differ => format!("{differ} differences"),
        }
    )
}

/// What is otherwise than agreed, a line each.
pub fn differences(replayed: &Replayed) -> Vec<String> {
    let told = replayed.differences.iter().take(TOLD);
    told.map(ToString::to_string).collect()
}
