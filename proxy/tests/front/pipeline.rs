//! Several batches and several statements in flight: order kept, one transaction up to each Sync.

use crate::client::{Client, close, execute, flush, parse, query, run, sync};
use crate::fake::Front;

#[tokio::test]
async fn what_comes_before_one_sync_is_one_transaction() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let (first, second) = ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)");
    let heard = client.ask(&[run(first), run(second), sync()]).await;
    assert_eq!(
        heard.iter().filter(|line| *line == "C INSERT 0 1").count(),
        2
    );
    assert_eq!(heard.last().unwrap(), "Z I");
    assert_eq!(front.database.asked(), ["begin", first, second, "commit"]);
}

#[tokio::test]
async fn an_error_in_it_undoes_all_of_it() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[
            run("INSERT INTO t VALUES (1)"),
            run("UPDATE fail SET a = 1"),
            run("SELECT 1"),
            sync(),
        ])
        .await;
    assert_eq!(
        heard[heard.len() - 2..],
        ["E ERROR 22012 division by zero", "Z I"]
    );
    assert_eq!(
        front.database.asked(),
        [
            "begin",
            "INSERT INTO t VALUES (1)",
            "UPDATE fail SET a = 1",
            "rollback"
        ]
    );
}

#[tokio::test]
async fn a_commit_that_fails_is_told_at_the_sync() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[run("INSERT INTO abort VALUES (1)"), run("SELECT 1"), sync()])
        .await;
    assert_eq!(
        heard[heard.len() - 2..],
        ["E ERROR 40001 could not serialize access: aborted", "Z I"]
    );
}

#[tokio::test]
async fn a_flush_brings_the_answer_before_the_sync() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .send(&[run("INSERT INTO t VALUES (1)"), flush()])
        .await;
    assert_eq!(client.until("C").await, ["1", "2", "n", "C INSERT 0 1"]);
    assert_eq!(
        front.database.asked(),
        ["begin", "INSERT INTO t VALUES (1)"]
    );
    assert_eq!(client.ask(&[sync()]).await, ["Z I"]);
    assert_eq!(front.database.asked(), ["commit"]);
}

#[tokio::test]
async fn a_close_before_the_sync_changes_nothing() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[
            run("INSERT INTO t VALUES (1)"),
            close('P', ""),
            close('S', ""),
            sync(),
        ])
        .await;
    assert_eq!(heard, ["1", "2", "n", "C INSERT 0 1", "3", "3", "Z I"]);
    assert_eq!(front.database.asked(), ["auto INSERT INTO t VALUES (1)"]);
}

#[tokio::test]
async fn begin_in_the_middle_takes_what_came_before_with_it() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[
            run("INSERT INTO t VALUES (1)"),
            run("BEGIN"),
            run("INSERT INTO t VALUES (2)"),
            sync(),
        ])
        .await;
    assert_eq!(heard.last().unwrap(), "Z T");
    client.ask(&[run("COMMIT"), sync()]).await;
    assert_eq!(
        front.database.asked(),
        [
            "begin",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
            "commit"
        ]
    );
}

#[tokio::test]
async fn a_simple_query_ends_what_the_extended_protocol_began() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[
            run("INSERT INTO t VALUES (1)"),
            query("INSERT INTO t VALUES (2)"),
        ])
        .await;
    assert_eq!(
        heard,
        ["1", "2", "n", "C INSERT 0 1", "C INSERT 0 1", "Z I"]
    );
    assert_eq!(
        front.database.asked(),
        [
            "begin",
            "INSERT INTO t VALUES (1)",
            "INSERT INTO t VALUES (2)",
            "commit"
        ]
    );
}

#[tokio::test]
async fn a_thousand_statements_at_once_are_answered_in_order() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let mut messages = Vec::new();
    for n in 0..1000 {
        messages.extend([run(&format!("SELECT a -- rows {}", n % 7)), sync()]);
        messages.push(query("SELECT 'rows 2'"));
    }
    // Both sides write at once: neither may wait for the other.
    client.send(&messages).await;
    for n in 0..1000 {
        let heard = client.until_ready().await;
        assert_eq!(heard.len(), 6, "{n}: {heard:?}");
        assert_eq!(client.until_ready().await.len(), 5);
    }
}

#[tokio::test]
async fn several_executes_of_one_portal() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[run("INSERT INTO t VALUES (1)"), execute("", 0), sync()])
        .await;
    assert_eq!(
        heard[heard.len() - 2..],
        ["E ERROR 55000 portal \"\" cannot be run", "Z I"]
    );
    let heard = client.ask(&[run("SELECT 1"), execute("", 0), sync()]).await;
    assert_eq!(heard[heard.len() - 2..], ["C SELECT 0", "Z I"]);
    let heard = client
        .ask(&[parse("a", "SELECT 1"), parse("b", "SELECT 2"), sync()])
        .await;
    assert_eq!(heard, ["1", "1", "Z I"]);
}
