//! Programs that people use, on the front.

use crate::backend::Front;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use tokio::process::Command;

fn program(name: &str, address: SocketAddr) -> Command {
    let majors = std::fs::read_dir("/usr/lib/postgresql").unwrap();
    let newest = majors
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .unwrap();
    let mut command = Command::new(PathBuf::from(format!(
        "/usr/lib/postgresql/{newest}/bin/{name}"
    )));
    command
        .env("PGHOST", address.ip().to_string())
        .env("PGPORT", address.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", "postgres")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn done(mut command: Command) -> Output {
    let output = command.output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgbench_runs_in_all_its_modes() {
    let front = Front::start().await;
    let mut fill = program("pgbench", front.address);
    fill.args(["-i", "-s", "1", "-q"]);
    done(fill).await;
    for mode in ["simple", "extended", "prepared"] {
        let mut bench = program("pgbench", front.address);
        bench.args([
            "-M",
            mode,
            "-c",
            "2",
            "-j",
            "2",
            "-t",
            "20",
            "-N",
            "-n",
            "--max-tries=20",
        ]);
        let output = done(bench).await;
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(
            report.contains("number of failed transactions: 0"),
            "{mode}: {report}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_and_pg_dump_find_everything() {
    let front = Front::start().await;
    let script = [
        "CREATE TABLE t (a serial PRIMARY KEY, b text);",
        "INSERT INTO t (b) VALUES ('one') RETURNING a;",
        "\\d t",
        "\\dt",
        "\\l",
        "BEGIN; SAVEPOINT s; ROLLBACK TO s; COMMIT;",
        "\\copy t TO STDERR",
        "\\set FETCH_COUNT 1",
        "SELECT * FROM t;",
        "SELECT 1 AS described \\gdesc",
        "COPY t FROM STDIN;",
        "7\tseven",
        "\\.",
        "SELECT b FROM t WHERE a = 7;",
    ];
    let file = front.server.target().socket_dir.join("script.sql");
    std::fs::write(&file, script.join("\n")).unwrap();
    let mut psql = program("psql", front.address);
    psql.args(["-X", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file);
    let output = done(psql).await;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "Table \"public.t\"",
        "\"t_pkey\" PRIMARY KEY, btree (a)",
        "INSERT 0 1",
        "COMMIT",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let mut dump = program("pg_dump", front.address);
    dump.args(["-t", "t"]);
    let output = done(dump).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("COPY public.t (a, b) FROM stdin;\n1\tone\n7\tseven\n"),
        "{text}"
    );
}
