//! Answers that depend on the order in which a server happens to find rows: LIMIT without an order that tells all rows
//! apart, and aggregates that take rows one after another.
//!
//! Where a LIMIT meets one table, that table's primary key at the end of ORDER BY settles it: [`limits`] finds the place, and who
//! knows the key puts it there ([`crate::Statement::keyed`]). For the rest [`doubt`] says what a statement's author can do.

use crate::content::{self, Grammar};
use crate::outline::Outline;
use crate::tokens::{Partners, Tokens};
use std::collections::BTreeSet;
use std::ops::Range;

/// A LIMIT over one table, whose rows the table's primary key would fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The table as the statement names it, quotes and schema included: what PostgreSQL's `to_regclass` takes.
    pub table: String,
    /// What its columns are qualified with: the alias, or the name.
    pub(crate) qualifier: String,
    /// Where the sort keys go, in bytes of the statement's text.
    pub(crate) at: usize,
    /// An ORDER BY is there already.
    pub(crate) ordered: bool,
}

impl Limit {
    /// What is inserted for a key of these columns.
    pub(crate) fn sort(&self, key: &[String]) -> String {
        let column =
            |name: &String| format!("{}.\"{}\"", self.qualifier, name.replace('"', "\"\""));
        let keys: Vec<String> = key.iter().map(column).collect();
        match self.ordered {
            true => format!(" , {}", keys.join(", ")),
            false => format!(" ORDER BY {}", keys.join(", ")),
        }
    }
}

/// What may differ between two correct servers although a statement is deterministic by PostgreSQL's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A LIMIT that no key settles: it meets several tables, groups, or a subquery.
    Limit,
    /// DISTINCT ON keeps the first of the rows that are alike.
    DistinctOn,
    /// An aggregate whose result tells the order of its rows: `array_agg`, `string_agg` and their like.
    Listing,
    /// Sums of floating-point numbers, if the column is of these: they are rounded in the order of the rows.
    Floating,
    /// A function takes rows one after another, or the first of them.
    Rows,
}

impl Doubt {
    /// What is in doubt, and what to do about it, in a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Doubt::Limit => {
                "Which rows LIMIT takes depends on the order in which a server finds them: end the ORDER BY with columns that tell all rows apart."
            }
            Doubt::DistinctOn => {
                "Which row DISTINCT ON keeps depends on the order in which a server finds them: end the ORDER BY with columns that tell all rows apart."
            }
            Doubt::Listing => {
                "The aggregate lists rows in the order in which a server finds them: write an ORDER BY inside its parentheses, such as array_agg(x ORDER BY id)."
            }
            Doubt::Floating => {
                "Sums of real and double precision are rounded in the order in which a server finds the rows: cast to numeric, or write sum(x ORDER BY id)."
            }
            Doubt::Rows => {
                "A loop, or SELECT INTO, takes rows in the order in which a server finds them: add an ORDER BY whose columns tell all rows apart."
            }
        }
    }
}

/// What [`find`] sees in a statement.
#[derive(Debug, Default)]
pub(crate) struct RowOrder {
    pub(crate) limits: Vec<Limit>,
    pub(crate) doubt: Option<Doubt>,
}

/// Aggregates whose result shows in which order the rows came.
const LISTINGS: &[&str] = &[
    "array_agg",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "string_agg",
    "xmlagg",
];

/// Aggregates that are rounded when their arguments are floating-point numbers.
const ROUNDED: &[&str] = &[
    "avg",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
];

/// The other aggregates of PostgreSQL; with [`LISTINGS`] and [`ROUNDED`] all of them, which a test asks the server.
const AGGREGATES: &[&str] = &[
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "cume_dist",
    "dense_rank",
    "every",
    "max",
    "min",
    "mode",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "rank",
    "regr_count",
];

/// A quick look: is there a word in the statement that [`find`] looks for?
pub(crate) fn concerns(tokens: Tokens<'_>) -> bool {
    (0..tokens.len()).any(|i| {
        tokens.any_word(i, &["limit", "fetch", "distinct"])
            || tokens.symbol(i + 1, "(")
                && tokens.name(i).is_some_and(|name| {
                    LISTINGS.contains(&name.as_str()) || ROUNDED.contains(&name.as_str())
                })
    })
}

pub(crate) fn find(tokens: Tokens<'_>, partners: &Partners, outline: &Outline) -> RowOrder {
    let mut found = RowOrder {
        limits: Vec::new(),
        doubt: doubtful_call(tokens, partners),
    };
    if (0..tokens.len())
        .any(|i| tokens.words(i, &["distinct", "on"]) && !follows(tokens, i, &["is", "not"]))
    {
        found.doubt = Some(Doubt::DistinctOn);
    }
    let ctes = content::cte_names(tokens);
    let grammar = Grammar::of(tokens);
    for open in limited(tokens) {
        let frame = Frame::after(tokens, partners, open);
        match frame.table(outline, &grammar) {
            Some(limit) if found.limits.len() < MAX_LIMITS && !is_cte(&limit, &ctes) => {
                found.limits.push(limit);
            }
            _ => found.doubt = Some(Doubt::Limit),
        }
    }
    found
}

/// What is in doubt in a part of a function's body, where no key is put in.
pub(crate) fn doubts(tokens: Tokens<'_>, partners: &Partners) -> impl Iterator<Item = Doubt> {
    let limit = (!limited(tokens).is_empty()).then_some(Doubt::Limit);
    let distinct = (0..tokens.len()).any(|i| tokens.words(i, &["distinct", "on"]));
    let distinct = distinct.then_some(Doubt::DistinctOn);
    let call = doubtful_call(tokens, partners);
    limit.into_iter().chain(distinct).chain(call)
}

/// Whether a LIMIT stands where no ORDER BY does.
pub(crate) fn limits_without_order(tokens: Tokens<'_>, partners: &Partners) -> bool {
    limited(tokens).into_iter().any(|open| {
        let frame = Frame::after(tokens, partners, open);
        !frame.own.iter().any(|&i| tokens.word(i, "order"))
    })
}

/// LIMITs of one statement that get a key: each is asked for and inserted by itself.
const MAX_LIMITS: usize = 64;

/// The parentheses in which a LIMIT stands, each once; `None` for the statement itself.
fn limited(tokens: Tokens<'_>) -> BTreeSet<Option<usize>> {
    let mut open = Vec::new();
    let mut found = BTreeSet::new();
    for i in 0..tokens.len() {
        if tokens.symbol(i, "(") {
            open.push(i);
        } else if tokens.symbol(i, ")") {
            open.pop();
        } else if limits_here(tokens, i) {
            found.insert(open.last().copied());
        }
    }
    found
}

fn is_cte(limit: &Limit, ctes: &BTreeSet<String>) -> bool {
    let plain = limit
        .table
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let name = plain.map_or(limit.table.to_lowercase(), |quoted| {
        quoted.replace("\"\"", "\"")
    });
    ctes.contains(&name)
}

fn follows(tokens: Tokens<'_>, i: usize, words: &[&str]) -> bool {
    i > 0 && tokens.any_word(i - 1, words)
}

/// LIMIT n or FETCH FIRST n at `i`; LIMIT ALL takes every row.
fn limits_here(tokens: Tokens<'_>, i: usize) -> bool {
    let limit = tokens.word(i, "limit") && !tokens.any_word(i + 1, &["all", "null"]);
    let fetch = tokens.word(i, "fetch") && i > 0 && tokens.any_word(i + 1, &["first", "next"]);
    (limit || fetch) && !tokens.is_label(i)
}

fn doubtful_call(tokens: Tokens<'_>, partners: &Partners) -> Option<Doubt> {
    let mut doubt = None;
    for i in 0..tokens.len() {
        if !tokens.symbol(i + 1, "(") {
            continue;
        }
        let Some(name) = tokens.name(i) else { continue };
        let close = partners.get(i + 1).unwrap_or(tokens.len());
        let ordered = inside(tokens, partners, i + 2..close).any(|at| tokens.word(at, "order"))
            || tokens.words(close + 1, &["within", "group"]);
        if ordered || tokens.word(close + 1, "over") {
            continue;
        }
        if LISTINGS.contains(&name.as_str()) {
            return Some(Doubt::Listing);
        }
        if ROUNDED.contains(&name.as_str()) {
            doubt = Some(Doubt::Floating);
        }
    }
    doubt
}

/// The tokens of a range that lie in no parentheses of their own.
fn inside<'a>(
    tokens: Tokens<'a>,
    partners: &'a Partners,
    range: Range<usize>,
) -> impl Iterator<Item = usize> + 'a {
    let end = range.end.min(tokens.len());
    let mut next = range.start;
    std::iter::from_fn(move || {
        let i = next;
        if i >= end {
            return None;
        }
        next = match tokens.symbol(i, "(") || tokens.symbol(i, "[") {
            true => partners.get(i).unwrap_or(end) + 1,
            false => i + 1,
        };
        Some(i)
    })
}

/// What stands between two parentheses, or the whole statement.
struct Frame<'a> {
    tokens: Tokens<'a>,
    /// Its tokens outside of inner parentheses.
    own: Vec<usize>,
}

impl<'a> Frame<'a> {
    fn after(tokens: Tokens<'a>, partners: &Partners, open: Option<usize>) -> Frame<'a> {
        let end = open.and_then(|open| partners.get(open));
        let range = open.map_or(0, |open| open + 1)..end.unwrap_or(tokens.len());
        Frame {
            tokens,
            own: inside(tokens, partners, range).collect(),
        }
    }

    fn word(&self, place: usize, words: &[&str]) -> bool {
        self.own
            .get(place)
            .is_some_and(|&i| self.tokens.any_word(i, words))
    }

    /// The one table of a plain SELECT with a LIMIT.
    fn table(&self, outline: &Outline, grammar: &Grammar) -> Option<Limit> {
        let tokens = self.tokens;
        let is_select = |&place: &usize| {
            let i = self.own[place];
            tokens.word(i, "select") && (!tokens.is_label(i) || tokens.word(i - 1, "as"))
        };
        let mut selects = (0..self.own.len()).filter(is_select);
        let select = selects.next().filter(|_| selects.next().is_none())?;
        if self.word(select + 1, &["distinct"]) {
            return None;
        }
        let from = (select + 1..self.own.len())
            .find(|&place| outline.from_clauses.binary_search(&self.own[place]).is_ok())?;
        let (table, qualifier, clauses) = self.relation(from + 1)?;
        let mut at = None;
        let mut ordered = false;
        for place in clauses..self.own.len() {
            let i = self.own[place];
            let label = tokens.is_label(i);
            if label {
                continue;
            }
            if tokens.any_word(
                i,
                &["group", "having", "window", "union", "intersect", "except"],
            ) || tokens.words(i, &["with", "ties"])
            {
                return None;
            }
            if tokens.any_word(i, &["limit", "offset", "fetch", "for"]) {
                at.get_or_insert(i);
            }
            ordered |= tokens.word(i, "order");
        }
        let at = at?;
        // A key beside an aggregate would have to be grouped by; of a function of the user's own nobody knows here what it is.
        let listed = self.own[select + 1]..self.own[from];
        let sorted = self.own[clauses..]
            .iter()
            .position(|&i| tokens.word(i, "order"));
        let sorted = sorted.map_or(0..0, |order| self.own[clauses + order]..at);
        if listed
            .chain(sorted)
            .any(|i| may_aggregate(tokens, i, grammar))
        {
            return None;
        }
        Some(Limit {
            table,
            qualifier,
            at: tokens.end(at - 1),
            ordered,
        })
    }

    /// The relation of a FROM clause of one, what qualifies its columns, and the place of the clause after it.
    fn relation(&self, mut place: usize) -> Option<(String, String, usize)> {
        let tokens = self.tokens;
        if self.word(place, &["only"]) {
            place += 1;
        }
        let first = *self.own.get(place)?;
        let (_, next) = tokens.qualified(first)?;
        let unicode = (first..next).any(|i| tokens.word(i, "uescape"));
        if unicode || tokens.any_word(first, &["lateral", "rows", "select", "values"]) {
            return None;
        }
        let table: String = (first..next).map(|i| tokens.text(i)).collect();
        let mut qualifier = tokens.text(next - 1);
        place += next - first;
        if self.own.get(place).is_some_and(|&i| tokens.symbol(i, "*")) {
            place += 1;
        }
        let clause = |place: usize| place >= self.own.len() || self.word(place, AFTER_TABLE);
        if !clause(place) {
            if self.word(place, &["as"]) {
                place += 1;
            }
            let alias = *self.own.get(place)?;
            tokens.name(alias)?;
            qualifier = tokens.text(alias);
            place += 1;
        }
        clause(place).then(|| (table, qualifier.to_owned(), place))
    }
}

/// What may come after the one table of a FROM clause.
const AFTER_TABLE: &[&str] = &[
    "where", "order", "limit", "offset", "fetch", "for", "group", "having", "window",
];

/// A call, in a select list, of what is or could be an aggregate.
fn may_aggregate(tokens: Tokens<'_>, i: usize, grammar: &Grammar) -> bool {
    let Some(name) = tokens.name(i).filter(|_| tokens.symbol(i + 1, "(")) else {
        return false;
    };
    let known = [LISTINGS, ROUNDED, AGGREGATES];
    // FILTER and OVER stand after a call that was looked at.
    let goes_on = i > 0 && tokens.symbol(i - 1, ")");
    known.iter().any(|list| list.contains(&name.as_str()))
        || !goes_on && grammar.may_be_users(tokens, i)
}
