//! Clients that say that the master's word is worthless. Nobody can prove that a signature was not given, so they are believed
//! when they are more than half of those that are at work: few can have no master replaced, and whoever is alone is served by
//! whomever he likes.

use consensus::ClientId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A client whose last request is older than this (ms of consensus time) does not count.
const AT_WORK_MS: u64 = 60_000;

/// Who is at work, and who of them suspects the master of the current epoch: by the order alone, so equal at all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Consensus time of each client's last request; no longer than the list of clients.
    last: BTreeMap<ClientId, u64>,
    by: BTreeSet<ClientId>,
    told: bool,
}

impl Suspicion {
    /// A client's request is ordered.
    pub fn active(&mut self, client: ClientId, time_ms: u64) {
        if client.as_replica().is_none() {
            self.last.insert(client, time_ms);
        }
    }

    /// A client suspects the master. True, once an epoch, when enough do.
    pub fn suspects(&mut self, client: ClientId, time_ms: u64) -> bool {
        if client.as_replica().is_some() {
            return false;
        }
        self.by.insert(client);
        self.last
            .retain(|_, last| time_ms.saturating_sub(*last) <= AT_WORK_MS);
        let by = self.by.iter();
        let suspecting = by.filter(|client| self.last.contains_key(client)).count();
        let enough = 2 * suspecting > self.last.len();
        enough && !std::mem::replace(&mut self.told, enough)
    }

    /// A new epoch.
    pub fn clear(&mut self) {
        self.by.clear();
        self.told = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> ClientId {
        ClientId((1 << 16) + number)
    }

    #[test]
    fn more_than_half_of_those_at_work_are_believed_once_an_epoch() {
        let mut suspicion = Suspicion::default();
        suspicion.active(client(9), 0);
        for number in 0..4 {
            suspicion.active(client(number), 50_000);
        }
        // Client 9 has been idle for over a minute: four are at work.
        assert!(!suspicion.suspects(client(0), 61_000));
        assert!(!suspicion.suspects(client(0), 61_001), "it is one client");
        assert!(!suspicion.suspects(client(1), 61_002), "half");
        assert!(
            !suspicion.suspects(ClientId(3), 61_003),
            "replicas vote by themselves"
        );
        assert!(suspicion.suspects(client(2), 61_004));
        assert!(!suspicion.suspects(client(3), 61_005), "it was said");
        suspicion.clear();
        assert!(
            !suspicion.suspects(client(0), 61_006),
            "another epoch, another master"
        );
    }
}
