//! What a program holds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cluster::Cluster;
use consensus::service::Reconfigured;
use consensus::{Change, ClientId, View};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::driver::{Call, Driver, Wish};
use super::engine::{Engine, Identity};
use super::error::{ConnectError, InvokeError, ReconfigureError};
use super::settings::{MAX_WINDOW, Settings};
use crate::links::{self, LinksError};

/// What an operation's request takes in a message beyond the operation, in bytes.
const OVERHEAD: usize = 256;

/// A client of a replicated service; cheap to clone. When the last clone is gone, what was asked is still pursued until it is answered or
/// given up, and then the links end.
#[derive(Clone, Debug)]
pub struct Client {
    me: ClientId,
    view: watch::Receiver<Arc<View>>,
    invokes: mpsc::Sender<Call>,
    queries: mpsc::Sender<Call>,
    stop: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<()>,
    patience: Duration,
    max_bytes: usize,
}

/// An operation under way: a future of its result. Dropped, the operation goes on and its result is not told.
#[derive(Debug)]
pub struct Invocation(oneshot::Receiver<Result<Bytes, InvokeError>>);

impl Future for Invocation {
    type Output = Result<Bytes, InvokeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|result| result.unwrap_or(Err(InvokeError::Closed)))
    }
}

impl Client {
    /// Starts the links to all replicas and returns at once; what is asked before they stand goes out when they do. Must be called
    /// within a tokio runtime.
    ///
    /// `me` and `identity` belong to this one process: of two that share them, the one started later takes over.
    ///
    /// # Errors
    /// When the cluster file cannot be used, or lists another key for `me`.
    pub async fn connect(
        cluster: &Cluster,
        me: ClientId,
        identity: net::Identity,
        settings: Settings,
    ) -> Result<Client, ConnectError> {
        for (name, value) in [("window", settings.window), ("queries", settings.queries)] {
            if !(1..=MAX_WINDOW).contains(&value) {
                return Err(ConnectError::Setting(format!(
                    "{name} is {value}: choose 1 to {MAX_WINDOW}"
                )));
            }
        }
        let view = cluster.membership();
        let unusable = |error: &dyn std::fmt::Display| ConnectError::Cluster(error.to_string());
        view.check().map_err(|error| unusable(&error))?;
        let key = identity.signing_key().clone();
        let (endpoint, events) =
            links::connect(cluster, me, identity, settings.limits.clone()).await?;
        let (views, view_seen) = watch::channel(Arc::new(view.clone()));
        let identity = Identity {
            me,
            key: key.clone(),
            incarnation: links::incarnation(),
            view,
        };
        // One at a time: a call waits here until the window has room.
        let (invokes, invokes_end) = mpsc::channel(1);
        let (queries, queries_end) = mpsc::channel(1);
        let (stop, stopping) = watch::channel(false);
        let (alive, ended) = watch::channel(());
        let client = Client {
            me,
            view: view_seen,
            invokes,
            queries,
            stop: Arc::new(stop),
            ended,
            patience: settings.patience,
            max_bytes: settings.limits.max_message.saturating_sub(OVERHEAD),
        };
        let driver = Driver {
            engine: Engine::new(identity, settings),
            me,
            key: consensus::PublicKey::of(&key),
            views,
            endpoint,
            events,
            invokes: invokes_end,
            queries: queries_end,
            stop: stopping,
        };
        tokio::spawn(async move {
            driver.run().await;
            drop(alive);
        });
        Ok(client)
    }

    /// Has an operation ordered and executed, exactly once, and returns its result: the one that a quorum of replicas computed.
    /// Takes at most three times [`Settings::patience`], two of them waiting for room in the window.
    ///
    /// # Errors
    /// See [`InvokeError`]; each says whether the operation may have been executed.
    pub async fn invoke(&self, op: impl Into<Bytes>) -> Result<Bytes, InvokeError> {
        self.invoke_async(op).await?.await
    }

    /// As [`invoke`](Client::invoke), but returns as soon as the operation is on its way: many can be under way at once, up to
    /// [`Settings::window`]. They are executed in whatever order they are decided.
    ///
    /// # Errors
    /// When the operation is too long, or the window stayed full. Nothing was sent then.
    pub async fn invoke_async(&self, op: impl Into<Bytes>) -> Result<Invocation, InvokeError> {
        if self.view().administers(self.me) {
            return Err(InvokeError::Administrator);
        }
        self.call(&self.invokes, Wish::Invoke(op.into())).await
    }

    /// Has the membership changed, as an administrator; the number of the view that holds from then on. A change is made for the
    /// [view](Client::view) that it names, and carried out while that one holds or not at all.
    ///
    /// # Errors
    /// When this client is no administrator, nothing was changed, or there is no answer.
    pub async fn reconfigure(&self, change: &Change) -> Result<u64, ReconfigureError> {
        let view = self.view();
        if !view.administers(self.me) {
            return Err(ReconfigureError::NotAdministrator {
                client: self.me,
                view: view.id,
            });
        }
        let change = Wish::Reconfigure(change.encode().into());
        let result = self.call(&self.invokes, change).await?.await?;
        match Reconfigured::decode(&result) {
            Some(Reconfigured::View(view)) => Ok(view),
            Some(Reconfigured::Unchanged(why)) => Err(ReconfigureError::Unchanged(why)),
            // The group has made it an ordinary client meanwhile, and executed the change as an operation.
            None => Err(ReconfigureError::NotAdministrator {
                client: self.me,
                view: view.id,
            }),
        }
    }

    /// The membership as this client knows it, without the other clients; it follows by itself.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Asks the service something, without an order if a quorum answers alike, else at a place in the order. The answer is linearizable:
    /// it misses no operation that was answered, to whomever, before the question was asked.
    ///
    /// # Errors
    /// When no quorum answers in time, or the client is closed. A query has no effects.
    pub async fn query(&self, op: impl Into<Bytes>) -> Result<Bytes, InvokeError> {
        self.call(&self.queries, Wish::Query(op.into()))
            .await?
            .await
    }

    /// Ends the links at once, for all clones: what waits for an answer gets [`InvokeError::Closed`].
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        // The channel never carries anything: its end is the driver's.
        let _ = self.ended.changed().await;
    }

    async fn call(&self, to: &mpsc::Sender<Call>, wish: Wish) -> Result<Invocation, InvokeError> {
        let (Wish::Invoke(op) | Wish::Reconfigure(op) | Wish::Query(op)) = &wish;
        if op.len() > self.max_bytes {
            return Err(InvokeError::TooLong {
                bytes: op.len(),
                max: self.max_bytes,
            });
        }
        let (done, result) = oneshot::channel();
        match timeout(self.patience, to.send(Call { wish, done })).await {
            Ok(Ok(())) => Ok(Invocation(result)),
            Ok(Err(_)) => Err(InvokeError::Closed),
            Err(_) => Err(InvokeError::Busy {
                waited: self.patience,
            }),
        }
    }
}

impl From<LinksError> for ConnectError {
    fn from(error: LinksError) -> Self {
        match error {
            LinksError::Directory(error) => Self::Cluster(error.to_string()),
            LinksError::Start(error) => Self::Links(error),
        }
    }
}
