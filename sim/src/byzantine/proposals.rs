//! Lies of a leader: other values than its core proposes.

use std::collections::BTreeSet;

use consensus::{Batch, Digest, Entry, Request};

use super::mind::Mind;
use super::{Habit, Liar};

impl Liar {
    /// What it proposes instead, to one side or to all; none: it keeps silent.
    pub(super) fn false_batch(
        &mut self,
        mind: &mut Mind,
        second: bool,
        batch: Batch,
    ) -> Option<Batch> {
        let own = batch.digest();
        let mut said = batch;
        let parent = said.after;
        // It goes on from what it said.
        said.after = mind.instead.get(&parent).copied().unwrap_or(parent);
        if self.habits.contains(&Habit::Starve) {
            let victim = said.entries.iter().map(|entry| entry.client.0).max();
            let victim = self.victim.or(victim);
            self.victim = victim;
            said.entries.retain(|entry| Some(entry.client.0) != victim);
        }
        if self.habits.contains(&Habit::WarpTime) && self.whim(own, 40) {
            // Far ahead, or far behind.
            said.time_ms = if own.0[1] < 128 {
                said.time_ms + 3_600_000
            } else {
                said.time_ms.saturating_sub(100_000)
            };
        }
        if self.habits.contains(&Habit::Repeat) && self.whim(own, 40) {
            repetition(mind, &mut said);
        }
        if said.entries.is_empty() {
            return None;
        }
        let digest = said.digest();
        if digest != own {
            mind.instead.insert(own, digest);
        }
        if self.habits.contains(&Habit::Equivocate) || second {
            let mut twin = twin(&said);
            twin.after = mind.twins.get(&parent).copied().unwrap_or(said.after);
            mind.twins.insert(own, twin.digest());
            mind.twins.insert(digest, twin.digest());
            mind.firsts.insert(twin.digest(), digest);
            if second {
                said = twin;
            }
        }
        Some(said)
    }

    /// The value that it votes for, told to this side.
    pub(super) fn false_vote(&self, mind: &Mind, second: bool, digest: Digest) -> Digest {
        let faces = if second { &mind.twins } else { &mind.firsts };
        let face = faces.get(&digest).or(mind.instead.get(&digest));
        face.copied().unwrap_or(digest)
    }

    /// A decision that is the same each time it is asked about a value.
    fn whim(&self, about: Digest, percent: u8) -> bool {
        about.0[0] % 100 < percent
    }
}

/// Another valid value: the same requests at another time, or fewer.
fn twin(batch: &Batch) -> Batch {
    let mut twin = batch.clone();
    twin.time_ms += 1;
    if batch.entries.len() > 1 && batch.time_ms.is_multiple_of(3) {
        twin.entries.pop();
    }
    twin
}

/// The batch with requests in it that may have been ordered long ago.
fn repetition(mind: &Mind, batch: &mut Batch) {
    let named: BTreeSet<_> = batch.entries.iter().map(|e| (e.client, e.seq)).collect();
    let mut known = mind.requests.iter();
    let old = known.find(|r| !named.contains(&(r.client, r.seq)));
    if let Some(request) = old {
        let Request {
            client,
            incarnation,
            seq,
            ..
        } = *request;
        batch.entries.push(Entry {
            client,
            incarnation,
            seq,
            digest: request.digest(),
        });
    }
}
