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
    let grammar = Grammar::of(tokens);
    content.calls_user = (0..tokens.len()).any(|i| is_users_call(tokens, i, &ctes, &grammar));
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
            content.catalog |= reach::reads_catalog(&name) || shows_version(tokens, i, &name);
            content.calls_unknown |= !reads_no_table(&name);
            if reach::is_physical(&name) {
                content.physical.get_or_insert(name);
            }
        }
        return;
    }
    // Which rows a sample has follows from where they lie, and without REPEATABLE from the server's own chance.
    if tokens.word(i, "tablesample") && tokens.name(i + 1).is_some() {
        content.catalog = true;
        content.physical.get_or_insert("TABLESAMPLE".into());
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

/// `current_setting('server_version')` and its like: servers may be of different versions.
fn shows_version(tokens: Tokens<'_>, i: usize, name: &str) -> bool {
    let setting = (name == "current_setting").then(|| tokens.string(i + 2));
    setting.flatten().is_some_and(|setting| {
        let setting = setting.to_ascii_lowercase();
        matches!(&*setting, "server_version" | "server_version_num")
    })
}

/// A call of what is not built in. Where the tokens leave a doubt (an alias without AS that has a list of columns), it is one.
pub(crate) fn is_users_call(
    tokens: Tokens<'_>,
    i: usize,
    ctes: &BTreeSet<String>,
    grammar: &Grammar,
) -> bool {
    let Some(name) = tokens.name(i).filter(|_| tokens.symbol(i + 1, "(")) else {
        return false;
    };
    let before = i.wrapping_sub(1);
    if tokens.word(before, "as") || tokens.symbol(before, ")") || ctes.contains(&name) {
        return false;
    }
    grammar.may_be_users(tokens, i) || reach::executes_text(&name)
}

/// Where words that may be the name of a function stand for PostgreSQL's grammar.
pub(crate) struct Grammar {
    /// The first GROUP BY.
    grouped: usize,
    /// A word that begins a change of rows.
    modifies: bool,
}

impl Grammar {
    pub(crate) fn of(tokens: Tokens<'_>) -> Grammar {
        let all = 0..tokens.len();
        let changes = ["insert", "update", "delete", "merge"];
        Grammar {
            grouped: all
                .clone()
                .find(|&at| tokens.words(at, &["group", "by"]))
                .unwrap_or(usize::MAX),
            modifies: all
                .clone()
                .any(|at| tokens.any_word(at, &changes) && !tokens.symbol(at + 1, "(")),
        }
    }

    /// A name before a parenthesis that is neither a built-in function's nor a keyword.
    pub(crate) fn may_be_users(&self, tokens: Tokens<'_>, i: usize) -> bool {
        let Some(name) = tokens.name(i) else {
            return false;
        };
        let qualified = i > 0 && tokens.symbol(i - 1, ".");
        let foreign = qualified && !(i > 1 && tokens.word(i - 2, "pg_catalog"));
        let known = tokens.kind(i) == Some(TokenKind::Word)
            && !qualified
            && HARMLESS.binary_search(&name.as_str()).is_ok()
            && !self.is_name_here(tokens, i, &name);
        foreign || !(known || is_built_in(&name))
    }

    /// Words of PostgreSQL's grammar that are not reserved: the grammar's only where it has them.
    fn is_name_here(&self, tokens: Tokens<'_>, i: usize, name: &str) -> bool {
        let after = |words: &[&str]| i > 0 && tokens.any_word(i - 1, words);
        match name {
            "by" => !after(&["group", "order", "partition"]),
            "sets" => !after(&["grouping"]),
            // GROUP BY a, CUBE (b, c)
            "cube" | "rollup" => i < self.grouped,
            "materialized" => !after(&["as", "not"]),
            "copy" => i > 0,
            "varying" => !after(&["bit", "char", "character"]),
            // INTERVAL '1' SECOND (3)
            "second" => !(after(&["interval", "to"]) || i > 0 && tokens.is_string(i - 1)),
            // After a call's parenthesis, where no name stands.
            "filter" | "over" => true,
            "within" | "partition" | "set" | "insert" | "update" | "delete" => !self.modifies,
            _ => false,
        }
    }
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
    "concat_ws", "copy", "count", "cube", "current_time", "current_timestamp", "currval", "date", "date_part",
    "date_trunc", "dec", "decimal", "decode", "delete", "dense_rank", "distinct", "div", "else", "encode",
    "every", "except", "exists", "exp", "extract", "filter", "first_value", "float", "floor", "format",
    "from", "gen_random_uuid", "generate_series", "generate_subscripts", "greatest", "group", "grouping",
    "having", "ilike", "in", "initcap", "insert", "intersect", "interval", "into", "join", "lag",
    "last_value", "lastval", "lateral", "lead", "least", "left", "length", "like", "ln", "localtime",
    "localtimestamp", "log", "lower", "lpad", "ltrim", "make_date", "make_interval", "make_time",
    "make_timestamp", "make_timestamptz", "materialized", "max", "md5", "min", "mod", "mode", "nchar",
    "nextval", "not", "now", "nth_value", "ntile", "nullif", "num_nonnulls", "numeric", "octet_length", "on",
    "or", "over", "overlay", "partition", "percent_rank", "percentile_cont", "percentile_disc", "pg_sleep",
    "pg_typeof", "position", "power", "quote_ident", "quote_literal", "random", "rank", "repeat", "replace",
    "returning", "reverse", "right", "rollup", "round", "row", "row_number", "row_to_json", "rpad", "rtrim",
    "second", "select", "set", "sets", "setseed", "setval", "sha256", "sign", "some", "split_part", "sqrt",
    "starts_with", "statement_timestamp", "stddev", "string_agg", "string_to_array", "strpos", "substr",
    "substring", "sum", "then", "time", "timestamp", "to_char", "to_date", "to_json", "to_jsonb", "to_number",
    "to_timestamp", "transaction_timestamp", "translate", "trim", "trunc", "union", "unnest", "update",
    "upper", "using", "values", "varchar", "variance", "varying", "version", "when", "where", "width_bucket",
    "with", "within", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces",
    "xmlparse", "xmlpi", "xmlroot", "xmlserialize", "xmltable",
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
