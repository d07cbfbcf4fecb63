//! The closed loop: each terminal waits for its answer before it sends its next transaction.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::input::Source;
use crate::terminal::Terminal;

/// A terminal's user, who waits for each answer.
pub struct Closed {
    pub source: Source,
    pub warehouse: u32,
    pub district: u32,
    pub think_times: bool,
    pub until: Option<Instant>,
    pub quota: Option<u32>,
}

impl Closed {
    pub async fn work(mut self, mut terminal: Terminal) {
        for done in 0.. {
            if self.quota == Some(done) {
                return;
            }
            let input = self.source.next(self.warehouse, self.district);
            let profile = input.profile();
            if self.think_times {
                self.idle(profile.keying()).await;
            }
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
            terminal
                .perform_until(&input, Instant::now(), self.until)
                .await;
            if self.think_times {
                let think = self.source.think(profile);
                self.idle(think).await;
            }
        }
    }

    /// For a time, but not beyond the end.
    async fn idle(&self, time: Duration) {
        let wake = Instant::now() + time;
        let wake = self.until.map_or(wake, |until| wake.min(until));
        sleep_until(wake.into()).await;
    }
}
