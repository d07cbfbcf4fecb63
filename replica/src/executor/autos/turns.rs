//! A turn for an autocommit write that was aborted again and again (decision 34).
//!
//! It is aborted because others commit between its run and its place. During its turn the master begins nothing else: what is under way
//! ends, and then nothing comes between. Turns follow one another as long as others are held back anyway.

use consensus::ClientId;
use std::time::Duration;
use tokio::time::Instant;
use txn::TxId;
use txn::client::Turn;

/// The longest that others are held back at once. A statement comes again several times in it.
const LENGTH: Duration = Duration::from_secs(1);
/// Then nobody is for so many times as long, so nobody can hold others back on and on.
const RESTS: u32 = 4;
/// How long a statement whose run came to nothing may take to come again: its client makes pauses of up to 200 ms.
const GRACE: Duration = Duration::from_millis(500);
/// How long a statement waits for its turn; then it is run as any other.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// When the first operations of so many transactions wait no other does: the order has room for 120 of a client, and 150 in all.
pub const MANY_HELD: usize = 60;

/// Whose turn it is.
#[derive(Debug, Default)]
pub struct Turns {
    /// Since when others are held back.
    held_since: Option<Instant>,
    current: Option<Current>,
    rests_until: Option<Instant>,
    /// Who had the last turn.
    last: Option<ClientId>,
}

#[derive(Debug)]
struct Current {
    client: ClientId,
    /// As it asked at its last run.
    asked: Turn,
    /// That run, and since when it is over without a verdict.
    tx: TxId,
    left: Option<Instant>,
}

impl Turns {
    /// Whether an autocommit write may be run now, which may have asked for a turn.
    pub fn may_run(&mut self, tx: TxId, asked: Option<Turn>, now: Instant) -> bool {
        let Some(asked) = asked else {
            return self.held_since.is_none();
        };
        if let Some(turn) = &mut self.current {
            let own = turn.client == tx.client && turn.asked.statement == asked.statement;
            if own {
                (turn.tx, turn.asked, turn.left) = (tx, asked, None);
            }
            return own;
        }
        let rests = self.rests_until.is_some_and(|until| now < until);
        if self.held_since.is_none() && rests {
            return false;
        }
        self.held_since.get_or_insert(now);
        self.last = Some(tx.client);
        self.current = Some(Current {
            client: tx.client,
            asked,
            tx,
            left: None,
        });
        true
    }

    /// Whether what has not begun yet waits.
    pub fn hold_back(&self) -> bool {
        self.held_since.is_some()
    }

    /// Others are held back, and for nobody any more: the next one who asked may have the turn, or [`Turns::end`] it is.
    pub fn is_free(&self) -> bool {
        self.held_since.is_some() && self.current.is_none()
    }

    /// Who had the last turn: others come first.
    pub fn had_last(&self, client: ClientId) -> bool {
        self.last == Some(client)
    }

    /// Whether a turn that begins now could come to anything before others are let on.
    pub fn has_time(&self, now: Instant) -> bool {
        let held = |since| now.saturating_duration_since(since) < LENGTH / 2;
        self.held_since.is_some_and(held)
    }

    /// A transaction has its verdict, and its effects.
    pub fn over(&mut self, tx: TxId, committed: bool, now: Instant) {
        match committed {
            true => _ = self.current.take_if(|turn| turn.tx == tx),
            false => self.left(tx, now),
        }
    }

    /// A run has come to nothing.
    pub fn left(&mut self, tx: TxId, now: Instant) {
        self.current
            .take_if(|turn| turn.tx == tx && turn.asked.last);
        if let Some(turn) = self.current.as_mut().filter(|turn| turn.tx == tx) {
            turn.left = Some(now);
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant) {
        let passed = |since: Instant, length| now.saturating_duration_since(since) >= length;
        self.current
            .take_if(|turn| turn.left.is_some_and(|since| passed(since, GRACE)));
        if self.held_since.is_some_and(|since| passed(since, LENGTH)) {
            self.end(now);
        }
    }

    /// Nobody is held back any more.
    pub fn end(&mut self, now: Instant) {
        self.current = None;
        if let Some(since) = self.held_since.take() {
            self.rests_until = Some(now + now.saturating_duration_since(since) * RESTS);
        }
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
        turns.over(tx(1, 2), false, now);
        assert!(!turns.is_free(), "it comes again");
        assert!(turns.may_run(tx(1, 4), ask(7, false), now));
        for other in [tx(1, 2), tx(1, 3)] {
            turns.over(other, true, now);
            assert!(!turns.is_free(), "not its last run");
        }
        turns.over(tx(1, 4), true, now);
        assert!(turns.is_free() && turns.hold_back());
        assert!(turns.had_last(ClientId(1)) && !turns.had_last(ClientId(2)));
        // The next one has what is left of the time.
        assert!(turns.may_run(tx(2, 6), ask(9, true), now));
        turns.over(tx(2, 6), false, now);
        assert!(turns.is_free(), "it was the last run");
        turns.end(now);
        assert!(!turns.hold_back());
        assert!(turns.may_run(tx(2, 7), None, now));
    }

    #[test]
    fn others_are_held_back_for_a_fifth_of_the_time_at_most() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut turns = Turns::default();
        assert!(turns.may_run(tx(1, 1), ask(1, false), at(0)));
        turns.over(tx(1, 1), true, at(400));
        assert!(turns.has_time(at(499)) && !turns.has_time(at(500)));
        assert!(turns.may_run(tx(2, 1), ask(1, false), at(499)));
        turns.tick(at(999));
        assert!(turns.hold_back());
        turns.tick(at(1_000));
        assert!(!turns.hold_back(), "from the first turn on");
        assert!(turns.may_run(tx(1, 2), None, at(1_001)));
        assert!(!turns.may_run(tx(2, 1), ask(1, false), at(4_999)));
        assert!(!turns.hold_back());
        assert!(turns.may_run(tx(2, 1), ask(1, false), at(5_000)));
        turns.over(tx(2, 1), true, at(5_050));
        turns.end(at(5_100));
        assert!(!turns.may_run(tx(1, 3), ask(2, false), at(5_499)));
        assert!(turns.may_run(tx(1, 3), ask(2, false), at(5_500)));
    }

    #[test]
    fn of_who_does_not_come_again_the_turn_is_soon_over() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut turns = Turns::default();
        assert!(turns.may_run(tx(1, 1), ask(1, false), at(0)));
        turns.left(tx(9, 9), at(10));
        turns.left(tx(1, 1), at(10));
        turns.tick(at(300));
        assert!(!turns.is_free());
        assert!(turns.may_run(tx(1, 2), ask(1, false), at(300)));
        turns.tick(at(600));
        assert!(!turns.is_free(), "it came");
        turns.over(tx(1, 2), false, at(300));
        turns.tick(at(800));
        assert!(turns.is_free() && turns.hold_back());
        assert!(turns.may_run(tx(1, 3), ask(1, true), at(810)));
        turns.left(tx(1, 3), at(820));
        assert!(turns.is_free(), "it was the last run");
    }
}
