//! A correct replica votes once per height and regency, whatever it lives through.

use std::collections::BTreeMap;

use consensus::{Digest, Height, Message, Regency, ReplicaId};

use super::Verdict;
use super::views::Views;

/// Regencies count anew in each view.
type Votes = BTreeMap<(ReplicaId, u64, Height, Regency), Digest>;

/// Votes sent so far.
#[derive(Debug, Default)]
pub struct Contradiction {
    writes: Votes,
    accepts: Votes,
}

impl Contradiction {
    /// A correct replica speaks.
    pub fn says(&mut self, views: &Views, replica: ReplicaId, message: &Message) -> Verdict {
        let view = |height: &Height| views.voting(replica, *height).view.id;
        let (votes, vote, value) = match message {
            Message::Write {
                height,
                regency,
                digest,
            } => (
                &mut self.writes,
                (replica, view(height), *height, *regency),
                *digest,
            ),
            Message::Accept {
                height,
                regency,
                digest,
                ..
            } => (
                &mut self.accepts,
                (replica, view(height), *height, *regency),
                *digest,
            ),
            _ => return Ok(()),
        };
        let before = *votes.entry(vote).or_insert(value);
        if before == value {
            Ok(())
        } else {
            let (_, view, height, regency) = vote;
            let name = message.name();
            Err(format!(
                "contradiction: {replica} sent {name} for {before} and {value} at height {height}, \
                 regency {regency} of view {view}"
            ))
        }
    }
}
