//! No value of a sequence is given twice, whatever the master says; and what PostgreSQL lets begin anew does (decision 33).

use bytes::Bytes;
use harness::{Cluster, MALLORY, MASTER, column, failure, inserted};
use replica::executor::lies::Lie;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use txn::client::Answer;
use txn::word::Account;
use txn::{Auto, Ordered, SequenceUse, SequenceValues, Step, TxId};

const GIVEN_AGAIN: &str = "which it had given before";

async fn one(client: &Client, sql: &str) -> i64 {
    column(client, sql).await.unwrap()[0].parse().unwrap()
}

/// Has a transaction of one statement committed, if it may be.
async fn block(client: &Client, sql: &str) -> Result<i64, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let ran = column(client, sql).await;
    let ended = client.batch_execute("COMMIT").await;
    let rows = ran?;
    ended.map(|()| rows[0].parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_gives_a_value_again_is_refused_and_replaced() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    // No key forbids it.
    let setup = "CREATE SEQUENCE numbers;
        CREATE TABLE slips (n bigint NOT NULL DEFAULT nextval('numbers'), v text);
        INSERT INTO slips (v) VALUES ('a'), ('b')";
    client.batch_execute(setup).await.unwrap();
    cluster.master_lies(&[Lie::Answers]).await;

    let again = "INSERT /*lie:again*/ INTO slips (v) VALUES ('c') RETURNING n";
    assert_eq!(
        block(&client, again).await.unwrap(),
        3,
        "the first time it is so"
    );
    let (sqlstate, detail) = failure(block(&client, again).await);
    assert_eq!(sqlstate, "40001");
    assert!(
        detail.contains(GIVEN_AGAIN) && detail.contains("gave 3"),
        "{detail}"
    );
    // Nor if the sequence is said to go round, which it cannot.
    let round = "INSERT /*lie:again lie:round*/ INTO slips (v) VALUES ('d') RETURNING n";
    let (sqlstate, detail) = failure(block(&client, round).await);
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains("is said to go round"), "{detail}");

    let until = Instant::now() + Duration::from_secs(60);
    let next = loop {
        match block(&client, again).await {
            Ok(next) => break next,
            Err(error) => assert_eq!(failure::<()>(Err(error)).0, "40001"),
        }
        assert!(Instant::now() < until, "the liar is still the master");
    };
    assert!(next > 3, "{next}");
    cluster.settle().await;
    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch > 0 && s.master != MASTER));
    let twice = "SELECT n FROM slips GROUP BY n HAVING count(*) > 1";
    cluster.hold(twice, &[]).await;
    cluster.hold("SELECT count(*) FROM slips", &["4"]).await;
    cluster.audit().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_anew_in_postgresql_does() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE slips (n serial, v text);
        CREATE SEQUENCE wheel MAXVALUE 3 CYCLE;
        CREATE SEQUENCE down INCREMENT -10 MINVALUE -1000 MAXVALUE 1000 START 1000;
        INSERT INTO slips (v) SELECT 'a' FROM generate_series(1, 5)";
    client.batch_execute(setup).await.unwrap();
    let insert = "INSERT INTO slips (v) VALUES ('x') RETURNING n";

    // Set back by what is rolled back: nobody was told of it but the master, which moves the sequence on.
    let set_back = "BEGIN; SELECT setval('slips_n_seq', 1); ROLLBACK";
    client.batch_execute(set_back).await.unwrap();
    let moved = one(&client, insert).await;
    assert!(moved > 5, "{moved}");
    client.batch_execute(set_back).await.unwrap();
    let (sqlstate, detail) = failure(block(&client, insert).await);
    assert_eq!(sqlstate, "40001");
    assert!(detail.contains(GIVEN_AGAIN), "{detail}");
    assert!(block(&client, insert).await.unwrap() > moved);

    // Set back, and it is committed.
    assert_eq!(one(&client, "SELECT setval('slips_n_seq', 2)").await, 2);
    assert_eq!(one(&client, insert).await, 3);
    assert_eq!(block(&client, insert).await.unwrap(), 4);

    // Round and round, in statements of their own, in one, and in a transaction.
    let next = "SELECT nextval('wheel')";
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(one(&client, next).await);
    }
    assert_eq!(seen, [1, 2, 3, 1]);
    let many = "SELECT nextval('wheel') FROM generate_series(1, 7)";
    let given = column(&client, many).await.unwrap();
    assert_eq!(given, ["2", "3", "1", "2", "3", "1", "2"]);
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(one(&client, next).await, 3);
    assert_eq!(one(&client, next).await, 1);
    assert_eq!(column(&client, many).await.unwrap()[0], "2");
    client.batch_execute("COMMIT").await.unwrap();

    // Downwards, by tens.
    let fall = "SELECT nextval('down')";
    let two: Vec<i64> = vec![one(&client, fall).await, one(&client, fall).await];
    assert_eq!(two, [1000, 990]);

    // What is taken back, and made once more.
    let made = "CREATE TABLE twice (n serial)";
    let twice = "INSERT INTO twice DEFAULT VALUES RETURNING n";
    client.batch_execute("BEGIN; SAVEPOINT a").await.unwrap();
    client.batch_execute(made).await.unwrap();
    assert_eq!(one(&client, twice).await, 1);
    client.batch_execute("ROLLBACK TO a").await.unwrap();
    client.batch_execute(made).await.unwrap();
    assert_eq!(one(&client, twice).await, 1);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(one(&client, twice).await, 2);
    let script = |fails: &str| {
        format!(
            "DO $$ BEGIN CREATE TABLE thrice (n serial); INSERT INTO thrice DEFAULT VALUES; {fails} END $$"
        )
    };
    let (sqlstate, _) = failure(client.batch_execute(&script("RAISE 'x';")).await);
    assert_eq!(sqlstate, "P0001");
    client.batch_execute(&script("")).await.unwrap();
    let restarts = "DO $$ BEGIN
            BEGIN ALTER SEQUENCE slips_n_seq RESTART; PERFORM nextval('slips_n_seq'); RAISE 'x';
            EXCEPTION WHEN raise_exception THEN NULL; END;
            INSERT INTO slips (v) VALUES ('y');
        END $$";
    client.batch_execute(restarts).await.unwrap();
    let fresh = "BEGIN; CREATE SEQUENCE tiny MAXVALUE 2 CYCLE;
        SELECT nextval('tiny') FROM generate_series(1, 5); COMMIT";
    client.batch_execute(fresh).await.unwrap();

    // With CACHE a session keeps values; several at once take turns.
    let cached =
        "CREATE SEQUENCE cached CACHE 20; CREATE TABLE c (n bigint DEFAULT nextval('cached'))";
    client.batch_execute(cached).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = cluster.client().await;
        others.push(tokio::spawn(async move {
            for _ in 0..10 {
                other
                    .batch_execute("INSERT INTO c DEFAULT VALUES")
                    .await
                    .unwrap();
                let block =
                    "BEGIN; INSERT INTO c DEFAULT VALUES; INSERT INTO c DEFAULT VALUES; COMMIT";
                other.batch_execute(block).await.unwrap();
            }
        }));
    }
    for other in others {
        other.await.unwrap();
    }
    cluster
        .hold("SELECT count(*), count(DISTINCT n) FROM c", &["90"])
        .await;
    // And the next master's sessions.
    cluster.move_master(1).await;
    for _ in 0..5 {
        client
            .batch_execute("INSERT INTO c DEFAULT VALUES")
            .await
            .unwrap();
        block(&client, "INSERT INTO c DEFAULT VALUES RETURNING n")
            .await
            .unwrap();
    }
    cluster
        .hold("SELECT count(*) - count(DISTINCT n) FROM c", &["0"])
        .await;

    // What is emptied, restarted or made anew.
    let anew = [
        "TRUNCATE slips RESTART IDENTITY",
        "ALTER SEQUENCE slips_n_seq RESTART",
        "DROP TABLE slips; CREATE TABLE slips (n serial, v text)",
    ];
    for anew in anew {
        client.batch_execute(anew).await.unwrap();
        assert_eq!(one(&client, insert).await, 1, "{anew}");
        assert_eq!(block(&client, insert).await.unwrap(), 2, "{anew}");
    }
    client.batch_execute("BEGIN").await.unwrap();
    client
        .batch_execute("TRUNCATE slips RESTART IDENTITY")
        .await
        .unwrap();
    assert_eq!(one(&client, insert).await, 1);
    client.batch_execute("COMMIT").await.unwrap();

    let statuses = cluster.statuses().await;
    assert!(statuses.values().all(|s| s.epoch == 1), "nobody is blamed");
    cluster.audit().await;
    cluster.end().await;
}

fn used(sequence: &str, first: i64, count: u64) -> SequenceValues {
    SequenceValues {
        sequence: sequence.into(),
        uses: vec![SequenceUse::Given { first, count }],
    }
}

/// The honest evidence of a statement that fails with 22012.
fn failed() -> Step {
    let error = b"SERROR\0C22012\0Mdivision by zero\0\0";
    let mut frame = vec![b'E'];
    frame.extend((error.len() as u32 + 4).to_be_bytes());
    frame.extend(error);
    let mut step = inserted("t", 666);
    step.operation.sql = "INSERT INTO t SELECT 1 / 0".into();
    step.evidence.result = txn::result::digest(&[Bytes::from(frame)], None);
    step.evidence.write = Default::default();
    step.evidence.failed = true;
    step
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_that_sequences_gave_is_looked_at_before_anybody_believes_it() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE t (a int);
        CREATE TABLE slips (n serial, v text);
        INSERT INTO slips (v) VALUES ('a'), ('b')";
    client.batch_execute(setup).await.unwrap();
    // One adopts whatever the others commit.
    cluster.lies(3, &[Lie::VoteAbort]);
    let mallory = cluster.mallory().await;

    let victim = "public.slips_n_seq";
    let huge = used(victim, 3, 1 << 40);
    let nothing = SequenceValues {
        sequence: victim.into(),
        uses: Vec::new(),
    };
    // The master is in league with it, and stands for whatever it says.
    let key = cluster.key("r0").signing_key();
    let forged: [(&str, Step, Vec<SequenceValues>, Answer); 9] = [
        (
            "more than it drew",
            inserted("t", 1),
            vec![huge.clone()],
            Answer::Aborted,
        ),
        (
            "named twice",
            inserted("t", 2),
            vec![huge.clone(), nothing],
            Answer::Aborted,
        ),
        (
            "without end",
            inserted("t", 3),
            vec![used(victim, 3, u64::MAX)],
            Answer::Aborted,
        ),
        (
            "of a table",
            inserted("t", 4),
            vec![used("public.t", i64::MIN, 1)],
            Answer::Aborted,
        ),
        (
            "no name",
            inserted("t", 5),
            vec![used("\"a", 1, 1)],
            Answer::Aborted,
        ),
        (
            "said to go round",
            inserted("t", 6),
            {
                let mut round = huge.clone();
                round.uses.insert(0, SequenceUse::Cycled);
                vec![round]
            },
            Answer::Aborted,
        ),
        // What failed is as it says; nobody is given anything by it, or moves a sequence.
        (
            "of what failed",
            failed(),
            vec![huge.clone()],
            Answer::Committed,
        ),
        (
            "of what failed, no name",
            failed(),
            vec![used("\"a", i64::MIN, 1)],
            Answer::Committed,
        ),
        (
            "as if it had not failed",
            {
                let mut step = failed();
                step.evidence.failed = false;
                step
            },
            vec![huge],
            Answer::Aborted,
        ),
    ];
    let alone = (
        "by its own word",
        inserted("t", 7),
        vec![used(victim, 3, 1)],
        Answer::Aborted,
    );
    let forged = forged.into_iter().map(|forged| (true, forged));
    for (number, (signed, forged)) in (1..).zip(forged.chain([(false, alone)])) {
        let (what, mut step, sequences, answer) = forged;
        step.evidence.sequences = sequences;
        let statuses = cluster.statuses().await;
        let tx = TxId {
            client: MALLORY,
            incarnation: 1,
            seq: TxId::AUTO | number,
        };
        let auto = Auto {
            tx,
            epoch: 0,
            ran_at: statuses.values().map(|s| s.applied).min().unwrap(),
            settings: Vec::new(),
            word: signed
                .then(|| Box::new(Account::of(tx, 0, std::slice::from_ref(&step)).sign(key))),
            step,
        };
        let reply = mallory.invoke(&Ordered::Auto(auto)).await.unwrap();
        assert_eq!(reply.answer, answer, "{what}");
    }
    let insert = "INSERT INTO slips (v) VALUES ('x') RETURNING n";
    assert_eq!(one(&client, insert).await, 3);
    assert_eq!(block(&client, insert).await.unwrap(), 4);
    cluster.hold("SELECT count(*) FROM t", &["0"]).await;
    let stands = cluster
        .everywhere("SELECT last_value FROM slips_n_seq")
        .await;
    assert!(stands.iter().all(|stands| *stands == ["4"]), "{stands:?}");
    cluster.audit().await;
    cluster.end().await;
}
