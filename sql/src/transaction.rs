//! Transaction control: the proxy carries these out itself, so they are read to the last token.

use crate::reader::{Problem, Reader, unsupported};
use crate::statement::{Isolation, Kind, Modes};

type Control = (Kind, &'static str);

pub(crate) fn begin(mut r: Reader<'_>) -> Result<Control, Problem> {
    r.at += 1;
    r.eat_any(&["work", "transaction"]);
    Ok((Kind::Begin(modes(&mut r)?), "BEGIN"))
}

pub(crate) fn start(mut r: Reader<'_>) -> Result<Control, Problem> {
    r.at += 1;
    r.expect(&["transaction"])?;
    Ok((Kind::Begin(modes(&mut r)?), "START TRANSACTION"))
}

pub(crate) fn commit(mut r: Reader<'_>) -> Result<Control, Problem> {
    let commit = r.tokens.word(r.at, "commit");
    r.at += 1;
    if commit && r.eat(&["prepared"]) {
        return Err(two_phase("COMMIT PREPARED"));
    }
    Ok((
        Kind::Commit {
            chain: chain(&mut r)?,
        },
        "COMMIT",
    ))
}

pub(crate) fn rollback(mut r: Reader<'_>) -> Result<Control, Problem> {
    let rollback = r.tokens.word(r.at, "rollback");
    r.at += 1;
    if rollback && r.eat(&["prepared"]) {
        return Err(two_phase("ROLLBACK PREPARED"));
    }
    let before = r;
    r.eat_any(&["work", "transaction"]);
    if rollback && r.eat(&["to"]) {
        return Ok((Kind::RollbackTo(savepoint_name(&mut r)?), "ROLLBACK"));
    }
    r = before;
    Ok((
        Kind::Rollback {
            chain: chain(&mut r)?,
        },
        "ROLLBACK",
    ))
}

pub(crate) fn savepoint(mut r: Reader<'_>) -> Result<Control, Problem> {
    r.at += 1;
    let name = r.name()?;
    r.end()?;
    Ok((Kind::Savepoint(name), "SAVEPOINT"))
}

pub(crate) fn release(mut r: Reader<'_>) -> Result<Control, Problem> {
    r.at += 1;
    Ok((Kind::Release(savepoint_name(&mut r)?), "RELEASE"))
}

pub(crate) fn two_phase(what: &str) -> Problem {
    unsupported(
        what,
        "Use COMMIT: a committed transaction is already on every replica.",
    )
    .into()
}

fn savepoint_name(r: &mut Reader<'_>) -> Result<String, Problem> {
    // SAVEPOINT is itself a possible name.
    if r.tokens.word(r.at, "savepoint") && r.at + 1 < r.tokens.len() {
        r.at += 1;
    }
    let name = r.name()?;
    r.end()?;
    Ok(name)
}

fn chain(r: &mut Reader<'_>) -> Result<bool, Problem> {
    r.eat_any(&["work", "transaction"]);
    let mut chain = false;
    if r.eat(&["and"]) {
        chain = !r.eat(&["no"]);
        r.expect(&["chain"])?;
    }
    r.end()?;
    Ok(chain)
}

/// Transaction modes up to the end of the statement; commas between them are optional.
pub(crate) fn modes(r: &mut Reader<'_>) -> Result<Modes, Problem> {
    let mut modes = Modes::default();
    while !r.done() {
        if r.eat(&["isolation", "level"]) {
            modes.isolation = Some(isolation_level(r)?);
        } else if r.eat(&["read", "only"]) {
            modes.read_only = Some(true);
        } else if r.eat(&["read", "write"]) {
            modes.read_only = Some(false);
        } else if r.eat(&["not", "deferrable"]) {
            modes.deferrable = Some(false);
        } else if r.eat(&["deferrable"]) {
            modes.deferrable = Some(true);
        } else {
            return Err(r.tokens.syntax_error(r.at).into());
        }
        if r.eat_symbol(",") && r.done() {
            return Err(r.tokens.syntax_error(r.at).into());
        }
    }
    Ok(modes)
}

fn isolation_level(r: &mut Reader<'_>) -> Result<Isolation, Problem> {
    if r.eat(&["serializable"]) {
        return Ok(Isolation::Serializable);
    }
    for (words, level) in [
        (["repeatable", "read"], Isolation::RepeatableRead),
        (["read", "committed"], Isolation::ReadCommitted),
        (["read", "uncommitted"], Isolation::ReadUncommitted),
    ] {
        if r.eat(&words) {
            return Ok(level);
        }
    }
    Err(r.tokens.syntax_error(r.at).into())
}

impl Isolation {
    /// The level that a setting's value names.
    pub fn named(value: &str) -> Option<Isolation> {
        let levels = [
            Isolation::ReadUncommitted,
            Isolation::ReadCommitted,
            Isolation::RepeatableRead,
            Isolation::Serializable,
        ];
        levels
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(value))
    }

    /// As PostgreSQL shows it.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Serializable => "serializable",
            Isolation::RepeatableRead => "repeatable read",
            Isolation::ReadCommitted => "read committed",
            Isolation::ReadUncommitted => "read uncommitted",
        }
    }
}
