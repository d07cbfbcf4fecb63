//! Why a node did not start, or stopped.

use consensus::ReplicaId;

use crate::log::LogError;

/// What ended a node. The text names the cause and the next step.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeError {
    /// The cluster file has no such replica.
    #[error("the cluster file lists no replica {0}: give the number of one that it lists")]
    Unlisted(ReplicaId),
    /// It was removed, and has stopped.
    #[error(
        "view {view} does not name {replica} any more: it was removed, and its files may be deleted"
    )]
    Removed {
        /// This replica.
        replica: ReplicaId,
        /// The view.
        view: u64,
    },
    /// The view names a key for it that is none of those given.
    #[error(
        "view {view} names another key for {replica}: give the identity that belongs to it, or as a spare one"
    )]
    OtherKey {
        /// This replica.
        replica: ReplicaId,
        /// The view.
        view: u64,
    },
    /// Its keys or its fault bound cannot be used.
    #[error("the cluster file cannot be used: {0}")]
    Cluster(String),
    /// The address is taken, or the identity is another one's.
    #[error("cannot start the links: {0}")]
    Links(String),
    /// The log could not be opened, or failed: nothing becomes durable any more.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The directory of checkpoints cannot be used.
    #[error("the checkpoints cannot be used: {0}")]
    Checkpoints(String),
    /// What the log holds does not fit together.
    #[error("cannot replay the log: {0}")]
    Replay(String),
    /// The service panicked, or refused what the order gave it.
    #[error("{0}; this replica has stopped: mend the service, then start it again on the same log")]
    Service(String),
    /// The service executes one operation and does not come back.
    #[error("the service is still {0}: its thread was left behind, end the process")]
    Stuck(&'static str),
    /// A task ended that never should.
    #[error("the replica's {0} ended; look for a panic in its output")]
    Ended(&'static str),
}
