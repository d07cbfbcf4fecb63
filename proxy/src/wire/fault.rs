//! Errors as a client sees them.

use client_shim::ShimError;
use std::borrow::Cow;

/// An error with PostgreSQL's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The connection ends with it.
    pub fatal: bool,
    /// A prepared statement is to be prepared again: drivers know it by the name of PostgreSQL's function that says so.
    pub outdated: bool,
    pub sqlstate: Cow<'static, str>,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Characters from 1 in the client's text.
    pub position: Option<usize>,
}

impl Fault {
    pub fn error(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Fault {
        Fault {
            fatal: false,
            outdated: false,
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    pub fn fatal(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Fault {
        Fault {
            fatal: true,
            ..Fault::error(sqlstate, message)
        }
    }

    /// A message that breaks the rules of the protocol.
    pub fn protocol(message: impl Into<String>) -> Fault {
        Fault::error("08P01", message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }

    pub fn outdated(mut self) -> Fault {
        self.outdated = true;
        self
    }

    pub fn into_fatal(mut self) -> Fault {
        self.fatal = true;
        self
    }
}

impl From<ShimError> for Fault {
    fn from(error: ShimError) -> Fault {
        Fault {
            detail: error.detail,
            hint: error.hint,
            ..Fault::error(error.sqlstate, error.message)
        }
    }
}

impl From<sql::Refusal> for Fault {
    fn from(refusal: sql::Refusal) -> Fault {
        let hint = Some(refusal.hint).filter(|hint| !hint.is_empty());
        Fault {
            hint,
            ..Fault::error(refusal.sqlstate, refusal.message)
        }
    }
}

impl From<sql::SplitError> for Fault {
    fn from(error: sql::SplitError) -> Fault {
        let position = Some(error.position).filter(|position| *position > 0);
        Fault {
            position,
            ..Fault::error(error.sqlstate, error.message)
        }
    }
}
