//! The same messages to PostgreSQL itself and through the front: the same answers.

use crate::backend::Front;
use crate::client::*;
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

/// PostgreSQL listens on a Unix socket only: a relay for the test's client.
async fn direct(front: &Front) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let path = front.server.target().socket_path();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = UnixStream::connect(&path).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

fn p(sql: &str) -> Vec<u8> {
    parse("", sql)
}

fn b() -> Vec<u8> {
    bind("", "")
}

fn e() -> Vec<u8> {
    execute("", 0)
}

/// One binding of a text parameter, the answer in binary.
fn bind_text(statement: &str, value: &str) -> Vec<u8> {
    let mut body = format!("\0{statement}\0").into_bytes();
    body.extend([0, 0, 0, 1]);
    body.extend((value.len() as u32).to_be_bytes());
    body.extend(value.as_bytes());
    body.extend([0, 1, 0, 1]);
    raw(b'B', &body)
}

/// Each line is sent as a whole and answered by as many ReadyForQuery as it has Query and Sync messages.
fn conversation() -> Vec<Vec<Vec<u8>>> {
    let q = query;
    let mut lines: Vec<Vec<Vec<u8>>> = [
        "CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'x')",
        "INSERT INTO t VALUES (1), (2), (3)",
        "SELECT * FROM t ORDER BY a",
        "SELECT a, b FROM t WHERE a = 17",
        "INSERT INTO t VALUES (4) RETURNING a, b",
        "INSERT INTO t VALUES (1)",
        "SELECT nothing FROM t",
        "SELEC 1",
        "/* é */ SELECT\n  nothing FROM t",
        "",
        " ; ",
        "SELECT 1; SELECT 2; SELECT 3",
        "SELECT 1; SELECT nothing; SELECT 3",
        "INSERT INTO t VALUES (10); SELECT 1/0",
        "SELECT count(*) FROM t WHERE a = 10",
        "INSERT INTO t VALUES (10); COMMIT; SELECT 1/0",
        "SELECT count(*) FROM t WHERE a = 10",
        "INSERT INTO t VALUES (11); ROLLBACK; SELECT count(*) FROM t WHERE a = 11",
        "BEGIN; INSERT INTO t VALUES (12); SELECT 1/0; COMMIT",
        "SELECT 1",
        "COMMIT",
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "BEGIN",
        "SAVEPOINT a",
        "INSERT INTO t VALUES (1)",
        "SELECT 1",
        "SAVEPOINT b",
        "ROLLBACK TO a",
        "SELECT count(*) FROM t",
        "RELEASE a",
        "RELEASE a",
        "ROLLBACK TO a",
        "COMMIT AND CHAIN",
        "COMMIT",
        "BEGIN READ ONLY",
        "INSERT INTO t VALUES (20)",
        "ROLLBACK",
        "BEGIN",
        "SELECT 1",
        "SET TRANSACTION READ ONLY",
        "UPDATE t SET b = 'y'",
        "ROLLBACK AND CHAIN",
        "SELECT 1",
        "END",
        "SAVEPOINT s",
        "RELEASE s",
        "ROLLBACK TO s",
        "COMMIT AND CHAIN",
        "ROLLBACK AND CHAIN",
        "SET TRANSACTION READ ONLY",
        "SET LOCAL TimeZone = 'CET'",
        "DECLARE c CURSOR FOR SELECT 1",
        "BEGIN; DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a",
        "FETCH 2 FROM c",
        "MOVE c",
        "CLOSE c",
        "FETCH c",
        "ROLLBACK",
        "FETCH c",
        "SET TimeZone = 'Europe/Berlin'",
        "SHOW TimeZone",
        "SET TimeZone = 'Nowhere/Land'",
        "SET DateStyle TO German; SHOW DateStyle",
        "BEGIN; SET TimeZone = 'EST'",
        "ROLLBACK",
        "SHOW TimeZone",
        "BEGIN; SET LOCAL TimeZone = 'EST'",
        "SELECT '2020-01-01 00:00:00+00'::timestamptz",
        "COMMIT",
        "SELECT '2020-01-01 00:00:00+00'::timestamptz",
        "RESET TimeZone",
        "RESET ALL",
        "SHOW DateStyle",
        "SET search_path TO pg_catalog, public",
        "SHOW search_path",
        "RESET search_path",
        "SET work_mem = '7MB'",
        "SELECT set_config('work_mem', '9MB', false)",
        "SHOW work_mem",
        "SET statement_timeout = 12345; SHOW statement_timeout",
        "SET statement_timeout = '2min'",
        "SHOW statement_timeout",
        "SET statement_timeout = 'x'",
        "RESET statement_timeout",
        "SET client_min_messages = error",
        "DROP TABLE IF EXISTS nowhere",
        "RESET client_min_messages",
        "DROP TABLE IF EXISTS nowhere",
        "VACUUM t",
        "BEGIN; VACUUM t",
        "ROLLBACK",
        "SELECT 1; VACUUM t",
        "BEGIN; DISCARD ALL",
        "ROLLBACK",
        "DISCARD ALL",
        "DEALLOCATE nowhere",
        "DEALLOCATE ALL",
        "COPY t TO STDOUT (FORMAT csv)",
        "COPY nowhere FROM STDIN",
        "COPY nowhere TO STDOUT",
        "EXPLAIN (COSTS OFF) SELECT * FROM t",
        "DO $$ BEGIN RAISE NOTICE 'hello'; RAISE WARNING 'careful'; END $$",
        "DO $$ BEGIN RAISE EXCEPTION 'no' USING HINT = 'h', DETAIL = 'd', ERRCODE = '22000'; END $$",
        "TABLE t",
        "VALUES (1, 'a'), (2, NULL)",
        "SELECT",
        "CREATE TABLE u AS SELECT 1 AS a",
        "SELECT * INTO v FROM u",
        "TRUNCATE u",
        "DELETE FROM t WHERE a > 3",
        "UPDATE t SET b = 'z' WHERE a = 1 RETURNING *",
    ]
    .into_iter()
    .map(|sql| vec![q(sql)])
    .collect();
    let extended: Vec<Vec<Vec<u8>>> = vec![
        vec![run("SELECT a FROM t ORDER BY a"), sync()],
        vec![run("INSERT INTO t VALUES (30)"), sync()],
        vec![run("INSERT INTO t VALUES (30)"), sync()],
        vec![run("SELECT nothing"), sync()],
        vec![p("SELECT nothing"), sync()],
        vec![p("SELECT nothing"), describe('S', ""), sync()],
        vec![b(), sync()],
        vec![run(""), sync()],
        vec![p("SELECT 1; SELECT 2"), sync()],
        vec![p("SELECT 1"), b(), e(), sync()],
        vec![
            p("SELECT a FROM t WHERE b = $1"),
            describe('S', ""),
            bind_text("", "z"),
            describe('P', ""),
            e(),
            sync(),
        ],
        vec![p("SELECT a FROM t WHERE b = $1"), b(), e(), sync()],
        vec![parse("s", "SELECT a + $1 FROM t ORDER BY a"), sync()],
        vec![describe('S', "s"), sync()],
        vec![bind_text("s", "5"), describe('P', ""), e(), sync()],
        vec![bind_text("s", "five"), e(), sync()],
        vec![bind_text("s", "5"), describe('P', ""), sync()],
        vec![parse("s", "SELECT 1"), sync()],
        vec![close('S', "s"), describe('S', "s"), sync()],
        vec![
            run("INSERT INTO t VALUES (40)"),
            run("INSERT INTO t VALUES (40)"),
            run("SELECT 1"),
            sync(),
        ],
        vec![run("SELECT count(*) FROM t"), sync()],
        vec![
            run("INSERT INTO t VALUES (41)"),
            run("INSERT INTO t VALUES (42)"),
            sync(),
        ],
        vec![
            run("SELECT count(*) FROM t"),
            run("BEGIN"),
            run("DELETE FROM t WHERE a = 41"),
            sync(),
        ],
        vec![run("ROLLBACK"), sync()],
        vec![run("COMMIT"), sync()],
        vec![
            run("BEGIN"),
            sync(),
            run("SELECT 1/0"),
            sync(),
            run("SELECT 1"),
            sync(),
            b(),
            sync(),
        ],
        vec![p("ROLLBACK"), describe('S', ""), b(), e(), sync()],
        vec![
            run("BEGIN"),
            p("SELECT a FROM t ORDER BY a"),
            bind("c", ""),
            describe('P', "c"),
            execute("c", 2),
            sync(),
        ],
        vec![execute("c", 2), execute("c", 2), sync()],
        vec![execute("c", 2), sync()],
        vec![close('P', "c"), run("COMMIT"), sync()],
        vec![
            p("INSERT INTO t VALUES (50) RETURNING a"),
            b(),
            execute("", 1),
            execute("", 1),
            sync(),
        ],
        vec![
            p("INSERT INTO t VALUES (51)"),
            b(),
            execute("", 1),
            execute("", 1),
            sync(),
        ],
        vec![p("SELECT a FROM t ORDER BY a"), b(), execute("", 2), sync()],
        vec![e(), sync()],
        vec![run("SHOW server_encoding"), sync()],
        vec![run("SET TimeZone = 'CET'"), run("SHOW TimeZone"), sync()],
        vec![p("SET TimeZone = 'UTC'"), describe('S', ""), sync()],
        vec![run("RESET TimeZone"), sync()],
        vec![run("CREATE TABLE w (a int)"), sync()],
        vec![run("CREATE TABLE x AS SELECT 1 AS a"), sync()],
        vec![p("CREATE TABLE y (a int)"), describe('S', ""), sync()],
        vec![run("COPY t TO STDOUT"), sync()],
        vec![run("FETCH c"), sync()],
        vec![run("VACUUM w"), sync()],
        vec![raw(b'F', b"\0\0\0\0\0\0\0\0\0\0")],
        vec![raw(b'Q', b"SELECT 1")],
        vec![raw(b'D', b"Xp\0"), sync()],
        vec![raw(b'E', b"p\0\0"), sync()],
        vec![raw(b'C', b"Xp\0"), sync()],
        vec![
            copy_data(b"x"),
            copy_done(),
            copy_fail("x"),
            query("SELECT 1"),
        ],
        vec![
            query("COPY w FROM STDIN"),
            copy_data(b"1\n2\n"),
            copy_done(),
        ],
        vec![query("COPY w FROM STDIN"), copy_data(b"one\n"), copy_done()],
        vec![
            query("COPY w (a) FROM STDIN WITH (FORMAT csv)"),
            copy_data(b"3\n"),
            copy_fail("stop"),
        ],
        vec![query("BEGIN")],
        vec![
            query("COPY w FROM STDIN"),
            copy_data(b"1\n"),
            copy_fail("stop"),
        ],
        vec![query("SELECT 1"), query("ROLLBACK")],
        vec![
            run("COPY w FROM STDIN"),
            copy_data(b"4\n"),
            copy_done(),
            sync(),
        ],
        vec![
            query("COPY w FROM STDIN; SELECT count(*) FROM w"),
            copy_data(b"5\n"),
            copy_done(),
        ],
        vec![query("SELECT a FROM w ORDER BY a")],
        vec![query(
            "CREATE TABLE k (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        )],
        vec![
            run("INSERT INTO k VALUES (1)"),
            run("INSERT INTO k VALUES (2)"),
            sync(),
        ],
        vec![
            query("SELECT set_config('TimeZone', 'EST', false)"),
            query("SHOW TimeZone"),
        ],
    ];
    lines.extend(extended);
    lines
}

/// The front sends a batch as one operation, so an error of the Parse or the Bind comes after their completions; and it
/// refuses function calls whatever they call.
fn plain(lines: Vec<String>) -> Vec<String> {
    let mut plain: Vec<String> = Vec::new();
    for line in lines {
        if line.starts_with("E ") {
            while plain.last().is_some_and(|last| last == "1" || last == "2") {
                plain.pop();
            }
        }
        match line.contains("function call protocol") || line.contains("function with OID 0") {
            true => plain.push("E function call".into()),
            false => plain.push(line),
        }
    }
    plain
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_front_answers_as_postgresql_does() {
    let front = Front::start().await;
    let other = Front::start().await;
    let mut theirs = Client::connect(direct(&other).await).await;
    let mut ours = Client::connect(front.address).await;
    assert_eq!(sorted(&ours.greeting), sorted(&theirs.greeting));
    let mut differences = Vec::new();
    for line in conversation() {
        let answers = line.iter().flat_map(|messages| ends(messages)).count();
        ours.send(&line).await;
        theirs.send(&line).await;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..answers {
            a.extend(ours.until_ready().await);
            b.extend(theirs.until_ready().await);
        }
        let (a, b) = (plain(a), plain(b));
        if a != b {
            let sent: Vec<_> = line
                .iter()
                .map(|m| String::from_utf8_lossy(m).into_owned())
                .collect();
            differences.push(format!("{sent:?}\n  front      {a:?}\n  PostgreSQL {b:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn sorted(lines: &[String]) -> Vec<&String> {
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort();
    lines
}

/// The messages in these bytes that end in a ReadyForQuery. A Sync inside of a COPY does not; there is none here.
fn ends(messages: &[u8]) -> VecDeque<u8> {
    let mut found = VecDeque::new();
    let mut rest = messages;
    while let Some(header) = rest.first_chunk::<5>() {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if b"QSF".contains(&header[0]) {
            found.push_back(header[0]);
        }
        rest = rest.get(length + 1..).unwrap_or_default();
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_waits_for_its_reader() {
    let front = Front::start().await;
    let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
    stream
        .write_all(&startup(3 << 16, &[("user", "postgres")]))
        .await
        .unwrap();
    let sql = "SELECT repeat('x', 100000) FROM generate_series(1, 500)";
    stream.write_all(&query(sql)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let mut heard = vec![0; 50_000_000];
    stream.read_exact(&mut heard).await.unwrap();
}
