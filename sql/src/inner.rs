//! Which functions a statement reaches, and what in their bodies depends on the order in which a server finds rows. Nothing follows from it
//! but advice.

use crate::lexer::lex;
use crate::outline::outline;
use crate::roworder::{self, Doubt};
use crate::tokens::{Partners, Tokens};
use std::collections::BTreeSet;

/// Names as in the catalogs, without their schemas.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// What is followed by parentheses, PostgreSQL's own functions among it.
    pub functions: BTreeSet<String>,
    /// Tables, whose triggers call functions too.
    pub relations: BTreeSet<String>,
}

/// What a statement, or a body, calls and names. Nothing of what does not lex.
pub fn reached(text: &str) -> Reached {
    let Ok(list) = lex(text) else {
        return Reached::default();
    };
    let tokens = Tokens {
        source: text,
        list: &list,
    };
    let called = |i: usize| tokens.name(i).filter(|_| tokens.symbol(i + 1, "("));
    let mut reached = Reached {
        functions: (0..tokens.len()).filter_map(called).collect(),
        relations: BTreeSet::new(),
    };
    for piece in pieces(tokens) {
        let partners = Partners::of(piece);
        let named = outline(piece, &partners).relations.into_iter();
        let plain = named.filter_map(|mut name| name.pop());
        reached.relations.extend(plain);
    }
    reached
}

/// What in the body of a function, or in a statement, may come out differently where rows lie in another order.
pub fn doubts(body: &str) -> BTreeSet<Doubt> {
    let mut doubts = BTreeSet::new();
    let Ok(list) = lex(body) else { return doubts };
    let tokens = Tokens {
        source: body,
        list: &list,
    };
    for piece in pieces(tokens) {
        let partners = Partners::of(piece);
        doubts.extend(roworder::doubts(piece, &partners));
        let ordered = (0..piece.len()).any(|i| piece.words(i, &["order", "by"]));
        if !ordered && takes_rows(piece) {
            doubts.insert(Doubt::Rows);
        }
    }
    doubts
}

/// Whether a body has a LIMIT without any ORDER BY beside it.
pub(crate) fn limits_without_order(body: Tokens<'_>) -> bool {
    pieces(body).any(|piece| {
        let partners = Partners::of(piece);
        roworder::limits_without_order(piece, &partners)
    })
}

/// The statements of a body, of one that controls others its own words. A loop begins behind its query.
fn pieces<'a>(tokens: Tokens<'a>) -> impl Iterator<Item = Tokens<'a>> {
    let ends = |i: &usize| tokens.symbol(*i, ";") || tokens.word(*i, "loop");
    let ends: Vec<usize> = (0..tokens.len())
        .filter(ends)
        .chain([tokens.len()])
        .collect();
    let mut from = 0;
    ends.into_iter().map(move |end| {
        let begin = std::mem::replace(&mut from, end + 1).min(end);
        Tokens {
            source: tokens.source,
            list: &tokens.list[begin..end],
        }
    })
}

/// Rows that come one after another: `FOR … IN SELECT …`, or a SELECT whose first row goes into variables.
fn takes_rows(piece: Tokens<'_>) -> bool {
    let at = |words: &[&str]| (0..piece.len()).find(|&i| piece.any_word(i, words));
    let Some(select) = at(&["select"]) else {
        return false;
    };
    let from = (select..piece.len()).any(|i| piece.word(i, "from"));
    let looped =
        (0..select).any(|i| piece.word(i, "for")) && (0..select).any(|i| piece.word(i, "in"));
    let into = (0..piece.len()).any(|i| piece.word(i, "into"));
    let inserts = (0..select).any(|i| piece.any_word(i, &["insert", "merge"]));
    from && (looped || into && !inserts)
}
