//! What a session took from sequences last: in later transactions `currval` and `lastval` tell of it, as in PostgreSQL.
//!
//! Sessions with PostgreSQL are shared, so it goes with each transaction as settings do, under the client's signature: every replica
//! answers alike. Only what a commit confirmed counts: the values of a transaction that was rolled back are one replica's word, which a later
//! statement must not carry into a commit, so their sequences have no value then (55000).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use txn::SequenceValues;
use txn::ordered::SessionSettings;

/// Sequences that are remembered, the last used ones; of another one `currval` says 55000. Each costs its look-up at every begin.
const SEQUENCES: usize = 16;
/// Bytes of a name: two quoted identifiers.
const NAME: usize = 512;

/// The schema `steel` knows these: "value name" of a sequence, and the name that `lastval` speaks of.
const DRAWN: &str = "steel.drawn";
const LAST: &str = "steel.last";

/// One session's; shared with its open transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawn(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// In the order of their last use.
    values: Vec<(String, i64)>,
    last: Option<String>,
}

impl Drawn {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A committed transaction used these.
    pub fn note(&self, sequences: &[SequenceValues]) {
        if sequences.is_empty() {
            return;
        }
        let mut held = self.held();
        for used in sequences.iter().filter(|s| s.sequence.len() <= NAME) {
            if let Some(value) = used.last() {
                held.values.retain(|(name, _)| *name != used.sequence);
                held.values.push((used.sequence.clone(), value));
            }
            if used.given().next().is_some() {
                held.last = Some(used.sequence.clone());
            }
        }
        let surplus = held.values.len().saturating_sub(SEQUENCES);
        held.values.drain(..surplus);
    }

    /// A transaction that was not committed used these: what its master said of them nobody confirmed, and what was known
    /// before is not the last value any more.
    pub fn doubt(&self, sequences: &[SequenceValues]) {
        if sequences.is_empty() {
            return;
        }
        let mut held = self.held();
        let doubted = |name: &String| sequences.iter().any(|used| used.sequence == *name);
        held.values.retain(|(name, _)| !doubted(name));
        if sequences.iter().any(|used| used.given().next().is_some()) {
            held.last = None;
        }
    }

    /// What goes with a transaction.
    pub fn carried(&self, mut settings: SessionSettings) -> SessionSettings {
        let held = self.held();
        let drawn = held.values.iter();
        settings.extend(drawn.map(|(name, value)| (DRAWN.to_owned(), format!("{value} {name}"))));
        let last = held.last.iter();
        settings.extend(last.map(|name| (LAST.to_owned(), name.clone())));
        settings
    }

    /// DISCARD SEQUENCES.
    pub fn forget(&self) {
        *self.held() = Held::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use txn::SequenceUse;

    fn given(sequence: &str, first: i64, count: u64) -> SequenceValues {
        SequenceValues {
            sequence: sequence.into(),
            uses: vec![SequenceUse::Given { first, count }],
        }
    }

    fn told(drawn: &Drawn) -> Vec<String> {
        let told = drawn.carried(Vec::new()).into_iter();
        told.map(|(_, value)| value).collect()
    }

    #[test]
    fn the_last_value_of_each_sequence_is_carried_and_which_gave_one_last() {
        let drawn = Drawn::default();
        assert!(told(&drawn).is_empty());
        drawn.note(&[given("a", 1, 3), given("b", -7, 1)]);
        assert_eq!(told(&drawn), ["3 a", "-7 b", "b"]);
        let set = |called| SequenceValues {
            sequence: "c".into(),
            uses: vec![SequenceUse::Set { value: 9, called }],
        };
        drawn.note(&[set(false)]);
        assert_eq!(told(&drawn), ["3 a", "-7 b", "b"], "it gave nothing");
        drawn.note(&[set(true)]);
        drawn.note(&[given("a", 8, 1)]);
        assert_eq!(told(&drawn), ["-7 b", "9 c", "8 a", "a"]);
        drawn.forget();
        assert!(told(&drawn).is_empty());
    }

    #[test]
    fn what_no_commit_confirmed_is_not_carried() {
        let drawn = Drawn::default();
        drawn.note(&[given("a", 1, 3), given("b", 5, 1)]);
        drawn.doubt(&[given("a", 999, 1)]);
        assert_eq!(told(&drawn), ["5 b"], "and lastval knows nothing");
        drawn.note(&[given("a", 4, 1)]);
        assert_eq!(told(&drawn), ["5 b", "4 a", "a"]);
    }

    #[test]
    fn a_session_remembers_so_many_sequences() {
        let drawn = Drawn::default();
        for n in 0..200 {
            drawn.note(&[given(&format!("s{n}"), n, 1)]);
        }
        drawn.note(&[given(&"x".repeat(NAME + 1), 1, 1)]);
        let told = told(&drawn);
        assert_eq!(told.len(), SEQUENCES + 1);
        assert_eq!(told[SEQUENCES - 1..], ["199 s199", "s199"]);
    }
}
