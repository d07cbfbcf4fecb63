//! `steeldb start`: a replica that was killed comes back and catches up.

use std::time::Duration;

use cluster::Cluster;

use crate::commands::Where;
use crate::failure::Failure;
use crate::layout::{Layout, Member};
use crate::lock::Lock;
use crate::operator::Operator;
use crate::progress::Progress;
use crate::ready::Wait;
use crate::{members, ports};

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
    let progress = Progress::start();
    let patience = Duration::from_secs(args.timeout);
    let height = bring_back(&layout, args.replica, patience, &progress).await?;
    drop(progress);
    println!("replica {} is back at height {height}", args.replica);
    Ok(())
}

/// Starts it and waits until it has caught up; returns the height that it has reached.
pub async fn bring_back(
    layout: &Layout,
    replica: u16,
    patience: Duration,
    progress: &Progress,
) -> Result<u64, Failure> {
    let cluster = members::load(layout)?;
    let member = members::replica(&cluster, replica)?;
    if members::process(layout, Member::Supervisor).is_none() {
        return Err(Failure::new(format!("{member} cannot be started alone"))
            .cause("the cluster is not running")
            .next(format!("steeldb up --data {}", layout.root().display())));
    }
    let operator = Operator::connect(layout, &cluster).await?;
    let wait = Wait::new(layout, &cluster, operator, patience);
    start(layout, &cluster, member)?;
    wait.caught_up(replica, progress).await
}

/// Lets the supervisor start it, unless it runs.
fn start(layout: &Layout, cluster: &Cluster, member: Member) -> Result<(), Failure> {
    let _lock = Lock::take(layout)?;
    if members::process(layout, member).is_none() {
        if let Member::Replica(id) = member
            && let Some(address) = cluster.address(id)
        {
            ports::check_free(member, address)?;
        }
        members::forget(layout, member);
    }
    members::mark_stopped(layout, member, false)
}
