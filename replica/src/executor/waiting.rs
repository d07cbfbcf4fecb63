//! What clients' operations that wait hold in memory: for a Begin, for a height, for their session, for a place among the
//! reads. Their number is bounded where they wait; this bounds their bytes.

use super::Executor;
use super::session::Place;
use consensus::ClientId;
use txn::{Operation, TxId};

/// Bytes of one client's operations that wait, and of all clients'.
const BYTES_PER_CLIENT: usize = 128 << 20;
const BYTES: usize = 512 << 20;

/// Whether one more operation of a client may wait.
fn fits(held: impl Iterator<Item = (ClientId, usize)>, client: ClientId, more: usize) -> bool {
    let (mut own, mut all) = (more, more);
    for (of, bytes) in held {
        all += bytes;
        own += if of == client { bytes } else { 0 };
    }
    own <= BYTES_PER_CLIENT && all <= BYTES
}

impl Executor {
    /// Whether there is room for one more operation that waits. One whose session is free runs at once and needs none.
    pub(super) fn may_wait(
        &self,
        client: ClientId,
        tx: Option<TxId>,
        operation: &Operation,
    ) -> bool {
        let session = tx.and_then(|tx| self.sessions.get(&tx));
        if session.is_some_and(|s| s.queue.is_empty() && matches!(s.place, Place::Home(_))) {
            return true;
        }
        let parked = self.parked.values().map(|p| (p.client, &p.operations));
        let queued = self.sessions.values().map(|s| (s.client, &s.queue));
        let steps = parked.chain(queued).flat_map(|(client, operations)| {
            operations
                .iter()
                .map(move |(_, operation)| (client, operation.size()))
        });
        let autos = self
            .autos
            .of
            .values()
            .map(|a| (a.client, a.operation.size()));
        fits(
            steps.chain(autos).chain(self.reads.held()),
            client,
            operation.size(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_large_operations_fill_a_clients_room_and_many_clients_the_room_of_all() {
        let (a, b) = (ClientId(70_000), ClientId(70_001));
        let of = |client, count: usize| std::iter::repeat_n((client, 32 << 20), count);
        assert!(fits(of(a, 3), a, 32 << 20));
        assert!(!fits(of(a, 4), a, 1), "the client's own");
        assert!(fits(of(a, 4), b, 1), "another one's");
        let many = (0..16).map(|i| (ClientId(80_000 + i), 32 << 20));
        assert!(!fits(many, b, 1), "all together");
    }
}
