//! What the command says when it cannot do its work: the thing, the cause, the next step.

use std::fmt::{self, Display};

/// The work was not done, or a check failed.
pub const FAILED: u8 = 1;
/// The command or a configuration file cannot be understood.
pub const USAGE: u8 = 2;

/// An error for the person at the terminal.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    cause: Option<String>,
    next: Option<String>,
    code: u8,
}

impl Failure {
    /// The thing that was not done.
    pub fn new(what: impl Into<String>) -> Failure {
        Failure {
            what: what.into(),
            cause: None,
            next: None,
            code: FAILED,
        }
    }

    /// What was asked for makes no sense: exit code 2.
    pub fn usage(what: impl Into<String>) -> Failure {
        Failure {
            code: USAGE,
            ..Failure::new(what)
        }
    }

    pub fn cause(mut self, cause: impl Display) -> Failure {
        self.cause = Some(cause.to_string());
        self
    }

    pub fn next(mut self, step: impl Into<String>) -> Failure {
        self.next = Some(step.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {}", cause.trim_end())?;
        }
        if let Some(next) = &self.next {
            write!(f, "\nnext: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_thing_the_cause_and_the_next_step() {
        let failure = Failure::new("cannot start")
            .cause("port 1 is taken\n")
            .next("choose another");
        assert_eq!(
            failure.to_string(),
            "cannot start: port 1 is taken\nnext: choose another"
        );
        assert_eq!((failure.code(), Failure::usage("x").code()), (1, 2));
    }
}
