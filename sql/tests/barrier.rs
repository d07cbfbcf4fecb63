//! Which statements wait for all snapshots.

use sql::{Barrier, Kind, barrier, statement};

#[test]
fn what_waits_for_snapshots_is_executed_outside_of_transactions() {
    for (text, which) in [
        ("CREATE INDEX CONCURRENTLY ON t (a)", Barrier::CreateIndex),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
            Barrier::CreateIndex,
        ),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", Barrier::DropIndex),
        ("REINDEX TABLE CONCURRENTLY t", Barrier::Reindex),
        ("REINDEX (VERBOSE, CONCURRENTLY) INDEX i", Barrier::Reindex),
        ("REINDEX DATABASE CONCURRENTLY postgres", Barrier::Reindex),
        (
            "ALTER TABLE ONLY t DETACH PARTITION s.p CONCURRENTLY",
            Barrier::Detach,
        ),
        ("ALTER TABLE t DETACH PARTITION p FINALIZE", Barrier::Detach),
    ] {
        let found = statement(text).unwrap();
        assert_eq!(
            found.kind,
            Kind::Maintenance {
                transactional: false
            },
            "{text}"
        );
        assert_eq!(barrier(&found.text), Some(which), "{text}");
    }
}

#[test]
fn what_only_looks_like_it_goes_as_before() {
    for text in [
        "CREATE INDEX concurrently_made ON t (concurrently)",
        "DROP INDEX i",
        "REINDEX (CONCURRENTLY FALSE) TABLE t",
        "REINDEX TABLE t",
        "ALTER TABLE t DETACH PARTITION p",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
        "VACUUM",
        "SELECT 'create index concurrently'",
        "INSERT INTO t VALUES (1)",
    ] {
        assert_eq!(barrier(text), None, "{text}");
    }
}

#[test]
fn one_too_long_to_be_looked_at_is_refused() {
    let text = format!(
        "CREATE INDEX CONCURRENTLY i ON t (a) WHERE a <> '{}'",
        "x".repeat(65_536)
    );
    assert_eq!(statement(&text).unwrap_err().sqlstate, "0A000");
    assert_eq!(barrier(&text), None);
}
