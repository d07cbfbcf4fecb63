//! A turn for an autocommit write that was aborted again and again (decision 34).
//!
//! It is aborted because others commit between its run and its place. During its turn the master begins nothing else: what is under way
//! ends, and then nothing comes between.

use consensus::ClientId;
use std::time::Duration;
use tokio::time::Instant;
use txn::TxId;
use txn::client::Turn;

/// The longest that others are held back at once. A statement comes again several times in it.
const LENGTH: Duration = Duration::from_secs(1);
/// After a turn there is none for so many times as long as it took, so nobody can hold others back on and on.
const RESTS: u32 = 4;
/// How long a statement waits for its turn, or for that of another one to end; then it is run as any other.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    current: Option<Current>,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Current {
    client: ClientId,
    /// As it asked at its last run.
    asked: Turn,
    /// That run.
    tx: TxId,
    since: Instant,
}

impl Turns {
    /// Whether an autocommit write may be run now, which may have asked for a turn.
    pub fn may_run(&mut self, tx: TxId, asked: Option<Turn>, now: Instant) -> bool {
        let Some(asked) = asked else {
            return self.current.is_none();
        };
        match &mut self.current {
            Some(turn) => {
                let own = turn.client == tx.client && turn.asked.statement == asked.statement;
                if own {
                    (turn.tx, turn.asked) = (tx, asked);
                }
                own
            }
            None if self.rests_until.is_some_and(|until| now < until) => false,
            None => {
                self.current = Some(Current {
                    client: tx.client,
                    asked,
                    tx,
                    since: now,
                });
                true
            }
        }
    }

    /// Whether what has not begun yet waits.
    pub fn hold_back(&self) -> bool {
        self.current.is_some()
    }

    /// A transaction has its verdict. True when that ends a turn.
    pub fn over(&mut self, tx: TxId, committed: bool, now: Instant) -> bool {
        let mut turn = self.current.iter();
        turn.any(|turn| turn.tx == tx && (committed || turn.asked.last)) && self.end(now)
    }

    /// Time passes. True when a turn has lasted for long enough.
    pub fn tick(&mut self, now: Instant) -> bool {
        let over = |turn: &Current| now.saturating_duration_since(turn.since) >= LENGTH;
        self.current.as_ref().is_some_and(over) && self.end(now)
    }

    fn end(&mut self, now: Instant) -> bool {
        let Some(turn) = self.current.take() else {
            return false;
        };
        let took = now.saturating_duration_since(turn.since);
        self.rests_until = Some(now + took * RESTS);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tx(client: u32, seq: u64) -> TxId {
        TxId {
            client: ClientId(client),
            incarnation: 1,
            seq,
        }
    }

    fn ask(statement: u64, last: bool) -> Option<Turn> {
        Some(Turn { statement, last })
    }

    #[test]
    fn one_statement_has_its_turn_at_all_its_runs_and_others_wait() {
        let now = Instant::now();
        let mut turns = Turns::default();
        assert!(turns.may_run(tx(1, 1), None, now));
        assert!(!turns.hold_back());
        assert!(turns.may_run(tx(1, 2), ask(7, false), now));
        assert!(turns.hold_back());
        assert!(!turns.may_run(tx(1, 3), None, now));
        assert!(
            !turns.may_run(tx(2, 3), ask(7, false), now),
            "another client's"
        );
        assert!(!turns.may_run(tx(1, 3), ask(8, false), now));
        assert!(!turns.over(tx(1, 2), false, now), "it comes again");
        assert!(turns.may_run(tx(1, 4), ask(7, false), now));
        assert!(!turns.over(tx(1, 2), true, now), "not this run");
        assert!(!turns.over(tx(1, 3), true, now), "another one's");
        assert!(turns.over(tx(1, 4), true, now));
        assert!(!turns.hold_back());
        assert!(turns.may_run(tx(2, 5), None, now));
        assert!(turns.may_run(tx(2, 6), ask(9, true), now));
        assert!(turns.over(tx(2, 6), false, now), "it was the last one");
        assert!(!turns.hold_back());
    }

    #[test]
    fn a_turn_has_an_end_and_the_next_one_comes_later_the_longer_it_was() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut turns = Turns::default();
        assert!(turns.may_run(tx(1, 1), ask(1, false), at(0)));
        assert!(!turns.tick(at(999)));
        assert!(turns.tick(at(1_000)));
        assert!(!turns.tick(at(1_001)));
        assert!(turns.may_run(tx(1, 2), None, at(1_001)));
        assert!(!turns.may_run(tx(2, 1), ask(1, false), at(4_999)));
        assert!(!turns.hold_back());
        assert!(turns.may_run(tx(2, 1), ask(1, false), at(5_000)));
        assert!(turns.over(tx(2, 1), true, at(5_100)));
        assert!(!turns.may_run(tx(1, 3), ask(2, false), at(5_499)));
        assert!(turns.may_run(tx(1, 3), ask(2, false), at(5_500)));
    }
}
