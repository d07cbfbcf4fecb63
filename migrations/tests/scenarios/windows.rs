//! How far ahead a recorded value may lie, and what `currval` says of values drawn in earlier transactions.

use crate::server::{Session, connect, database, session};
use serde_json::{Value, json};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT steel.begin_tx(now(), 'nonce', '{mode}', NULL, NULL)";

async fn begin(s: &Session, mode: &str) {
    s.run(&BEGIN.replace("{mode}", mode)).await;
}

/// Draws these recorded values with `draw` in a transaction of its own; the SQLSTATE where that is refused.
async fn draws(s: &Session, seqs: Value, window: i64, draw: &str) -> Result<(), String> {
    begin(s, "replay").await;
    let replay = "SELECT steel.replay($1, $2::text::jsonb, $3)";
    s.client
        .execute(replay, &[&s.token(), &seqs.to_string(), &window])
        .await
        .unwrap();
    let drawn = s.client.batch_execute(draw).await;
    let end = match drawn {
        Ok(()) => "COMMIT",
        Err(_) => "ROLLBACK",
    };
    s.run(end).await;
    drawn.map_err(|error| error.code().unwrap().code().to_owned())
}

async fn draw_one(s: &Session, sequence: &str, value: i64, window: i64) -> Result<(), String> {
    let seqs = json!({ format!("public.{sequence}"): [[value, 1]] });
    draws(s, seqs, window, &format!("SELECT nextval('{sequence}')")).await
}

fn refused() -> Result<(), String> {
    Err("ST003".into())
}

async fn stands(s: &Session, sequence: &str) -> i64 {
    let last = format!("SELECT last_value FROM {sequence}");
    s.client.query_one(&last, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_value_that_lies_too_far_ahead_is_refused_and_the_sequence_moves_on_by_the_window() {
    database("windows").await;
    let s = session("windows").await;
    s.run(
        "CREATE SEQUENCE plain; CREATE SEQUENCE tens INCREMENT 10; CREATE SEQUENCE down INCREMENT -1; CREATE SEQUENCE cached CACHE 50;
         CREATE SEQUENCE huge INCREMENT 4611686018427387904; CREATE SEQUENCE short AS smallint; CREATE SEQUENCE hand; CREATE SEQUENCE rounds MAXVALUE 9 CYCLE;
         CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v int)",
    )
    .await;
    // Of a new sequence the first value counts as one draw.
    assert_eq!(draw_one(&s, "plain", 100, 100).await, Ok(()));
    assert_eq!(draw_one(&s, "plain", 201, 100).await, refused());
    assert_eq!(stands(&s, "plain").await, 200, "whatever became of it");
    assert_eq!(draw_one(&s, "plain", 201, 100).await, Ok(()));
    assert_eq!(
        draw_one(&s, "plain", 150, 100).await,
        Ok(()),
        "ordered late"
    );
    assert_eq!(draw_one(&s, "plain", 1 << 40, 1 << 20).await, refused());
    assert_eq!(stands(&s, "plain").await, 201 + (1 << 20));

    // A statement that draws many: one follows the other, and they are all used.
    let many = json!({"public.plain": [[1_048_778, 5000]]});
    let insert = "SELECT nextval('plain') FROM generate_series(1, 5000)";
    assert_eq!(draws(&s, many, 100, insert).await, Ok(()));
    let gap = json!({"public.plain": [[1_053_778, 2], [1_053_900, 1]]});
    let insert = "SELECT nextval('plain') FROM generate_series(1, 3)";
    assert_eq!(draws(&s, gap, 100, insert).await, refused());

    // In draws: whatever the increment, whatever the cache.
    assert_eq!(draw_one(&s, "tens", 991, 100).await, Ok(()));
    assert_eq!(draw_one(&s, "tens", 2001, 100).await, refused());
    assert_eq!(stands(&s, "tens").await, 1991);
    assert_eq!(draw_one(&s, "down", -100, 100).await, Ok(()));
    assert_eq!(draw_one(&s, "down", -201, 100).await, refused());
    assert_eq!(stands(&s, "down").await, -200);
    assert_eq!(draw_one(&s, "cached", 5000, 100).await, Ok(()));
    assert_eq!(draw_one(&s, "cached", 10_001, 100).await, refused());
    assert_eq!(draw_one(&s, "huge", 1, 100).await, Ok(()));
    assert_eq!(draw_one(&s, "huge", 1 + (1 << 62), 100).await, Ok(()));

    // A short sequence is not used up at once, nor left behind.
    assert_eq!(draw_one(&s, "short", 32_767, 1 << 40).await, refused());
    assert_eq!(stands(&s, "short").await, 1000);
    assert_eq!(
        draw_one(&s, "plain", 0, 100).await,
        refused(),
        "below the least"
    );
    assert_eq!(draw_one(&s, "short", 40_000, 1 << 40).await, refused());
    assert_eq!(stands(&s, "short").await, 1000, "no master gives this");

    // Where it was set by hand it stands, and goes on from there.
    s.run("SELECT setval('hand', 1000000, false)").await;
    assert_eq!(draw_one(&s, "hand", 1_000_000, 1).await, Ok(()));
    s.run("SELECT setval('hand', 5)").await;
    assert_eq!(draw_one(&s, "hand", 7, 1).await, refused());
    for value in [9, 1, 2] {
        assert_eq!(draw_one(&s, "rounds", value, 100).await, Ok(()), "{value}");
    }
    // Identity columns draw inside the executor, and cannot pass by.
    let seqs = json!({"public.t_id_seq": [[500, 1]]});
    let insert = "INSERT INTO t (v) VALUES (1)";
    assert_eq!(draws(&s, seqs.clone(), 100, insert).await, refused());
    assert_eq!(draws(&s, seqs, 500, insert).await, Ok(()));
}

/// What the session drew before, as it travels.
async fn begin_with(s: &Session, mode: &str, carried: &[(&str, &str)]) {
    s.run("DISCARD SEQUENCES").await;
    let (names, values): (Vec<&str>, Vec<&str>) = carried.iter().copied().unzip();
    s.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    let begin = "SELECT steel.begin_tx(now(), 'nonce', $1, $2, $3)";
    s.client
        .execute(begin, &[&mode, &names, &values])
        .await
        .unwrap();
}

#[tokio::test]
async fn currval_and_lastval_tell_what_the_session_drew_before_at_master_and_follower_alike() {
    database("carried").await;
    let s = session("carried").await;
    s.run("CREATE SEQUENCE a; CREATE SEQUENCE b; CREATE SCHEMA hidden; CREATE SEQUENCE hidden.c; CREATE TABLE t (id serial)")
        .await;
    let carried = [
        ("steel.drawn", "41 public.a"),
        ("steel.drawn", "-7 public.b"),
        ("steel.drawn", "9 public.gone"),
        ("steel.drawn", "nonsense"),
        ("steel.drawn", "9 hidden.c"),
        ("steel.last", "public.a"),
        ("steel.token", "x"),
    ];
    let told = "SELECT currval('a'), currval('b'), lastval()";
    for mode in ["record", "replay"] {
        begin_with(&s, mode, &carried).await;
        assert_eq!(s.rows(told).await, ["(41,-7,41)"], "{mode}");
        s.run("SELECT setval('b', 12); SELECT setval('a', 99, false)")
            .await;
        assert_eq!(s.rows(told).await, ["(41,12,41)"], "{mode}");
        assert_eq!(s.refused("SELECT currval('t_id_seq')").await, "55000");
        s.run("ROLLBACK").await;
        begin_with(&s, mode, &[]).await;
        assert_eq!(s.refused("SELECT currval('a')").await, "55000", "{mode}");
        s.run("ROLLBACK").await;
        begin_with(&s, mode, &carried[1..2]).await;
        assert_eq!(s.refused("SELECT lastval()").await, "55000", "{mode}");
        s.run("ROLLBACK").await;
    }
    // What is drawn in the transaction itself comes first.
    begin_with(&s, "record", &carried).await;
    s.run("SELECT setval('a', 100)").await;
    assert_eq!(s.rows("SELECT nextval('a')").await, ["(101)"]);
    assert_eq!(s.rows(told).await, ["(101,-7,101)"]);
    s.run("ROLLBACK").await;
    begin_with(&s, "replay", &carried).await;
    let replay = "SELECT steel.replay($1, '{\"public.a\": [[101, 1]]}', 100)";
    s.client.execute(replay, &[&s.token()]).await.unwrap();
    s.run("SELECT nextval('a')").await;
    assert_eq!(s.rows(told).await, ["(101,-7,101)"]);
    s.run("ROLLBACK").await;

    // It gives no right that the role lacks.
    let steel = connect("carried", "steel").await;
    steel
        .run("CREATE SEQUENCE public.theirs; CREATE SCHEMA theirs; CREATE SEQUENCE theirs.own")
        .await;
    for mode in ["record", "replay"] {
        let carried = [
            ("steel.drawn", "5 public.theirs"),
            ("steel.drawn", "5 theirs.own"),
        ];
        begin_with(&s, mode, &carried).await;
        assert_eq!(s.refused("SELECT currval('theirs')").await, "42501");
        s.run("ROLLBACK").await;
    }
}

#[tokio::test]
async fn what_the_group_has_agreed_on_is_taken_wherever_it_lies() {
    database("agreed").await;
    let s = session("agreed").await;
    s.run("CREATE SEQUENCE short AS smallint").await;
    assert_eq!(draw_one(&s, "short", 32_000, i64::MAX - 1).await, refused());
    assert_eq!(draw_one(&s, "short", 32_000, i64::MAX).await, Ok(()));
}

#[tokio::test]
async fn a_sequence_that_cannot_be_followed_holds_nobody_up() {
    database("followed").await;
    let s = connect("followed", "steel").await;
    s.run(
        "CREATE SEQUENCE round INCREMENT 2 MAXVALUE 4 CYCLE; SELECT setval('round', 3); SELECT steel.advance('round', 4);
         CREATE SEQUENCE odd INCREMENT 2 MAXVALUE 4; SELECT nextval('odd'); SELECT steel.advance('odd', 4);
         CREATE SEQUENCE wide MINVALUE -9223372036854775808 START -9223372036854775808;
         SELECT nextval('wide'); SELECT steel.advance('wide', 4611686018427387905);
         CREATE SEQUENCE down INCREMENT -1 MINVALUE -9223372036854775808 MAXVALUE 9223372036854775807 START 9223372036854775807;
         SELECT nextval('down'); SELECT steel.advance('down', -9223372036854775808)",
    )
    .await;
    for (sequence, stood) in [
        ("round", 3),
        ("odd", 3),
        ("wide", 4_611_686_018_427_387_905),
        ("down", i64::MIN),
    ] {
        assert_eq!(stands(&s, sequence).await, stood, "{sequence}");
    }
}
