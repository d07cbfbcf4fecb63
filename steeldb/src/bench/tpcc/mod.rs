//! `steeldb bench tpcc`: TPC-C against one server, against a cluster of SteelDB, or against several systems in turns.

mod faults;
mod single;
mod turns;

use std::path::PathBuf;
use std::time::Duration;

use tpcc::{Config, Isolation};

use super::{compare, output};
use crate::failure::Failure;

/// Run TPC-C: against a server (--dsn), a cluster of SteelDB (--data), or several systems in turns (--compare)
///
/// Loads what is missing, runs, checks the twelve consistency conditions, and writes a report as a page for a browser.
/// With neither --dsn nor --data, one PostgreSQL, a group with synchronous standbys and SteelDB are started on this machine,
/// measured in turns under equal shares of its processors, and removed again; that takes under five minutes.
///
/// Examples:
///   steeldb bench tpcc
///   steeldb bench tpcc --dsn postgresql://postgres@127.0.0.1:5433/postgres --warehouses 2 --terminals 16 --duration 120
///   steeldb bench tpcc --data DIR --kill 1 --kill-at 20 --back-at 40
///   steeldb bench tpcc --compare=postgresql,steeldb --links lan:0.25 --rounds 5
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Any server that speaks PostgreSQL's protocol: a connection string
    #[arg(long, conflicts_with_all = ["data", "compare"])]
    dsn: Option<String>,
    /// The cluster of SteelDB in this directory, which must be running
    #[arg(long, value_name = "DIR", conflicts_with = "compare")]
    data: Option<PathBuf>,
    /// What the report calls the system [default: the host of --dsn; steeldb with --data]
    #[arg(long, value_name = "NAME", conflicts_with = "compare")]
    system: Option<String>,
    /// Warehouses; each is about 500,000 rows and 100 MiB. Loaded if the database does not hold as many
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "W")]
    warehouses: u32,
    /// Terminals, each with a connection of its own; with --rate, transactions that may run at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "T")]
    terminals: u32,
    /// How long to measure [default: 60; in a comparison, each system in each round: 10]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    duration: Option<u64>,
    /// How long to run before measuring [default: 10; in a comparison: 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=86_400), value_name = "SECONDS")]
    warmup: Option<u64>,
    /// Terminals wait as the specification has it (keying and think times); without, they go on at once
    #[arg(long, conflicts_with = "rate")]
    think_times: bool,
    /// An open loop: so many transactions a second arrive, whether or not earlier ones have ended, and response times
    /// count from the arrival
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Same seed, same rows and same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The isolation of the transactions: repeatable-read or serializable
    #[arg(long, default_value = "repeatable-read", value_name = "LEVEL")]
    isolation: Isolation,
    /// How rows are loaded: Pgpool-II takes no COPY of the extended protocol
    #[arg(long, value_enum, default_value_t = LoadBy::Copy, value_name = "HOW")]
    load_by: LoadBy,
    #[command(flatten)]
    faults: faults::Args,
    #[command(flatten)]
    compare: compare::Args,
    #[command(flatten)]
    output: output::Args,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LoadBy {
    Copy,
    Insert,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    crate::logging::start_at_terminal()?;
    match (&args.dsn, &args.data) {
        (None, None) => turns::run(args).await,
        _ => single::run(args).await,
    }
}

impl Args {
    fn config(&self, dsn: String, (warmup, duration): (u64, u64)) -> Config {
        Config {
            system: self.system.clone(),
            warehouses: self.warehouses,
            terminals: self.terminals,
            warmup: Duration::from_secs(self.warmup.unwrap_or(warmup)),
            duration: Duration::from_secs(self.duration.unwrap_or(duration)),
            think_times: self.think_times,
            arrivals_per_s: self.rate,
            seed: self.seed,
            isolation: self.isolation,
            load_by: match self.load_by {
                LoadBy::Copy => tpcc::LoadBy::Copy,
                LoadBy::Insert => tpcc::LoadBy::Insert,
            },
            ..Config::new(dsn)
        }
    }
}
