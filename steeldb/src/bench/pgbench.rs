//! `steeldb bench pgbench`: pgbench on several systems in turns.

use testbed::pgbench::{Pgbench, Protocol, Script};

use super::compare::{self, Which};
use super::output;
use crate::failure::Failure;
use crate::progress::Progress;

/// Run PostgreSQL's own pgbench on several systems in turns
///
/// The systems are started on this machine, measured under equal shares of its processors, and removed again.
///
/// Example:
///   steeldb bench pgbench --compare=postgresql,standbys,pgpool,steeldb --script simple-update --clients 8
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// pgbench's script
    #[arg(long, value_enum, default_value_t = Kind::TpcB)]
    script: Kind,
    /// How statements are sent
    #[arg(long, value_enum, default_value_t = Sent::Simple)]
    protocol: Sent,
    /// Clients, each with a connection of its own
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
    clients: u32,
    /// Branches, of 100,000 accounts each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "S")]
    scale: u32,
    /// How long each system is measured in each round
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "SECONDS")]
    duration: u32,
    /// How long it runs before
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=600), value_name = "SECONDS")]
    warmup: u32,
    #[command(flatten)]
    compare: compare::Args,
    #[command(flatten)]
    output: output::Args,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    TpcB,
    SimpleUpdate,
    SelectOnly,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sent {
    Simple,
    Prepared,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    crate::logging::start_at_terminal()?;
    let settings = testbed::Settings::found()
        .map_err(|error| Failure::new("pgbench was not found").cause(error))?;
    let mut work = Pgbench {
        script: match args.script {
            Kind::TpcB => Script::TpcB,
            Kind::SimpleUpdate => Script::SimpleUpdate,
            Kind::SelectOnly => Script::SelectOnly,
        },
        protocol: match args.protocol {
            Sent::Simple => Protocol::Simple,
            Sent::Prepared => Protocol::Prepared,
        },
        scale: args.scale,
        warmup: args.warmup,
        ..Pgbench::new(&settings, args.clients, args.duration)
    };
    let progress = Progress::start();
    let default = [Which::Postgresql, Which::Standbys, Which::Steeldb];
    let comparison = args.compare.run(&default, &mut work, &progress).await?;
    drop(progress);
    match args.output.json {
        true => output::print_json(&comparison)?,
        false => println!("{}", compare::text(&comparison, "tps")),
    }
    args.output
        .write_page("pgbench", "pgbench compared", &[], Some(&comparison))
}
