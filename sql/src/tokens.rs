//! A run of tokens with its source: what the other files ask of it.

use crate::decode;
use crate::lexer::{Quote, Token, TokenKind, syntax_error};
use crate::statement::SplitError;
use std::ops::Range;

/// For each parenthesis and bracket its partner; built once per statement, in linear time.
pub(crate) struct Partners(Vec<u32>);

impl Partners {
    pub(crate) fn of(tokens: Tokens<'_>) -> Partners {
        let mut partners = vec![u32::MAX; tokens.len()];
        let mut open = Vec::new();
        for i in 0..tokens.len() {
            let index = u32::try_from(i).expect("at most MAX_TOKENS tokens");
            if tokens.symbol(i, "(") || tokens.symbol(i, "[") {
                open.push(index);
            } else if tokens.symbol(i, ")") || tokens.symbol(i, "]") {
                let Some(opening) = open.pop() else { continue };
                partners[i] = opening;
                partners[opening as usize] = index;
            }
        }
        Partners(partners)
    }

    pub(crate) fn get(&self, i: usize) -> Option<usize> {
        self.0
            .get(i)
            .filter(|&&partner| partner != u32::MAX)
            .map(|&partner| partner as usize)
    }
}

/// Tokens of one statement (or function body); every question may be asked past the end.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) source: &'a str,
    pub(crate) list: &'a [Token],
}

impl<'a> Tokens<'a> {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn kind(&self, i: usize) -> Option<TokenKind> {
        self.list.get(i).map(|token| token.kind)
    }

    /// The token as written; empty past the end.
    pub(crate) fn text(&self, i: usize) -> &'a str {
        self.list.get(i).map_or("", |token| {
            &self.source[token.start as usize..token.end as usize]
        })
    }

    pub(crate) fn start(&self, i: usize) -> usize {
        self.list
            .get(i)
            .map_or(self.source.len(), |token| token.start as usize)
    }

    pub(crate) fn end(&self, i: usize) -> usize {
        self.list
            .get(i)
            .map_or(self.source.len(), |token| token.end as usize)
    }

    /// Bytes of the tokens `range`.
    pub(crate) fn bytes(&self, range: Range<usize>) -> Range<usize> {
        match range.is_empty() {
            true => self.start(range.start)..self.start(range.start),
            false => self.start(range.start)..self.end(range.end - 1),
        }
    }

    /// Is token `i` this unquoted word, in any case?
    pub(crate) fn word(&self, i: usize, word: &str) -> bool {
        self.kind(i) == Some(TokenKind::Word) && self.text(i).eq_ignore_ascii_case(word)
    }

    pub(crate) fn any_word(&self, i: usize, words: &[&str]) -> bool {
        self.kind(i) == Some(TokenKind::Word)
            && words
                .iter()
                .any(|word| self.text(i).eq_ignore_ascii_case(word))
    }

    /// Are the tokens from `i` on these unquoted words?
    pub(crate) fn words(&self, i: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(n, word)| self.word(i + n, word))
    }

    /// Is token `i` this punctuation or operator?
    pub(crate) fn symbol(&self, i: usize, symbol: &str) -> bool {
        matches!(self.kind(i), Some(TokenKind::Symbol | TokenKind::Operator))
            && self.text(i) == symbol
    }

    pub(crate) fn any_symbol(&self, i: usize, symbols: &[&str]) -> bool {
        symbols.iter().any(|symbol| self.symbol(i, symbol))
    }

    pub(crate) fn is_string(&self, i: usize) -> bool {
        matches!(self.kind(i), Some(TokenKind::String(quote)) if quote != Quote::Bits)
    }

    /// A word that stands where only a label or a part of a qualified name can stand.
    pub(crate) fn is_label(&self, i: usize) -> bool {
        i > 0 && (self.symbol(i - 1, ".") || self.word(i - 1, "as"))
    }

    /// The name that an identifier or keyword token stands for: unquoted ones in lower case.
    pub(crate) fn name(&self, i: usize) -> Option<String> {
        match self.kind(i)? {
            TokenKind::Word => Some(self.text(i).to_ascii_lowercase()),
            TokenKind::Quoted => {
                let text = self.text(i);
                Some(text[1..text.len() - 1].replace("\"\"", "\""))
            }
            TokenKind::UnicodeQuoted => {
                let text = self.text(i);
                let inner = text[3..text.len() - 1].replace("\"\"", "\"");
                decode::unicode(&inner, self.escape_character(i))
            }
            _ => None,
        }
    }

    /// The value of a string constant; `None` for bit strings and broken escapes.
    pub(crate) fn string(&self, i: usize) -> Option<String> {
        match self.kind(i)? {
            TokenKind::String(quote) => {
                decode::string(self.text(i), quote, self.escape_character(i))
            }
            _ => None,
        }
    }

    /// `UESCAPE 'c'` after a Unicode string or identifier.
    fn escape_character(&self, i: usize) -> char {
        match self.word(i + 1, "uescape")
            && self.kind(i + 2) == Some(TokenKind::String(Quote::Plain))
        {
            true => {
                decode::string(self.text(i + 2), Quote::Plain, '\\').and_then(|s| s.chars().next())
            }
            false => None,
        }
        .unwrap_or('\\')
    }

    /// The index after the identifier or string at `i` and its UESCAPE, if it has one.
    pub(crate) fn after(&self, i: usize) -> usize {
        let unicode = matches!(
            self.kind(i),
            Some(TokenKind::UnicodeQuoted | TokenKind::String(Quote::Unicode))
        );
        if unicode && self.word(i + 1, "uescape") {
            i + 3
        } else {
            i + 1
        }
    }

    /// A name of dotted parts that begins at `i`, and the index after it.
    pub(crate) fn qualified(&self, i: usize) -> Option<(Vec<String>, usize)> {
        let mut parts = vec![self.name(i)?];
        let mut next = self.after(i);
        while self.symbol(next, ".") {
            let Some(part) = self.name(next + 1) else {
                break;
            };
            parts.push(part);
            next = self.after(next + 1);
        }
        Some((parts, next))
    }

    /// "syntax error at or near" token `i`.
    pub(crate) fn syntax_error(&self, i: usize) -> SplitError {
        match self.list.get(i) {
            Some(_) => syntax_error(self.source, "syntax error", self.start(i), self.text(i)),
            None => {
                let at = self.list.last().map_or(0, |token| token.end as usize);
                let rest = self.source[at..].trim_start();
                match rest.starts_with(';') {
                    true => syntax_error(
                        self.source,
                        "syntax error",
                        self.source.len() - rest.len(),
                        ";",
                    ),
                    false => syntax_error(self.source, "syntax error", at, ""),
                }
            }
        }
    }
}
