//! What an EXCEPTION block took back, and the numbers of types, when replicas die and the master changes.

use crate::support::Cluster;
use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

type Failure = Box<dyn std::error::Error + Sync + Send>;

/// A label of any enum, in binary as drivers send it.
#[derive(Debug, PartialEq)]
struct Label(String);

impl ToSql for Label {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(kind.kind(), Kind::Enum(_))
    }

    to_sql_checked!();
}

impl FromSql<'_> for Label {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Label, Failure> {
        Ok(Label(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(kind.kind(), Kind::Enum(_))
    }
}

fn labels(of: &[&str]) -> Vec<Label> {
    of.iter().map(|label| Label((*label).to_owned())).collect()
}

/// The same keys with rows that stay and rows that do not: a replica that gained those could not take the others.
const SETUP: &str = "
    CREATE TABLE log (id int PRIMARY KEY, line text);
    CREATE TABLE t (a int);
    CREATE FUNCTION tried(n int) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            FOR i IN n * 100 .. n * 100 + 50 LOOP
                BEGIN
                    INSERT INTO log VALUES (i, 'first'); INSERT INTO t VALUES (i);
                    BEGIN DELETE FROM log; RAISE 'x'; EXCEPTION WHEN raise_exception THEN NULL; END;
                    IF i % 2 = 0 THEN RAISE 'x'; END IF;
                EXCEPTION WHEN raise_exception THEN INSERT INTO log VALUES (i, 'second'); END;
            END LOOP;
        END $$";

/// While one replica is away (it adopts what it missed), and before a kill of all (each applies its log).
#[tokio::test(flavor = "multi_thread")]
async fn no_replica_gains_what_a_block_took_back_and_types_keep_their_numbers() {
    let cluster = Cluster::start();
    let client = cluster.connect().await;
    client.batch_execute(SETUP).await.unwrap();

    // Each server has handed out another count of OIDs so far.
    for replica in [0, 2] {
        let burn = format!(
            "SELECT count(pg_nextoid('pg_type', 'oid', 'pg_type_oid_index')) FROM generate_series(0, {replica} * 50 + 70)"
        );
        cluster.ask(replica, &burn);
    }
    client
        .batch_execute("CREATE TYPE mood AS ENUM ('low', 'high'); CREATE TABLE m (id int PRIMARY KEY, one mood, more mood[])")
        .await
        .unwrap();
    let insert = client
        .prepare("INSERT INTO m VALUES ($1, $2, $3)")
        .await
        .unwrap();
    let select = client
        .prepare("SELECT one, more FROM m WHERE one = $1 ORDER BY id DESC LIMIT 1")
        .await
        .unwrap();
    let (low, more) = (Label("low".into()), labels(&["high", "low"]));
    let works = async |id: i32| {
        assert_eq!(
            client.execute(&insert, &[&id, &low, &more]).await.unwrap(),
            1
        );
        let row = client.query_one(&select, &[&low]).await.unwrap();
        assert_eq!(
            (row.get::<_, Label>(0), row.get::<_, Vec<Label>>(1)),
            (Label("low".into()), labels(&["high", "low"]))
        );
    };
    works(1).await;

    cluster.succeed(&["kill", "--replica", "3"]);
    client.batch_execute("SELECT tried(1)").await.unwrap();
    client
        .batch_execute("BEGIN; SELECT tried(2); SELECT tried(3); COMMIT")
        .await
        .unwrap();
    cluster.succeed(&["start", "--replica", "3"]);
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");

    cluster.succeed(&["reconfigure", "master", "--replica", "2"]);
    works(2).await;
    let numbers: Vec<String> = (0..4)
        .map(|replica| cluster.ask(replica, "SELECT string_agg(oid::text, ' ' ORDER BY typname) FROM pg_type WHERE typname IN ('mood', '_mood', 'm', '_m')"))
        .collect();
    assert!(
        numbers.iter().all(|number| *number == numbers[0]),
        "{numbers:?}"
    );

    // What was committed last is not on disk yet: it comes from the log.
    client
        .batch_execute("BEGIN; SELECT tried(4); COMMIT; SELECT tried(5)")
        .await
        .unwrap();
    cluster.kill_everything();
    cluster.up();
    let said = cluster.verify();
    assert!(said.contains("all 4 replicas are identical"), "{said}");
    let client = cluster.connect().await;
    let rows = client
        .query_one("SELECT count(*) FROM log", &[])
        .await
        .unwrap();
    assert_eq!(rows.get::<_, i64>(0), 5 * 51);
}
