//! Checking a receipt with nothing but the view in which the cluster began.

use consensus::{CertificateError, Height, ReplicaId, View};
use thiserror::Error;

use super::{MAX_TEXT, Receipt, cluster_digest};
use crate::tally::Verdict;

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReceiptError {
    /// It is not read at all.
    #[error("it has {0} bytes, more than the {MAX_TEXT} that a receipt can have")]
    TooLong(usize),
    /// It cannot be read.
    #[error("it is not a receipt: {0}")]
    Malformed(String),
    /// It reads as a receipt, and no replica or proxy would have written it like this.
    #[error("it was altered: its text is not the one that SteelDB writes of this content")]
    NotCanonical,
    /// Signed for others.
    #[error(
        "it is a receipt of another cluster, or this is not the file in which the cluster began (genesis.toml, if there is one)"
    )]
    OtherCluster,
    /// The chain of views breaks.
    #[error("view {view} is not certified by the one before: {why}")]
    View {
        /// The view that should follow.
        view: u64,
        /// Why it does not.
        why: CertificateError,
    },
    /// A view cannot end before it began.
    #[error("the change at height {0} follows none that was decided earlier")]
    ViewOrder(Height),
    /// The chain of views does not lead to the one that is named.
    #[error("it is signed in view {named}, and its certificates lead to view {reached}")]
    OtherView {
        /// By the fact.
        named: u64,
        /// By the chain.
        reached: u64,
    },
    /// The view of the height is another one.
    #[error("height {height} was decided in view {is}, not in view {named}")]
    DecidedElsewhere {
        /// The height.
        height: Height,
        /// By the chain.
        is: u64,
        /// By the fact.
        named: u64,
    },
    /// Too few signatures: all of them could be liars'.
    #[error("{have} replicas signed, {need} are needed")]
    TooFew {
        /// Signatures.
        have: usize,
        /// f+1.
        need: usize,
    },
    /// A signer out of order, or twice.
    #[error("the signature of {0} is repeated or out of order")]
    NotDistinct(ReplicaId),
    /// A signer that the view does not know.
    #[error("{0}, who signed, is not a member of view {1}")]
    NotMember(ReplicaId, u64),
    /// A signature of something else, or with another key.
    #[error("the signature of {0} is not its own, or covers something else")]
    BadSignature(ReplicaId),
    /// A receipt of what was not committed.
    #[error("it is no receipt of a commit")]
    NotCommitted,
}

impl Receipt {
    /// Checks everything, and returns the view in which it was signed. Keys come from `genesis` and from the certified changes of
    /// it, never from the receipt itself.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self, genesis: &View) -> Result<View, ReceiptError> {
        if self.fact.verdict != Verdict::Commit {
            return Err(ReceiptError::NotCommitted);
        }
        if cluster_digest(genesis) != self.fact.cluster {
            return Err(ReceiptError::OtherCluster);
        }
        let view = self.signing_view(genesis)?;
        self.check_signatures(&view)?;
        Ok(view)
    }

    /// Follows the chain of views.
    fn signing_view(&self, genesis: &View) -> Result<View, ReceiptError> {
        let (named, header) = (self.fact.view, &self.fact.header);
        let mut view = genesis.clone();
        let mut decided_in = view.id;
        let mut last: Height = 0;
        for certificate in &self.views {
            let follows = view.id.saturating_add(1);
            view = certificate
                .next(&view)
                .map_err(|why| ReceiptError::View { view: follows, why })?;
            if certificate.height <= last {
                return Err(ReceiptError::ViewOrder(certificate.height));
            }
            last = certificate.height;
            // A change holds from the next height on.
            if certificate.height < header.height {
                decided_in = view.id;
            }
        }
        let reached = view.id;
        if reached != named {
            return Err(ReceiptError::OtherView { named, reached });
        }
        if decided_in != header.view {
            return Err(ReceiptError::DecidedElsewhere {
                height: header.height,
                is: decided_in,
                named: header.view,
            });
        }
        Ok(view)
    }

    fn check_signatures(&self, view: &View) -> Result<(), ReceiptError> {
        let mut previous = None;
        for (replica, _) in &self.signatures {
            if previous.is_some_and(|previous| previous >= *replica) {
                return Err(ReceiptError::NotDistinct(*replica));
            }
            previous = Some(*replica);
        }
        let (have, need) = (self.signatures.len(), view.one_correct());
        if have < need {
            return Err(ReceiptError::TooFew { have, need });
        }
        for (replica, signature) in &self.signatures {
            let Some(key) = view.replica_key(*replica) else {
                return Err(ReceiptError::NotMember(*replica, view.id));
            };
            if !self.fact.is_signed(key, signature) {
                return Err(ReceiptError::BadSignature(*replica));
            }
        }
        Ok(())
    }
}
