//! An existing database, brought in and out again: whole, of one moment, verified at every step.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::source::Source;
use crate::support::{Cluster, text};

const RICH: &str = include_str!("import/rich.sql");
const UNSUPPORTED: &str = include_str!("import/unsupported.sql");

/// Two tables whose rows come in pairs.
const PAIRS: &str = "CREATE TABLE a (i bigserial PRIMARY KEY, v text); CREATE TABLE b (i bigint PRIMARY KEY, v text);
    INSERT INTO a (v) SELECT repeat('x', 200) FROM generate_series(1, 30000); INSERT INTO b SELECT i, v FROM a";
const ONE_MORE_PAIR: &str = "WITH new AS (INSERT INTO a (v) VALUES ('new') RETURNING i) INSERT INTO b SELECT i, 'new' FROM new";

/// Runs a client program that must succeed; returns its standard output.
fn succeed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    text(&output.stdout)
}

/// A schema as `pg_dump` tells it, without what differs from run to run, nor what the owners of the source may do, who own nothing here.
fn schema(dsn: &str) -> String {
    let dump = succeed("pg_dump", &["--schema-only", "--no-owner", "-d", dsn]);
    let lines = dump.lines().filter(|line| {
        !line.starts_with("--")
            && !line.starts_with("\\restrict")
            && !line.starts_with("\\unrestrict")
            && !line.is_empty()
            && !(line.starts_with("GRANT ")
                && (line.ends_with(" TO bench;") || line.ends_with(" TO app;")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn a_volatile_function_runs_when_an_administrator_allows_it(cluster: &Cluster) {
    let client = cluster.connect().await;
    let call = "SELECT ext.set_limit(0.25)";
    let refused = client.query_one(call, &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "0A000");
    assert!(
        refused.message().contains("ext.set_limit(real)"),
        "{refused}"
    );
    assert!(
        refused.hint().unwrap().contains("steeldb policy"),
        "{refused}"
    );
    for (policy, works) in [("replicated", true), ("refused", false)] {
        cluster.succeed(&["policy", "ext.set_limit(real)", policy]);
        assert_eq!(client.query_one(call, &[]).await.is_ok(), works, "{policy}");
        // By then all replicas have carried it out.
        cluster.verify();
        for replica in 0..4 {
            let kept = cluster.ask(
                replica,
                "SELECT function || policy FROM steel.function_policy",
            );
            assert_eq!(kept, format!("ext.set_limit(real){policy}"));
        }
    }
    let said = cluster.refuse(&["policy", "pg_catalog.random()", "refused"], 1);
    assert!(said.contains("needs no policy"), "{said}");
}

#[tokio::test]
async fn a_rich_database_comes_in_and_out_unchanged() {
    let source = Source::start().await;
    source.database("rich", RICH).await;
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    let dsn = source.dsn("rich");
    let said = cluster.succeed(&["init", "--port", &port, "--from", &dsn]);
    assert!(
        said.contains("all replicas hold what the source held"),
        "{said}"
    );
    cluster.up();

    let client = cluster.connect().await;
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM shop.customers), (SELECT count(*) FROM shop.totals), nextval('shop.numbers'),
                    nextval('shop.down'), nextval('shop.unused')",
            &[],
        )
        .await
        .unwrap();
    let numbers: Vec<i64> = (0..5).map(|column| row.get(column)).collect();
    assert_eq!(numbers, [2000, 2000, 120, -4, 1]);
    let roles = client
        .query_one(
            "SELECT (SELECT string_agg(rolname || rolcanlogin || coalesce(rolvaliduntil::text, ''), ' ' ORDER BY 1)
                       FROM pg_roles WHERE rolname IN ('reader', 'writer')),
                    pg_has_role('writer', 'reader', 'MEMBER WITH ADMIN OPTION'), has_table_privilege('reader', 'shop.orders', 'SELECT'),
                    shobj_description('reader'::regrole, 'pg_authid')",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        roles.get::<_, String>(0),
        "readerfalse writertrue2099-01-01 00:00:00+00"
    );
    assert!(roles.get::<_, bool>(1) && roles.get::<_, bool>(2));
    assert_eq!(roles.get::<_, String>(3), "reads");
    // Who could log in there can log in here.
    let url = cluster.url().replace("postgres@", "writer@");
    let (writer, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let who = writer
        .query_one("SELECT session_user::text", &[])
        .await
        .unwrap();
    assert_eq!(who.get::<_, String>(0), "writer");
    let url = cluster.url().replace("postgres@", "app@");
    let (app, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    app.batch_execute("BEGIN").await.unwrap();
    let order = "INSERT INTO owned.orders DEFAULT VALUES RETURNING who";
    let order = app.query_one(order, &[]).await.unwrap();
    let who: String = order.get(0);
    assert_eq!(who, "app", "as one that owned the table");
    app.batch_execute("ROLLBACK").await.unwrap();
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'writer'";
    assert_eq!(cluster.ask(3, verifier), source.ask("rich", verifier).await);
    // The triggers were not there while the rows came, and are there now.
    client
        .batch_execute("INSERT INTO shop.customers (name) VALUES ('late')")
        .await
        .unwrap();
    let late: String = client
        .query_one("SELECT note FROM shop.customers WHERE name = 'late'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(late, "; stamped");
    let failed = client
        .batch_execute("INSERT INTO shop.customers (name, age) VALUES ('young', 0)")
        .await;
    assert_eq!(failed.unwrap_err().code().unwrap().code(), "23514");
    client
        .batch_execute("DELETE FROM shop.customers WHERE name = 'late'")
        .await
        .unwrap();
    cluster.succeed(&["import", "--compare", "--from", &dsn]);
    a_volatile_function_runs_when_an_administrator_allows_it(&cluster).await;
    cluster.verify();

    // The way out, in both formats, into a plain PostgreSQL.
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain.sql");
    let custom = directory.path().join("custom.dump");
    let (plain, custom) = (plain.to_str().unwrap(), custom.to_str().unwrap());
    cluster.program("pg_dump", &["-f", plain, "-d"]);
    cluster.program("pg_dump", &["-Fc", "-f", custom, "-d"]);
    source.database("plain", "CREATE ROLE postgres").await;
    source.database("custom", "").await;
    succeed(
        "psql",
        &[
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-f",
            plain,
            "-d",
            &source.dsn("plain"),
        ],
    );
    succeed(
        "pg_restore",
        &["--exit-on-error", "-d", &source.dsn("custom"), custom],
    );
    for back in ["plain", "custom"] {
        cluster.succeed(&["import", "--compare", "--from", &source.dsn(back)]);
        assert_eq!(schema(&source.dsn(back)), schema(&dsn), "{back}");
        let next = "SELECT nextval('shop.numbers')::text || nextval('shop.down')";
        assert_eq!(source.ask(back, next).await, "125-5");
    }

    // One row of one replica is another: the comparison sees it, and names the table.
    cluster.tamper(2, "SET session_replication_role = replica; UPDATE public.keyless SET b = 'other' WHERE ctid = '(0,1)'");
    let said = cluster.refuse(&["import", "--compare", "--from", &dsn], 1);
    assert!(
        said.contains("table public.keyless differs") && said.contains("replica 2 holds"),
        "{said}"
    );
}

#[tokio::test]
async fn what_cannot_be_carried_is_named_before_anything_is_changed() {
    let source = Source::start().await;
    source.database("unsupported", UNSUPPORTED).await;
    let cluster = Cluster::start();
    let dsn = source.dsn("unsupported");
    let said = cluster.refuse(&["import", "--from", &dsn], 1);
    for (kind, object) in [
        ("extension", "pageinspect"),
        ("extension", "file_fdw"),
        ("foreign server", "files"),
        ("foreign table", "public.passwords"),
        ("unlogged table", "public.scratch"),
        ("large object", "4242"),
        ("function", "public.strlen(cstring)"),
        ("leakproof function", "public.secretive()"),
        ("event trigger", "watcher"),
        ("publication", "everything"),
        (
            "cast without a function",
            "bigint AS timestamp without time zone",
        ),
        ("setting of a database or role", "database: work_mem=5MB"),
        ("default privileges", "of role bench"),
        ("statement", "ENABLE ALWAYS TRIGGER always"),
    ] {
        let named = said
            .lines()
            .any(|line| line.starts_with(kind) && line.contains(object));
        assert!(named, "{kind} {object}:\n{said}");
    }
    assert!(said.contains("nothing was changed"), "{said}");
    let client = cluster.connect().await;
    let there = "SELECT count(*) FROM pg_class WHERE relname = 'kept' UNION ALL SELECT count(*) FROM pg_roles WHERE rolname = 'monitor'";
    for row in client.query(there, &[]).await.unwrap() {
        assert_eq!(row.get::<_, i64>(0), 0);
    }

    let output = cluster.run(&["import", "--from", &dsn, "--skip-unsupported"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    for expected in [
        "imported 1 tables with 2 rows",
        "note: role monitor is no member of pg_read_all_data",
    ] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
    let row = client
        .query_one(
            "SELECT string_agg(b, ' ' ORDER BY a), to_regclass('scratch')::text FROM kept",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "one two");
    assert_eq!(row.get::<_, Option<String>>(1), None);
    let said = cluster.refuse(&["import", "--from", &dsn, "--skip-unsupported"], 1);
    assert!(said.contains("the cluster is not empty"), "{said}");
    cluster.verify();
}

#[tokio::test]
async fn what_is_imported_is_of_one_moment() {
    let source = Source::start().await;
    source.database("pairs", PAIRS).await;
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    let before: i64 = source
        .ask("pairs", "SELECT count(*)::text FROM a")
        .await
        .parse()
        .unwrap();
    let mut import = cluster
        .command(&[
            "up",
            "--detach",
            "--port",
            &port,
            "--from",
            &source.dsn("pairs"),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut written = 0;
    let ended = loop {
        source.execute("pairs", ONE_MORE_PAIR).await;
        written += 1;
        if let Some(ended) = import.try_wait().unwrap() {
            break ended;
        }
    };
    assert!(ended.success() && written > 100, "{ended}, {written} pairs");
    let client = cluster.connect().await;
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), nextval('a_i_seq')",
            &[],
        )
        .await
        .unwrap();
    let (a, b, next): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(a, b, "rows of two moments");
    assert!(
        a >= before && a < before + written,
        "{a} of {before} and {written}"
    );
    assert!(next > a, "the sequence would give {next} again");
    cluster.verify();
}

#[tokio::test]
async fn an_interrupted_import_is_not_served_and_begins_anew() {
    let source = Source::start().await;
    source.database("pairs", PAIRS).await;
    let cluster = Cluster::absent();
    let port = cluster.port.to_string();
    let dsn = source.dsn("pairs");
    let up = ["up", "--detach", "--port", &port, "--from", &dsn];
    let mut import = cluster
        .command(&up)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = cluster.data().join("import.toml");
    // Four replicas start first.
    let until = Instant::now() + Duration::from_secs(180);
    while !std::fs::read_to_string(&state).is_ok_and(|state| state.contains("begun")) {
        assert!(Instant::now() < until, "the import does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    // In the middle of it; the supervisor and the replicas go on.
    import.kill().unwrap();
    import.wait().unwrap();
    assert!(
        tokio_postgres::connect(&cluster.url(), tokio_postgres::NoTls)
            .await
            .is_err(),
        "a client was let in"
    );
    let said = cluster.refuse(&["up", "--detach"], 1);
    assert!(
        said.contains("was interrupted") && said.contains("--begin-anew"),
        "{said}"
    );
    let said = cluster.refuse(&["up", "--detach", "--from", &dsn], 1);
    assert!(said.contains("was interrupted"), "{said}");
    let mut anew = up.to_vec();
    anew.push("--begin-anew");
    cluster.succeed(&anew);
    let client = cluster.connect().await;
    let row = client
        .query_one(
            "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (30_000, 30_000)
    );
    cluster.succeed(&["import", "--compare", "--from", &dsn]);
}
