//! `steeldb down`: stops everything, PostgreSQL included.

use crate::commands::Where;
use crate::failure::Failure;
use crate::layout::Member;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::{members, stop};

/// Stop the cluster; its data stays
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    let cluster = members::load(&layout)?;
    let members = members::all(&cluster);
    let ran = members
        .iter()
        .chain([&Member::Supervisor])
        .any(|member| members::process(&layout, *member).is_some());
    let progress = Progress::start();
    // Without the lock, which the supervisor needs to stop the cluster.
    stop::stop_supervisor(&layout, &members, &progress)?;
    // What it has left, or what runs without one.
    let _lock = Lock::take(&layout)?;
    stop::stop_members(&layout, &members, &progress)?;
    drop(progress);
    let root = layout.root().display();
    println!(
        "{root} {}",
        if ran { "is stopped" } else { "was not running" }
    );
    Ok(())
}
