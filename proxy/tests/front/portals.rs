//! Portals that hand out their rows in parts.

use crate::client::{Client, bind, close, describe, execute, parse, run, sync};
use crate::fake::Front;

const ROWS: &str = "SELECT 'rows 5'";

#[tokio::test]
async fn rows_come_in_parts_and_the_statement_runs_once() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    let heard = client
        .ask(&[
            parse("", ROWS),
            bind("c", ""),
            describe('P', "c"),
            execute("c", 2),
            sync(),
        ])
        .await;
    assert_eq!(heard, ["1", "2", "T a:0", "D 1", "D 2", "s", "Z T"]);
    assert_eq!(
        client.ask(&[execute("c", 2), sync()]).await,
        ["D 3", "D 4", "s", "Z T"]
    );
    assert_eq!(
        client.ask(&[describe('P', "c"), sync()]).await,
        ["T a:0", "Z T"]
    );
    assert_eq!(
        client.ask(&[execute("c", 2), sync()]).await,
        ["D 5", "C SELECT 1", "Z T"]
    );
    assert_eq!(
        client.ask(&[execute("c", 2), sync()]).await,
        ["C SELECT 0", "Z T"]
    );
    assert_eq!(front.database.asked(), ["begin", ROWS]);
}

#[tokio::test]
async fn as_many_rows_as_the_limit_do_not_tell_that_it_was_the_end() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client.ask(&[parse("", ROWS), bind("c", ""), sync()]).await;
    let heard = client
        .ask(&[execute("c", 5), execute("c", 5), sync()])
        .await;
    assert_eq!(heard[5..], ["s", "C SELECT 0", "Z T"]);
    client.ask(&[bind("d", ""), sync()]).await;
    let heard = client
        .ask(&[execute("d", 3), execute("d", 0), sync()])
        .await;
    assert_eq!(
        heard,
        ["D 1", "D 2", "D 3", "s", "D 4", "D 5", "C SELECT 2", "Z T"]
    );
}

#[tokio::test]
async fn a_limit_does_not_change_the_count_of_a_write() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[
            parse("", "INSERT INTO t VALUES (1)"),
            bind("", ""),
            execute("", 1),
            sync(),
        ])
        .await;
    assert_eq!(heard, ["1", "2", "C INSERT 0 1", "Z I"]);
}

#[tokio::test]
async fn portals_end_with_their_transaction() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let gone = ["E ERROR 34000 portal \"c\" does not exist", "Z I"];
    client
        .ask(&[parse("p", ROWS), bind("c", "p"), execute("c", 1), sync()])
        .await;
    assert_eq!(client.ask(&[execute("c", 1), sync()]).await, gone);
    client.query("BEGIN").await;
    client.ask(&[bind("c", "p"), execute("c", 1), sync()]).await;
    client.query("COMMIT").await;
    assert_eq!(client.ask(&[execute("c", 1), sync()]).await, gone);
}

#[tokio::test]
async fn a_rollback_to_a_savepoint_drops_the_portals_made_since() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.ask(&[parse("p", ROWS), sync()]).await;
    client.query("BEGIN").await;
    client
        .ask(&[bind("early", "p"), execute("early", 1), sync()])
        .await;
    client.query("SAVEPOINT s").await;
    client
        .ask(&[bind("late", "p"), execute("late", 1), sync()])
        .await;
    client.query("ROLLBACK TO s").await;
    assert_eq!(
        client.ask(&[execute("early", 1), sync()]).await,
        ["D 2", "s", "Z T"]
    );
    let heard = client.ask(&[execute("late", 1), sync()]).await;
    assert_eq!(
        heard,
        ["E ERROR 34000 portal \"late\" does not exist", "Z E"]
    );
}

#[tokio::test]
async fn names_are_taken_until_closed() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client
        .ask(&[parse("p", ROWS), bind("c", "p"), sync()])
        .await;
    let heard = client
        .ask(&[close('P', "c"), bind("c", "p"), bind("c", "p"), sync()])
        .await;
    assert_eq!(
        heard,
        ["3", "2", "E ERROR 42P03 cursor \"c\" already exists", "Z E"]
    );
    client.query("ROLLBACK").await;
    let heard = client
        .ask(&[run("SELECT 1"), run("SELECT 1"), sync()])
        .await;
    assert_eq!(
        heard.last().unwrap(),
        "Z I",
        "the unnamed portal is replaced"
    );
}
