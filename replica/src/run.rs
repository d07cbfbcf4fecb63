//! A replica from start to end: its server, its log, its links, its order, its executor.

use crate::config::Config;
use crate::executor::{self, Executor, Fatal, Frame, History, Parts};
use crate::genesis;
use crate::joining::{Joined, Start};
use crate::postgres::{self, PostgresServer, StopMode};
use crate::server::{Care, Known};
use bytes::Bytes;
use cluster::channel;
use consensus::transfer::TransferLimits;
use consensus::{Height, Recovered, ReplicaId, Request, Status, View};
use net::{Budget, Event, Events, PeerId};
use order::checkpoint::{CheckpointError, Checkpoints, Loaded};
use order::log::{Log, LogError, Replay};
use order::{self, Inbound, OrderEvents, OrderHandle, OrderParts, StateParts};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use txn::client::ClientMessage;

/// Frames that wait for the executor, and their bytes.
const FRAMES: usize = 8_192;
const FRAMES_BYTES: usize = 256 << 20;
/// Pause before a replica whose PostgreSQL failed starts again.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// Pause before one that is too far behind copies the database: should that not help, it is not done without end.
const BEHIND_PAUSE: Duration = Duration::from_secs(2);
/// How long what is left of the last run may hold the log.
const LOG_FREE: Duration = Duration::from_secs(10);

/// Why a replica does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Identity(#[from] net::IdentityError),
    #[error(transparent)]
    Directory(#[from] net::DirectoryError),
    #[error(transparent)]
    Links(#[from] net::StartError),
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    #[error(transparent)]
    Log(#[from] order::log::LogError),
    #[error("the log cannot be replayed: {0}")]
    Recovery(String),
    #[error(
        "view {view} of the cluster does not name replica {replica} any more: it was removed, and may be deleted"
    )]
    Removed { replica: u16, view: u64 },
    #[error(transparent)]
    Stopped(#[from] Fatal),
    #[error("PostgreSQL's data cannot be used: {0}")]
    Unusable(String),
    #[error("PostgreSQL's data are damaged ({why}) and are not made anew: {cause}")]
    Damaged { why: String, cause: String },
}

/// Runs a replica until `shutdown`; then its PostgreSQL is stopped. After local trouble with PostgreSQL it starts again
/// by itself and recovers from its log; where PostgreSQL's data are damaged, with data made anew.
///
/// # Errors
/// When it cannot start, or must not go on (its log failed, its data are damaged and nobody lets it make them anew).
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    tokio::pin!(shutdown);
    let care = Care::new(&config);
    loop {
        match once(&config, &care, shutdown.as_mut()).await {
            Err(Error::Stopped(Fatal::Postgres(error))) => {
                tracing::error!(
                    replica = config.id,
                    error,
                    "PostgreSQL failed; the replica recovers"
                );
                if pause(RESTART_PAUSE, shutdown.as_mut()).await {
                    return Ok(());
                }
            }
            Err(
                Error::Stopped(Fatal::Damaged(why) | Fatal::Diverged(why)) | Error::Unusable(why),
            ) => care.rebuild(&why, false)?,
            Err(Error::Stopped(Fatal::Asked(why))) => care.rebuild(&why, true)?,
            Err(Error::Stopped(Fatal::Behind { above, why })) => {
                care.behind(above, &why)?;
                if pause(BEHIND_PAUSE, shutdown.as_mut()).await {
                    return Ok(());
                }
            }
            Err(Error::Stopped(Fatal::Unsound(why))) => {
                tracing::error!(
                    replica = config.id,
                    why,
                    "the replica recovers from its last checkpoint"
                );
                if pause(RESTART_PAUSE, shutdown.as_mut()).await {
                    return Ok(());
                }
            }
            Err(Error::Stopped(Fatal::Copied(_))) => care.copied()?,
            Err(Error::Stopped(Fatal::CopyAgain {
                suspects,
                why,
                keep,
            })) => {
                let wait = care.copy_again(suspects, &why, keep)?;
                if pause(wait, shutdown.as_mut()).await {
                    return Ok(());
                }
            }
            Err(Error::Stopped(Fatal::CopyNot(_))) => care.copy_not()?,
            other => return other,
        }
    }
}

/// Waits; true when the replica is to stop meanwhile.
async fn pause(wait: Duration, shutdown: impl Future<Output = ()>) -> bool {
    tokio::select! {
        () = shutdown => true,
        () = tokio::time::sleep(wait) => false,
    }
}

/// The log of this replica, once nothing of its last run holds it any more.
async fn open_log(config: &Config) -> Result<(Log, Replay), Error> {
    let (dir, options) = (config.data.join("log"), config.log_options()?);
    let until = tokio::time::Instant::now() + LOG_FREE;
    loop {
        match Log::open(&dir, options.clone()) {
            Err(LogError::InUse { .. }) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            opened => return Ok(opened?),
        }
    }
}

async fn once(
    config: &Config,
    care: &Care<'_>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let me = ReplicaId(config.id);
    let start = Start::load(config)?;
    let (log, replay) = open_log(config).await?;
    let (first, view) = (start.first.clone(), start.first.clone());
    let dir = config.data.join("checkpoints");
    let past = tokio::task::spawn_blocking(move || Past::read(&dir, replay, first));
    let Past {
        checkpoints,
        begin,
        recovered,
    } = past.await.map_err(|e| Error::Recovery(e.to_string()))??;
    let last = recovered.height();
    let begins_at = begin.as_ref().map(|begin| begin.summary.height());
    let known = Known {
        logged: last,
        begins_at,
        joins: start.joins(),
        member: recovered.view().unwrap_or(&view).replicas.contains_key(&me),
    };
    let contacts = recovered.view().unwrap_or(&view).contacts.clone();
    let mut server = care.start(&view, known).await?;
    let alarm = server.alarm.clone();
    let damage = || {
        let said = alarm.raised().filter(|_| care.may_rebuild());
        said.map(|said| Error::Stopped(Fatal::Damaged(said.to_owned())))
    };
    let history = History::read(&log, &server.superuser, last)
        .await
        .map_err(|error| damage().unwrap_or(Error::Recovery(error)))?;
    if let Some(why) = history.impossible() {
        return Err(Error::Unusable(why));
    }
    if let Some(height) = begins_at.filter(|height| !history.is_covered(*height))
        && server.copy.is_none()
    {
        let why =
            format!("PostgreSQL lacks what came before height {height}, where the log begins");
        let above = height - 1;
        return Err(Fatal::Behind { above, why }.into());
    }
    let Joined {
        endpoint,
        events,
        key,
        spare_keys,
        links_since,
        view: members,
    } = start.join(me, recovered.view()).await?;
    let settings = consensus::Settings {
        request_timeout_ms: config.request_timeout_ms(),
        pipeline: config.pipeline()?,
        checkpoint_every: config.checkpoint_every()?,
        ..Default::default()
    };
    let (finished, finished_seen) = watch::channel(0);
    let (needed, needed_seen) = watch::channel(Height::MAX);
    let (order, order_events) = order::start(OrderParts {
        me,
        key: key.clone(),
        spare_keys: spare_keys.clone(),
        links_since,
        view: view.clone(),
        settings,
        log: log.clone(),
        endpoint: endpoint.clone(),
        wire: Arc::new(crate::wire::TransactionWire),
        recovered,
        finished: Some(finished_seen.clone()),
        state: Some(StateParts {
            checkpoints,
            limits: TransferLimits::default(),
            begin,
            // A height is final by votes that may be ordered after it.
            later: true,
            needed: Some(needed_seen),
        }),
        own_record: false,
    });
    let own_major = server.fingerprint.major();
    let tested = &config.postgres.tested_together;
    if !tested.is_empty() && !tested.contains(&own_major) {
        return Err(Error::Config(format!(
            "this replica's PostgreSQL is of major {own_major}, and `tested_together` lists {tested:?}: name another `bin_dir`, \
             or add {own_major} where it was tested with the others (docs/versions.md)"
        )));
    }
    let sequence_window = config.sequence_window()?;
    // What replicas judge by has to be the same everywhere.
    let mut fingerprint = server.fingerprint.clone();
    fingerprint
        .settings
        .insert("sequence_window".to_owned(), sequence_window.to_string());
    fingerprint.settings.extend(genesis::told(&view));
    fingerprint.settings.insert(
        "checkpoint_every".to_owned(),
        config.checkpoint_every()?.to_string(),
    );
    let parts = Parts {
        me,
        key,
        spare_keys,
        // Who executes learns of the members from the history, who copies has them from the file.
        first: view.clone(),
        contacts,
        view: if server.copy.is_some() { members } else { view },
        endpoint: endpoint.clone(),
        log: log.clone(),
        order: order.clone(),
        clients: server.clients.clone(),
        superuser: server.superuser.clone(),
        token: server.token.clone(),
        settings: executor::Settings {
            master_timeout: Duration::from_millis(config.master_timeout_ms()),
            audit_every: config.audit_every(),
            dumper: server.own.as_ref().map(PostgresServer::dumper),
            copy_bytes_per_second: config.copy_bytes_per_second(),
            sequence_window,
        },
        copy: server.copy.clone(),
        damage: executor::Damage {
            alarm: alarm.clone(),
            own_server: server.own.is_some(),
            automatic: config.repairs_itself(),
            rebuilding: server.rebuilding.clone(),
            rebuilt: care.last_rebuild().map(|noted| (noted.at_ms, noted.why)),
        },
        postgres_pid: server
            .own
            .as_ref()
            .and_then(PostgresServer::pid)
            .unwrap_or(0)
            .unsigned_abs(),
        server_version: server.fingerprint.version.to_string(),
        fingerprint,
        may_differ: config.may_differ(),
        finished,
        needed,
        views: config.data.join("views"),
    };
    let OrderEvents {
        decided,
        durable,
        repeats,
        status,
        view: views_seen,
    } = order_events;
    let started = Executor::start(parts, history).await;
    let (executor, notes) = started.map_err(|fatal| damage().unwrap_or(fatal.into()))?;
    let (frames_sender, frames) = mpsc::channel(FRAMES);
    let (links_sender, links) = mpsc::unbounded_channel();
    let dispatcher = tokio::spawn(dispatch(events, order, frames_sender, links_sender));
    tracing::info!(replica = config.id, height = last, "the replica runs");
    let ended = server.own.as_ref().map(PostgresServer::ended);
    let ended = async {
        match ended {
            Some(ended) => ended.await,
            None => std::future::pending().await,
        }
    };
    let last_votes = (status.clone(), finished_seen);
    let mut result = tokio::select! {
        () = shutdown => Ok(()),
        fatal = executor.run(executor::Inputs { notes, decided, frames, links, durable, repeats, status }) => Err(Error::Stopped(fatal)),
        how = ended => Err(Error::Stopped(Fatal::Postgres(how))),
        error = log.failed() => Err(Error::Log(error)),
        view = removed(me, links_since, views_seen, last_votes) => Err(Error::Removed { replica: me.0, view }),
    };
    if let Err(Error::Stopped(Fatal::Postgres(_))) = &result
        && let Some(damage) = damage()
    {
        result = Err(damage);
    }
    dispatcher.abort();
    endpoint.shutdown().await;
    if let Some(server) = &mut server.own
        && let Err(error) = server.stop(StopMode::Fast).await
    {
        tracing::warn!(%error, "PostgreSQL did not stop in order");
        server.stop(StopMode::Kill).await?;
    }
    result
}

/// Ends when a view does not name this replica any more, and what was ordered before that is finished here or nobody listens
/// any more: it was a voter there.
async fn removed(
    me: ReplicaId,
    since: u64,
    mut views: watch::Receiver<Arc<View>>,
    (status, mut finished): (watch::Receiver<Status>, watch::Receiver<Height>),
) -> u64 {
    let gone = |view: &Arc<View>| view.id >= since && !view.replicas.contains_key(&me);
    let view = views.wait_for(gone).await.ok().map(|view| view.id);
    match view {
        Some(view) => {
            let decided = status.borrow().height;
            let done = finished.wait_for(|height| *height >= decided);
            if tokio::time::timeout(order::LAST_WORDS, done).await.is_err() {
                tracing::warn!(
                    view,
                    decided,
                    "removed before what it had to vote on was finished"
                );
            }
            view
        }
        // The order has ended; whoever waits for it tells.
        None => std::future::pending().await,
    }
}

/// What the disk knows of this replica's past.
struct Past {
    checkpoints: Checkpoints,
    /// The newest sound checkpoint.
    begin: Option<Loaded>,
    recovered: Recovered,
}

impl Past {
    /// A log that does not reach its checkpoint, or begins late and has none, is made up for by the others.
    fn read(dir: &Path, replay: Replay, first: View) -> Result<Past, Error> {
        let unusable = |error: CheckpointError| Error::Recovery(error.to_string());
        let checkpoints = Checkpoints::open(dir).map_err(unusable)?;
        let begin = checkpoints.newest(&first).map_err(unusable)?;
        let summary = begin.as_ref().map(|begin| begin.summary.clone());
        let recovered = order::recover_from(summary, replay, first).map_err(Error::Recovery)?;
        Ok(Past {
            checkpoints,
            begin,
            recovered,
        })
    }
}

/// Sorts what comes over the links.
async fn dispatch(
    mut events: Events,
    order: OrderHandle,
    frames: mpsc::Sender<Frame>,
    links: mpsc::UnboundedSender<(PeerId, bool)>,
) {
    let room = Budget::new(FRAMES_BYTES);
    while let Some(event) = events.recv().await {
        if let Event::Up(peer) | Event::Down(peer, _) = &event {
            let _ = links.send((*peer, matches!(event, Event::Up(_))));
        }
        match order::inbound(event) {
            Ok(inbound) => order.inbound(inbound).await,
            Err(Event::Frame {
                from,
                channel: channel::CLIENT,
                payload,
            }) => match requests(from, &payload) {
                Some(requests) => order.inbound(Inbound::Requests(requests)).await,
                None => {
                    let frame = Frame::new(from, channel::CLIENT, payload, &room).await;
                    let _ = frames.send(frame).await;
                }
            },
            Err(Event::Frame {
                from,
                channel,
                payload,
            }) => {
                let frame = Frame::new(from, channel, payload, &room).await;
                let _ = frames.send(frame).await;
            }
            Err(Event::Up(_) | Event::Down(..)) => {}
        }
    }
}

/// The requests in a client's message, if that is what it holds: its variant's number comes first.
///
/// Whoever brings a signed one; a MAC vector counts on its client's own link only, since a wrong one is held against it.
fn requests(from: PeerId, payload: &Bytes) -> Option<Vec<Request>> {
    if !matches!(payload.first(), Some(&0 | &8)) {
        return None;
    }
    let mut requests = match consensus::decode(payload) {
        Ok(ClientMessage::Request(request)) => vec![request],
        Ok(ClientMessage::Requests(requests)) => requests,
        _ => return None,
    };
    requests
        .retain(|request| request.auth.is_signature() || from == PeerId::Client(request.client.0));
    Some(requests)
}
