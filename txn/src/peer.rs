//! What replicas say to each other about transactions, outside of the total order.

use crate::{
    TxId, ballot::VotePart, copy::CopyMessage, errand::Errand, tally::Verdict, write_set::WriteSet,
};
use bytes::Bytes;
use consensus::{Digest, Height, ViewCertificate};
use serde::{Deserialize, Serialize};

/// Messages between executors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// A vote of the exchange; it was durable before it was sent.
    Vote(VotePart),
    /// The sender misses votes for this height.
    FetchVotes { height: Height },
    /// Everything that the sender holds of them.
    Votes { parts: Vec<VotePart> },
    /// The sender adopts this item and needs its rows.
    FetchWriteSet { height: Height, index: u32 },
    /// One write set per operation of the item, `None` when the sender has none. Checked against the agreed digests.
    WriteSets {
        height: Height,
        index: u32,
        steps: Option<Vec<WriteSet>>,
    },
    /// To the master: are you there?
    Ping { epoch: u64, number: u64 },
    /// The master's executor and its PostgreSQL answered; `height` is its last final height.
    Pong {
        epoch: u64,
        number: u64,
        height: Height,
    },
    /// What this replica's PostgreSQL is, to be compared at start; `height` is its last final height.
    Hello { fingerprint: String, height: Height },
    /// Verdicts of heights that are final at the sender, from `first` on. f+1 members that say the same are believed: one
    /// that joins, or lost its disk, cannot always have the votes of those days.
    Verdicts {
        first: Height,
        heights: Vec<Vec<(u32, Verdict)>>,
    },
    /// What the sender holds at a height at which all compare: (name, rows, digest).
    Contents {
        height: Height,
        tables: Vec<(String, u64, Digest)>,
    },
    /// About a copy of the database.
    Copy(CopyMessage),
    /// The digest of the sender's state after a height at which all look at theirs; whether it wants to know the receiver's.
    State {
        height: Height,
        digest: Digest,
        asks: bool,
    },
    /// What was asked for of a height is cut from the sender's log, which begins at `oldest`.
    Gone { oldest: Height },
    /// The sender knows the certificates of this many changes of the view, and lacks those that follow.
    FetchViews { known: u64 },
    /// Certificates of consecutive changes of the view.
    Views { certificates: Vec<ViewCertificate> },
    /// To the master: a client's operation, of which it has heard nothing.
    Errand(Errand),
    /// From the master: it has this operation, whenever it ends.
    ErrandTaken { tx: TxId },
    /// From the master: what it tells the client of it, an encoded `ReplicaMessage`.
    ErrandDone { tx: TxId, message: Bytes },
}
