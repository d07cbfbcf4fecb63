//! The client's end of the cluster.

mod autocommit;
mod inquiry;
mod read;
mod receipt;
mod reconfigure;

use std::sync::Arc;

use cluster::Cluster;
use consensus::ClientId;
use net::Identity;
use tokio::sync::watch;
use txn::client::Reply;
use txn::ordered::SessionSettings;
use txn::{Isolation, Ordered};

use crate::drawn::Drawn;
use crate::error::ShimError;
use crate::inner::Inner;
use crate::settings::Settings;
use crate::transaction::Transaction;

pub use inquiry::AuditReport;
pub use receipt::Committed;
pub(crate) use receipt::Last;

/// A handle to the cluster; cheap to clone. Clones share what was committed and drawn from sequences last; see [`Shim::session`].
#[derive(Clone)]
pub struct Shim(pub(crate) Arc<Inner>, pub(crate) Last, pub(crate) Drawn);

impl Shim {
    /// Starts the links to all replicas. Returns at once; see [`Shim::ready`].
    ///
    /// # Errors
    /// When the identity is not the one that the cluster file lists for `me`.
    pub async fn connect(
        cluster: &Cluster,
        me: ClientId,
        identity: Identity,
        settings: Settings,
    ) -> Result<Shim, ShimError> {
        let inner = Inner::start(cluster, me, identity, settings).await?;
        Ok(Shim(inner, Last::default(), Drawn::default()))
    }

    /// Orders a request and waits for its answer.
    ///
    /// # Errors
    /// 53400 when the replicas refuse it, 08007 when no quorum answers in time.
    pub async fn invoke(&self, ordered: &Ordered) -> Result<Reply, ShimError> {
        let seq = self.0.next_seq();
        let receiver = self.0.order(seq, ordered);
        match self.0.answered(seq, receiver).await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(why)) => Err(ShimError::new(
                "53400",
                format!("the replicas do not accept the request: {why}"),
            )),
            None => Err(ShimError::unknown_outcome()),
        }
    }

    /// Begins a transaction: its `Begin` is on its way when this returns.
    pub fn begin(
        &self,
        settings: SessionSettings,
        isolation: Isolation,
        read_only: bool,
    ) -> Transaction {
        Transaction::begin(
            self.0.clone(),
            (self.1.clone(), self.2.clone()),
            settings,
            isolation,
            read_only,
        )
    }

    /// Forgets what the session took from sequences: DISCARD SEQUENCES.
    pub fn forget_sequences(&self) {
        self.2.forget();
    }

    /// Changes whenever a link goes up or down.
    pub fn links(&self) -> watch::Receiver<u64> {
        self.0.links_changed()
    }
}
