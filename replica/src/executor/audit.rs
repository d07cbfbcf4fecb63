//! Audit: every table's digest at one height (DESIGN.md, "What keeps replicas identical").

use super::Note;
use super::contents::Contents;
use super::jobs::Bench;
use super::opening::{first_error, quiet};
use consensus::{ClientId, Digest, Height, ReplicaId};
use pgsession::{MultisetHash, Session, Statement};
use tokio::time::Instant;
use txn::client::ReplicaMessage;

/// Rows fetched at a time.
const ROWS_AT_ONCE: usize = 10_000;

/// Tables and sequences of users; what the replicas keep for themselves differs.
pub(super) const TABLES: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated) AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'steel')
   ORDER BY 1";

/// What clients have defined, a line each: names, no OIDs. All of it, as one major of PostgreSQL has it: for copies.
pub(super) const DEFINITIONS: &str = include_str!("schema/definitions.sql");

/// Roles, extensions, owners, privileges and settings, as statements that make them; a line each.
pub(super) const STATEMENTS: &str = include_str!("schema/statements.sql");

/// What an owner of the database may have set for all who connect must not show in what is digested or copied.
pub(super) const FIXED: [&str; 9] = [
    "SET LOCAL search_path = pg_catalog, pg_temp",
    "SET LOCAL TimeZone = 'UTC'",
    "SET LOCAL DateStyle = 'ISO, MDY'",
    "SET LOCAL IntervalStyle = 'postgres'",
    "SET LOCAL bytea_output = 'hex'",
    "SET LOCAL extra_float_digits = 1",
    "SET LOCAL lc_monetary = 'C'",
    "SET LOCAL xmloption = 'content'",
    "SET LOCAL quote_all_identifiers = off",
];

/// The rows of a table as text. From `record_out`: a cast could be a client's function.
pub(super) fn rows_of(table: &str) -> String {
    format!("SELECT pg_catalog.record_out(x.*)::pg_catalog.text FROM ONLY {table} AS x")
}

/// Everything about the schema that has a name and no OID, alike in all majors of PostgreSQL: NOT NULL is told with the columns
/// (18 lists it among the constraints too), and an extension's functions come with its version, which comes with the server.
const SCHEMA: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' ' || c.relkind::text || ' ' ||
      coalesce((SELECT string_agg(quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) || ' ' ||
                a.attnotnull::text || ' ' || coalesce(steel.plain(pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ''), ', ' ORDER BY a.attnum)
           FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '') ||
      coalesce((SELECT string_agg(steel.plain(pg_catalog.pg_get_constraintdef(k.oid)), ', ' ORDER BY k.conname)
           FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n'), '') ||
      CASE WHEN c.relkind = 'i' THEN steel.plain(pg_catalog.pg_get_indexdef(c.oid)) || (SELECT ' ' || x.indisvalid::text FROM pg_catalog.pg_index x WHERE x.indexrelid = c.oid) WHEN c.relkind = 'v' THEN steel.plain(steel.view_query(c.oid)::text) ELSE '' END
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'm', 'p', 'v', 'i', 'S') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'steel')
   UNION ALL
  SELECT 'function ' || steel.plain(pg_catalog.pg_get_functiondef(p.oid))
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
   WHERE p.prokind IN ('f', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'steel')
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
   UNION ALL
  SELECT concat_ws(' ', 'role', a.rolname, a.rolsuper, a.rolinherit, a.rolcreaterole, a.rolcreatedb, a.rolcanlogin, a.rolreplication,
                   a.rolbypassrls, a.rolconnlimit, a.rolpassword, a.rolvaliduntil)
    FROM pg_catalog.pg_authid a WHERE a.rolname !~ '^pg_' AND a.rolname <> 'steel'
   UNION ALL
  SELECT concat_ws(' ', 'member', m.roleid::regrole, m.member::regrole, m.admin_option)
    FROM pg_catalog.pg_auth_members m WHERE m.roleid::regrole::text !~ '^pg_'
   UNION ALL
  SELECT concat_ws(' ', 'client', r.client, r.role, r.allowed) FROM steel.client_role r
   UNION ALL
  SELECT concat_ws(' ', 'extension', e.extname, e.extversion = a.default_version, e.extnamespace::regnamespace)
    FROM pg_catalog.pg_extension e LEFT JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname";

impl Bench {
    /// Digests every table at the snapshot of this place in the order.
    pub async fn audit(
        self,
        height: Height,
        index: u32,
        client: ClientId,
        incarnation: u64,
        seq: u64,
    ) {
        let digested = self.digest_at(height, index, None).await;
        let (tables, error) = match digested {
            Ok(tables) => (tables, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let message = ReplicaMessage::Audit {
            incarnation,
            seq,
            height,
            tables,
            error,
        };
        let _ = self.notes.send(Note::Audited { client, message });
    }

    /// Digests the schema and one table at the snapshot of this place: the one whose turn it is when `asker` asks for the
    /// `number`-th time.
    pub async fn compare(self, height: Height, index: u32, asker: ReplicaId, number: u64) {
        let one = Some((asker, number));
        let digested = self.digest_at(height, index, one).await;
        let _ = self.notes.send(Note::Compared { height, digested });
    }

    /// Takes the snapshot of this place, lets the order go on, and digests.
    async fn digest_at(
        &self,
        height: Height,
        index: u32,
        one: Option<(ReplicaId, u64)>,
    ) -> Result<Contents, String> {
        let opened = async {
            let mut session = self.control.get().await.map_err(|e| e.to_string())?;
            open(&mut session).await.map(|()| session)
        };
        let session = opened.await;
        let _ = self.notes.send(Note::AuditOpened { height, index });
        let mut session = session?;
        let digested = digest_tables(&mut session, one).await;
        if session.run(vec![quiet("ROLLBACK")]).await.is_ok() {
            self.control.put(session);
        }
        digested
    }
}

/// Digests the schema and all tables of a server, in a session of the superuser.
///
/// # Errors
/// What PostgreSQL says.
pub async fn contents(session: &mut Session) -> Result<Contents, String> {
    open(session).await?;
    let digested = digest_tables(session, None).await;
    run(session, "ROLLBACK").await?;
    digested
}

/// Takes the snapshot, and has values look the same everywhere.
async fn open(session: &mut Session) -> Result<(), String> {
    let opening = vec![
        quiet("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
        quiet("SET LOCAL search_path = pg_catalog"),
        quiet("SET LOCAL TimeZone = 'UTC'"),
        // Until a statement needs it there is no snapshot.
        quiet("SELECT 1"),
    ];
    let outcomes = session.run(opening).await.map_err(|e| e.to_string())?;
    first_error(outcomes).map_or(Ok(()), |e| Err(e.to_string()))
}

/// Digests the schema and all tables, or one of them. Askers begin a quarter of the tables apart, so that together they are
/// through all of them sooner.
async fn digest_tables(
    session: &mut Session,
    one: Option<(ReplicaId, u64)>,
) -> Result<Contents, String> {
    let gently = one.is_some();
    let mut tables = vec![digest_query(session, "(schema)", SCHEMA, gently).await?];
    let mut names = query(session, TABLES).await?;
    if let Some((asker, number)) = one
        && !names.is_empty()
    {
        let count = names.len() as u64;
        let first = u64::from(asker.0) * count / 4;
        let chosen = names.swap_remove(((first + number) % count) as usize);
        names = vec![chosen];
    }
    for name in names {
        tables.push(digest_query(session, &name, &rows_of(&name), gently).await?);
    }
    tables.sort();
    Ok(tables)
}

/// Hashes the rows of a one-column query as a multiset, a piece at a time; `gently`: with pauses as long as the work.
pub(super) async fn digest_query(
    session: &mut Session,
    name: &str,
    sql: &str,
    gently: bool,
) -> Result<(String, u64, Digest), String> {
    let declare = format!("DECLARE steel_audit NO SCROLL CURSOR FOR {sql}");
    run(session, &declare).await?;
    let mut hash = MultisetHash::new();
    loop {
        let began = Instant::now();
        let rows = query(session, &format!("FETCH {ROWS_AT_ONCE} FROM steel_audit")).await?;
        for row in &rows {
            hash.add(row.as_bytes());
        }
        if rows.len() < ROWS_AT_ONCE {
            break;
        }
        if gently {
            // Half of the time is the clients'.
            tokio::time::sleep(began.elapsed()).await;
        }
    }
    run(session, "CLOSE steel_audit").await?;
    Ok((
        name.to_owned(),
        hash.count().unsigned_abs(),
        Digest(hash.finish()),
    ))
}

pub(super) async fn run(session: &mut Session, sql: &str) -> Result<pgsession::Outcome, String> {
    let outcomes = session
        .run(vec![Statement::new(sql)])
        .await
        .map_err(|e| e.to_string())?;
    let outcome = outcomes.into_iter().next().unwrap_or_default();
    match &outcome.error {
        Some(error) => Err(error.to_string()),
        None => Ok(outcome),
    }
}

pub(super) async fn query(session: &mut Session, sql: &str) -> Result<Vec<String>, String> {
    let outcome = run(session, sql).await?;
    let text = |row: Vec<Option<bytes::Bytes>>| {
        let value = row.into_iter().next().flatten();
        value.map_or(String::new(), |v| String::from_utf8_lossy(&v).into_owned())
    };
    Ok(outcome.values().map(text).collect())
}
