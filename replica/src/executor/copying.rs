//! While it copies a replica executes nothing: decisions go by into the log, and are applied from there after the restart that ends the copy.

use super::copy::inbox::{Post, inbox};
use super::copy::receive::{Copied, Copier, Stage};
use super::{Executor, Fatal, Frame, Note};
use crate::rebuild::Rebuilds;
use cluster::channel;
use consensus::{Height, ReplicaId, View};
use net::PeerId;
use order::{Delivered, Inbound};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use txn::client::{ClientMessage, ReplicaMessage};
use txn::peer::PeerMessage;

/// How long f+1 peers may take to say how far they are.
const GREETING: Duration = Duration::from_secs(30);
/// How long all others are waited for: with more of them there are more sources, and one that has just started is found by some of its
/// peers a little later than by others.
const GATHERING: Duration = Duration::from_secs(3);
/// Between two times at which the order is asked for a checkpoint; it does nothing once it has one.
const FETCH: Duration = Duration::from_secs(5);

/// That the database is to be copied.
#[derive(Clone, Debug)]
pub struct CopyWish {
    /// Only if others are at this height or past it: a shorter history is applied as it is.
    pub from_height: Height,
    /// Who is not asked for anything.
    pub suspects: BTreeSet<ReplicaId>,
    /// Its log is empty: it has no say before the decision is here that made it a member.
    pub joins: bool,
    /// A checkpoint above this height is fetched too: what lies between is cut from the others' logs.
    pub fetch_above: Option<Height>,
    /// Its server holds what an earlier copy has left: with these tables, as [`Rebuilds::lay`] was told.
    pub laid: Option<Vec<String>>,
    /// Where it notes how far it is.
    pub rebuilds: Rebuilds,
}

/// A copy under way.
pub struct Copying {
    wish: CopyWish,
    since: Instant,
    /// Last final heights of peers, as they said when they connected.
    said: BTreeMap<ReplicaId, Height>,
    /// The order counts it as a member.
    member: bool,
    /// Last height that went by.
    pub passed: Height,
    /// When a checkpoint was asked for last.
    fetched: Option<Instant>,
    /// What others say goes to the one that copies.
    post: Option<Post>,
    task: Option<AbortHandle>,
}

impl Copying {
    pub fn new(wish: CopyWish) -> Copying {
        Copying {
            member: !wish.joins,
            wish,
            since: Instant::now(),
            said: BTreeMap::new(),
            passed: 0,
            fetched: None,
            post: None,
            task: None,
        }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Executor {
    /// A decision goes by: it is in the log.
    pub(super) fn pass_over(&mut self, delivered: &Delivered) {
        let height = delivered.decided.height;
        let next = delivered.view.after(&delivered.decided);
        let next = next.and_then(Result::ok);
        let view = next.as_ref().unwrap_or(&*delivered.view);
        if let Some(copying) = &mut self.copying {
            copying.passed = height;
            copying.member |= view.replicas.contains_key(&self.me);
        }
        if self.view.id < view.id {
            self.view.clone_from(view);
        }
        // The order holds clients' requests back for one that is behind.
        self.finished.send_replace(height);
        self.begin_copy();
    }

    /// The order has gone on with a peer's checkpoint, because the logs begin later: what was passed over is not here at all.
    pub(super) fn pass_to(&mut self, height: Height, view: View) {
        if let Some(copying) = &mut self.copying {
            copying.passed = height;
            copying.member |= view.replicas.contains_key(&self.me);
        }
        if self.view.id < view.id {
            self.view = view;
        }
        self.finished.send_replace(height);
        self.begin_copy();
    }

    pub(super) fn copying_frame(&mut self, frame: Frame) {
        let Frame {
            from,
            channel,
            payload,
            share,
        } = frame;
        match (from, channel) {
            (PeerId::Replica(id), channel::PEER | channel::BULK) => {
                let from = ReplicaId(id);
                match consensus::decode(&payload) {
                    Ok(PeerMessage::Copy(message)) => {
                        let post = self.copying.as_mut().and_then(|c| c.post.as_mut());
                        if let Some(post) = post.filter(|_| self.view.replicas.contains_key(&from))
                        {
                            post.put(from, message, share);
                        }
                    }
                    Ok(PeerMessage::Hello {
                        fingerprint,
                        height,
                    }) => {
                        self.hello(from, &fingerprint);
                        if let Some(copying) = &mut self.copying {
                            copying.said.insert(from, height);
                        }
                        self.begin_copy();
                    }
                    // What others adopt is in the log, if it is here at all.
                    Ok(PeerMessage::FetchWriteSet { .. }) => self.peer_frame(from, &payload),
                    _ => {}
                }
            }
            (PeerId::Client(id), channel::CLIENT) => {
                if let Ok(ClientMessage::Info { id: number }) = consensus::decode(&payload) {
                    let status = self.status();
                    let info = ReplicaMessage::Info { id: number, status };
                    self.tell(consensus::ClientId(id), &info);
                }
            }
            _ => {}
        }
    }

    /// As soon as f+1 peers are there, of which one is correct: copies, if the history is long.
    fn begin_copy(&mut self) {
        let enough = self.view.one_correct();
        let Some(copying) = self
            .copying
            .as_mut()
            .filter(|copying| copying.post.is_none() && copying.member)
        else {
            return;
        };
        let members = &self.view.replicas;
        let said = copying
            .said
            .iter()
            .filter(|(from, _)| members.contains_key(from));
        let mut said: Vec<Height> = said.map(|(_, height)| *height).collect();
        said.sort_unstable_by(|a, b| b.cmp(a));
        let Some(vouched) = said.get(enough - 1).copied() else {
            return;
        };
        if said.len() + 1 < members.len() && copying.since.elapsed() < GATHERING {
            return;
        }
        if vouched < copying.wish.from_height {
            let why = format!("the others are at height {vouched}");
            return self.fail(Fatal::CopyNot(why));
        }
        let (post, inbox) = inbox();
        let copier = Copier {
            me: self.me,
            view: self.view.clone(),
            endpoint: self.endpoint.clone(),
            order: self.order.clone(),
            bench: self.bench.clone(),
            inbox,
            claims: Default::default(),
            suspects: copying.wish.suspects.clone(),
            laid: copying.wish.laid.clone(),
            rebuilds: copying.wish.rebuilds.clone(),
            stage: Stage::Asking,
            bytes: 0,
        };
        let notes = self.bench.notes.clone();
        let task = tokio::spawn(async move {
            // The executor is gone only when the replica stops.
            let _ = notes.send(Note::Copied(copier.run().await));
        });
        copying.post = Some(post);
        copying.task = Some(task.abort_handle());
    }

    pub(super) fn copied(&mut self, copied: Copied) {
        let Some(copying) = &self.copying else {
            return;
        };
        let took_ms = copying.since.elapsed().as_millis();
        match copied {
            Copied::Done { height, bytes } => {
                tracing::warn!(height, bytes, took_ms, "the database is copied");
                self.fail(Fatal::Copied(height));
            }
            Copied::Again {
                suspects,
                why,
                keep,
            } => self.fail(Fatal::CopyAgain {
                suspects,
                why,
                keep,
            }),
        }
    }

    /// Every 100 ms.
    pub(super) fn copying_tick(&mut self) {
        self.control.ask_health();
        if let Some(copying) = &mut self.copying
            && let Some(above) = copying.wish.fetch_above
            && copying.fetched.is_none_or(|at| at.elapsed() >= FETCH)
        {
            copying.fetched = Some(Instant::now());
            let order = self.order.clone();
            tokio::spawn(async move { order.inbound(Inbound::WantState { above }).await });
        }
        self.begin_copy();
        let enough = self.view.one_correct();
        let alone =
            |copying: &Copying| copying.said.len() < enough && copying.since.elapsed() > GREETING;
        if self.copying.as_ref().is_some_and(alone) {
            self.fail(Fatal::CopyNot("too few others are connected".into()));
        }
    }

    /// The decided height to tell of.
    pub(super) fn decided_height(&self) -> Height {
        let passed = self.copying.as_ref().map_or(0, |copying| copying.passed);
        self.engine.decided_height().max(passed)
    }
}
