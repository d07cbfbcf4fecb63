//! `steeldb verify`: do all replicas hold the same? With `--repair`: those that do not are rebuilt.

mod repair;

use std::collections::BTreeMap;
use std::time::Duration;

use client_shim::AuditReport;
use cluster::Cluster;
use consensus::ReplicaId;
use oracle::Replayed;

use crate::audit::Audit;
use crate::commands::{Where, status};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::members;
use crate::operator::Operator;
use crate::progress::Progress;
use crate::replay;
use crate::table::table;

/// Compare all tables of all replicas at one height; exit 1 when any differ
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// How long the replicas may take to read their tables, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Have each replica that differs from f+1 equal others make its PostgreSQL's data anew, then compare again
    #[arg(long)]
    repair: bool,
    /// Replay the decided log, one transaction after another, on a fresh PostgreSQL of this machine: results, writes and
    /// tables must be those that were agreed on
    #[arg(long, conflicts_with = "repair")]
    replay: bool,
    /// How long such a replica may take, seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3600,
        requires = "repair"
    )]
    repair_timeout: u64,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let cluster = members::load(&layout)?;
    let operator = Operator::connect(&layout, &cluster).await?;
    let progress = Progress::start();
    let timeout = Duration::from_secs(args.timeout);
    let (mut audit, reports) = compare(timeout, &layout, &cluster, &operator, &progress).await?;
    if args.repair && !audit.passes() {
        let repairs = repair::plan(&audit, cluster.f)?;
        if !repairs.is_empty() {
            let patience = Duration::from_secs(args.repair_timeout);
            repair::repair(&layout, &cluster, &operator, &repairs, patience, &progress).await?;
            (audit, _) = compare(timeout, &layout, &cluster, &operator, &progress).await?;
        }
    }
    let replayed = match args.replay {
        true => Some(replay::against(&layout, &cluster, audit.height, &reports, &progress).await?),
        false => None,
    };
    drop(progress);
    println!("{}", text(&audit, cluster.replicas.len()));
    if let Some(replayed) = &replayed {
        println!("{}", replay::summary(replayed));
        if !replayed.differences.is_empty() {
            return Err(Failure::new("the replay of the decided log differs")
                .cause(replay::differences(replayed).join("\n")));
        }
    }
    if audit.passes() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the replicas are not all known to be equal at height {}",
        audit.height
    ))
    .cause(audit.troubles().join("\n")))
}

/// Compares the replicas' tables and replays the decided log up to there.
///
/// # Errors
/// When either cannot be done; differences are no error.
pub async fn replayed(
    layout: &Layout,
    timeout: Duration,
    progress: &Progress,
) -> Result<Replayed, Failure> {
    let cluster = members::load(layout)?;
    let operator = Operator::connect(layout, &cluster).await?;
    let (audit, reports) = compare(timeout, layout, &cluster, &operator, progress).await?;
    replay::against(layout, &cluster, audit.height, &reports, progress).await
}

/// Has all replicas read their tables at one height.
async fn compare(
    timeout: Duration,
    layout: &Layout,
    cluster: &Cluster,
    operator: &Operator,
    progress: &Progress,
) -> Result<(Audit, BTreeMap<ReplicaId, AuditReport>), Failure> {
    let failed = |error: client_shim::ShimError| {
        let detail = error
            .detail
            .clone()
            .map(|detail| format!(" {detail}"))
            .unwrap_or_default();
        Failure::new("cannot compare the replicas")
            .cause(format!("{error}.{detail}"))
            .next(format!("steeldb status --data {}", layout.root().display()))
    };
    progress.step("connecting to the replicas");
    operator.shim.ready(CONNECT).await.map_err(failed)?;
    all_connected(operator, layout, cluster).await;
    progress.step("the replicas read their tables");
    let reports = operator.shim.audit(timeout).await.map_err(failed)?;
    Ok((Audit::new(cluster, &reports), reports))
}

/// How long a quorum may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the rest may take.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// The same of those whose processes run: they answer, sooner or later.
const RUNNING: Duration = Duration::from_secs(20);

/// A quorum answers already; those that start up with it get a moment to be there too.
async fn all_connected(operator: &Operator, layout: &Layout, cluster: &Cluster) {
    let start = tokio::time::Instant::now();
    loop {
        let answered = operator.shim.statuses(Duration::from_millis(500)).await;
        let silent = cluster.replicas.iter();
        let mut silent = silent.filter(|r| !answered.contains_key(&ReplicaId(r.id)));
        let patience = match silent.clone().next() {
            None => return,
            Some(_) if silent.any(|r| status::might_run(layout, r.id, r.address)) => RUNNING,
            Some(_) => STRAGGLERS,
        };
        if start.elapsed() >= patience {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn text(audit: &Audit, replicas: usize) -> String {
    let rows: Vec<Vec<String>> = audit
        .tables
        .iter()
        .map(|table| {
            let first = table.versions.first();
            let content = first.and_then(|version| version.content);
            vec![
                table.name.clone(),
                content.map_or("-".into(), |(rows, _)| rows.to_string()),
                content.map_or("-".into(), |(_, digest)| hex::encode(&digest.0[..8])),
                if table.versions.len() == 1 {
                    "equal".into()
                } else {
                    "DIFFERS".into()
                },
            ]
        })
        .collect();
    let summary = match audit.passes() {
        true => format!(
            "all {replicas} replicas are identical at height {}",
            audit.height
        ),
        false => format!("compared at height {}", audit.height),
    };
    format!(
        "{}\n\n{summary}",
        table(&["TABLE", "ROWS", "DIGEST", "REPLICAS"], &rows)
    )
}
