//! Where each message of a replica goes.

use std::sync::atomic::Ordering;

use consensus::ReplicaId;
use txn::TxId;
use txn::client::{Reason, ReplicaMessage, Reply};

use super::{Inner, MasterAnswer, ReadAnswer, Waiting};
use crate::shim::AuditReport;

impl Inner {
    pub(super) fn route(&self, from: ReplicaId, message: ReplicaMessage) {
        let mut waiting = self.waiting();
        match message {
            ReplicaMessage::Reply(reply) => self.reply(&mut waiting, from, reply),
            ReplicaMessage::Replies(replies) => {
                for reply in replies {
                    self.reply(&mut waiting, from, reply);
                }
            }
            ReplicaMessage::Rejected {
                incarnation,
                seq,
                reason,
            } => {
                if incarnation == self.incarnation {
                    self.rejected(&mut waiting, from, seq, reason);
                }
            }
            ReplicaMessage::MustSign { incarnation, seq } => {
                if incarnation == self.incarnation {
                    self.must_sign(&mut waiting, from, seq);
                }
            }
            ReplicaMessage::Doomed { epoch, .. } => {
                self.note_epoch(&mut waiting, from, epoch);
                if from == self.master() {
                    self.master_says(&mut waiting, message);
                }
            }
            // No other replica has a say in a transaction that is open at the master.
            ReplicaMessage::Operation { .. } => {
                if from == self.master() {
                    self.master_says(&mut waiting, message);
                }
            }
            ReplicaMessage::Brought { tx, message } => {
                self.brought(&mut waiting, from, tx, message);
            }
            ReplicaMessage::Read {
                id,
                height,
                digest,
                failed,
                outcome,
            } => {
                let answer = ReadAnswer {
                    from,
                    height,
                    digest,
                    failed,
                    outcome,
                };
                read(&mut waiting, id, answer);
            }
            ReplicaMessage::Info { id, status } => {
                self.note_epoch(&mut waiting, from, status.epoch);
                if let Some(infos) = waiting.infos.get_mut(&id) {
                    infos.give(from, (from, status));
                }
            }
            ReplicaMessage::Audit {
                incarnation,
                seq,
                height,
                tables,
                error,
            } => {
                let report = AuditReport {
                    height,
                    tables,
                    error,
                };
                if incarnation == self.incarnation
                    && let Some(audits) = waiting.audits.get_mut(&seq)
                {
                    audits.give(from, (from, report));
                }
            }
            ReplicaMessage::Receipt { id, given } => {
                if let Some(receipts) = waiting.receipts.get_mut(&id) {
                    receipts.give(from, (from, given));
                }
            }
            ReplicaMessage::Epoch { epoch, .. } => self.note_epoch(&mut waiting, from, epoch),
            ReplicaMessage::View(view) => self.announced(&mut waiting, from, *view),
        }
    }

    /// What the master says of an operation.
    pub(super) fn master_says(&self, waiting: &mut Waiting, message: ReplicaMessage) {
        match message {
            ReplicaMessage::Operation {
                tx,
                step,
                outcome,
                evidence,
                ran_at,
                word,
            } => {
                let answer = if txn::result::is_whole(&outcome.frames) {
                    MasterAnswer::Outcome {
                        outcome,
                        evidence: Box::new(evidence),
                        ran_at,
                        word,
                    }
                } else {
                    tracing::warn!(%tx, "an answer that is not whole messages");
                    MasterAnswer::Malformed
                };
                if let Some(done) = waiting.operations.remove(&(tx, step)) {
                    let _ = done.send(answer);
                }
            }
            ReplicaMessage::Doomed { tx, reason, epoch } => doom(waiting, tx, &reason, epoch),
            _ => {}
        }
    }

    /// What the master says of a transaction is worth nothing.
    pub(super) fn malformed(waiting: &mut Waiting, tx: TxId) {
        for step in steps_of(waiting, tx) {
            if let Some(done) = waiting.operations.remove(&step) {
                let _ = done.send(MasterAnswer::Malformed);
            }
        }
    }

    fn reply(&self, waiting: &mut Waiting, from: ReplicaId, reply: Reply) {
        if reply.incarnation != self.incarnation {
            return;
        }
        self.note_epoch(waiting, from, reply.epoch);
        let seq = reply.seq;
        let Some(pending) = waiting.ordered.get_mut(&seq) else {
            return;
        };
        if let Some(matched) = pending.counter.add(from, reply) {
            self.seen.fetch_max(matched.height, Ordering::Relaxed);
            self.time_ms.fetch_max(matched.time_ms, Ordering::Relaxed);
            if let Some(done) = pending.done.take() {
                let _ = done.send(Ok(matched));
            }
            waiting.ordered.remove(&seq);
        }
    }

    fn rejected(&self, waiting: &mut Waiting, from: ReplicaId, seq: u64, reason: String) {
        let Some(pending) = waiting.ordered.get_mut(&seq) else {
            return;
        };
        if let Some(why) = pending.counter.reject(from, reason) {
            if let Some(done) = pending.done.take() {
                let _ = done.send(Err(why));
            }
            waiting.ordered.remove(&seq);
        }
    }

    fn note_epoch(&self, waiting: &mut Waiting, from: ReplicaId, epoch: u64) {
        let known = waiting.epochs.entry(from).or_insert(0);
        *known = (*known).max(epoch);
        let mut named: Vec<u64> = waiting.epochs.values().copied().collect();
        named.sort_unstable_by(|a, b| b.cmp(a));
        // f+1 replicas name it or a later one: one of them is correct.
        if let Some(vouched) = named.get(self.view().one_correct() - 1) {
            self.epoch.send_if_modified(|current| {
                let moved = *vouched > *current;
                *current = (*current).max(*vouched);
                moved
            });
        }
    }
}

/// Every operation of the transaction that waits hears that it is over.
fn doom(waiting: &mut Waiting, tx: TxId, reason: &Reason, epoch: u64) {
    for step in steps_of(waiting, tx) {
        if let Some(done) = waiting.operations.remove(&step) {
            let reason = reason.clone();
            let _ = done.send(MasterAnswer::Doomed { reason, epoch });
        }
    }
}

fn steps_of(waiting: &Waiting, tx: TxId) -> Vec<(TxId, u32)> {
    let steps = waiting.operations.keys().filter(|(of, _)| *of == tx);
    steps.copied().collect()
}

fn read(waiting: &mut Waiting, id: u64, answer: ReadAnswer) {
    let frames = answer.outcome.as_ref().map(|outcome| &outcome.frames);
    if frames.is_some_and(|frames| !txn::result::is_whole(frames)) {
        tracing::warn!(from = %answer.from, "an answer that is not whole messages");
        return;
    }
    if let Some(reads) = waiting.reads.get_mut(&id) {
        reads.give(answer.from, answer);
    }
}
