//! What checkpoints mean for the order's task: one that came is installed, one that was written lets the log be cut.

use consensus::{Action, Height, Input};

use crate::checkpoint::Loaded;
use crate::log::Position;
use crate::state::{Outcome, StateDone};

use super::doing::raise;
use super::{Done, Order, ToService, now_ms, record};

impl Order {
    /// False when the service is gone.
    pub(super) async fn state_done(&mut self, done: StateDone, actions: &mut Vec<Action>) -> bool {
        let outcome = self
            .state
            .as_mut()
            .and_then(|state| state.done(now_ms(), done));
        match outcome {
            Some(Outcome::Cut { below }) => self.stand(below),
            Some(Outcome::Install(loaded)) => {
                let Loaded { summary, state, .. } = *loaded;
                let height = summary.height();
                if height > self.core.status().height {
                    tracing::info!(height, "the checkpoint of a peer is installed");
                    // Before any batch that the core decides from now on.
                    if self
                        .decided
                        .send(ToService::Restore { height, state })
                        .await
                        .is_err()
                    {
                        return false;
                    }
                    let installed = Input::StateInstalled(Box::new(summary));
                    self.core.handle(now_ms(), installed, actions);
                    raise(&self.durable, height);
                }
            }
            None => {}
        }
        true
    }

    /// The log is to begin above a height: what the core needs of what lies before is written again first.
    fn stand(&mut self, below: Height) {
        let mut first = None;
        for record in self.core.standing_records() {
            let payload =
                postcard::to_stdvec(&record).expect("records have no unserialisable parts");
            let position = self.log.append(record::CORE, 0, payload.into());
            first.get_or_insert(position);
        }
        let (Some(position), done) = (first, self.done.clone()) else {
            return;
        };
        let log = self.log.clone();
        self.log_work.spawn(async move {
            let end = log.end();
            if log.durable(end).await.is_ok() {
                let _ = done.send(Done::Standing { below, position });
            }
        });
    }

    pub(super) fn cut(&mut self, below: Height, standing: Position) {
        let log = self.log.clone();
        self.log_work.spawn_blocking(move || {
            let keep = log
                .first(record::DECIDED, below.saturating_add(1))
                .min(standing);
            match log.cut(keep) {
                Ok(0) => {}
                Ok(segments) => tracing::debug!(below, segments, "the log was cut"),
                Err(error) => tracing::error!(%error, "the log was not cut"),
            }
        });
    }
}
