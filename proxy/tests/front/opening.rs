//! The start of a connection, and who is let in.

use crate::client::{Client, query, raw, startup};
use crate::fake::{Fake, Front};
use bytes::BufMut;
use proxy::{Proxy, ProxyConfig};
use tokio::io::AsyncReadExt;

fn request(code: u32) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_u32(8);
    packet.put_u32(code);
    packet
}

#[tokio::test]
async fn encryption_is_declined_and_the_session_starts_in_plain() {
    let front = Front::start().await;
    let mut client = Client::open(front.address).await;
    for code in [80_877_103, 80_877_104] {
        client.send(&[request(code)]).await;
        assert_eq!(client.stream.read_u8().await.unwrap(), b'N');
    }
    client
        .send(&[startup(3 << 16, &[("user", "postgres")])])
        .await;
    assert_eq!(
        client.until_ready().await,
        ["R", "S TimeZone=UTC", "S server_version=15.0", "K", "Z I"]
    );
}

#[tokio::test]
async fn a_newer_client_is_told_which_version_is_spoken() {
    let front = Front::start().await;
    let mut client = Client::open(front.address).await;
    client
        .send(&[startup(
            (3 << 16) + 2,
            &[("user", "postgres"), ("_pq_.x", "1")],
        )])
        .await;
    let heard = client.until_ready().await;
    assert_eq!(heard[..2], ["v", "R"]);
}

#[tokio::test]
async fn strangers_are_told_why_they_cannot_enter() {
    let front = Front::start().await;
    for (version, parameters, error) in [
        (
            3,
            &[("user", "root"), ("database", "postgres")][..],
            "E FATAL 28000 role \"root\" does not exist",
        ),
        (
            3,
            &[("user", "postgres"), ("database", "x")],
            "E FATAL 3D000 database \"x\" does not exist",
        ),
        (
            3,
            &[("database", "postgres")],
            "E FATAL 28000 no PostgreSQL user name specified in startup packet",
        ),
        (
            2,
            &[("user", "postgres")],
            "E FATAL 0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.0",
        ),
        (
            3,
            &[("user", "postgres"), ("replication", "true")],
            "E FATAL 0A000 replication connections are not supported",
        ),
        (
            3,
            &[("user", "postgres"), ("client_encoding", "LATIN1")],
            "E FATAL 0A000 client_encoding \"LATIN1\" is not supported",
        ),
        (
            3,
            &[("user", "postgres"), ("no such", "x")],
            "E FATAL 42704 unrecognized configuration parameter \"no such\"",
        ),
    ] {
        let mut client = Client::open(front.address).await;
        client.send(&[startup(version << 16, parameters)]).await;
        assert_eq!(client.until_closed().await, [error]);
    }
}

#[tokio::test]
async fn a_session_acts_as_the_role_that_it_logged_in_as() {
    let front = Front::start().await;
    let mut client = Client::open(front.address).await;
    client
        .send(&[startup(
            3 << 16,
            &[("user", "app"), ("database", "postgres")],
        )])
        .await;
    client.until_ready().await;
    assert_eq!(front.database.asked(), ["read SELECT 1 steel.role=app"]);
    for statement in ["INSERT INTO t VALUES (1)", "SELECT a FROM t"] {
        client.query(statement).await;
        let asked = front.database.asked();
        assert!(asked[0].ends_with(" steel.role=app"), "{asked:?}");
    }
    // It cannot be taken away or be another one.
    for statement in [
        "SET steel.role = postgres",
        "RESET steel.role",
        "SET ROLE postgres",
    ] {
        let heard = client.query(statement).await;
        assert!(heard[0].starts_with("E ERROR"), "{statement}: {heard:?}");
    }
    for statement in ["RESET ALL", "DISCARD ALL", "INSERT INTO t VALUES (1)"] {
        client.query(statement).await;
    }
    let asked = front.database.asked();
    assert!(
        asked.last().unwrap().ends_with(" steel.role=app"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn where_passwords_are_configured_everybody_proves_one() {
    let verifier = postgres_protocol::password::scram_sha_256(b"pencil");
    let config = ProxyConfig {
        passwords: Some([("app".to_owned(), verifier)].into()),
        ..ProxyConfig::default()
    };
    let front = Front::with(config).await;
    let log_in = async |user: &str, password: &str| {
        let mut options = tokio_postgres::Config::new();
        options
            .host("127.0.0.1")
            .port(front.address.port())
            .user(user)
            .dbname("postgres")
            .password(password)
            .ssl_mode(tokio_postgres::config::SslMode::Disable);
        match options.connect(tokio_postgres::NoTls).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.code().map(|c| c.code().to_owned()).unwrap()),
        }
    };
    assert_eq!(log_in("app", "pencil").await, Ok(()));
    for (user, password) in [
        ("app", "pen"),
        ("app", " pencil"),
        ("postgres", "pencil"),
        ("nobody", "pencil"),
    ] {
        let refused = log_in(user, password).await;
        assert_eq!(refused, Err("28P01".to_owned()), "{user} with {password:?}");
    }
    assert_eq!(front.database.asked(), ["read SELECT 1 steel.role=app"]);

    // What is no answer to the question, and who gives none.
    for (answer, error) in [
        (
            query("SELECT 1"),
            "E FATAL 08P01 expected SASL response, got message type 81",
        ),
        (raw(b'p', b""), "E FATAL 08P01 malformed SCRAM message"),
        (
            raw(b'p', b"SCRAM-SHA-256\0\0\0\0\x09n,,"),
            "E FATAL 08P01 malformed SCRAM message",
        ),
        (
            raw(b'p', b"SCRAM-SHA-256-PLUS\0\0\0\0\0"),
            "E FATAL 08P01 client selected an invalid SASL authentication mechanism",
        ),
        (
            raw(b'p', &[b'x'; 20_000]),
            "E FATAL 08P01 invalid message length",
        ),
    ] {
        let mut client = Client::open(front.address).await;
        client
            .send(&[startup(
                3 << 16,
                &[("user", "app"), ("database", "postgres")],
            )])
            .await;
        client.send(&[answer]).await;
        let heard = client.until_closed().await;
        assert_eq!(heard.last().unwrap(), error, "{heard:?}");
    }
    assert!(front.database.asked().is_empty());
}

#[tokio::test]
async fn a_password_that_is_no_verifier_is_refused_at_the_start() {
    let config = ProxyConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        passwords: Some([("app".to_owned(), "pencil".to_owned())].into()),
        ..ProxyConfig::default()
    };
    let error = Proxy::bind(config, Fake::default()).await.err().unwrap();
    assert!(error.to_string().contains("\"app\""), "{error}");
    assert!(!error.to_string().contains("pencil"), "{error}");
}

#[tokio::test]
async fn settings_of_the_startup_packet_hold_for_the_session() {
    let front = Front::start().await;
    let settings = [("options", "-c work_mem=1MB"), ("application_name", "x")];
    let mut client = Client::with(front.address, &settings).await;
    let asked = front.database.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    client.query("INSERT INTO t VALUES (1)").await;
    let asked = front.database.asked();
    assert!(
        asked[0].contains(" work_mem=") && asked[0].contains(" application_name="),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_refused_setting_ends_the_connection() {
    let front = Front::start().await;
    let mut client = Client::open(front.address).await;
    client
        .send(&[startup(
            3 << 16,
            &[("user", "postgres"), ("search_path", "fail")],
        )])
        .await;
    assert_eq!(
        client.until_closed().await,
        ["E FATAL 22012 division by zero"]
    );
    let mut client = Client::open(front.address).await;
    client
        .send(&[startup(
            3 << 16,
            &[("user", "postgres"), ("steel.mode", "replay")],
        )])
        .await;
    let heard = client.until_closed().await;
    assert!(heard[0].starts_with("E FATAL"), "{heard:?}");
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_a_free_place_is_given_again() {
    let config = ProxyConfig {
        max_connections: 2,
        ..ProxyConfig::default()
    };
    let front = Front::with(config).await;
    let first = Client::connect(front.address).await;
    let _second = Client::connect(front.address).await;
    let mut third = Client::open(front.address).await;
    third
        .send(&[startup(3 << 16, &[("user", "postgres")])])
        .await;
    assert_eq!(
        third.until_closed().await,
        ["E FATAL 53300 sorry, too many clients already"]
    );
    drop(first);
    loop {
        let mut again = Client::open(front.address).await;
        again
            .send(&[startup(3 << 16, &[("user", "postgres")])])
            .await;
        if again.until("").await[0] == "R" {
            break;
        }
    }
}

#[tokio::test]
async fn silence_and_garbage_at_the_door_are_shut_out() {
    // So long that the last client logs in within it on a busy machine.
    let config = ProxyConfig {
        startup_timeout_s: 3,
        ..ProxyConfig::default()
    };
    let front = Front::with(config).await;
    let mut silent = Client::open(front.address).await;
    let mut slow = Client::open(front.address).await;
    slow.send(&[startup(3 << 16, &[("user", "postgres")])[..9].to_vec()])
        .await;
    for noise in [
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        request(80_877_103)[..4]
            .iter()
            .chain(&[0; 4])
            .copied()
            .collect(),
        vec![0; 64],
        vec![0xff; 64],
        [
            request(80_877_103),
            startup(3 << 16, &[("user", "postgres")]),
        ]
        .concat(),
    ] {
        let mut client = Client::open(front.address).await;
        client.send(&[noise]).await;
        let heard = client.until_closed().await;
        assert!(
            heard.iter().all(|line| line.starts_with("E FATAL")),
            "{heard:?}"
        );
    }
    assert!(silent.until_closed().await.is_empty());
    assert!(slow.until_closed().await.is_empty());
    let mut client = Client::connect(front.address).await;
    assert_eq!(client.query("SELECT 1").await.last().unwrap(), "Z I");
}

#[tokio::test]
async fn at_shutdown_everybody_is_told() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    let mut busy = Client::connect(front.address).await;
    busy.send(&[query("SELECT 'hang'")]).await;
    front.database.until("read SELECT 'hang'").await;
    let database = front.database.clone();
    drop(front);
    let told = ["E FATAL 57P01 terminating connection due to administrator command"];
    assert_eq!(client.until_closed().await, told);
    assert_eq!(busy.until_closed().await, told);
    database.until("rollback").await;
}
