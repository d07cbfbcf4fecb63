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
pub fn statements() -> [Statement; 3] {
    [
        quiet(CLOSE_CURSORS),
        quiet("SET CONSTRAINTS ALL IMMEDIATE"),
        quiet(UNSEEN_CHANGES),
    ]
}

/// The query of a cursor WITH HOLD runs to its end at COMMIT, which is after the vote: what it wrote nobody would have seen.
pub const CLOSE_CURSORS: &str = "CLOSE ALL";

/// Also makes whoever has the session next begin at 0 (V35).
const UNSEEN_CHANGES: &str = "SELECT roles, shared, untold, views FROM steel.unseen_changes()";

/// What a client may have left in a session is no longer there; RESET ALL leaves a role that a function took for good. Of sequences with
/// CACHE a session keeps values that it has drawn: one used later would lie below what others were given (decision 33). An error of any of
/// them means that the session is not to be used again.
pub fn clean() -> [Statement; 4] {
    [
        quiet(UNSEEN_CHANGES),
        quiet("RESET ROLE"),
        quiet("RESET ALL"),
        quiet("DISCARD SEQUENCES"),
    ]
}

/// The same after a transaction that was read-only and is rolled back: it has left no role and changed nothing.
pub fn clean_of_read() -> [Statement; 2] {
    [quiet(CANARY), quiet("RESET ALL")]
}

/// Kept in each session from its first moment on: they fail in one whose prepared statements a client's function has taken away (DEALLOCATE
/// ALL). The next transaction there could not count on what is kept.
pub fn canaries() -> [Statement; 2] {
    [quiet(CANARY), quiet(UNSEEN_CHANGES)]
}

const CANARY: &str = "SELECT 1";

/// What this replica votes, of a transaction whose operations it confirms, by the outcomes of [`statements`].
pub fn report(outcomes: &[Outcome], write_sets: Vec<WriteSet>) -> Report {
    let [_, constraints, shared] = outcomes else {
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
    let row = changes.values().next().unwrap_or_default();
    let text = |column: usize| std::str::from_utf8(row.get(column)?.as_ref()?).ok();
    let count = |column: usize| text(column)?.parse::<u64>().ok();
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
    let untold = text(2).map(str::to_owned);
    let views: Vec<String> = match text(3).map(serde_json::from_str).transpose() {
        Ok(views) => views.unwrap_or_default(),
        Err(error) => vec![error.to_string()],
    };
    let is_told = |name: &&String| {
        let mut events = events();
        events.any(|event| matches!(event, Event::Schema { object, .. } if object == *name))
    };
    let unseen = untold.or_else(|| views.iter().find(|name| !is_told(name)).cloned());
    unseen.map(|name| {
        reason(
            "0A000",
            format!("a function made the relation {name} in a way that no event trigger sees, which is not supported"),
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
