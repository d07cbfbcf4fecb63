//! What an EXCEPTION block took back is nobody's: neither a replica that adopts has it, nor can a client hide or add rows by it.

use harness::{Cluster, failure};

/// The replica whose physical order is another one, so that it differs and adopts.
const ODD: u16 = 2;

/// Rows that stay and rows that do not, of the same keys; a sequence that is made, used and taken back; blocks in blocks, in a
/// trigger, in a function that is called; and an UPDATE of whatever row comes first.
const SETUP: &str = "
    CREATE TABLE t (id int, a int); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g;
    CREATE TABLE log (id int PRIMARY KEY, line text);
    CREATE TABLE stock (n int CHECK (n < 1000));
    CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            BEGIN
                UPDATE t SET a = -a; RAISE 'x';
            EXCEPTION WHEN raise_exception THEN NULL; END;
            RETURN NEW;
        END $$;
    CREATE TRIGGER tried BEFORE INSERT ON stock FOR EACH ROW EXECUTE FUNCTION tried();
    CREATE FUNCTION inner_one(n int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO log VALUES (n, 'gone');
            BEGIN
                CREATE SEQUENCE gone; PERFORM setval('gone', 7), nextval('gone');
                DELETE FROM log;
                RAISE 'x';
            EXCEPTION WHEN raise_exception THEN INSERT INTO log VALUES (-n, 'gone'); END;
            INSERT INTO stock VALUES (2000);
        END $$;
    CREATE FUNCTION odd(n int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            BEGIN
                PERFORM inner_one(n);
            EXCEPTION WHEN check_violation THEN INSERT INTO log VALUES (n, 'kept'); END;
            INSERT INTO stock VALUES (n);
            FOR i IN 1 .. 100 LOOP
                BEGIN
                    INSERT INTO log VALUES (n * 1000 + i, 'first');
                    IF i % 3 = 0 THEN RAISE 'x'; END IF;
                EXCEPTION WHEN raise_exception THEN INSERT INTO log VALUES (n * 1000 + i, 'second'); END;
            END LOOP;
            UPDATE t SET a = a + 100 WHERE id IN (SELECT id FROM t LIMIT 1);
        END $$";

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_adopts_gains_nothing_that_a_block_took_back() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    client.batch_execute(SETUP).await.unwrap();
    cluster.settle().await;
    let turned = "BEGIN; SET LOCAL session_replication_role = replica;
        WITH gone AS (DELETE FROM t RETURNING *) INSERT INTO t SELECT * FROM gone ORDER BY id DESC; COMMIT";
    cluster.at(ODD).await.batch_execute(turned).await.unwrap();

    for (n, sql) in [
        "SELECT odd(1)",
        "BEGIN; SELECT odd(2); COMMIT",
        "DO $$ BEGIN PERFORM odd(3); END $$",
        "BEGIN; SAVEPOINT a; SELECT odd(4); ROLLBACK TO a; SELECT odd(4); COMMIT",
    ]
    .into_iter()
    .enumerate()
    {
        let before = cluster.verdicts().await;
        client.batch_execute(sql).await.unwrap();
        let after = cluster.verdicts().await;
        assert!(
            after[usize::from(ODD)].2 > before[usize::from(ODD)].2,
            "{sql}: it adopts"
        );
        for replica in 0..4 {
            assert_eq!(
                after[replica].1, before[replica].1,
                "{sql}: aborts at replica {replica}"
            );
        }
        let kept = (n + 1).to_string();
        cluster
            .hold("SELECT count(*) FROM log WHERE line = 'kept'", &[&kept])
            .await;
        cluster
            .hold("SELECT count(*) FROM log WHERE line = 'gone'", &["0"])
            .await;
        cluster.audit().await;
    }

    // The count of reports is taken back by RESET ALL too, which anybody may say: nothing is hidden by it.
    let hidden =
        "DO $$ BEGIN INSERT INTO log VALUES (1000000, 'hidden'); EXECUTE 'RESET ' || 'ALL'; END $$";
    let (sqlstate, _) = failure(client.batch_execute(hidden).await);
    assert_eq!(sqlstate, "0A000");
    let begun = "DO $$ BEGIN INSERT INTO log VALUES (1000001, 'hidden'); EXECUTE 'SELECT ste' || 'el.open_journal()'; END $$";
    let (sqlstate, _) = failure(client.batch_execute(begun).await);
    assert_eq!(sqlstate, "0A000");
    let before = cluster.statuses().await.values().map(|s| s.epoch).max();
    for _ in 0..6 {
        let stubborn = format!("BEGIN; SAVEPOINT a; {hidden}");
        failure(client.batch_execute(&stubborn).await);
        failure(
            client
                .batch_execute("ROLLBACK TO a; INSERT INTO log VALUES (1000002, 'more'); COMMIT")
                .await,
        );
        let _ = client.batch_execute("ROLLBACK").await;
    }
    let after = cluster.statuses().await.values().map(|s| s.epoch).max();
    assert_eq!(after, before, "nobody is blamed for what a client did");
    cluster
        .hold("SELECT count(*) FROM log WHERE id >= 1000000", &["0"])
        .await;
    cluster.audit().await;
    // What a deferred trigger changes is in no digest, unless the client has it run before the end.
    let deferred = "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO log VALUES (NEW.n, 'late'); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON stock DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.n < 0) EXECUTE FUNCTION late()";
    client.batch_execute(deferred).await.unwrap();
    for block in [
        "INSERT INTO stock VALUES (-100)",
        "BEGIN; INSERT INTO stock VALUES (-100); COMMIT",
    ] {
        assert_eq!(
            failure(client.batch_execute(block).await).0,
            "0A000",
            "{block}"
        );
    }
    client
        .batch_execute(
            "BEGIN; INSERT INTO stock VALUES (-100); SET CONSTRAINTS ALL IMMEDIATE; COMMIT",
        )
        .await
        .unwrap();
    cluster
        .hold("SELECT id FROM log WHERE line = 'late'", &["-100"])
        .await;
    cluster.audit().await;

    client.batch_execute("SELECT odd(5)").await.unwrap();
    cluster.audit().await;
    cluster.end().await;
}
