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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogOptions;
    use crate::run::{REPLAY_BYTES, record};
    use consensus::{Batch, Digest, Proof};

    fn decided(height: u64) -> Decided {
        Decided {
            height,
            regency: 0,
            batch: Batch {
                after: Digest::default(),
                time_ms: height,
                entries: Vec::new(),
            },
            requests: Vec::new(),
            proof: Proof {
                regency: 0,
                accepts: Vec::new(),
            },
        }
    }

    #[tokio::test]
    async fn what_is_decided_while_the_log_is_replayed_comes_once() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(dir.path(), LogOptions::default()).unwrap();
        // The core began at 1,200 and has logged what it decided since.
        let mut position = None;
        for height in 1..=2_500 {
            let payload = postcard::to_stdvec(&decided(height)).unwrap();
            position = Some(log.append(record::DECIDED, height, payload.into()));
        }
        log.durable(position.unwrap()).await.unwrap();
        let (live_sender, live) = mpsc::channel(2_000);
        for height in 1_201..=2_500 {
            let delivered = Delivered {
                decided: decided(height),
                view: Arc::default(),
                position: None,
                share: Default::default(),
            };
            let task = ToService::Execute(delivered);
            live_sender.send(task).await.unwrap();
        }
        drop(live_sender);
        let (out, mut fed) = mpsc::channel(10);
        let feed = Feed {
            log,
            first: View::default(),
            every: 0,
            last: 1_200,
            out,
            room: Budget::new(REPLAY_BYTES),
            done: mpsc::unbounded_channel().0,
            later: true,
        };
        tokio::spawn(feed.run(None, live));
        for height in 1..=2_500 {
            let Some(ToService::Execute(delivered)) = fed.recv().await else {
                panic!("a batch is missing");
            };
            assert_eq!(delivered.decided.height, height);
        }
        assert!(fed.recv().await.is_none());
    }
}
