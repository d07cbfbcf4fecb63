//! Queries that lock rows and skip those that others have locked (`FOR UPDATE SKIP LOCKED`).
//!
//! Which rows they get is a matter of timing, so the master finds out and everybody takes exactly those: the master runs the
//! locking query by itself ([`Skipping::claim`]) and notes the keys of its rows, and the statement is executed, at the master too, as a plain
//! lock of these rows ([`Skipping::replay`]).

use crate::content::{Grammar, cte_names, is_users_call};
use crate::lexer::TokenKind;
use crate::outline::Outline;
use crate::reader::unsupported;
use crate::statement::{Kind, Refusal};
use crate::tokens::{Partners, Tokens};
use std::collections::BTreeSet;
use std::ops::Range;

mod queries;

/// What a statement's locking query is made of; ranges are bytes of the statement's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipping {
    source: String,
    table: String,
    alias: String,
    query: Range<usize>,
    list_end: usize,
    from_end: usize,
    condition: Option<Range<usize>>,
    limit: Option<Range<usize>>,
    skip_locked: Range<usize>,
    parameters: Vec<(Range<usize>, usize)>,
}

/// A query made of a part of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub text: String,
    /// For each of its parameters, in order, the statement's parameter (from 0) that it is.
    pub parameters: Vec<usize>,
}

/// Functions that answer otherwise at each call, or whose calls are counted: the locking query runs on its own and
/// then once more inside its statement.
const COUNTED: &[&str] = &[
    "random",
    "setseed",
    "gen_random_uuid",
    "clock_timestamp",
    "timeofday",
    "nextval",
    "setval",
    "currval",
    "lastval",
    "set_config",
];

const IN_A_FUNCTION: &str =
    "Run the query with SKIP LOCKED as a statement of its own, outside of functions and DO blocks.";

/// 0A000 for SKIP LOCKED in the body of a function or a DO block.
pub(crate) fn refuse_inside(tokens: Tokens<'_>) -> Result<(), Refusal> {
    match (0..tokens.len()).any(|i| skips(tokens, i)) {
        true => Err(unsupported("SKIP LOCKED inside a function", IN_A_FUNCTION)),
        false => Ok(()),
    }
}

/// SKIP LOCKED behind FOR UPDATE or its like, at `i`; both words may be names elsewhere.
fn skips(tokens: Tokens<'_>, i: usize) -> bool {
    if i == 0 || !tokens.words(i, &["skip", "locked"]) {
        return false;
    }
    let mut before = i - 1;
    while before > 1 && tokens.any_symbol(before - 1, &[",", "."]) {
        before -= 2;
    }
    tokens.any_word(i - 1, &["update", "share"]) || (before > 0 && tokens.word(before - 1, "of"))
}

/// The locking query of a statement, if it has one that skips.
///
/// # Errors
/// 0A000 where it is not plain which rows of which table are skipped.
pub(crate) fn find(
    tokens: Tokens<'_>,
    partners: &Partners,
    outline: &Outline,
    kind: &Kind,
) -> Result<Option<Skipping>, Refusal> {
    let mut all = (0..tokens.len()).filter(|&i| skips(tokens, i));
    let Some(skip) = all.next() else {
        return Ok(None);
    };
    if *kind == Kind::CatalogRead && tokens.word(0, "explain") {
        // Explained and not executed.
        return Ok(None);
    }
    let begins = tokens.symbol(0, "(")
        || tokens.any_word(
            0,
            &["select", "with", "insert", "update", "delete", "merge"],
        );
    if *kind != Kind::Write || !begins {
        return Err(unsupported(
            "SKIP LOCKED in this statement",
            "Run the SELECT with SKIP LOCKED as a statement of its own.",
        ));
    }
    if all.next().is_some() {
        return Err(unsupported(
            "SKIP LOCKED twice in one statement",
            "Use one statement for each.",
        ));
    }
    let locking = Locking::around(tokens, partners, outline, skip)?;
    let mut ctes = cte_names(tokens);
    if let Some(own) = locking.own_name() {
        // Inside of what it names, the name is a table's.
        ctes.remove(&own);
    }
    locking.check(&ctes)?;
    locking.skipping().map(Some)
}

/// The query around a SKIP LOCKED, in tokens.
struct Locking<'a> {
    tokens: Tokens<'a>,
    partners: &'a Partners,
    select: usize,
    end: usize,
    from: usize,
    /// Where the FROM clause ends.
    from_end: usize,
    condition: Option<Range<usize>>,
    limit: Option<Range<usize>>,
    skip: usize,
    /// The table that the clause locks, by its name after OF.
    of: Option<String>,
}

impl<'a> Locking<'a> {
    fn around(
        tokens: Tokens<'a>,
        partners: &'a Partners,
        outline: &Outline,
        skip: usize,
    ) -> Result<Locking<'a>, Refusal> {
        let open = (0..skip)
            .rev()
            .find(|&i| tokens.symbol(i, "(") && partners.get(i).is_none_or(|close| close > skip));
        let select = open.map_or(0, |open| open + 1);
        let end = open
            .and_then(|open| partners.get(open))
            .unwrap_or(tokens.len());
        if !tokens.word(select, "select") {
            return Err(unsupported(
                "SKIP LOCKED in this place",
                "Put the locking query in parentheses of its own: WITH q AS (SELECT … FOR UPDATE SKIP LOCKED) …",
            ));
        }
        let mut clauses: Vec<(usize, String)> = Vec::new();
        let mut from = None;
        let mut i = select + 1;
        while i < end {
            if tokens.symbol(i, "(") || tokens.symbol(i, "[") {
                i = partners.get(i).map_or(end, |close| close + 1);
                continue;
            }
            if from.is_none() && outline.from_clauses.contains(&i) {
                from = Some(i);
            } else if from.is_some() && !tokens.is_label(i) && tokens.any_word(i, CLAUSES) {
                clauses.push((i, tokens.text(i).to_ascii_lowercase()));
            }
            i += 1;
        }
        let Some(from) = from else {
            return Err(no_table());
        };
        let first = |name: &str| clauses.iter().find(|(_, word)| word == name);
        for word in ["union", "intersect", "except", "offset", "group", "having"] {
            if first(word).is_some() {
                return Err(unsupported(
                    &format!("SKIP LOCKED with {}", word.to_ascii_uppercase()),
                    "Leave it out of the query that locks.",
                ));
            }
        }
        let after = |at: usize| {
            let next = clauses.iter().find(|(place, _)| *place > at);
            next.map_or(end, |(place, _)| *place)
        };
        let condition = first("where").map(|(at, _)| at + 1..after(*at));
        let limit = first("limit").or_else(|| first("fetch"));
        let limit = limit.map(|(at, _)| *at..after(*at));
        let locks = clauses
            .iter()
            .rev()
            .find(|(at, word)| word == "for" && *at < skip);
        let of = match locks {
            Some((at, _)) => of_clause(tokens, *at, skip)?,
            None => return Err(no_table()),
        };
        Ok(Locking {
            tokens,
            partners,
            select,
            end,
            from,
            from_end: after(from),
            condition,
            limit,
            skip,
            of,
        })
    }

    /// What WITH calls the query, if it is one of its queries: `name [(columns)] AS [[NOT] MATERIALIZED] (`.
    fn own_name(&self) -> Option<String> {
        let tokens = self.tokens;
        let mut at = self.select.checked_sub(2)?;
        while tokens.any_word(at, &["materialized", "not"]) {
            at = at.checked_sub(1)?;
        }
        let before = at.checked_sub(1).filter(|_| tokens.word(at, "as"))?;
        match tokens.symbol(before, ")") {
            true => tokens.name(self.partners.get(before)?.checked_sub(1)?),
            false => tokens.name(before),
        }
    }

    /// What must not stand in a query that is run on its own as well.
    fn check(&self, ctes: &BTreeSet<String>) -> Result<(), Refusal> {
        let tokens = self.tokens;
        let grammar = Grammar::of(tokens);
        for i in self.select..self.end {
            let Some(name) = tokens.name(i) else { continue };
            if ctes.contains(&name) && !(i > 0 && tokens.symbol(i - 1, ".")) {
                return Err(unsupported(
                    "SKIP LOCKED in a query that reads another part of its statement",
                    "Let the locking query stand for itself: name tables, not the names that WITH defines.",
                ));
            }
            let called = tokens.symbol(i + 1, "(");
            if called && COUNTED.contains(&name.as_str()) {
                return Err(unsupported(
                    &format!("the function {name} in a query with SKIP LOCKED"),
                    "Pass its value as a parameter, or order by a column.",
                ));
            }
            if is_users_call(tokens, i, ctes, &grammar) {
                return Err(unsupported(
                    &format!("the function {name} in a query with SKIP LOCKED"),
                    "Functions of your own may change rows: call it in the statement around, or in the next one.",
                ));
            }
        }
        Ok(())
    }

    /// The table that is locked, as written, and the name by which its columns are known.
    fn locked(&self) -> Result<(String, String), Refusal> {
        let tokens = self.tokens;
        let mut found = Vec::new();
        let mut i = self.from + 1;
        let mut expect = true;
        while i < self.from_end {
            if expect && tokens.any_word(i, &["only", "lateral"]) {
                i += 1;
                continue;
            }
            if tokens.symbol(i, "(") {
                if expect {
                    // A subquery, a join in parentheses: its tables are not followed.
                    found.push(None);
                }
                expect = false;
                i = self
                    .partners
                    .get(i)
                    .map_or(self.from_end, |close| close + 1);
                continue;
            }
            if !expect {
                expect = tokens.symbol(i, ",") || tokens.word(i, "join");
                i += 1;
                continue;
            }
            expect = false;
            let Some((_, mut next)) = tokens.qualified(i) else {
                i += 1;
                continue;
            };
            let table = i..next;
            if tokens.symbol(next, "(") {
                found.push(None);
                i = next;
                continue;
            }
            if tokens.symbol(next, "*") {
                next += 1;
            }
            if tokens.word(next, "as") {
                next += 1;
            }
            let alias = match next < self.from_end
                && tokens.name(next).is_some()
                && !tokens.any_word(next, AFTER_A_TABLE)
                && !tokens.any_word(next, CLAUSES)
            {
                true => next,
                false => table.end - 1,
            };
            // With a list of columns behind it the names are others than the key's.
            let renamed = alias == next && tokens.symbol(next + 1, "(");
            found.push((!renamed).then_some((table, alias)));
            i = next;
        }
        let named = |of: &String| {
            let mut known = found.iter().flatten();
            known
                .find(|(_, alias)| tokens.name(*alias).as_ref() == Some(of))
                .cloned()
        };
        let locked = match &self.of {
            Some(of) => named(of),
            None if found.len() == 1 => found.pop().flatten(),
            None => {
                return Err(unsupported(
                    "SKIP LOCKED over several tables",
                    "Name the table to lock: FOR UPDATE OF table SKIP LOCKED.",
                ));
            }
        };
        let (table, alias) = locked.ok_or_else(no_table)?;
        let text = |range: Range<usize>| tokens.source[tokens.bytes(range)].to_owned();
        Ok((text(table), text(alias..tokens.after(alias))))
    }

    fn skipping(&self) -> Result<Skipping, Refusal> {
        let tokens = self.tokens;
        let (table, alias) = self.locked()?;
        // Positions in the statement's own text, which begins at its first token.
        let base = tokens.start(0);
        let place = |range: Range<usize>| {
            let bytes = tokens.bytes(range);
            bytes.start - base..bytes.end - base
        };
        let parameters = (self.select..self.end)
            .filter(|&i| tokens.kind(i) == Some(TokenKind::Param))
            .filter_map(|i| {
                let number: usize = tokens.text(i)[1..].parse().ok()?;
                Some((place(i..i + 1), number.checked_sub(1)?))
            })
            .collect();
        Ok(Skipping {
            source: tokens.source[tokens.bytes(0..tokens.len())].to_owned(),
            table,
            alias,
            query: place(self.select..self.end),
            list_end: tokens.end(self.from - 1) - base,
            from_end: tokens.end(self.from_end - 1) - base,
            condition: self.condition.clone().map(place),
            limit: self.limit.clone().map(place),
            skip_locked: place(self.skip..self.skip + 2),
            parameters,
        })
    }
}

/// Words that begin the clauses after FROM; all are reserved.
const CLAUSES: &[&str] = &[
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
];

/// Other words that follow a table in FROM and are no alias.
const AFTER_A_TABLE: &[&str] = &[
    "join",
    "inner",
    "left",
    "right",
    "full",
    "cross",
    "natural",
    "on",
    "using",
    "tablesample",
];

fn no_table() -> Refusal {
    unsupported(
        "SKIP LOCKED of what is no table in FROM",
        "Select from the table itself, and name it in FOR UPDATE OF if there are several.",
    )
}

/// The one name of `FOR … OF name SKIP LOCKED`.
fn of_clause(tokens: Tokens<'_>, lock: usize, skip: usize) -> Result<Option<String>, Refusal> {
    let Some(of) = (lock..skip).find(|&i| tokens.word(i, "of")) else {
        return Ok(None);
    };
    match tokens.qualified(of + 1) {
        Some((mut names, next)) if next == skip && names.len() == 1 => Ok(names.pop()),
        _ => Err(unsupported(
            "SKIP LOCKED over several tables",
            "Name one table after OF.",
        )),
    }
}
