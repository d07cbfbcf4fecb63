//! CONCURRENTLY is left out, and the rest is what it was.

use sql::{Kind, statement};

#[test]
fn what_waits_for_snapshots_is_a_schema_change_like_any_other() {
    for (text, executed) in [
        (
            "CREATE INDEX CONCURRENTLY ON t (a)",
            "CREATE INDEX ON t (a)",
        ),
        (
            "create unique index concurrently IF NOT EXISTS i ON t (a)",
            "create unique index IF NOT EXISTS i ON t (a)",
        ),
        (
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            "DROP INDEX IF EXISTS i",
        ),
        ("REINDEX TABLE CONCURRENTLY t", "REINDEX TABLE t"),
        (
            "REINDEX (VERBOSE, CONCURRENTLY) INDEX i",
            "REINDEX (VERBOSE, CONCURRENTLY FALSE) INDEX i",
        ),
        (
            "REINDEX (\"concurrently\" on) TABLE t",
            "REINDEX (CONCURRENTLY FALSE) TABLE t",
        ),
        (
            "ALTER TABLE ONLY t DETACH PARTITION s.p CONCURRENTLY",
            "ALTER TABLE ONLY t DETACH PARTITION s.p",
        ),
    ] {
        let found = statement(text).unwrap();
        assert_eq!(found.kind, Kind::Ddl, "{text}");
        assert_eq!(found.text, executed);
        // Replicas look at the text that is executed: it must stand for itself.
        assert_eq!(statement(&found.text).unwrap().text, found.text);
    }
    let whole = statement("REINDEX DATABASE CONCURRENTLY postgres").unwrap();
    assert_eq!(whole.text, "REINDEX DATABASE postgres");
    assert!(matches!(whole.kind, Kind::Maintenance { .. }));
}

#[test]
fn what_only_looks_like_it_stays() {
    for text in [
        "CREATE INDEX concurrently_made ON t (concurrently)",
        "CREATE INDEX \"concurrently\" ON t (a)",
        "DROP INDEX i",
        "REINDEX (CONCURRENTLY FALSE) TABLE t",
        "ALTER TABLE t DETACH PARTITION p",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
        "SELECT 'create index concurrently'",
    ] {
        assert_eq!(statement(text).unwrap().text, text);
    }
}
