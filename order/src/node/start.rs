//! Puts a node together and takes it apart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cluster::Cluster;
use consensus::{Height, ReplicaId, Status};
use net::{Endpoint, EndpointConfig, Identity, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::bounds::{ANSWER_QUEUE, JOB_QUEUE, LAST_EXECUTION, QUERY_QUEUE, REPLAY_AT_ONCE};
use super::dispatch::dispatch;
use super::error::NodeError;
use super::executor::{self, Executor, History, Inputs, Job};
use super::machine::Machine;
use super::service::Service;
use super::tasks::{answer, feed};
use super::wire::ServiceWire;
use crate::log::{Log, LogOptions};
use crate::past::{load, recover};
use crate::run::{self, OrderEvents, OrderParts};

/// What a [`Node`] is started with.
#[derive(Debug)]
pub struct NodeConfig {
    /// Members, addresses and keys; the same at every replica.
    pub cluster: Cluster,
    /// Which replica this is.
    pub me: ReplicaId,
    /// Its key.
    pub identity: Identity,
    /// Where its log lies; made if it is not there. No two replicas share one.
    pub log: PathBuf,
    /// Where to listen, if not at its address in the cluster file.
    pub listen: Option<SocketAddr>,
    /// Bounds and time-outs of the total order; its `max_*` values of batches must be equal at all replicas.
    pub settings: consensus::Settings,
    /// How the log is kept.
    pub log_options: LogOptions,
    /// Bounds of the links.
    pub limits: net::Limits,
}

impl NodeConfig {
    /// With the defaults for everything else.
    pub fn new(
        cluster: Cluster,
        me: ReplicaId,
        identity: Identity,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            cluster,
            me,
            identity,
            log: log.into(),
            listen: None,
            settings: consensus::Settings::default(),
            log_options: LogOptions::default(),
            limits: net::Limits::default(),
        }
    }
}

/// A running replica of a service. It stops with [`shutdown`](Node::shutdown), when this handle is dropped, or when something
/// failed; [`ended`](Node::ended) tells.
#[derive(Debug)]
pub struct Node {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<Option<Result<(), NodeError>>>,
    status: watch::Receiver<Status>,
    executed: watch::Receiver<Height>,
    jobs: mpsc::WeakSender<Job>,
    local_addr: Option<SocketAddr>,
}

impl Node {
    /// Starts a replica: replays its log, listens, and takes part. `service` is in its genesis state, equal at every replica. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// When the cluster file or the log cannot be used, the address is taken, or the service fails on what was decided before.
    pub async fn start(config: NodeConfig, service: impl Service) -> Result<Node, NodeError> {
        let NodeConfig {
            cluster,
            me,
            identity,
            log,
            listen,
            settings,
            log_options,
            limits,
        } = config;
        let view = cluster.membership();
        view.check()
            .map_err(|error| NodeError::Cluster(error.to_string()))?;
        let address = cluster.address(me.0).ok_or(NodeError::Unlisted(me))?;
        let (log, replay) = blocking(move || Log::open(&log, log_options)).await??;
        let first = view.clone();
        let recovered = blocking(move || recover(replay, first))
            .await?
            .map_err(NodeError::Replay)?;

        let (answers_sender, answers) = mpsc::channel(ANSWER_QUEUE);
        let (jobs_sender, jobs) = mpsc::channel(JOB_QUEUE);
        let (asks_sender, asks) = mpsc::channel(QUERY_QUEUE);
        let (finished, executed) = watch::channel(0);
        let executor = Executor {
            machine: Machine::new(service, view.id),
            me,
            view: view.clone(),
            answers: answers_sender,
            finished,
        };
        let past = history(log.clone(), recovered.height());
        let (ready, mut service_ended) = executor::start(executor, past, Inputs { jobs, asks })
            .map_err(|error| NodeError::Replay(format!("no thread for the service: {error}")))?;
        if ready.await.is_err() {
            return Err(service_failed((&mut service_ended).await));
        }

        let key = identity.signing_key().clone();
        let (endpoint, events) = Endpoint::start(EndpointConfig {
            me: PeerId::Replica(me.0),
            identity,
            directory: cluster
                .directory()
                .map_err(|error| NodeError::Cluster(error.to_string()))?,
            listen: Some(listen.unwrap_or(address)),
            dial: lower_ones(&cluster, me),
            limits,
        })
        .await
        .map_err(|error| NodeError::Links(error.to_string()))?;
        let (order, order_events) = run::start(OrderParts {
            me,
            key,
            spare_keys: Vec::new(),
            links_since: 0,
            view,
            settings,
            log: log.clone(),
            endpoint: endpoint.clone(),
            wire: Arc::new(ServiceWire),
            recovered,
            finished: Some(executed.clone()),
            // A query's quorum must not meet a replica that is behind what it answered before it was restarted.
            own_record: true,
            // It replays its whole log: no checkpoints, and nothing is cut.
            state: None,
        });
        let OrderEvents {
            decided,
            durable,
            repeats,
            status,
            view: _,
        } = order_events;
        let jobs = jobs_sender.downgrade();
        let mut tasks = JoinSet::new();
        tasks.spawn(named("links", dispatch(events, order, asks_sender)));
        tasks.spawn(named("order", feed(decided, repeats, jobs_sender)));
        tasks.spawn(named("answers", answer(endpoint.clone(), durable, answers)));
        let (stop, stopping) = watch::channel(false);
        let (ended_sender, ended) = watch::channel(None);
        let node = Node {
            stop,
            ended,
            status: status.clone(),
            executed,
            jobs,
            local_addr: endpoint.local_addr(),
        };
        let running = Running {
            tasks,
            service_ended,
            status,
            log,
            endpoint,
        };
        tokio::spawn(async move {
            let result = running.until_stopped(stopping).await;
            if let Err(error) = &result {
                tracing::error!(replica = %me, %error, "the replica has stopped");
            }
            ended_sender.send_replace(Some(result));
        });
        Ok(node)
    }

    /// Stops: what is decided and queued is still sent, for a second at most, and the log is closed. Takes at most a few seconds.
    ///
    /// # Errors
    /// What had stopped it before, or a service that does not come back.
    pub async fn shutdown(self) -> Result<(), NodeError> {
        self.stop.send_replace(true);
        self.ended().await
    }

    /// Waits until the node has ended, for whatever reason; without a reason only after [`shutdown`](Node::shutdown).
    ///
    /// # Errors
    /// Why it stopped.
    pub async fn ended(&self) -> Result<(), NodeError> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or(Ok(())),
            Err(_) => Err(NodeError::Ended("supervisor")),
        }
    }

    /// Where its part of the total order stands.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// The last height that the service has executed; changes as it goes on.
    pub fn executed(&self) -> watch::Receiver<Height> {
        self.executed.clone()
    }

    /// The whole replicated state after what is executed now, with its height: what [`Machine::restore`] takes.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn snapshot(&self) -> Result<(Height, Bytes), NodeError> {
        let (taker, taken) = oneshot::channel();
        if let Some(jobs) = self.jobs.upgrade() {
            // A failure shows below: nobody answers.
            let _ = jobs.send(Job::Snapshot(taker)).await;
        } else {
            drop(taker);
        }
        taken.await.map_err(|_| NodeError::Ended("service"))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }
}

/// What a running node is made of.
struct Running {
    tasks: JoinSet<&'static str>,
    service_ended: oneshot::Receiver<Result<(), String>>,
    status: watch::Receiver<Status>,
    log: Log,
    endpoint: Endpoint,
}

impl Running {
    async fn until_stopped(mut self, mut stopping: watch::Receiver<bool>) -> Result<(), NodeError> {
        let mut service_over = false;
        let result = tokio::select! {
            // The service first: when it goes, so do the tasks around it, and they know less.
            biased;
            ended = &mut self.service_ended => {
                service_over = true;
                Err(service_failed(ended))
            }
            error = self.log.failed() => Err(NodeError::Log(error)),
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

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NodeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| NodeError::Ended("log's reader"))
}

/// Of two replicas the higher one dials.
fn lower_ones(cluster: &Cluster, me: ReplicaId) -> Vec<(PeerId, SocketAddr)> {
    let lower = cluster.replicas.iter().filter(|r| r.id < me.0);
    lower.map(|r| (PeerId::Replica(r.id), r.address)).collect()
}

/// The decisions up to `last`, read a part at a time.
fn history(log: Log, last: Height) -> History {
    let mut next = 1;
    let mut part = Vec::new().into_iter();
    Box::new(std::iter::from_fn(move || {
        if next > last {
            return None;
        }
        let decided = part.next().or_else(|| {
            part = load(&log, next, REPLAY_AT_ONCE).into_iter();
            part.next()
        });
        let wanted = next;
        next = if decided.is_some() {
            wanted + 1
        } else {
            last + 1
        };
        Some(decided.ok_or_else(|| format!("decision {wanted} cannot be read from the log")))
    }))
}
