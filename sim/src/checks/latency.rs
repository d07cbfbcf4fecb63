//! Latency: where a plan promises it, requests are ordered fast at the end of the run, whatever a liar did at its beginning.

use std::collections::BTreeMap;

use consensus::{ClientId, Decided, Request};

use super::Verdict;

/// When requests were asked, and how long those took that are ordered (at the first correct replica).
#[derive(Debug, Default)]
pub struct Latency {
    asked: BTreeMap<(ClientId, u64, u64), u64>,
    took: Vec<(u64, u64)>,
}

impl Latency {
    /// A client asks.
    pub fn asked(&mut self, now: u64, request: &Request) {
        let name = (request.client, request.incarnation, request.seq);
        self.asked.insert(name, now);
    }

    /// A correct replica decides.
    pub fn decided(&mut self, now: u64, decided: &Decided) {
        for entry in &decided.batch.entries {
            let name = (entry.client, entry.incarnation, entry.seq);
            let asked = self.asked.remove(&name);
            self.took.extend(asked.map(|asked| (asked, now - asked)));
        }
    }

    /// The median of those asked from `since` on.
    pub fn median(&self, since: u64) -> Option<u64> {
        let recent = self.took.iter().filter(|(asked, _)| *asked >= since);
        let mut took: Vec<_> = recent.map(|(_, took)| *took).collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }

    /// The end of a run that promised a median of at most `bound` from `since` on.
    pub fn ended(&self, since: u64, bound: u64) -> Verdict {
        match self.median(since) {
            Some(median) if median <= bound => Ok(()),
            median => Err(format!(
                "latency: requests asked after {since} ms took {median:?} ms (median); {bound} ms were promised"
            )),
        }
    }
}
