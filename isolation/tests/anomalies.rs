//! Histories made by hand: each anomaly is found under its name, and what the level allows is not.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use isolation::{Bank, Expect, Form, Level, Op, Order, Outcome, Record, Report, check};

/// A history in the making: transactions one after another, or side by side.
#[derive(Default)]
struct Story(Vec<Record>);

impl Story {
    /// One that ran from `begun` to `ended`, of a session of its own.
    fn at(mut self, begun: u64, ended: u64, ops: Vec<Op>) -> Story {
        let id = self.0.len() as u64 + 1;
        self.0.push(Record {
            id,
            session: id,
            proxy: 0,
            form: Form::Transaction,
            begun,
            ended,
            outcome: Outcome::Committed,
            error: None,
            ops,
        });
        self
    }

    /// One that met all others.
    fn beside(self, ops: Vec<Op>) -> Story {
        self.at(0, 1000, ops)
    }

    /// What became of the last one.
    fn outcome(mut self, outcome: Outcome) -> Story {
        self.0.last_mut().unwrap().outcome = outcome;
        self
    }

    /// Who ran the last one, and through which proxy.
    fn session(mut self, session: u64, proxy: u16) -> Story {
        let last = self.0.last_mut().unwrap();
        (last.session, last.proxy) = (session, proxy);
        self
    }

    fn judged(&self, level: Level, order: Order) -> Report {
        let bank = Bank {
            accounts: 2,
            balance: 50,
        };
        check(&self.0, &Expect { level, order, bank })
    }

    /// Under snapshot isolation in real time.
    fn kinds(&self) -> Vec<String> {
        let report = self.judged(Level::Snapshot, Order::RealTime);
        report.kinds().into_iter().map(str::to_owned).collect()
    }
}

fn append(key: u64, value: u64) -> Op {
    Op::Append { key, value }
}

fn list(key: u64, seen: &[u64]) -> Op {
    let seen = Some(seen.to_vec());
    Op::List { key, seen }
}

fn write(key: u64, value: u64) -> Op {
    Op::Write { key, value }
}

fn read(key: u64, seen: u64) -> Op {
    let seen = Some(seen);
    Op::Read { key, seen }
}

fn has(kinds: &[String], kind: &str) {
    assert!(
        kinds.iter().any(|found| found == kind),
        "{kind} is not in {kinds:?}"
    );
}

#[test]
fn g0_two_transactions_that_write_in_opposite_orders() {
    let story = Story::default()
        .beside(vec![append(1, 10), append(2, 20)])
        .beside(vec![append(1, 11), append(2, 21)])
        .beside(vec![list(1, &[10, 11]), list(2, &[21, 20])]);
    has(&story.kinds(), "G0");
}

#[test]
fn g1a_a_read_of_what_was_rolled_back() {
    let of = |outcome| {
        let story = Story::default()
            .beside(vec![append(1, 10)])
            .outcome(outcome);
        story.beside(vec![list(1, &[10])]).kinds()
    };
    has(&of(Outcome::Aborted), "G1a");
    assert!(of(Outcome::Committed).is_empty());
    assert!(of(Outcome::Unknown).is_empty(), "it may have committed");
}

#[test]
fn g1b_a_read_from_the_middle_of_a_transaction() {
    let story = Story::default()
        .beside(vec![append(1, 10), append(1, 11)])
        .beside(vec![list(1, &[10])]);
    has(&story.kinds(), "G1b");
}

#[test]
fn g1c_two_transactions_that_read_each_others_writes() {
    let story = Story::default()
        .beside(vec![append(1, 10), list(2, &[20])])
        .beside(vec![append(2, 20), list(1, &[10])]);
    has(&story.kinds(), "G1c");
}

#[test]
fn g_single_a_reader_that_sees_half_of_a_transaction() {
    let story = Story::default()
        .beside(vec![append(1, 10), append(2, 20)])
        .beside(vec![list(1, &[10]), list(2, &[])]);
    has(&story.kinds(), "G-single-item");
    let registers = Story::default()
        .beside(vec![write(1, 10), write(2, 20)])
        .beside(vec![read(1, 10), read(2, 0)]);
    has(&registers.kinds(), "G-single-item");
}

#[test]
fn g_nonadjacent_a_long_fork() {
    let story = Story::default()
        .beside(vec![append(1, 10)])
        .beside(vec![append(2, 20)])
        .beside(vec![list(1, &[10]), list(2, &[])])
        .beside(vec![list(1, &[]), list(2, &[20])]);
    has(&story.kinds(), "G-nonadjacent-item");
}

#[test]
fn lost_update_two_appends_to_one_version() {
    let story = Story::default()
        .beside(vec![list(1, &[]), append(1, 10)])
        .beside(vec![list(1, &[]), append(1, 11)])
        .beside(vec![list(1, &[10, 11])]);
    has(&story.kinds(), "lost-update");
    let registers = Story::default()
        .beside(vec![read(1, 0), write(1, 10)])
        .beside(vec![read(1, 0), write(1, 11)]);
    has(&registers.kinds(), "lost-update");
}

#[test]
fn incompatible_orders_of_one_list() {
    let story = Story::default()
        .beside(vec![append(1, 10)])
        .beside(vec![append(1, 11)])
        .beside(vec![list(1, &[10, 11])])
        .beside(vec![list(1, &[11, 10])]);
    has(&story.kinds(), "incompatible-order");
}

#[test]
fn a_value_that_is_in_a_list_twice() {
    let story = Story::default()
        .beside(vec![append(1, 10)])
        .beside(vec![list(1, &[10, 10])]);
    has(&story.kinds(), "duplicate-elements");
}

#[test]
fn a_dirty_update_is_a_write_upon_what_was_rolled_back() {
    let story = Story::default()
        .beside(vec![append(1, 10)])
        .outcome(Outcome::Aborted)
        .beside(vec![append(1, 11)])
        .beside(vec![list(1, &[10, 11])]);
    has(&story.kinds(), "dirty-update");
}

#[test]
fn a_transaction_that_does_not_see_what_it_did_itself() {
    let story = Story::default().beside(vec![append(1, 10), list(1, &[])]);
    has(&story.kinds(), "internal");
    let twice = Story::default()
        .beside(vec![write(1, 10)])
        .beside(vec![read(1, 0), read(1, 10)]);
    has(&twice.kinds(), "internal");
}

#[test]
fn a_snapshot_older_than_its_transaction() {
    let late = |begun| {
        let story = Story::default().at(1, 2, vec![append(1, 10)]);
        story.at(begun, 9, vec![list(1, &[])]).kinds()
    };
    has(&late(3), "G-single-item-realtime");
    assert!(
        late(2).is_empty(),
        "who began before the answer may miss it"
    );
    let lost = Story::default()
        .at(1, 2, vec![write(1, 10)])
        .at(3, 4, vec![read(1, 0)]);
    has(&lost.kinds(), "G-single-item-realtime");
}

#[test]
fn a_session_sees_its_own_commits_at_another_proxy_too() {
    let moved = |proxy, order| {
        let story = Story::default()
            .at(1, 2, vec![append(1, 10)])
            .session(7, 0)
            .at(3, 4, vec![list(1, &[])])
            .session(7, proxy);
        !story.judged(Level::Snapshot, order).forbidden.is_empty()
    };
    assert!(moved(0, Order::Session));
    assert!(moved(1, Order::RealTime));
    assert!(!moved(1, Order::Session), "promised at one proxy only");
}

#[test]
fn write_skew_is_allowed_by_snapshots_and_forbidden_by_a_serial_order() {
    let story = Story::default()
        .beside(vec![list(1, &[]), list(2, &[]), append(1, 10)])
        .beside(vec![list(1, &[]), list(2, &[]), append(2, 20)])
        .beside(vec![list(1, &[10]), list(2, &[20])]);
    let snapshot = story.judged(Level::Snapshot, Order::RealTime);
    assert!(snapshot.forbidden.is_empty(), "{snapshot:#?}");
    assert_eq!(snapshot.allowed[0].kind, "G2-item");
    let serial = story.judged(Level::Serializable, Order::RealTime);
    assert_eq!(serial.kinds(), ["G2-item"]);
    let text = &serial.forbidden[0].text;
    assert!(
        text.contains("T1") && text.contains("T2") && text.contains("a contradiction"),
        "{text}"
    );
}

#[test]
fn the_read_only_anomaly_is_named() {
    // A withdrawal that saw no deposit, a deposit, and a reader of the deposit alone.
    let story = Story::default()
        .beside(vec![list(1, &[]), list(2, &[]), append(1, 10)])
        .beside(vec![list(2, &[]), append(2, 20)])
        .beside(vec![list(1, &[]), list(2, &[20])])
        .at(2000, 2001, vec![list(1, &[10]), list(2, &[20])]);
    let snapshot = story.judged(Level::Snapshot, Order::RealTime);
    assert!(snapshot.forbidden.is_empty(), "{snapshot:#?}");
    let serial = story.judged(Level::Serializable, Order::RealTime);
    assert_eq!(serial.kinds(), ["G2-item"]);
    assert!(
        serial.forbidden[0].text.contains("read-only anomaly"),
        "{serial:#?}"
    );
}

#[test]
fn pairs_that_nobody_of_is_on_duty() {
    let watch = Op::Watch {
        pair: 3,
        seen: Some([false; 2]),
    };
    let story = Story::default().beside(vec![watch]);
    assert!(story.kinds().is_empty());
    let serial = story.judged(Level::Serializable, Order::RealTime);
    assert_eq!(serial.kinds(), ["write-skew"]);
}

#[test]
fn money_that_is_lost_or_made() {
    let seen = |balances: &[i64]| {
        let seen = Some(balances.to_vec());
        Story::default().beside(vec![Op::Balances { seen }]).kinds()
    };
    assert!(seen(&[70, 30]).is_empty());
    for wrong in [&[70, 31][..], &[100], &[120, -20]] {
        has(&seen(wrong), "bank-total");
    }
}

#[test]
fn sequences_and_their_rows() {
    let number = || Op::Number { seen: Some(5) };
    let ticket = |value| Op::Ticket { seen: Some(value) };
    let twice = Story::default()
        .beside(vec![number()])
        .beside(vec![number()]);
    has(&twice.kinds(), "value-given-twice");
    let aborted = Story::default()
        .beside(vec![number()])
        .outcome(Outcome::Aborted);
    assert!(aborted.beside(vec![number()]).kinds().is_empty());
    let tickets = |seen: &[i64]| Op::Tickets {
        seen: Some(seen.to_vec()),
    };
    let story = |seen: &[i64]| {
        Story::default()
            .at(1, 2, vec![ticket(1)])
            .at(1, 2, vec![ticket(2)])
            .outcome(Outcome::Aborted)
            .at(1, 2, vec![ticket(3)])
            .outcome(Outcome::Unknown)
            .at(5, 6, vec![tickets(seen)])
            .kinds()
    };
    assert!(story(&[1]).is_empty() && story(&[1, 3]).is_empty());
    has(&story(&[3]), "lost-row");
    has(&story(&[1, 2]), "aborted-row");
}

#[test]
fn a_commit_that_was_answered_and_is_nowhere() {
    let story = Story::default()
        .at(1, 2, vec![append(1, 10)])
        .at(3, 4, vec![append(1, 11)])
        .at(5, 6, vec![list(1, &[10])]);
    has(&story.kinds(), "G-single-item-realtime");
}

#[test]
fn what_did_not_commit_is_not_believed_and_an_unknown_end_explains_both() {
    let wrong = || vec![list(1, &[99]), append(1, 10)];
    for outcome in [Outcome::Aborted, Outcome::Unknown] {
        let story = Story::default().beside(wrong()).outcome(outcome);
        assert!(story.beside(vec![list(1, &[])]).kinds().is_empty());
    }
    // Its effect may show long after its client gave up.
    let late = Story::default()
        .at(1, 2, vec![append(1, 10)])
        .outcome(Outcome::Unknown)
        .at(3, 4, vec![list(1, &[])])
        .at(5, 6, vec![list(1, &[10])]);
    assert!(late.kinds().is_empty());
}

#[test]
fn nothing_at_all_is_no_anomaly() {
    assert!(Story::default().kinds().is_empty());
}
