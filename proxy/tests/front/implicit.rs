//! Several statements in one string are one transaction, unless they say otherwise.

use crate::client::Client;
use crate::fake::Front;

#[tokio::test]
async fn a_single_statement_is_autocommit() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client.query("INSERT INTO t VALUES (1)").await;
    assert_eq!(heard, ["C INSERT 0 1", "Z I"]);
    let heard = client.query(" SELECT a FROM t -- rows 2\n;").await;
    assert_eq!(heard, ["T a:0", "D 1", "C SELECT 1", "Z I"]);
    assert_eq!(
        front.database.asked(),
        ["auto INSERT INTO t VALUES (1)", "read SELECT a FROM t"]
    );
}

#[tokio::test]
async fn a_string_of_several_is_committed_as_one() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("INSERT INTO t VALUES (1); UPDATE t SET a = 2")
        .await;
    assert_eq!(heard, ["C INSERT 0 1", "C UPDATE", "Z I"]);
    let asked = [
        "begin",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 2",
        "commit",
    ];
    assert_eq!(front.database.asked(), asked);
}

#[tokio::test]
async fn an_error_in_the_middle_undoes_what_came_before_and_skips_the_rest() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("INSERT INTO t VALUES (1); UPDATE fail SET a = 2; DELETE FROM t")
        .await;
    assert_eq!(
        heard,
        ["C INSERT 0 1", "E ERROR 22012 division by zero", "Z I"]
    );
    let asked = [
        "begin",
        "INSERT INTO t VALUES (1)",
        "UPDATE fail SET a = 2",
        "rollback",
    ];
    assert_eq!(front.database.asked(), asked);
}

#[tokio::test]
async fn the_last_completion_is_told_only_when_all_is_committed() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("INSERT INTO t VALUES (1); UPDATE abort SET a = 2")
        .await;
    assert_eq!(
        heard,
        [
            "C INSERT 0 1",
            "E ERROR 40001 could not serialize access: aborted",
            "Z I"
        ]
    );
}

#[tokio::test]
async fn a_begin_inside_makes_the_block_explicit() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2)")
        .await;
    assert_eq!(heard, ["C INSERT 0 1", "C BEGIN", "C INSERT 0 1", "Z T"]);
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
    let asked = [
        "begin",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (2)",
        "commit",
    ];
    assert_eq!(front.database.asked(), asked);
}

#[tokio::test]
async fn a_commit_inside_ends_what_came_before() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("INSERT INTO t VALUES (1); COMMIT; UPDATE fail SET a = 1")
        .await;
    assert_eq!(
        heard,
        [
            "C INSERT 0 1",
            "N WARNING 25P01 there is no transaction in progress",
            "C COMMIT",
            "E ERROR 22012 division by zero",
            "Z I"
        ]
    );
    let asked = [
        "begin",
        "INSERT INTO t VALUES (1)",
        "commit",
        "begin",
        "UPDATE fail SET a = 1",
        "rollback",
    ];
    assert_eq!(front.database.asked(), asked);
}

#[tokio::test]
async fn a_whole_transaction_in_one_string() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("BEGIN; INSERT INTO t VALUES (1); COMMIT;")
        .await;
    assert_eq!(heard, ["C BEGIN", "C INSERT 0 1", "C COMMIT", "Z I"]);
    assert_eq!(
        front.database.asked(),
        ["begin", "INSERT INTO t VALUES (1)", "commit"]
    );
}

#[tokio::test]
async fn a_refused_statement_stops_the_string_where_it_stands() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .query("INSERT INTO t VALUES (1); LISTEN a; DELETE FROM t")
        .await;
    assert_eq!(heard[0], "C INSERT 0 1");
    assert!(heard[1].starts_with("E ERROR 0A000"), "{heard:?}");
    assert_eq!(heard[2..], ["Z I"]);
    assert_eq!(
        front.database.asked(),
        ["begin", "INSERT INTO t VALUES (1)", "rollback"]
    );
}

#[tokio::test]
async fn what_cannot_be_parsed_runs_not_even_in_part() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client.query("INSERT INTO t VALUES (1); SELECT 'open").await;
    assert!(
        heard[0].starts_with("E ERROR 42601 unterminated quoted string"),
        "{heard:?}"
    );
    assert_eq!(heard[1..], ["Z I"]);
    assert!(front.database.asked().is_empty());
}

#[tokio::test]
async fn nothing_is_an_empty_query() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    for nothing in ["", ";", " ; ; -- nothing"] {
        assert_eq!(client.query(nothing).await, ["I", "Z I"]);
    }
    assert_eq!(
        client.query(";SELECT 1;;").await,
        ["T a:0", "D 1", "C SELECT 1", "Z I"]
    );
    assert_eq!(front.database.asked(), ["read SELECT 1"]);
}

#[tokio::test]
async fn savepoints_and_cursors_need_a_block() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    for (sql, message) in [
        (
            "SAVEPOINT s",
            "SAVEPOINT can only be used in transaction blocks",
        ),
        (
            "SELECT 1; SAVEPOINT s",
            "SAVEPOINT can only be used in transaction blocks",
        ),
        (
            "RELEASE s",
            "RELEASE SAVEPOINT can only be used in transaction blocks",
        ),
        (
            "ROLLBACK TO s",
            "ROLLBACK TO SAVEPOINT can only be used in transaction blocks",
        ),
        (
            "DECLARE c CURSOR FOR SELECT 1",
            "DECLARE CURSOR can only be used in transaction blocks",
        ),
        (
            "COMMIT AND CHAIN",
            "COMMIT AND CHAIN can only be used in transaction blocks",
        ),
    ] {
        let heard = client.query(sql).await;
        assert!(
            heard.contains(&format!("E ERROR 25P01 {message}")),
            "{sql}: {heard:?}"
        );
        assert_eq!(heard.last().unwrap(), "Z I");
    }
}

#[tokio::test]
async fn vacuum_goes_to_all_replicas() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    assert_eq!(client.query("VACUUM t").await, ["C VACUUM", "Z I"]);
    assert_eq!(front.database.asked(), ["exec VACUUM t"]);
}
