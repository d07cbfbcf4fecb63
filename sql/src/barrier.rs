//! Statements that wait until every older snapshot is gone (`… CONCURRENTLY`).
//!
//! Inside of the order that would be for ever: a transaction that is ordered later holds its snapshot until its turn. So they are barriers: what is
//! open is aborted first, and they run alone at their place, outside of a transaction.

use crate::statement::Kind;
use crate::tokens::Tokens;

/// How they are executed: like VACUUM, by all at their place.
pub(crate) const KIND: Kind = Kind::Maintenance {
    transactional: false,
};

/// Which of them a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    CreateIndex,
    DropIndex,
    Reindex,
    /// DETACH PARTITION, with FINALIZE too.
    Detach,
}

pub(crate) fn barrier(tokens: Tokens<'_>) -> Option<Barrier> {
    let create = if tokens.word(1, "unique") { 2 } else { 1 };
    if tokens.word(0, "create") && tokens.words(create, &["index", "concurrently"]) {
        return Some(Barrier::CreateIndex);
    }
    if tokens.words(0, &["drop", "index", "concurrently"]) {
        return Some(Barrier::DropIndex);
    }
    if tokens.word(0, "reindex") && is_concurrent_reindex(tokens) {
        return Some(Barrier::Reindex);
    }
    let detaches = |i| {
        let name =
            tokens.words(i, &["detach", "partition"]) && !tokens.symbol(i.wrapping_sub(1), ".");
        name.then(|| tokens.qualified(i + 2))
            .flatten()
            .is_some_and(|(_, next)| tokens.any_word(next, &["concurrently", "finalize"]))
    };
    (tokens.words(0, &["alter", "table"]) && (2..tokens.len()).any(detaches))
        .then_some(Barrier::Detach)
}

/// `REINDEX (CONCURRENTLY, VERBOSE) TABLE t`, `REINDEX TABLE CONCURRENTLY t`; an option that says `false` is none.
fn is_concurrent_reindex(tokens: Tokens<'_>) -> bool {
    let mut i = 1;
    if tokens.symbol(i, "(") {
        while i < tokens.len() && !tokens.symbol(i, ")") {
            let off = tokens.any_word(i + 1, &["false", "off", "no"]) || tokens.text(i + 1) == "0";
            if tokens.word(i, "concurrently") && !off {
                return true;
            }
            i += 1;
        }
        i += 1;
    }
    tokens.word(i + 1, "concurrently")
}
