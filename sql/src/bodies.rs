//! Bodies of functions and DO blocks: code inside a string constant, checked and rewritten like a statement.

use crate::lexer::lex;
use crate::outline::outline;
use crate::reach;
use crate::reader::unsupported;
use crate::splice::Splices;
use crate::statement::Refusal;
use crate::tokens::{Partners, Tokens};
use crate::{decode, inner, skipping, volatile};

/// Rewrites the bodies in a CREATE FUNCTION, CREATE PROCEDURE or DO. True when a LIMIT in one has no ORDER BY.
///
/// # Errors
/// 0A000 for languages other than sql and plpgsql, and for what [`reach`] or [`volatile`] refuse.
pub(crate) fn rewrite(tokens: Tokens<'_>, splices: &mut Splices) -> Result<bool, Refusal> {
    let mut limits = false;
    let block = tokens.word(0, "do");
    let mut depth = 0_usize;
    for i in 0..tokens.len() {
        if tokens.symbol(i, "(") {
            depth += 1;
        } else if tokens.symbol(i, ")") {
            depth = depth.saturating_sub(1);
        } else if depth > 0 || i == 0 {
            continue;
        } else if tokens.word(i - 1, "language") {
            language(tokens, i)?;
        } else if tokens.is_string(i) && (block || tokens.word(i - 1, "as")) {
            limits |= body(tokens, i, splices)?;
        }
    }
    Ok(limits)
}

fn language(tokens: Tokens<'_>, i: usize) -> Result<(), Refusal> {
    let name = tokens
        .string(i)
        .or_else(|| tokens.name(i))
        .unwrap_or_default()
        .to_ascii_lowercase();
    match name.as_str() {
        "sql" | "plpgsql" => Ok(()),
        _ => Err(unsupported(
            &format!("the language {name}"),
            "Write functions in sql or plpgsql.",
        )),
    }
}

fn body(tokens: Tokens<'_>, i: usize, splices: &mut Splices) -> Result<bool, Refusal> {
    let Some(value) = tokens.string(i) else {
        return Ok(false);
    };
    // What does not lex is PostgreSQL's to report, with its own context.
    let Ok(list) = lex(&value) else {
        return Ok(false);
    };
    let body = Tokens {
        source: &value,
        list: &list,
    };
    let partners = Partners::of(body);
    reach::check(body)?;
    skipping::refuse_inside(body)?;
    statements(body)?;
    let mut inside = Splices::default();
    volatile::rewrite(
        body,
        &partners,
        &outline(body, &partners),
        false,
        &mut inside,
    )?;
    let limits = inner::limits_without_order(body);
    if inside.is_empty() {
        return Ok(limits);
    }
    let (rewritten, _) = inside.apply(&value, 0..value.len(), 0);
    let token = tokens.text(i);
    let end = tokens.after(i);
    let quoted = match token
        .strip_prefix('$')
        .and_then(|rest| rest.split_once('$'))
    {
        // Nothing spliced in holds a dollar sign, so the tag still ends the body where it did.
        Some((tag, _)) => format!("${tag}${rewritten}${tag}$"),
        None => decode::quote(&rewritten),
    };
    splices.replace(tokens.bytes(i..end), quoted);
    Ok(limits)
}

/// Refuses statements inside a body that would be refused outside, as far as their first words tell.
fn statements(tokens: Tokens<'_>) -> Result<(), Refusal> {
    for i in 0..tokens.len() {
        if let Some(text) = executed(tokens, i)
            && let Ok(list) = lex(&text)
        {
            statements(Tokens {
                source: &text,
                list: &list,
            })?;
        }
        let begins = i == 0
            || tokens.symbol(i - 1, ";")
            || tokens.any_word(i - 1, &["begin", "then", "else", "loop", "atomic"]);
        if !begins
            || [":=", "=", ".", "["]
                .iter()
                .any(|symbol| tokens.symbol(i + 1, symbol))
        {
            continue;
        }
        if tokens.any_word(i, &["listen", "notify", "unlisten"]) {
            return Err(unsupported(
                &tokens.text(i).to_ascii_uppercase(),
                "Write to a table and poll it.",
            ));
        }
        if tokens.word(i, "create")
            && tokens.any_word(i + 1, &["temp", "temporary", "global", "local"])
        {
            return Err(unsupported("a temporary object", reach::TEMPORARY));
        }
        if tokens.words(i, &["create", "unlogged"]) {
            return Err(crate::ddl::unlogged());
        }
        crate::ddl::refuse_inside(tokens, i)?;
    }
    Ok(())
}

/// The constant with which the text of an EXECUTE begins: what it is put together from further on is not known before it runs.
fn executed(tokens: Tokens<'_>, i: usize) -> Option<String> {
    if !tokens.word(i, "execute") {
        return None;
    }
    let mut at = i + 1;
    while tokens.word(at, "format") || tokens.symbol(at, "(") {
        at += 1;
    }
    tokens.string(at)
}
