//! A correct replica votes once per height and regency, whatever it lives through.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;

type Votes = BTreeMap<(ReplicaId, Height, Regency), Digest>;

/// Votes sent so far.
#[derive(Debug, Default)]
pub struct Contradiction {
    writes: Votes,
    accepts: Votes,
    /// The newest view that each replica began.
    views: BTreeMap<ReplicaId, u64>,
}

impl Contradiction {
    /// A correct replica begins a view, made at a height. Regencies count anew: what it said above, behind a value that was not
    /// decided, was of the view before.
    pub fn begins(&mut self, replica: ReplicaId, view: u64, made_at: Height) -> bool {
        let newest = self.views.entry(replica).or_default();
        let first_time = view > *newest;
        *newest = view.max(*newest);
        if first_time {
            let stays = |at: &(ReplicaId, Height, Regency)| at.0 != replica || at.1 <= made_at;
            self.writes.retain(|at, _| stays(at));
            self.accepts.retain(|at, _| stays(at));
        }
        first_time
    }

    /// A correct replica speaks.
    pub fn says(&mut self, replica: ReplicaId, message: &Message) -> Verdict {
        let (votes, vote, value) = match message {
            Message::Write {
                height,
                regency,
                digest,
            } => (&mut self.writes, (replica, *height, *regency), *digest),
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } => (&mut self.accepts, (replica, *height, *regency), *digest),
            _ => return Ok(()),
        };
        let before = *votes.entry(vote).or_insert(value);
        if before == value {
            Ok(())
        } else {
            let (_, height, regency) = vote;
            let name = message.name();
            Err(format!(
                "contradiction: {replica} sent {name} for {before} and {value} at height {height}, regency {regency}"
            ))
        }
    }
}
