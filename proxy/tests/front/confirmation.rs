//! What the master alone answers, and what has to be confirmed by others.

use crate::client::Client;
use crate::fake::Front;

#[tokio::test]
async fn catalogs_are_answered_by_the_master_alone() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("SELECT relname FROM pg_class").await;
    client.query("BEGIN").await;
    client.query("SELECT relname FROM pg_class").await;
    client.query("SELECT a FROM t").await;
    let catalogs = "SELECT relname FROM pg_class";
    assert_eq!(
        front.database.asked(),
        [
            &format!("master {catalogs}"),
            "begin",
            &format!("{catalogs} at the master"),
            "SELECT a FROM t"
        ]
    );
}

#[tokio::test]
async fn a_cursor_over_catalogs_is_open_at_the_master_alone() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client
        .query("DECLARE c CURSOR FOR SELECT relname FROM pg_class")
        .await;
    client.query("DECLARE d CURSOR FOR SELECT a FROM t").await;
    client.query("FETCH FORWARD 10 FROM C").await;
    client.query("FETCH d").await;
    client.query("CLOSE c").await;
    assert_eq!(
        front.database.asked(),
        [
            "begin",
            "DECLARE c CURSOR FOR SELECT relname FROM pg_class at the master",
            "DECLARE d CURSOR FOR SELECT a FROM t",
            "FETCH FORWARD 10 FROM C at the master",
            "FETCH d",
            "CLOSE c at the master"
        ]
    );
}

#[tokio::test]
async fn a_write_that_nobody_could_confirm_is_refused_where_it_would_be_committed() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let sql = "EXPLAIN ANALYZE UPDATE t SET a = 1";
    let heard = client.query(sql).await;
    assert!(heard[0].starts_with("E ERROR 0A000"), "{heard:?}");
    client.query("BEGIN").await;
    client.query(sql).await;
    client.query("ROLLBACK").await;
    assert_eq!(front.database.asked(), ["begin", sql, "rollback"]);
}
