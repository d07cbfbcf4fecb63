//! Judging a transaction: its operations run at its snapshot, digests compared (DESIGN.md, 4).

use super::adopt;
use super::capture;
use super::claiming;
use super::closing;
use super::cursors::{Follow, Followed};
use super::journal::{self, Habit, Journal};
use super::opening::{Opening, quiet};
use pgsession::{Error, ErrorFields, Outcome, Session, Statement};
use txn::client::{Reason, UNCONFIRMED};
use txn::ordered::OWNER;
use txn::{Ballot, Isolation, Operation, Step, WriteSet};

/// What became of a judging run.
#[derive(Debug)]
pub struct Report {
    pub ballot: Ballot,
    /// Why not COMMIT.
    pub reason: Option<Reason>,
    /// One per step, when the ballot is COMMIT.
    pub write_sets: Vec<WriteSet>,
    /// Another result or other rows than claimed, from a statement that PostgreSQL carried out here.
    pub differs: bool,
    /// A step of which its text does not tell why.
    pub unexplained: Option<usize>,
    /// Cancelled or chosen as a deadlock's victim: run again.
    pub again: bool,
    /// The session is not to be used any more.
    pub lost: bool,
}

impl Report {
    pub fn commit(write_sets: Vec<WriteSet>) -> Report {
        Report {
            ballot: Ballot::Commit,
            reason: None,
            write_sets,
            differs: false,
            unexplained: None,
            again: false,
            lost: false,
        }
    }

    pub fn abstain(message: impl Into<String>) -> Report {
        Report {
            ballot: Ballot::Abstain,
            reason: Some(reason("40001", message, "")),
            write_sets: Vec::new(),
            differs: false,
            unexplained: None,
            again: false,
            lost: false,
        }
    }

    /// Local trouble, after which another run may succeed.
    pub fn interrupted_by(error: &ErrorFields) -> Report {
        Report {
            again: interrupted(&error.sqlstate),
            ..Report::abstain(error.message.clone())
        }
    }

    /// The master's answers are not what comes of the operations here.
    pub fn differs(reason: Reason) -> Report {
        Report {
            differs: true,
            ..Report::abort(reason)
        }
    }

    pub fn abort(reason: Reason) -> Report {
        Report {
            ballot: Ballot::Abort,
            reason: Some(reason),
            write_sets: Vec::new(),
            differs: false,
            unexplained: None,
            again: false,
            lost: false,
        }
    }
}

impl Report {
    /// Whose answer or rows differ.
    fn of_step(self, number: usize, step: &Step) -> Report {
        Report {
            unexplained: advice(step).is_empty().then_some(number),
            ..self
        }
    }
}

pub fn reason(sqlstate: &str, message: impl Into<String>, detail: impl Into<String>) -> Reason {
    Reason {
        sqlstate: sqlstate.into(),
        message: message.into(),
        detail: detail.into(),
    }
}

/// How the operations' session is brought to the right state first.
pub enum Start {
    /// It took its snapshot and did nothing since.
    AtSnapshot,
    /// It ran something: back to the savepoint.
    Again(Opening),
    /// A transaction is opened here (autocommit).
    Open(Opening),
    /// It is in a transaction of its own that is ended first, then opened again (autocommit).
    Reopen(Opening),
}

impl Start {
    /// The role of the session that it needs.
    pub fn role(&self) -> &str {
        match self {
            // It has one, or cannot be judged.
            Start::AtSnapshot => OWNER,
            Start::Again(opening) | Start::Open(opening) | Start::Reopen(opening) => opening.role(),
        }
    }

    /// Whether a SERIALIZABLE transaction is judged at its place: a difference is then a conflict first of all.
    fn is_serializable(&self) -> bool {
        match self {
            Start::Open(opening) | Start::Reopen(opening) => {
                opening.promised == Isolation::Serializable
            }
            Start::AtSnapshot | Start::Again(_) => false,
        }
    }
}

/// Where in the pipeline's outcomes a step's lie.
struct Place {
    own: usize,
    /// The count of reports after it, where it was asked for.
    journal: Option<usize>,
    /// The count of sequence values that it left over, where it was given some.
    rest: Option<usize>,
    /// The query for the rows that the master claims.
    claims: Option<usize>,
    /// That its answer differs is nobody's lie.
    unblamed: bool,
}

/// SQLSTATE of a recorded value that lies too far ahead of where its sequence stands.
const OUT_OF_WINDOW: &str = "ST003";

/// Runs the steps in a session and compares. `window`: draws by which a value of a sequence may lie ahead; `place` names this
/// replica in messages.
pub async fn run(
    session: &mut Session,
    start: Start,
    steps: &[Step],
    token: &str,
    window: u64,
    place: &str,
    habit: &Habit,
) -> Report {
    let mut statements: Vec<Statement> = match &start {
        Start::AtSnapshot => Vec::new(),
        Start::Again(opening) => opening.again(),
        Start::Open(opening) => opening.statements(),
        Start::Reopen(opening) => {
            let mut statements = vec![quiet("ROLLBACK")];
            statements.extend(opening.statements());
            statements
        }
    };
    let serializable = start.is_serializable();
    let prefix = statements.len();
    let asks = habit.is_seen();
    let mut places: Vec<Option<Place>> = Vec::with_capacity(steps.len());
    let mut followed = Followed::default();
    for step in steps {
        let unblamed = match followed.follow(step) {
            Ok(Follow::Execute) => false,
            Ok(Follow::ExecuteUnblamed) => true,
            Ok(Follow::PassOver) => {
                places.push(None);
                continue;
            }
            Err(why) => return Report::abort(why),
        };
        let claims = match claiming::check(step) {
            Ok(check) => check.map(|check| {
                statements.push(check);
                statements.len() - 1
            }),
            Err(report) => return report,
        };
        let replays = !step.evidence.sequences.is_empty();
        if replays {
            statements.push(adopt::replay(token, &step.evidence.sequences, window));
        }
        let claimed = step.evidence.claims.as_ref();
        statements.push(claiming::executed(&step.operation, claimed, token));
        let own = statements.len() - 1;
        let mut and = |statement| {
            statements.push(statement);
            statements.len() - 1
        };
        let journal = (asks || step.evidence.schema_change).then(|| and(journal::ask()));
        let rest = replays.then(|| and(quiet("SELECT steel.replay_rest()")));
        places.push(Some(Place {
            own,
            journal,
            rest,
            claims,
            unblamed,
        }));
    }
    let steps_end = statements.len();
    statements.extend(closing::statements());
    let outcomes = match session.run(statements).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            return Report {
                lost: !matches!(error, Error::TooLarge { .. } | Error::Invalid(_))
                    || session.is_broken(),
                ..Report::abstain(format!("{place} could not judge: {error}"))
            };
        }
    };
    let (executed, closing) = outcomes.split_at(steps_end.min(outcomes.len()));
    let mut report = compare(executed, closing, prefix, &places, steps, place, habit);
    let conflict = |why: &&mut Reason| serializable && why.sqlstate == "40001";
    if let Some(why) = report.reason.as_mut().filter(conflict)
        && report.ballot == Ballot::Abort
    {
        why.message =
            "could not serialize access due to read/write dependencies among transactions".into();
    }
    report
}

fn compare(
    outcomes: &[Outcome],
    closing: &[Outcome],
    prefix: usize,
    places: &[Option<Place>],
    steps: &[Step],
    place: &str,
    habit: &Habit,
) -> Report {
    if let Some(error) = outcomes[..prefix].iter().find_map(|o| o.error.as_ref()) {
        let detail = format!("{place}: {}", error.message);
        return match local(&error.sqlstate) {
            true => Report {
                again: interrupted(&error.sqlstate),
                ..Report::abstain(detail)
            },
            false => Report::abort(reason(
                "40001",
                "the transaction could not be opened at all replicas",
                detail,
            )),
        };
    }
    let mut write_sets = Vec::with_capacity(steps.len());
    for (number, (step, found)) in steps.iter().zip(places).enumerate() {
        let Some(Place {
            own,
            journal,
            rest,
            claims,
            unblamed,
        }) = found
        else {
            write_sets.push(WriteSet::default());
            continue;
        };
        if let (Some(at), Some(claims)) = (claims, &step.evidence.claims) {
            let named = format!("{} at {place}", what(number, step));
            if let Some(report) = claiming::found(&outcomes[*at], claims, &named) {
                return report;
            }
        }
        let outcome = &outcomes[*own];
        let result = txn::result::digest(&outcome.frames, step.operation.order.as_deref());
        if let Some(error) = outcome
            .error
            .as_ref()
            .filter(|_| result != step.evidence.result)
        {
            if local(&error.sqlstate) {
                return Report {
                    again: interrupted(&error.sqlstate),
                    ..Report::abstain(format!("{place} could not judge: {}", error.message))
                };
            }
            if error.sqlstate == "40001" {
                return Report::abort(reason("40001", error.message.clone(), what(number, step)));
            }
            let detail = format!(
                "{}: {place} answers {} ({})",
                what(number, step),
                error.sqlstate,
                error.message
            );
            // No statement of a client draws such a value: the master says that one did.
            return match error.sqlstate == OUT_OF_WINDOW {
                true => Report::differs(unconfirmed(detail)),
                false => Report::abort(unconfirmed(detail)),
            };
        }
        // Before the results: what the master refused for this reason was carried out here, and blames nobody.
        let journal = journal.map_or(Journal::Unasked, |at| Journal::of(&outcomes[at]));
        let captured = match capture::of(outcome, journal) {
            Ok(captured) => captured,
            Err(capture::Fault::Journal(journal::Fault::Doubtful)) => {
                habit.see();
                return Report {
                    again: true,
                    ..Report::abstain("functions of clients changed rows for the first time here")
                };
            }
            Err(fault @ capture::Fault::Journal(journal::Fault::Reset)) => {
                return Report::abort(reason("0A000", fault.to_string(), what(number, step)));
            }
            Err(fault) => return Report::abstain(fault.to_string()),
        };
        if result != step.evidence.result {
            let why = unconfirmed(format!(
                "{}: another result at {place}.{}",
                what(number, step),
                advice(step)
            ));
            // A query that skips may be refused at the master before it has claimed any row. That it runs here blames nobody.
            let refused =
                step.evidence.claims.is_none() && claiming::skipping(&step.operation).is_some();
            let report = match refused || *unblamed {
                true => Report::abort(why),
                false => Report::differs(why),
            };
            return report.of_step(number, step);
        }
        let digest = captured.write_set.digest();
        if digest != step.evidence.write
            || captured.write_set.schema_change() != step.evidence.schema_change
            || captured.write_set.adds_only() != step.evidence.adds_only
        {
            let report = Report::differs(unconfirmed(format!(
                "{}: other rows written at {place}.{}",
                what(number, step),
                advice(step)
            )));
            return report.of_step(number, step);
        }
        let failed = outcome.error.is_some();
        let used = (&step.evidence.sequences, &captured.sequences);
        if failed != step.evidence.failed || !capture::used_alike(used.0, used.1, failed) {
            return Report::differs(unconfirmed(format!(
                "{}: sequences used otherwise at {place}.",
                what(number, step)
            )));
        }
        if !failed
            && let Some(at) = rest
            && outcomes[*at].scalar().as_deref() != Some("0")
        {
            return Report::abort(unconfirmed(format!(
                "{}: more sequence values than {place} used.",
                what(number, step)
            )));
        }
        write_sets.push(captured.write_set);
    }
    closing::report(closing, write_sets)
}

pub fn unconfirmed(detail: String) -> Reason {
    reason("40001", UNCONFIRMED, detail)
}

fn what(number: usize, step: &Step) -> String {
    let text: String = step.operation.sql.chars().take(80).collect();
    format!("Statement {} ({text})", number + 1)
}

/// What its author can do about a statement whose answers differ, with a space before it.
fn advice(step: &Step) -> String {
    let statement = sql::statement(&step.operation.sql).ok();
    let advice = statement.and_then(|statement| statement.advice());
    advice.map_or_else(String::new, |advice| format!(" {advice}"))
}

/// Whether followers execute this operation (`false`: it is answered by the master alone), or why no replica may.
///
/// Every replica decides this by itself: nobody trusts the proxy's classification.
pub fn admissible(operation: &Operation, unvalidated: bool) -> Result<bool, Reason> {
    use sql::Kind;
    // Whose it is has been looked at before: see `provision`.
    if txn::provision::is_provision(operation) {
        return Ok(true);
    }
    let statement =
        sql::statement(&operation.sql).map_err(|r| reason(r.sqlstate, r.message, r.hint))?;
    if statement.text != operation.sql {
        return Err(reason(
            "0A000",
            "the statement is not in the form that replicas execute",
            "Its volatile parts were not replaced.",
        ));
    }
    match statement.kind {
        Kind::Savepoint(name) | Kind::Release(name) | Kind::RollbackTo(name)
            if name == super::opening::SAVEPOINT =>
        {
            Err(reason(
                "42939",
                format!("the savepoint name {name} is reserved"),
                "Choose another name.",
            ))
        }
        Kind::Savepoint(_)
        | Kind::Release(_)
        | Kind::RollbackTo(_)
        | Kind::Set { .. }
        | Kind::Reset { .. } => Ok(true),
        Kind::Read | Kind::Write | Kind::CopyIn | Kind::Cursor(_) | Kind::Ddl => {
            Ok(!(unvalidated && statement.unvalidated))
        }
        Kind::CatalogRead | Kind::Show { .. } => Ok(!unvalidated),
        Kind::Maintenance {
            transactional: true,
        } => Ok(true),
        _ => Err(reason(
            "0A000",
            "this statement cannot be an operation of a transaction",
            "",
        )),
    }
}

/// SQLSTATEs of local trouble: ABSTAIN, never ABORT.
pub fn local(sqlstate: &str) -> bool {
    interrupted(sqlstate)
        || ["53", "58", "57P", "XX", "55P03"]
            .iter()
            .any(|class| sqlstate.starts_with(class))
}

/// The run was interrupted, not the data at fault.
fn interrupted(sqlstate: &str) -> bool {
    matches!(sqlstate, "57014" | "40P01")
}
