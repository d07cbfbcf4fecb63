//! `steeldb bench`: what this machine can carry.

mod chart;
mod children;
mod client;
mod compare;
mod consensus;
mod cpu;
mod faults;
mod group;
mod isolation;
mod layout;
mod matrix;
mod output;
mod pgbench;
mod reconfiguration;
mod report;
mod service;
mod steel;
mod tpcc;
mod wan;
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
    Faults(faults::Args),
    Isolation(isolation::Args),
    Reconfiguration(reconfiguration::Args),
    Wan(wan::Args),
    #[command(hide = true)]
    Replica(service::Args),
    #[command(hide = true)]
    Member(group::member::Args),
    /// Use a processor until standard input ends
    #[command(hide = true)]
    Spin,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Consensus(args) => consensus::run(args).await,
        What::Tpcc(args) => tpcc::run(args).await,
        What::Pgbench(args) => pgbench::run(args).await,
        What::Waterfall(args) => waterfall::run(args),
        What::Faults(args) => faults::run(args).await,
        What::Isolation(args) => isolation::run(args).await,
        What::Reconfiguration(args) => reconfiguration::run(args).await,
        What::Wan(args) => wan::run(args).await,
        What::Member(args) => group::member::run(args).await,
        What::Spin => {
            faults::overload::spin();
            Ok(())
        }
        What::Replica(args) => service::run(args).await,
    }
}
