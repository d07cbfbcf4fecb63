//! The master lies about its answers (DESIGN.md, 3-5 and 7).

use harness::{Cluster, column, failure};
use replica::executor::lies::Lie;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

const LEDGER: &str = "SELECT balance FROM ledger ORDER BY id";

async fn ledger() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE ledger (id int PRIMARY KEY, balance int NOT NULL);
        INSERT INTO ledger SELECT g, 100 FROM generate_series(1, 3) g;
        CREATE TABLE visit (id serial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())";
    client.batch_execute(setup).await.unwrap();
    cluster.master_lies(&[Lie::Answers]).await;
    (cluster, client)
}

/// Runs statements in a transaction; what their COMMIT says.
async fn transaction(client: &Client, statements: &[&str]) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await.unwrap();
    for sql in statements {
        // What the liar answers is provisional; only the commit tells.
        let _ = client.simple_query(sql).await;
    }
    client.batch_execute("COMMIT").await
}

/// Commits that must fail, with the lie's statement named, and must leave nothing anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_lie_of_the_master_in_a_transaction_is_committed() {
    let (cluster, client) = ledger().await;

    let lies: [(&str, &[&str], &str); 10] = [
        (
            "a row of an answer is altered",
            &[
                "SELECT /*lie:row*/ balance FROM ledger WHERE id = 1",
                "UPDATE ledger SET balance = 0 WHERE id = 1",
            ],
            "Statement 1 (SELECT /*lie:row*/ balance",
        ),
        (
            "the row that an update returns is altered",
            &[
                "UPDATE ledger SET balance = 1 WHERE id = 2",
                "UPDATE /*lie:row*/ ledger SET balance = balance + 1 WHERE id = 1 RETURNING balance",
            ],
            "Statement 2 (UPDATE /*lie:row*/ ledger",
        ),
        (
            "a write is claimed that was not made",
            &["UPDATE /*lie:write*/ ledger SET balance = 7 WHERE id = 1"],
            "Statement 1 (UPDATE /*lie:write*/ ledger",
        ),
        (
            "a write is claimed that a read did not make",
            &[
                "SELECT /*lie:write*/ 1",
                "UPDATE ledger SET balance = 8 WHERE id = 1",
            ],
            "Statement 1 (SELECT /*lie:write*/ 1",
        ),
        (
            "a write is hidden",
            &["UPDATE /*lie:hide*/ ledger SET balance = 9 WHERE id = 1"],
            "Statement 1 (UPDATE /*lie:hide*/ ledger",
        ),
        (
            "one row more is said to be changed",
            &["UPDATE /*lie:count*/ ledger SET balance = 10 WHERE id = 1"],
            "Statement 1 (UPDATE /*lie:count*/ ledger",
        ),
        (
            "a time is another, in the answer and in the row",
            &["INSERT /*lie:time*/ INTO visit DEFAULT VALUES RETURNING at"],
            "Statement 1 (INSERT /*lie:time*/ INTO visit",
        ),
        (
            "a sequence is said to have given another value",
            &["INSERT /*lie:ahead*/ INTO visit DEFAULT VALUES RETURNING id"],
            "Statement 1 (INSERT /*lie:ahead*/ INTO visit",
        ),
        (
            "two statements ran in another order than they were sent",
            &[
                "UPDATE /*lie:swap*/ ledger SET balance = balance - 11 WHERE id = 1 RETURNING balance",
                "UPDATE /*lie:swap*/ ledger SET balance = balance - 12 WHERE id = 1 RETURNING balance",
            ],
            "Statement 2 (UPDATE /*lie:swap*/ ledger",
        ),
        (
            "a statement is answered as the last time",
            &[
                "SELECT /*lie:old*/ balance FROM ledger WHERE id = 1",
                "UPDATE ledger SET balance = 13 WHERE id = 1",
                "SELECT /*lie:old*/ balance FROM ledger WHERE id = 1",
            ],
            "Statement 3 (SELECT /*lie:old*/ balance",
        ),
    ];
    for (lie, statements, named) in lies {
        cluster.master_lies(&[Lie::Answers]).await;
        let (sqlstate, detail) = failure(transaction(&client, statements).await);
        assert_eq!(sqlstate, "40001", "{lie}");
        assert!(detail.contains(named), "{lie}: {detail}");
        cluster.hold(LEDGER, &["100", "100", "100"]).await;
    }
    // The client's connection lives, and what the master does honestly is committed.
    transaction(&client, &["UPDATE ledger SET balance = 50 WHERE id = 1"])
        .await
        .unwrap();
    cluster.hold(LEDGER, &["50", "100", "100"]).await;

    cluster.master_lies(&[Lie::Answers]).await;
    // An error that the liar invented: the statement is skipped, and what the transaction did before it is not
    // committed as if that were the truth.
    client
        .batch_execute("BEGIN; UPDATE ledger SET balance = 51 WHERE id = 1; SAVEPOINT s")
        .await
        .unwrap();
    let (sqlstate, _) = failure(
        client
            .batch_execute("UPDATE /*lie:error*/ ledger SET balance = 2 WHERE id = 2")
            .await,
    );
    assert_eq!(sqlstate, "22012");
    client.batch_execute("ROLLBACK TO s").await.unwrap();
    let (sqlstate, detail) = failure(client.batch_execute("COMMIT").await);
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains("lie:error"), "{detail}");
    cluster.hold(LEDGER, &["50", "100", "100"]).await;
    cluster.hold("SELECT count(*) FROM visit", &["0"]).await;

    cluster.audit().await;
    what_the_master_dropped(&cluster, &client).await;
    cluster.end().await;
}

/// Right bytes are a wrong row to whoever reads them wrongly: names and types of columns, and types of parameters, by which a
/// client writes what it sends.
#[tokio::test(flavor = "multi_thread")]
async fn no_lie_about_how_rows_and_parameters_are_to_be_read_reaches_a_client() {
    let (cluster, mut client) = ledger().await;

    let names = |rows: Vec<SimpleQueryMessage>| -> Vec<String> {
        let described = rows.into_iter().find_map(|message| match message {
            SimpleQueryMessage::RowDescription(columns) => Some(columns),
            _ => None,
        });
        let columns = described.unwrap();
        columns.iter().map(|c| c.name().to_owned()).collect()
    };
    for lie in ["lie:names", "lie:types"] {
        let sql = format!("SELECT /*{lie}*/ id AS balance, balance AS debt FROM ledger");
        let heard = names(client.simple_query(&sql).await.unwrap());
        assert_eq!(heard, ["balance", "debt"], "{lie}");
        let prepared = client.prepare(&sql).await.unwrap();
        let columns = prepared.columns().iter();
        let heard: Vec<_> = columns.map(|c| (c.name(), c.type_().clone())).collect();
        assert_eq!(heard, [("balance", Type::INT4), ("debt", Type::INT4)]);
    }
    let update = "UPDATE /*lie:types*/ ledger SET balance = $1 WHERE id = 1 RETURNING balance";
    let prepared = client.prepare(update).await.unwrap();
    assert_eq!(prepared.params(), [Type::INT4]);

    // In a block a description is provisional, as the rows are: the commit tells.
    for lie in ["lie:names", "lie:types"] {
        cluster.master_lies(&[Lie::Answers]).await;
        let select = format!("SELECT /*{lie}*/ balance FROM ledger WHERE id = 1");
        let steps = ["UPDATE ledger SET balance = 1 WHERE id = 3", &select];
        let (sqlstate, detail) = failure(transaction(&client, &steps).await);
        assert_eq!(sqlstate, "40001", "{lie}");
        assert!(detail.contains(lie), "{detail}");

        cluster.master_lies(&[Lie::Answers]).await;
        let block = client.transaction().await.unwrap();
        block.execute(steps[0], &[]).await.unwrap();
        block.prepare(&select).await.unwrap();
        let (sqlstate, detail) = failure(block.commit().await);
        assert_eq!(sqlstate, "40001", "{lie}, only prepared");
        assert!(detail.contains(lie), "{detail}");
        cluster.hold(LEDGER, &["100", "100", "100"]).await;
    }

    // A statement outlives the block in which it was described. What nobody confirmed is asked again before it is used.
    cluster.master_lies(&[Lie::Answers]).await;
    let block = client.transaction().await.unwrap();
    let update = block.prepare(update).await.unwrap();
    assert_eq!(update.params(), [Type::FLOAT4], "the master lies");
    block.rollback().await.unwrap();
    let (sqlstate, _) = failure(client.query(&update, &[&7.0f32]).await);
    assert_eq!(sqlstate, "0A000");
    cluster.hold(LEDGER, &["100", "100", "100"]).await;

    // One that is executed in the block reads what the client wrote, whatever the client was told.
    cluster.master_lies(&[Lie::Answers]).await;
    let block = client.transaction().await.unwrap();
    let sql = "UPDATE /*lie:types*/ ledger SET balance = $1 WHERE id = 2";
    let update = block.prepare(sql).await.unwrap();
    assert_eq!(update.params(), [Type::FLOAT4]);
    block.execute(&update, &[&7.0f32]).await.unwrap();
    let (sqlstate, _) = failure(block.commit().await);
    assert_eq!(sqlstate, "40001");
    cluster.hold(LEDGER, &["100", "100", "100"]).await;
    cluster.audit().await;
    cluster.end().await;
}

/// The master undoes what a transaction did and says that it is done. All others did it: it is committed, and read.
async fn what_the_master_dropped(cluster: &Cluster, client: &Client) {
    let liar = cluster.master_lies(&[Lie::Answers]).await;
    let dropped = [
        "UPDATE ledger SET balance = 77 WHERE id = 3",
        "SELECT /*lie:drop*/ 1",
    ];
    transaction(client, &dropped).await.unwrap();
    for (replica, held) in (0..).zip(cluster.everywhere(LEDGER).await) {
        let last = if replica == liar { "100" } else { "77" };
        assert_eq!(held, ["50", "100", last], "replica {replica}");
    }
    for _ in 0..8 {
        let read = column(client, "SELECT balance FROM ledger WHERE id = 3").await;
        assert_eq!(read.unwrap(), ["77"]);
    }
}

/// Autocommit: the client gets the right row, or an error; never the liar's.
#[tokio::test(flavor = "multi_thread")]
async fn no_lie_of_the_master_in_autocommit_reaches_a_client() {
    let (cluster, client) = ledger().await;

    let rows = column(
        &client,
        "SELECT /*lie:row*/ balance FROM ledger WHERE id = 1",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["100"], "a read is confirmed by others");
    let row = client
        .query_one(
            "SELECT /*lie:row*/ balance FROM ledger WHERE id = $1",
            &[&2],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 100);

    let rows = column(
        &client,
        "SELECT /*lie:smuggle*/ balance FROM ledger WHERE id = 1",
    )
    .await
    .unwrap();
    assert_eq!(
        rows,
        ["100"],
        "a row that rides behind a notice is not shown"
    );

    let rows = column(
        &client,
        "SELECT /*lie:error*/ balance FROM ledger WHERE id = 1",
    )
    .await;
    assert_eq!(
        rows.unwrap(),
        ["100"],
        "an invented error of a read is outvoted"
    );
    let prepared = client
        .prepare("UPDATE /*lie:error*/ ledger SET balance = 1 WHERE id = $1")
        .await;
    assert_eq!(
        prepared.unwrap().params().len(),
        1,
        "and that of a statement that is only described"
    );

    let mut held = "100".to_owned();
    let mut refused = 0;
    let lies = [
        "lie:row",
        "lie:count",
        "lie:old",
        "lie:write",
        "lie:hide",
        "lie:error",
        "lie:smuggle",
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        cluster.master_lies(&[Lie::Answers]).await;
        let sql = format!(
            "UPDATE /*{lie}*/ ledger SET balance = {number} WHERE id = 1 RETURNING balance"
        );
        match column(&client, &sql).await {
            // Another master was made of the next replica, and the statement was run there.
            Ok(rows) => {
                held = number.to_string();
                assert_eq!(rows, [held.as_str()], "{lie}");
            }
            Err(error) => {
                let (sqlstate, detail) = failure::<()>(Err(error));
                assert_eq!(sqlstate, "40001", "{lie}");
                // What is no answer at all names no statement.
                let named = lie == "lie:smuggle" || detail.contains("Statement 1");
                assert!(named, "{lie}: {detail}");
                refused += 1;
            }
        }
        cluster.hold(LEDGER, &[&held, "100", "100"]).await;
    }
    assert!(refused < lies.len(), "no liar was replaced");

    client
        .batch_execute("UPDATE ledger SET balance = 20 WHERE id = 3")
        .await
        .unwrap();
    cluster
        .hold("SELECT balance FROM ledger WHERE id = 3", &["20"])
        .await;
    cluster.audit().await;
    cluster.end().await;
}
