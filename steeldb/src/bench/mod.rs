//! `steeldb bench`: what this machine can carry.

mod children;
mod client;
mod consensus;
mod cpu;
mod layout;
mod report;
mod service;

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
    #[command(hide = true)]
    Replica(service::Args),
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Consensus(args) => consensus::run(args).await,
        What::Replica(args) => service::run(args).await,
    }
}
