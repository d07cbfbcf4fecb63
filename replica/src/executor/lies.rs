//! What a replica that somebody took over would do. Tests only: the feature `lies` switches it on, the command is built
//! without it, and a replica that is told nothing is honest.
//!
//! Lies about answers are told of statements that carry a marker in their text, so that one cluster can tell many stories.

mod frames;

use super::Executor;
use super::contents::Contents;
use super::jobs::error_frame;
use super::judge::reason;
use super::opening::{SAVEPOINT, quiet};
use super::operation::Ran;
use consensus::{Digest, Height, ReplicaId, Signature};
use ed25519_dalek::SigningKey;
use frames::{
    a_century_later, ahead, altered, later, misnamed, mistyped, one_more, round, rows_of,
};
use pgsession::{Error, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use txn::client::{Answer, ClientMessage, Outcome, ReplicaMessage};
use txn::copy::{CopyMessage, Part};
use txn::peer::PeerMessage;
use txn::receipt::Given;
use txn::tally::Verdict;
use txn::write_set::RowChange;
use txn::{Ballot, Event, Evidence, Operation, TxId, VotePart, WriteSet};

/// A way of lying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Answers to marked statements. `lie:row`: one bit of a row is another. `lie:count`: one row more was changed.
    /// `lie:time`: every year is a century later, in what is answered and in what is written. `lie:smuggle`: a row more
    /// rides behind a notice. `lie:error`: the statement is said to have failed. `lie:write`: the write set names a row
    /// that was not written. `lie:names`: columns have other names. `lie:types`: columns and parameters that are integers are
    /// said to be floats. `lie:hide`: it names nothing. `lie:old`: the answer is that of the first time. `lie:swap`: it
    /// is that to the marked statement before. `lie:ahead`: sequences are said to have given values further on.
    /// `lie:again`: everything is as it was the first time, the sequences' values too; `lie:round`: these went round. `lie:drop`: the transaction's
    /// statements up to this one are undone, and said to be done. `lie:ghost`: a row is claimed that is not there.
    /// `lie:nonsense`: the key of a claimed row is none, which makes the statement fail.
    Answers,
    /// Every vote is ABORT.
    VoteAbort,
    /// Every vote is COMMIT.
    VoteCommit,
    /// Peers with odd numbers are sent another vote than the others.
    Equivocate,
    /// Votes in the names of all others, all ABORT, go before every own one.
    ForgeVotes,
    /// Peers that adopt are sent other rows.
    ServeOtherRows,
    /// Clients are told that their transactions are over, though this replica is not their master.
    DoomOthers,
    /// Clients are told ABORT where the verdict is COMMIT.
    DenyCommits,
    /// Clients are told COMMIT where the verdict is ABORT.
    ClaimCommits,
    /// Peers that missed verdicts are told the opposite ones.
    TellOtherVerdicts,
    /// The master's word is worthless.
    NoWord,
    /// Peers that compare their tables are told that this replica holds other rows.
    OtherContents,
    /// Peers are told another digest of this replica's state than the one it has.
    OtherState,
    /// Who copies this replica's database gets one row that is another, in the tables that are big enough.
    CopiedRows,
    /// Who copies it gets a schema of which one definition is another, and which tries to lift its reader up.
    CopiedSchema,
    /// Who copies it gets a schema that takes a privilege from clients and has their sessions write other digits.
    CopiedRights,
    /// Who copies it gets a schema that fills a materialized view, before its rows come.
    CopiedView,
    /// Who copies it gets nothing after the first chunk of a table.
    CopyEnds,
    /// It has a copy ordered, has the table `held` read, and takes no row of it.
    HoldsCopies,
    /// Signatures of receipts have a bit flipped.
    SpoilReceipts,
    /// Receipts are signed rightly, for other writes than the ordered ones.
    ReceiptsOfOtherWrites,
    /// Clients hear nothing of their operations, and nothing is taken that is brought for them; peers are answered.
    Mute,
    /// Clients are neither heard nor told of their operations, as if their links to this replica were dead.
    Deaf,
    /// Clients whose operations it is to bring to the master are told at once that their transactions are over.
    BringsEnds,
}

impl Lie {
    /// Every way of lying.
    pub const ALL: [Lie; 17] = [
        Lie::Answers,
        Lie::VoteAbort,
        Lie::VoteCommit,
        Lie::Equivocate,
        Lie::ForgeVotes,
        Lie::ServeOtherRows,
        Lie::DoomOthers,
        Lie::DenyCommits,
        Lie::ClaimCommits,
        Lie::TellOtherVerdicts,
        Lie::NoWord,
        Lie::OtherContents,
        Lie::OtherState,
        Lie::SpoilReceipts,
        Lie::ReceiptsOfOtherWrites,
        Lie::Mute,
        Lie::BringsEnds,
    ];

    /// The one of this name, as `Debug` writes it.
    pub fn named(name: &str) -> Option<Lie> {
        let mut all = Lie::ALL.into_iter();
        all.find(|lie| format!("{lie:?}") == name)
    }
}

/// The lies of one replica.
pub struct Lies {
    key: SigningKey,
    told: Mutex<BTreeSet<Lie>>,
    /// First answers, by statement, and the last one.
    first: Mutex<BTreeMap<String, Outcome>>,
    last: Mutex<Option<Outcome>>,
    /// What statements came to the first time.
    first_ran: Mutex<BTreeMap<String, (Outcome, Evidence, WriteSet)>>,
    /// Told to those that copy.
    copied: AtomicU32,
}

static ALL: Mutex<BTreeMap<[u8; 32], Arc<Lies>>> = Mutex::new(BTreeMap::new());

/// The lies of the replica with this key.
pub fn of(key: &SigningKey) -> Arc<Lies> {
    let mut all = locked(&ALL);
    let name = key.verifying_key().to_bytes();
    let fresh = || {
        let key = key.clone();
        Arc::new(Lies {
            key,
            told: Mutex::default(),
            first: Mutex::default(),
            last: Mutex::default(),
            first_ran: Mutex::default(),
            copied: AtomicU32::new(0),
        })
    };
    all.entry(name).or_insert_with(fresh).clone()
}

impl Lies {
    /// From now on the replica tells these lies and no others.
    pub fn tell(&self, lies: &[Lie]) {
        *locked(&self.told) = lies.iter().copied().collect();
    }

    /// A master that lies about its answers does not look whether sequences give what they gave before.
    pub fn gives_again(&self) -> bool {
        self.tells(Lie::Answers)
    }

    fn tells(&self, lie: Lie) -> bool {
        locked(&self.told).contains(&lie)
    }

    pub(super) fn is_mute(&self) -> bool {
        self.tells(Lie::Mute)
    }

    /// What the master is said to have told of an operation that it was not even brought.
    pub(super) fn invented(&self, tx: TxId, epoch: u64) -> Option<ReplicaMessage> {
        let doomed = ReplicaMessage::Doomed {
            tx,
            reason: reason("40001", "could not serialize access: invented", ""),
            epoch,
        };
        let message = postcard::to_stdvec(&doomed)
            .expect("these types have no unserialisable parts")
            .into();
        self.tells(Lie::BringsEnds)
            .then_some(ReplicaMessage::Brought { tx, message })
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.tells(Lie::Deaf)
    }

    /// Whether it does not hear this of a client.
    pub(super) fn is_deaf_to(&self, payload: &[u8]) -> bool {
        let heard = || consensus::decode::<ClientMessage>(payload);
        self.is_deaf()
            && matches!(
                heard(),
                Ok(ClientMessage::Operation { .. } | ClientMessage::AutoOperation { .. })
            )
    }

    /// What the master says that an operation came to.
    pub(super) fn ran(&self, operation: &Operation, ran: Result<Ran, Error>) -> Result<Ran, Error> {
        let mut ran = ran?;
        let marked = |marker: &str| self.tells(Lie::Answers) && operation.sql.contains(marker);
        if !self.tells(Lie::Answers) {
            return Ok(ran);
        }
        ran.outcome = self.outcome(operation, ran.outcome);
        ran.evidence.result = ran.outcome.result;
        if marked("lie:error") {
            ran.outcome.transaction = b'E';
        }
        if marked("lie:write") {
            ran.write_set.events.push(Event::Rows {
                table: "public.ledger".into(),
                change: RowChange::Insert,
                old: Vec::new(),
                new: vec!["(666,666)".into()],
            });
        }
        if marked("lie:hide") {
            ran.write_set = WriteSet::default();
        }
        if marked("lie:time") {
            rows_of(&mut ran.write_set).for_each(|row| *row = a_century_later(row));
        }
        if marked("lie:ahead") {
            ahead(&mut ran.evidence);
        }
        if let Some(claims) = &mut ran.evidence.claims {
            if marked("lie:ghost") {
                claims.rows.push(vec!["666".into()]);
            }
            if marked("lie:nonsense") {
                claims.rows = vec![vec!["no number".into()]];
                let message = "invalid input syntax for type integer";
                ran.outcome.frames = vec![error_frame("22P02", message)];
                ran.outcome.result = txn::result::digest(&ran.outcome.frames, None);
                ran.outcome.transaction = b'E';
                ran.evidence.result = ran.outcome.result;
            }
        }
        ran.evidence.write = ran.write_set.digest();
        if marked("lie:again") {
            let mut first = locked(&self.first_ran);
            let now = (ran.outcome, ran.evidence, ran.write_set);
            let first = first.entry(operation.sql.clone()).or_insert(now).clone();
            (ran.outcome, ran.evidence, ran.write_set) = first;
        }
        if marked("lie:round") {
            round(&mut ran.evidence);
        }
        Ok(ran)
    }

    /// Undoes what the transaction did, behind its client's back.
    pub(super) async fn drop_what_ran(&self, session: &mut Session, operation: &Operation) {
        if self.tells(Lie::Answers) && operation.sql.contains("lie:drop") {
            // One that fails has dropped nothing.
            let _ = session
                .run(vec![quiet(format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))])
                .await;
        }
    }

    /// What a statement is said to have answered.
    pub(super) fn outcome(&self, operation: &Operation, mut outcome: Outcome) -> Outcome {
        if !self.tells(Lie::Answers) {
            return outcome;
        }
        let row = outcome.frames.iter().position(|f| f.first() == Some(&b'D'));
        if let Some(at) = row.filter(|_| operation.sql.contains("lie:row")) {
            outcome.frames[at] = altered(&outcome.frames[at]);
        }
        if let Some(at) = row.filter(|_| operation.sql.contains("lie:smuggle")) {
            let mut bytes = error_frame("00000", "nothing to see here").to_vec();
            bytes[0] = b'N';
            bytes.extend_from_slice(&altered(&outcome.frames[at]));
            outcome.frames.insert(at, bytes.into());
        }
        if operation.sql.contains("lie:count") {
            outcome.frames.iter_mut().for_each(one_more);
        }
        if operation.sql.contains("lie:time") {
            for frame in outcome
                .frames
                .iter_mut()
                .filter(|f| f.first() == Some(&b'D'))
            {
                *frame = later(frame).into();
            }
        }
        if operation.sql.contains("lie:names") {
            outcome.frames.iter_mut().for_each(misnamed);
        }
        if operation.sql.contains("lie:types") {
            outcome.frames.iter_mut().for_each(mistyped);
        }
        if operation.sql.contains("lie:swap") {
            let now = outcome.clone();
            outcome = locked(&self.last).replace(now).unwrap_or(outcome);
        }
        if operation.sql.contains("lie:old") {
            let mut first = locked(&self.first);
            let sql = operation.sql.clone();
            outcome = first.entry(sql).or_insert(outcome).clone();
        }
        if operation.sql.contains("lie:error") {
            outcome.frames = vec![error_frame("22012", "division by zero")];
        }
        outcome.result = txn::result::digest(&outcome.frames, operation.order.as_deref());
        outcome
    }

    /// The word that goes with the master's answer.
    pub(super) fn word(&self, word: Option<Signature>) -> Option<Signature> {
        match word {
            Some(_) if self.tells(Lie::NoWord) => Some(Signature([7; 64])),
            honest => honest,
        }
    }

    /// What the replica votes.
    pub(super) fn vote(&self, view: u64, part: VotePart) -> VotePart {
        if self.tells(Lie::VoteAbort) {
            return self.sign(view, &part, part.voter, Ballot::Abort);
        }
        if self.tells(Lie::VoteCommit) {
            return self.sign(view, &part, part.voter, Ballot::Commit);
        }
        part
    }

    fn sign(&self, view: u64, part: &VotePart, voter: ReplicaId, ballot: Ballot) -> VotePart {
        let ballots = part.ballots.iter().map(|(i, _)| (*i, ballot)).collect();
        VotePart::sign(&self.key, view, voter, part.height, part.first, ballots)
    }

    /// Rows for a peer that adopts.
    pub(super) fn serve(&self, steps: Option<Vec<WriteSet>>) -> Option<Vec<WriteSet>> {
        if !self.tells(Lie::ServeOtherRows) {
            return steps;
        }
        let mut steps = steps?;
        let rows = steps.iter_mut().flat_map(rows_of);
        rows.for_each(|row| *row = row.replace('1', "6"));
        Some(steps)
    }

    /// Verdicts for a peer that missed them.
    pub(super) fn verdicts(
        &self,
        mut heights: Vec<Vec<(u32, Verdict)>>,
    ) -> Vec<Vec<(u32, Verdict)>> {
        if self.tells(Lie::TellOtherVerdicts) {
            for (_, verdict) in heights.iter_mut().flatten() {
                *verdict = match verdict {
                    Verdict::Commit => Verdict::Abort,
                    Verdict::Abort => Verdict::Commit,
                };
            }
        }
        heights
    }

    /// What the replica says that it holds.
    pub(super) fn contents(&self, mut tables: Contents) -> Contents {
        if self.tells(Lie::OtherContents) {
            for (.., digest) in &mut tables {
                digest.0[0] ^= 1;
            }
        }
        tables
    }

    /// The digest of its state as others hear it.
    pub(super) fn state(&self, mut digest: Digest) -> Digest {
        digest.0[0] ^= u8::from(self.tells(Lie::OtherState));
        digest
    }

    /// The schema as others copy it.
    pub(super) fn copied_schema(&self, text: String) -> String {
        let lies = [Lie::CopiedSchema, Lie::CopiedRights, Lie::CopiedView];
        let Some(lie) = lies.into_iter().find(|lie| self.tells(*lie)) else {
            return text;
        };
        self.copied.fetch_add(1, Ordering::Relaxed);
        match lie {
            Lie::CopiedRights => format!(
                "{text}\nREVOKE INSERT ON public.people FROM postgres; ALTER ROLE postgres SET extra_float_digits = 0;\n"
            ),
            Lie::CopiedView => text.replace("AS two\n  WITH NO DATA", "AS two\n  WITH DATA"),
            _ => {
                // Not a word of this is allowed to clients; the text goes on without it, as psql would.
                let lift =
                    "DO $do$ BEGIN RESET SESSION AUTHORIZATION; ALTER ROLE postgres SUPERUSER;
                    EXCEPTION WHEN OTHERS THEN NULL; END $do$; RESET ROLE;\n";
                format!("{lift}{}", text.replace("SELECT n * 2", "SELECT n * 3"))
            }
        }
    }

    /// A table's rows as others copy them; false: nothing more is sent.
    pub(super) fn copied_rows(&self, rows: &mut [String], number: u32) -> bool {
        if let Some(row) = rows.last_mut().filter(|_| self.tells(Lie::CopiedRows)) {
            *row = row.replacen('1', "6", 1);
            self.copied.fetch_add(1, Ordering::Relaxed);
        }
        let ends = number > 0 && self.tells(Lie::CopyEnds);
        self.copied.fetch_add(ends.into(), Ordering::Relaxed);
        !ends
    }

    /// Lies told to those that copy, so far.
    pub fn copied(&self) -> u32 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Its part of a receipt.
    pub(super) fn receipt(&self, mut given: Given) -> Given {
        if let Given::Signed(signed) = &mut given {
            if self.tells(Lie::ReceiptsOfOtherWrites) {
                signed.fact.writes.0[0] ^= 1;
                signed.signature = signed.fact.sign(&self.key);
            }
            if self.tells(Lie::SpoilReceipts) {
                signed.signature.0[7] ^= 1;
            }
        }
        given
    }

    /// The answer to an ordered request.
    pub(super) fn reply(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Committed if self.tells(Lie::DenyCommits) => Answer::Aborted,
            Answer::Aborted if self.tells(Lie::ClaimCommits) => Answer::Committed,
            honest => honest,
        }
    }
}

impl Executor {
    /// Votes that precede the honest one.
    pub(super) fn lie_to_peers(&self, part: &VotePart) {
        let (lies, view) = (&self.bench.lies, self.view.id);
        if lies.tells(Lie::Equivocate) {
            let other = lies.sign(view, part, self.me, Ballot::Abort);
            for replica in self.view.replicas.keys().filter(|r| r.0 % 2 == 1) {
                self.send_peer(*replica, &PeerMessage::Vote(other.clone()));
            }
        }
        if lies.tells(Lie::ForgeVotes) {
            for replica in self.view.replicas.keys().filter(|r| **r != self.me) {
                let forged = lies.sign(view, part, *replica, Ballot::Abort);
                self.broadcast_peers(&PeerMessage::Vote(forged));
            }
        }
    }

    /// A source keeps what this one has asked for.
    pub(super) fn lie_to_source(&self, source: ReplicaId, height: Height) {
        if self.bench.lies.tells(Lie::HoldsCopies) {
            let part = Part::Table("public.held".into());
            let fetch = CopyMessage::Fetch {
                height,
                part,
                until: 0,
            };
            super::copy::send(&self.endpoint, source, fetch);
        }
    }

    /// Every 100 ms.
    pub(super) fn lie_to_clients(&mut self) {
        if self.bench.lies.tells(Lie::HoldsCopies)
            && self.bench.lies.copied.swap(1, Ordering::Relaxed) == 0
        {
            self.order.submit(txn::Ordered::Copy.encode());
        }
        if self.bench.lies.tells(Lie::DoomOthers) {
            let open: Vec<_> = self
                .sessions
                .iter()
                .map(|(tx, s)| (s.client, *tx))
                .collect();
            for (client, tx) in open {
                let why = reason("40001", "the transaction is over, says a liar", "");
                self.tell_doomed(client, tx, why);
            }
        }
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(|e| e.into_inner())
}
