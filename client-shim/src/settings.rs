//! A client's options.

use std::time::Duration;

/// How reads outside of the order are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// f+1 matching answers at a height that this client has already seen.
    Session,
    /// ⌈(n+f+1)/2⌉ matching answers: nothing committed before by anybody is missed.
    Linearizable,
}

/// A client's options.
#[derive(Clone, Debug)]
pub struct Settings {
    pub reads: Reads,
    /// How long an ordered request may stay unanswered before its outcome is called unknown.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            reads: Reads::Session,
            patience: Duration::from_secs(30),
        }
    }
}
