//! What PostgreSQL has to say when the operations of a transaction are done, before its replica votes.

use super::capture;
use super::journal::Journal;
use super::judge::{Report, local, reason};
use super::opening::quiet;
use pgsession::{Outcome, Statement};
use txn::client::Reason;
use txn::{Event, WriteSet};

/// Deferred constraints speak before the commit is agreed, or PostgreSQL could refuse it afterwards; then it tells whether what
/// no event trigger sees was changed.
pub fn statements() -> [Statement; 2] {
    [
        quiet("SET CONSTRAINTS ALL IMMEDIATE"),
        quiet(UNSEEN_CHANGES),
    ]
}

/// Also makes whoever has the session next begin at 0 (V35).
const UNSEEN_CHANGES: &str = "SELECT roles, shared, relations FROM steel.unseen_changes()";

/// What a client may have left in a session is no longer there; RESET ALL leaves a role that a function took for good.
pub fn clean() -> Vec<Statement> {
    [
        UNSEEN_CHANGES,
        "CLOSE ALL",
        "DISCARD TEMP",
        "RESET ROLE",
        "RESET ALL",
    ]
    .map(quiet)
    .into()
}

/// What this replica votes, of a transaction whose operations it confirms, by the outcomes of [`statements`].
pub fn report(outcomes: &[Outcome], write_sets: Vec<WriteSet>) -> Report {
    let [constraints, shared] = outcomes else {
        return Report::abstain("PostgreSQL did not say how the transaction ends");
    };
    // A block that ended failed.
    if constraints
        .error
        .as_ref()
        .is_some_and(|e| e.sqlstate == "25P02")
    {
        return match would_be_lost(&write_sets) {
            true => Report::abort(failed_block()),
            false => Report::commit(write_sets),
        };
    }
    if let Some(error) = constraints.error.as_ref().or(shared.error.as_ref()) {
        if local(&error.sqlstate) {
            return Report::interrupted_by(error);
        }
        let detail = error.detail.clone().unwrap_or_default();
        return Report::abort(reason(&error.sqlstate, error.message.clone(), detail));
    }
    if let Some(why) = deferred(constraints).or_else(|| unseen(shared, &write_sets)) {
        return Report::abort(why);
    }
    Report::commit(write_sets)
}

/// Whether a block that ended failed, which PostgreSQL rolls back whatever is said, holds effects that others would adopt.
fn would_be_lost(write_sets: &[WriteSet]) -> bool {
    let mut events = write_sets.iter().flat_map(|write_set| &write_set.events);
    events.any(|event| !matches!(event, Event::SetValue { .. }))
}

/// Why a transaction cannot be committed whose deferred triggers changed rows when constraints were made immediate: that is in
/// no operation's digest, and whoever adopts would not have it.
fn deferred(immediate: &Outcome) -> Option<Reason> {
    let changed = match capture::of(immediate, Journal::Unasked) {
        Ok(captured) => would_be_lost(&[captured.write_set]),
        Err(_) => true,
    };
    changed.then(|| {
        reason(
            "0A000",
            "a deferred trigger changed rows at the end of the transaction, which is not supported",
            "SET CONSTRAINTS ALL IMMEDIATE before COMMIT, or make the trigger NOT DEFERRABLE.",
        )
    })
}

/// Why a transaction cannot be committed that changed what nothing tells of, by SQL that nobody could read before it ran: whoever adopts
/// rows would not have it. Who adopts a change of the schema runs everything again, and has it; but sessions keep the settings that
/// their role had when they logged in, so those are changed for an administrator alone.
fn unseen(changes: &Outcome, write_sets: &[WriteSet]) -> Option<Reason> {
    let count = |column: usize| {
        let row = changes.values().next()?;
        let text = row.get(column)?.as_ref()?;
        std::str::from_utf8(text).ok()?.parse::<u64>().ok()
    };
    let events = || write_sets.iter().flat_map(|write_set| &write_set.events);
    let told = |by: &dyn Fn(&str) -> bool| {
        let mut events = events();
        events.any(|event| matches!(event, Event::Schema { tag, .. } if by(tag)))
    };
    let by_anything = told(&|_| true);
    if count(0) != Some(0) && !told(&|tag| tag == "PROVISION")
        || count(1) != Some(0) && !by_anything
    {
        return Some(reason(
            "0A000",
            "a function changed a role, a setting of one, or the database itself, which is not supported",
            "ALTER ROLE, ALTER DATABASE, GRANT ON DATABASE and their like may not be built at run time: nothing tells \
             the other replicas of them.",
        ));
    }
    (count(2) != Some(0) && !by_anything).then(|| {
        reason(
            "0A000",
            "a function made a relation that no event trigger saw, which is not supported",
            "EXPLAIN ANALYZE of CREATE TABLE AS and of SELECT INTO may not be built at run time: explain the query.",
        )
    })
}

fn failed_block() -> Reason {
    reason(
        "25P02",
        "the transaction ended in a failed statement and cannot be committed",
        "",
    )
}
