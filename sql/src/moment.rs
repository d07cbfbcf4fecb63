//! The special date/time inputs `now`, `today`, `tomorrow`, `yesterday` in typed literals and casts.

use crate::lexer::TokenKind;
use crate::statement::Refusal;
use crate::tokens::Tokens;
use crate::volatile::Replacement;

const SPECIAL: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// A special literal with its type.
pub(crate) struct Moment {
    word: &'static str,
    /// Internal name of a date/time type.
    ty: String,
    /// As written, with its parentheses.
    precision: String,
    pub(crate) name: String,
    pub(crate) strength: u8,
}

impl Moment {
    pub(crate) fn expression(&self) -> String {
        let Moment { ty, precision, .. } = self;
        let today = "pg_catalog.now()::pg_catalog.date";
        let day = match self.word {
            "now" => return format!("(pg_catalog.now()::pg_catalog.{ty}{precision})"),
            "today" => format!("({today})"),
            "tomorrow" => format!("({today} OPERATOR(pg_catalog.+) 1)"),
            _ => format!("({today} OPERATOR(pg_catalog.-) 1)"),
        };
        if ty == "date" {
            day
        } else {
            format!("({day}::pg_catalog.{ty}{precision})")
        }
    }
}

/// A special literal that begins at token `i`: `'now'::type`, `type 'now'`, `CAST('now' AS type)`, `type('now')`.
///
/// # Errors
/// 0A000 when it is combined with other words (`'today 12:00'`), or would be stored (`frozen`).
pub(crate) fn literal(
    tokens: Tokens<'_>,
    i: usize,
    frozen: bool,
) -> Result<Option<Replacement>, Refusal> {
    let Some(TypedLiteral {
        string,
        end,
        ty,
        precision,
        strength,
    }) = typed_literal(tokens, i)
    else {
        return Ok(None);
    };
    let is_time = matches!(ty.as_str(), "time" | "timetz");
    if !matches!(
        ty.as_str(),
        "date" | "time" | "timetz" | "timestamp" | "timestamptz"
    ) {
        return Ok(None);
    }
    let Some(value) = tokens.string(string) else {
        return Ok(None);
    };
    let value = value.trim().to_ascii_lowercase();
    let special = |word: &str| SPECIAL.into_iter().find(|special| *special == word);
    let Some(word) = special(&value) else {
        return match value.split(|c: char| !c.is_ascii_alphabetic()).any(|word| special(word).is_some()) {
            true => Err(Refusal {
                sqlstate: "0A000",
                message: format!("the {ty} literal \"{value}\" mixes the clock with other fields"),
                hint: "Compute it from now(), for example date_trunc('day', now()) + interval '12 hours'.".into(),
            }),
            false => Ok(None),
        };
    };
    if is_time && word != "now" {
        return Ok(None);
    }
    if frozen {
        return Err(Refusal {
            sqlstate: "0A000",
            message: format!(
                "the {ty} literal \"{word}\" would be fixed to the moment of this statement, differently at each replica"
            ),
            hint: "Write now() for the time of each later use, or a constant for a fixed time."
                .into(),
        });
    }
    let name = ty.clone();
    Ok(Some(
        (
            end,
            Moment {
                word,
                ty,
                precision,
                name,
                strength,
            },
        )
            .into(),
    ))
}

/// Words with which a typed literal can begin.
const OPENINGS: &[&str] = &[
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "cast",
    "pg_catalog",
];

struct TypedLiteral {
    string: usize,
    end: usize,
    ty: String,
    precision: String,
    strength: u8,
}

fn typed_literal(tokens: Tokens<'_>, i: usize) -> Option<TypedLiteral> {
    let of = |string: usize, end: usize, at: usize, ty: TypeName| {
        let precision = precision(tokens, at, ty.end)?;
        ty.builtin.then_some(TypedLiteral {
            string,
            end,
            ty: ty.name,
            precision,
            strength: 1,
        })
    };
    if tokens.is_string(i) {
        let cast = tokens.after(i);
        if !tokens.symbol(cast, "::") {
            return None;
        }
        let ty = type_name(tokens, cast + 1)?;
        return of(i, ty.end, cast + 1, ty);
    }
    let opens = tokens.any_word(i, OPENINGS) || tokens.kind(i) == Some(TokenKind::Quoted);
    if !opens || (i > 0 && tokens.symbol(i - 1, ".")) {
        return None;
    }
    if tokens.word(i, "cast") && tokens.symbol(i + 1, "(") {
        let as_ = (tokens.is_string(i + 2) && tokens.word(i + 3, "as")).then_some(i + 3)?;
        let ty = type_name(tokens, as_ + 1)?;
        return tokens
            .symbol(ty.end, ")")
            .then(|| of(i + 2, ty.end + 1, as_ + 1, ty))
            .flatten();
    }
    let (mut parts, next) = tokens.qualified(i)?;
    if tokens.symbol(next, "(") && tokens.is_string(next + 1) && tokens.symbol(next + 2, ")") {
        let ty = parts
            .pop()
            .filter(|_| parts.last().is_none_or(|schema| schema == "pg_catalog"))?;
        return Some(TypedLiteral {
            string: next + 1,
            end: next + 3,
            ty,
            precision: String::new(),
            strength: 2,
        });
    }
    let ty = type_name(tokens, i).filter(|ty| tokens.is_string(ty.end))?;
    of(ty.end, ty.end + 1, i, ty)
}

/// `(p)` among the tokens of a type; `None` for an array type, whose literals are left alone.
fn precision(tokens: Tokens<'_>, start: usize, end: usize) -> Option<String> {
    if tokens.symbol(end - 1, "]") || tokens.word(end - 1, "array") {
        return None;
    }
    let open = (start..end).find(|&i| tokens.symbol(i, "("));
    Some(open.map_or(String::new(), |open| format!("({})", tokens.text(open + 1))))
}

/// A type name, as PostgreSQL keeps it.
pub(crate) struct TypeName {
    /// The token after it.
    pub(crate) end: usize,
    /// The internal name without its schema, which is the output name that a cast gives.
    pub(crate) name: String,
    /// No schema but `pg_catalog` is given.
    builtin: bool,
}

/// The type name that begins at `i`.
pub(crate) fn type_name(tokens: Tokens<'_>, i: usize) -> Option<TypeName> {
    let (mut parts, mut at) = tokens.qualified(i)?;
    let qualified = parts.len() > 1 || tokens.kind(i) != Some(TokenKind::Word);
    let mut name = parts.pop()?;
    let builtin = parts.last().is_none_or(|schema| schema == "pg_catalog");
    if !qualified {
        let varying = tokens.word(at, "varying");
        let simple = match (name.as_str(), varying) {
            ("double", _) if tokens.word(at, "precision") => "float8",
            ("character" | "char" | "nchar", true) => "varchar",
            ("national", _) if tokens.any_word(at, &["character", "char"]) => {
                at += 1;
                if tokens.word(at, "varying") {
                    "varchar"
                } else {
                    "bpchar"
                }
            }
            ("bit", true) => "varbit",
            ("character" | "char" | "nchar", _) => "bpchar",
            ("int" | "integer", _) => "int4",
            ("smallint", _) => "int2",
            ("bigint", _) => "int8",
            ("real", _) => "float4",
            ("float", _) => "float8",
            ("decimal" | "dec", _) => "numeric",
            ("boolean", _) => "bool",
            (other, _) => other,
        }
        .to_string();
        if tokens.any_word(at, &["varying", "precision"]) {
            at += 1;
        }
        name = simple;
    }
    if tokens.symbol(at, "(") {
        while !tokens.symbol(at, ")") {
            if at >= tokens.len() || at > i + 16 {
                return None;
            }
            at += 1;
        }
        at += 1;
    }
    if !qualified && matches!(name.as_str(), "time" | "timestamp") {
        if tokens.words(at, &["with", "time", "zone"]) {
            name.push_str("tz");
            at += 3;
        } else if tokens.words(at, &["without", "time", "zone"]) {
            at += 3;
        }
    }
    if !qualified && name == "interval" {
        while tokens.any_word(
            at,
            &["year", "month", "day", "hour", "minute", "second", "to"],
        ) {
            at += 1;
        }
    }
    while tokens.symbol(at, "[") {
        at += if tokens.symbol(at + 1, "]") { 2 } else { 3 };
    }
    if tokens.word(at, "array") {
        at += 1;
    }
    (at <= tokens.len()).then_some(TypeName {
        end: at,
        name,
        builtin,
    })
}
