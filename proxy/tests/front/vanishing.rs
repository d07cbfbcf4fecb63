//! A client that vanishes leaves nothing behind, in whatever state it was.

use crate::client::{Client, copy_data, parse, query, run, terminate};
use crate::fake::Front;

#[tokio::test]
async fn an_idle_transaction_is_rolled_back_at_once() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN; INSERT INTO t VALUES (1)").await;
    drop(client);
    front.database.until("rollback").await;
}

#[tokio::test]
async fn a_running_statement_of_a_transaction_is_cancelled() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client.send(&[query("UPDATE hang SET a = 1")]).await;
    front.database.until("UPDATE hang SET a = 1").await;
    drop(client);
    front.database.until("cancel").await;
    front.database.until("rollback").await;
}

#[tokio::test]
async fn a_running_autocommit_statement_is_given_up() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.send(&[query("UPDATE hang SET a = 1")]).await;
    front.database.until("auto UPDATE hang SET a = 1").await;
    drop(client);
    front.database.until("given up UPDATE hang SET a = 1").await;
}

#[tokio::test]
async fn one_that_said_goodbye_has_its_statement_done() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .send(&[query("INSERT INTO t VALUES (1)"), terminate()])
        .await;
    drop(client);
    front.database.until("auto INSERT INTO t VALUES (1)").await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(front.database.asked(), ["auto INSERT INTO t VALUES (1)"]);
}

#[tokio::test]
async fn nothing_runs_for_one_that_left_in_the_middle() {
    let front = Front::start().await;
    for messages in [
        vec![query("COPY t FROM STDIN"), copy_data(b"1\n")],
        vec![parse("", "SELECT 1")],
        vec![run("INSERT INTO t VALUES (1)")],
        vec![query("SELECT 1")[..7].to_vec()],
    ] {
        let mut client = Client::connect(front.address).await;
        client.send(&messages).await;
        drop(client);
    }
    let mut client = Client::connect(front.address).await;
    assert_eq!(client.query("SELECT 2").await.last().unwrap(), "Z I");
    assert_eq!(front.database.asked(), ["read SELECT 2"]);
}
