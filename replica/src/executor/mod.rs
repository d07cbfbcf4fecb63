//! The executor: drives the rules of `txn` over real sessions with the private PostgreSQL.
//!
//! One task owns all state. Whatever takes time runs beside it as a job (see `jobs`) and ends in a [`Note`]. Decided
//! batches, messages of peers and clients, and notes come in; the engine's actions go out.

mod adopt;
mod adopting;
pub mod again;
mod apply;
mod audit;
mod autos;
mod cancelling;
mod capture;
mod certificates;
mod checkpoint;
mod claiming;
mod clients;
mod closing;
mod comparing;
mod contents;
mod control;
mod copy;
mod copying;
mod cursors;
mod decided;
mod errands;
mod executing;
mod explaining;
mod jobs;
mod journal;
mod judge;
mod judging;
mod lasting;
#[cfg(feature = "lies")]
pub mod lies;
mod missed;
mod note;
mod opening;
mod operation;
mod parts;
mod peers;
mod pool;
mod preempt;
mod provision;
mod reads;
mod receipts;
mod recovery;
mod replies;
mod rerun;
mod roles;
mod sequences;
mod session;
mod unlike;
mod unseen;
mod waiting;

use cluster::channel;
use consensus::{ClientId, Height, ReplicaId, View};
use jobs::Bench;
use net::{Endpoint, PeerId};
use opening::Opening;
use order::log::Log;
use order::{OrderHandle, Repeat, ToService};
use pool::Pool;
use session::TxSession;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc, watch};
use tokio::time::Instant;
use txn::client::Reason;
use txn::engine::{Action, Engine};
use txn::{Operation, Ordered, TxId, WriteSet};

pub use copying::CopyWish;
use note::Note;
pub use parts::{Damage, Fatal, Frame, Inputs, Parts, Settings};
pub use recovery::History;

/// Kinds of records in the decision log. The consensus core's own are in `order`.
pub mod record {
    /// Own votes of a height with the write sets of their items; key: height.
    pub const VOTES: u8 = 3;
    /// The verdicts of a height, once all of it is applied; key: height.
    pub const VERDICTS: u8 = 4;
}

/// Heights decided and not yet final past which no more are taken in.
const MAX_BACKLOG: usize = 20_000;
/// Operations that wait for a Begin which is not decided here yet, per client.
const PARKED_PER_CLIENT: usize = 1_024;
/// Ended transactions whose reason is remembered for operations that come late.
const REMEMBERED_ENDS: usize = 4_096;

/// An item on its way through this replica.
struct ItemState {
    ordered: Arc<Ordered>,
    /// Height of the snapshot at which it is judged; `None`: at its place.
    begun: Option<Height>,
    reason: Option<Reason>,
    write_sets: Option<Vec<WriteSet>>,
    /// The process that judges, adopts or executes it, and since when.
    pid: i32,
    since: Instant,
    busy: bool,
    runs: u32,
}

struct Parked {
    client: ClientId,
    operations: VecDeque<(u32, Operation)>,
    since: Instant,
}

/// The state of a replica's execution. See the module's text.
pub struct Executor {
    me: ReplicaId,
    view: View,
    engine: Engine,
    endpoint: Endpoint,
    log: Log,
    order: OrderHandle,
    bench: Bench,
    settings: Settings,
    postgres_pid: u32,
    server_version: String,
    likeness: unlike::Likeness,
    parameters: Vec<(String, String)>,
    finished: watch::Sender<Height>,
    sessions: BTreeMap<TxId, TxSession>,
    parked: BTreeMap<TxId, Parked>,
    autos: autos::Waiting,
    errands: errands::Errands,
    ends: BTreeMap<TxId, Reason>,
    items: BTreeMap<(Height, u32), ItemState>,
    /// Snapshots of this height that are still being taken.
    opening: Option<(Height, BTreeSet<TxId>)>,
    /// How open transactions began, and those whose Commit is decided, by its place.
    openings: BTreeMap<TxId, Opening>,
    ending: BTreeMap<(Height, u32), Opening>,
    /// Consensus times of the last decided heights.
    times: BTreeMap<Height, u64>,
    gate: Arc<RwLock<()>>,
    gate_held: Option<OwnedRwLockWriteGuard<()>>,
    gate_wanted: bool,
    /// Verdicts to be obeyed once the gate is closed.
    at_gate: VecDeque<Action>,
    fetching: Option<adopting::Fetch>,
    replies: replies::Replies,
    reads: reads::Reads,
    receipts: receipts::Receipts,
    watch: peers::MasterWatch,
    comparing: comparing::Comparing,
    /// What is kept for others that copy.
    copies: copy::source::Copies,
    /// While this replica copies: nothing is executed.
    copying: Option<copying::Copying>,
    damage: Damage,
    control: control::Control,
    /// While the log is replayed: what PostgreSQL has already.
    history: Option<History>,
    standing: checkpoint::Standing,
    /// Peers whose logs begin past what is lacking here, and where.
    gone: BTreeMap<ReplicaId, Height>,
    needed: watch::Sender<Height>,
    actions: Vec<Action>,
    last_error: Option<String>,
    counters: (u64, u64, u64),
    fatal: Option<Fatal>,
    regency: (u64, ReplicaId),
}

/// Milliseconds of this replica's clock.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

impl Executor {
    /// Builds the executor and replays what the log knows.
    ///
    /// # Errors
    /// When PostgreSQL or the log cannot be read.
    pub async fn start(
        parts: Parts,
        history: History,
    ) -> Result<(Executor, mpsc::UnboundedReceiver<Note>), Fatal> {
        let (notes, receiver) = mpsc::unbounded_channel();
        let pool = Arc::new(Pool::new(parts.clients));
        let control_pool = Arc::new(Pool::new(parts.superuser));
        let probe = pool
            .get()
            .await
            .map_err(|e| Fatal::Postgres(e.to_string()))?;
        let parameters = probe
            .parameters()
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        pool.put(probe);
        let bench = Bench {
            notes,
            pool,
            control: control_pool.clone(),
            token: parts.token,
            place: format!("replica {}", parts.me.0).into(),
            sequence_window: parts.settings.sequence_window,
            shapes: Arc::default(),
            rounds: Arc::default(),
            habit: journal::Habit::default(),
            #[cfg(feature = "lies")]
            lies: lies::of(&parts.key),
        };
        let keys = std::iter::once(&parts.key).chain(&parts.spare_keys);
        let receipts = receipts::Receipts::new(parts.first, keys.cloned().collect(), parts.views);
        let mut engine = Engine::new(parts.me, parts.key, parts.view.clone());
        for key in parts.spare_keys {
            engine.offer_key(key);
        }
        let executor = Executor {
            engine,
            me: parts.me,
            view: View {
                contacts: parts.contacts,
                ..parts.view
            },
            endpoint: parts.endpoint,
            log: parts.log,
            order: parts.order,
            control: control::Control::start(control_pool, bench.notes.clone()),
            bench,
            watch: peers::MasterWatch::new(parts.settings.master_timeout),
            comparing: comparing::Comparing::new(parts.settings.audit_every, parts.me),
            copies: copy::source::Copies::default(),
            copying: parts.copy.map(copying::Copying::new),
            last_error: parts.damage.rebuilding.clone(),
            damage: parts.damage,
            settings: parts.settings,
            postgres_pid: parts.postgres_pid,
            server_version: parts.server_version,
            likeness: unlike::Likeness::new(parts.fingerprint, parts.may_differ),
            parameters,
            finished: parts.finished,
            sessions: BTreeMap::new(),
            parked: BTreeMap::new(),
            autos: Default::default(),
            errands: errands::Errands::default(),
            ends: BTreeMap::new(),
            items: BTreeMap::new(),
            opening: None,
            openings: BTreeMap::new(),
            ending: BTreeMap::new(),
            times: BTreeMap::new(),
            gate: Arc::default(),
            gate_held: None,
            gate_wanted: false,
            at_gate: VecDeque::new(),
            fetching: None,
            replies: replies::Replies::default(),
            reads: reads::Reads::default(),
            receipts,
            history: (!history.is_empty()).then_some(history),
            standing: checkpoint::Standing::default(),
            gone: BTreeMap::new(),
            needed: parts.needed,
            actions: Vec::new(),
            counters: (0, 0, 0),
            fatal: None,
            regency: (0, ReplicaId(0)),
        };
        Ok((executor, receiver))
    }

    /// Runs until something fatal happens.
    pub async fn run(mut self, inputs: Inputs) -> Fatal {
        let Inputs {
            mut notes,
            mut decided,
            mut frames,
            mut links,
            mut durable,
            mut repeats,
            mut status,
        } = inputs;
        self.decisions_durable(*durable.borrow_and_update());
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut slow = tokio::time::interval(Duration::from_millis(100));
        slow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let deadline = self.engine.next_deadline();
            let sleep = async {
                match deadline {
                    Some(at) => {
                        tokio::time::sleep(Duration::from_millis(
                            at.saturating_sub(now_ms()).max(1),
                        ))
                        .await
                    }
                    None => std::future::pending().await,
                }
            };
            let open = self.engine.backlog() < MAX_BACKLOG;
            let waits = self.someone_may_wait();
            tokio::select! {
                Some(note) = notes.recv() => self.note(note),
                task = decided.recv(), if open => match task {
                    Some(task) => self.ordered(task),
                    None => return Fatal::OrderEnded,
                },
                Some(frame) = frames.recv() => match &self.copying {
                    Some(_) => self.copying_frame(frame),
                    None => self.frame(&frame),
                },
                Some((peer, up)) = links.recv() => self.link(peer, up),
                Ok(()) = durable.changed() => {
                    let height = *durable.borrow_and_update();
                    self.decisions_durable(height);
                }
                Some(Repeat { client, incarnation, seq, .. }) = repeats.recv() => self.repeat_reply(client, incarnation, seq),
                Ok(()) = status.changed() => {
                    let now = *status.borrow_and_update();
                    self.regency_is(now.regency, now.leader);
                }
                _ = tick.tick(), if waits => self.look_for_blockers(),
                _ = slow.tick() => self.slow_tick(),
                () = sleep => self.engine.timer(now_ms(), &mut self.actions),
            }
            self.settle();
            if let Some(fatal) = self.fatal.take() {
                return fatal;
            }
        }
    }

    /// What the order has for this replica.
    fn ordered(&mut self, task: ToService) {
        match task {
            ToService::Execute(delivered) if self.copying.is_some() => self.pass_over(&delivered),
            ToService::Execute(delivered) => self.delivered(delivered),
            ToService::Snapshot { height, reply } => self.state_wanted(height, reply),
            ToService::Restore { height, state } => self.restore(height, &state),
            // PostgreSQL commits only what is final, so values in flight are nothing to it.
            ToService::Tentative(_) => {}
        }
    }

    /// Performs the engine's actions until there are none.
    fn settle(&mut self) {
        while !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Judge {
                height,
                index,
                tx,
                ordered,
                begun,
                again,
            } => self.judge(height, index, tx, ordered, begun, again),
            Action::Cast(part) => self.cast(part),
            Action::Apply { .. } => self.apply(action),
            Action::Execute {
                height,
                index,
                client,
                incarnation,
                seq,
                ordered,
            } => {
                self.execute(height, index, client, incarnation, seq, ordered);
            }
            Action::Snapshots {
                height,
                time_ms,
                begins,
            } => self.take_snapshots(height, time_ms, begins),
            Action::Drop { tx, doom } => self.drop_transaction(tx, doom),
            Action::Final {
                height,
                time_ms,
                verdicts,
                settled,
            } => self.finished(height, time_ms, &verdicts, settled),
            Action::Answer { .. } => self.answer(action),
            Action::Repeated {
                height,
                index,
                ordered,
                begun,
                repeat,
            } => self.repeated(height, index, &ordered, begun, &repeat),
            Action::OrderVotes(parts) => self.order.submit(Ordered::Votes(parts).encode()),
            Action::FetchVotes { height } => self.fetch_votes(height),
            Action::Suspected { epoch } => self.suspected(epoch),
            Action::EpochChanged { epoch, height } => self.epoch_changed(epoch, height),
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Opened {
                tx,
                session,
                refused,
                error,
            } => self.opened(tx, session, refused, error),
            Note::AutoStarted { tx, pid } => self.auto_started(tx, pid),
            Note::Ran {
                tx,
                session,
                operation,
                ran,
            } => self.ran(tx, session, operation, *ran),
            Note::JudgingIn {
                height,
                index,
                tx,
                pid,
            } => self.judging_in(height, index, tx, pid),
            Note::Judged {
                height,
                index,
                tx,
                session,
                report,
            } => self.judged(height, index, tx, session, report),
            Note::Yielded {
                height,
                index,
                tx,
                session,
                error,
            } => self.yielded(height, index, tx, session, error),
            Note::Ended {
                height,
                index,
                tx,
                error,
            } => self.ended(height, index, tx, error),
            Note::AdoptingIn { height, index, pid } => self.busy_in(height, index, pid),
            Note::Adopted {
                height,
                index,
                tx,
                error,
            } => self.adopted(height, index, tx, error),
            Note::Executed {
                height,
                index,
                frames,
                error,
            } => self.executed(height, index, frames, error),
            Note::AuditOpened { height, index } => self.applied(height, index),
            Note::Audited { client, message } => self.tell(client, &message),
            Note::Compared { height, digested } => self.compared(height, digested),
            Note::CopyKept {
                asker,
                height,
                kept,
            } => self.copy_kept(asker, height, kept),
            Note::Copied(copied) => self.copied(copied),
            Note::ReceiptMade { client, message } => self.receipt_made(client, &message),
            Note::Cancelled { tx } => self.cancelled(tx),
            Note::Blocked(pairs) => self.blocked(&pairs),
            Note::Gate(guard) => self.gate_closed(guard),
            Note::VotesDurable(part) => self.votes_durable(part),
            Note::ReplyDurable { client, message } => self.send_client(client, message),
            Note::ReadDone { client, id } => self.reads.done(client, id),
            Note::Health(health) => self.health(health),
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let payload = &frame.payload;
        match (frame.from, frame.channel) {
            (PeerId::Replica(id), channel::PEER | channel::BULK) => {
                self.peer_frame(ReplicaId(id), payload)
            }
            (PeerId::Client(id), channel::CLIENT) => self.client_frame(ClientId(id), payload),
            (from, channel) => {
                tracing::warn!(%from, channel, "message on an unexpected channel dropped")
            }
        }
    }

    fn fail(&mut self, fatal: Fatal) {
        tracing::error!(error = %fatal, "the executor stops");
        self.last_error = Some(fatal.to_string());
        self.fatal.get_or_insert(fatal);
    }
}
