//! A replica that is killed during a run and started again, and what the report says of it.

use std::time::Duration;

use tpcc::Events;

use crate::commands::{kill, start};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::progress::Progress;

/// How long a replica may take to catch up.
const BACK: Duration = Duration::from_secs(180);

/// What happens during the run
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Kill (SIGKILL) this replica and its PostgreSQL during the run
    #[arg(long, value_name = "I", requires = "data")]
    pub kill: Option<u16>,
    /// When it is killed, in seconds after the terminals' start [default: a third of the run]
    #[arg(long, value_name = "SECOND", requires = "kill")]
    kill_at: Option<u64>,
    /// When it is started again [default: at two thirds of the run]
    #[arg(long, value_name = "SECOND", requires = "kill")]
    back_at: Option<u64>,
}

/// A death and a return, in times after the terminals' start.
pub struct Fault {
    replica: u16,
    kill_at: Duration,
    back_at: Duration,
}

impl Args {
    /// What was asked for, in a run of this length.
    ///
    /// # Errors
    /// When it would not fit into the run.
    pub fn plan(&self, run: Duration) -> Result<Option<Fault>, Failure> {
        let Some(replica) = self.kill else {
            return Ok(None);
        };
        let kill_at = self.kill_at.map_or(run / 3, Duration::from_secs);
        let back_at = self.back_at.map_or(run * 2 / 3, Duration::from_secs);
        if kill_at < back_at && back_at < run {
            return Ok(Some(Fault {
                replica,
                kill_at,
                back_at,
            }));
        }
        Err(Failure::usage(format!(
            "--kill-at {} and --back-at {} do not fit into a run of {} s",
            kill_at.as_secs(),
            back_at.as_secs(),
            run.as_secs()
        ))
        .next("let the death come before the return, and that before the end"))
    }
}

impl Fault {
    /// Happens, beginning now; resolves when the replica has caught up.
    ///
    /// # Errors
    /// When the replica cannot be killed, or does not come back.
    pub async fn happen(&self, layout: &Layout, events: Events) -> Result<(), Failure> {
        let (began, replica) = (tokio::time::Instant::now(), self.replica);
        tokio::time::sleep_until(began + self.kill_at).await;
        kill::kill(layout, replica)?;
        events.mark(format!("replica {replica} killed"));
        tokio::time::sleep_until(began + self.back_at).await;
        events.mark(format!("replica {replica} started"));
        let progress = Progress::unseen();
        start::bring_back(layout, replica, BACK, &progress).await?;
        events.mark(format!("replica {replica} caught up"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_comes_before_the_return_and_both_within_the_run() {
        let plan = |kill_at, back_at| {
            let args = Args {
                kill: Some(1),
                kill_at,
                back_at,
            };
            args.plan(Duration::from_secs(30))
        };
        let fault = plan(None, None).unwrap().unwrap();
        assert_eq!((fault.kill_at.as_secs(), fault.back_at.as_secs()), (10, 20));
        for (kill_at, back_at) in [(Some(20), Some(20)), (Some(25), None), (None, Some(30))] {
            let Err(error) = plan(kill_at, back_at) else {
                panic!("{kill_at:?} {back_at:?} was taken")
            };
            assert_eq!(error.code(), crate::failure::USAGE);
        }
        let none = Args {
            kill: None,
            kill_at: None,
            back_at: None,
        };
        assert!(none.plan(Duration::ZERO).unwrap().is_none());
    }
}
