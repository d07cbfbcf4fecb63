//! What was not done, why, and what to do about it.

use std::fmt::{self, Display};

/// An error for whoever reads the measurement: the thing, the cause, the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: String,
    cause: Option<String>,
    next: Option<String>,
}

impl Error {
    /// The thing that was not done.
    pub fn new(what: impl Into<String>) -> Error {
        Error {
            what: what.into(),
            cause: None,
            next: None,
        }
    }

    pub fn cause(mut self, cause: impl Display) -> Error {
        self.cause = Some(cause.to_string().trim_end().to_owned());
        self
    }

    pub fn next(mut self, step: impl Into<String>) -> Error {
        self.next = Some(step.into());
        self
    }

    /// For `map_err`: `cannot WHAT PATH: CAUSE`.
    pub(crate) fn io<E: Display>(what: &str, thing: impl Display) -> impl FnOnce(E) -> Error {
        let what = format!("cannot {what} {thing}");
        move |cause| Error::new(what).cause(cause)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "; next: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        let cause = match error.as_db_error() {
            Some(said) => format!("{} ({})", said.message(), said.code().code()),
            None => {
                let inner = std::error::Error::source(&error).map(ToString::to_string);
                inner.map_or_else(|| error.to_string(), |inner| format!("{error}: {inner}"))
            }
        };
        Error::new("the server did not do a statement").cause(cause)
    }
}
