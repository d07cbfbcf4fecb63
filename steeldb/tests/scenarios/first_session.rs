//! What a person does first: the two commands, then psql and pgbench.

use crate::support::Cluster;

#[test]
fn psql_creates_inserts_fails_rolls_back_and_describes() {
    let cluster = Cluster::absent();
    let line = cluster.up();
    assert_eq!(
        line,
        format!("psql \"{}\"", cluster.url()),
        "the last line can be pasted"
    );
    let script = "\
        CREATE TABLE notes (id serial PRIMARY KEY, body text NOT NULL);\n\
        INSERT INTO notes (body) VALUES ('first') RETURNING id, body;\n\
        BEGIN;\n\
        INSERT INTO notes (body) VALUES ('second');\n\
        SAVEPOINT s;\n\
        INSERT INTO notes (body) VALUES (NULL);\n\
        ROLLBACK TO s;\n\
        COMMIT;\n\
        BEGIN;\n\
        DELETE FROM notes;\n\
        ROLLBACK;\n\
        SELECT count(*) AS kept FROM notes;\n\
        \\timing on\n\
        \\d notes\n";
    let file = cluster.data().parent().unwrap().join("session.sql");
    std::fs::write(&file, script).unwrap();
    let said = cluster.program("psql", &["-X", "-f", file.to_str().unwrap(), "-d"]);
    for expected in [
        "CREATE TABLE",
        " 1 | first",
        "INSERT 0 1",
        "null value in column \"body\"",
        "COMMIT",
        "ROLLBACK",
        "Timing is on.",
        "nextval('notes_id_seq'::regclass)",
        "\"notes_pkey\" PRIMARY KEY",
    ] {
        assert!(
            said.contains(expected),
            "{expected:?} is missing in:\n{said}"
        );
    }
    let kept = said.split("kept").nth(1).unwrap_or_default();
    assert!(
        kept.lines().nth(2).is_some_and(|line| line.trim() == "2"),
        "{said}"
    );
    cluster.verify();
}

#[test]
fn pgbench_runs_in_both_query_modes_and_all_replicas_agree() {
    let cluster = Cluster::start();
    cluster.program("pgbench", &["-i", "-s", "1", "-q"]);
    for mode in ["simple", "prepared"] {
        let said = cluster.program(
            "pgbench",
            &[
                "-c",
                "8",
                "-j",
                "2",
                "-T",
                "5",
                "-N",
                "--max-tries=20",
                "-M",
                mode,
            ],
        );
        assert!(said.contains("number of failed transactions: 0"), "{said}");
    }
    let said = cluster.verify();
    assert!(
        said.contains("public.pgbench_accounts") && said.contains("100000"),
        "{said}"
    );
    assert!(said.contains("all 4 replicas are identical"), "{said}");
}
