//! A replica's STOPDATA tells all of its votes, and it votes in no lower regency afterwards:
//! the promise that the safety of SYNC rests on.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId, StopState};

use super::Verdict;
use super::views::Views;

/// Votes sent, and what was promised last.
#[derive(Debug, Default)]
pub struct Promise {
    /// Newest ACCEPT per replica, view and height.
    accepts: BTreeMap<(ReplicaId, u64, Height), (Regency, Digest)>,
    /// The last one of each view, in which regencies count anew.
    states: BTreeMap<(ReplicaId, u64), StopState>,
}

impl Promise {
    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
        match message {
            Message::Write {
                height, regency, ..
            } => {
                let view = views.voting(replica, *height).view.id;
                match self.states.get(&(replica, view)) {
                    Some(state) if *regency < state.regency => Err(format!(
                        "promise: {replica} writes in regency {regency} after its STOPDATA for {}",
                        state.regency
                    )),
                    _ => Ok(()),
                }
            }
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } => {
                let (view, vote) = (views.voting(replica, *height).view.id, (*regency, *digest));
                let at = (replica, view, *height);
                let newest = self.accepts.entry(at).or_insert(vote);
                *newest = (*newest).max(vote);
                let state = self.states.get(&(replica, view));
                state.map_or(Ok(()), |state| covers(state, *height, vote))
            }
            Message::StopData(data) => {
                let (state, view) = (&data.state, data.state.view);
                self.states.insert((replica, view), state.clone());
                let open = (replica, view, state.decided + 1)..=(replica, view, Height::MAX);
                let mut votes = self.accepts.range(open);
                votes.try_for_each(|((_, _, height), vote)| covers(state, *height, *vote))
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
