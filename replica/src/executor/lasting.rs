//! What of the effects of operations lasts: nothing of a statement that failed or was rolled back to a savepoint, but for the positions
//! of sequences, which no rollback takes back.

use super::opening::SAVEPOINT;
use super::unseen::Savepoint;
use sql::Kind;
use txn::{Event, Step, WriteSet};

/// What a statement leaves that was rolled back.
fn of_failed(mut write_set: WriteSet) -> WriteSet {
    write_set
        .events
        .retain(|event| matches!(event, Event::SetValue { .. }));
    write_set
}

/// The savepoints of a transaction that are there, by name and the place of the statement that made each.
#[derive(Default)]
pub struct Savepoints(Vec<(String, usize)>);

impl Savepoints {
    /// Takes down a statement of the transaction; the place of the savepoint that it rolled back to.
    pub fn note(&mut self, kind: Kind, place: usize) -> Option<usize> {
        // One that is not there makes the statement fail, and changes nothing.
        let found = |name: &str| self.0.iter().rposition(|(known, _)| known == name);
        match kind {
            Kind::Savepoint(name) => self.0.push((name, place)),
            Kind::Release(name) => {
                if let Some(at) = found(&name) {
                    self.0.truncate(at);
                }
            }
            Kind::RollbackTo(name) => {
                let at = found(&name)?;
                self.0.truncate(at + 1);
                return Some(self.0[at].1);
            }
            _ => {}
        }
        None
    }

    pub fn innermost(&self) -> Savepoint {
        let name = self.0.last().map(|(name, _)| name.replace('"', "\"\""));
        Savepoint {
            first: name.is_none(),
            quoted: name.map_or(SAVEPOINT.to_owned(), |name| format!("\"{name}\"")),
        }
    }
}

/// The write sets of a transaction's steps, those of rolled back ones as [`of_failed`] leaves them.
pub fn of_steps(steps: &[Step], mut write_sets: Vec<WriteSet>) -> Vec<WriteSet> {
    let mut savepoints = Savepoints::default();
    for (place, step) in steps.iter().enumerate() {
        let Ok(statement) = sql::statement(&step.operation.sql) else {
            continue;
        };
        if let Some(since) = savepoints.note(statement.kind, place) {
            for write_set in write_sets.iter_mut().take(place).skip(since) {
                *write_set = of_failed(std::mem::take(write_set));
            }
        }
    }
    write_sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::Digest;
    use txn::write_set::RowChange;
    use txn::{Evidence, Operation};

    fn step(sql: &str) -> Step {
        Step {
            operation: Operation::text(sql),
            evidence: Evidence {
                result: Digest([0; 32]),
                write: Digest([0; 32]),
                sequences: Vec::new(),
                claims: None,
                schema_change: false,
                adds_only: false,
                failed: false,
                unvalidated: false,
            },
        }
    }

    /// The effects of an INSERT and of a `setval`.
    fn effects(sql: &str) -> WriteSet {
        let mut write_set = WriteSet::default();
        if sql.starts_with("INSERT") {
            write_set.events = vec![
                Event::Rows {
                    table: "public.t".into(),
                    change: RowChange::Insert,
                    old: Vec::new(),
                    new: vec![sql.into()],
                },
                Event::SetValue {
                    sequence: "public.s".into(),
                    value: 1,
                    called: true,
                },
            ];
        }
        write_set
    }

    #[test]
    fn what_was_rolled_back_to_a_savepoint_is_not_adopted() {
        let steps = [
            "INSERT INTO t VALUES (1)",
            "SAVEPOINT a",
            "INSERT INTO t VALUES (2)",
            "SAVEPOINT b",
            "INSERT INTO t VALUES (3)",
            "RELEASE SAVEPOINT b",
            "ROLLBACK TO SAVEPOINT nowhere",
            "ROLLBACK TO SAVEPOINT a",
            "INSERT INTO t VALUES (4)",
            "SAVEPOINT a",
            "INSERT INTO t VALUES (5)",
            "ROLLBACK TO a",
            "INSERT INTO t VALUES (6)",
        ];
        let write_sets = steps.map(effects).to_vec();
        let lasting = of_steps(&steps.map(step), write_sets);
        let rows: Vec<&str> = lasting
            .iter()
            .flat_map(|write_set| &write_set.events)
            .filter_map(|event| match event {
                Event::Rows { new, .. } => Some(new[0].as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(
            rows,
            [1, 4, 6].map(|n| format!("INSERT INTO t VALUES ({n})"))
        );
        let positions = lasting.iter().flat_map(|write_set| &write_set.events);
        let positions = positions.filter(|event| matches!(event, Event::SetValue { .. }));
        assert_eq!(positions.count(), 6, "sequences do not go back");
    }
}
