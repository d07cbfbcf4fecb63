//! Named prepared statements kept for reuse.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Statement;

/// How many named statements a session keeps on its server.
pub(crate) const CAPACITY: usize = 128;

/// Longer texts are not kept, in bytes.
const MAX_SQL: usize = 64 << 10;

pub(crate) type Key = (Arc<str>, Vec<u32>);

/// A least-recently-used cache of what the server is known to have prepared.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    entries: HashMap<Key, Entry>,
    /// Names that the server still holds and the cache no longer knows.
    orphans: Vec<u64>,
    pub on_server: Names,
    clock: u64,
    names: u64,
    /// A transaction that has changed the schema may be rolled back: what is prepared in it may
    /// fit neither the state before nor the one after.
    suspended: bool,
}

#[derive(Debug)]
struct Entry {
    name: u64,
    used: u64,
}

/// How a statement is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Parse as the unnamed statement.
    Unnamed,
    /// Parse under this new name and keep it when the server agrees.
    Keep(u64, Key),
    /// The server has it under this name.
    Kept(u64, Key),
}

impl Prepared {
    /// Decides how to send one statement. What an earlier statement of the same pipeline parses is
    /// not relied on, for that Parse may fail.
    pub fn choose(&mut self, statement: &Statement, pending: &[Use]) -> Use {
        if !statement.cached || self.suspended || statement.sql.len() > MAX_SQL {
            return Use::Unnamed;
        }
        let key: Key = (statement.sql.clone(), statement.parameter_types.clone());
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used = self.clock;
            return Use::Kept(entry.name, key);
        }
        if pending
            .iter()
            .any(|p| matches!(p, Use::Keep(_, k) if *k == key))
        {
            return Use::Unnamed;
        }
        let kept = pending
            .iter()
            .filter(|p| matches!(p, Use::Keep(..)))
            .count();
        if kept >= CAPACITY {
            return Use::Unnamed;
        }
        if self.entries.len() + kept >= CAPACITY {
            self.evict();
        }
        self.names += 1;
        Use::Keep(self.names, key)
    }

    /// The server has answered ParseComplete for a new name.
    pub fn keep(&mut self, name: u64, key: Key) {
        self.clock += 1;
        let used = self.clock;
        if let Some(old) = self.entries.insert(key, Entry { name, used }) {
            self.orphans.push(old.name);
        }
    }

    /// The statement no longer fits the schema, or the server has lost it.
    pub fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.orphans.push(entry.name);
        }
    }

    /// Nothing that was prepared so far is used again.
    pub fn forget_all(&mut self) {
        self.orphans
            .extend(self.entries.drain().map(|(_, e)| e.name));
    }

    /// Nobody knows whether the server has taken these new names.
    pub fn abandon(&mut self, uses: Vec<Use>) {
        for choice in uses {
            if let Use::Keep(name, _) = choice {
                self.orphans.push(name);
            }
        }
    }

    /// The names to close with the next message, each once.
    pub fn take_orphans(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.orphans)
    }

    /// Watches a finished command: one that changes the schema makes all that is prepared stale,
    /// and so does the end of a transaction in which one ran.
    pub fn observe(&mut self, tag: Option<&str>, transaction: u8) {
        if self.suspended && transaction == b'I' {
            self.suspended = false;
            self.forget_all();
        }
        let first = tag.and_then(|t| t.split(' ').next()).unwrap_or_default();
        if tag == Some("DISCARD SEQUENCES") {
            return;
        }
        if matches!(
            first,
            "CREATE" | "ALTER" | "DROP" | "DO" | "DISCARD" | "DEALLOCATE"
        ) {
            self.forget_all();
            self.suspended = transaction != b'I';
        }
    }

    fn evict(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.forget(&key);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Names of kept statements on the server. Nobody can guess them: SQL that a client's function builds could PREPARE another statement
/// under the name of a kept one.
#[derive(Debug)]
pub(crate) struct Names(String);

impl Default for Names {
    fn default() -> Names {
        Names(format!("steel.kept.{:032x}", rand::random::<u128>()))
    }
}

impl Names {
    pub fn of(&self, name: u64) -> String {
        format!("{}.{name}", self.0)
    }
}

/// Whether the text may change the schema under statements that follow it in a pipeline. What
/// looks harmless is named; anything else is suspected.
pub(crate) fn may_change_schema(sql: &str) -> bool {
    let mut words = sql.split_whitespace();
    let discards = words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("discard"));
    if discards
        && words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("sequences"))
    {
        return false;
    }
    let word = sql
        .trim_start()
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    let harmless = [
        "select",
        "insert",
        "update",
        "delete",
        "with",
        "values",
        "merge",
        "begin",
        "start",
        "savepoint",
        "release",
        "set",
        "show",
        "copy",
        "lock",
        "declare",
        "fetch",
        "close",
    ];
    !harmless.iter().any(|h| h.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(sql: &str) -> Statement {
        Statement {
            cached: true,
            ..Statement::new(sql)
        }
    }

    fn run(prepared: &mut Prepared, sql: &str) -> Use {
        let choice = prepared.choose(&cached(sql), &[]);
        if let Use::Keep(name, key) = &choice {
            prepared.keep(*name, key.clone());
        }
        choice
    }

    #[test]
    fn the_least_recently_used_statement_goes_first() {
        let mut prepared = Prepared::default();
        for i in 0..CAPACITY {
            run(&mut prepared, &format!("select {i}"));
        }
        assert!(matches!(run(&mut prepared, "select 0"), Use::Kept(1, _)));
        run(&mut prepared, "select -1");
        assert_eq!(prepared.len(), CAPACITY);
        assert_eq!(prepared.take_orphans(), [2]);
        assert!(matches!(run(&mut prepared, "select 0"), Use::Kept(1, _)));
        assert!(matches!(run(&mut prepared, "select 1"), Use::Keep(..)));
    }

    #[test]
    fn one_pipeline_never_keeps_more_than_the_capacity() {
        let mut prepared = Prepared::default();
        let mut uses = Vec::new();
        for i in 0..2 * CAPACITY {
            let choice = prepared.choose(&cached(&format!("select {i}")), &uses);
            uses.push(choice);
        }
        assert_eq!(
            uses.iter().filter(|u| matches!(u, Use::Keep(..))).count(),
            CAPACITY
        );
    }

    #[test]
    fn nothing_is_kept_in_a_transaction_that_changed_the_schema() {
        let mut prepared = Prepared::default();
        run(&mut prepared, "select 1");
        prepared.observe(Some("ALTER TABLE"), b'T');
        assert_eq!(run(&mut prepared, "select 1"), Use::Unnamed);
        prepared.observe(Some("ROLLBACK"), b'I');
        assert!(matches!(run(&mut prepared, "select 1"), Use::Keep(..)));
        prepared.observe(Some("SELECT 1"), b'I');
        assert!(matches!(run(&mut prepared, "select 1"), Use::Kept(..)));
    }

    /// Every transaction of a client begins with it: nothing would ever be kept.
    #[test]
    fn to_forget_sequences_forgets_no_statements() {
        let mut prepared = Prepared::default();
        run(&mut prepared, "select 1");
        prepared.observe(Some("DISCARD SEQUENCES"), b'I');
        assert!(matches!(run(&mut prepared, "select 1"), Use::Kept(..)));
        prepared.observe(Some("DISCARD ALL"), b'I');
        assert!(matches!(run(&mut prepared, "select 1"), Use::Keep(..)));
        assert!(may_change_schema("DISCARD ALL"));
        assert!(may_change_schema("DISCARD PLANS"));
    }

    #[test]
    fn only_statements_known_as_harmless_keep_the_cache_usable() {
        for sql in [
            "SELECT 1",
            " insert into t",
            "with x as (select 1) select",
            "discard sequences",
        ] {
            assert!(!may_change_schema(sql), "{sql}");
        }
        for sql in [
            "ALTER TABLE t",
            "/* */ drop table t",
            "rollback",
            "do $$",
            "",
            "é",
        ] {
            assert!(may_change_schema(sql), "{sql}");
        }
    }
}
