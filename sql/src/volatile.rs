//! CURRENT_TIMESTAMP and its like, and special literals such as `'now'::timestamptz`: the clock as grammar.
//!
//! No function can be replaced here, so the text is: each becomes an expression over `pg_catalog.now()`
//! of the same type. Where the keyword would have named an output column, the name is kept by an alias.

use crate::lexer::TokenKind;
use crate::moment::{self, Moment};
use crate::outline::Outline;
use crate::splice::Splices;
use crate::statement::Refusal;
use crate::tokens::{Partners, Tokens};
use std::collections::BTreeMap;
use std::ops::Range;

/// Depth to which output names are followed through parentheses, casts and CASE.
const MAX_NAME_DEPTH: usize = 32;

/// Something replaced: the token after it, the output name that it would give, and how strongly
/// (2: the name stands against casts; 1: a type's name, which an outer cast replaces).
struct Core {
    end: usize,
    name: String,
    strength: u8,
}

/// Adds to `splices` the replacements for all of `tokens`. `frozen`: the statement stores its expressions (DDL),
/// so that PostgreSQL would fix a special literal at once.
///
/// # Errors
/// 0A000 for special literals that cannot be replaced with the same meaning.
pub(crate) fn rewrite(
    tokens: Tokens<'_>,
    partners: &Partners,
    outline: &Outline,
    frozen: bool,
    splices: &mut Splices,
) -> Result<(), Refusal> {
    let mut cores = BTreeMap::new();
    let mut i = 0;
    while i < tokens.len() {
        let found = match keyword(tokens, partners, outline, i)? {
            Some(found) => Some(found),
            None => moment::literal(tokens, i, frozen)?,
        };
        match found {
            Some(Replacement {
                end,
                with,
                name,
                strength,
            }) => {
                splices.replace(tokens.bytes(i..end), with);
                cores.insert(
                    i,
                    Core {
                        end,
                        name,
                        strength,
                    },
                );
                i = end;
            }
            None => i += 1,
        }
    }
    if cores.is_empty() {
        return Ok(());
    }
    let naming = Naming {
        tokens,
        partners,
        cores: &cores,
    };
    for item in &outline.items {
        if cores.range(item.clone()).next().is_some()
            && let Some((name, _)) = naming.name(item.clone(), 0)
        {
            splices.insert(tokens.bytes(item.clone()).end, format!(" AS \"{name}\""));
        }
    }
    Ok(())
}

pub(crate) struct Replacement {
    pub(crate) end: usize,
    pub(crate) with: String,
    pub(crate) name: String,
    pub(crate) strength: u8,
}

/// CURRENT_DATE and the like at `i`, when it is an expression and no label.
fn keyword(
    tokens: Tokens<'_>,
    partners: &Partners,
    outline: &Outline,
    i: usize,
) -> Result<Option<Replacement>, Refusal> {
    if tokens.kind(i) != Some(TokenKind::Word) {
        return Ok(None);
    }
    let name = tokens.text(i).to_ascii_lowercase();
    let ty = match name.as_str() {
        "current_date" => "date",
        "current_time" => "timetz",
        "current_timestamp" => "timestamptz",
        "localtime" => "time",
        "localtimestamp" => "timestamp",
        _ => return Ok(None),
    };
    if !begins_expression(tokens, partners, i) {
        return Ok(None);
    }
    if i > 0
        && (tokens.any_word(i - 1, &["join", "lateral"])
            || outline.from_clauses.binary_search(&(i - 1)).is_ok())
    {
        return Err(Refusal {
            sqlstate: "0A000",
            message: format!("{name} as a table in FROM is not supported"),
            hint: "Select the value of now() instead.".into(),
        });
    }
    let precise =
        name != "current_date" && tokens.symbol(i + 1, "(") && partners.get(i + 1) == Some(i + 3);
    let precision = if precise {
        format!("({})", tokens.text(i + 2))
    } else {
        String::new()
    };
    let with = match (ty, precise) {
        ("timestamptz", false) => "pg_catalog.now()".into(),
        _ => format!("(pg_catalog.now()::pg_catalog.{ty}{precision})"),
    };
    Ok(Some(Replacement {
        end: if precise { i + 4 } else { i + 1 },
        with,
        name,
        strength: 2,
    }))
}

/// Words after which an expression begins; after any other word the keyword is a bare column label.
const BEFORE_EXPRESSIONS: &[&str] = &[
    "select",
    "all",
    "distinct",
    "where",
    "and",
    "or",
    "not",
    "on",
    "having",
    "by",
    "limit",
    "offset",
    "first",
    "next",
    "case",
    "when",
    "then",
    "else",
    "between",
    "symmetric",
    "asymmetric",
    "like",
    "ilike",
    "to",
    "similar",
    "in",
    "from",
    "for",
    "using",
    "default",
    "returning",
    "if",
    "elsif",
    "elseif",
    "while",
    "return",
    "perform",
    "escape",
    "variadic",
    "placing",
    "zone",
    "both",
    "leading",
    "trailing",
    "content",
    "document",
    "passing",
    "execute",
    "assert",
    "reverse",
    "is",
    "overlaps",
    "until",
    "values",
    "join",
    "lateral",
    "array",
    "row",
    "call",
    "exit",
    "continue",
    "constant",
];

fn begins_expression(tokens: Tokens<'_>, partners: &Partners, i: usize) -> bool {
    let Some(previous) = i.checked_sub(1) else {
        return true;
    };
    if tokens.is_label(i) {
        return false;
    }
    match tokens.kind(previous) {
        Some(TokenKind::Word) => tokens.any_word(previous, BEFORE_EXPRESSIONS),
        // `SELECT count(*) …`, not `SELECT * current_date`: a star is never followed by a label.
        Some(TokenKind::Operator) => true,
        Some(TokenKind::Symbol) => match tokens.text(previous) {
            ")" => partners.get(previous).is_some_and(|open| {
                open > 0
                    && (tokens.word(open - 1, "operator")
                        || (open > 1 && tokens.words(open - 2, &["distinct", "on"])))
            }),
            "]" => false,
            _ => true,
        },
        _ => false,
    }
}

struct Naming<'a> {
    tokens: Tokens<'a>,
    partners: &'a Partners,
    cores: &'a BTreeMap<usize, Core>,
}

impl Naming<'_> {
    /// The output name of an expression (PostgreSQL's `FigureColname`) when a replaced part gives it; `None` when
    /// it does not, or the item has an alias.
    fn name(&self, range: Range<usize>, depth: usize) -> Option<(String, u8)> {
        let tokens = self.tokens;
        if depth > MAX_NAME_DEPTH || range.is_empty() {
            return None;
        }
        let start = range.start;
        let (mut named, mut at) = if let Some(core) = self.cores.get(&start) {
            ((core.name.clone(), core.strength), core.end)
        } else if tokens.symbol(start, "(") {
            let close = self.partners.get(start)?;
            // A subquery's own item carries the name.
            if tokens.any_word(start + 1, &["select", "with", "values", "table"]) {
                return None;
            }
            (self.name(start + 1..close, depth + 1)?, close + 1)
        } else if tokens.word(start, "cast") && tokens.symbol(start + 1, "(") {
            let close = self.partners.get(start + 1)?;
            let as_ = self.top_level(start + 2..close, |i| tokens.word(i, "as"))?;
            let inner = self.name(start + 2..as_, depth + 1)?;
            (
                cast(inner, moment::type_name(tokens, as_ + 1)?.name),
                close + 1,
            )
        } else if tokens.word(start, "case") {
            let end = self.end_of_case(start + 1, range.end)?;
            let else_ = self.else_of_case(start + 1..end)?;
            let inner = self.name(else_ + 1..end, depth + 1)?;
            (
                if inner.1 <= 1 {
                    ("case".into(), 1)
                } else {
                    inner
                },
                end + 1,
            )
        } else {
            return None;
        };
        while at < range.end {
            if tokens.symbol(at, "::") {
                let ty = moment::type_name(tokens, at + 1)?;
                named = cast(named, ty.name);
                at = ty.end;
            } else if tokens.word(at, "collate") {
                at = tokens.qualified(at + 1)?.1;
            } else {
                return None;
            }
        }
        Some(named).filter(|_| at == range.end)
    }

    /// The first token of `range` outside inner parentheses for which `wanted` holds.
    fn top_level(&self, range: Range<usize>, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut i = range.start;
        while i < range.end {
            if wanted(i) {
                return Some(i);
            }
            i = match self.tokens.symbol(i, "(") {
                true => self.partners.get(i)? + 1,
                false => i + 1,
            };
        }
        None
    }

    fn end_of_case(&self, from: usize, end: usize) -> Option<usize> {
        let mut depth = 0_usize;
        let mut i = from;
        while i < end {
            if self.tokens.word(i, "case") && !self.tokens.is_label(i) {
                depth += 1;
            } else if self.tokens.word(i, "end") && !self.tokens.is_label(i) {
                match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return Some(i),
                }
            }
            i = match self.tokens.symbol(i, "(") {
                true => self.partners.get(i)? + 1,
                false => i + 1,
            };
        }
        None
    }

    fn else_of_case(&self, range: Range<usize>) -> Option<usize> {
        let mut i = range.start;
        while i < range.end {
            if self.tokens.word(i, "else") {
                return Some(i);
            }
            i = if self.tokens.word(i, "case") {
                self.end_of_case(i + 1, range.end)? + 1
            } else if self.tokens.symbol(i, "(") {
                self.partners.get(i)? + 1
            } else {
                i + 1
            };
        }
        None
    }
}

/// A cast gives its type's name unless the operand's name is stronger.
fn cast(named: (String, u8), ty: String) -> (String, u8) {
    if named.1 <= 1 { (ty, 1) } else { named }
}

impl From<(usize, Moment)> for Replacement {
    fn from((end, moment): (usize, Moment)) -> Self {
        Replacement {
            end,
            with: moment.expression(),
            name: moment.name,
            strength: moment.strength,
        }
    }
}
