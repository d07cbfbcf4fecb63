//! Checkpoints as the core sees them: when one is due, what a log must hold that begins with one, and how the
//! core jumps to one that came from a peer.

use crate::ids::Height;
use crate::record::{Record, Summary};
use crate::settings::{MAX_PIPELINE, mutated};

use super::{Action, Core};

impl Core {
    /// Opens the instance after the last decided height, with the votes that this replica already has beyond those that were in
    /// flight. It has some if its log has a hole: it stood further ahead once, and a checkpoint that it stood on was damaged.
    pub(crate) fn open_next(&mut self) {
        let voted = self.pipeline.move_to(self.summary.height() + 1);
        // Another value may be decided below than this replica wrote there.
        self.pipeline.first_mut().refused = false;
        for height in &voted {
            self.restore_votes_at(*height);
        }
        if !voted.is_empty() && self.stopping.mine.is_some() {
            self.stopping.mine = Some(Box::new(self.stop_data()));
        }
    }

    /// Tells that the height just decided is one of those at which all replicas look at their state.
    pub(crate) fn checkpoint_if_due(&self, out: &mut Vec<Action>) {
        let every = self.settings.checkpoint_every;
        if every > 0 && self.summary.height().is_multiple_of(every) {
            out.push(Action::Checkpoint(Box::new(self.summary.clone())));
        }
    }

    /// What of this core's memory a log must hold that begins at its last decided height: the regency, and the votes of
    /// the instances that are not decided. A runtime appends them (again) and waits until they are durable before it cuts its log.
    pub fn standing_records(&self) -> Vec<Record> {
        let regency = Record::Regency {
            view: self.view.id,
            regency: self.regency,
            start: self.start.clone(),
        };
        let votes = self.pipeline.votes();
        let votes = votes.flat_map(|(height, votes)| votes.records(height));
        let promised = self.promised.iter();
        let promised = promised.map(|(view, (regency, start))| Record::Regency {
            view: *view,
            regency: *regency,
            start: start.clone(),
        });
        std::iter::once(regency)
            .chain(promised)
            .chain(votes)
            .collect()
    }

    /// Below which height a log may be cut that has a checkpoint at this one. One replica alone may decide what is in flight before the
    /// others decide any of it; who voted at a height, though, has decided all but the last [`MAX_PIPELINE`] below it. So what
    /// lies lower than those is decided at f + 1 correct replicas, and can be had without this one's log: the rest stays in it.
    pub fn may_cut_below(&self, checkpoint: Height) -> Height {
        let needed = self.summary.height().saturating_sub(MAX_PIPELINE as Height);
        if mutated!(self.settings, CutInFlight) {
            return checkpoint;
        }
        checkpoint.min(needed)
    }

    /// Jumps to a checkpoint: the windows, the time and the last decision are its own, the instance after it is open,
    /// and what was known of lower ones is forgotten. Regency and what SYNC said about it stay: they speak of no
    /// instance that this replica skips, or else of one that is decided. Never backwards.
    ///
    /// The checkpoint is durable already, so a restart from here on begins at it: no vote is lost, since votes of
    /// decided instances bind nobody.
    pub(crate) fn on_state_installed(&mut self, now: u64, summary: Summary, out: &mut Vec<Action>) {
        let views = summary.views.as_ref();
        let then = views.and_then(|views| views.of(summary.height()));
        let then = then.unwrap_or(&self.view);
        let proven = summary
            .last
            .as_ref()
            .is_some_and(|last| last.is_proven(then));
        if summary.height() <= self.summary.height() || !proven {
            return;
        }
        let views = self.summary.views.take();
        self.summary = summary;
        self.summary.views = self.summary.views.take().or(views);
        self.pool.jumped(now, &self.summary.windows);
        self.open_next();
        self.clock.progress(now);
        let now_holds = self.summary.views.as_ref().map(|views| views.now.id);
        if now_holds.is_some_and(|id| id != self.view.id) {
            self.change_view(now, out);
        }
        (self.clock.asked, self.clock.ask_after) = (None, now);
        self.state_asked = None;
        self.replay_early(now, out);
        self.catch_up(now, out);
        self.advance(now, out);
    }
}
