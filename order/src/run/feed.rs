//! What a service that restarts is given: the state of its checkpoint, the decisions in the log after it, then what comes.

use std::sync::Arc;

use bytes::Bytes;
use consensus::transfer::{ChunkList, Content};
use consensus::{Decided, Height, Recovered, Summary, View};
use net::Budget;
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::Loaded;
use crate::log::Log;
use crate::past::load;
use crate::state::StateDone;

use super::{Delivered, OVERHEAD, ToService};

/// A service that goes through the log again.
pub(super) struct Feed {
    pub log: Log,
    /// The view in which the cluster began.
    pub first: View,
    /// Heights between checkpoints.
    pub every: Height,
    /// The last decision in the log that the core knows.
    pub last: Height,
    pub out: mpsc::Sender<ToService>,
    /// What waits in there out of the log, in bytes.
    pub room: Budget,
    pub done: mpsc::UnboundedSender<StateDone>,
    /// States are not waited for: the service may need what follows to know them.
    pub later: bool,
}

/// What a decision holds in memory, about.
pub fn size(decided: &Decided) -> usize {
    let chosen: usize = decided.requests.iter().map(|r| r.op.len() + OVERHEAD).sum();
    chosen + OVERHEAD
}

/// The service is gone, or the log cannot be read.
struct Ended;

impl Feed {
    pub async fn run(self, begin: Option<Loaded>, mut live: mpsc::Receiver<ToService>) {
        if self.replay(begin).await.is_err() {
            return;
        }
        while let Some(task) = live.recv().await {
            if self.give(task).await.is_err() {
                return;
            }
        }
    }

    async fn replay(&self, begin: Option<Loaded>) -> Result<(), Ended> {
        let mut past = Recovered::in_view(self.first.clone());
        if let Some(Loaded { summary, state, .. }) = begin {
            let height = summary.height();
            past = Recovered::from_summary(summary);
            self.give(ToService::Restore { height, state }).await?;
        }
        while past.height() < self.last {
            for decided in self.load(past.height() + 1).await? {
                let view = past.view().cloned().unwrap_or_default();
                past.decided(&decided).map_err(|_| Ended)?;
                let delivered = Delivered {
                    share: self.room.take(size(&decided)).await,
                    decided,
                    view: Arc::new(view),
                    position: None,
                };
                self.give(ToService::Execute(delivered)).await?;
                self.look(past.summary()).await?;
            }
        }
        Ok(())
    }

    /// No further than where the core begins: it delivers what follows itself, and may be logging it already.
    async fn load(&self, from: Height) -> Result<Vec<Decided>, Ended> {
        let most = (self.last - from + 1).min(1_000) as usize;
        let log = self.log.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&log, from, most)).await;
        let decisions = loaded.unwrap_or_default();
        if decisions.is_empty() {
            tracing::error!(height = from, "a decision is missing in the log");
            return Err(Ended);
        }
        Ok(decisions)
    }

    /// At agreed heights the state is hashed again: after a power loss of all, nobody else may be left to vouch for it.
    async fn look(&self, summary: &Summary) -> Result<(), Ended> {
        let height = summary.height();
        if self.every == 0 || !height.is_multiple_of(self.every) {
            return Ok(());
        }
        let (reply, state) = oneshot::channel();
        self.give(ToService::Snapshot { height, reply }).await?;
        let hashed = hash(summary.clone(), state, self.done.clone());
        if self.later {
            tokio::spawn(hashed);
        } else {
            // One state at a time.
            hashed.await;
        }
        Ok(())
    }

    async fn give(&self, task: ToService) -> Result<(), Ended> {
        self.out.send(task).await.map_err(|_| Ended)
    }
}

/// Remembers the root of a state, if the service has one.
async fn hash(
    summary: Summary,
    state: oneshot::Receiver<Bytes>,
    done: mpsc::UnboundedSender<StateDone>,
) {
    let Ok(state) = state.await else { return };
    let hashed = tokio::task::spawn_blocking(move || {
        let content = Content::new(&summary, state)?;
        Some(content.list(ChunkList::CHUNK_BYTES))
    });
    if let Ok(Some(list)) = hashed.await {
        let _ = done.send(StateDone::Replayed(list));
    }
}
