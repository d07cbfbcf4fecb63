//! Parse, Bind, Describe, Execute: one operation where one is enough, errors where PostgreSQL has them.

use crate::client::{Client, bind, close, describe, execute, flush, parse, raw, run, sync};
use crate::fake::Front;

#[tokio::test]
async fn a_whole_batch_is_one_operation() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client.ask(&[run("SELECT a FROM t"), sync()]).await;
    assert_eq!(heard, ["1", "2", "T a:0", "D 1", "C SELECT 1", "Z I"]);
    let heard = client.ask(&[run("INSERT INTO t VALUES (1)"), sync()]).await;
    assert_eq!(heard, ["1", "2", "n", "C INSERT 0 1", "Z I"]);
    assert_eq!(
        front.database.asked(),
        ["read SELECT a FROM t", "auto INSERT INTO t VALUES (1)"]
    );
}

#[tokio::test]
async fn rows_come_undescribed_when_nobody_asks() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[parse("", "SELECT a"), bind("", ""), execute("", 0), sync()])
        .await;
    assert_eq!(heard, ["1", "2", "D 1", "C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn a_prepared_statement_is_checked_once_and_then_only_executed() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    assert_eq!(
        client.ask(&[parse("p", "SELECT a"), sync()]).await,
        ["1", "Z I"]
    );
    for _ in 0..2 {
        let heard = client
            .ask(&[bind("", "p"), describe('P', ""), execute("", 0), sync()])
            .await;
        assert_eq!(heard, ["2", "T a:0", "D 1", "C SELECT 1", "Z I"]);
    }
    assert_eq!(
        front.database.asked(),
        ["master describe SELECT a", "read SELECT a", "read SELECT a"]
    );
    let again = client.ask(&[parse("p", "SELECT b"), sync()]).await;
    assert_eq!(
        again,
        [
            "E ERROR 42P05 prepared statement \"p\" already exists",
            "Z I"
        ]
    );
    assert_eq!(client.ask(&[close('S', "p"), sync()]).await, ["3", "Z I"]);
    assert_eq!(
        client.ask(&[parse("p", "SELECT b"), sync()]).await,
        ["1", "Z I"]
    );
}

#[tokio::test]
async fn a_statement_that_postgresql_refuses_is_not_prepared() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let refused = ["E ERROR 22012 division by zero", "Z I"];
    assert_eq!(
        client.ask(&[parse("p", "SELECT fail"), sync()]).await,
        refused
    );
    assert_eq!(
        client
            .ask(&[parse("p", "SELECT fail"), describe('S', "p"), sync()])
            .await,
        refused
    );
    let heard = client.ask(&[bind("", "p"), sync()]).await;
    assert_eq!(
        heard,
        [
            "E ERROR 26000 prepared statement \"p\" does not exist",
            "Z I"
        ]
    );
}

#[tokio::test]
async fn descriptions_cost_one_question() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[parse("p", "SELECT a"), describe('S', "p"), flush(), sync()])
        .await;
    assert_eq!(heard, ["1", "t", "T a:0", "Z I"]);
    assert_eq!(front.database.asked(), ["read describe SELECT a"]);
    let heard = client
        .ask(&[parse("q", "BEGIN"), describe('S', "q"), sync()])
        .await;
    assert_eq!(heard, ["1", "t", "n", "Z I"]);
    assert!(front.database.asked().is_empty());
}

#[tokio::test]
async fn a_portal_is_described_in_its_own_formats() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let binary = raw(b'B', b"\0p\0\0\0\0\0\0\x01\0\x01");
    let heard = client
        .ask(&[parse("p", "SELECT a"), binary, describe('P', ""), sync()])
        .await;
    assert_eq!(heard, ["1", "2", "T a:1", "Z I"]);
}

#[tokio::test]
async fn after_an_error_everything_is_skipped_up_to_sync() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[
            run("SELECT fail"),
            run("INSERT INTO t VALUES (1)"),
            sync(),
            run("SELECT 1"),
            sync(),
        ])
        .await;
    assert_eq!(heard, ["1", "2", "E ERROR 22012 division by zero", "Z I"]);
    let heard = client.until_ready().await;
    assert_eq!(heard, ["1", "2", "T a:0", "D 1", "C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn transaction_control_works_in_the_extended_protocol() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    assert_eq!(
        client.ask(&[run("BEGIN"), sync()]).await,
        ["1", "2", "n", "C BEGIN", "Z T"]
    );
    let heard = client.ask(&[run("INSERT INTO t VALUES (1)"), sync()]).await;
    assert_eq!(heard, ["1", "2", "n", "C INSERT 0 1", "Z T"]);
    assert_eq!(
        client
            .ask(&[run("SELECT fail"), sync()])
            .await
            .last()
            .unwrap(),
        "Z E"
    );
    let ignored = "E ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block";
    assert_eq!(
        client.ask(&[run("SELECT 1"), sync()]).await,
        [ignored, "Z E"]
    );
    assert_eq!(
        client.ask(&[run("COMMIT"), sync()]).await,
        ["1", "2", "n", "C ROLLBACK", "Z I"]
    );
    assert_eq!(
        front.database.asked(),
        [
            "begin",
            "INSERT INTO t VALUES (1)",
            "SELECT fail",
            "rollback"
        ]
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    for (message, error) in [
        (
            bind("", ""),
            "E ERROR 26000 unnamed prepared statement does not exist",
        ),
        (
            bind("", "p"),
            "E ERROR 26000 prepared statement \"p\" does not exist",
        ),
        (
            describe('S', "p"),
            "E ERROR 26000 prepared statement \"p\" does not exist",
        ),
        (
            describe('P', "c"),
            "E ERROR 34000 portal \"c\" does not exist",
        ),
        (execute("c", 0), "E ERROR 34000 portal \"c\" does not exist"),
    ] {
        assert_eq!(client.ask(&[message, sync()]).await, [error, "Z I"]);
    }
    let heard = client
        .ask(&[close('S', "p"), close('P', "c"), sync()])
        .await;
    assert_eq!(heard, ["3", "3", "Z I"]);
}

#[tokio::test]
async fn an_empty_statement_is_a_statement() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    assert_eq!(
        client.ask(&[run(""), sync()]).await,
        ["1", "2", "n", "I", "Z I"]
    );
    let heard = client.ask(&[parse("", "SELECT 1; SELECT 2"), sync()]).await;
    assert_eq!(
        heard,
        [
            "E ERROR 42601 cannot insert multiple commands into a prepared statement",
            "Z I"
        ]
    );
}

#[tokio::test]
async fn a_simple_query_replaces_the_unnamed_statement() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.ask(&[parse("", "SELECT 1"), sync()]).await;
    client.query("SELECT 2").await;
    let heard = client.ask(&[bind("", ""), sync()]).await;
    assert_eq!(
        heard,
        [
            "E ERROR 26000 unnamed prepared statement does not exist",
            "Z I"
        ]
    );
}
