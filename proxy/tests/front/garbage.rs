//! Garbage and excess: a clear error or a clean close, and nobody else is hurt.

use crate::client::{Client, execute, parse, query, raw, sync};
use crate::fake::Front;

#[tokio::test]
async fn an_unknown_message_ends_the_connection() {
    let front = Front::start().await;
    let mut other = Client::connect(front.address).await;
    let mut client = Client::connect(front.address).await;
    client.send(&[raw(b'?', b"what")]).await;
    let heard = client.until_closed().await;
    assert_eq!(heard, ["E FATAL 08P01 invalid frontend message type 63"]);
    assert_eq!(other.query("SELECT 1").await.last().unwrap(), "Z I");
}

#[tokio::test]
async fn an_impossible_length_ends_the_connection() {
    let front = Front::start().await;
    for length in [0_u32, 3, (64 << 20) + 1, u32::MAX] {
        let mut client = Client::connect(front.address).await;
        let mut message = vec![b'Q'];
        message.extend(length.to_be_bytes());
        client.send(&[message]).await;
        let heard = client.until_closed().await;
        assert_eq!(heard, ["E FATAL 08P01 invalid message length"], "{length}");
    }
}

#[tokio::test]
async fn a_message_of_the_wrong_form_is_an_error_and_the_connection_stays() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    for (message, error) in [
        (
            raw(b'Q', b"SELECT 1"),
            "E ERROR 08P01 invalid string in message",
        ),
        (
            raw(b'Q', b"SELECT 1\0\0"),
            "E ERROR 08P01 invalid message format",
        ),
        (
            raw(b'Q', b"SELECT '\xff'\0"),
            "E ERROR 22021 invalid byte sequence for encoding \"UTF8\": 0xff 0x27",
        ),
        (
            raw(b'F', b"x"),
            "E ERROR 0A000 the function call protocol is not supported",
        ),
    ] {
        assert_eq!(client.ask(&[message]).await, [error, "Z I"]);
    }
    for (message, error) in [
        (
            raw(b'D', b"Xp\0"),
            "E ERROR 08P01 invalid DESCRIBE message subtype 88",
        ),
        (
            raw(b'C', b"Xp\0"),
            "E ERROR 08P01 invalid CLOSE message subtype 88",
        ),
        (
            raw(b'E', b"p\0\0"),
            "E ERROR 08P01 insufficient data left in message",
        ),
        (
            raw(b'B', b"\0\0\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0"),
            "E ERROR 08P01 bind message has 2 parameter formats but 1 parameters",
        ),
        (
            raw(b'P', b"\0SELECT 1\0\xff\xff"),
            "E ERROR 08P01 insufficient data left in message",
        ),
    ] {
        let heard = client.ask(&[message, execute("", 0), sync()]).await;
        assert_eq!(heard, [error, "Z I"]);
    }
    assert_eq!(client.query("SELECT 1").await.last().unwrap(), "Z I");
}

#[tokio::test]
async fn an_error_in_a_message_fails_the_transaction() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    assert_eq!(client.ask(&[raw(b'Q', b"x")]).await.last().unwrap(), "Z E");
    assert_eq!(client.query("ROLLBACK").await, ["C ROLLBACK", "Z I"]);
}

#[tokio::test]
async fn prepared_statements_are_bounded() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    for n in 0..4096 {
        assert_eq!(
            client
                .ask(&[parse(&format!("p{n}"), "BEGIN"), sync()])
                .await,
            ["1", "Z I"]
        );
    }
    let heard = client.ask(&[parse("more", "BEGIN"), sync()]).await;
    assert_eq!(heard, ["E ERROR 54000 too many prepared statements", "Z I"]);
    assert_eq!(
        client.query("DEALLOCATE ALL").await,
        ["C DEALLOCATE ALL", "Z I"]
    );
    assert_eq!(
        client.ask(&[parse("more", "BEGIN"), sync()]).await,
        ["1", "Z I"]
    );
}

#[tokio::test]
async fn any_bytes_after_the_start_leave_the_front_alive() {
    let front = Front::start().await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..200 {
        let mut client = Client::connect(front.address).await;
        let mut noise = Vec::new();
        for _ in 0..40 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let kind = b"QPBDECHSFdcf"[(seed % 12) as usize];
            let length = (seed >> 8) % 12;
            let body: Vec<u8> = (0..length).map(|n| (seed >> (n * 5)) as u8).collect();
            noise.push(raw(kind, &body));
        }
        client.send(&noise).await;
        client
            .send(&[sync(), query("SELECT 1"), crate::client::terminate()])
            .await;
        client.until_closed().await;
    }
    let mut client = Client::connect(front.address).await;
    assert_eq!(client.query("SELECT 1").await.last().unwrap(), "Z I");
}
