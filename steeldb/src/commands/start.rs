//! `steeldb start`: a replica that was killed comes back and catches up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::commands::Where;
use crate::failure::Failure;
use crate::lock::Lock;
use crate::operator::Operator;
use crate::progress::Progress;
use crate::ready::Wait;
use crate::{members, ports, spawn};

/// Start one replica again and wait until it has caught up
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// The replica's number, from 0
    #[arg(long, value_name = "I")]
    replica: u16,
    /// How long it may take to catch up, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let cluster = members::load(&layout)?;
    let member = members::replica(&cluster, args.replica)?;
    let mut log_begins = BTreeMap::new();
    let lock = Lock::take(&layout)?;
    members::mark_stopped(&layout, member, false)?;
    if members::process(&layout, member).is_none() {
        if let Some(address) = cluster.address(args.replica) {
            ports::check_free(member, address)?;
        }
        let started = spawn::start(&layout, member)?;
        log_begins.insert(member, started.log_begin);
    }
    drop(lock);
    let operator = Operator::connect(&layout, &cluster).await?;
    let wait = Wait {
        layout: &layout,
        cluster: &cluster,
        shim: &operator.shim,
        log_begins: &log_begins,
        limit: Duration::from_secs(args.timeout),
    };
    let mut progress = Progress::start();
    let height = wait.caught_up(args.replica, &mut progress).await?;
    drop(progress);
    println!("{member} is back at height {height}");
    Ok(())
}
