//! The kind of a statement, by its first words.

use crate::content::{Content, returns_system_column};
use crate::outline::Outline;
use crate::reader::{Problem, Reader, unsupported};
use crate::settings::{self, Setting};
use crate::statement::{Cursor, Discard, Kind};
use crate::{copy, ddl, prepare, transaction};

/// A statement's kind and what goes with it.
pub(crate) struct Class {
    pub(crate) kind: Kind,
    pub(crate) tag: Option<&'static str>,
    pub(crate) pairs: Option<Vec<(String, String)>>,
    pub(crate) unvalidated: bool,
}

impl From<Kind> for Class {
    fn from(kind: Kind) -> Self {
        let unvalidated = matches!(kind, Kind::CatalogRead | Kind::Show { .. });
        Class {
            kind,
            tag: None,
            pairs: None,
            unvalidated,
        }
    }
}

impl From<(Kind, &'static str)> for Class {
    fn from((kind, tag): (Kind, &'static str)) -> Self {
        Class {
            tag: Some(tag),
            ..Class::from(kind)
        }
    }
}

impl From<Setting> for Class {
    fn from(setting: Setting) -> Self {
        Class {
            tag: setting.tag,
            pairs: setting.pairs,
            ..Class::from(setting.kind)
        }
    }
}

const NOTIFY: &str = "Write to a table and poll it.";

/// Classifies the statement that begins at `r`.
///
/// # Errors
/// [`Problem::Syntax`] for first words that PostgreSQL does not know and for broken control statements, and
/// [`Problem::Refused`] for what is not supported.
pub(crate) fn classify(
    r: Reader<'_>,
    outline: &Outline,
    content: &Content,
) -> Result<Class, Problem> {
    let first = r.tokens.text(r.at).to_ascii_lowercase();
    if r.tokens.symbol(r.at, "(") {
        return Ok(query(r, outline, content)?.into());
    }
    Ok(match first.as_str() {
        "select" => {
            let pair = settings::set_config(r.tokens);
            Class {
                pairs: pair.map(|pair| vec![pair]),
                ..query(r, outline, content)?.into()
            }
        }
        "values" | "table" | "with" => query(r, outline, content)?.into(),
        "insert" | "update" | "delete" | "merge" => write(r, outline, content)?.into(),
        "begin" => transaction::begin(r)?.into(),
        "start" => transaction::start(r)?.into(),
        "commit" | "end" => transaction::commit(r)?.into(),
        "rollback" | "abort" => transaction::rollback(r)?.into(),
        "savepoint" => transaction::savepoint(r)?.into(),
        "release" => transaction::release(r)?.into(),
        "set" => settings::set(r)?.into(),
        "reset" => settings::reset(r)?.into(),
        "show" => settings::show(r)?.into(),
        "discard" => discard(r)?.into(),
        "prepare" if !r.tokens.word(r.at + 1, "transaction") => prepare::prepare(r)?.into(),
        "execute" => prepare::execute(r)?.into(),
        "deallocate" => deallocate(r)?.into(),
        "explain" => explain(r, outline, content)?,
        "copy" => match copy::copy(r, outline)? {
            Kind::Read if content.catalog => Kind::CatalogRead.into(),
            kind => kind.into(),
        },
        "declare" => Class {
            unvalidated: content.catalog,
            ..declare(r)?.into()
        },
        "fetch" => Kind::Cursor(Cursor::Fetch).into(),
        "move" => Kind::Cursor(Cursor::Move).into(),
        "close" => Kind::Cursor(Cursor::Close).into(),
        "lock" | "call" | "do" => Kind::Write.into(),
        "create" => ddl::create(r)?.into(),
        "alter" => ddl::alter(r)?.into(),
        "drop" => ddl::drop(r)?.into(),
        "truncate" | "comment" | "refresh" | "security" => Kind::Ddl.into(),
        "grant" | "revoke" => ddl::grant(r)?.into(),
        "reindex" => ddl::reindex(r)?.into(),
        "vacuum" => Kind::Maintenance {
            transactional: false,
        }
        .into(),
        "analyze" | "analyse" => Kind::Maintenance {
            transactional: true,
        }
        .into(),
        // CLUSTER [VERBOSE] without a table goes through all of them, in transactions of their own.
        "cluster" => {
            let all = r.tokens.len() == r.at + 1
                || (r.tokens.len() == r.at + 2 && r.tokens.word(r.at + 1, "verbose"));
            Kind::Maintenance {
                transactional: !all,
            }
            .into()
        }
        _ => return Err(refused(r, &first)),
    })
}

/// Statements that are refused whole, and words that begin none.
fn refused(r: Reader<'_>, first: &str) -> Problem {
    let (what, hint) = match first {
        // PREPARE of a statement is served; see `prepare`.
        "prepare" => return transaction::two_phase("PREPARE TRANSACTION"),
        "listen" => ("LISTEN", NOTIFY),
        "notify" => ("NOTIFY", NOTIFY),
        "unlisten" => ("UNLISTEN", NOTIFY),
        "load" => (
            "LOAD",
            "Libraries are loaded by the operator, on all replicas alike.",
        ),
        "checkpoint" => ("CHECKPOINT", "Each replica's server checkpoints by itself."),
        "import" => (
            "IMPORT FOREIGN SCHEMA",
            "Other servers cannot take part in a transaction; copy the data in.",
        ),
        "reassign" => return ddl::reassign(),
        _ => return r.tokens.syntax_error(r.at).into(),
    };
    unsupported(what, hint).into()
}

/// SELECT, VALUES, TABLE, WITH, in any parentheses.
fn query(r: Reader<'_>, outline: &Outline, content: &Content) -> Result<Kind, Problem> {
    Ok(if outline.select_into.is_some() {
        Kind::Ddl
    } else if outline.modifies || outline.locks || content.moves_sequence {
        write(r, outline, content)?
    } else if content.catalog {
        Kind::CatalogRead
    } else {
        Kind::Read
    })
}

/// Rows that are written and compared must not hold what differs by nature.
fn write(r: Reader<'_>, outline: &Outline, content: &Content) -> Result<Kind, Problem> {
    if let Some(name) = &content.physical {
        let what = match name.as_str() {
            "TABLESAMPLE" => name.clone(),
            _ => format!("the function {name}"),
        };
        return Err(unsupported(
            &format!("{what} in a statement that changes rows"),
            "Read its value with a SELECT first and pass it as a parameter.",
        )
        .into());
    }
    if let Some(column) = returns_system_column(r.tokens, outline) {
        return Err(unsupported(
            &format!("RETURNING {column}"),
            "Return the key of the row: its place on disk differs between replicas.",
        )
        .into());
    }
    Ok(Kind::Write)
}

fn explain(mut r: Reader<'_>, outline: &Outline, content: &Content) -> Result<Class, Problem> {
    r.at += 1;
    let mut analyze = false;
    if r.tokens.symbol(r.at, "(")
        && !r
            .tokens
            .any_word(r.at + 1, &["select", "with", "values", "table"])
        && !r.tokens.symbol(r.at + 1, "(")
    {
        let options = r.at;
        r.skip_parentheses();
        for i in options..r.at {
            if r.tokens.any_word(i, &["analyze", "analyse"]) {
                analyze =
                    !(r.tokens.any_word(i + 1, &["false", "off"]) || r.tokens.text(i + 1) == "0");
            }
        }
    } else {
        analyze = r.eat_any(&["analyze", "analyse"]);
        r.eat(&["verbose"]);
    }
    const EXPLAINABLE: &[&str] = &[
        "select", "insert", "update", "delete", "merge", "values", "table", "with", "declare",
        "create", "refresh", "execute",
    ];
    if !r.tokens.any_word(r.at, EXPLAINABLE) && !r.tokens.symbol(r.at, "(") {
        return Err(r.tokens.syntax_error(r.at).into());
    }
    if r.tokens.word(r.at, "execute") {
        return Err(unsupported("EXPLAIN of EXECUTE", "Explain the statement itself.").into());
    }
    let inner = classify(r, outline, content)?;
    Ok(match inner.kind {
        // No event trigger sees what it makes.
        Kind::Ddl if analyze => {
            return Err(unsupported(
                "EXPLAIN ANALYZE of what makes or fills a relation",
                "Explain it without ANALYZE, or explain its query.",
            )
            .into());
        }
        Kind::Write if analyze => Class {
            unvalidated: true,
            ..inner
        },
        _ => Kind::CatalogRead.into(),
    })
}

fn declare(r: Reader<'_>) -> Result<Kind, Problem> {
    let query = (r.at..r.tokens.len())
        .find(|&i| r.tokens.word(i, "for"))
        .unwrap_or(r.tokens.len());
    match (r.at..query).any(|i| r.tokens.words(i, &["with", "hold"])) {
        true => Err(unsupported(
            "a cursor WITH HOLD",
            "Fetch inside the transaction that declares the cursor.",
        )
        .into()),
        false => Ok(Kind::Cursor(Cursor::Declare)),
    }
}

fn discard(mut r: Reader<'_>) -> Result<(Kind, &'static str), Problem> {
    r.at += 1;
    let (what, tag) = match r.tokens.text(r.at).to_ascii_lowercase().as_str() {
        "all" => (Discard::All, "DISCARD ALL"),
        "plans" => (Discard::Plans, "DISCARD PLANS"),
        "sequences" => (Discard::Sequences, "DISCARD SEQUENCES"),
        "temp" | "temporary" => (Discard::Temp, "DISCARD TEMP"),
        _ => return Err(r.tokens.syntax_error(r.at).into()),
    };
    r.at += 1;
    r.end()?;
    Ok((Kind::Discard(what), tag))
}

fn deallocate(mut r: Reader<'_>) -> Result<(Kind, &'static str), Problem> {
    r.at += 1;
    // PREPARE is itself a possible name.
    if r.tokens.word(r.at, "prepare") && r.at + 1 < r.tokens.len() {
        r.at += 1;
    }
    let all = r.tokens.word(r.at, "all");
    let name = r.name()?;
    r.end()?;
    Ok(match all {
        true => (Kind::Deallocate(None), "DEALLOCATE ALL"),
        false => (Kind::Deallocate(Some(name)), "DEALLOCATE"),
    })
}
