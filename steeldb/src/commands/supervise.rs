//! `steeldb supervise`: the care for a detached cluster; `up --detach` starts it.

use crate::commands::Where;
use crate::failure::Failure;
use crate::{logging, members, signals, supervisor};

/// Start the cluster and again what crashes, until told to stop
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
}

pub async fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    logging::start()?;
    let stop_wish = signals::stop_wish()?;
    let cluster = members::load(&layout)?;
    if !supervisor::enter(&layout)? {
        return Err(Failure::new(format!(
            "{} has a supervisor already",
            layout.root().display()
        )));
    }
    supervisor::supervise(&layout, &cluster, stop_wish).await
}
