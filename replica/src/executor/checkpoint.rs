//! Checkpoints: what this replica knows of the heights up to one of them, besides PostgreSQL's contents, in bytes that are equal at all.
//!
//! A checkpoint counts when f+1 replicas say that theirs has the same digest: one of them is correct. PostgreSQL notes in `steel.floor`
//! that it has everything up to there, so whoever begins with a checkpoint replays only what comes after it (decision 29).

use super::copy::hash_of;
use super::jobs::Bench;
use super::opening::{Opening, first_error, quiet};
use super::replies::Settled as Answers;
use super::session::TxSession;
use super::{Executor, Fatal, judge::reason};
use bytes::Bytes;
use consensus::{Digest, Height, ReplicaId, View};
use pgsession::Statement;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use txn::engine::{EngineState, Settled};
use txn::ordered::SessionSettings;
use txn::peer::PeerMessage;
use txn::{Isolation, TxId};

/// The format of [`State`].
const VERSION: u8 = 2;
/// Heights whose states wait for verdicts, or for others to say the same. The order asks for two at a time, and for those in its log at
/// a start.
const DUE: usize = 8;
/// Heights that are not due here of which a replica's digest is remembered; and own ones that are told who asks.
const SAID: usize = 16;
/// Between two times at which others are asked what they have.
const ASK: Duration = Duration::from_secs(1);
/// How long a state may go without f + 1 that have the same.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state after a height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u8,
    engine: EngineState,
    /// How the open transactions began.
    began: BTreeMap<TxId, Began>,
    replies: Answers,
    /// Requests for an audit so far: which table is next follows from them.
    compared: BTreeMap<ReplicaId, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Began {
    promised: Isolation,
    read_only: bool,
    time_ms: u64,
    settings: SessionSettings,
}

/// The checkpoints that are due.
#[derive(Default)]
pub struct Standing {
    due: VecDeque<Due>,
    /// Own digests of the last heights, for those that come to them later.
    mine: BTreeMap<Height, Digest>,
    /// When others were last asked for theirs.
    asked: Option<Instant>,
    /// Digests of states that replicas say they have; at most [`SAID`] heights of each.
    said: BTreeMap<Height, BTreeMap<ReplicaId, Digest>>,
}

struct Due {
    height: Height,
    /// The part that follows from the order alone, until the height is final.
    ordered: Option<(EngineState, BTreeMap<TxId, Began>)>,
    /// Then all of it.
    state: Option<(Bytes, Digest)>,
    since: Instant,
    reply: oneshot::Sender<Bytes>,
}

/// Whether a state is agreed.
#[derive(Debug, PartialEq, Eq)]
enum Agreed {
    NotYet,
    Same,
    /// Others have another one.
    Other,
}

impl Standing {
    /// Of heights that are not due here the lowest are kept: they come next, and whoever is asked later says it again.
    fn say(&mut self, from: ReplicaId, height: Height, digest: Digest) {
        self.said.entry(height).or_default().insert(from, digest);
        let due: BTreeSet<Height> = self.due.iter().map(|due| due.height).collect();
        let own = |(height, said): &(&Height, &BTreeMap<ReplicaId, Digest>)| {
            said.contains_key(&from) && !due.contains(height)
        };
        while self.said.iter().filter(own).count() > SAID {
            let highest = self.said.iter().rev().find(own).map(|(height, _)| *height);
            let Some(highest) = highest else { return };
            if let Some(said) = self.said.get_mut(&highest) {
                said.remove(&from);
                if said.is_empty() {
                    self.said.remove(&highest);
                }
            }
        }
    }

    /// What the members of a view say.
    fn agreed(&self, height: Height, mine: &Digest, view: &View) -> Agreed {
        let enough = view.one_correct();
        let Some(said) = self.said.get(&height) else {
            return Agreed::NotYet;
        };
        let members = said
            .iter()
            .filter(|(from, _)| view.replicas.contains_key(from));
        let said: BTreeMap<ReplicaId, Digest> =
            members.map(|(from, said)| (*from, *said)).collect();
        let count = |digest: &Digest| said.values().filter(|said| *said == digest).count();
        if count(mine) >= enough {
            return Agreed::Same;
        }
        let others = said.values().filter(|said| *said != mine);
        match others.map(count).max() {
            Some(most) if most >= enough => Agreed::Other,
            _ => Agreed::NotYet,
        }
    }
}

impl Executor {
    /// The state after this height is wanted; nothing later is decided here yet.
    pub(super) fn state_wanted(&mut self, height: Height, reply: oneshot::Sender<Bytes>) {
        if self.copying.is_some() || self.engine.decided_height() != height {
            // The order does without.
            return;
        }
        let engine = self.engine.ordered_state();
        let open = engine.open().filter_map(|tx| {
            let Opening {
                promised,
                read_only,
                time_ms,
                settings,
                ..
            } = self.openings.get(tx)?.clone();
            let began = Began {
                promised,
                read_only,
                time_ms,
                settings,
            };
            Some((*tx, began))
        });
        let began = open.collect();
        let due = Due {
            height,
            ordered: Some((engine, began)),
            state: None,
            since: Instant::now(),
            reply,
        };
        let due_now = &mut self.standing.due;
        due_now.push_back(due);
        while due_now.len() > DUE {
            due_now.pop_front();
        }
        // Final already: nothing of it waited for verdicts.
        if self.engine.final_height() == height {
            let settled = self.engine.settled();
            self.state_is_final(height, settled);
        }
    }

    /// The height is final: everything that belongs to its state is known, and nothing later.
    pub(super) fn state_is_final(&mut self, height: Height, settled: Settled) {
        let mut due = self.standing.due.iter_mut();
        let Some(due) = due.find(|due| due.height == height) else {
            return;
        };
        let Some((mut engine, began)) = due.ordered.take() else {
            return;
        };
        engine.complete(settled);
        let state = State {
            version: VERSION,
            engine,
            began,
            replies: self.replies.settled().clone(),
            compared: self.comparing.rounds(),
        };
        let bytes = postcard::to_stdvec(&state).expect("these types have no unserialisable parts");
        let digest = hash_of(&bytes);
        due.state = Some((bytes.into(), digest));
        due.since = Instant::now();
        let mine = &mut self.standing.mine;
        mine.insert(height, digest);
        while mine.len() > SAID {
            mine.pop_first();
        }
        if self.history.as_ref().is_some_and(|h| h.is_logged(height)) {
            // The order writes no checkpoint of it: it remembers the root, for whoever asks.
            return self.stand_on(height);
        }
        self.broadcast_peers(&self.my_state(height, digest, true));
        self.standing.say(self.me, height, digest);
        self.compare_states(height);
    }

    fn my_state(&self, height: Height, digest: Digest, asks: bool) -> PeerMessage {
        #[cfg(feature = "lies")]
        let digest = self.bench.lies.state(digest);
        PeerMessage::State {
            height,
            digest,
            asks,
        }
    }

    /// What a replica says of its state; one that comes to this height later than this replica asks for what is known here.
    pub(super) fn state_said(
        &mut self,
        from: ReplicaId,
        height: Height,
        digest: Digest,
        asks: bool,
    ) {
        if from == self.me || !self.view.replicas.contains_key(&from) {
            return;
        }
        if let Some(mine) = self.standing.mine.get(&height).filter(|_| asks) {
            self.send_peer(from, &self.my_state(height, *mine, false));
        }
        self.standing.say(from, height, digest);
        self.compare_states(height);
    }

    /// Every 100 ms: what others said may have been lost, or have come before this replica listened.
    pub(super) fn states_tick(&mut self) {
        // Nobody may be left who was there. A later one will do.
        let given_up = |due: &Due| due.since.elapsed() >= PATIENCE && due.state.is_some();
        self.standing.due.retain(|due| !given_up(due));
        let asked = self.standing.asked;
        if asked.is_some_and(|at| at.elapsed() < ASK) {
            return;
        }
        let due = self.standing.due.iter();
        let open = due.filter_map(|due| Some((due.height, due.state.as_ref()?.1)));
        let open: Vec<(Height, Digest)> = open.collect();
        if !open.is_empty() {
            self.standing.asked = Some(Instant::now());
        }
        for (height, digest) in open {
            self.broadcast_peers(&self.my_state(height, digest, true));
        }
    }

    fn compare_states(&mut self, height: Height) {
        let mut due = self.standing.due.iter();
        let mine = due.find(|due| due.height == height);
        let Some((_, mine)) = mine.and_then(|due| due.state.as_ref()) else {
            return;
        };
        match self.standing.agreed(height, mine, &self.view) {
            Agreed::NotYet => {}
            Agreed::Same => self.stand_on(height),
            Agreed::Other => self.fail(Fatal::Unsound(format!(
                "the state after height {height} is not that of f+1 others"
            ))),
        }
    }

    /// The state is agreed: PostgreSQL makes everything up to there durable, and then the order may have it.
    fn stand_on(&mut self, height: Height) {
        let due = &mut self.standing.due;
        let Some(at) = due.iter().position(|due| due.height == height) else {
            return;
        };
        let Some(Due {
            state: Some((bytes, _)),
            reply,
            ..
        }) = due.remove(at)
        else {
            return;
        };
        // The order has a newer one then, and does without those.
        due.retain(|due| due.height > height);
        self.standing.said = self.standing.said.split_off(&(height + 1));
        let bench = self.bench.clone();
        tokio::spawn(async move {
            match bench.raise_floor(height).await {
                // Whoever waited for it may be gone.
                Ok(()) => _ = reply.send(bytes),
                Err(error) => tracing::warn!(
                    height,
                    error,
                    "no checkpoint: PostgreSQL did not note that it has everything up to there"
                ),
            }
        });
    }

    /// Begins with a checkpoint: this replica's own, or one that came from a peer because the logs begin later than this one ends.
    pub(super) fn restore(&mut self, height: Height, bytes: &Bytes) {
        let unreadable = |why: String| {
            Fatal::Unreadable(format!(
                "the checkpoint of height {height} cannot be read ({why}); run the version of SteelDB that wrote it"
            ))
        };
        let state: State = match postcard::from_bytes(bytes) {
            Ok(state) => state,
            Err(error) => return self.fail(unreadable(error.to_string())),
        };
        if state.version != VERSION || state.engine.height != height {
            return self.fail(unreadable(format!(
                "version {}, height {}",
                state.version, state.engine.height
            )));
        }
        if self.copying.is_some() {
            return self.pass_to(height, state.engine.view);
        }
        let covered = self.history.as_ref().is_some_and(|h| h.is_covered(height));
        if !covered {
            return self.fail(Fatal::Behind {
                above: height - 1,
                why: format!(
                    "PostgreSQL's data end before height {height}, and the others' logs begin later"
                ),
            });
        }
        if self.engine.decided_height() > 0 {
            // PostgreSQL is further than what is known of the order here: the next start begins with this.
            return self.fail(Fatal::Unsound(format!(
                "the log has a hole below height {height}"
            )));
        }
        self.begin_with(state, hash_of(bytes));
    }

    fn begin_with(&mut self, state: State, digest: Digest) {
        let State {
            engine,
            began,
            replies,
            compared,
            ..
        } = state;
        let (height, time_ms) = (engine.height, engine.time_ms);
        tracing::info!(height, "the replica begins with a checkpoint");
        self.standing.mine.insert(height, digest);
        // Where members listen is not part of what is agreed on.
        self.view = View {
            contacts: std::mem::take(&mut self.view.contacts),
            ..engine.view.clone()
        };
        self.times.extend(engine.times());
        self.watch.begins(engine.epoch());
        let drain = Duration::from_millis(txn::limits::MAX_DRAIN_MS.into());
        self.watch.drain_until = Instant::now() + drain;
        self.replies.restore(replies, engine.epoch());
        self.comparing.restore(compared);
        self.engine.restore(engine);
        for (tx, began) in began {
            let opening = Opening {
                promised: began.promised,
                read_only: began.read_only,
                settings: began.settings,
                ..self.opening_of(tx, &txn::Ordered::Tick, began.time_ms)
            };
            let mut session = TxSession::new(tx.client, opening.clone(), false);
            session.doom = Some(reason(
                "40001",
                "the replica restarted and lost the transaction's snapshot",
                "",
            ));
            self.sessions.insert(tx, session);
            self.openings.insert(tx, opening);
        }
        self.reads.advance(height, time_ms);
        self.finished.send_replace(height);
        let rest = self.history.take();
        self.history = rest.filter(|h| h.is_replayed(height + 1));
    }
}

impl Bench {
    /// Everything up to this height is applied: that is made durable, and its places need not be told apart any more.
    async fn raise_floor(&self, height: Height) -> Result<(), String> {
        let mut session = self.control.get().await.map_err(|e| e.to_string())?;
        let of = |sql: &str| Statement {
            sql: sql.into(),
            parameter_types: vec![20],
            parameters: vec![Some(height.to_string().into())],
            cached: true,
            ..Statement::default()
        };
        let statements = vec![
            quiet("BEGIN"),
            quiet("SET LOCAL synchronous_commit = on"),
            of("INSERT INTO steel.floor AS f (height) VALUES ($1)
                ON CONFLICT (one) DO UPDATE SET height = excluded.height WHERE f.height < excluded.height"),
            // Those of the floor itself stay: of a copy's height only what comes before the copy is covered by it.
            of("DELETE FROM steel.applied WHERE height < $1"),
            quiet("COMMIT"),
        ];
        let outcomes = session.run(statements).await.map_err(|e| e.to_string())?;
        match first_error(outcomes) {
            None => {
                self.control.put(session);
                Ok(())
            }
            // Closed with its transaction.
            Some(error) => Err(error.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Digest = Digest([1; 32]);
    const OTHER: Digest = Digest([2; 32]);

    fn of(members: u16, f: u16) -> View {
        let key = consensus::PublicKey([0; 32]);
        View {
            f,
            replicas: (0..members).map(|id| (ReplicaId(id), key)).collect(),
            ..View::default()
        }
    }

    fn four() -> View {
        of(4, 1)
    }

    /// Where nobody is faulty one word counts.
    fn one() -> View {
        of(2, 0)
    }

    #[test]
    fn a_state_counts_when_one_more_than_f_have_it() {
        let mut standing = Standing::default();
        assert_eq!(standing.agreed(9, &MINE, &four()), Agreed::NotYet);
        standing.say(ReplicaId(0), 9, MINE);
        standing.say(ReplicaId(1), 9, OTHER);
        standing.say(ReplicaId(2), 8, MINE);
        assert_eq!(
            standing.agreed(9, &MINE, &four()),
            Agreed::NotYet,
            "one liar"
        );
        standing.say(ReplicaId(1), 9, Digest([3; 32]));
        standing.say(ReplicaId(2), 9, OTHER);
        standing.say(ReplicaId(7), 9, OTHER);
        assert_eq!(standing.agreed(9, &MINE, &four()), Agreed::NotYet);
        standing.say(ReplicaId(3), 9, MINE);
        assert_eq!(standing.agreed(9, &MINE, &four()), Agreed::Same);
        standing.say(ReplicaId(3), 9, OTHER);
        assert_eq!(standing.agreed(9, &MINE, &four()), Agreed::Other);
    }

    #[test]
    fn what_a_peer_says_has_an_end() {
        let mut standing = Standing::default();
        standing.say(ReplicaId(0), 1, MINE);
        for height in 1..=10_000 {
            standing.say(ReplicaId(1), height, OTHER);
        }
        assert_eq!(standing.said.len(), SAID);
        assert_eq!(standing.agreed(1, &MINE, &one()), Agreed::Same);
        assert_eq!(standing.agreed(16, &OTHER, &one()), Agreed::Same);
        assert_eq!(standing.agreed(10_000, &OTHER, &one()), Agreed::NotYet);
        // What is due here is heard, however much further the other one is.
        standing.due.push_back(Due {
            height: 9_000,
            ordered: None,
            state: None,
            since: Instant::now(),
            reply: oneshot::channel().0,
        });
        standing.say(ReplicaId(1), 9_000, OTHER);
        assert_eq!(standing.agreed(9_000, &OTHER, &one()), Agreed::Same);
    }
}
