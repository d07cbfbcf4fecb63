//! What the cluster is asked about itself: statuses, parameters, audits.

use std::collections::BTreeMap;
use std::time::Duration;

use consensus::{Digest, Height, ReplicaId};
use tokio::time::Instant;
use txn::Ordered;
use txn::client::{ClientMessage, ReplicaStatus};

use super::Shim;
use crate::error::ShimError;
use crate::inner::Answers;
use crate::parameters;

/// One replica's tables at one height.
#[derive(Clone, Debug)]
pub struct AuditReport {
    pub height: Height,
    /// (name, rows, digest), sorted by name.
    pub tables: Vec<(String, u64, Digest)>,
    pub error: Option<String>,
}
impl Shim {
    /// Waits until a quorum of replicas is connected and the master is known.
    ///
    /// # Errors
    /// 57P03 when that takes longer than `wait`.
    pub async fn ready(&self, wait: Duration) -> Result<(), ShimError> {
        let until = Instant::now() + wait;
        loop {
            if self.0.connected().len() >= self.0.view().quorum() {
                let left = until.saturating_duration_since(Instant::now());
                let each = left
                    .min(Duration::from_secs(2))
                    .max(Duration::from_millis(50));
                if self.statuses(each).await.len() >= self.0.view().quorum() {
                    return Ok(());
                }
            }
            if Instant::now() >= until {
                return Err(no_quorum(self.0.connected().len(), self.0.view().quorum()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes a place in the order, so that no later read of this client goes behind what was committed before.
    ///
    /// # Errors
    /// As [`Shim::invoke`].
    pub async fn catch_up(&self) -> Result<(), ShimError> {
        let nothing = Ordered::Nothing(Vec::new());
        self.invoke(&nothing).await.map(drop)
    }

    /// What each replica says of itself; those that do not answer within `wait` are missing.
    pub async fn statuses(&self, wait: Duration) -> BTreeMap<ReplicaId, ReplicaStatus> {
        let id = self.0.fresh();
        let (sender, mut receiver) = Answers::channel();
        self.0.waiting().infos.insert(id, sender);
        let asked = self
            .0
            .connected()
            .into_iter()
            .filter(|r| self.0.send(*r, &ClientMessage::Info { id }))
            .count();
        let mut statuses = BTreeMap::new();
        let until = Instant::now() + wait;
        while statuses.len() < asked {
            match tokio::time::timeout_at(until, receiver.recv()).await {
                Ok(Some((from, status))) => {
                    statuses.insert(from, status);
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.0.waiting().infos.remove(&id);
        statuses
    }

    /// PostgreSQL's reported parameters of a new session, as f+1 replicas report each of them.
    ///
    /// # Errors
    /// 57P03 when too few replicas answer.
    pub async fn parameters(&self) -> Result<Vec<(String, String)>, ShimError> {
        let needed = self.0.view().one_correct();
        for _ in 0..20 {
            let statuses = self.statuses(Duration::from_secs(1)).await;
            let reports: Vec<&[(String, String)]> = statuses
                .values()
                .map(|status| status.parameters.as_slice())
                .collect();
            if let Some(agreed) = parameters::agreed(&reports, needed) {
                return Ok(agreed);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Err(no_quorum(self.0.connected().len(), needed))
    }

    /// Asks one replica, in an administrator's name, to make its PostgreSQL's data anew. False when there is no link to it.
    /// Whether it does so, its status tells.
    pub fn rebuild(&self, replica: ReplicaId) -> bool {
        self.0.send(replica, &ClientMessage::Rebuild)
    }

    /// Every replica's tables at one height; those that do not answer within `wait` are missing.
    ///
    /// # Errors
    /// As [`Shim::invoke`].
    pub async fn audit(
        &self,
        wait: Duration,
    ) -> Result<BTreeMap<ReplicaId, AuditReport>, ShimError> {
        let seq = self.0.next_seq();
        let (sender, mut receiver) = Answers::channel();
        self.0.waiting().audits.insert(seq, sender);
        // An audit is answered by its reports, not by matching replies.
        let _ordered = self.0.order(seq, &Ordered::Audit);
        let until = Instant::now() + wait;
        let mut reports = BTreeMap::new();
        while reports.len() < self.0.view().replicas.len() {
            // Replicas that are not connected will not answer; wait for them only a little once the others have.
            let enough = reports.len() >= self.0.connected().len();
            let until = if enough {
                until.min(Instant::now() + Duration::from_millis(500))
            } else {
                until
            };
            match tokio::time::timeout_at(until, receiver.recv()).await {
                Ok(Some((from, report))) => {
                    reports.insert(from, report);
                }
                Ok(None) | Err(_) => break,
            }
        }
        let mut waiting = self.0.waiting();
        waiting.audits.remove(&seq);
        waiting.ordered.remove(&seq);
        drop(waiting);
        Ok(reports)
    }
}

fn no_quorum(connected: usize, needed: usize) -> ShimError {
    ShimError::new("57P03", "the cluster is not ready: too few replicas answer")
        .detail(format!(
            "{connected} replicas are connected, {needed} are needed."
        ))
        .hint("Look at `steeldb status`; start the missing replicas with `steeldb start`.")
}
