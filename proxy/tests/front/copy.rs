//! COPY FROM STDIN: collected, then run as one operation.

use crate::client::{Client, copy_data, copy_done, copy_fail, query, run, sync};
use crate::fake::Front;

#[tokio::test]
async fn the_data_goes_with_the_statement() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.send(&[query("COPY t (a, b) FROM STDIN")]).await;
    assert_eq!(client.until("G").await, ["G 0 2"]);
    assert!(
        front.database.asked().is_empty(),
        "nothing runs before the data is there"
    );
    let heard = client
        .ask(&[copy_data(b"1\t2\n"), copy_data(b"3\t4\n"), copy_done()])
        .await;
    assert_eq!(heard, ["C COPY 8", "Z I"]);
    assert_eq!(front.database.asked(), ["auto COPY t (a, b) FROM STDIN"]);
}

#[tokio::test]
async fn the_table_tells_the_columns() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .send(&[query("COPY t FROM STDIN (FORMAT binary)")])
        .await;
    assert_eq!(client.until("G").await, ["G 1 3"]);
    assert_eq!(client.ask(&[copy_done()]).await, ["C COPY 0", "Z I"]);
}

#[tokio::test]
async fn a_client_can_give_up() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client.send(&[query("COPY t FROM STDIN")]).await;
    client.until("G").await;
    let heard = client.ask(&[copy_data(b"1\n"), copy_fail("no more")]).await;
    assert_eq!(
        heard,
        ["E ERROR 57014 COPY from stdin failed: no more", "Z E"]
    );
    assert_eq!(client.query("COMMIT").await, ["C ROLLBACK", "Z I"]);
    assert_eq!(front.database.asked(), ["begin", "rollback"]);
}

#[tokio::test]
async fn anything_but_data_is_an_error() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.send(&[query("COPY t FROM STDIN")]).await;
    client.until("G").await;
    let heard = client.ask(&[copy_data(b"1\n"), query("SELECT 1")]).await;
    assert_eq!(
        heard,
        [
            "E ERROR 08P01 unexpected message type 0x51 during COPY from stdin",
            "Z I"
        ]
    );
    // What a client still sends of a failed COPY is ignored.
    let heard = client
        .ask(&[copy_data(b"2\n"), copy_done(), query("SELECT 1")])
        .await;
    assert_eq!(heard, ["T a:0", "D 1", "C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn in_the_extended_protocol_a_sync_may_come_before_the_data() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.send(&[run("COPY t FROM STDIN"), sync()]).await;
    assert_eq!(client.until("G").await, ["1", "2", "n", "G 0 3"]);
    let heard = client.ask(&[copy_data(b"1\n"), copy_done(), sync()]).await;
    assert_eq!(heard, ["C COPY 2", "Z I"]);
    assert_eq!(front.database.asked(), ["auto COPY t FROM STDIN"]);
}

#[tokio::test]
async fn a_table_that_is_not_there_is_named_before_any_data_is_sent() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client.query("COPY nowhere FROM STDIN").await;
    // PostgreSQL's own words; the scripted one has none, so the front says it.
    assert!(!heard.iter().any(|line| line.starts_with('G')), "{heard:?}");
    assert_eq!(front.database.asked(), ["auto COPY nowhere FROM STDIN"]);
    assert_eq!(heard.last().unwrap(), "Z I");
}

#[tokio::test]
async fn more_than_the_bound_is_skipped_and_refused() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.send(&[query("COPY t FROM STDIN")]).await;
    client.until("G").await;
    let piece = copy_data(&vec![b'x'; 16 << 20]);
    for _ in 0..17 {
        client.send(std::slice::from_ref(&piece)).await;
    }
    let heard = client.ask(&[copy_done()]).await;
    assert!(
        heard[0].starts_with("E ERROR 54000 COPY data of more than"),
        "{heard:?}"
    );
    assert_eq!(heard[1..], ["Z I"]);
    assert!(front.database.asked().is_empty());
}
