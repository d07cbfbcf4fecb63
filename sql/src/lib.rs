//! Text in, text out: which kind of statement a client sent, and the text that PostgreSQL executes for it.
//!
//! The text is the client's own with small splices at token positions; it is never printed back from a
//! syntax tree, which could change its meaning. Tokens are PostgreSQL's (see `lexer`); what a statement is
//! and reads follows from its tokens, because PostgreSQL's keywords are reserved where that matters. A statement
//! of a kind that is not understood is refused, never run in hope.

mod bodies;
mod classify;
mod concurrently;
mod content;
mod copy;
mod cursors;
mod ddl;
mod decode;
mod inner;
mod lexer;
mod moment;
mod order;
mod outline;
mod pieces;
mod prepare;
mod reach;
mod reader;
mod roworder;
mod settings;
mod skipping;
mod splice;
mod statement;
mod tokens;
mod transaction;
mod volatile;

pub use cursors::CatalogCursors;
pub use inner::{Reached, doubts, reached};
pub use prepare::{Call, Template};
pub use roworder::{Doubt, Limit};
pub use settings::{reported, travels};
pub use skipping::{Query, Skipping};
pub use statement::{
    Cursor, Discard, Isolation, Kind, Modes, Refusal, SplitError, Statement, Tables, setting,
    tables,
};

use reader::{Problem, Reader};
use splice::{Mapping, Splices};
use tokens::{Partners, Tokens};

/// The longest string that [`split`] and [`statement`] look at, in bytes.
pub const MAX_BYTES: usize = 64 << 20;

/// Splits a simple-query string into its statements and classifies each. A refused statement stands
/// in its place: those before it may run, as where PostgreSQL finds an error at execution. A string without any
/// statement gives one of [`Kind::Empty`].
///
/// # Errors
/// Where PostgreSQL's parser would refuse the whole string (42601), or it is longer than [`MAX_BYTES`] (54000).
pub fn split(sql: &str) -> Result<Vec<Result<Statement, Refusal>>, SplitError> {
    if sql.len() > MAX_BYTES {
        return Err(too_long());
    }
    let list = lexer::lex(sql)?;
    let mut statements = Vec::new();
    let (mut byte, mut character) = (0, 0);
    for piece in pieces::pieces(sql, &list)? {
        let tokens = Tokens {
            source: sql,
            list: &list[piece],
        };
        character += sql[byte..tokens.start(0)].chars().count();
        byte = tokens.start(0);
        match analyse(tokens, character) {
            Ok(statement) => statements.push(Ok(statement)),
            Err(Problem::Refused(refusal)) => statements.push(Err(refusal)),
            Err(Problem::Syntax(error)) => return Err(error),
        }
    }
    if statements.is_empty() {
        statements.push(Ok(empty()));
    }
    Ok(statements)
}

/// The texts of a script's statements, each from its first to its last token, whatever they are.
///
/// # Errors
/// As [`split`].
pub fn texts(script: &str) -> Result<Vec<&str>, SplitError> {
    if script.len() > MAX_BYTES {
        return Err(too_long());
    }
    let list = lexer::lex(script)?;
    let pieces = pieces::pieces(script, &list)?;
    let text = |piece: std::ops::Range<usize>| {
        let tokens = Tokens {
            source: script,
            list: &list[piece],
        };
        &script[tokens.bytes(0..tokens.len())]
    };
    Ok(pieces.into_iter().map(text).collect())
}

/// Classifies the one statement of the extended protocol's Parse.
///
/// # Errors
/// As [`split`], and 42601 when there is more than one statement.
pub fn statement(sql: &str) -> Result<Statement, Refusal> {
    let mut all = split(sql)?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        _ => Err(Refusal {
            sqlstate: "42601",
            message: "cannot insert multiple commands into a prepared statement".into(),
            hint: String::new(),
        }),
    }
}

/// The query of an executed statement (as [`Statement::text`] gives it) that locks rows and skips those that others have locked.
pub fn skipping(sql: &str) -> Option<Skipping> {
    // Most statements hold no such words: they are not read again.
    let skips = |words: &[u8]| words.eq_ignore_ascii_case(b"locked");
    if sql.len() > MAX_BYTES || !sql.as_bytes().windows(6).any(skips) {
        return None;
    }
    let list = lexer::lex(sql).ok()?;
    let tokens = Tokens {
        source: sql,
        list: &list,
    };
    let partners = Partners::of(tokens);
    let outline = outline::outline(tokens, &partners);
    let content = content::content(tokens, &outline);
    let class = classify::classify(Reader { tokens, at: 0 }, &outline, &content).ok()?;
    skipping::find(tokens, &partners, &outline, &class.kind).ok()?
}

/// `character`: where the statement begins in the client's string, in characters.
fn analyse(tokens: Tokens<'_>, character: usize) -> Result<Statement, Problem> {
    let partners = Partners::of(tokens);
    let outline = outline::outline(tokens, &partners);
    let content = content::content(tokens, &outline);
    let class = classify::classify(Reader { tokens, at: 0 }, &outline, &content)?;
    if let Some(into) = outline.select_into.filter(|_| class.kind == Kind::Ddl) {
        select_into(tokens, into)?;
    }
    let mut splices = Splices::default();
    let mut body_limits = false;
    if is_executed(&class.kind) {
        reach::check(tokens)?;
        skipping::find(tokens, &partners, &outline, &class.kind)?;
        let frozen = class.kind == Kind::Ddl
            && outline.select_into.is_none()
            && !ddl::is_table_as(Reader { tokens, at: 0 });
        volatile::rewrite(tokens, &partners, &outline, frozen, &mut splices)?;
        concurrently::leave_out(tokens, &mut splices);
        if class.kind == Kind::CopyIn {
            copy::thaw(tokens, &mut splices);
        }
        if tokens.any_word(0, &["create", "do"]) {
            body_limits = bodies::rewrite(tokens, &mut splices)?;
        }
    }
    let (text, mapping) = splices.apply(tokens.source, tokens.bytes(0..tokens.len()), character);
    let order = match class.kind {
        Kind::Read | Kind::Write if roworder::concerns(tokens) => row_order(&text),
        _ => roworder::RowOrder::default(),
    };
    Ok(Statement {
        limits: order.limits,
        doubt: order.doubt,
        body_limits,
        order_columns: match class.kind {
            Kind::Read | Kind::CatalogRead => order::order_columns(tokens, &partners, &outline),
            _ => None,
        },
        catalog_only: content.catalog_only,
        calls_user: content.calls_user,
        unvalidated: class.unvalidated,
        settings: class.pairs,
        tables: relations(&class.kind, tokens, &outline, &content),
        tag: class.tag,
        kind: class.kind,
        text,
        mapping,
    })
}

/// What depends on the order of rows in a text that is to be executed: places in it are needed, not in the client's.
fn row_order(text: &str) -> roworder::RowOrder {
    // It was cut and changed by tokens, so it lexes as it did.
    let Ok(list) = lexer::lex(text) else {
        return roworder::RowOrder::default();
    };
    let tokens = Tokens {
        source: text,
        list: &list,
    };
    let partners = Partners::of(tokens);
    roworder::find(tokens, &partners, &outline::outline(tokens, &partners))
}

/// The text reaches PostgreSQL as it is; the other kinds are the proxy's own work.
fn is_executed(kind: &Kind) -> bool {
    use Kind::*;
    matches!(
        kind,
        Read | CatalogRead | Write | CopyIn | Cursor(_) | Ddl | Maintenance { .. }
    )
}

/// SELECT … INTO of a table that would not be replicated.
fn select_into(tokens: Tokens<'_>, into: usize) -> Result<(), Refusal> {
    let target = if tokens.any_word(into + 1, &["local", "global"]) {
        into + 2
    } else {
        into + 1
    };
    if tokens.any_word(target, &["temp", "temporary"]) {
        return Err(reader::unsupported("a temporary table", reach::TEMPORARY));
    }
    if tokens.word(target, "unlogged") {
        return Err(ddl::unlogged());
    }
    Ok(())
}

fn relations(
    kind: &Kind,
    tokens: Tokens<'_>,
    outline: &outline::Outline,
    content: &content::Content,
) -> Tables {
    let queried = matches!(kind, Kind::Read | Kind::Write)
        && !tokens.any_word(0, &["do", "call", "lock", "set", "copy"]);
    match queried && !content.calls_unknown {
        true => Tables::Known(
            outline
                .relations
                .iter()
                .map(|name| name.join("."))
                .collect(),
        ),
        false => Tables::Unknown,
    }
}

fn too_long() -> SplitError {
    SplitError {
        sqlstate: "54000",
        message: format!("the query is longer than {MAX_BYTES} bytes"),
        position: 0,
    }
}

fn empty() -> Statement {
    Statement {
        text: String::new(),
        kind: Kind::Empty,
        order_columns: None,
        catalog_only: false,
        calls_user: false,
        limits: Vec::new(),
        doubt: None,
        body_limits: false,
        unvalidated: false,
        settings: None,
        tables: Tables::Known(Default::default()),
        tag: None,
        mapping: Mapping::default(),
    }
}
