//! What a client was told of a statement stays true for as long as it goes by it.

use crate::client::{Client, bind, describe, execute, parse, run, sync};
use crate::fake::Front;

/// Executes the prepared statement `p` without describing it.
async fn executed(client: &mut Client) -> Vec<String> {
    client.ask(&[bind("", "p"), execute("", 0), sync()]).await
}

#[tokio::test]
async fn what_a_block_said_of_a_statement_counts_once_it_is_committed() {
    for (end, asked) in [
        ("COMMIT", vec!["commit", "read SELECT a"]),
        (
            "ROLLBACK",
            vec!["rollback", "read describe SELECT a", "read SELECT a"],
        ),
    ] {
        let front = Front::start().await;
        let mut client = Client::connect(front.address).await;
        client.query("BEGIN").await;
        let heard = client
            .ask(&[parse("p", "SELECT a"), describe('S', "p"), sync()])
            .await;
        assert_eq!(heard, ["1", "t", "T a:0", "Z T"]);
        assert_eq!(
            executed(&mut client).await[1..],
            ["D 1", "C SELECT 1", "Z T"]
        );
        assert_eq!(
            front.database.asked(),
            ["begin", "describe SELECT a", "SELECT a"],
            "it is the master's word like the rows"
        );
        client.query(end).await;
        for _ in 0..2 {
            assert_eq!(
                executed(&mut client).await[1..],
                ["D 1", "C SELECT 1", "Z I"]
            );
        }
        let mut asked = asked;
        asked.push("read SELECT a");
        assert_eq!(front.database.asked(), asked, "{end}");
    }
}

#[tokio::test]
async fn what_turns_out_to_be_untrue_is_not_executed() {
    for with_portal in [false, true] {
        let front = Front::start().await;
        let mut client = Client::connect(front.address).await;
        client.query("BEGIN").await;
        let (statement, bound) = (parse("p", "SELECT twofaced"), bind("", "p"));
        let heard = match with_portal {
            false => client.ask(&[statement, describe('S', "p"), sync()]).await,
            true => {
                let run = [statement, bound, describe('P', ""), execute("", 0), sync()];
                client.ask(&run).await
            }
        };
        assert!(heard.contains(&"T b:0".to_owned()), "{heard:?}");
        client.query("ROLLBACK").await;
        front.database.asked();
        for _ in 0..2 {
            let heard = executed(&mut client).await;
            assert_eq!(
                heard[1..],
                [
                    "E ERROR 0A000 cached plan must not change result type",
                    "Z I"
                ]
            );
            let described = "read describe SELECT twofaced";
            assert_eq!(front.database.asked(), [described], "it is not executed");
        }
        // One who asks for the columns again is told, and goes by that.
        let heard = client
            .ask(&[bind("", "p"), describe('P', ""), execute("", 0), sync()])
            .await;
        assert!(heard.contains(&"T a:0".to_owned()), "{heard:?}");
        assert_eq!(
            executed(&mut client).await[1..],
            ["D 1", "C SELECT 1", "Z I"]
        );
    }
}

#[tokio::test]
async fn parameters_are_of_the_types_that_the_client_was_told() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let told = "SELECT typed $1";
    let heard = client
        .ask(&[parse("p", told), describe('S', "p"), sync()])
        .await;
    assert_eq!(heard, ["1", "t", "T a:0", "Z I"]);
    executed(&mut client).await;
    client.ask(&[parse("q", told), sync()]).await;
    client.ask(&[bind("", "q"), execute("", 0), sync()]).await;
    client.ask(&[run(told), sync()]).await;
    assert_eq!(
        front.database.asked(),
        [
            "read describe SELECT typed $1",
            "read SELECT typed $1 [20]",
            "master describe SELECT typed $1",
            "read SELECT typed $1",
            "read SELECT typed $1",
        ]
    );
}

/// A lie about a parameter would write other bytes, so no description of rows alone makes up for it.
#[tokio::test]
async fn types_of_parameters_are_asked_again_whatever_is_described_with_the_portal() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.query("BEGIN").await;
    client
        .ask(&[
            parse("p", "INSERT typed twofaced"),
            describe('S', "p"),
            sync(),
        ])
        .await;
    client.query("ROLLBACK").await;
    front.database.asked();
    for _ in 0..2 {
        let heard = client
            .ask(&[bind("", "p"), describe('P', ""), execute("", 0), sync()])
            .await;
        assert_eq!(
            heard[1..],
            [
                "E ERROR 0A000 cached plan must not change result type",
                "Z I"
            ]
        );
        let described = "read describe INSERT typed twofaced";
        assert_eq!(front.database.asked(), [described], "it is not executed");
    }
}

/// The digest of an error is its SQLSTATE, so the description before it is one replica's word.
#[tokio::test]
async fn what_comes_before_an_error_is_not_believed() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    client.ask(&[parse("p", "SELECT fail late"), sync()]).await;
    let heard = client
        .ask(&[bind("", "p"), describe('P', ""), execute("", 0), sync()])
        .await;
    assert_eq!(
        heard[1..],
        ["T b:0", "E ERROR 22012 division by zero", "Z I"]
    );
    front.database.asked();
    let heard = executed(&mut client).await;
    assert_eq!(
        heard[1..],
        [
            "E ERROR 0A000 cached plan must not change result type",
            "Z I"
        ]
    );
    assert_eq!(front.database.asked(), ["read describe SELECT fail late"]);
}

#[tokio::test]
async fn rows_of_another_shape_are_not_handed_out_undescribed() {
    let front = Front::start().await;
    let mut client = Client::connect(front.address).await;
    let heard = client
        .ask(&[parse("p", "SELECT twofaced"), describe('S', "p"), sync()])
        .await;
    assert_eq!(heard, ["1", "t", "T a:0", "Z I"]);
    assert_eq!(
        executed(&mut client).await[1..],
        ["D 1", "C SELECT 1", "Z I"]
    );
    client.query("BEGIN").await;
    let heard = executed(&mut client).await;
    assert_eq!(
        heard[1..],
        [
            "E ERROR 0A000 cached plan must not change result type",
            "Z E"
        ]
    );
}

/// A RESET is executed as another statement, whose rows nobody described.
#[tokio::test]
async fn what_is_executed_instead_is_not_held_against_the_description() {
    let front = Front::start().await;
    let mut client = Client::with(front.address, &[("TimeZone", "Europe/Berlin")]).await;
    client.query("BEGIN").await;
    let heard = client
        .ask(&[parse("p", "RESET TimeZone"), describe('S', "p"), sync()])
        .await;
    assert_eq!(heard, ["1", "t", "n", "Z T"]);
    let heard = executed(&mut client).await;
    assert!(heard.contains(&"C RESET".to_owned()), "{heard:?}");
}
