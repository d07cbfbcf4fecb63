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
    let mut progress = Progress::start();
    // First and without the lock: a foreground `up` stops the cluster itself on its way out.
    progress.step("stopping the supervisor");
    stop::stop_supervisor(&layout)?;
    let _lock = Lock::take(&layout)?;
    stop::stop_members(&layout, &members, &mut progress)?;
    drop(progress);
    let root = layout.root().display();
    println!(
        "{root} {}",
        if ran { "is stopped" } else { "was not running" }
    );
    Ok(())
}
