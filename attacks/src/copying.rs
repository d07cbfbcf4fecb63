//! A replica copies the database from others, and the first of them lies: in rows, in the schema, in privileges, or it ends in the middle.
//! Or it is the one that copies who means harm.

use client_shim::Shim;
use consensus::ReplicaId;
use harness::{Cluster, column};
use replica::executor::lies::Lie;
use std::time::{Duration, Instant};

/// Some of everything that a copy has to bring over, and a table of several chunks.
const DATABASE: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, 'stamped'); RETURN NEW; END $$;
    CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(20) CHECK (name IN ('ann', 'bob', 'cy''d')),
                         mood mood DEFAULT 'happy', age positive, note text, doubled int GENERATED ALWAYS AS (twice(age)) STORED);
    CREATE TRIGGER stamp BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION stamp();
    ALTER TABLE people ADD COLUMN gone int; ALTER TABLE people DROP COLUMN gone;
    INSERT INTO people (name, age) SELECT (ARRAY['ann', 'bob', 'cy''d'])[1 + n % 3], n FROM generate_series(1, 30) n;
    ALTER TABLE people ADD COLUMN since timestamptz DEFAULT now(); ALTER TABLE people ADD COLUMN rank int NOT NULL DEFAULT 7;
    CREATE TABLE big (id serial PRIMARY KEY, person int NOT NULL REFERENCES people (id), text text);
    INSERT INTO big (person, text) SELECT 1 + n % 30, repeat(md5(n::text), 8) FROM generate_series(1, 9000) n;
    CREATE INDEX ON big (person) WHERE twice(person) > 7;
    CREATE TABLE parts (k int, v float8) PARTITION BY LIST (k);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
    INSERT INTO parts SELECT n % 3, random() FROM generate_series(1, 50) n;
    CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
    CREATE POLICY later ON hidden USING (id > 1) WITH CHECK (true); INSERT INTO hidden VALUES (1), (2);
    CREATE VIEW happy AS SELECT id, name FROM people WHERE name IN ('ann', 'bob') AND mood = 'happy';
    CREATE MATERIALIZED VIEW totals AS SELECT person, count(*) AS n FROM big GROUP BY person;
    CREATE UNIQUE INDEX ON totals (person);
    CREATE MATERIALIZED VIEW nothing AS SELECT 1 AS one WITH NO DATA;
    CREATE MATERIALIZED VIEW something AS SELECT 2 AS two;
    DELETE FROM big WHERE id > 8990;
    REVOKE ALL ON FUNCTION twice(int) FROM PUBLIC;
    COMMENT ON COLUMN people.rank IS 'the rank'";

/// Has a replica make its data anew, and waits until it has.
async fn rebuilt(cluster: &Cluster, administrator: &Shim, replica: u16) {
    let id = ReplicaId(replica);
    let before = cluster.statuses().await.remove(&id).unwrap().rebuilt;
    let until = Instant::now() + Duration::from_secs(90);
    while !administrator.rebuild(id) {
        assert!(Instant::now() < until, "its link is down");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    loop {
        let statuses = cluster.statuses().await;
        let decided = statuses.values().map(|s| s.decided).max();
        let whole = statuses.get(&id).is_some_and(|now| {
            now.rebuilt != before && now.rebuilding.is_none() && Some(now.applied) == decided
        });
        if whole {
            break;
        }
        assert!(Instant::now() < until, "{statuses:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let floor = column(&cluster.at(replica).await, "SELECT height FROM steel.floor").await;
    assert_eq!(floor.unwrap().len(), 1, "replica {replica} has copied");
}

/// What only the superuser sees of a replica's own server.
async fn same_everywhere(cluster: &Cluster, sql: &str) {
    let answers = cluster.everywhere(sql).await;
    assert!(!answers[0].is_empty(), "{sql}");
    for answer in &answers {
        assert_eq!(*answer, answers[0], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lies_to_one_that_copies_is_found_out_and_another_one_is_asked() {
    let cluster = Cluster::start_copying().await;
    let client = cluster.client().await;
    client.batch_execute(DATABASE).await.unwrap();
    // Who begins anew before it has voted on this abstains, and nobody is to differ here.
    cluster.settle().await;
    let administrator = cluster.administrator().await;

    // The one that copies asks the next replica first.
    for (copies, liar, lie) in [
        (2, 3, Lie::CopiedRows),
        (1, 2, Lie::CopiedSchema),
        (3, 0, Lie::CopyEnds),
        (3, 0, Lie::CopiedRights),
        (2, 3, Lie::CopiedView),
    ] {
        let before = cluster.lies_copied(liar);
        cluster.lies(liar, &[lie]);
        // Of several who hold the same the next one is asked first; one that was late to say so is not among them.
        for _ in 0..4 {
            rebuilt(&cluster, &administrator, copies).await;
            if cluster.lies_copied(liar) > before {
                break;
            }
        }
        assert!(cluster.lies_copied(liar) > before, "{lie:?} was told");
        cluster.lies(liar, &[]);
        // It goes on from there as the others do: rows, sequences, and statements whose reports tell what an object is.
        client
            .batch_execute(
                "INSERT INTO people (name, age) VALUES ('ann', 3);
                 UPDATE big SET text = 'x' WHERE id <= 3;
                 ALTER TABLE people ALTER rank SET DEFAULT 8;
                 ALTER TABLE people ADD COLUMN added int DEFAULT 5;
                 ALTER TABLE people DROP COLUMN added;
                 COMMENT ON TABLE people IS 'people'",
            )
            .await
            .unwrap();
        cluster.audit().await;
    }
    same_everywhere(
        &cluster,
        "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^ ?steel_'",
    )
    .await;
    same_everywhere(
        &cluster,
        "SELECT rolname || rolsuper FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1",
    )
    .await;
    same_everywhere(
        &cluster,
        "SELECT coalesce(relacl::text, 'as it was made') FROM pg_class WHERE oid = 'people'::regclass
         UNION ALL SELECT 'settings of roles: ' || count(*) FROM pg_db_role_setting WHERE setrole = 'postgres'::regrole",
    )
    .await;
    same_everywhere(&cluster, "SELECT two FROM something").await;
    // A copied replica is master like any other: its sequences are where they must be.
    client
        .batch_execute("INSERT INTO big (person, text) VALUES (1, 'one more')")
        .await
        .unwrap();
    cluster.audit().await;
    // None ever voted otherwise than the others: what was copied is what statements had made.
    cluster.end_agreed(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_copies_and_takes_nothing_holds_nobody_up() {
    let cluster = Cluster::start().await;
    let client = cluster.client().await;
    let setup = "CREATE TABLE held (id int PRIMARY KEY); INSERT INTO held VALUES (1), (2)";
    client.batch_execute(setup).await.unwrap();

    cluster.lies(3, &[Lie::HoldsCopies]);
    let held = "SELECT 'read' FROM pg_stat_activity WHERE state = 'idle in transaction' AND query ~ 'FROM steel_copy'";
    let until = Instant::now() + Duration::from_secs(60);
    for source in 0..3 {
        while column(&cluster.at(source).await, held)
            .await
            .unwrap()
            .is_empty()
        {
            assert!(Instant::now() < until, "replica {source} is no source");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // It waits for all who read the table; a source is patient for a minute.
    let full = client.batch_execute("VACUUM FULL held");
    let full = tokio::time::timeout(Duration::from_secs(20), full).await;
    full.expect("it does not wait for the one that copies")
        .unwrap();
    client
        .batch_execute("INSERT INTO held VALUES (3)")
        .await
        .unwrap();
    cluster.audit().await;
    cluster.end().await;
}
