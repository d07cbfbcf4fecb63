//! What a query's tokens say about its answer: catalogs, physical values, sequence calls, functions.

use crate::lexer::TokenKind;
use crate::outline::Outline;
use crate::reach;
use crate::tokens::Tokens;
use std::collections::BTreeSet;
use std::sync::LazyLock;

#[derive(Debug, Default)]
pub(crate) struct Content {
    /// The answer holds OIDs, addresses, sizes or catalog rows.
    pub(crate) catalog: bool,
    pub(crate) catalog_only: bool,
    pub(crate) moves_sequence: bool,
    /// The first function whose value differs between replicas by nature.
    pub(crate) physical: Option<String>,
    /// A function is called that may read tables of its own.
    pub(crate) calls_unknown: bool,
    /// A function is called that is not PostgreSQL's own.
    pub(crate) calls_user: bool,
}

pub(crate) fn content(tokens: Tokens<'_>, outline: &Outline) -> Content {
    let mut content = Content::default();
    for i in 0..tokens.len() {
        if tokens.kind(i) == Some(TokenKind::Word) || tokens.kind(i) == Some(TokenKind::Quoted) {
            name(tokens, i, &mut content);
        }
    }
    let ctes = cte_names(tokens);
    content.calls_user = (0..tokens.len()).any(|i| is_users_call(tokens, i, &ctes));
    let relations: Vec<_> = outline
        .relations
        .iter()
        .filter(|name| name.len() > 1 || !ctes.contains(&name[0]))
        .collect();
    content.catalog |= relations.iter().any(|name| is_catalog(name));
    content.catalog_only = !relations.is_empty() && relations.iter().all(|name| is_catalog(name));
    content
}

fn name(tokens: Tokens<'_>, i: usize, content: &mut Content) {
    if tokens.symbol(i + 1, "(") {
        if is_inserted(tokens, i) {
            return;
        }
        let foreign = i > 1 && tokens.symbol(i - 1, ".") && !tokens.word(i - 2, "pg_catalog");
        let name = tokens.name(i).unwrap_or_default();
        if foreign {
            content.calls_unknown = true;
        } else {
            content.moves_sequence |= reach::moves_sequence(&name);
            content.catalog |= reach::reads_catalog(&name);
            content.calls_unknown |= !reads_no_table(&name);
            if reach::is_physical(&name) {
                content.physical.get_or_insert(name);
            }
        }
        return;
    }
    let bare = tokens.text(i).trim_matches('"');
    let is = |words: &[&str]| words.iter().any(|word| bare.eq_ignore_ascii_case(word));
    if is(reach::SYSTEM_COLUMNS) && !(i > 0 && tokens.word(i - 1, "as")) {
        content.catalog = true;
    } else if is(reach::PHYSICAL_TYPES) {
        let qualifies = i > 1 && tokens.symbol(i - 1, ".") && tokens.word(i - 2, "pg_catalog");
        let before = if qualifies {
            i.wrapping_sub(3)
        } else {
            i.wrapping_sub(1)
        };
        content.catalog |=
            tokens.symbol(before, "::") || tokens.word(before, "as") || tokens.is_string(i + 1);
    }
}

/// A call of what is not built in. Where the tokens leave a doubt (an alias without AS that has a list of columns), it is one.
pub(crate) fn is_users_call(tokens: Tokens<'_>, i: usize, ctes: &BTreeSet<String>) -> bool {
    let Some(name) = tokens.name(i).filter(|_| tokens.symbol(i + 1, "(")) else {
        return false;
    };
    let before = i.wrapping_sub(1);
    if tokens.word(before, "as") || tokens.symbol(before, ")") || ctes.contains(&name) {
        return false;
    }
    let qualified = tokens.symbol(before, ".");
    let foreign = qualified && !tokens.word(i.wrapping_sub(2), "pg_catalog");
    foreign || !(is_built_in(&name) || HARMLESS.binary_search(&name.as_str()).is_ok())
}

/// PostgreSQL 15's functions, one a line: `SELECT DISTINCT proname::text COLLATE "C" FROM pg_proc WHERE pronamespace =
/// 'pg_catalog'::regnamespace ORDER BY 1`. A function of the same name in a schema of the user's own can be meant only with
/// other types of arguments.
const BUILT_IN: &str = include_str!("builtin-functions.txt");

fn is_built_in(name: &str) -> bool {
    static SORTED: LazyLock<Vec<&str>> = LazyLock::new(|| BUILT_IN.lines().collect());
    SORTED.binary_search(&name).is_ok()
}

/// INSERT INTO schema.table (columns): no call.
fn is_inserted(tokens: Tokens<'_>, name: usize) -> bool {
    let mut first = name;
    while first > 1 && tokens.symbol(first - 1, ".") {
        first -= 2;
    }
    first > 0 && tokens.word(first - 1, "into")
}

/// `ctid`, `xmin` … in a RETURNING list: the answer of a write cannot be compared.
pub(crate) fn returns_system_column(tokens: Tokens<'_>, outline: &Outline) -> Option<String> {
    let mut returned = outline.returning.iter().flat_map(Clone::clone);
    returned.find_map(|i| {
        let name = tokens.name(i).filter(|name| {
            matches!(
                name.as_str(),
                "ctid" | "xmin" | "cmin" | "cmax" | "tableoid"
            )
        })?;
        let other = tokens.symbol(i + 1, "(") || (i > 0 && tokens.word(i - 1, "as"));
        (!other).then_some(name)
    })
}

fn is_catalog(name: &[String]) -> bool {
    match name {
        [table] => table.starts_with("pg_"),
        [.., schema, _] => {
            schema == "pg_catalog"
                || schema == "information_schema"
                || schema.starts_with("pg_toast")
        }
        [] => false,
    }
}

/// Names that `WITH` defines, wherever it stands: `name [(columns)] AS [[NOT] MATERIALIZED] (`.
pub(crate) fn cte_names(tokens: Tokens<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if !(0..tokens.len()).any(|i| tokens.word(i, "with")) {
        return names;
    }
    let mut open = Vec::new();
    let mut named_list = None;
    for i in 0..tokens.len() {
        if tokens.symbol(i, "(") {
            open.push(i);
        } else if tokens.symbol(i, ")") {
            named_list = open.pop().and_then(|open: usize| open.checked_sub(1));
        } else if tokens.word(i, "as") && i > 0 {
            let begins = [1, 2, 3].into_iter().find(|n| tokens.symbol(i + n, "("));
            let plain = begins
                .is_some_and(|n| (1..n).all(|n| tokens.any_word(i + n, &["not", "materialized"])));
            let defined = if tokens.symbol(i - 1, ")") {
                named_list
            } else {
                Some(i - 1)
            };
            if let Some(name) = defined.filter(|_| plain).and_then(|at| tokens.name(at)) {
                names.insert(name);
            }
        }
    }
    names
}

/// Built-in functions, and keywords before parentheses, that read no table.
fn reads_no_table(name: &str) -> bool {
    HARMLESS.binary_search(&name).is_ok()
        || name.starts_with("json")
        || name.starts_with("regexp_")
        || name.starts_with("array_")
}

/// Sorted.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "abs", "age", "all", "and", "any", "array", "as", "avg", "between", "bigint", "bit_and", "bit_or",
    "bool_and", "bool_or", "btrim", "by", "cardinality", "case", "cast", "ceil", "ceiling", "char",
    "char_length", "character", "character_length", "chr", "clock_timestamp", "coalesce", "concat",
    "concat_ws", "count", "cube", "current_time", "current_timestamp", "currval", "date", "date_part",
    "date_trunc", "decimal", "decode", "delete", "dense_rank", "distinct", "div", "else", "encode", "every",
    "except", "exists", "exp", "extract", "filter", "first_value", "float", "floor", "format", "from",
    "gen_random_uuid", "generate_series", "generate_subscripts", "greatest", "group", "grouping", "having",
    "ilike", "in", "initcap", "insert", "intersect", "interval", "into", "join", "lag", "last_value",
    "lastval", "lateral", "lead", "least", "left", "length", "like", "ln", "localtime", "localtimestamp",
    "log", "lower", "lpad", "ltrim", "make_date", "make_interval", "make_time", "make_timestamp",
    "make_timestamptz", "materialized", "max", "md5", "min", "mod", "mode", "nextval", "not", "now",
    "nth_value", "ntile", "nullif", "num_nonnulls", "numeric", "octet_length", "on", "or", "over", "overlay",
    "partition", "percent_rank", "percentile_cont", "percentile_disc", "pg_sleep", "pg_typeof", "position",
    "power", "quote_ident", "quote_literal", "random", "rank", "repeat", "replace", "returning", "reverse",
    "right", "rollup", "round", "row", "row_number", "row_to_json", "rpad", "rtrim", "select", "set", "sets",
    "setseed", "setval", "sha256", "sign", "some", "split_part", "sqrt", "starts_with", "statement_timestamp",
    "stddev", "string_agg", "string_to_array", "strpos", "substr", "substring", "sum", "then", "time",
    "timestamp", "to_char", "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp",
    "transaction_timestamp", "translate", "trim", "trunc", "union", "unnest", "update", "upper", "using",
    "values", "varchar", "variance", "version", "when", "where", "width_bucket", "with", "within",
];

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, HARMLESS};

    #[test]
    fn the_lists_are_sorted_for_their_search() {
        assert!(HARMLESS.is_sorted());
        assert!(BUILT_IN.lines().is_sorted());
    }
}
