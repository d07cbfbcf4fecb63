//! Checkpoints and state transfer at run time: the service's state to disk, a peer's checkpoint from its disk to ours.

use std::sync::Arc;

use bytes::Bytes;
use cluster::channel;
use consensus::transfer::{
    self, ChunkList, Content, Sink, SinkAction, Source, SourceAction, StateMessage, TransferLimits,
};
use consensus::{Height, Message, ReplicaId, Summary, View};
use net::{Endpoint, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::background::Background;
use crate::checkpoint::{CheckpointError, Checkpoints, Incoming, Loaded};
use crate::log::Log;

/// States that are being hashed or written at a time; one more that is due is passed over, so that a service that
/// catches up faster than the disk holds few copies of its state.
const TAKING: usize = 2;

/// What a service's order keeps checkpoints with.
pub struct StateParts {
    /// Where they lie.
    pub checkpoints: Checkpoints,
    /// Bounds of transfers.
    pub limits: TransferLimits,
    /// The one that the replica begins with, if there is one.
    pub begin: Option<Loaded>,
    /// The service may need later decisions before it knows its state after a height, so nobody waits for it meanwhile.
    pub later: bool,
    /// The log is kept from this height on, whatever checkpoints there are: somebody else needs it.
    pub needed: Option<watch::Receiver<Height>>,
}

/// What was done in the background.
pub(crate) enum StateDone {
    Taken {
        list: ChunkList,
        written: bool,
    },
    /// The service has no state to give.
    NotTaken,
    /// A state that the service came through again, after a restart.
    Replayed(ChunkList),
    Begun {
        height: Height,
        incoming: Incoming,
        have: Vec<u32>,
    },
    Stored {
        height: Height,
        index: u32,
    },
    Received(Box<Loaded>),
    /// The checkpoint is complete, and its source's proof is false.
    Disproven {
        height: Height,
        error: CheckpointError,
    },
    /// The transfer is given up; the core will ask again.
    Failed(CheckpointError),
}

/// What follows for the order.
pub(crate) enum Outcome {
    /// The log is needed from above this height only.
    Cut { below: Height },
    /// A checkpoint from a peer is durable.
    Install(Box<Loaded>),
}

/// Both ends of state transfer, and the disk between them.
pub(crate) struct State {
    me: ReplicaId,
    view: View,
    every: Height,
    endpoint: Endpoint,
    checkpoints: Checkpoints,
    source: Source,
    sink: Sink,
    incoming: Option<Arc<Incoming>>,
    /// One checkpoint is written at a time.
    writing: Arc<tokio::sync::Mutex<()>>,
    taking: usize,
    /// A checkpoint is fetched that the order itself does not need.
    behind: bool,
    needed: Option<watch::Receiver<Height>>,
    tasks: Background,
    done: mpsc::UnboundedSender<StateDone>,
}

impl State {
    pub fn new(
        parts: &StateParts,
        me: ReplicaId,
        view: View,
        every: Height,
        endpoint: Endpoint,
        done: mpsc::UnboundedSender<StateDone>,
    ) -> State {
        let StateParts {
            checkpoints,
            limits,
            begin,
            later: _,
            needed,
        } = parts;
        let mut source = Source::new(limits.clone(), transfer::remembered(&view));
        if let Some(Loaded { list, roots, .. }) = begin {
            roots
                .iter()
                .for_each(|(height, root)| source.remember(*height, *root));
            for height in checkpoints.heights().unwrap_or_default() {
                if let Ok((list, _)) = checkpoints.list(height) {
                    source.remember(height, list.root());
                    source.keep(0, &list);
                }
            }
            source.remember(list.height, list.root());
        }
        State {
            me,
            sink: Sink::new(view.clone(), me, limits.clone()),
            view,
            every,
            endpoint,
            checkpoints: checkpoints.clone(),
            source,
            incoming: None,
            writing: Arc::default(),
            taking: 0,
            behind: false,
            needed: needed.clone(),
            tasks: Background::default(),
            done,
        }
    }

    /// The membership changed.
    pub fn in_view(&mut self, view: &View) {
        self.view = view.clone();
        self.sink.in_view(view.clone());
    }

    /// The service's state after a height is on its way; `None`: enough of them are.
    pub fn take(&mut self, summary: Summary, log: &Log) -> Option<oneshot::Sender<Bytes>> {
        let height = summary.height();
        if self.taking >= TAKING {
            tracing::warn!(height, "no checkpoint: the two before it are not finished");
            return None;
        }
        self.taking += 1;
        let (reply, state) = oneshot::channel();
        let mine = transfer::writes_at(&self.view, self.me, self.every, height);
        let (checkpoints, roots) = (self.checkpoints.clone(), self.source.roots());
        let (done, writing, log) = (self.done.clone(), self.writing.clone(), log.clone());
        // The decision is among what was appended so far.
        let decision = log.end();
        self.tasks.spawn(async move {
            // A service that is gone takes the order with it; one that is being made anew has no state.
            let Ok(state) = state.await else {
                let _ = done.send(StateDone::NotTaken);
                return;
            };
            let _writing = writing.lock_owned().await;
            // Neither root nor file counts before the log holds the decision. A replica that stood on a checkpoint
            // without it after a power loss could not serve it, nor vote on it again, and the others may need either.
            // A log that failed stops the replica.
            if log.durable(decision).await.is_err() {
                return;
            }
            let taken = tokio::task::spawn_blocking(move || {
                let (content, last) = Content::new(&summary, state).zip(summary.last)?;
                let list = content.list(ChunkList::CHUNK_BYTES);
                let written = mine.then(|| checkpoints.write(&content, &list, last, roots));
                if let Some(Err(error)) = &written {
                    tracing::error!(%error, height, "the checkpoint was not written; the log keeps what it would have covered");
                }
                let written = matches!(written, Some(Ok(())));
                Some(StateDone::Taken { list, written })
            });
            if let Ok(Some(taken)) = taken.await {
                let _ = done.send(taken);
            }
        });
        Some(reply)
    }

    pub fn want(&mut self, now: u64, above: Height) {
        let mut out = Vec::new();
        if !self.sink.is_busy() {
            tracing::info!(
                above,
                "decisions are gone from the peers' logs: fetching a checkpoint"
            );
        }
        self.sink.want(now, above, &mut out);
        self.receive(out);
    }

    /// The service cannot go on with what it has, though the order can: it needs a state above this height to begin with.
    pub fn want_behind(&mut self, now: u64, above: Height) {
        let here = self.checkpoints.heights().unwrap_or_default();
        if here.last().is_some_and(|newest| *newest > above) {
            self.behind = false;
            return;
        }
        self.behind = true;
        let mut out = Vec::new();
        self.sink.want_behind(now, above, &mut out);
        self.receive(out);
    }

    pub fn reached(&mut self, height: Height) {
        if !self.behind {
            self.sink.reached(height);
        }
    }

    pub fn hear(&mut self, now: u64, from: ReplicaId, message: StateMessage) {
        let (mut sending, mut receiving) = (Vec::new(), Vec::new());
        self.source.hear(now, from, &message, &mut sending);
        self.sink.hear(now, from, message, &mut receiving);
        self.serve(sending);
        self.receive(receiving);
    }

    pub fn tick(&mut self, now: u64) {
        let (mut sending, mut receiving) = (Vec::new(), Vec::new());
        self.source.tick(now, &mut sending);
        self.sink.tick(now, &mut receiving);
        self.serve(sending);
        self.receive(receiving);
    }

    /// What replays the past, too.
    pub fn tasks(&mut self) -> &mut Background {
        &mut self.tasks
    }

    pub fn next_deadline(&self) -> Option<u64> {
        let both = [self.source.next_deadline(), self.sink.next_deadline()];
        both.into_iter().flatten().min()
    }

    pub fn done(&mut self, now: u64, done: StateDone) -> Option<Outcome> {
        let mut out = Vec::new();
        let outcome = match done {
            StateDone::Taken { list, written } => {
                self.taking -= 1;
                self.source.remember(list.height, list.root());
                written.then(|| self.keep(now, &list)).flatten()
            }
            StateDone::NotTaken => {
                self.taking -= 1;
                None
            }
            StateDone::Replayed(list) => {
                self.source.remember(list.height, list.root());
                None
            }
            StateDone::Begun {
                height,
                incoming,
                have,
            } => {
                tracing::info!(height, chunks_here = have.len(), "receiving a checkpoint");
                self.incoming = Some(Arc::new(incoming));
                self.sink.begun(now, height, &have, &mut out);
                None
            }
            StateDone::Stored { height, index } => {
                self.sink.stored(now, height, index, &mut out);
                None
            }
            StateDone::Received(loaded) => {
                self.incoming = None;
                self.behind = false;
                for (height, root) in &loaded.roots {
                    self.source.remember(*height, *root);
                }
                self.source.remember(loaded.list.height, loaded.list.root());
                self.keep(now, &loaded.list);
                self.sink.abandon();
                Some(Outcome::Install(loaded))
            }
            StateDone::Disproven { height, error } => {
                tracing::warn!(%error, height, "the source of a checkpoint lied: another one is asked");
                self.incoming = None;
                self.sink.disproven(now, height, &mut out);
                None
            }
            StateDone::Failed(error) => {
                tracing::error!(%error, "the checkpoint of a peer was not taken over; it is tried again");
                self.incoming = None;
                self.sink.abandon();
                None
            }
        };
        self.receive(out);
        outcome
    }

    /// Offers a checkpoint and deletes what the two newest make dispensable. The log is cut only when two are there:
    /// if the newer turns out damaged, the older and the log after it still give everything.
    fn keep(&mut self, now: u64, list: &ChunkList) -> Option<Outcome> {
        let kept = self.source.keep(now, list);
        let below = kept.first().copied().filter(|_| kept.len() >= 2)?;
        let checkpoints = self.checkpoints.clone();
        self.tasks.spawn_blocking(move || {
            if let Err(error) = checkpoints.keep_only(&kept) {
                tracing::warn!(%error, "an old checkpoint was not deleted");
            }
        });
        let needed = self
            .needed
            .as_ref()
            .map_or(Height::MAX, |needed| *needed.borrow());
        let below = below.min(needed.saturating_sub(1));
        Some(Outcome::Cut { below })
    }

    fn serve(&mut self, actions: Vec<SourceAction>) {
        for action in actions {
            let (to, height, index) = match action {
                SourceAction::Send { to, message } => {
                    send(&self.endpoint, to, message);
                    continue;
                }
                SourceAction::SendList { to, height } => (to, height, None),
                SourceAction::SendChunk { to, height, index } => (to, height, Some(index)),
            };
            let (checkpoints, endpoint) = (self.checkpoints.clone(), self.endpoint.clone());
            self.tasks.spawn_blocking(move || {
                let read = match index {
                    None => checkpoints
                        .list(height)
                        .map(|(list, last)| StateMessage::List {
                            list: Box::new(list),
                            last,
                        }),
                    Some(index) => {
                        checkpoints
                            .chunk(height, index)
                            .map(|bytes| StateMessage::Chunk {
                                height,
                                index,
                                bytes,
                            })
                    }
                };
                let message = read.unwrap_or_else(|error| {
                    tracing::error!(%error, height, "a checkpoint cannot be read for a peer");
                    StateMessage::Dropped { height }
                });
                send(&endpoint, to, message);
            });
        }
    }

    fn receive(&mut self, actions: Vec<SinkAction>) {
        for action in actions {
            match action {
                SinkAction::Send { to, message } => send(&self.endpoint, to, message),
                SinkAction::Broadcast { message } => {
                    for to in self.view.replicas.keys().filter(|to| **to != self.me) {
                        send(&self.endpoint, *to, message.clone());
                    }
                }
                SinkAction::Begin { list, last, roots } => {
                    let (checkpoints, height) = (self.checkpoints.clone(), list.height);
                    self.background(move || {
                        let (incoming, have) = checkpoints.receive(*list, *last, roots)?;
                        Ok(StateDone::Begun {
                            height,
                            incoming,
                            have,
                        })
                    });
                }
                SinkAction::Store {
                    height,
                    index,
                    bytes,
                } => {
                    let Some(incoming) = self.incoming_of(height) else {
                        self.sink.abandon();
                        continue;
                    };
                    self.background(move || {
                        incoming.store(index, &bytes)?;
                        Ok(StateDone::Stored { height, index })
                    });
                }
                SinkAction::Finish { height } => {
                    let Some(incoming) = self.incoming_of(height) else {
                        self.sink.abandon();
                        continue;
                    };
                    let (checkpoints, view) = (self.checkpoints.clone(), self.view.clone());
                    self.background(move || match checkpoints.received(&incoming, &view) {
                        Ok(loaded) => Ok(StateDone::Received(Box::new(loaded))),
                        Err(error @ CheckpointError::Content { .. }) => {
                            Ok(StateDone::Disproven { height, error })
                        }
                        Err(error) => Err(error),
                    });
                }
            }
        }
    }

    /// The file that receives this checkpoint.
    fn incoming_of(&self, height: Height) -> Option<Arc<Incoming>> {
        self.incoming
            .clone()
            .filter(|incoming| incoming.height() == height)
    }

    fn background(
        &mut self,
        work: impl FnOnce() -> Result<StateDone, CheckpointError> + Send + 'static,
    ) {
        let done = self.done.clone();
        self.tasks.spawn_blocking(move || {
            let _ = done.send(work().unwrap_or_else(StateDone::Failed));
        });
    }
}

fn send(endpoint: &Endpoint, to: ReplicaId, message: StateMessage) {
    let bytes = Bytes::from(Message::State(message).encode());
    if let Err(error) = endpoint.send(PeerId::Replica(to.0), channel::STATE, bytes) {
        tracing::trace!(%to, %error, "a message of state transfer was not sent");
    }
}
