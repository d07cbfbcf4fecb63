//! Where one statement of a simple-query string ends and the next begins.

use crate::lexer::Token;
use crate::statement::SplitError;
use crate::tokens::Tokens;
use std::ops::Range;

/// Token ranges of the statements of `source`, semicolons and empty statements left out.
///
/// # Errors
/// Parentheses that do not match, and semicolons inside them but in CREATE RULE: PostgreSQL's parser
/// refuses the whole string for these.
pub(crate) fn pieces(source: &str, list: &[Token]) -> Result<Vec<Range<usize>>, SplitError> {
    let tokens = Tokens { source, list };
    let mut found = Vec::new();
    let mut start = 0;
    let mut depth = 0_usize;
    let mut atomic = false;
    for i in 0..tokens.len() {
        if tokens.symbol(i, "(") {
            depth += 1;
        } else if tokens.symbol(i, ")") {
            depth = depth.checked_sub(1).ok_or_else(|| tokens.syntax_error(i))?;
        } else if depth > 0 {
            if tokens.symbol(i, ";")
                && !atomic
                && after_create(tokens, start).is_none_or(|n| !tokens.word(n, "rule"))
            {
                return Err(tokens.syntax_error(i));
            }
        } else if atomic {
            // Inside BEGIN ATOMIC … END a semicolon ends a statement of the body; END right after one, the body.
            let closes = tokens.word(i, "end")
                && (tokens.symbol(i - 1, ";") || tokens.word(i - 1, "atomic"));
            atomic = !closes;
        } else if tokens.words(i, &["begin", "atomic"]) && !tokens.is_label(i) {
            atomic = after_create(tokens, start)
                .is_some_and(|n| tokens.any_word(n, &["function", "procedure"]));
        } else if tokens.symbol(i, ";") {
            if start < i {
                found.push(start..i);
            }
            start = i + 1;
        }
    }
    if depth > 0 || atomic {
        return Err(tokens.syntax_error(tokens.len()));
    }
    if start < tokens.len() {
        found.push(start..tokens.len());
    }
    Ok(found)
}

/// The index after `CREATE [OR REPLACE]` at `start`.
fn after_create(tokens: Tokens<'_>, start: usize) -> Option<usize> {
    match tokens.words(start, &["create", "or", "replace"]) {
        true => Some(start + 3),
        false => tokens.word(start, "create").then_some(start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::lex;

    #[test]
    fn semicolons_separate_only_where_postgresql_lets_them() {
        for (source, expected) in [
            ("", vec![]),
            (" ; ;-- x;\n;", vec![]),
            ("select 1; select ';' ;", vec!["select 1", "select ';'"]),
            (
                "select $$;$$;/*;*/select 2",
                vec!["select $$;$$", "select 2"],
            ),
            (
                "create or replace rule r as on insert to t do also (select 1; select 2); x",
                vec![
                    "create or replace rule r as on insert to t do also (select 1; select 2)",
                    "x",
                ],
            ),
            (
                "create function f() returns int begin atomic select 1; select case when true then 1 end; end; select 2",
                vec![
                    "create function f() returns int begin atomic select 1; select case when true then 1 end; end",
                    "select 2",
                ],
            ),
            (
                "create procedure p() begin atomic select 1 end; end; b",
                vec!["create procedure p() begin atomic select 1 end; end", "b"],
            ),
            (
                "create procedure p() begin atomic end; b",
                vec!["create procedure p() begin atomic end", "b"],
            ),
            ("begin; end; c", vec!["begin", "end", "c"]),
        ] {
            let list = lex(source).unwrap();
            let tokens = Tokens {
                source,
                list: &list,
            };
            let texts: Vec<_> = pieces(source, &list)
                .unwrap()
                .into_iter()
                .map(|piece| &source[tokens.bytes(piece)])
                .collect();
            assert_eq!(texts, expected, "{source}");
        }
    }

    #[test]
    fn what_cannot_be_split_is_a_syntax_error_for_the_whole_string() {
        for (source, message, position) in [
            ("select (1; select 2)", "syntax error at or near \";\"", 10),
            ("select 1)", "syntax error at or near \")\"", 9),
            ("select (1", "syntax error at end of input", 10),
            (
                "create function f() begin atomic select 1;",
                "syntax error at end of input",
                43,
            ),
        ] {
            let error = pieces(source, &lex(source).unwrap()).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.position),
                (message, position),
                "{source}"
            );
        }
    }
}
