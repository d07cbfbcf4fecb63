//! SET, RESET and their company: what a session carries, and when it is lost again.

use crate::client::Client;
use crate::fake::Front;

const CARRIED: &str = "auto INSERT INTO t VALUES (1) timezone=CET";
const PLAIN: &str = "auto INSERT INTO t VALUES (1)";

/// What the next autocommit statement carries.
async fn carried(front: &Front, client: &mut Client) -> String {
    front.database.asked();
    client.query("INSERT INTO t VALUES (1)").await;
    front.database.asked().pop().unwrap()
}

#[tokio::test]
async fn a_setting_travels_with_what_comes_after_it() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client.query("SET timezone = 'CET'").await;
    assert_eq!(heard, ["C SET", "S TimeZone=CET", "Z I"]);
    assert_eq!(front.database.asked(), ["master SET timezone = 'CET'"]);
    assert_eq!(carried(&front, &mut client).await, CARRIED);
    client.query("BEGIN").await;
    assert_eq!(front.database.asked(), ["begin timezone=CET"]);
    client.query("ROLLBACK").await;
    let heard = client.query("RESET timezone").await;
    assert_eq!(heard, ["C RESET", "Z I"]);
    assert_eq!(carried(&front, &mut client).await, PLAIN);
}

#[tokio::test]
async fn a_rollback_takes_the_setting_back_and_tells_the_client() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    assert_eq!(
        client.query("SET timezone = 'CET'").await,
        ["C SET", "S TimeZone=CET", "Z T"]
    );
    assert_eq!(
        client.query("ROLLBACK").await,
        ["C ROLLBACK", "S TimeZone=UTC", "Z I"]
    );
    assert_eq!(carried(&front, &mut client).await, PLAIN);
    client.query("BEGIN; SET timezone = 'CET'; COMMIT").await;
    assert_eq!(carried(&front, &mut client).await, CARRIED);
}

#[tokio::test]
async fn settings_alone_need_no_judgement() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .query("SET timezone = 'CET'; SET work_mem = '1MB'")
        .await;
    let asked = [
        "begin",
        "SET timezone = 'CET'",
        "SET work_mem = '1MB'",
        "rollback",
    ];
    assert_eq!(front.database.asked(), asked);
    assert_eq!(
        carried(&front, &mut client).await,
        "auto INSERT INTO t VALUES (1) timezone=CET work_mem=1MB"
    );
}

#[tokio::test]
async fn set_local_ends_with_its_transaction() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    let heard = client.query("SET LOCAL timezone = 'CET'").await;
    assert_eq!(heard, ["C SET", "S TimeZone=CET", "Z T"]);
    assert_eq!(
        client.query("COMMIT").await,
        ["C COMMIT", "S TimeZone=UTC", "Z I"]
    );
    assert_eq!(carried(&front, &mut client).await, PLAIN);
    let heard = client.query("SET LOCAL timezone = 'CET'").await;
    assert_eq!(
        heard,
        [
            "N WARNING 25P01 SET LOCAL can only be used in transaction blocks",
            "C SET",
            "Z I"
        ]
    );
    assert_eq!(carried(&front, &mut client).await, PLAIN);
}

#[tokio::test]
async fn a_savepoint_remembers_the_settings() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .query("BEGIN; SET timezone = 'CET'; SAVEPOINT s; SET timezone = 'EST'")
        .await;
    client.query("ROLLBACK TO s").await;
    client.query("COMMIT").await;
    assert_eq!(carried(&front, &mut client).await, CARRIED);
}

#[tokio::test]
async fn a_setting_that_postgresql_refuses_is_not_kept() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client.query("SET timezone = 'fail'").await;
    assert_eq!(heard, ["E ERROR 22012 division by zero", "Z I"]);
    assert_eq!(carried(&front, &mut client).await, PLAIN);
}

#[tokio::test]
async fn time_outs_stay_at_the_front_and_work_there() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("SET statement_timeout = 100").await;
    assert_eq!(carried(&front, &mut client).await, PLAIN);
    let heard = client.query("SHOW statement_timeout").await;
    assert_eq!(heard, ["T statement_timeout:0", "D 100ms", "C SHOW", "Z I"]);
    let cancelled = "E ERROR 57014 canceling statement due to statement timeout";
    assert_eq!(client.query("SELECT 'hang'").await, [cancelled, "Z I"]);
    client.query("BEGIN").await;
    assert_eq!(
        client.query("UPDATE hang SET a = 1").await,
        [cancelled, "Z E"]
    );
}

#[tokio::test]
async fn an_idle_client_is_ended_as_it_wished() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .query("SET idle_in_transaction_session_timeout = 50")
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    client.query("BEGIN").await;
    assert_eq!(
        client.until_closed().await,
        ["E FATAL 25P03 terminating connection due to idle-in-transaction timeout"]
    );
    front.database.until("rollback").await;
}

#[tokio::test]
async fn read_only_by_default_is_read_only() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("SET default_transaction_read_only = on").await;
    front.database.asked();
    client.query("BEGIN").await;
    client.query("COMMIT").await;
    client.query("INSERT INTO t VALUES (1)").await;
    let asked = front.database.asked();
    let begin = "begin read only default_transaction_read_only=on";
    assert_eq!(
        asked,
        [
            begin,
            "rollback",
            begin,
            "INSERT INTO t VALUES (1)",
            "commit"
        ]
    );
}

#[tokio::test]
async fn serializable_is_ordered_with_the_transaction_and_shown() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let shown = [
        "T transaction_isolation:0",
        "D serializable",
        "C SHOW",
        "Z T",
    ];
    let show = "SHOW transaction_isolation";
    client.query("BEGIN ISOLATION LEVEL SERIALIZABLE").await;
    assert_eq!(client.query(show).await, shown);
    client.query("COMMIT AND CHAIN").await;
    client.query("ROLLBACK").await;
    client.query("BEGIN").await;
    client
        .query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
        .await;
    assert_eq!(client.query(show).await, shown);
    client.query("ROLLBACK").await;
    let mut asked = front.database.asked();
    asked.retain(|asked| asked.starts_with("begin"));
    assert_eq!(
        asked,
        [
            "begin serializable",
            "begin serializable",
            "begin",
            "begin serializable read only"
        ]
    );
}

#[tokio::test]
async fn serializable_by_default_is_serializable() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client
        .query("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        .await;
    let settings = "default_transaction_isolation=serializable";
    let auto = format!("{PLAIN} {settings}");
    assert_eq!(carried(&front, &mut client).await, auto);
    let shown = client.query("SHOW transaction_isolation").await;
    assert_eq!(shown[1], "D serializable");
    client.query("BEGIN").await;
    client.query("ROLLBACK").await;
    client.query("BEGIN ISOLATION LEVEL READ COMMITTED").await;
    client.query("SHOW transaction_isolation").await;
    assert_eq!(
        front.database.asked(),
        [
            format!("begin serializable {settings}"),
            "rollback".into(),
            format!("begin {settings}"),
            // What the others run as, PostgreSQL says.
            "SHOW transaction_isolation at the master".into()
        ]
    );
}

#[tokio::test]
async fn only_utf8_is_spoken() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    assert_eq!(
        client.query("SET client_encoding TO 'UTF8'").await,
        ["C SET", "Z I"]
    );
    let heard = client.query("SET NAMES 'LATIN1'").await;
    assert!(heard[0].starts_with("E ERROR 0A000"), "{heard:?}");
    assert!(front.database.asked().is_empty());
}

#[tokio::test]
async fn discard_all_forgets_settings_and_statements() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    use crate::client::{bind, parse, sync};
    client.query("SET timezone = 'CET'").await;
    client.ask(&[parse("p", "SELECT 1"), sync()]).await;
    let heard = client.query("DISCARD ALL").await;
    assert_eq!(heard, ["C DISCARD ALL", "Z I"]);
    assert_eq!(carried(&front, &mut client).await, PLAIN);
    let heard = client.ask(&[bind("", "p"), sync()]).await;
    assert_eq!(
        heard,
        [
            "E ERROR 26000 prepared statement \"p\" does not exist",
            "Z I"
        ]
    );
    client.query("BEGIN").await;
    let heard = client.query("DISCARD ALL").await;
    assert_eq!(
        heard,
        [
            "E ERROR 25001 DISCARD ALL cannot run inside a transaction block",
            "Z E"
        ]
    );
}
