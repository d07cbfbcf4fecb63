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
