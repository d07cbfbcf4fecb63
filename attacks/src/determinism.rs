//! What is random, timed or numbered by the server comes out equal at four servers, in one go.

use bytes::Bytes;
use futures::SinkExt;
use harness::{Cluster, column};
use std::pin::pin;

const SETUP: &str = "
    CREATE TABLE parent (id serial PRIMARY KEY, made timestamptz DEFAULT now(), u uuid DEFAULT gen_random_uuid(),
        r double precision DEFAULT random());
    CREATE TABLE child (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        parent int NOT NULL REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, note text);
    CREATE TABLE trace (at timestamptz, what text);
    CREATE FUNCTION trace() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO trace VALUES (clock_timestamp(), TG_OP || ' ' || coalesce(NEW.note, OLD.note)); RETURN NULL; END $$;
    CREATE TRIGGER trace AFTER INSERT OR UPDATE OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION trace();
    CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
    CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100);
    CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (100) TO (200);
    CREATE TABLE loose (a int, b numeric, c jsonb, d point)";

const AUTOCOMMIT: &[&str] = &[
    "INSERT INTO parent DEFAULT VALUES",
    "INSERT INTO parent (r) SELECT random() FROM generate_series(1, 20)",
    "INSERT INTO child (parent, note) SELECT id, md5(random()::text) FROM parent",
    "INSERT INTO parent (made) VALUES (current_timestamp), (clock_timestamp()), (now() - interval '1 day')",
    "UPDATE parent SET id = id + 1000 WHERE id < 5",
    "DELETE FROM parent WHERE id = 1001",
    "INSERT INTO parted SELECT g, 'x' FROM generate_series(0, 199, 10) g",
    "UPDATE parted SET k = k + 100 WHERE k < 50",
    "INSERT INTO loose VALUES (1, 1.00, '{\"a\": 1}', '(1,2)'), (1, 1.00, '{\"a\": 1}', '(1,2)'), (2, NULL, NULL, NULL)",
    "DELETE FROM loose WHERE a = 2",
    "INSERT INTO parent (id) VALUES (1002) ON CONFLICT (id) DO UPDATE SET r = random()",
    "SELECT nextval('parent_id_seq')",
    "CREATE INDEX loose_a ON loose (a)",
    "TRUNCATE trace",
];

const TRANSACTIONS: &[&[&str]] = &[
    &[
        "INSERT INTO parent DEFAULT VALUES RETURNING id, made, u, r",
        "INSERT INTO child (parent, note) VALUES (currval('parent_id_seq'), gen_random_uuid()::text) RETURNING *",
        "SELECT now(), clock_timestamp(), random(), gen_random_uuid(), timeofday(), localtimestamp",
        "SELECT count(*), max(id) FROM parent",
    ],
    &[
        "SAVEPOINT s",
        "INSERT INTO parent DEFAULT VALUES",
        "ROLLBACK TO s",
        "INSERT INTO parent DEFAULT VALUES RETURNING id",
        "UPDATE child SET note = upper(note) WHERE id % 3 = 0",
        "DELETE FROM parent WHERE id % 7 = 0",
    ],
    &[
        "CREATE TABLE made_inside (id serial, at timestamptz DEFAULT now())",
        "INSERT INTO made_inside DEFAULT VALUES",
        "ALTER TABLE made_inside ADD COLUMN x double precision DEFAULT random()",
        "INSERT INTO made_inside DEFAULT VALUES",
        "CREATE VIEW seen AS SELECT id FROM made_inside",
    ],
    &[
        "TRUNCATE loose",
        "INSERT INTO loose (a) SELECT g FROM generate_series(1, 50) g",
    ],
    &["DROP VIEW seen", "DROP TABLE made_inside"],
    &[
        "SELECT setval('parent_id_seq', 5000)",
        "INSERT INTO parent DEFAULT VALUES",
    ],
];

#[tokio::test(flavor = "multi_thread")]
async fn four_servers_agree_on_what_is_random_timed_or_numbered() {
    let cluster = Cluster::start().await;
    agree(&cluster).await;
    cluster.end_agreed(3 * 20).await;
}

/// Nothing of it comes out differently anywhere.
pub async fn agree(cluster: &Cluster) {
    let client = cluster.client().await;
    client.batch_execute(SETUP).await.unwrap();
    for sql in AUTOCOMMIT {
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    for block in TRANSACTIONS {
        client.batch_execute("BEGIN").await.unwrap();
        for sql in *block {
            client
                .batch_execute(sql)
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
        client
            .batch_execute("COMMIT")
            .await
            .unwrap_or_else(|e| panic!("{block:?}: {e:?}"));
    }
    copy(&client, "COPY child (parent, note) FROM STDIN", 5_000).await;
    client.batch_execute("BEGIN").await.unwrap();
    copy(&client, "COPY parted FROM STDIN", 190).await;
    client.batch_execute("COMMIT").await.unwrap();
    let insert = client
        .prepare("INSERT INTO parent (u, made) VALUES (gen_random_uuid(), now()) RETURNING id")
        .await
        .unwrap();
    for _ in 0..5 {
        client.query_one(&insert, &[]).await.unwrap();
    }

    // A cursor that the master alone has open, in a block that all judge; what a driver prepares of it is its word too.
    client
        .batch_execute(
            "BEGIN; INSERT INTO parent DEFAULT VALUES;
             DECLARE c CURSOR FOR SELECT oid, relname FROM pg_class; DECLARE d CURSOR FOR SELECT id FROM parent ORDER BY id",
        )
        .await
        .unwrap();
    for sql in ["FETCH 3 FROM c", "MOVE c", "FETCH 3 FROM d", "CLOSE c"] {
        client
            .query(sql, &[])
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    client.batch_execute("COMMIT").await.unwrap();

    let uuids = column(&client, "SELECT count(*) = count(DISTINCT u) FROM parent")
        .await
        .unwrap();
    assert_eq!(uuids, ["t"], "equal everywhere, and still random");
    for (replica, verdicts) in cluster.verdicts().await.iter().enumerate() {
        assert_eq!(verdicts.1, 0, "aborts at replica {replica}");
    }
    cluster.audit().await;
}

async fn copy(client: &tokio_postgres::Client, sql: &str, rows: u32) {
    let parent = column(client, "SELECT max(id) FROM parent").await.unwrap();
    let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await.unwrap());
    for row in 0..rows {
        let line = match sql.contains("child") {
            true => format!("{}\tcopied {row}\n", parent[0]),
            false => format!("{row}\tcopied\n"),
        };
        sink.send(line.into()).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), u64::from(rows));
}
