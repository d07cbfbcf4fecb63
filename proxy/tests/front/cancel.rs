//! Cancel requests stop what runs, and nothing else.

use crate::client::Client;
use crate::fake::Front;
use bytes::BufMut;

async fn cancel(front: &Front, key: (i32, i32)) {
    let mut packet = Vec::new();
    packet.put_u32(16);
    packet.put_u32(80_877_102);
    packet.put_i32(key.0);
    packet.put_i32(key.1);
    let mut other = Client::open(front.address).await;
    other.send(&[packet]).await;
    assert!(
        other.until_closed().await.is_empty(),
        "a cancel request has no answer"
    );
}

const CANCELLED: &str = "E ERROR 57014 canceling statement due to user request";

#[tokio::test]
async fn a_statement_in_a_transaction_is_cancelled_at_the_master() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client
        .send(&[crate::client::query("UPDATE hang SET a = 1")])
        .await;
    front.database.until("UPDATE hang SET a = 1").await;
    cancel(&front, client.key).await;
    assert_eq!(client.until_ready().await, [CANCELLED, "Z E"]);
    assert_eq!(
        front.database.asked(),
        ["begin", "UPDATE hang SET a = 1", "cancel"]
    );
}

#[tokio::test]
async fn a_read_is_cancelled() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.send(&[crate::client::query("SELECT 'hang'")]).await;
    front.database.until("read SELECT 'hang'").await;
    cancel(&front, client.key).await;
    assert_eq!(client.until_ready().await, [CANCELLED, "Z I"]);
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_or_with_a_wrong_secret_does_nothing() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("SELECT 1").await;
    cancel(&front, client.key).await;
    assert_eq!(client.query("SELECT 1").await.last().unwrap(), "Z I");
    client.send(&[crate::client::query("SELECT 'hang'")]).await;
    front.database.until("read SELECT 'hang'").await;
    cancel(&front, (client.key.0, client.key.1.wrapping_add(1))).await;
    assert!(client.silent().await);
    cancel(&front, client.key).await;
    assert_eq!(client.until_ready().await, [CANCELLED, "Z I"]);
}
