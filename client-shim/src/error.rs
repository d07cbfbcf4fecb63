//! What a client is told when something cannot be done, in PostgreSQL's terms.

use crate::inner::Silence;

/// An error for the application, with PostgreSQL's SQLSTATE.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sqlstate}: {message}")]
pub struct ShimError {
    /// Five characters. 40001: the transaction is over and may be tried again. 08007: its outcome is unknown. 57P03: no
    /// quorum answers. 53300: too many open transactions.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl ShimError {
    /// The master has not answered, and nobody will make it.
    pub(crate) fn silent(silence: Silence) -> ShimError {
        match silence {
            Silence::NoQuorum => ShimError::new(
                "57P03",
                "the statement was given up: too few replicas are connected",
            )
            .hint("Look at `steeldb status`; start the missing replicas with `steeldb start`."),
            Silence::TooOld => ShimError::new(
                "57014",
                "the statement was given up: the master has not answered within the life of a transaction",
            ),
        }
    }

    pub fn new(sqlstate: &str, message: impl Into<String>) -> ShimError {
        ShimError {
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> ShimError {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> ShimError {
        self.hint = Some(hint.into());
        self
    }

    /// The client asked to cancel, in time.
    pub fn cancelled() -> ShimError {
        ShimError::new("57014", "canceling statement due to user request")
    }

    /// The transaction is over; the application may run it again.
    pub fn retry(message: impl Into<String>) -> ShimError {
        ShimError::new("40001", message).hint("The transaction might succeed if retried.")
    }

    /// A Commit was sent and no quorum told its verdict.
    pub fn unknown_outcome() -> ShimError {
        ShimError::new("08007", "transaction resolution unknown")
            .detail("The commit was sent for ordering, but no quorum of replicas answered in time.")
            .hint("Check whether the transaction's effects are there before you run it again.")
    }
}
