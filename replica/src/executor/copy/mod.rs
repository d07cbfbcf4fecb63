//! A copy of the database from other replicas instead of the history (docs/decisions/0022-copy.md).
//!
//! Several [`source`]s keep the state of one place in the order and say what they hold there; f+1 that say the same are the [`truth`].
//! The one that copies takes the schema and the tables from one source at a time, and compares what its own server holds
//! then ([`install`]) with the truth: no source is trusted. [`receive`] is the way through it, [`inbox`] and [`intake`] bound what comes.

mod holds;
pub mod inbox;
pub mod install;
pub mod intake;
pub mod receive;
mod sequences;
pub mod source;
pub mod truth;

use consensus::{Digest, ReplicaId};
use net::{Endpoint, PeerId};
use pgsession::MultisetHash;
use txn::copy::CopyMessage;
use txn::peer::PeerMessage;

/// Bytes of a chunk, about: it ends behind the row that fills it.
pub const CHUNK: usize = 1 << 20;
/// Chunks that may be under way.
pub const WINDOW: u32 = 4;

/// Sends to one peer.
pub fn send(endpoint: &Endpoint, to: ReplicaId, message: CopyMessage) {
    let message = PeerMessage::Copy(message);
    let bytes = postcard::to_stdvec(&message).expect("these types have no unserialisable parts");
    let sent = endpoint.send(PeerId::Replica(to.0), cluster::channel::BULK, bytes.into());
    if let Err(error) = sent {
        tracing::debug!(%to, %error, "a message about a copy was not sent");
    }
}

/// The digest of lines, whatever their order.
pub fn digest_of<'a>(lines: impl Iterator<Item = &'a String>) -> Digest {
    let mut hash = MultisetHash::new();
    lines.for_each(|line| hash.add(line.as_bytes()));
    Digest(hash.finish())
}

pub fn hash_of(payload: &[u8]) -> Digest {
    Digest(*blake3::hash(payload).as_bytes())
}

/// Whether a statement that is executed outside of transactions waits for all who read a table, and everything ordered behind it too:
/// one that copies has a table read for as long as it likes. Where such a word is a name a copy ends that need not have, no more.
pub fn is_in_the_way_of(sql: &str) -> bool {
    let sql = sql.to_ascii_lowercase();
    let words = ["full", "cluster", "reindex"];
    words.iter().any(|word| sql.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_in_the_way_of;

    #[test]
    fn a_copy_is_in_the_way_of_what_locks_whole_tables_and_of_nothing_else() {
        for waits in [
            "VACUUM FULL t",
            "vacuum (analyze, full) t",
            "CLUSTER",
            "REINDEX DATABASE postgres",
        ] {
            assert!(is_in_the_way_of(waits), "{waits}");
        }
        for passes in ["VACUUM", "VACUUM (ANALYZE) t", "ANALYZE t"] {
            assert!(!is_in_the_way_of(passes), "{passes}");
        }
    }
}
