//! How a transaction can end, brought about one by one: by another transaction's lock, and by triggers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tpcc::Isolation;
use tpcc::conditions;
use tpcc::input::{Input, Line, NewOrder};
use tpcc::measure::{Found, Meter};
use tpcc::terminal::{Context, Session, Terminal};

use crate::broken;
use crate::server::{PATIENCE, Server, number};

const DATABASE: &str = "endings";

pub async fn all(server: &Server) {
    server.copy(DATABASE, "loaded").await;
    a_conflict_is_retried_and_counted(server).await;
    two_terminals_on_one_district_disturb_each_other(server).await;
    a_lost_connection_is_made_anew(server).await;
    what_the_server_says_decides(server).await;
    let mut client = server.connect(DATABASE).await;
    let conditions = conditions::check(&mut client).await.unwrap();
    assert!(broken(&conditions).is_empty(), "{conditions:#?}");
}

async fn terminal(server: &Server) -> (Arc<Context>, Terminal) {
    let context = Arc::new(Context {
        dsn: server.dsn(DATABASE),
        isolation: Isolation::RepeatableRead,
        fault: None,
        meter: Meter::new(Instant::now(), Duration::ZERO, None),
    });
    let session = Session::open(&context.dsn).await.unwrap();
    (context.clone(), Terminal::new(context, session))
}

/// Five lines in district 3.
fn order(customer: i32) -> Input {
    let lines = (1..=5).map(|number| Line {
        item: 100 * customer + number,
        supply_warehouse: 1,
        quantity: 2,
    });
    Input::NewOrder(NewOrder {
        warehouse: 1,
        district: 3,
        customer,
        lines: lines.collect(),
    })
}

/// A client that holds district 3's row.
async fn holder(server: &Server) -> Client {
    let holder = server.connect(DATABASE).await;
    holder
        .batch_execute("BEGIN; UPDATE district SET d_ytd = d_ytd WHERE d_w_id = 1 AND d_id = 3")
        .await
        .unwrap();
    holder
}

fn in_background(mut terminal: Terminal) -> JoinHandle<()> {
    tokio::spawn(async move { terminal.perform(&order(1), Instant::now()).await })
}

/// The process that waits for a lock, other than this one.
async fn waiting(client: &Client, not: i64) -> i64 {
    let sql = format!(
        "SELECT coalesce(max(pid), 0) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = '{DATABASE}' AND pid <> {not}"
    );
    let began = Instant::now();
    loop {
        match number(client, &sql).await {
            0 if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(5)).await,
            0 => panic!("nobody waits"),
            pid => return pid,
        }
    }
}

fn retries(found: &Found) -> Vec<(&str, u64)> {
    let retries = found.kinds[0].retries.iter();
    retries
        .map(|(code, count)| (code.as_str(), *count))
        .collect()
}

async fn a_conflict_is_retried_and_counted(server: &Server) {
    let observer = server.connect("postgres").await;
    let (context, terminal) = terminal(server).await;
    let holder = holder(server).await;
    let work = in_background(terminal);
    waiting(&observer, 0).await;
    holder.batch_execute("COMMIT").await.unwrap();
    work.await.unwrap();
    let found = context.meter.found();
    assert_eq!(retries(&found), [("40001", 1)]);
    assert_eq!((found.kinds[0].committed, found.kinds[0].failed), (1, 0));
    assert_eq!(found.errors, [], "a conflict is no error");
    // Of the attempt that was committed, not of both.
    assert_eq!(found.kinds[0].statements["insert"], 7);
}

async fn two_terminals_on_one_district_disturb_each_other(server: &Server) {
    let client = server.connect(DATABASE).await;
    let next = "SELECT d_next_o_id FROM district WHERE d_id = 3";
    let before = number(&client, next).await;
    let mut all_retries = 0;
    let ((one, mut first), (other, mut second)) = tokio::join!(terminal(server), terminal(server));
    let (input, another) = (order(2), order(3));
    let mut rounds = 0;
    // Once is enough; the bound is for a machine that runs them strictly in turn.
    while all_retries == 0 && rounds < 500 {
        rounds += 1;
        let now = Instant::now();
        tokio::join!(first.perform(&input, now), second.perform(&another, now));
        let count = |context: &Context| context.meter.so_far().1;
        all_retries = count(&one) + count(&other);
    }
    assert!(all_retries > 0, "no conflict in {rounds} rounds");
    assert_eq!(number(&client, next).await, before + 2 * rounds);
}

async fn a_lost_connection_is_made_anew(server: &Server) {
    let observer = server.connect("postgres").await;
    let (context, terminal) = terminal(server).await;
    let holder = holder(server).await;
    let work = in_background(terminal);
    let first = waiting(&observer, 0).await;
    let killed = format!("SELECT pg_terminate_backend({first})::int");
    assert_eq!(number(&observer, &killed).await, 1);
    waiting(&observer, first).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    work.await.unwrap();
    let found = context.meter.found();
    assert_eq!(retries(&found), [("08006", 1)]);
    assert_eq!((found.kinds[0].committed, found.reconnects), (1, 1));
    assert_eq!(
        (found.errors[0].sqlstate.as_str(), found.errors[0].count),
        ("08006", 1)
    );
}

/// The trigger raises the SQLSTATE at a statement, or deferred to COMMIT; or ends its session at COMMIT.
async fn what_the_server_says_decides(server: &Server) {
    let client = server.connect(DATABASE).await;
    let raise = |code: &str| format!("RAISE EXCEPTION 'told to' USING ERRCODE = '{code}'");
    let die = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1)".to_owned();
    // (what the trigger does, when, failed, unknown, retries, the error seen)
    for (action, deferred, failed, unknown, retried, seen) in [
        (raise("P0001"), false, 1, 0, 0, "P0001"),
        (raise("40001"), false, 1, 0, 50, "40001"),
        (raise("40P01"), true, 1, 0, 50, "40P01"),
        (raise("08007"), true, 0, 1, 0, "08007"),
        (die, true, 0, 1, 0, "57P01"),
    ] {
        let when = if deferred { "DEFERRED" } else { "IMMEDIATE" };
        let trigger = format!(
            "CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN {action}; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER trouble AFTER INSERT ON new_order DEFERRABLE INITIALLY {when}
             FOR EACH ROW EXECUTE FUNCTION trouble()"
        );
        let (context, mut terminal) = terminal(server).await;
        client.batch_execute(&trigger).await.unwrap();
        terminal.perform(&order(4), Instant::now()).await;
        client
            .batch_execute("DROP TRIGGER trouble ON new_order")
            .await
            .unwrap();
        // The terminal goes on with the next.
        terminal.perform(&order(5), Instant::now()).await;
        let found = context.meter.found();
        let kind = &found.kinds[0];
        assert_eq!(
            (kind.committed, kind.failed, kind.unknown),
            (1, failed, unknown),
            "{seen}"
        );
        assert_eq!(kind.retries.values().sum::<u64>(), retried, "{seen}");
        let codes: Vec<&str> = found
            .errors
            .iter()
            .map(|error| error.sqlstate.as_str())
            .collect();
        assert_eq!(codes, [seen]);
        assert_eq!(
            found.reconnects, unknown,
            "{seen}: nothing is trusted to a doubtful connection"
        );
    }
}
