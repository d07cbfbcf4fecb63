//! Puts a node together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Height, Recovered, Status, View};
use net::{Endpoint, EndpointConfig, Membership, PeerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::bounds::{ANSWER_QUEUE, JOB_QUEUE, QUERY_QUEUE};
use super::config::{NodeConfig, Place};
use super::dispatch::Dispatch;
use super::error::NodeError;
use super::executor::{self, Executor, Inputs, Job};
use super::machine::Machine;
use super::running::Running;
use super::service::Service;
use super::tasks::{announce, answer, feed};
use super::wire::ServiceWire;
use crate::checkpoint::{Checkpoints, Loaded};
use crate::log::{Log, Replay};
use crate::past::recover_from;
use crate::run::{self, OrderEvents, OrderParts};
use crate::state::StateParts;

/// What the disk knows of a replica's past.
struct Past {
    checkpoints: Checkpoints,
    /// The newest sound checkpoint.
    begin: Option<Loaded>,
    recovered: Recovered,
}

impl Past {
    fn read(checkpoints: PathBuf, replay: Replay, first: View) -> Result<Past, NodeError> {
        let unusable = |error: &dyn std::fmt::Display| NodeError::Checkpoints(error.to_string());
        let checkpoints = Checkpoints::open(checkpoints).map_err(|e| unusable(&e))?;
        let begin = checkpoints.newest(&first).map_err(|e| unusable(&e))?;
        let summary = begin.as_ref().map(|begin| begin.summary.clone());
        let recovered = recover_from(summary, replay, first).map_err(NodeError::Replay)?;
        Ok(Past {
            checkpoints,
            begin,
            recovered,
        })
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
    view: watch::Receiver<Arc<View>>,
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
        let first = config.first_view()?;
        let (dir, options) = (config.log.clone(), config.log_options.clone());
        let (log, replay) = blocking(move || Log::open(&dir, options)).await??;
        let kept = config.checkpoints.clone();
        let kept = kept.unwrap_or_else(|| config.log.join("checkpoints"));
        let begins_in = first.clone();
        let past = blocking(move || Past::read(kept, replay, begins_in)).await??;
        let (me, stood_at) = (config.me, past.recovered.height());
        // What it is locked on it may have told of, and its clients may have gone on from there.
        let told = Height::from(config.settings.tentative && past.recovered.is_locked());
        let Place {
            view: place,
            identity,
            spare,
            listen,
        } = Place::of(&config, past.recovered.view().unwrap_or(&first))?;

        let key = identity.signing_key().clone();
        let Membership { directory, dial } =
            crate::links(me, &place).map_err(NodeError::Cluster)?;
        let (endpoint, events) = Endpoint::start(EndpointConfig {
            me: PeerId::Replica(me.0),
            identity,
            directory,
            listen: Some(listen),
            dial,
            limits: config.limits,
        })
        .await
        .map_err(|error| NodeError::Links(error.to_string()))?;
        let spare_keys = spare.iter().map(|spare| spare.signing_key().clone());
        let spare_keys = spare_keys.collect();
        if let Some(spare) = spare {
            endpoint.offer(spare);
        }

        let (answers_sender, answers) = mpsc::channel(ANSWER_QUEUE);
        let (jobs_sender, jobs) = mpsc::channel(JOB_QUEUE);
        let (asks_sender, asks) = mpsc::channel(QUERY_QUEUE);
        let (finished, executed) = watch::channel(0);
        let executor = Executor {
            machine: Machine::new(service, first.clone()),
            me,
            stood_at,
            queries_from: stood_at + told,
            told: None,
            answers: answers_sender,
            finished,
        };
        let service_ended = executor::start(executor, Inputs { jobs, asks })
            .map_err(|error| NodeError::Replay(format!("no thread for the service: {error}")))?;
        let (order, order_events) = run::start(OrderParts {
            me,
            key,
            spare_keys,
            links_since: place.id,
            view: first,
            settings: config.settings,
            log: log.clone(),
            endpoint: endpoint.clone(),
            wire: Arc::new(ServiceWire),
            recovered: past.recovered,
            finished: Some(executed.clone()),
            // A query's quorum must not meet a replica that is behind what it answered before it was restarted.
            own_record: true,
            state: Some(StateParts {
                checkpoints: past.checkpoints,
                limits: config.transfer,
                begin: past.begin,
                later: false,
                needed: None,
            }),
        });
        let OrderEvents {
            decided,
            durable,
            repeats,
            status,
            view,
        } = order_events;
        let jobs = jobs_sender.downgrade();
        let dispatch = Dispatch {
            order,
            asks: asks_sender,
            endpoint: endpoint.clone(),
            views: view.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(named("links", dispatch.run(events)));
        tasks.spawn(named("order", feed(decided, repeats, jobs_sender)));
        tasks.spawn(named("answers", answer(endpoint.clone(), durable, answers)));
        tasks.spawn(named("views", announce(endpoint.clone(), view.clone())));
        let (stop, stopping) = watch::channel(false);
        let (ended_sender, ended) = watch::channel(None);
        let node = Node {
            stop,
            ended,
            status: status.clone(),
            executed: executed.clone(),
            view: view.clone(),
            jobs,
            local_addr: endpoint.local_addr(),
        };
        let running = Running {
            me,
            links_since: place.id,
            tasks,
            service_ended,
            status,
            view,
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
        node.caught_up(stood_at).await?;
        Ok(node)
    }

    /// Waits until the service is where the log ends; what it fails on there, it would fail on again.
    async fn caught_up(&self, stood_at: Height) -> Result<(), NodeError> {
        let mut executed = self.executed();
        let arrived = executed.wait_for(|height| *height >= stood_at);
        let ended = tokio::select! {
            biased;
            arrived = arrived => match arrived {
                Ok(_) => return Ok(()),
                // The service is gone; who waits for it tells why.
                Err(_) => self.ended().await,
            },
            ended = self.ended() => ended,
        };
        ended.and(Err(NodeError::Ended("service")))
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

    /// The view that holds now; changes when an administrator's request has changed it.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
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
