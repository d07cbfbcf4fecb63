//! PREPARE and EXECUTE in SQL: the proxy keeps the statement's text, and an EXECUTE becomes that text with its arguments in
//! place of the parameters. So every replica reads the statement that it executes, as it reads all others.
//!
//! `pg_dump` asks catalogs in this way. Arguments are constants: an expression would be evaluated where it stands, not once
//! before, and a name in it would mean a column of the statement.

use crate::lexer::{self, Quote, TokenKind};
use crate::reader::{Problem, Reader, unsupported};
use crate::splice::Splices;
use crate::statement::{Kind, Refusal};
use crate::tokens::{Partners, Tokens};

/// The most parameters that a statement may have, as in PostgreSQL.
const MAX_PARAMETERS: usize = 65_535;

/// The longest text that an EXECUTE may become, in bytes: each use of a parameter repeats its argument.
const MAX_BOUND: usize = crate::MAX_BYTES;

/// A statement prepared by SQL's PREPARE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub name: String,
    /// The declared types of the parameters, as written.
    types: Vec<String>,
    /// The statement, as written.
    text: String,
}

/// An EXECUTE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    arguments: Vec<String>,
}

impl Template {
    /// Bytes that it holds, roughly.
    pub fn size(&self) -> usize {
        self.text.len() + self.name.len() + self.types.iter().map(String::len).sum::<usize>()
    }

    /// The statement's text with the arguments of a call in it.
    ///
    /// # Errors
    /// 42601 when their number is another, 54000 when it becomes too long.
    pub fn bind(&self, call: &Call) -> Result<String, Refusal> {
        let list = lexer::lex(&self.text)?;
        let tokens = Tokens {
            source: &self.text,
            list: &list,
        };
        let uses: Vec<(usize, usize)> = (0..tokens.len())
            .filter(|&i| tokens.kind(i) == Some(TokenKind::Param))
            .map(|i| (i, number(tokens.text(i))))
            .collect();
        let used = uses.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let wanted = used.max(self.types.len());
        if wanted > MAX_PARAMETERS || uses.iter().any(|(_, number)| *number == 0) {
            return Err(refusal("42P02", "there is no such parameter".into(), ""));
        }
        if call.arguments.len() != wanted {
            return Err(refusal(
                "42601",
                format!(
                    "wrong number of parameters for prepared statement \"{}\"",
                    self.name
                ),
                &format!(
                    "Expected {wanted} parameters but got {}.",
                    call.arguments.len()
                ),
            ));
        }
        let mut splices = Splices::default();
        let mut length = self.text.len();
        for (place, number) in uses {
            let argument = &call.arguments[number - 1];
            let with = match self.types.get(number - 1) {
                Some(declared) if declared != "unknown" => format!("(({argument})::{declared})"),
                // A quoted constant takes the type that its place wants, as a parameter does.
                _ => format!("({})", quoted(argument)),
            };
            length += with.len();
            if length > MAX_BOUND {
                return Err(refusal(
                    "54000",
                    format!("the statement with its parameters is longer than {MAX_BOUND} bytes"),
                    "",
                ));
            }
            splices.replace(tokens.bytes(place..place + 1), with);
        }
        Ok(splices.apply(&self.text, 0..self.text.len(), 0).0)
    }
}

fn refusal(sqlstate: &'static str, message: String, hint: &str) -> Refusal {
    Refusal {
        sqlstate,
        message,
        hint: hint.into(),
    }
}

/// `$7` is 7; what is no number that a parameter may have is 0.
fn number(parameter: &str) -> usize {
    let number = parameter[1..].parse().unwrap_or(0);
    if number > MAX_PARAMETERS { 0 } else { number }
}

/// A number as a quoted constant; anything else as it is.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-. ".contains(c);
    let number = argument.chars().all(plain) && argument.contains(|c: char| c.is_ascii_digit());
    match number {
        true => format!("'{}'", argument.replace(' ', "")),
        false => argument.to_owned(),
    }
}

/// `PREPARE name [(type, …)] AS statement`.
pub(crate) fn prepare(mut r: Reader<'_>) -> Result<(Kind, &'static str), Problem> {
    r.at += 1;
    let name = r.name()?;
    let types = match r.tokens.symbol(r.at, "(") {
        true => list(&mut r)?,
        false => Vec::new(),
    };
    r.expect(&["as"])?;
    let first = r.at;
    let preparable = r.tokens.any_word(
        first,
        &[
            "select", "values", "table", "with", "insert", "update", "delete", "merge",
        ],
    );
    if !preparable && !r.tokens.symbol(first, "(") {
        return Err(r.tokens.syntax_error(first).into());
    }
    let text = r.tokens.source[r.tokens.bytes(first..r.tokens.len())].to_owned();
    // What cannot be executed is not prepared.
    crate::statement(&text)?;
    let template = Template {
        name,
        types: types
            .into_iter()
            .map(|range| r.tokens.source[range].to_owned())
            .collect(),
        text,
    };
    Ok((Kind::Prepare(template), "PREPARE"))
}

/// `EXECUTE name [(constant, …)]`.
pub(crate) fn execute(mut r: Reader<'_>) -> Result<Kind, Problem> {
    r.at += 1;
    let name = r.name()?;
    let arguments = match r.tokens.symbol(r.at, "(") {
        true => list(&mut r)?,
        false => Vec::new(),
    };
    r.end()?;
    let arguments = arguments.into_iter().map(|range| {
        let text = &r.tokens.source[range];
        match is_constant(text)? {
            true => Ok(text.to_owned()),
            false => Err(Problem::from(unsupported(
                "an expression as an argument of EXECUTE",
                "Write a constant, or use the prepared statements of the protocol.",
            ))),
        }
    });
    Ok(Kind::Execute(Call {
        name,
        arguments: arguments.collect::<Result<_, _>>()?,
    }))
}

/// The bytes of the parts of a parenthesised list, split at its own commas.
fn list(r: &mut Reader<'_>) -> Result<Vec<std::ops::Range<usize>>, Problem> {
    let partners = Partners::of(r.tokens);
    let close = partners
        .get(r.at)
        .ok_or_else(|| r.tokens.syntax_error(r.tokens.len()))?;
    let mut parts = Vec::new();
    let (mut begin, mut i) = (r.at + 1, r.at + 1);
    while i <= close {
        if i == close || r.tokens.symbol(i, ",") {
            if begin == i {
                return Err(r.tokens.syntax_error(i).into());
            }
            parts.push(r.tokens.bytes(begin..i));
            begin = i + 1;
        }
        // Over what is in parentheses or brackets of its own.
        i = match i < close {
            true => partners.get(i).filter(|&partner| partner > i).unwrap_or(i) + 1,
            false => i + 1,
        };
    }
    r.at = close + 1;
    Ok(parts)
}

/// A literal with signs before it and casts after it.
fn is_constant(text: &str) -> Result<bool, Problem> {
    let tokens = lexer::lex(text)?;
    let tokens = Tokens {
        source: text,
        list: &tokens,
    };
    let mut i = 0;
    while tokens.symbol(i, "-") || tokens.symbol(i, "+") {
        i += 1;
    }
    let literal = match tokens.kind(i) {
        Some(TokenKind::Number) => true,
        Some(TokenKind::String(quote)) => i == 0 && quote != Quote::Unicode,
        _ => i == 0 && tokens.any_word(i, &["null", "true", "false"]),
    };
    if !literal {
        return Ok(false);
    }
    i += 1;
    while i < tokens.len() {
        if !tokens.symbol(i, "::") {
            return Ok(false);
        }
        let Some((_, next)) = tokens.qualified(i + 1) else {
            return Ok(false);
        };
        i = next;
        // numeric(10, 2), text[], double precision, timestamp with time zone
        while i < tokens.len() && !tokens.symbol(i, "::") {
            let part = tokens.kind(i) == Some(TokenKind::Number)
                || ["(", ")", "[", "]", ","]
                    .iter()
                    .any(|s| tokens.symbol(i, s))
                || tokens.any_word(
                    i,
                    &["precision", "varying", "with", "without", "time", "zone"],
                );
            if !part {
                return Ok(false);
            }
            i += 1;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(sql: &str) -> Template {
        match crate::statement(sql).unwrap().kind {
            Kind::Prepare(template) => template,
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn bound(prepare: &str, execute: &str) -> Result<String, Refusal> {
        match crate::statement(execute)?.kind {
            Kind::Execute(call) => template(prepare).bind(&call),
            other => panic!("{execute}: {other:?}"),
        }
    }

    #[test]
    fn arguments_stand_where_the_parameters_stood() {
        for (prepare, execute, expected) in [
            (
                "PREPARE d(pg_catalog.oid) AS SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = $1",
                "EXECUTE d('16384')",
                "SELECT prosrc FROM pg_catalog.pg_proc WHERE oid = (('16384')::pg_catalog.oid)",
            ),
            ("prepare p as select 1", "execute p", "select 1"),
            (
                "PREPARE p(numeric(10, 2), text[]) AS SELECT $2, $1, $1, '$1'",
                "EXECUTE p(-1.5, NULL::text[])",
                "SELECT ((NULL::text[])::text[]), ((-1.5)::numeric(10, 2)), ((-1.5)::numeric(10, 2)), '$1'",
            ),
            (
                "PREPARE p AS INSERT INTO t VALUES ($1, $2, $3)",
                "EXECUTE p(1, 'a', true)",
                "INSERT INTO t VALUES (('1'), ('a'), (true))",
            ),
        ] {
            assert_eq!(bound(prepare, execute).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_constant_is_refused() {
        for argument in [
            "now()",
            "a",
            "1 + 1",
            "(SELECT 1)",
            "$1",
            "'a' || 'b'",
            "'x'::text::f(1) OR true",
            "ARRAY[1]",
            "- '1'",
        ] {
            let refused = crate::statement(&format!("EXECUTE p({argument})")).unwrap_err();
            assert_eq!(refused.sqlstate, "0A000", "{argument}");
        }
    }

    #[test]
    fn numbers_of_arguments_are_compared() {
        for (execute, expected) in [("EXECUTE p", "got 0"), ("EXECUTE p(1, 2, 3)", "got 3")] {
            let refused = bound("PREPARE p(int) AS SELECT $1, $2", execute).unwrap_err();
            assert_eq!(refused.sqlstate, "42601");
            assert!(refused.hint.contains(expected), "{}", refused.hint);
        }
        assert!(bound("PREPARE p AS SELECT $0", "EXECUTE p(1)").is_err());
    }

    #[test]
    fn a_statement_that_is_refused_is_not_prepared() {
        for (sql, sqlstate) in [
            ("PREPARE p AS SELECT pg_advisory_lock(1)", "0A000"),
            ("PREPARE p AS DROP TABLE t", "42601"),
            ("PREPARE p(int AS SELECT 1", "42601"),
            ("PREPARE p() AS SELECT 1", "42601"),
        ] {
            assert_eq!(
                crate::statement(sql).unwrap_err().sqlstate,
                sqlstate,
                "{sql}"
            );
        }
    }
}
