//! An administrator moves the master: what is open ends first, what would begin waits for the next epoch.

use super::*;

impl Engine {
    /// The change ordered at `height` names another master. From here on nothing begins in this epoch; it ends with its
    /// last open transaction, or when f+1 replicas find that it has been waited for long enough.
    pub fn move_master(&mut self, height: Height, to: ReplicaId, out: &mut Vec<Action>) {
        if to != self.master() && self.view().replicas.contains_key(&to) {
            self.moving = Some(to);
            self.drained(height, out);
        }
    }

    /// The replica that is to be the next master, while open transactions are waited for.
    pub fn moving(&self) -> Option<ReplicaId> {
        self.moving
    }

    /// Moves the epoch once nothing is open in it any more.
    pub(super) fn drained(&mut self, height: Height, out: &mut Vec<Action>) {
        if self.moving.is_some() && self.open.is_empty() {
            self.move_epoch(height, self.next_epoch(), out);
        }
    }

    /// The epoch after this one: the next in turn, or the one whose master an administrator named.
    pub(super) fn next_epoch(&self) -> u64 {
        let next = self.epoch + 1;
        match self.moving {
            Some(to) => self.epoch_of(to).unwrap_or(next),
            None => next,
        }
    }

    /// The first epoch after this one whose master this member is.
    pub(super) fn epoch_of(&self, member: ReplicaId) -> Option<u64> {
        let round = self.epoch + 1..=self.epoch + self.view().n() as u64;
        round
            .into_iter()
            .find(|epoch| self.master_of(*epoch) == member)
    }
}
