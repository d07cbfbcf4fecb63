//! Why there is no result.

use std::time::Duration;

use consensus::ClientId;
use consensus::service::Refusal;

/// Why an invocation has no result, and what is known of its effects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// An ordered operation found no quorum of equal answers in time. It may have been executed, or may be until this client's
    /// next operation is.
    #[error(
        "outcome unknown: within {waited:?} {answered} replicas answered, and no quorum of them alike{}; \
         look whether the operation's effects are there before you send it again",
        refused(.refusal)
    )]
    OutcomeUnknown {
        /// The patience that ran out.
        waited: Duration,
        /// Replicas that answered anything.
        answered: usize,
        /// What one of those said that did not take the request.
        refusal: Option<Refusal>,
    },
    /// A query found no quorum in time, outside of the order nor in it. It has no effects: ask again.
    #[error(
        "no quorum of replicas answered the query within {waited:?} ({answered} answered when it was ordered); \
         see that at most f replicas are down, and ask again"
    )]
    NoQuorum {
        /// The patience that ran out.
        waited: Duration,
        /// Replicas that answered anything.
        answered: usize,
    },
    /// Earlier operations filled the window all the time. Nothing was sent.
    #[error("not sent: earlier operations filled the window for {waited:?}")]
    Busy {
        /// The patience that ran out.
        waited: Duration,
    },
    /// Longer than the links carry. Nothing was sent.
    #[error("not sent: {bytes} bytes are over the limit of {max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is carried.
        max: usize,
    },
    /// An administrator's requests change the membership, and nothing else. Nothing was sent.
    #[error("not sent: this client is an administrator; have operations ordered by another client")]
    Administrator,
    /// Longer than the replicas order. Nothing was done.
    #[error("refused: the operation is longer than the replicas order; nothing was done")]
    TooLarge,
    /// Another process with this client's identity, or one with a clock that is ahead, took over. The outcome is unknown.
    #[error(
        "outcome unknown: a newer process with this client's identity took over; give each process an identity of its own"
    )]
    Superseded,
    /// The operation was executed. Its result is not kept any more, or is longer than replicas send.
    #[error("the operation was executed, but its result is not kept any more")]
    AnswerGone,
    /// The client was closed meanwhile; of an ordered operation the outcome is unknown.
    #[error("the client was closed before an answer came")]
    Closed,
}

fn refused(refusal: &Option<Refusal>) -> String {
    refusal.map_or(String::new(), |refusal| format!(" (one said: {refusal})"))
}

/// Why the membership was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigureError {
    /// Only administrators change the membership. Nothing was sent.
    #[error("client {client} is no administrator in view {view}")]
    NotAdministrator {
        /// This client.
        client: ClientId,
        /// The view that it knows.
        view: u64,
    },
    /// Another change came first, or the view that would follow cannot be used.
    #[error("nothing was changed: {0}")]
    Unchanged(String),
    /// There is no answer.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The cluster file's keys or fault bound cannot be used.
    #[error("the cluster file cannot be used: {0}")]
    Cluster(String),
    /// The identity is not the one that the cluster file lists for this client.
    #[error("cannot start the links: {0}")]
    Links(#[from] net::StartError),
    /// A setting out of its range.
    #[error("{0}")]
    Setting(String),
}
