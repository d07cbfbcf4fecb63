//! Why a load or a run did not take place.

/// What was not done, the cause, the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("these settings make no sense: {0}")]
    Settings(String),
    #[error("cannot connect: {0}; look whether the server runs and whether the DSN is right")]
    Connect(String),
    #[error(
        "table {0} in schema public is not TPC-C's as this program loads it (no complete table tpcc_load beside it); \
         use a database of its own"
    )]
    Foreign(String),
    #[error(
        "the database holds {loaded} warehouses, {asked} are asked for; load it first, or ask for fewer"
    )]
    NotLoaded { loaded: u32, asked: u32 },
    #[error("{what}: {cause}")]
    Database { what: String, cause: String },
    #[error("a terminal's task ended by itself: {0}; this is a defect of this program")]
    Task(String),
}

impl Error {
    pub(crate) fn database(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Error {
        move |error| Error::Database {
            what: what.into(),
            cause: said(&error),
        }
    }
}

/// The server's message with its SQLSTATE, or the client's own with its cause.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
