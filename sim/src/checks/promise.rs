//! A replica's STOPDATA tells all of its votes, and it votes in no lower regency afterwards:
//! the promise that the safety of SYNC rests on.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId, StopState};

use super::Verdict;
use super::views::Views;

/// Votes sent, and what was promised last.
#[derive(Debug, Default)]
pub struct Promise {
    /// Newest ACCEPT per replica and height.
    accepts: BTreeMap<(ReplicaId, Height), (Regency, Digest)>,
    states: BTreeMap<ReplicaId, StopState>,
}

impl Promise {
    /// A correct replica begins a view for the first time; see [`super::contradiction`].
    pub fn begins(&mut self, replica: ReplicaId, made_at: Height) {
        self.accepts
            .retain(|(of, at), _| *of != replica || *at <= made_at);
        self.states.remove(&replica);
    }

    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
        match message {
            Message::Write {
                height, regency, ..
            } => match self.states.get(&replica) {
                Some(state)
                    if *regency < state.regency && state.view == views.of(*height).view.id =>
                {
                    Err(format!(
                        "promise: {replica} writes in regency {regency} after its STOPDATA for {}",
                        state.regency
                    ))
                }
                _ => Ok(()),
            },
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } => {
                let vote = (*regency, *digest);
                let newest = self.accepts.entry((replica, *height)).or_insert(vote);
                *newest = (*newest).max(vote);
                // One that lost power in its new view may have spoken of the old one again in between.
                let state = self.states.get(&replica);
                state
                    .filter(|state| state.view == views.of(*height).view.id)
                    .map_or(Ok(()), |state| covers(state, *height, vote))
            }
            Message::StopData(data) => {
                let state = &data.state;
                self.states.insert(replica, state.clone());
                let open = (replica, state.decided + 1)..=(replica, Height::MAX);
                let mut votes = self.accepts.range(open);
                votes.try_for_each(|((_, height), vote)| covers(state, *height, *vote))
            }
            _ => Ok(()),
        }
    }
}

/// An ACCEPT of a regency below the state's must be in it, or be outdone by a newer one.
fn covers(state: &StopState, height: Height, vote: (Regency, Digest)) -> Verdict {
    let concerned = height > state.decided && vote.0 < state.regency;
    let told = state.votes_at(height).and_then(|votes| votes.lock);
    if !concerned || told.is_some_and(|lock| lock.0 > vote.0 || lock == vote) {
        return Ok(());
    }
    let (replica, regency) = (state.replica, state.regency);
    Err(format!(
        "promise: {replica} sent ACCEPT {vote:?} at height {height}; its STOPDATA for regency {regency} tells {told:?}"
    ))
}
