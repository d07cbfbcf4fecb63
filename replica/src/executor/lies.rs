//! What a replica that somebody took over would do. Tests only: the feature `lies` switches it on, the command is built
//! without it, and a replica that is told nothing is honest.
//!
//! Lies about answers are told of statements that carry a marker in their text, so that one cluster can tell many stories.

use super::Executor;
use super::contents::Contents;
use super::jobs::error_frame;
use super::judge::reason;
use super::operation::Ran;
use bytes::Bytes;
use consensus::{ReplicaId, Signature};
use ed25519_dalek::SigningKey;
use pgsession::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use txn::client::{Answer, Outcome};
use txn::peer::PeerMessage;
use txn::receipt::Given;
use txn::write_set::RowChange;
use txn::{Ballot, Event, Operation, VotePart, WriteSet};

/// A way of lying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Answers to marked statements. `lie:row`: one bit of a row is another. `lie:smuggle`: a row more rides behind a
    /// notice. `lie:error`: the statement is said to have failed. `lie:write`: the write set names a row that was not
    /// written. `lie:hide`: it names nothing. `lie:old`: the answer is that of the first time. `lie:ghost`: a row is claimed that is
    /// not there. `lie:nonsense`: the key of a claimed row is none, which makes the statement fail.
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
    /// The master's word is worthless.
    NoWord,
    /// Peers that compare their tables are told that this replica holds other rows.
    OtherContents,
    /// Signatures of receipts have a bit flipped.
    SpoilReceipts,
    /// Receipts are signed rightly, for other writes than the ordered ones.
    ReceiptsOfOtherWrites,
}

/// The lies of one replica.
pub struct Lies {
    key: SigningKey,
    told: Mutex<BTreeSet<Lie>>,
    /// First answers, by statement.
    first: Mutex<BTreeMap<String, Outcome>>,
}

static ALL: Mutex<BTreeMap<[u8; 32], Arc<Lies>>> = Mutex::new(BTreeMap::new());

/// The lies of the replica with this key.
pub fn of(key: &SigningKey) -> Arc<Lies> {
    let mut all = ALL.lock().unwrap_or_else(|e| e.into_inner());
    let name = key.verifying_key().to_bytes();
    let fresh = || {
        let key = key.clone();
        Arc::new(Lies {
            key,
            told: Mutex::default(),
            first: Mutex::default(),
        })
    };
    all.entry(name).or_insert_with(fresh).clone()
}

impl Lies {
    fn told(&self) -> MutexGuard<'_, BTreeSet<Lie>> {
        self.told.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// From now on the replica tells these lies and no others.
    pub fn tell(&self, lies: &[Lie]) {
        *self.told() = lies.iter().copied().collect();
    }

    fn tells(&self, lie: Lie) -> bool {
        self.told().contains(&lie)
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
            ran.failed = true;
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
                ran.failed = true;
            }
        }
        ran.evidence.write = ran.write_set.digest();
        Ok(ran)
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
        if operation.sql.contains("lie:old") {
            let mut first = self.first.lock().unwrap_or_else(|e| e.into_inner());
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
        for event in steps.iter_mut().flat_map(|set| &mut set.events) {
            if let Event::Rows { new, .. } = event {
                new.iter_mut().for_each(|row| *row = row.replace('1', "6"));
            }
        }
        Some(steps)
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

    /// Every 100 ms.
    pub(super) fn lie_to_clients(&mut self) {
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

/// The row with one bit of its last value flipped.
fn altered(row: &Bytes) -> Bytes {
    let mut row = row.to_vec();
    if let Some(last) = row.last_mut() {
        *last ^= 1;
    }
    row.into()
}
