//! A sequence gave a value that it had given before (decision 33): the master looks why, all others refuse it.

use super::adopt;
use super::jobs::{Bench, steps_of};
use super::judge::{Report, reason, unconfirmed};
use super::operation::Ran;
use super::{Executor, ItemState};
use consensus::Height;
use pgsession::{Session, Statement};
use std::sync::Arc;
use txn::given::Repeat;
use txn::{Ballot, Operation, Ordered, SequenceUse, Step, TxId};

use super::Note;

/// What an operation at the master took although it was given.
pub struct Again {
    pub repeat: Repeat,
    /// The lowest and the highest value that the sequence gave.
    pub reach: Option<(i64, i64)>,
}

impl Executor {
    /// An item is ABORT for such a value. Its master has looked at what it answered, and would have moved the sequence on.
    pub(super) fn repeated(
        &mut self,
        height: Height,
        index: u32,
        ordered: &Arc<Ordered>,
        begun: Option<Height>,
        repeat: &Repeat,
    ) {
        let why = unconfirmed(format!(
            "Sequence {} gave {}, which it had given before.",
            repeat.sequence, repeat.value
        ));
        self.weigh(ordered, begun, &Report::differs(why.clone()));
        let item = self.items.entry((height, index));
        let item = item.or_insert_with(|| ItemState::new(ordered.clone()));
        item.reason = Some(why);
    }
}

impl Bench {
    /// Looks why: a sequence that goes round (CYCLE) may, and the evidence says so. One that was set back by what was rolled back moves on
    /// to where it was, and the transaction ends.
    pub async fn given_again(
        self,
        tx: TxId,
        session: Session,
        operation: Operation,
        mut ran: Ran,
        again: Again,
    ) {
        let Again { repeat, reach } = again;
        match self.goes_round(&repeat.sequence).await {
            Ok(true) => {
                let mut sequences = ran.evidence.sequences.iter_mut();
                if let Some(values) = sequences.find(|s| s.sequence == repeat.sequence) {
                    values.uses.insert(repeat.at, SequenceUse::Cycled);
                }
            }
            Ok(false) => {
                let moved = self.move_on(&repeat.sequence, reach).await.err();
                tracing::warn!(sequence = repeat.sequence, value = repeat.value, error = ?moved,
                    "a sequence gave what it had given before, and moves on");
                ran.doom = Some(reason(
                    "40001",
                    "could not serialize access: a sequence was set back by a transaction that is not committed",
                    format!(
                        "Sequence {} gave {}, which it had given before.",
                        repeat.sequence, repeat.value
                    ),
                ));
            }
            Err(error) => {
                let why = "could not find out why a sequence gave what it had given before";
                ran.doom = Some(reason("40001", why, error));
            }
        }
        self.tell(Note::Ran {
            tx,
            session,
            operation,
            ran: Box::new(Ok(ran)),
        });
    }

    /// A follower's judgement of an item, whose sequences are said to have gone round, stands only if they can.
    pub(super) async fn round(&self, ordered: &Ordered, report: Report) -> Report {
        if report.ballot != Ballot::Commit {
            return report;
        }
        for sequence in cycled(steps_of(ordered)) {
            match self.goes_round(sequence).await {
                Ok(true) => {}
                Ok(false) => {
                    let detail = format!(
                        "sequence {sequence} goes round at {}, it cannot",
                        self.place
                    );
                    return Report::differs(unconfirmed(detail));
                }
                Err(error) => return Report::abstain(error),
            }
        }
        report
    }

    /// Whether a sequence begins again after its last value.
    async fn goes_round(&self, sequence: &str) -> Result<bool, String> {
        let asked = Statement {
            sql: "SELECT s.seqcycle FROM pg_catalog.pg_sequence s WHERE s.seqrelid = pg_catalog.to_regclass($1)".into(),
            parameter_types: vec![25],
            parameters: vec![Some(sequence.to_owned().into())],
            cached: true,
            ..Statement::default()
        };
        let mut own = self.control.get().await.map_err(|e| e.to_string())?;
        let outcomes = own.run(vec![asked]).await.map_err(|e| e.to_string())?;
        if let Some(error) = outcomes.iter().find_map(|outcome| outcome.error.as_ref()) {
            return Err(error.to_string());
        }
        self.control.put(own);
        Ok(outcomes
            .first()
            .and_then(|outcome| outcome.scalar())
            .as_deref()
            == Some("t"))
    }

    async fn move_on(&self, sequence: &str, reach: Option<(i64, i64)>) -> Result<(), String> {
        // Towards its own end; the other one is behind it.
        let both = reach.map(|(low, high)| [low, high]).into_iter().flatten();
        let both = both
            .map(|value| adopt::advance_to(sequence, value))
            .collect();
        let mut own = self.control.get().await.map_err(|e| e.to_string())?;
        let outcomes = own.run(both).await.map_err(|e| e.to_string())?;
        adopt::checked(outcomes).map_err(|e| e.to_string())?;
        self.control.put(own);
        Ok(())
    }
}

/// Sequences that are said to have gone round.
fn cycled(steps: &[Step]) -> impl Iterator<Item = &str> {
    let all = steps.iter().flat_map(|step| &step.evidence.sequences);
    all.filter(|values| values.cycled())
        .map(|values| values.sequence.as_str())
}
