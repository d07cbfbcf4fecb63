//! Correct servers that hold the same rows in another physical order: where a key settles what LIMIT takes nobody sees it, and
//! where nothing does the client is told what to write.

use harness::{Cluster, MASTER, column};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use tokio_postgres::{AsyncMessage, NoTls};

/// Two of four: each alone would only adopt, together they can make a transaction abort.
const ODD: [u16; 2] = [1, 2];

/// The rows of `table` lie in the order of `by` from now on, and nobody is told.
async fn turn(cluster: &Cluster, replica: u16, table: &str, by: &str) {
    let sql = format!(
        "BEGIN; SET LOCAL session_replication_role = replica;
         WITH gone AS (DELETE FROM {table} RETURNING *) INSERT INTO {table} SELECT * FROM gone ORDER BY {by}; COMMIT"
    );
    cluster.at(replica).await.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_limit_meets_one_table_its_key_makes_the_rows_the_same() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE k (part int, id int, a int, PRIMARY KEY (part, id));
        INSERT INTO k SELECT 1, g, g % 2 FROM generate_series(1, 20) g;
        CREATE TABLE taken (id int PRIMARY KEY, how text)";
    client.batch_execute(setup).await.unwrap();
    cluster.settle().await;
    for odd in ODD {
        turn(&cluster, odd, "k", "id DESC").await;
    }
    let first = cluster.everywhere("SELECT id FROM k LIMIT 1").await;
    assert_eq!(
        first,
        [["1"], ["20"], ["20"], ["1"]],
        "the physical orders differ"
    );
    let before = cluster.verdicts().await;

    for (how, sql) in [
        ("no order", "SELECT id FROM k LIMIT 1"),
        (
            "ties",
            "SELECT id FROM k AS x WHERE a >= 0 ORDER BY a DESC OFFSET 1 LIMIT 2",
        ),
        (
            "fetch",
            "SELECT k.id FROM public.k ORDER BY a FETCH FIRST ROW ONLY",
        ),
    ] {
        let insert = format!("INSERT INTO taken SELECT id, '{how}' FROM ({sql}) q");
        let update = format!("UPDATE k SET a = a WHERE id IN ({sql})");
        client.batch_execute(&insert).await.unwrap();
        let undo = format!("DELETE FROM taken WHERE how = '{how}'");
        client.batch_execute(&undo).await.unwrap();
        client.execute(&update, &[]).await.unwrap();
        let block = format!("BEGIN; {update}; {insert}; COMMIT");
        client.batch_execute(&block).await.unwrap();
    }
    client
        .execute(
            "DELETE FROM k WHERE id = (SELECT id FROM k WHERE part = $1 LIMIT 1)",
            &[&1],
        )
        .await
        .unwrap();
    assert_eq!(
        column(&client, "SELECT id FROM k LIMIT 2").await.unwrap(),
        ["2", "3"]
    );
    cluster
        .hold("SELECT id FROM taken ORDER BY 1", &["1", "2", "3", "5"])
        .await;

    let after = cluster.verdicts().await;
    for replica in 0..4 {
        assert_eq!(
            after[replica].1, before[replica].1,
            "aborts at replica {replica}"
        );
    }

    // The key is another one now: another session changed it, this one remembers the old.
    let other = cluster.client().await;
    other
        .batch_execute(
            "ALTER TABLE k DROP CONSTRAINT k_pkey, DROP COLUMN part, ADD PRIMARY KEY (id)",
        )
        .await
        .unwrap();
    client
        .batch_execute("UPDATE k SET a = 7 WHERE id IN (SELECT id FROM k LIMIT 1)")
        .await
        .unwrap();
    cluster.hold("SELECT id FROM k WHERE a = 7", &["2"]).await;
    cluster.audit().await;
    // The odd ones judged it all, and nobody found another row.
    cluster.end_agreed(2 * 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_settles_the_order_the_client_is_told_what_to_write() {
    let cluster = Cluster::start().await;
    let config = format!(
        "host=127.0.0.1 port={} user=postgres dbname=postgres",
        cluster.front.port()
    );
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = notices.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                heard
                    .lock()
                    .unwrap()
                    .push(notice.hint().unwrap_or_default().to_owned());
            }
        }
    });
    let setup = "CREATE TABLE t (id int, x float8);
        INSERT INTO t VALUES (1, 1e16), (2, 1), (3, -1e16);
        CREATE TABLE found (x float8, ids int[])";
    client.batch_execute(setup).await.unwrap();
    cluster.settle().await;
    // Every follower, so that the tally is certain.
    for replica in (0..4).filter(|replica| *replica != MASTER) {
        turn(&cluster, replica, "t", "id = 2, id").await;
    }
    for (sql, advice) in [
        (
            "UPDATE t SET x = x + 1 WHERE id IN (SELECT id FROM t OFFSET 1 LIMIT 1)",
            "end the ORDER BY",
        ),
        (
            "INSERT INTO found (x) SELECT sum(x) FROM t",
            "cast to numeric",
        ),
        (
            "INSERT INTO found (ids) SELECT array_agg(id) FROM t",
            "array_agg(x ORDER BY id)",
        ),
    ] {
        client
            .batch_execute(&format!("BEGIN; {sql}"))
            .await
            .unwrap();
        let error = client.batch_execute("COMMIT").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "40001", "{sql}");
        let detail = error.detail().unwrap_or_default();
        assert!(
            detail.contains(&sql[..30]) && detail.contains(advice),
            "{sql}: {detail}"
        );
    }
    // Of a function, or one that a trigger calls, it is told what in it takes rows so.
    let functions = "CREATE FUNCTION first_of() RETURNS int LANGUAGE plpgsql AS $$
            BEGIN RETURN (SELECT id FROM t OFFSET 1 LIMIT 1); END $$;
        CREATE FUNCTION outer_of() RETURNS int LANGUAGE sql AS 'SELECT first_of()';
        CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE r record;
            BEGIN FOR r IN SELECT id FROM t LOOP NEW.ids := NEW.ids || r.id; END LOOP; RETURN NEW; END $$;
        CREATE TABLE followed (ids int[]);
        CREATE TRIGGER follows BEFORE INSERT ON followed FOR EACH ROW EXECUTE FUNCTION follow()";
    client.batch_execute(functions).await.unwrap();
    for (sql, function, advice) in [
        (
            "INSERT INTO found (x) SELECT outer_of()",
            "In public.first_of():",
            "end the ORDER BY",
        ),
        (
            "INSERT INTO followed VALUES ('{}')",
            "In public.follow():",
            "add an ORDER BY",
        ),
    ] {
        let block = format!("BEGIN; {sql}");
        client.batch_execute(&block).await.unwrap();
        let error = client.batch_execute("COMMIT").await.unwrap_err();
        let detail = error
            .as_db_error()
            .and_then(|e| e.detail())
            .unwrap_or_default();
        assert!(
            detail.contains(function) && detail.contains(advice),
            "{sql}: {detail}"
        );
        assert!(
            !detail.contains("outer_of():"),
            "it takes no rows: {detail}"
        );
    }
    // As the advice says.
    for sql in [
        "UPDATE t SET x = x + 1 WHERE id IN (SELECT id FROM t ORDER BY id OFFSET 1 LIMIT 1)",
        "INSERT INTO found (x) SELECT sum(x ORDER BY id) FROM t",
        "INSERT INTO found (x) SELECT sum(x::numeric) FROM t",
        "INSERT INTO found (ids) SELECT array_agg(id ORDER BY id) FROM t",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let heard = notices.lock().unwrap().clone();
    assert_eq!(
        heard.len(),
        3,
        "one for each LIMIT without a key: {heard:?}"
    );
    assert!(heard[0].contains("end the ORDER BY"), "{heard:?}");
    cluster.audit().await;
    cluster.end().await;
}
