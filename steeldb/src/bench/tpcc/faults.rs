//! A replica that is killed during a run and started again, and what the report says of it.

use std::time::Duration;

use tpcc::Events;

use crate::commands::{kill, start};
use crate::failure::Failure;
use crate::layout::Layout;

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

impl Args {
    /// Does what was asked for, beginning now; resolves when the replica has caught up.
    ///
    /// # Errors
    /// When the replica cannot be killed, or does not come back.
    pub async fn happen(
        &self,
        layout: &Layout,
        run: Duration,
        events: Events,
    ) -> Result<(), Failure> {
        let Some(replica) = self.kill else {
            return Ok(());
        };
        let began = tokio::time::Instant::now();
        let kill_at = self.kill_at.map_or(run / 3, Duration::from_secs);
        let back_at = self.back_at.map_or(run * 2 / 3, Duration::from_secs);
        if kill_at >= back_at || back_at >= run {
            return Err(Failure::usage(format!(
                "--kill-at {kill_at:?} must come before --back-at {back_at:?}, and that before the end at {run:?}"
            )));
        }
        tokio::time::sleep_until(began + kill_at).await;
        kill::kill(layout, replica)?;
        events.mark(format!("replica {replica} killed"));
        tokio::time::sleep_until(began + back_at).await;
        events.mark(format!("replica {replica} started"));
        let height = start::bring_back(
            layout,
            replica,
            BACK,
            &mut crate::progress::Progress::start(),
        )
        .await?;
        events.mark(format!("replica {replica} caught up at height {height}"));
        Ok(())
    }
}
