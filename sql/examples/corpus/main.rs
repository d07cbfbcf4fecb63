//! What PostgreSQL accepts and the room `sql` does not: measured over PostgreSQL's own regression suite.
//!
//! `scripts/corpus` fetches the suite and runs this. Every script goes through psql, in the suite's own order, to a
//! plain PostgreSQL; between the two stands a [`recorder`], which classifies what psql sends, notes whether the server's grammar
//! took it and whether it wrote, and compares the answer with that of a second server which was fed alike.

mod recorder;
mod report;
#[path = "../../tests/postgresql/server.rs"]
mod server;
mod wire;

use recorder::Shared;
use server::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use wire::Wire;

const DATABASE: &str = "regression";

/// The least part of the statements that must be handled or refused by a rule.
const LEAST_KNOWN: f64 = 0.99;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(suite) = arguments.next().map(PathBuf::from) else {
        eprintln!(
            "usage: corpus SUITE [SCRIPT …]: SUITE is PostgreSQL's src/test/regress; see scripts/corpus"
        );
        return ExitCode::from(2);
    };
    let only: Vec<String> = arguments
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let scripts = match schedule(&suite) {
        Ok(scripts) => scripts,
        Err(error) => {
            eprintln!("{}: {error}", suite.display());
            return ExitCode::from(2);
        }
    };
    let settings = [
        "-c",
        "max_prepared_transactions=2",
        "-c",
        "autovacuum=off",
        "-c",
        "shared_buffers=128MB",
    ];
    let (server, twin) = (Server::with(&settings), Server::with(&settings));
    for server in [&server, &twin] {
        server.psql(&format!(
            "CREATE DATABASE {DATABASE} TEMPLATE template0;\nALTER DATABASE {DATABASE} SET lc_messages = 'C';\n\
             ALTER DATABASE {DATABASE} SET lc_monetary = 'C';\n"
        ));
    }
    // The second server's OIDs and transaction numbers are others, as another replica's are.
    twin.psql("CREATE TABLE burnt (a int);\nDROP TABLE burnt;\nSELECT lo_unlink(lo_create(0)) FROM generate_series(1, 999);\n");
    let place = tempfile::tempdir().expect("a temporary directory");
    let shared = Arc::new(Shared {
        server: server.socket(),
        twin: twin.socket(),
        control: Mutex::new(
            Wire::connect(&server.socket(), "steel", "postgres").expect("a session"),
        ),
        script: Mutex::default(),
        seen: Mutex::default(),
        open: Mutex::default(),
    });
    recorder::listen(place.path(), shared.clone()).expect("a socket");
    for script in scripts
        .iter()
        .filter(|name| only.is_empty() || only.contains(name))
    {
        *shared.script.lock().expect("no panic") = script.clone();
        run(&suite, script, place.path());
        shared.settle();
    }
    let seen = shared.seen.lock().expect("no panic");
    let sources = |script: &str| std::fs::read_to_string(file(&suite, script)).unwrap_or_default();
    let found = report::print(&seen, sources);
    match found.known >= LEAST_KNOWN && found.broken == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn file(suite: &Path, script: &str) -> PathBuf {
    suite.join("sql").join(format!("{script}.sql"))
}

/// The scripts in the order of the suite's own schedule.
fn schedule(suite: &Path) -> std::io::Result<Vec<String>> {
    let schedule = std::fs::read_to_string(suite.join("parallel_schedule"))?;
    let groups = schedule
        .lines()
        .filter_map(|line| line.strip_prefix("test: "));
    let names = groups.flat_map(str::split_whitespace);
    Ok(names
        .map(str::to_owned)
        .filter(|name| file(suite, name).exists())
        .collect())
}

/// As pg_regress calls psql.
fn run(suite: &Path, script: &str, socket: &Path) {
    let outcome = Command::new("psql")
        .args([
            "-X",
            "-a",
            "-q",
            "-v",
            "HIDE_TABLEAM=on",
            "-v",
            "HIDE_TOAST_COMPRESSION=on",
            "-U",
            "steel",
            "-d",
            DATABASE,
            "-h",
        ])
        .arg(socket)
        .arg("-f")
        .arg(file(suite, script))
        .env("PGTZ", "PST8PDT")
        .env("PGDATESTYLE", "Postgres, MDY")
        .env("PGOPTIONS", "-c intervalstyle=postgres_verbose")
        .env("PG_ABS_SRCDIR", suite)
        .env("PG_ABS_BUILDDIR", suite)
        .env("PG_LIBDIR", suite)
        .env("PG_DLSUFFIX", ".so")
        .env("LC_MESSAGES", "C")
        .current_dir(socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !outcome
        .as_ref()
        .is_ok_and(std::process::ExitStatus::success)
    {
        eprintln!("{script}: psql did not run to its end: {outcome:?}");
    }
}
