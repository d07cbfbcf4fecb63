//! A node's tasks, and the end of them.

use std::sync::Arc;

use consensus::{ReplicaId, Status, View};
use net::Endpoint;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::bounds::LAST_EXECUTION;
use super::error::NodeError;
use super::tasks::removed;
use crate::log::Log;

/// What a running node is made of.
pub struct Running {
    pub me: ReplicaId,
    /// The view that the links were started with.
    pub links_since: u64,
    pub tasks: JoinSet<&'static str>,
    pub service_ended: oneshot::Receiver<Result<(), String>>,
    pub status: watch::Receiver<Status>,
    pub view: watch::Receiver<Arc<View>>,
    pub log: Log,
    pub endpoint: Endpoint,
}

impl Running {
    /// Until it is told to stop, or something that it is made of has ended; then everything else is ended too.
    ///
    /// # Errors
    /// With what has ended.
    pub async fn until_stopped(
        mut self,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<(), NodeError> {
        let removed = removed(self.me, self.links_since, self.view.clone());
        let mut service_over = false;
        let result = tokio::select! {
            // The service first: when it goes, so do the tasks around it, and they know less.
            biased;
            ended = &mut self.service_ended => {
                service_over = true;
                Err(service_failed(ended))
            }
            error = self.log.failed() => Err(NodeError::Log(error)),
            view = removed => Err(NodeError::Removed {
                replica: self.me,
                view,
            }),
            // Its handle was dropped: that is a wish too.
            _ = stopping.wait_for(|stop| *stop) => Ok(()),
            Some(ended) = self.tasks.join_next() => {
                Err(NodeError::Ended(ended.unwrap_or("task")))
            }
        };
        // With them go the order's inbox and the one who takes its decisions, and with those the order.
        self.tasks.shutdown().await;
        let over = async { while self.status.changed().await.is_ok() {} };
        let order_over = tokio::time::timeout(LAST_EXECUTION, over).await.is_ok();
        if !service_over
            && tokio::time::timeout(LAST_EXECUTION, &mut self.service_ended)
                .await
                .is_err()
        {
            return result.and(Err(NodeError::Stuck("executing an operation")));
        }
        self.endpoint.shutdown().await;
        if !order_over {
            return result.and(Err(NodeError::Ended("order did not stop: its log")));
        }
        result
    }
}

fn service_failed(ended: Result<Result<(), String>, oneshot::error::RecvError>) -> NodeError {
    match ended {
        Ok(Err(why)) => NodeError::Service(why),
        Ok(Ok(())) | Err(_) => NodeError::Ended("service"),
    }
}
