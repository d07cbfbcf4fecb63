//! SHOW steel.receipt: answered by the front, of what is committed and of nothing else.

use crate::client::{Client, bind, describe, execute, flush, parse, run, sync};
use crate::fake::Front;

const SHOW: &str = "SHOW steel.receipt";
const OPEN: &str = "E ERROR 25001 SHOW steel.receipt cannot run inside a transaction block";

#[tokio::test]
async fn a_receipt_is_a_row_of_one_text_by_both_protocols() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("INSERT INTO t VALUES (1)").await;
    let heard = client.query("show Steel.Receipt").await;
    let row = ["T steel.receipt:0", "D signed", "C SHOW", "Z I"];
    assert_eq!(heard, row);
    let heard = client.ask(&[run(SHOW), sync()]).await;
    assert_eq!(heard, [&["1", "2"][..], &row].concat());
    // A driver that describes first, and one that wants no more than one row.
    let heard = client
        .ask(&[parse("p", SHOW), describe('S', "p"), sync()])
        .await;
    assert_eq!(heard, ["1", "t", "T steel.receipt:0", "Z I"]);
    let heard = client.ask(&[bind("", "p"), execute("", 1), sync()]).await;
    assert_eq!(heard, ["2", "D signed", "C SHOW", "Z I"]);
    // No transaction is begun for what follows in the same batch.
    client
        .send(&[parse("", SHOW), bind("", ""), execute("", 0), flush()])
        .await;
    assert_eq!(client.until("C").await, ["1", "2", "D signed", "C SHOW"]);
    assert_eq!(client.ask(&[sync()]).await, ["Z I"]);
    let asked = [
        "auto INSERT INTO t VALUES (1)",
        "receipt",
        "receipt",
        "receipt",
        "receipt",
    ];
    assert_eq!(front.database.asked(), asked);
}

#[tokio::test]
async fn what_is_open_has_none() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    assert_eq!(client.query(SHOW).await, [OPEN, "Z E"]);
    client.query("ROLLBACK").await;
    let heard = client
        .query("INSERT INTO t VALUES (1); SHOW steel.receipt")
        .await;
    assert_eq!(heard, ["C INSERT 0 1", OPEN, "Z I"]);
    let heard = client
        .ask(&[run("INSERT INTO t VALUES (1)"), run(SHOW), sync()])
        .await;
    assert_eq!(heard.last().unwrap(), "Z I");
    assert!(heard.contains(&OPEN.to_owned()), "{heard:?}");
    // Nothing was done yet in this one.
    let heard = client.query("SHOW steel.receipt; SELECT a").await;
    assert_eq!(heard[..3], ["T steel.receipt:0", "D signed", "C SHOW"]);
    assert_eq!(client.query(SHOW).await[1], "D signed");
}
