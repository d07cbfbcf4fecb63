//! One committed transaction, run again, and what of it is otherwise than its evidence says.

use crate::difference::Difference;
use consensus::Digest;
use pgsession::{Error, Outcome, Session, Statement};
use replica::executor::again::{
    AGREED, CLOSE_CURSORS, Journal, ask_journal, captured, executed, quiet, sequence_values,
    used_alike,
};
use sql::CatalogCursors;
use txn::{Event, Step, WriteSet};

/// Where an operation's outcome lies, that of the count of reports after it, and that of the count of sequence values that were
/// left over.
struct Place {
    number: usize,
    own: usize,
    journal: usize,
    rest: Option<usize>,
}

/// What was found: the statement where it is one's, and what.
pub type Found = (Option<(usize, String)>, String);

/// Runs the operations in a session that is at the transaction's snapshot after `prefix`, and commits.
///
/// # Errors
/// When the session is lost.
pub async fn run(
    session: &mut Session,
    prefix: Vec<Statement>,
    steps: &[Step],
    token: &str,
) -> Result<Vec<Found>, Error> {
    let opened = prefix.len();
    let mut statements = prefix;
    let mut places = Vec::with_capacity(steps.len());
    let mut found = Vec::new();
    let mut cursors = CatalogCursors::default();
    for (number, step) in steps.iter().enumerate() {
        if step.evidence.is_uncompared() && is_for_the_master_alone(step, &mut cursors) {
            continue;
        }
        let values = &step.evidence.sequences;
        if !values.is_empty() {
            statements.push(sequence_values(token, values, AGREED));
        }
        let own = statements.len();
        let claims = step.evidence.claims.as_ref();
        statements.push(executed(&step.operation, claims, token));
        let journal = own + 1;
        statements.push(ask_journal());
        let rest = (!values.is_empty()).then_some(journal + 1);
        if rest.is_some() {
            statements.push(quiet("SELECT steel.replay_rest()"));
        }
        places.push(Place {
            number,
            own,
            journal,
            rest,
        });
    }
    statements.push(quiet(CLOSE_CURSORS));
    let constraints = statements.len();
    statements.push(quiet("SET CONSTRAINTS ALL IMMEDIATE"));
    statements.push(quiet("COMMIT"));
    let outcomes = session.run(statements).await?;
    if let Some(error) = outcomes[..opened].iter().find_map(|o| o.error.as_ref()) {
        found.push((None, format!("it cannot be opened: {error}")));
        return Ok(found);
    }
    let mut write_sets = Vec::with_capacity(places.len());
    for place in &places {
        let step = &steps[place.number];
        let named = |what: String| {
            let shown = Difference::shown(place.number, &step.operation.sql);
            (Some(shown), what)
        };
        let mut differs = Vec::new();
        write_sets.push(compare(step, place, &outcomes, &mut differs));
        found.extend(differs.into_iter().map(named));
    }
    found.extend(ended(&outcomes[constraints..], &write_sets).map(|what| (None, what)));
    Ok(found)
}

/// Compares one operation; what it wrote here.
fn compare(
    step: &Step,
    place: &Place,
    outcomes: &[Outcome],
    differs: &mut Vec<String>,
) -> WriteSet {
    let outcome = &outcomes[place.own];
    let result = txn::result::digest(&outcome.frames, step.operation.order.as_deref());
    if result != step.evidence.result {
        let here = match &outcome.error {
            Some(error) => error.to_string(),
            None => outcome.tag.clone().unwrap_or_default(),
        };
        differs.push(format!(
            "another result ({}, here {}: {here})",
            short(step.evidence.result),
            short(result)
        ));
    }
    let written = match captured(outcome, Journal::of(&outcomes[place.journal])) {
        Ok(captured) => {
            let failed = outcome.error.is_some();
            let used = (&step.evidence.sequences, &captured.sequences);
            if failed != step.evidence.failed || !used_alike(used.0, used.1, failed) {
                differs.push("sequences used otherwise".into());
            }
            captured.write_set
        }
        Err(unreadable) => {
            differs.push(unreadable.to_string());
            WriteSet::default()
        }
    };
    let digest = written.digest();
    if digest != step.evidence.write {
        differs.push(format!(
            "other writes ({}, here {} in {} events)",
            short(step.evidence.write),
            short(digest),
            written.events.len()
        ));
    }
    let told = (step.evidence.schema_change, step.evidence.adds_only);
    if (written.schema_change(), written.adds_only()) != told {
        differs.push("a change of the schema that was not told, or none that was".into());
    }
    let left = place.rest.and_then(|at| outcomes[at].scalar());
    if outcome.error.is_none()
        && let Some(left) = left.filter(|left| left != "0")
    {
        differs.push(format!("{left} values of sequences that it does not draw"));
    }
    written
}

/// How the transaction ended, if not as the group says.
fn ended(outcomes: &[Outcome], write_sets: &[WriteSet]) -> Option<String> {
    let [constraints, commit] = outcomes else {
        return Some("its end was not answered".into());
    };
    if let Some(error) = commit.error.as_ref() {
        return Some(format!("PostgreSQL refuses the commit: {error}"));
    }
    let error = constraints.error.as_ref();
    if let Some(error) = error.filter(|error| error.sqlstate != "25P02") {
        return Some(format!("PostgreSQL refuses the commit: {error}"));
    }
    // A block that ended failed is rolled back: only positions of sequences outlast that.
    let lost = |event: &Event| !matches!(event, Event::SetValue { .. });
    let rolled_back = commit.tag.as_deref() != Some("COMMIT");
    let loses = write_sets.iter().flat_map(|set| &set.events).any(lost);
    (rolled_back && loses).then(|| "it was committed, and PostgreSQL rolls it back".into())
}

/// What only one server can answer: catalogs, plans, settings.
fn is_for_the_master_alone(step: &Step, cursors: &mut CatalogCursors) -> bool {
    use sql::Kind;
    sql::statement(&step.operation.sql).is_ok_and(|statement| {
        let alone = statement.unvalidated
            || cursors.has(&statement)
            || matches!(statement.kind, Kind::CatalogRead | Kind::Show { .. });
        cursors.executed(&statement, alone);
        alone
    })
}

fn short(digest: Digest) -> String {
    digest.0[..4].iter().map(|b| format!("{b:02x}")).collect()
}
