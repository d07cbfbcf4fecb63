//! State transfer: how a replica whose missing decisions are gone from its peers' logs gets a checkpoint instead
//! (thesis, 4.2.3.2). One peer sends it, others vouch for it with digests.
//!
//! All replicas compute the root digest of their state at the same agreed heights (every
//! [`Settings::checkpoint_every`](crate::Settings)), remember the last of them, and take turns in *writing* the state
//! to disk. So no two disks are busy with a checkpoint at once, and any f + 1 members can vouch for any of them.
//!
//! [`Source`] and [`Sink`] are the two ends, sans-I/O like the core: messages and the time go in, actions come out.
//! A sink believes a root that f + 1 members told it, a list of chunks that hashes to it, and chunks that are on the list.

mod content;
mod limits;
mod list;
mod message;
mod offers;
mod sink;
mod source;

pub use content::{Content, ContentError};
pub use limits::TransferLimits;
pub use list::{ChunkList, ListError};
pub use message::StateMessage;
pub use sink::{Sink, SinkAction};
pub use source::{Source, SourceAction};

use crate::ids::{Height, ReplicaId};
use crate::view::View;

/// Whether it is this replica's turn to write the checkpoint of an agreed height: members take turns, so that of the
/// n disks one at a time is busy with it.
pub fn writes_at(view: &View, me: ReplicaId, every: Height, height: Height) -> bool {
    let Some(turn) = height.checked_div(every) else {
        return false;
    };
    let at = turn.checked_rem(view.n() as u64).unwrap_or(0);
    view.replicas.keys().nth(at as usize) == Some(&me)
}

/// How many roots a replica remembers: two rounds of turns, so that the newest checkpoint of each member, and the one
/// before it, can still be vouched for.
pub fn remembered(view: &View) -> usize {
    2 * view.n() + 2
}
