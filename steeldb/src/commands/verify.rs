//! `steeldb verify`: do all replicas hold the same? With `--repair`: those that do not are rebuilt.

mod repair;

use std::time::Duration;

use cluster::Cluster;

use crate::audit::Audit;
use crate::commands::Where;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::members;
use crate::operator::Operator;
use crate::progress::Progress;
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
    let mut audit = compare(args, &layout, &cluster, &operator, &progress).await?;
    if args.repair && !audit.passes() {
        let repairs = repair::plan(&audit, cluster.f)?;
        if !repairs.is_empty() {
            let patience = Duration::from_secs(args.repair_timeout);
            repair::repair(&layout, &cluster, &operator, &repairs, patience, &progress).await?;
            audit = compare(args, &layout, &cluster, &operator, &progress).await?;
        }
    }
    drop(progress);
    println!("{}", text(&audit, cluster.replicas.len()));
    if audit.passes() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the replicas are not all known to be equal at height {}",
        audit.height
    ))
    .cause(audit.troubles().join("\n")))
}

/// Has all replicas read their tables at one height.
async fn compare(
    args: &Args,
    layout: &Layout,
    cluster: &Cluster,
    operator: &Operator,
    progress: &Progress,
) -> Result<Audit, Failure> {
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
    all_connected(operator, cluster.replicas.len()).await;
    progress.step("the replicas read their tables");
    let timeout = Duration::from_secs(args.timeout);
    let reports = operator.shim.audit(timeout).await.map_err(failed)?;
    Ok(Audit::new(cluster, &reports))
}

/// How long a quorum may take to be reached.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the rest may take.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// A quorum answers already; those that start up with it get a moment to be there too.
async fn all_connected(operator: &Operator, replicas: usize) {
    let until = tokio::time::Instant::now() + STRAGGLERS;
    while operator
        .shim
        .statuses(Duration::from_millis(500))
        .await
        .len()
        < replicas
    {
        if tokio::time::Instant::now() >= until {
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
