//! A sequence gave a value that it had given before (decision 33): the master ends the transaction and moves the sequence on, all others
//! refuse it. Sequences that go round (CYCLE) may; the evidence says which do.

use super::adopt;
use super::jobs::{Bench, steps_of};
use super::judge::{Report, reason, unconfirmed};
use super::opening::{array, quiet};
use super::operation::Ran;
use super::{Executor, ItemState};
use consensus::Height;
use pgsession::Statement;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use txn::client::Reason;
use txn::given::Repeat;
use txn::{Ballot, Ordered, SequenceUse, TxId};

/// Sequences of which it is remembered whether they go round.
const KNOWN: usize = 4_096;

/// Which sequences go round, until the schema changes.
#[derive(Default)]
pub struct Rounds(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Changes of the schema so far.
    changes: u64,
    rounds: BTreeMap<String, bool>,
}

impl Rounds {
    pub fn forget(&self) {
        let mut known = self.locked();
        known.changes += 1;
        known.rounds.clear();
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Executor {
    /// An item is ABORT for such a value. Its master would have ended the transaction, unless the sequence was set back while it was open.
    pub(super) fn repeated(
        &mut self,
        height: Height,
        index: u32,
        ordered: &Arc<Ordered>,
        begun: Option<Height>,
        repeat: &Repeat,
    ) {
        let why = unconfirmed(format!("{}.", told(repeat)));
        let known = begun.zip(repeat.since);
        if known.is_some_and(|(begun, since)| begun >= since) {
            self.weigh(ordered, begun, &Report::differs(why.clone()));
        }
        let item = self.items.entry((height, index));
        let item = item.or_insert_with(|| ItemState::new(ordered.clone()));
        item.reason = Some(why);
    }

    /// What an operation took at the master was given before: something that is not committed has set the sequence back. It moves on to
    /// where it was, unless that may be committed still.
    pub(super) fn given_again(&mut self, tx: TxId, repeat: &Repeat) -> Reason {
        let mut others = self.sessions.iter().filter(|(other, _)| **other != tx);
        if !others.any(|(_, session)| session.taken.sets(&repeat.sequence))
            && let Some((low, high)) = self.engine.given().reach(&repeat.sequence)
        {
            let sequence = repeat.sequence.clone();
            tokio::spawn(self.bench.clone().move_on(sequence, low, high));
        }
        reason(
            "40001",
            "could not serialize access: a sequence was set back by a transaction that is not committed",
            told(repeat),
        )
    }
}

fn told(repeat: &Repeat) -> String {
    let Repeat {
        sequence, value, ..
    } = repeat;
    format!("Sequence {sequence} gave {value}, which it had given before")
}

impl Bench {
    /// At the master: says of the sequences that gave values which of them go round.
    pub(super) async fn say_rounds(&self, ran: &mut Ran) {
        let sequences = &mut ran.evidence.sequences;
        let names: BTreeSet<String> = sequences
            .iter()
            .filter(|values| values.given().next().is_some())
            .map(|values| values.sequence.clone())
            .collect();
        if names.is_empty() {
            return;
        }
        match self.which_go_round(names).await {
            Ok(round) => {
                for values in sequences.iter_mut() {
                    if round.contains(&values.sequence) {
                        values.uses.insert(0, SequenceUse::Cycled);
                    }
                }
            }
            Err(error) => tracing::warn!(error, "sequences could not be looked at"),
        }
    }

    /// A follower's judgement of an item, whose sequences are said to go round, stands only if they do.
    pub(super) async fn round(&self, ordered: &Ordered, report: Report) -> Report {
        if report.ballot != Ballot::Commit {
            return report;
        }
        let said = steps_of(ordered)
            .iter()
            .flat_map(|step| &step.evidence.sequences);
        let said = said.filter(|values| values.cycled());
        let said: BTreeSet<String> = said.map(|values| values.sequence.clone()).collect();
        if said.is_empty() {
            return report;
        }
        match self.which_go_round(said.clone()).await {
            Ok(round) => match said.difference(&round).next() {
                None => report,
                Some(name) => Report::differs(unconfirmed(format!(
                    "Sequence {name} is said to go round, and does not at {}.",
                    self.place
                ))),
            },
            Err(error) => Report::abstain(error),
        }
    }

    async fn which_go_round(&self, names: BTreeSet<String>) -> Result<BTreeSet<String>, String> {
        let (changes, unknown) = {
            let known = self.rounds.locked();
            let is_new = |name: &&String| !known.rounds.contains_key(*name);
            let unknown: Vec<String> = names.iter().filter(is_new).cloned().collect();
            (known.changes, unknown)
        };
        let mut found = BTreeSet::new();
        if !unknown.is_empty() {
            found = self.ask_rounds(&unknown).await?;
        }
        let mut known = self.rounds.locked();
        let round = |name: &String| match known.rounds.get(name) {
            Some(round) => *round,
            None => found.contains(name),
        };
        let all = names.into_iter().filter(round).collect();
        if known.changes == changes {
            if known.rounds.len() + unknown.len() > KNOWN {
                known.rounds.clear();
            }
            for name in unknown {
                let round = found.contains(&name);
                known.rounds.insert(name, round);
            }
        }
        Ok(all)
    }

    async fn ask_rounds(&self, names: &[String]) -> Result<BTreeSet<String>, String> {
        let asked = Statement {
            sql: "SELECT n FROM pg_catalog.unnest($1::text[]) n JOIN pg_catalog.pg_sequence s ON s.seqrelid = pg_catalog.to_regclass(n)
                   WHERE s.seqcycle"
                .into(),
            parameter_types: vec![1009],
            parameters: vec![Some(array(names).into())],
            cached: true,
            ..Statement::default()
        };
        let rows = self.ask(asked).await?.into_iter();
        let name = |row: Vec<Option<bytes::Bytes>>| {
            let name = row.into_iter().next().flatten()?;
            Some(String::from_utf8_lossy(&name).into_owned())
        };
        Ok(rows.filter_map(name).collect())
    }

    /// Nobody waits for it. Whoever changes the sequence may hold it for long, and knows better.
    async fn move_on(self, sequence: String, low: i64, high: i64) {
        let moved = async {
            let mut own = self.control.get().await.map_err(|e| e.to_string())?;
            let statements = vec![
                // What this session has cached would not move it.
                quiet("DISCARD SEQUENCES"),
                quiet("BEGIN"),
                quiet("SET LOCAL lock_timeout = '1s'"),
                // Towards its own end; the other one is behind it.
                adopt::advance_to(&sequence, low),
                adopt::advance_to(&sequence, high),
                quiet("COMMIT"),
            ];
            let outcomes = own.run(statements).await.map_err(|e| e.to_string())?;
            adopt::checked(outcomes).map_err(|e| e.to_string())?;
            self.control.put(own);
            Ok::<(), String>(())
        };
        let error = moved.await.err();
        tracing::warn!(
            sequence,
            error,
            "a sequence gave what it had given before, and moves on"
        );
    }
}
