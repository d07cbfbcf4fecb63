//! `steeldb kill`: a replica and its PostgreSQL die at once, as in a crash.

use crate::commands::Where;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::lock::Lock;
use crate::{members, postgres, stop};

/// Kill (SIGKILL) one replica and its PostgreSQL; `start` brings it back
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// The replica's number, from 0
    #[arg(long, value_name = "I")]
    replica: u16,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.place.layout()?;
    println!("{}", kill(&layout, args.replica)?);
    Ok(())
}

/// Kills it, and says what it has killed.
pub fn kill(layout: &Layout, replica: u16) -> Result<String, Failure> {
    let cluster = members::load(layout)?;
    let member = members::replica(&cluster, replica)?;
    let _lock = Lock::take(layout)?;
    // First, so that the supervisor does not undo it.
    members::mark_stopped(layout, member, true)?;
    let process = members::process(layout, member);
    if let Some(process) = &process {
        stop::kill(member, process)?;
    }
    postgres::kill(layout, member)?;
    members::forget(layout, member);
    Ok(match process {
        Some(process) => format!(
            "{member} (process {}) and its PostgreSQL are killed",
            process.pid()
        ),
        None => format!("{member} was not running"),
    })
}
