//! `… CONCURRENTLY` is left out.
//!
//! Such a statement commits several times by itself and waits in between until no older snapshot is left, so it could neither be
//! taken back nor be compared before it counts. And it would spare nobody anything: what is ordered behind a schema change waits for it at
//! every replica either way. Without the word it is a schema change like any other, with the same result.

use crate::splice::Splices;
use crate::tokens::Tokens;

/// REFRESH MATERIALIZED VIEW CONCURRENTLY is none of these: it waits for no snapshot.
pub(crate) fn leave_out(tokens: Tokens<'_>, splices: &mut Splices) {
    let unique = usize::from(tokens.word(1, "unique"));
    let at = if tokens.word(0, "create") && tokens.words(1 + unique, &["index", "concurrently"]) {
        Some(2 + unique)
    } else if tokens.words(0, &["drop", "index", "concurrently"]) {
        Some(2)
    } else if tokens.words(0, &["alter", "table"]) {
        (2..tokens.len()).find_map(|i| detaches(tokens, i))
    } else if tokens.word(0, "reindex") {
        reindex(tokens, splices)
    } else {
        None
    };
    if let Some(at) = at {
        // With what stands before it: at the end of a statement nothing may be left.
        splices.replace(tokens.end(at - 1)..tokens.end(at), "");
    }
}

/// Where the word stands behind the `DETACH PARTITION` that begins at `i`.
fn detaches(tokens: Tokens<'_>, i: usize) -> Option<usize> {
    if !tokens.words(i, &["detach", "partition"]) || tokens.symbol(i.wrapping_sub(1), ".") {
        return None;
    }
    let (_, next) = tokens.qualified(i + 2)?;
    tokens.word(next, "concurrently").then_some(next)
}

/// Its options say FALSE; where the word stands behind TABLE.
fn reindex(tokens: Tokens<'_>, splices: &mut Splices) -> Option<usize> {
    let mut i = 1;
    if tokens.symbol(i, "(") {
        while i < tokens.len() && !tokens.symbol(i, ")") {
            if tokens.name(i).as_deref() == Some("concurrently") {
                let valued = !tokens.any_symbol(i + 1, &[",", ")"]);
                splices.replace(
                    tokens.bytes(i..i + 1 + usize::from(valued)),
                    "CONCURRENTLY FALSE",
                );
            }
            i += 1;
        }
        i += 1;
    }
    tokens.word(i + 1, "concurrently").then_some(i + 1)
}
