//! Text in, text out: classify statements and remove their non-determinism.

mod splice;
mod statement;

pub use statement::{
    Cursor, Discard, Isolation, Kind, Modes, Refusal, SplitError, Statement, Tables, setting, tables,
};

/// The longest string that [`split`] and [`statement`] look at, in bytes.
pub const MAX_BYTES: usize = 64 << 20;

/// Splits a simple-query string into its statements and classifies each. A refused statement stands
/// in its place: those before it may run, as where PostgreSQL finds an error at execution.
///
/// # Errors
/// Where PostgreSQL's parser would refuse the whole string (42601), or it is longer than [`MAX_BYTES`] (54000).
pub fn split(sql: &str) -> Result<Vec<Result<Statement, Refusal>>, SplitError> {
    let _ = sql;
    Ok(Vec::new())
}

/// Classifies the one statement of the extended protocol's Parse.
///
/// # Errors
/// As [`split`], and 42601 when there is more than one statement.
pub fn statement(sql: &str) -> Result<Statement, Refusal> {
    let mut all = split(sql)?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => only,
        _ => Err(Refusal {
            sqlstate: "42601",
            message: "cannot insert multiple commands into a prepared statement".into(),
            hint: String::new(),
        }),
    }
}
