//! PostgreSQL's own lexical rules (`src/backend/parser/scan.l` of PostgreSQL 15), as byte ranges.
//!
//! A statement is refused or passed on by what its tokens are, so they must be exactly the tokens that
//! PostgreSQL will see: escape strings, strings continued on the next line, dollar quotes next to
//! identifiers, operators that end before a comment. A general SQL tokenizer differs in such corners,
//! and each difference would be a way past the refusals. `standard_conforming_strings` is always on.

use crate::statement::SplitError;

/// The most tokens that one string may hold; together with [`crate::MAX_BYTES`] it bounds the memory.
pub(crate) const MAX_TOKENS: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// An unquoted identifier or keyword.
    Word,
    /// `"…"`.
    Quoted,
    /// `U&"…"`.
    UnicodeQuoted,
    String(Quote),
    Number,
    /// `$1`.
    Param,
    /// One or more operator characters.
    Operator,
    /// Punctuation: `( ) [ ] , ; . .. : :: :=`, and any character that begins nothing else.
    Symbol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quote {
    /// `'…'` and `N'…'`.
    Plain,
    /// `E'…'`.
    Escape,
    /// `U&'…'`.
    Unicode,
    /// `B'…'` and `X'…'`.
    Bits,
    /// `$tag$…$tag$`.
    Dollar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Cuts `source` (at most [`crate::MAX_BYTES`]) into tokens, leaving out space and comments.
///
/// # Errors
/// Unterminated quotes and comments (42601), and more than [`MAX_TOKENS`] tokens (54000).
pub(crate) fn lex(source: &str) -> Result<Vec<Token>, SplitError> {
    let mut lexer = Lexer {
        source,
        bytes: source.as_bytes(),
        at: 0,
    };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        if tokens.len() >= MAX_TOKENS {
            return Err(SplitError {
                sqlstate: "54000",
                message: format!("the statement has more than {MAX_TOKENS} tokens"),
                position: 0,
            });
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// 42601 at a byte of the source, with PostgreSQL's wording; a long `near` is cut.
pub(crate) fn syntax_error(source: &str, what: &str, at: usize, near: &str) -> SplitError {
    let near = near
        .char_indices()
        .nth(200)
        .map_or(near, |(end, _)| &near[..end]);
    let message = match near {
        "" => format!("{what} at end of input"),
        near => format!("{what} at or near \"{near}\""),
    };
    SplitError {
        sqlstate: "42601",
        message,
        position: source[..at].chars().count() + 1,
    }
}

struct Lexer<'a> {
    source: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, SplitError> {
        self.skip_space()?;
        let start = self.at;
        let Some(&first) = self.bytes.get(start) else {
            return Ok(None);
        };
        let second = self.peek(1);
        let kind = match first {
            b'\'' => self.string(start, Quote::Plain)?,
            b'"' => self.quoted_identifier(start, TokenKind::Quoted)?,
            b'e' | b'E' if second == b'\'' => self.prefixed(1, Quote::Escape)?,
            b'n' | b'N' if second == b'\'' => self.prefixed(1, Quote::Plain)?,
            b'b' | b'B' | b'x' | b'X' if second == b'\'' => self.prefixed(1, Quote::Bits)?,
            b'u' | b'U' if second == b'&' && self.peek(2) == b'\'' => {
                self.prefixed(2, Quote::Unicode)?
            }
            b'u' | b'U' if second == b'&' && self.peek(2) == b'"' => {
                self.at += 2;
                self.quoted_identifier(start, TokenKind::UnicodeQuoted)?
            }
            b'$' => self.dollar(start)?,
            b'0'..=b'9' => self.number(),
            b'.' if second.is_ascii_digit() => self.number(),
            c if is_identifier_start(c) => {
                self.skip_while(is_identifier_part);
                TokenKind::Word
            }
            c if is_operator(c) => self.operator(start),
            b':' if matches!(second, b':' | b'=') => self.symbol(2),
            b'.' if second == b'.' => self.symbol(2),
            0 => {
                return Err(SplitError {
                    sqlstate: "22021",
                    message: "invalid byte sequence for encoding \"UTF8\": 0x00".into(),
                    position: self.source[..start].chars().count() + 1,
                });
            }
            _ => self.symbol(1),
        };
        let [start, end] = [start, self.at].map(|byte| {
            u32::try_from(byte).expect("a source is at most MAX_BYTES long, checked by the caller")
        });
        Ok(Some(Token { kind, start, end }))
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.bytes.get(self.at).is_some_and(|&c| wanted(c)) {
            self.at += 1;
        }
    }

    fn symbol(&mut self, length: usize) -> TokenKind {
        self.at += length;
        TokenKind::Symbol
    }

    fn skip_space(&mut self) -> Result<(), SplitError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (c, _) if is_space(c) => self.at += 1,
                (b'-', b'-') => self.skip_while(|c| c != b'\n' && c != b'\r'),
                (b'/', b'*') => self.block_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) -> Result<(), SplitError> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                _ if self.at >= self.bytes.len() => {
                    return Err(self.unterminated("/* comment", start));
                }
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn prefixed(&mut self, prefix: usize, quote: Quote) -> Result<TokenKind, SplitError> {
        let start = self.at;
        self.at += prefix;
        self.string(start, quote)
    }

    /// From the opening quote to the last closing one: `'a'` newline `'b'` is one string.
    fn string(&mut self, start: usize, quote: Quote) -> Result<TokenKind, SplitError> {
        loop {
            self.at += 1;
            loop {
                match self.peek(0) {
                    _ if self.at >= self.bytes.len() => {
                        return Err(self.unterminated("quoted string", start));
                    }
                    b'\\' if quote == Quote::Escape => self.at += 2,
                    b'\'' if self.peek(1) == b'\'' && quote != Quote::Bits => self.at += 2,
                    b'\'' => break,
                    _ => self.at += 1,
                }
            }
            self.at += 1;
            match self.continuation() {
                Some(opening) => self.at = opening,
                None => return Ok(TokenKind::String(quote)),
            }
        }
    }

    /// Where the string goes on: a quote after space and line comments that hold a newline.
    fn continuation(&self) -> Option<usize> {
        let (mut at, mut newline) = (self.at, false);
        loop {
            match self.bytes.get(at)? {
                b'\n' | b'\r' => {
                    newline = true;
                    at += 1;
                }
                &c if is_space(c) => at += 1,
                b'-' if self.bytes.get(at + 1) == Some(&b'-') => {
                    at += self.bytes[at..]
                        .iter()
                        .position(|&c| c == b'\n' || c == b'\r')?;
                }
                b'\'' if newline => return Some(at),
                _ => return None,
            }
        }
    }

    fn quoted_identifier(
        &mut self,
        start: usize,
        kind: TokenKind,
    ) -> Result<TokenKind, SplitError> {
        self.at += 1;
        let inside = self.at;
        loop {
            match self.peek(0) {
                _ if self.at >= self.bytes.len() => {
                    return Err(self.unterminated("quoted identifier", start));
                }
                b'"' if self.peek(1) == b'"' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        if self.at == inside + 1 {
            let near = &self.source[start..self.at];
            return Err(syntax_error(
                self.source,
                "zero-length delimited identifier",
                start,
                near,
            ));
        }
        Ok(kind)
    }

    /// `$1`, `$tag$…$tag$`, or a lone dollar sign.
    fn dollar(&mut self, start: usize) -> Result<TokenKind, SplitError> {
        self.at += 1;
        if self.peek(0).is_ascii_digit() {
            self.skip_while(|c| c.is_ascii_digit());
            return Ok(TokenKind::Param);
        }
        if is_identifier_start(self.peek(0)) {
            self.skip_while(|c| is_identifier_part(c) && c != b'$');
        }
        if self.peek(0) != b'$' {
            self.at = start + 1;
            return Ok(TokenKind::Symbol);
        }
        self.at += 1;
        let tag = &self.source[start..self.at];
        match self.source[self.at..].find(tag) {
            Some(length) => {
                self.at += length + tag.len();
                Ok(TokenKind::String(Quote::Dollar))
            }
            None => Err(self.unterminated("dollar-quoted string", start)),
        }
    }

    /// Digits, fraction, exponent, and whatever letters follow: PostgreSQL calls those trailing junk, or
    /// (from version 16) takes them as part of the number.
    fn number(&mut self) -> TokenKind {
        self.skip_while(|c| c.is_ascii_digit() || c == b'_');
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            self.at += 1;
            self.skip_while(|c| c.is_ascii_digit() || c == b'_');
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.skip_while(|c| c.is_ascii_digit() || c == b'_');
            }
        }
        if is_identifier_start(self.peek(0)) {
            self.skip_while(is_identifier_part);
        }
        TokenKind::Number
    }

    /// The longest run of operator characters that holds no comment; a trailing `+` or `-` belongs to the
    /// operand unless the run has a character that the SQL standard's operators do not use.
    fn operator(&mut self, start: usize) -> TokenKind {
        self.skip_while(is_operator);
        let run = &self.bytes[start..self.at];
        let comment = run
            .windows(2)
            .position(|pair| pair == b"--" || pair == b"/*");
        let run = &run[..comment.unwrap_or(run.len())];
        let mut length = run.len();
        if length > 1 && matches!(run[length - 1], b'+' | b'-') {
            let special = run[..length - 1].iter().any(|c| b"~!@#^&|`?%".contains(c));
            while !special && length > 1 && matches!(run[length - 1], b'+' | b'-') {
                length -= 1;
            }
        }
        self.at = start + length;
        TokenKind::Operator
    }

    fn unterminated(&self, what: &str, start: usize) -> SplitError {
        syntax_error(
            self.source,
            &format!("unterminated {what}"),
            start,
            &self.source[start..],
        )
    }
}

fn is_space(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_identifier_start(c: u8) -> bool {
    c.is_ascii_alphabetic() || c == b'_' || c >= 0x80
}

fn is_identifier_part(c: u8) -> bool {
    is_identifier_start(c) || c.is_ascii_digit() || c == b'$'
}

fn is_operator(c: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        lex(source)
            .unwrap()
            .iter()
            .map(|t| &source[t.start as usize..t.end as usize])
            .collect()
    }

    #[test]
    fn tokens_are_postgresqls() {
        for (source, expected) in [
            ("select a$$b", vec!["select", "a$$b"]),
            (
                "select $$a;'b$$, $x$ $$ $x$",
                vec!["select", "$$a;'b$$", ",", "$x$ $$ $x$"],
            ),
            (r"E'a\'b' 'c\' d", vec![r"E'a\'b'", r"'c\'", "d"]),
            ("'a'\n  -- c\n 'b' x", vec!["'a'\n  -- c\n 'b'", "x"]),
            ("'a' 'b'", vec!["'a'", "'b'"]),
            ("E'a'\n'b\\'c'", vec!["E'a'\n'b\\'c'"]),
            (
                "1..10 1.5e-3 .5 a.b",
                vec!["1", "..", "10", "1.5e-3", ".5", "a", ".", "b"],
            ),
            (
                "a=-1 b@-1 c*/**/d e---f",
                vec!["a", "=", "-", "1", "b", "@-", "1", "c", "*", "d", "e"],
            ),
            ("/* a /* b */ c */ x--y\rz", vec!["x", "z"]),
            (
                "U&\"d\"\"x\" u&'a''b' x'0''1' $1 $ é",
                vec!["U&\"d\"\"x\"", "u&'a''b'", "x'0'", "'1'", "$1", "$", "é"],
            ),
            ("a::int:=b", vec!["a", "::", "int", ":=", "b"]),
            ("1$$x$$", vec!["1", "$$x$$"]),
        ] {
            assert_eq!(texts(source), expected, "{source}");
        }
    }

    #[test]
    fn what_never_ends_is_an_error_with_its_place() {
        for (source, message, position) in [
            (
                "é 'abc",
                "unterminated quoted string at or near \"'abc\"",
                3,
            ),
            (
                "\"abc",
                "unterminated quoted identifier at or near \"\"abc\"",
                1,
            ),
            (
                "$a$ $b$",
                "unterminated dollar-quoted string at or near \"$a$ $b$\"",
                1,
            ),
            (
                "x /* /* */",
                "unterminated /* comment at or near \"/* /* */\"",
                3,
            ),
            ("E'\\", "unterminated quoted string at or near \"E'\\\"", 1),
            (
                "\"\"",
                "zero-length delimited identifier at or near \"\"\"\"",
                1,
            ),
        ] {
            let error = lex(source).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.position),
                (message, position)
            );
            assert_eq!(error.sqlstate, "42601");
        }
    }
}
