//! Reading the fixed grammar of the small statements, token by token.

use crate::statement::{Refusal, SplitError};
use crate::tokens::Tokens;

/// Why a statement does not go on.
#[derive(Debug)]
pub(crate) enum Problem {
    /// PostgreSQL's parser would refuse the whole string.
    Syntax(SplitError),
    Refused(Refusal),
}

impl From<SplitError> for Problem {
    fn from(error: SplitError) -> Self {
        Problem::Syntax(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem::Refused(refusal)
    }
}

/// 0A000: `what` is not supported; `hint` says what to do instead.
pub(crate) fn unsupported(what: &str, hint: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("{what} is not supported by SteelDB"),
        hint: hint.into(),
    }
}

/// 42501, in PostgreSQL's words.
pub(crate) fn denied(what: &str, hint: &str) -> Refusal {
    Refusal {
        sqlstate: "42501",
        message: format!("permission denied {what}"),
        hint: hint.into(),
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) tokens: Tokens<'a>,
    pub(crate) at: usize,
}

impl Reader<'_> {
    /// Takes the words if they come next.
    pub(crate) fn eat(&mut self, words: &[&str]) -> bool {
        let found = self.tokens.words(self.at, words);
        if found {
            self.at += words.len();
        }
        found
    }

    pub(crate) fn eat_any(&mut self, words: &[&str]) -> bool {
        let found = self.tokens.any_word(self.at, words);
        if found {
            self.at += 1;
        }
        found
    }

    pub(crate) fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.tokens.symbol(self.at, symbol);
        if found {
            self.at += 1;
        }
        found
    }

    pub(crate) fn expect(&mut self, words: &[&str]) -> Result<(), SplitError> {
        for word in words {
            if !self.eat(&[word]) {
                return Err(self.tokens.syntax_error(self.at));
            }
        }
        Ok(())
    }

    pub(crate) fn name(&mut self) -> Result<String, SplitError> {
        let name = self
            .tokens
            .name(self.at)
            .ok_or_else(|| self.tokens.syntax_error(self.at))?;
        self.at += 1;
        Ok(name)
    }

    pub(crate) fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(crate) fn end(&self) -> Result<(), SplitError> {
        match self.done() {
            true => Ok(()),
            false => Err(self.tokens.syntax_error(self.at)),
        }
    }

    /// Skips a parenthesised list that comes next.
    pub(crate) fn skip_parentheses(&mut self) {
        let mut depth = 0_usize;
        while !self.done() {
            if self.tokens.symbol(self.at, "(") {
                depth += 1;
            } else if self.tokens.symbol(self.at, ")") {
                depth = depth.saturating_sub(1);
            }
            if depth == 0 && !self.tokens.symbol(self.at, ")") {
                return;
            }
            self.at += 1;
        }
    }
}
