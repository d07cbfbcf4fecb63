//! COPY: to and from the client only.

use crate::outline::Outline;
use crate::reader::{Problem, Reader, unsupported};
use crate::splice::Splices;
use crate::statement::Kind;
use crate::tokens::Tokens;

/// `Read` stands for COPY TO of anything that changes nothing; the caller looks at its content.
pub(crate) fn copy(mut r: Reader<'_>, outline: &Outline) -> Result<Kind, Problem> {
    r.at += 1;
    let query = r.tokens.symbol(r.at, "(");
    if query {
        r.skip_parentheses();
    } else {
        r.eat(&["binary"]);
        let (_, next) = r
            .tokens
            .qualified(r.at)
            .ok_or_else(|| r.tokens.syntax_error(r.at))?;
        r.at = next;
        r.skip_parentheses();
    }
    let from = !query && r.eat(&["from"]);
    if !from {
        r.expect(&["to"])?;
    }
    if r.tokens.word(r.at, "program") {
        return Err(unsupported(
            "COPY … PROGRAM",
            "Run the program in the client and COPY FROM STDIN or TO STDOUT.",
        )
        .into());
    }
    if r.tokens.is_string(r.at) {
        return Err(unsupported(
            "COPY with a file of the server",
            "Use COPY FROM STDIN or TO STDOUT (\\copy in psql).",
        )
        .into());
    }
    if !r.eat_any(&["stdin", "stdout"]) {
        return Err(r.tokens.syntax_error(r.at).into());
    }
    Ok(match from {
        true => Kind::CopyIn,
        false if outline.modifies || outline.locks => Kind::Write,
        false => Kind::Read,
    })
}

/// Switches FREEZE off: it asks for a table made in the same subtransaction, which SteelDB's savepoints
/// forbid, and it would show rows to snapshots that must not see them. It changes no data.
pub(crate) fn thaw(tokens: Tokens<'_>, splices: &mut Splices) {
    let from = (0..tokens.len()).find(|&i| tokens.words(i, &["from", "stdin"]));
    let mut depth = 0_usize;
    for i in from.map_or(tokens.len(), |from| from + 2)..tokens.len() {
        let follows = |symbols: &[&str]| symbols.iter().any(|symbol| tokens.symbol(i - 1, symbol));
        if tokens.symbol(i, "(") {
            depth += 1;
        } else if tokens.symbol(i, ")") {
            depth = depth.saturating_sub(1);
        } else if tokens.word(i, "where") && depth == 0 {
            return;
        } else if !tokens.word(i, "freeze") {
            continue;
        } else if depth == 1 && follows(&["(", ","]) {
            let valued = !tokens.symbol(i + 1, ",") && !tokens.symbol(i + 1, ")");
            splices.replace(tokens.bytes(i..i + 1 + usize::from(valued)), "freeze off");
        } else if depth == 0 && !follows(&[","]) && !tokens.any_word(i - 1, &["quote", "null"]) {
            // The form without parentheses: WITH may stand alone.
            splices.replace(tokens.end(i - 1)..tokens.end(i), "");
        }
    }
}
