//! Whole runs, ended by a count of transactions.

use std::collections::BTreeMap;
use std::time::Duration;

use tpcc::input::{Customer, Input, Source, UNUSED_ITEM};
use tpcc::report::run::{Kind, Run};
use tpcc::transaction::Fault;
use tpcc::{Config, Constants, Events, Test, run};

use crate::broken;
use crate::server::{Server, number};

async fn a_run(dsn: String, terminals: u32, transactions: u32, fault: Option<Fault>) -> Run {
    let config = Config {
        terminals,
        test: Test {
            transactions: Some(transactions),
            fault,
        },
        ..Config::new(dsn)
    };
    run(&config, Events::default(), |_| {}).await.unwrap()
}

fn kind<'a>(run: &'a Run, name: &str) -> &'a Kind {
    run.kinds.iter().find(|kind| kind.name == name).unwrap()
}

fn statements(kind: &Kind) -> [u64; 4] {
    ["select", "update", "insert", "delete"].map(|verb| kind.statements[verb])
}

/// One terminal: its inputs are known, so all counts and all effects are.
pub async fn statements_are_those_of_the_profiles(server: &Server) {
    const DECKS: u64 = 20;
    let run = a_run(
        server.copy("counted", "loaded").await,
        1,
        23 * DECKS as u32,
        None,
    )
    .await;
    assert_eq!((run.consistency.as_str(), &run.errors[..]), ("ok", &[][..]));
    assert_eq!(run.system, run_host(server), "no other name was given");

    let client = server.connect("counted").await;
    let c_last = number(&client, "SELECT c_last FROM tpcc_load").await;
    let constants = Constants::for_run(run.settings.seed, c_last as u32);
    let mut source = Source::new(run.settings.seed, 0, constants, 1);
    let named = by_name(&client).await;
    let mut paid = BTreeMap::new();
    let (mut lines, mut rolled_back, mut quantity, mut cents) = (0, 0, 0, 0);
    for _ in 0..23 * DECKS {
        match source.next(1, 1) {
            Input::NewOrder(order) => {
                lines += order.lines.len() as u64;
                if order.lines.iter().any(|line| line.item == UNUSED_ITEM) {
                    rolled_back += 1;
                } else {
                    quantity += order
                        .lines
                        .iter()
                        .map(|line| i64::from(line.quantity))
                        .sum::<i64>();
                }
            }
            Input::Payment(payment) => {
                cents += payment.cents;
                let payer = match payment.customer {
                    Customer::Id(id) => id,
                    Customer::LastName(name) => named[&(payment.customer_district, name)],
                };
                *paid.entry((payment.customer_district, payer)).or_insert(0) += 1;
            }
            _ => {}
        }
    }
    assert!(rolled_back > 0, "this seed has some");
    let n = 10 * DECKS;
    let new_order = kind(&run, "NEW-ORDER");
    assert_eq!(
        (new_order.committed, new_order.rolled_back),
        (n, rolled_back)
    );
    // An order of ten lines: 23 selects, 11 updates, 12 inserts. An unused item's line ends with its first select.
    assert_eq!(
        statements(new_order),
        [
            3 * n + 2 * lines - rolled_back,
            n + lines - rolled_back,
            2 * n + lines - rolled_back,
            0
        ]
    );
    let payment = kind(&run, "PAYMENT");
    let [selects, updates, inserts, deletes] = statements(payment);
    assert_eq!([updates, inserts, deletes], [3 * n, n, 0]);
    // A fourth for customers of bad credit, a tenth of them.
    assert!(selects > 3 * n && selects < 3 * n + n / 4, "{selects}");
    assert_eq!(statements(kind(&run, "ORDER-STATUS")), [3 * DECKS, 0, 0, 0]);
    assert_eq!(
        statements(kind(&run, "DELIVERY")),
        [30 * DECKS, 30 * DECKS, 0, 10 * DECKS]
    );
    assert_eq!(statements(kind(&run, "STOCK-LEVEL")), [2 * DECKS, 0, 0, 0]);

    let orders = (n - rolled_back) as i64;
    for (sql, expected) in [
        ("SELECT count(*) - 30000 FROM orders", orders),
        ("SELECT sum(s_ytd) FROM stock", quantity),
        ("SELECT 100 * (w_ytd - 300000) FROM warehouse", cents),
        ("SELECT count(*) - 30000 FROM history", n as i64),
        (
            "SELECT count(*) FROM stock WHERE s_quantity NOT BETWEEN 10 AND 100",
            0,
        ),
        (
            "SELECT sum(c_delivery_cnt) FROM customer",
            10 * DECKS as i64,
        ),
    ] {
        assert_eq!(number(&client, sql).await, expected, "{sql}");
    }
    let payers = "SELECT c_d_id, c_id, c_payment_cnt - 1 FROM customer WHERE c_payment_cnt > 1";
    let payers = client.query(payers, &[]).await.unwrap();
    let payers = payers
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)));
    assert_eq!(payers.collect::<BTreeMap<(i32, i32), i32>>(), paid);
    let bad = "SELECT count(*) FROM customer WHERE c_payment_cnt > 1 AND \
               (c_credit = 'BC') <> (c_data LIKE c_id || ' ' || c_d_id || ' 1 %')";
    assert_eq!(number(&client, bad).await, 0, "C_DATA of bad credit only");
    server.drop("counted").await;
}

/// Clause 2.5.2.2: which customer of a district a name stands for.
async fn by_name(client: &tokio_postgres::Client) -> BTreeMap<(i32, String), i32> {
    let sql = "SELECT c_d_id, c_last, (array_agg(c_id ORDER BY c_first, c_id))[(count(*) + 1) / 2]
               FROM customer GROUP BY c_d_id, c_last";
    let rows = client.query(sql, &[]).await.unwrap();
    let named = rows
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)));
    named.collect()
}

fn run_host(server: &Server) -> String {
    let dsn = server.dsn("counted");
    let host = dsn.split_whitespace().next().unwrap();
    host.trim_start_matches("host=").to_owned()
}

/// All terminals pay into one warehouse: under REPEATABLE READ most of them must try again.
pub async fn conditions_hold_after_a_run_with_conflicts(server: &Server) {
    let run = a_run(server.copy("busy", "loaded").await, 4, 4 * 92, None).await;
    assert_eq!(run.consistency, "ok", "{:#?}", run.conditions);
    let ended = |kind: &Kind| kind.committed + kind.failed;
    assert_eq!(run.kinds.iter().map(ended).sum::<u64>(), 4 * 92);
    let payment = kind(&run, "PAYMENT");
    assert!(payment.retries["40001"] > 0, "{payment:?}");
    assert!(payment.response_ms.p50 > 0.0 && payment.response_ms.max >= payment.response_ms.p99);
    let counted: u64 = payment.histogram.iter().map(|bucket| bucket.1).sum();
    assert_eq!(counted, payment.committed);
    let seconds =
        |count: fn(&tpcc::report::run::Second) -> u64| run.timeline.iter().map(count).sum::<u64>();
    assert_eq!(
        kind(&run, "NEW-ORDER").committed,
        seconds(|second| second.new_orders)
    );
    assert!(seconds(|second| second.retries) >= payment.retries["40001"]);
    server.drop("busy").await;
}

pub async fn mistakes_in_the_transactions_are_found(server: &Server) {
    let find = async |fault: Fault, expected: &[u8]| {
        let database = format!("{fault:?}").to_lowercase();
        let run = a_run(server.copy(&database, "loaded").await, 1, 23, Some(fault)).await;
        assert_eq!(broken(&run.conditions), expected, "{fault:?}");
        assert!(run.consistency.starts_with("broken: "), "{fault:?}");
        server.drop(&database).await;
    };
    tokio::join!(
        find(Fault::WarehouseYtdMissed, &[1, 8]),
        find(Fault::WrongHistory, &[8, 9, 10]),
        find(Fault::LineMissed, &[4, 6]),
        find(Fault::NewOrderKept, &[5, 11]),
    );
}

/// Some lines are supplied and some payments made from one warehouse to the other.
pub async fn two_warehouses_serve_each_other(dsn: String, client: &tokio_postgres::Client) {
    let config = Config {
        warehouses: 2,
        terminals: 2,
        test: Test {
            transactions: Some(2 * 92),
            fault: None,
        },
        ..Config::new(dsn)
    };
    let run = run(&config, Events::default(), |_| {}).await.unwrap();
    assert_eq!(run.consistency, "ok", "{:#?}", run.conditions);
    for (table, remote) in [
        ("order_line", "ol_supply_w_id <> ol_w_id"),
        ("stock", "s_remote_cnt > 0"),
        ("orders", "o_all_local = 0"),
        ("history", "h_c_w_id <> h_w_id"),
    ] {
        let sql = format!("SELECT count(*) FROM {table} WHERE {remote}");
        assert!(number(client, &sql).await > 0, "{sql}");
    }
    let agree = "SELECT (SELECT sum(s_remote_cnt) FROM stock) - \
                 (SELECT count(*) FROM order_line WHERE ol_supply_w_id <> ol_w_id)";
    assert_eq!(number(client, agree).await, 0);
}

/// Little arrives for a second; all of it is served, and what was marked stands on the timeline.
pub async fn an_open_loop_serves_what_arrives(server: &Server) {
    let config = Config {
        terminals: 2,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        arrivals_per_s: Some(40.0),
        check: false,
        ..Config::new(server.copy("open", "loaded").await)
    };
    let events = Events::default();
    events.clone().mark("told");
    let run = run(&config, events, |_| {}).await.unwrap();
    assert!(run.kinds.iter().any(|kind| kind.committed > 0), "{run:?}");
    assert_eq!(run.consistency, "not checked");
    assert_eq!(
        (run.events[0].at_s, run.events[0].what.as_str()),
        (0.0, "told")
    );
    assert_eq!(run.timeline.len(), 1, "it ends with the interval");
    server.drop("open").await;
}
