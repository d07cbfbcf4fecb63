//! The outline of a query, read off its tokens: select items, relations, ORDER BY.
//!
//! PostgreSQL's reserved words make this possible without a grammar: SELECT, FROM, WHERE, ORDER … cannot
//! be names unless quoted or used as labels (after AS or a dot).

use crate::lexer::TokenKind;
use crate::tokens::{Partners, Tokens};
use std::collections::BTreeSet;
use std::ops::Range;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// Every select and RETURNING item, at any depth.
    pub(crate) items: Vec<Range<usize>>,
    /// Items of the statement's own (first) select list.
    pub(crate) top_items: Vec<Range<usize>>,
    /// Tokens of the statement's own ORDER BY.
    pub(crate) top_order: Option<Range<usize>>,
    /// The statement joins several selects with UNION and the like.
    pub(crate) set_operation: bool,
    /// Relations as written, names of CTEs among them.
    pub(crate) relations: BTreeSet<Vec<String>>,
    /// The FROMs that begin FROM clauses (others stand in calls such as `extract(year FROM d)`), ascending.
    pub(crate) from_clauses: Vec<usize>,
    /// INTO of a SELECT … INTO.
    pub(crate) select_into: Option<usize>,
    /// The statement, or a CTE of it, changes rows.
    pub(crate) modifies: bool,
    /// FOR UPDATE, FOR SHARE and their like.
    pub(crate) locks: bool,
    /// Tokens of the RETURNING lists.
    pub(crate) returning: Vec<Range<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clause {
    Start,
    /// A select or RETURNING list.
    List,
    Into,
    From,
    Rest,
}

struct Frame {
    clause: Clause,
    /// Where the current select item begins.
    item: usize,
    returning: bool,
    /// A relation's name comes next.
    expect: bool,
    /// The frame holds an UPDATE, DELETE or MERGE, whose FROM and USING name relations.
    modifying: bool,
    joined: bool,
}

impl Frame {
    fn new(clause: Clause, expect: bool) -> Frame {
        Frame {
            clause,
            item: 0,
            returning: false,
            expect,
            modifying: false,
            joined: false,
        }
    }
}

pub(crate) fn outline(tokens: Tokens<'_>, partners: &Partners) -> Outline {
    let mut scan = Scan {
        tokens,
        partners,
        frames: Vec::new(),
        top: Frame::new(Clause::Start, false),
        found: Outline::default(),
    };
    let mut i = 0;
    while i < tokens.len() {
        i = scan.token(i);
    }
    scan.end_item(tokens.len());
    if let Some(order) = &mut scan.found.top_order {
        order.end = if order.end == usize::MAX {
            tokens.len()
        } else {
            order.end
        };
    }
    scan.found
}

struct Scan<'a> {
    tokens: Tokens<'a>,
    partners: &'a Partners,
    /// The frames around the current one.
    frames: Vec<Frame>,
    top: Frame,
    found: Outline,
}

impl Scan<'_> {
    /// Takes in the token at `i` and returns the index of the next one to look at.
    fn token(&mut self, i: usize) -> usize {
        match self.tokens.kind(i) {
            Some(TokenKind::Symbol) => self.symbol(i),
            Some(TokenKind::Word) if !self.tokens.is_label(i) || self.is_defined(i) => {
                let next = self.keyword(i);
                if next > i { next } else { self.relation(i) }
            }
            Some(TokenKind::Quoted | TokenKind::UnicodeQuoted) => self.relation(i),
            _ => i + 1,
        }
    }

    /// The query of CREATE VIEW … AS SELECT, where a select list's `AS select` would be a label.
    fn is_defined(&self, i: usize) -> bool {
        self.top.clause == Clause::Start
            && self.tokens.word(i, "select")
            && self.tokens.word(i - 1, "as")
    }

    fn symbol(&mut self, i: usize) -> usize {
        match self.tokens.text(i) {
            "(" => {
                let clause = if self.top.expect {
                    Clause::From
                } else {
                    Clause::Start
                };
                let inner = Frame::new(clause, self.top.expect);
                self.top.expect = false;
                self.frames.push(std::mem::replace(&mut self.top, inner));
            }
            ")" => {
                self.end_item(i);
                if let Some(outer) = self.frames.pop() {
                    self.top = outer;
                }
            }
            ";" => {
                self.end_item(i);
                self.top = Frame::new(Clause::Start, false);
            }
            "," if self.top.clause == Clause::List => {
                self.end_item(i);
                self.top.item = i + 1;
            }
            "," if self.top.clause == Clause::From => self.top.expect = true,
            _ => {}
        }
        i + 1
    }

    /// What a keyword changes; returns `i` itself for a word that is none of ours.
    fn keyword(&mut self, i: usize) -> usize {
        let tokens = self.tokens;
        let before = |words: &[&str]| i > 0 && tokens.any_word(i - 1, words);
        match tokens.text(i).to_ascii_lowercase().as_str() {
            "select" => return self.select(i),
            "returning" => {
                self.end_item(i);
                self.top.clause = Clause::List;
                self.top.returning = true;
                self.top.item = i + 1;
            }
            "from" => self.from(i),
            "into" if before(&["insert", "merge"]) => {
                self.top.modifying = true;
                self.found.modifies = true;
                self.top.expect = true;
            }
            "into" => {
                self.end_item(i);
                if self.top.clause == Clause::List && !self.top.returning {
                    self.found.select_into.get_or_insert(i);
                }
                self.top.clause = Clause::Into;
            }
            "update" if self.begins_statement(i) => {
                self.found.modifies = true;
                self.top.modifying = true;
                self.top.clause = Clause::From;
                self.top.expect = true;
            }
            "update" | "share" if before(&["for"]) => self.found.locks = true,
            "no" | "key" if before(&["for"]) && tokens.any_word(i + 1, &["key", "share"]) => {
                self.found.locks = true
            }
            "delete" if tokens.word(i + 1, "from") && self.begins_statement(i) => {
                self.found.modifies = true;
                self.top.modifying = true;
            }
            "table"
                if self.begins_statement(i) || before(&["union", "except", "intersect", "all"]) =>
            {
                self.top.clause = Clause::From;
                self.top.expect = true;
            }
            "join" if self.top.clause == Clause::From => {
                self.top.expect = true;
                self.top.joined = true;
            }
            "using" if self.top.modifying && !self.top.joined => {
                self.top.clause = Clause::From;
                self.top.expect = true;
            }
            "copy" if i == 0 && !tokens.symbol(1, "(") => {
                self.top.clause = Clause::From;
                self.top.expect = true;
            }
            "lateral" | "only" | "binary" if self.top.expect => {}
            "rows" if self.top.expect && tokens.word(i + 1, "from") => {
                self.top.expect = false;
                return i + 2;
            }
            "group" if before(&["within"]) => {}
            "where" | "group" | "having" | "window" | "limit" | "offset" | "fetch" | "for" => {
                self.rest(i)
            }
            // Not reserved: a column may have these names.
            "set" if self.top.modifying => self.rest(i),
            "loop" if self.ends_loop_query(i) => self.rest(i),
            "union" | "intersect" | "except" => {
                self.found.set_operation |= self.frames.is_empty();
                self.rest(i);
            }
            "order" => {
                self.rest(i);
                if self.frames.is_empty() {
                    self.found.top_order = Some(i + 2..usize::MAX);
                }
            }
            "on" if self.top.clause == Clause::From => self.top.expect = false,
            _ => return i,
        }
        i + 1
    }

    fn begins_statement(&self, i: usize) -> bool {
        i == 0
            || ["(", ")", ";"]
                .iter()
                .any(|symbol| self.tokens.symbol(i - 1, symbol))
            || self.tokens.any_word(
                i - 1,
                &[
                    "begin", "then", "else", "loop", "query", "atomic", "explain", "analyze",
                    "verbose",
                ],
            )
    }

    /// plpgsql's `FOR r IN SELECT x LOOP`; anywhere else a LOOP after an item is its label.
    fn ends_loop_query(&self, i: usize) -> bool {
        let goes_on = self.tokens.any_word(i + 1, &["from", "into"])
            || [",", ")", ";", ""]
                .iter()
                .any(|symbol| self.tokens.text(i + 1) == *symbol);
        self.top.clause == Clause::List && self.top.item < i && !goes_on
    }

    fn select(&mut self, i: usize) -> usize {
        let tokens = self.tokens;
        self.end_item(i);
        let mut first = i + 1;
        if tokens.word(first, "all") {
            first += 1;
        } else if tokens.word(first, "distinct") {
            first += 1;
            if tokens.word(first, "on") && tokens.symbol(first + 1, "(") {
                first = self
                    .partners
                    .get(first + 1)
                    .map_or(tokens.len(), |close| close + 1);
            }
        }
        self.top.clause = Clause::List;
        self.top.returning = false;
        self.top.expect = false;
        self.top.item = first;
        first
    }

    fn from(&mut self, i: usize) {
        let tokens = self.tokens;
        // x IS [NOT] DISTINCT FROM y
        let distinct =
            i > 1 && tokens.word(i - 1, "distinct") && tokens.any_word(i - 2, &["is", "not"]);
        let clause = match self.top.clause {
            _ if distinct => false,
            Clause::List | Clause::Into => true,
            _ => self.top.modifying,
        };
        if clause {
            self.end_item(i);
            self.found.from_clauses.push(i);
            self.top.clause = Clause::From;
            self.top.expect = true;
            self.top.joined = false;
        }
    }

    fn rest(&mut self, i: usize) {
        self.end_item(i);
        let ends = self.frames.is_empty();
        if let Some(order) = self
            .found
            .top_order
            .as_mut()
            .filter(|order| ends && order.end == usize::MAX)
        {
            order.end = i;
        }
        self.top.expect = false;
        if self.top.clause != Clause::Start || self.top.modifying {
            self.top.clause = Clause::Rest;
        }
    }

    fn end_item(&mut self, end: usize) {
        if self.top.clause != Clause::List || self.top.item >= end {
            return;
        }
        let item = self.top.item..end;
        self.top.item = end;
        if self.top.returning {
            self.found.returning.push(item.clone());
        } else if self.frames.is_empty() && !self.found.set_operation {
            self.found.top_items.push(item.clone());
        }
        self.found.items.push(item);
    }

    fn relation(&mut self, i: usize) -> usize {
        if !self.top.expect || self.tokens.any_word(i, &["values", "with"]) {
            return i + 1;
        }
        self.top.expect = false;
        let Some((name, next)) = self.tokens.qualified(i) else {
            return i + 1;
        };
        // INSERT INTO t (a, b) names a relation, FROM f (a, b) a function.
        let inserted = i > 0 && self.tokens.word(i - 1, "into");
        if inserted || !self.tokens.symbol(next, "(") {
            self.found.relations.insert(name);
        }
        next
    }
}

/// See [`crate::Statement::order_columns`].
pub(crate) fn order_columns(
    tokens: Tokens<'_>,
    partners: &Partners,
    outline: &Outline,
) -> Option<Vec<usize>> {
    let order = outline.top_order.clone()?;
    let first = outline.top_items.first()?;
    let is_star = |item: &Range<usize>| {
        tokens.symbol(item.end - 1, "*") && (item.len() == 1 || tokens.symbol(item.end - 2, "."))
    };
    // The first operand of a UNION in parentheses names the columns: not worth following.
    let preceded = tokens.any_word(
        first.start.saturating_sub(2),
        &["union", "intersect", "except", "all"],
    );
    if preceded || outline.top_items.iter().any(is_star) || !tokens.any_word(0, &["select", "with"])
    {
        return None;
    }
    let columns: Vec<Column> = outline
        .top_items
        .iter()
        .map(|item| Column::of(tokens, item.clone()))
        .collect();
    let mut positions = Vec::new();
    let mut start = order.start;
    let mut i = order.start;
    while i <= order.end {
        if i == order.end || tokens.symbol(i, ",") {
            positions.push(sort_key(tokens, start..i, &columns, outline.set_operation)?);
            start = i + 1;
        }
        i = match tokens.symbol(i, "(") || tokens.symbol(i, "[") {
            true => partners.get(i)? + 1,
            false => i + 1,
        };
    }
    Some(positions)
}

/// An output column: its expression and its name, if that is plain to see.
struct Column {
    expression: Range<usize>,
    name: Option<String>,
}

impl Column {
    fn of(tokens: Tokens<'_>, item: Range<usize>) -> Column {
        let last = item.end - 1;
        if item.len() > 2 && tokens.word(last - 1, "as") {
            return Column {
                expression: item.start..last - 1,
                name: tokens.name(last),
            };
        }
        match tokens.qualified(item.start) {
            Some((mut parts, next)) if next == item.end => {
                return Column {
                    expression: item,
                    name: parts.pop(),
                };
            }
            Some((_, next)) if next == last && !tokens.any_word(last, &["isnull", "notnull"]) => {
                return Column {
                    expression: item.start..last,
                    name: tokens.name(last),
                };
            }
            _ => {}
        }
        let labelled = item.len() > 1
            && (tokens.symbol(last - 1, ")")
                || !matches!(
                    tokens.kind(last - 1),
                    Some(TokenKind::Word | TokenKind::Operator | TokenKind::Symbol)
                ));
        match tokens
            .name(last)
            .filter(|_| labelled && !tokens.any_word(last, &["isnull", "notnull"]))
        {
            Some(name) => Column {
                expression: item.start..last,
                name: Some(name),
            },
            None => Column {
                expression: item,
                name: None,
            },
        }
    }
}

/// The output column that one sort key names: by number, by name (output names before input names, as
/// PostgreSQL resolves them), or by the same expression.
fn sort_key(
    tokens: Tokens<'_>,
    key: Range<usize>,
    columns: &[Column],
    names_only: bool,
) -> Option<usize> {
    let mut end = key.end;
    if end > key.start + 2 && tokens.word(end - 2, "nulls") {
        end -= 2;
    }
    if end > key.start + 1 && tokens.any_word(end - 1, &["asc", "desc"]) {
        end -= 1;
    }
    let key = key.start..end;
    if key.is_empty() {
        return None;
    }
    if key.len() == 1 {
        if tokens.kind(key.start) == Some(TokenKind::Number) {
            let number: usize = tokens.text(key.start).parse().ok()?;
            return number.checked_sub(1).filter(|&n| n < columns.len());
        }
        let name = tokens.name(key.start)?;
        let mut named = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.name.as_ref() == Some(&name));
        if let Some((position, _)) = named.next() {
            return Some(position).filter(|_| named.next().is_none());
        }
        if columns.iter().any(|column| column.name.is_none()) {
            return None;
        }
    }
    if names_only {
        return None;
    }
    columns
        .iter()
        .position(|column| same(tokens, column.expression.clone(), key.clone()))
}

fn same(tokens: Tokens<'_>, a: Range<usize>, b: Range<usize>) -> bool {
    a.len() == b.len()
        && a.zip(b).all(|(a, b)| match tokens.kind(a) {
            Some(TokenKind::Word) => {
                tokens.kind(b) == Some(TokenKind::Word)
                    && tokens.text(a).eq_ignore_ascii_case(tokens.text(b))
            }
            _ => tokens.text(a) == tokens.text(b),
        })
}
