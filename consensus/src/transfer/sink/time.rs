//! When a sink asks again, and when it loses patience.

use super::super::StateMessage;
use super::{Phase, Sink, SinkAction};

impl Sink {
    /// Time passes.
    pub fn tick(&mut self, now: u64, out: &mut Vec<SinkAction>) {
        let (patience, again) = (self.patience_ms, self.again_ms());
        match &mut self.phase {
            Phase::Gathering { since, asked_at } => {
                let due = now >= *since + self.limits.gather_ms;
                if now >= *asked_at + self.limits.retry_ms {
                    *asked_at = now;
                    let message = StateMessage::Query { above: self.above };
                    out.push(SinkAction::Broadcast { message });
                }
                if due {
                    self.choose(now, out);
                }
            }
            Phase::Listing { source, since, .. } if now >= *since + patience => {
                self.offers.was_slow(*source);
                self.leave(now, out);
            }
            Phase::Listing {
                target,
                source,
                asked_at,
                ..
            } if now >= *asked_at + again => {
                *asked_at = now;
                let message = StateMessage::FetchList {
                    height: target.height,
                };
                out.push(SinkAction::Send {
                    to: *source,
                    message,
                });
            }
            Phase::Fetching { source, heard_at } => {
                let Some(download) = self
                    .download
                    .as_mut()
                    .filter(|download| !download.asked.is_empty())
                else {
                    return;
                };
                if now >= *heard_at + patience {
                    self.offers.was_slow(*source);
                    self.leave(now, out);
                    return;
                }
                // A link that broke lost the question or the answer.
                for (index, at) in download
                    .asked
                    .iter_mut()
                    .filter(|(_, at)| now >= **at + again)
                {
                    *at = now;
                    let message = StateMessage::FetchChunk {
                        height: download.root.height,
                        index: *index,
                    };
                    out.push(SinkAction::Send {
                        to: *source,
                        message,
                    });
                }
            }
            _ => {}
        }
    }

    fn again_ms(&self) -> u64 {
        (self.patience_ms / 4).max(1)
    }

    /// When [`Sink::tick`] is due.
    pub fn next_deadline(&self) -> Option<u64> {
        match &self.phase {
            Phase::Gathering { since, asked_at } => {
                let retry = asked_at + self.limits.retry_ms;
                let gathered = since + self.limits.gather_ms;
                // Once gathered, the choice waits for new offers, which come with the next question.
                Some(if gathered > *asked_at {
                    gathered.min(retry)
                } else {
                    retry
                })
            }
            Phase::Listing {
                asked_at, since, ..
            } => Some((asked_at + self.again_ms()).min(since + self.patience_ms)),
            Phase::Fetching { heard_at, .. } => {
                let asked = self.download.as_ref()?.asked.values().min()?;
                Some((asked + self.again_ms()).min(heard_at + self.patience_ms))
            }
            _ => None,
        }
    }
}
