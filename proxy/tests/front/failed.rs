//! BEGIN to COMMIT, and what is left of a transaction after an error.

use crate::client::Client;
use crate::fake::Front;

const IGNORED: &str =
    "E ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block";

#[tokio::test]
async fn begin_is_answered_at_once_and_ordered_at_once() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    assert_eq!(front.database.asked(), ["begin"]);
    assert_eq!(
        client.query("BEGIN").await,
        [
            "N WARNING 25001 there is already a transaction in progress",
            "C BEGIN",
            "Z T"
        ]
    );
    assert_eq!(
        client.query("INSERT INTO t VALUES (1)").await,
        ["C INSERT 0 1", "Z T"]
    );
    assert_eq!(client.query("END").await, ["C COMMIT", "Z I"]);
    assert_eq!(
        front.database.asked(),
        ["INSERT INTO t VALUES (1)", "commit"]
    );
}

#[tokio::test]
async fn an_empty_transaction_orders_no_commit() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
    assert_eq!(front.database.asked(), ["begin", "rollback"]);
}

#[tokio::test]
async fn after_an_error_everything_is_refused_until_the_end() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    assert_eq!(
        client.query("SELECT fail").await,
        ["E ERROR 22012 division by zero", "Z E"]
    );
    for sql in ["SELECT 1", "BEGIN", "SAVEPOINT s", "SET timezone = 'CET'"] {
        assert_eq!(client.query(sql).await, [IGNORED, "Z E"], "{sql}");
    }
    assert_eq!(client.query("").await, ["I", "Z E"]);
    assert_eq!(client.query("COMMIT").await, ["C ROLLBACK", "Z I"]);
    assert_eq!(front.database.asked(), ["begin", "SELECT fail", "rollback"]);
}

#[tokio::test]
async fn an_error_of_the_front_itself_fails_the_transaction_too() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN; SAVEPOINT s").await;
    let heard = client.query("SELECT 'open").await;
    assert_eq!(heard.last().unwrap(), "Z E");
    assert_eq!(client.query("SELECT 1").await, [IGNORED, "Z E"]);
    assert_eq!(client.query("ROLLBACK TO s").await, ["C ROLLBACK", "Z T"]);
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
    assert_eq!(
        front.database.asked(),
        ["begin", "SAVEPOINT s", "ROLLBACK TO s", "commit"]
    );
}

#[tokio::test]
async fn a_savepoint_brings_a_failed_transaction_back() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client.query("SAVEPOINT s").await;
    assert_eq!(client.query("SELECT fail").await.last().unwrap(), "Z E");
    assert_eq!(
        client.query("ROLLBACK TO SAVEPOINT s").await,
        ["C ROLLBACK", "Z T"]
    );
    assert_eq!(client.query("RELEASE s").await, ["C RELEASE", "Z T"]);
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
}

#[tokio::test]
async fn a_transaction_that_the_cluster_gave_up_waits_for_its_end() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .query("BEGIN; SAVEPOINT s; INSERT INTO t VALUES (1)")
        .await;
    front.database.asked();
    let doomed = "E ERROR 40001 could not serialize access: doomed";
    assert_eq!(client.query("SELECT doom").await, [doomed, "Z E"]);
    assert_eq!(client.query("SELECT 1").await, [IGNORED, "Z E"]);
    assert_eq!(
        client.query("ROLLBACK TO s").await,
        [doomed, "Z E"],
        "no savepoint brings it back"
    );
    assert_eq!(client.query("COMMIT").await, ["C ROLLBACK", "Z I"]);
    assert_eq!(
        front.database.asked(),
        ["SELECT doom"],
        "nothing more is sent for it"
    );
    assert_eq!(client.query("SELECT 1").await.last().unwrap(), "Z I");
}

#[tokio::test]
async fn a_commit_that_the_replicas_refuse_is_an_error_and_the_end() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN; INSERT INTO abort VALUES (1)").await;
    assert_eq!(
        client.query("COMMIT").await,
        ["E ERROR 40001 could not serialize access: aborted", "Z I"]
    );
}

#[tokio::test]
async fn an_end_without_a_beginning_is_a_warning() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let warning = "N WARNING 25P01 there is no transaction in progress";
    assert_eq!(client.query("COMMIT").await, [warning, "C COMMIT", "Z I"]);
    assert_eq!(
        client.query("ROLLBACK").await,
        [warning, "C ROLLBACK", "Z I"]
    );
    assert!(front.database.asked().is_empty());
}

#[tokio::test]
async fn a_chain_begins_again_with_the_same_modes() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN READ ONLY").await;
    client.query("SELECT 1").await;
    assert_eq!(client.query("COMMIT AND CHAIN").await, ["C COMMIT", "Z T"]);
    assert_eq!(
        client.query("ROLLBACK AND CHAIN").await,
        ["C ROLLBACK", "Z T"]
    );
    client.query("ROLLBACK").await;
    let begin = "begin read only";
    assert_eq!(
        front.database.asked(),
        [
            begin, "SELECT 1", "commit", begin, "rollback", begin, "rollback"
        ]
    );
}

#[tokio::test]
async fn set_transaction_at_the_start_begins_anew_and_later_is_refused() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    assert_eq!(
        client.query("SET TRANSACTION READ ONLY").await,
        ["C SET", "Z T"]
    );
    assert_eq!(
        front.database.asked(),
        ["begin", "begin read only", "rollback"]
    );
    client.query("SELECT 1").await;
    assert_eq!(
        client.query("SET TRANSACTION READ WRITE").await,
        [
            "E ERROR 25001 transaction read-write mode must be set before any query",
            "Z E"
        ]
    );
    client.query("ROLLBACK").await;
    client.query("BEGIN").await;
    client.query("SELECT 1").await;
    assert_eq!(
        client
            .query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await,
        [
            "E ERROR 25001 SET TRANSACTION ISOLATION LEVEL must be called before any query",
            "Z E"
        ]
    );
    client.query("ROLLBACK").await;
    assert_eq!(
        client.query("SET TRANSACTION READ ONLY").await,
        [
            "N WARNING 25P01 SET TRANSACTION can only be used in transaction blocks",
            "C SET",
            "Z I"
        ]
    );
}
