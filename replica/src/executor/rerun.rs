//! Adoption where rows cannot carry the effects: the agreed operations run again, and must come to what was agreed on.

use super::adopt::{AGREED, Failure, Mark, checked, mark_statement, replay};
use super::capture;
use super::claiming;
use super::closing::CLOSE_CURSORS;
use super::cursors::{Follow, Followed};
use super::journal::{self, Journal};
use super::opening::{Opening, quiet};
use pgsession::{Outcome, Session, Statement};
use txn::Step;

/// Runs the operations of a transaction again, in a session of the clients' role, where rows cannot carry its effects.
///
/// # Errors
/// When an operation that the group accepted fails here.
pub async fn transaction(
    session: &mut Session,
    opening: &Opening,
    steps: &[Step],
    mark: Mark<'_>,
) -> Result<(), Failure> {
    let mut statements = opening.statements();
    let mut expected = vec![Expected::Success; statements.len()];
    let mut followed = Followed::default();
    for step in steps {
        let follow = followed.follow(step);
        let follow = follow.map_err(|r| Failure::Inadmissible(r.message))?;
        if follow == Follow::PassOver {
            continue;
        }
        if !step.evidence.sequences.is_empty() {
            statements.push(replay(mark.token, &step.evidence.sequences, AGREED));
            expected.push(Expected::Success);
        }
        let claimed = step.evidence.claims.as_ref();
        statements.push(claiming::executed(&step.operation, claimed, mark.token));
        statements.push(journal::ask());
        expected.extend([Expected::Step(step), Expected::Journal]);
    }
    let outcomes = session.run(statements).await?;
    if let Some(failure) = first_difference(&outcomes, &expected) {
        session.run(vec![quiet("ROLLBACK")]).await?;
        return Err(failure);
    }
    checked(
        session
            .run(vec![
                quiet(CLOSE_CURSORS),
                mark_statement(&mark),
                Statement::new("COMMIT"),
            ])
            .await?,
    )?;
    Ok(())
}

/// What a statement of [`transaction`] has to come to.
#[derive(Clone, Copy)]
enum Expected<'a> {
    Success,
    Step(&'a Step),
    /// The count of reports after the step before it.
    Journal,
}

/// What was run again must come to what was agreed on, or this replica would drift.
fn first_difference(outcomes: &[Outcome], expected: &[Expected<'_>]) -> Option<Failure> {
    for (place, (outcome, expected)) in outcomes.iter().zip(expected).enumerate() {
        let step = match expected {
            Expected::Step(step) => step,
            Expected::Journal => continue,
            Expected::Success => match &outcome.error {
                Some(error) => return Some(Failure::Refused(Box::new(error.clone()))),
                None => continue,
            },
        };
        if let Some(error) = &outcome.error {
            // Where the group agreed on an error, an error is right.
            if txn::result::digest(&outcome.frames, None) != step.evidence.result {
                return Some(Failure::Refused(Box::new(error.clone())));
            }
            continue;
        }
        let journal = outcomes.get(place + 1).unwrap_or(outcome);
        let captured = capture::of(outcome, Journal::of(journal));
        if !captured.is_ok_and(|c| c.write_set.digest() == step.evidence.write) {
            let text: String = step.operation.sql.chars().take(80).collect();
            return Some(Failure::Inadmissible(format!(
                "{text} wrote something else than agreed"
            )));
        }
    }
    None
}
