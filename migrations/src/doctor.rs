//! Is the schema steel whole, and does PostgreSQL really use it?
//!
//! A function replaced in place counts for nothing unless the planner inlines its body: else the C function behind the
//! same OID runs, silently. So each is asked for by EXPLAIN VERBOSE, in the role of a client.

use std::fmt;

use tokio_postgres::Client;

use crate::{Error, MAJORS, embedded};

/// Something that keeps SteelDB from capturing, reproducing or protecting what clients do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The function, table, role or setting concerned.
    pub subject: String,
    /// What is wrong with it.
    pub problem: String,
    /// The next step.
    pub remedy: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.subject, self.problem, self.remedy)
    }
}

/// A call of each replaced function, and what its plan must show.
const REPLACED: [(&str, &str); 13] = [
    ("pg_catalog.now()", "steel.orig_now()"),
    ("pg_catalog.transaction_timestamp()", "steel.orig_now()"),
    (
        "pg_catalog.statement_timestamp()",
        "steel.orig_statement_timestamp()",
    ),
    ("pg_catalog.clock_timestamp()", "steel.clock()"),
    ("pg_catalog.timeofday()", "steel.clock()"),
    (
        "pg_catalog.age(timestamptz '2000-01-01')",
        "steel.orig_now()",
    ),
    ("pg_catalog.age(timestamp '2000-01-01')", "steel.orig_now()"),
    (
        "pg_catalog.gen_random_uuid()",
        "steel.orig_gen_random_uuid()",
    ),
    (
        "pg_catalog.nextval('steel.place_1'::regclass)",
        "steel.nextval(",
    ),
    (
        "pg_catalog.currval('steel.place_1'::regclass)",
        "steel.currval(",
    ),
    ("pg_catalog.lastval()", "steel.lastval()"),
    (
        "pg_catalog.setval('steel.place_1'::regclass, 1)",
        "steel.setval(",
    ),
    (
        "pg_catalog.setval('steel.place_1'::regclass, 1, true)",
        "steel.setval(",
    ),
];

/// The same of functions that newer majors have: the first of them, the call, and what its plan must show.
const REPLACED_SINCE: [(u32, &str, &str); 5] = [
    (
        16,
        "pg_catalog.array_shuffle(ARRAY[1])",
        "steel.array_shuffle(",
    ),
    (
        16,
        "pg_catalog.array_sample(ARRAY[1], 1)",
        "steel.array_sample(",
    ),
    (18, "pg_catalog.uuidv4()", "steel.orig_gen_random_uuid()"),
    (18, "pg_catalog.uuidv7()", "steel.uuidv7("),
    (18, "pg_catalog.uuidv7('1 day'::interval)", "steel.uuidv7("),
];

/// Subject and problem of what is not as migrated, each query with its remedy.
const CATALOG: [(&str, &str); 8] = [
    (
        "SELECT c.oid::regclass::text, 'its ' || w.column1 || ' is not captured'
           FROM pg_class c, (VALUES ('insert'), ('update'), ('delete'), ('truncate')) w
          WHERE steel.is_captured(c.oid) AND NOT EXISTS (
                SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'steel_capture_' || w.column1
                   AND t.tgisinternal AND t.tgenabled = 'O'
                   AND t.tgfoid = to_regprocedure('steel.capture_' || w.column1 || '()'))",
        "as steel, run: SELECT steel.protect(oid) FROM pg_class WHERE steel.is_captured(oid)",
    ),
    (
        "SELECT r::regclass::text, 'it inherits or is inherited from, and its rows are not captured one by one'
           FROM steel.trees() r
          WHERE NOT EXISTS (
                SELECT FROM pg_trigger t WHERE t.tgrelid = r AND t.tgname = 'steel_capture_row' AND t.tgisinternal
                   AND t.tgenabled = 'O' AND t.tgfoid = 'steel.capture_row()'::regprocedure)
             OR 2 > (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = r AND t.tgfoid IN
                     ('steel.capture_update()'::regprocedure, 'steel.capture_delete()'::regprocedure) AND t.tgnargs = 1)",
        "as steel, run: SELECT steel.protect_trees()",
    ),
    (
        "SELECT c.oid::regclass::text, 'the trigger' || i.trigger || ' of an identity column is missing'
           FROM pg_class c, steel.identity_triggers(c.oid) i
          WHERE steel.is_captured(c.oid) AND NOT EXISTS (
                SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = i.trigger AND t.tgisinternal AND t.tgenabled = 'O')",
        "as steel, run: SELECT steel.protect(oid) FROM pg_class WHERE steel.is_captured(oid)",
    ),
    (
        "SELECT w.column1, 'the event trigger is missing or disabled'
           FROM (VALUES ('steel_ddl'), ('steel_drop'), ('steel_rewrite'), ('steel_types'), ('steel_alter'), ('steel_forget'), ('steel_owner')) w
          WHERE NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = w.column1 AND e.evtenabled = 'O')",
        "rebuild this replica from the others: DDL went by unseen",
    ),
    (
        "SELECT f::text, 'it is volatile, and neither refused nor allowed by a policy'
           FROM steel.unknown_functions() f
          WHERE NOT EXISTS (SELECT FROM steel.refused_function r WHERE r.function = f::text)
            AND NOT EXISTS (SELECT FROM steel.function_policy p WHERE p.function = f::text AND p.policy = 'replicated')",
        "as steel, run: SELECT steel.enforce_function_policies()",
    ),
    (
        "SELECT r.rolname::text, 'the role ' || CASE WHEN r.rolsuper THEN 'is a superuser' ELSE 'may act as ' || p.rolname END
           FROM pg_roles r JOIN pg_roles p
             ON p.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program',
                              'pg_signal_backend', 'pg_checkpoint', 'steel')
          WHERE r.rolname <> 'steel' AND r.rolname !~ '^pg_' AND pg_has_role(r.oid, p.oid, 'MEMBER')
            AND (NOT r.rolsuper OR p.rolname = 'steel')",
        "take the privilege from it: no client may reach past steel's triggers",
    ),
    (
        "SELECT p.oid::regprocedure::text, 'clients may call it'
           FROM pg_proc p
          WHERE has_function_privilege('postgres', p.oid, 'EXECUTE')
            AND (p.pronamespace = 'pg_catalog'::regnamespace
                 AND p.proname ~ '^(pg_(try_)?advisory_|lo_|pg_logical_|pg_replication_)'
                 OR p.pronamespace = 'pg_catalog'::regnamespace
                 AND p.proname IN ('loread', 'lowrite', 'pg_notify', 'pg_cancel_backend', 'pg_terminate_backend', 'pg_export_snapshot')
                 OR p.pronamespace = 'steel'::regnamespace AND p.proname IN ('token', 'seal', 'advance', 'take_value', 'protect'))",
        "as steel, run: REVOKE ALL ON FUNCTION … FROM PUBLIC",
    ),
    (
        "SELECT c.oid::regclass::text, 'clients may read or write it'
           FROM pg_class c
          WHERE c.relnamespace = 'steel'::regnamespace AND c.relkind IN ('r', 'S')
            AND (c.relkind = 'r' AND has_table_privilege('postgres', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                 OR c.relkind = 'S' AND has_sequence_privilege('postgres', c.oid, 'USAGE, SELECT, UPDATE'))
         UNION ALL
         SELECT 'steel.secret', 'it holds ' || count(*) || ' tokens, not one' FROM steel.secret HAVING count(*) <> 1",
        "as steel, run: REVOKE ALL ON ALL TABLES IN SCHEMA steel FROM PUBLIC, postgres",
    ),
];

/// Looks over one database; an empty list is a healthy one. `client` must be a session of the superuser `steel`.
///
/// # Errors
/// When PostgreSQL cannot be asked, or has no schema steel.
pub async fn doctor(client: &mut Client) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let major = versions(client, &mut findings).await?;
    let transaction = client.build_transaction().read_only(true).start().await?;
    transaction
        .batch_execute("SET LOCAL search_path = pg_catalog, pg_temp")
        .await?;
    for (query, remedy) in CATALOG {
        for row in transaction.query(query, &[]).await? {
            findings.push(Finding {
                subject: row.get(0),
                problem: row.get(1),
                remedy,
            });
        }
    }
    transaction.batch_execute("SET LOCAL ROLE postgres").await?;
    let newer = REPLACED_SINCE
        .into_iter()
        .filter(|(since, ..)| *since <= major);
    for (call, body) in REPLACED
        .into_iter()
        .chain(newer.map(|(_, call, body)| (call, body)))
    {
        let plan = transaction
            .query(&format!("EXPLAIN (VERBOSE, COSTS OFF) SELECT {call}"), &[])
            .await?;
        if !plan
            .iter()
            .any(|line| line.get::<_, String>(0).contains(body))
        {
            findings.push(Finding {
                subject: call.into(),
                problem: "the stock function runs, not the one that is equal on all replicas"
                    .into(),
                remedy: "rebuild this database's schema steel; a superuser replaced the function",
            });
        }
    }
    transaction.rollback().await?;
    Ok(findings)
}

/// The server's major version.
async fn versions(client: &mut Client, findings: &mut Vec<Finding>) -> Result<u32, Error> {
    let major = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::int / 10000",
            &[],
        )
        .await?
        .get::<_, i32>(0)
        .unsigned_abs();
    if !MAJORS.contains(&major) {
        findings.push(Finding {
            subject: "server_version".into(),
            problem: format!(
                "PostgreSQL {major}, and the schema steel was tried on {} to {}",
                MAJORS.start(),
                MAJORS.end()
            ),
            remedy: "run a PostgreSQL of these on every replica",
        });
    }
    let runner = embedded::runner();
    let applied = runner.get_applied_migrations_async(client).await?;
    for migration in runner.get_migrations() {
        if !applied.contains(migration) {
            findings.push(Finding {
                subject: migration.to_string(),
                problem: "this migration is not applied, or another text of it was".into(),
                remedy: "restart this replica with the version of SteelDB that made the data directory, or rebuild it",
            });
        }
    }
    Ok(major)
}
