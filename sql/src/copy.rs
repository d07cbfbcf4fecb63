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
    let options = (0..tokens.len())
        .rev()
        .find(|&i| tokens.any_word(i, &["stdin", "stdout"]));
    for i in options.unwrap_or(tokens.len())..tokens.len() {
        if !tokens.word(i, "freeze") {
            continue;
        }
        let listed = i > 0 && (tokens.symbol(i - 1, "(") || tokens.symbol(i - 1, ","));
        if listed {
            let valued = !tokens.symbol(i + 1, ",") && !tokens.symbol(i + 1, ")");
            splices.replace(tokens.bytes(i..i + 1 + usize::from(valued)), "freeze off");
        } else {
            splices.replace(tokens.bytes(i..i + 1), "");
        }
    }
}
