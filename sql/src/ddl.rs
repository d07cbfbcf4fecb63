//! CREATE, ALTER, DROP, GRANT and their like: which objects are the client's to define, which are refused.

use crate::reach::TEMPORARY;
use crate::reader::{Problem, Reader, denied, unsupported};
use crate::statement::{Kind, Refusal};
use crate::tokens::Tokens;

/// Objects that are not replicated as data are; first words, their name, the hint.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &["event", "trigger"],
        "an event trigger",
        "Use ordinary triggers; SteelDB itself follows schema changes by event triggers.",
    ),
    (
        &["database"],
        "a change of databases",
        "Use schemas inside the database postgres.",
    ),
    (&["role"], "a change of roles", ROLES),
    (&["user", "mapping"], "a user mapping", FOREIGN),
    (&["user"], "a change of roles", ROLES),
    (&["group"], "a change of roles", ROLES),
    (&["owned"], "a change of roles", ROLES),
    (
        &["tablespace"],
        "a tablespace",
        "All data lie in the default tablespace of each replica.",
    ),
    (
        &["extension"],
        "an extension",
        "Extensions are installed by the operator, on all replicas alike.",
    ),
    (&["foreign"], "foreign data", FOREIGN),
    (&["server"], "foreign data", FOREIGN),
    (&["language"], "a procedural language", LANGUAGES),
    (&["trusted"], "a procedural language", LANGUAGES),
    (&["procedural"], "a procedural language", LANGUAGES),
    (
        &["access", "method"],
        "an access method",
        "Use the built-in access methods.",
    ),
    (&["publication"], "logical replication", REPLICATION),
    (&["subscription"], "logical replication", REPLICATION),
    (
        &["large", "object"],
        "a large object",
        "Store the bytes in a bytea column.",
    ),
    (
        &["system"],
        "ALTER SYSTEM",
        "Server settings belong to the operator's configuration; SET changes them for a session.",
    ),
];

const ROLES: &str = "Connect as the role postgres, which owns the database.";
const FOREIGN: &str = "Other servers cannot take part in a transaction; copy the data in, or connect to them from the client.";
const LANGUAGES: &str = "Write functions in sql or plpgsql.";
const REPLICATION: &str = "Every replica already has all data; read from SteelDB itself.";

/// Objects that CREATE, ALTER and DROP may name.
const OBJECTS: &[&str] = &[
    "aggregate",
    "cast",
    "collation",
    "conversion",
    "default",
    "domain",
    "function",
    "index",
    "materialized",
    "operator",
    "policy",
    "procedure",
    "routine",
    "rule",
    "schema",
    "sequence",
    "statistics",
    "table",
    "text",
    "transform",
    "trigger",
    "type",
    "view",
];

pub(crate) fn create(mut r: Reader<'_>) -> Result<Kind, Problem> {
    r.at += 1;
    r.eat(&["or", "replace"]);
    r.eat_any(&["global", "local"]);
    if r.tokens.any_word(r.at, &["temp", "temporary"]) {
        return Err(unsupported("a temporary object", TEMPORARY).into());
    }
    if r.eat(&["unlogged"]) {
        return Err(unlogged().into());
    }
    if r.tokens
        .words(r.at, &["extension", "if", "not", "exists", "plpgsql"])
    {
        return Ok(Kind::Ddl);
    }
    refuse_object(r)?;
    r.eat_any(&["recursive", "unique", "constraint"]);
    if !r.tokens.any_word(r.at, OBJECTS) {
        return Err(r.tokens.syntax_error(r.at).into());
    }
    let table = r.tokens.any_word(r.at, &["table", "materialized"]);
    if table && (r.at..r.tokens.len()).any(|i| r.tokens.words(i, &["as", "execute"])) {
        return Err(unsupported(
            "CREATE TABLE AS EXECUTE",
            "Write the query itself after AS.",
        )
        .into());
    }
    Ok(Kind::Ddl)
}

/// A CREATE TABLE … AS: its query runs once, now, so that nothing volatile is stored.
pub(crate) fn is_table_as(r: Reader<'_>) -> bool {
    let mut depth = 0_usize;
    r.tokens.words(0, &["create", "table"])
        && (2..r.tokens.len()).any(|i| {
            match r.tokens.text(i) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let query = r
                .tokens
                .any_word(i + 1, &["select", "with", "values", "table"])
                || r.tokens.symbol(i + 1, "(");
            depth == 0 && r.tokens.word(i, "as") && query
        })
}

pub(crate) fn alter(mut r: Reader<'_>) -> Result<Kind, Problem> {
    r.at += 1;
    refuse_object(r)?;
    if !r.tokens.any_word(r.at, OBJECTS) {
        return Err(r.tokens.syntax_error(r.at).into());
    }
    if r.tokens
        .any_word(r.at, &["table", "materialized", "view", "index"])
    {
        for i in r.at..r.tokens.len() {
            alter_table_action(Reader { at: i, ..r })?;
        }
    }
    Ok(Kind::Ddl)
}

fn alter_table_action(mut r: Reader<'_>) -> Result<(), Problem> {
    if r.at > 0 && r.tokens.symbol(r.at - 1, ".") {
        return Ok(());
    }
    if r.eat(&["set", "unlogged"]) {
        return Err(unlogged().into());
    } else if r.eat(&["enable", "always"]) || r.eat(&["enable", "replica"]) {
        return Err(unsupported(
            "a trigger or rule that fires while a replica applies another's rows",
            "Write ENABLE TRIGGER: ordinary triggers fire where the statement runs and their effects are replicated.",
        )
        .into());
    } else if (r.eat(&["enable", "trigger"]) || r.eat(&["disable", "trigger"]))
        && r.tokens
            .name(r.at)
            .is_some_and(|name| name.starts_with("steel"))
    {
        return Err(denied(
            &format!("for trigger {}", r.tokens.text(r.at)),
            "The triggers of SteelDB keep the replicas equal.",
        )
        .into());
    }
    Ok(())
}

pub(crate) fn drop(mut r: Reader<'_>) -> Result<Kind, Problem> {
    r.at += 1;
    refuse_object(r)?;
    match r.tokens.any_word(r.at, OBJECTS) {
        true => Ok(Kind::Ddl),
        false => Err(r.tokens.syntax_error(r.at).into()),
    }
}

/// GRANT and REVOKE of privileges; of roles (which have no ON) they are refused.
pub(crate) fn grant(r: Reader<'_>) -> Result<Kind, Problem> {
    match (r.at..r.tokens.len()).any(|i| r.tokens.word(i, "on")) {
        true => Ok(Kind::Ddl),
        false => Err(unsupported("a change of role membership", ROLES).into()),
    }
}

pub(crate) fn reassign() -> Problem {
    unsupported("a change of roles", ROLES).into()
}

pub(crate) fn reindex(mut r: Reader<'_>) -> Result<Kind, Problem> {
    r.at += 1;
    r.skip_parentheses();
    let object = r.at;
    if !r.eat_any(&["index", "table", "schema", "database", "system"]) {
        return Err(r.tokens.syntax_error(r.at).into());
    }
    Ok(match r.tokens.any_word(object, &["index", "table"]) {
        true => Kind::Ddl,
        false => Kind::Maintenance {
            transactional: false,
        },
    })
}

pub(crate) fn unlogged() -> Refusal {
    unsupported(
        "an unlogged table",
        "Leave out UNLOGGED: a crash would empty the table at one replica only.",
    )
}

fn refuse_object(r: Reader<'_>) -> Result<(), Problem> {
    refused_object(r.tokens, r.at).map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn refused_object(tokens: Tokens<'_>, at: usize) -> Option<Refusal> {
    let mut refused = REFUSED.iter();
    let (_, what, hint) = refused.find(|(words, ..)| tokens.words(at, words))?;
    Some(unsupported(what, hint))
}

/// Refuses of a statement within a body, which begins at `i`, what is refused by its first words at the top level.
pub(crate) fn refuse_inside(tokens: Tokens<'_>, i: usize) -> Result<(), Refusal> {
    let plpgsql = ["extension", "if", "not", "exists", "plpgsql"];
    let object = match tokens.words(i, &["create", "or", "replace"]) {
        true => i + 3,
        false => i + 1,
    };
    if tokens.any_word(i, &["create", "alter", "drop"]) && !tokens.words(object, &plpgsql) {
        return refused_object(tokens, object).map_or(Ok(()), Err);
    }
    if tokens.words(i, &["reassign", "owned"]) || grants_role(tokens, i) {
        return Err(unsupported("a change of roles", ROLES));
    }
    Ok(())
}

/// GRANT a, b TO c, and not GRANT privileges ON …, nor a name in an expression (CASE … ELSE grant END).
fn grants_role(tokens: Tokens<'_>, i: usize) -> bool {
    let names = tokens.any_word(i + 2, &["to", "from"]) || tokens.symbol(i + 2, ",");
    let end = (i..tokens.len()).find(|&at| tokens.symbol(at, ";"));
    tokens.any_word(i, &["grant", "revoke"])
        && !tokens.any_word(i + 1, &["end", "else", "when"])
        && (names || tokens.words(i + 1, &["admin", "option", "for"]))
        && !(i..end.unwrap_or(tokens.len())).any(|at| tokens.word(at, "on"))
}
