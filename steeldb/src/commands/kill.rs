//! `steeldb kill`: a replica and its PostgreSQL die at once, as in a crash.

use crate::commands::Where;
use crate::failure::Failure;
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
    let cluster = members::load(&layout)?;
    let member = members::replica(&cluster, args.replica)?;
    let _lock = Lock::take(&layout)?;
    // First, so that the supervisor does not undo it.
    members::mark_stopped(&layout, member, true)?;
    let process = members::process(&layout, member);
    if let Some(process) = &process {
        stop::kill(member, process)?;
    }
    postgres::kill(&layout, member)?;
    members::forget(&layout, member);
    match process {
        Some(process) => println!(
            "{member} (process {}) and its PostgreSQL are killed",
            process.pid()
        ),
        None => println!("{member} was not running"),
    }
    Ok(())
}
