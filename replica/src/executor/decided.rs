//! Decided batches enter the engine; how their transactions begin is remembered.

use std::sync::Arc;
use std::time::Duration;

use consensus::{Change, ChangeError, ClientId, Height, ReplicaId, Step, View};
use net::PeerId;
use tokio::time::Instant;
use txn::client::ReplicaMessage;
use txn::engine::Placed;
use txn::{Isolation, Ordered, TxId};

use super::opening::Opening;
use super::{Executor, MAX_BACKLOG, now_ms};
use order::Delivered;

impl Executor {
    pub(super) fn delivered(&mut self, delivered: Delivered) {
        let height = delivered.decided.height;
        let known = self.history.as_ref().filter(|h| h.is_replayed(height));
        let (recorded, votes) =
            known.map_or_else(Default::default, |h| (h.recorded(height), h.votes(height)));
        let is_new = known.is_none();
        let change = delivered.view.after(&delivered.decided);
        let moved = change.as_ref().and_then(|change| {
            change.as_ref().ok()?;
            moved_master(&delivered.decided)
        });
        if let Some(Ok(_)) = &change {
            self.receipts.view_changed(&delivered.decided);
        }
        self.decide(delivered.decided, change.as_ref(), &recorded);
        if let Some(Ok(view)) = change {
            self.engine
                .view_changed(height, view.clone(), &mut self.actions);
            self.view = view;
            if is_new {
                self.announce_view();
            }
        }
        if let Some((to, drain)) = moved {
            tracing::info!(master = to.0, height, "the master is to move");
            self.watch.drain_until = Instant::now() + drain;
            self.engine.move_master(height, to, &mut self.actions);
        }
        for part in votes {
            // Durable before the restart: they stand, and peers may have missed them.
            self.broadcast_peers(&txn::peer::PeerMessage::Vote(part.clone()));
            self.engine.vote(now_ms(), part, &mut self.actions);
        }
    }

    /// The membership, as clients need it.
    pub(super) fn announcement(&self) -> ReplicaMessage {
        ReplicaMessage::View(Box::new(View {
            clients: Default::default(),
            administrators: Default::default(),
            ..self.view.clone()
        }))
    }

    fn announce_view(&mut self) {
        let message = self.announcement();
        for peer in self.endpoint.connected() {
            if let PeerId::Client(id) = peer {
                self.tell(ClientId(id), &message);
            }
        }
        let (regency, leader) = self.regency;
        self.regency_is(regency, leader);
    }

    /// Feeds a decided batch to the engine.
    fn decide(
        &mut self,
        decided: consensus::Decided,
        change: Option<&Result<View, ChangeError>>,
        recorded: &txn::engine::Recorded,
    ) {
        let (height, time_ms) = (decided.height, decided.batch.time_ms);
        self.times.insert(height, time_ms);
        while self.times.len() as u64 > txn::limits::AUTO_WINDOW + MAX_BACKLOG as u64 {
            self.times.pop_first();
        }
        let mut placed: Vec<Placed> = decided
            .requests
            .into_iter()
            .map(|request| Placed {
                client: request.client,
                incarnation: request.incarnation,
                seq: request.seq,
                ordered: Arc::new(read(&request.op)),
            })
            .collect();
        if let (Some(change), Some(last)) = (change, placed.last_mut()) {
            last.ordered = Arc::new(outcome(change));
        }
        let own = |placed: &Placed| {
            placed.client == ClientId::of(self.me) && *placed.ordered == Ordered::Copy
        };
        if let (Some(history), Some(place)) = (&mut self.history, placed.iter().position(own)) {
            history.copy_asked(height, place as u32);
        }
        let begun = self.note_openings(height, time_ms, &placed);
        let mut actions = std::mem::take(&mut self.actions);
        self.engine
            .decided(now_ms(), height, time_ms, placed, recorded, &mut actions);
        self.actions = actions;
        for tx in begun {
            if !self.engine.is_open(&tx) {
                self.openings.remove(&tx);
            }
        }
    }

    /// Remembers how transactions begin until they end, whether or not a session is opened for them here: who adopts
    /// by running the operations again needs the time and the settings of the Begin. Returns what began.
    fn note_openings(&mut self, height: Height, time_ms: u64, placed: &[Placed]) -> Vec<TxId> {
        let mut begun = Vec::new();
        for (index, placed) in placed.iter().enumerate() {
            match &*placed.ordered {
                Ordered::Begin(_) => {
                    let tx = TxId {
                        client: placed.client,
                        incarnation: placed.incarnation,
                        seq: placed.seq,
                    };
                    tracing::trace!(target: "timeline", at = "begun", %tx, height);
                    let opening = self.opening_of(tx, &placed.ordered, time_ms);
                    self.openings.insert(tx, opening);
                    begun.push(tx);
                }
                Ordered::Commit(commit) if commit.tx.client == placed.client => {
                    tracing::trace!(target: "timeline", at = "ordered", tx = %commit.tx, height, index);
                    if let Some(opening) = self.openings.remove(&commit.tx) {
                        self.ending.insert((height, index as u32), opening);
                    }
                }
                _ => {}
            }
        }
        begun
    }

    /// Sessions of the clients' role enter a transaction like this.
    pub(super) fn opening_of(&self, tx: TxId, ordered: &Ordered, time_ms: u64) -> Opening {
        let (settings, promised, read_only) = match ordered {
            Ordered::Begin(begin) => (begin.settings.clone(), begin.isolation, begin.read_only),
            Ordered::Auto(auto) => (auto.settings.clone(), Isolation::of(&auto.settings), false),
            _ => Default::default(),
        };
        Opening {
            client: tx.client,
            isolation: "REPEATABLE READ",
            promised,
            read_only,
            time_ms,
            nonce: tx.nonce(),
            mode: if self.engine.master() == self.me {
                "record"
            } else {
                "replay"
            },
            settings,
        }
    }
}

/// The master that a change of the view names, and how long open transactions may take to end.
fn moved_master(decided: &consensus::Decided) -> Option<(ReplicaId, Duration)> {
    let change = Change::decode(&decided.requests.last()?.op).ok()?;
    let (to, drain_ms) = change.steps.iter().rev().find_map(|step| match step {
        Step::MoveMaster { replica, drain_ms } => Some((*replica, *drain_ms)),
        _ => None,
    })?;
    let drain_ms = drain_ms.min(txn::limits::MAX_DRAIN_MS);
    Some((to, Duration::from_millis(drain_ms.into())))
}

/// What is not a message of ours changes nothing, at every replica alike.
fn read(op: &[u8]) -> Ordered {
    match Ordered::decode(op) {
        Ok(Ordered::Reconfigured { .. }) | Err(_) => Ordered::Nothing(Vec::new()),
        Ok(ordered) => ordered,
    }
}

fn outcome(change: &Result<View, ChangeError>) -> Ordered {
    match change {
        Ok(view) => Ordered::Reconfigured {
            view: Some(view.id),
            why: String::new(),
        },
        Err(error) => Ordered::Reconfigured {
            view: None,
            why: error.to_string(),
        },
    }
}
