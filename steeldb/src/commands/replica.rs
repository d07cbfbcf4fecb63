//! `steeldb replica`: the process of one replica.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::{logging, replica_file, signals};

/// Run one replica in the foreground (`up` does this for you)
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its configuration file, replica.toml
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    logging::start()?;
    let stop_wish = signals::stop_wish()?;
    let config = replica_file::read(&args.config)?;
    let id = config.id;
    ::replica::run(config, stop_wish)
        .await
        .map_err(|error| Failure::new(format!("replica {id} has stopped")).cause(error))
}
