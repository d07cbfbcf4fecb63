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
}

impl Contradiction {
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
