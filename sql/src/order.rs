//! Which output columns an ORDER BY sorts by.

use crate::lexer::TokenKind;
use crate::outline::Outline;
use crate::tokens::{Partners, Tokens};
use std::ops::Range;

/// See [`crate::Statement::order_columns`].
pub(crate) fn order_columns(
    tokens: Tokens<'_>,
    partners: &Partners,
    outline: &Outline,
) -> Option<Vec<usize>> {
    let order = outline.top_order.clone()?;
    let first = outline.top_items.first()?;
    let is_star = |item: &Range<usize>| {
        tokens.symbol(item.end - 1, "*") && (item.len() == 1 || tokens.symbol(item.end - 2, "."))
    };
    // The first operand of a UNION in parentheses names the columns: not worth following.
    let preceded = tokens.any_word(
        first.start.saturating_sub(2),
        &["union", "intersect", "except", "all"],
    );
    if preceded || outline.top_items.iter().any(is_star) || !tokens.any_word(0, &["select", "with"])
    {
        return None;
    }
    let columns: Vec<Column> = outline
        .top_items
        .iter()
        .map(|item| Column::of(tokens, item.clone()))
        .collect();
    let mut positions = Vec::new();
    let mut start = order.start;
    let mut i = order.start;
    while i <= order.end {
        if i == order.end || tokens.symbol(i, ",") {
            positions.push(sort_key(tokens, start..i, &columns, outline.set_operation)?);
            start = i + 1;
        }
        i = match tokens.symbol(i, "(") || tokens.symbol(i, "[") {
            true => partners.get(i)? + 1,
            false => i + 1,
        };
    }
    Some(positions)
}

/// An output column: its expression and its name, if that is plain to see.
struct Column {
    expression: Range<usize>,
    name: Option<String>,
}

impl Column {
    fn of(tokens: Tokens<'_>, item: Range<usize>) -> Column {
        let last = item.end - 1;
        if item.len() > 2 && tokens.word(last - 1, "as") {
            return Column {
                expression: item.start..last - 1,
                name: tokens.name(last),
            };
        }
        match tokens.qualified(item.start) {
            Some((mut parts, next)) if next == item.end => {
                return Column {
                    expression: item,
                    name: parts.pop(),
                };
            }
            Some((_, next)) if next == last && !tokens.any_word(last, &["isnull", "notnull"]) => {
                return Column {
                    expression: item.start..last,
                    name: tokens.name(last),
                };
            }
            _ => {}
        }
        let labelled = item.len() > 1
            && (tokens.symbol(last - 1, ")")
                || !matches!(
                    tokens.kind(last - 1),
                    Some(TokenKind::Word | TokenKind::Operator | TokenKind::Symbol)
                ));
        match tokens
            .name(last)
            .filter(|_| labelled && !tokens.any_word(last, &["isnull", "notnull"]))
        {
            Some(name) => Column {
                expression: item.start..last,
                name: Some(name),
            },
            None => Column {
                expression: item,
                name: None,
            },
        }
    }
}

/// The output column that one sort key names: by number, by name (output names before input names, as
/// PostgreSQL resolves them), or by the same expression.
fn sort_key(
    tokens: Tokens<'_>,
    key: Range<usize>,
    columns: &[Column],
    names_only: bool,
) -> Option<usize> {
    let mut end = key.end;
    if end > key.start + 2 && tokens.word(end - 2, "nulls") {
        end -= 2;
    }
    if end > key.start + 1 && tokens.any_word(end - 1, &["asc", "desc"]) {
        end -= 1;
    }
    let key = key.start..end;
    if key.is_empty() {
        return None;
    }
    if key.len() == 1 {
        if tokens.kind(key.start) == Some(TokenKind::Number) {
            let number: usize = tokens.text(key.start).parse().ok()?;
            return number.checked_sub(1).filter(|&n| n < columns.len());
        }
        let name = tokens.name(key.start)?;
        let mut named = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.name.as_ref() == Some(&name));
        if let Some((position, _)) = named.next() {
            return Some(position).filter(|_| named.next().is_none());
        }
        if columns.iter().any(|column| column.name.is_none()) {
            return None;
        }
    }
    if names_only {
        return None;
    }
    columns
        .iter()
        .position(|column| same(tokens, column.expression.clone(), key.clone()))
}

fn same(tokens: Tokens<'_>, a: Range<usize>, b: Range<usize>) -> bool {
    a.len() == b.len()
        && a.zip(b).all(|(a, b)| match tokens.kind(a) {
            Some(TokenKind::Word) => {
                tokens.kind(b) == Some(TokenKind::Word)
                    && tokens.text(a).eq_ignore_ascii_case(tokens.text(b))
            }
            _ => tokens.text(a) == tokens.text(b),
        })
}
