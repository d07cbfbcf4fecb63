//! `steeldb import`: an existing database into a running cluster.

use std::time::Duration;

use crate::commands::Where;
use crate::failure::Failure;
use crate::import::{self, Done, Options};
use crate::members;
use crate::progress::Progress;

/// Import a running PostgreSQL into all replicas of a running, empty cluster, and verify it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    options: Options,
    /// Only compare the source, as it is now, with what all replicas hold; exit 1 when anything differs
    #[arg(long, conflicts_with_all = ["skip_unsupported", "begin_anew"])]
    compare: bool,
    /// How long the replicas may take to read their tables, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let Some(dsn) = &args.options.from else {
        return Err(Failure::usage("nothing is named to be imported")
            .next("steeldb import --data DIR --from postgresql://USER@HOST:PORT/DATABASE"));
    };
    let cluster = members::load(&layout)?;
    let patience = Duration::from_secs(args.timeout);
    let progress = Progress::start();
    if args.compare {
        let done = import::compare(&layout, &cluster, dsn, patience, &progress).await?;
        drop(progress);
        println!(
            "{} tables with {} rows are the same at the source and at all replicas (height {})",
            done.tables, done.rows, done.height
        );
        return Ok(());
    }
    let done = import::run(&layout, &cluster, &args.options, patience, &progress).await?;
    drop(progress);
    println!("{}", told(&done));
    Ok(())
}

/// What was done, in a line.
pub fn told(done: &Done) -> String {
    let seconds = done.loading.as_secs_f64();
    format!(
        "imported {} tables with {} rows: {:.1} MB in {seconds:.1} s ({:.1} MB/s); all replicas hold what the source held, at height {}",
        done.tables,
        done.rows,
        done.bytes as f64 / 1e6,
        done.bytes as f64 / 1e6 / seconds.max(0.001),
        done.height
    )
}
