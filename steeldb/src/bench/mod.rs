//! `steeldb bench`: what this machine can carry.

mod children;
mod client;
mod compare;
mod consensus;
mod cpu;
mod layout;
mod matrix;
mod output;
mod pgbench;
mod report;
mod service;
mod steel;
mod tpcc;
mod waterfall;

use crate::failure::Failure;

/// Measure on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Consensus(consensus::Args),
    Tpcc(Box<tpcc::Args>),
    Pgbench(pgbench::Args),
    Waterfall(waterfall::Args),
    #[command(hide = true)]
    Replica(service::Args),
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Consensus(args) => consensus::run(args).await,
        What::Tpcc(args) => tpcc::run(args).await,
        What::Pgbench(args) => pgbench::run(args).await,
        What::Waterfall(args) => waterfall::run(args),
        What::Replica(args) => service::run(args).await,
    }
}
