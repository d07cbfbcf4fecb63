//! The receiving end of a copy, in its own PostgreSQL: definitions and rows are put there, and looked at as its own server has them.
//!
//! pg_dump's text comes from one source and is run in a session of the clients' role, which can do nothing that clients cannot: whatever a
//! liar writes into it shows in the digest of the definitions, in a row that is there too soon, or in a privilege or setting that no
//! schema's text touches. What needs the superuser are lines that f+1 replicas gave alike.

use super::super::adopt;
use super::super::audit::{self, DEFINITIONS, FIXED, STATEMENTS, rows_of};
use super::super::jobs::Bench;
use super::super::opening::{first_error, quiet};
use consensus::{Digest, Height};
use pgsession::{Session, Statement};
use std::time::Duration;
use txn::copy::{Holding, Position};

/// How long the text of the schema may run.
const SCHEMA: Duration = Duration::from_secs(600);
/// Rows of one statement.
const ROWS_AT_ONCE: usize = 5_000;

/// Materialized views take rows as tables do, while they are disguised as one, and are not read by their query.
const DISGUISE: &str =
    "UPDATE pg_catalog.pg_class SET relkind = 'r', relhasrules = false, relispopulated = true
    WHERE oid = pg_catalog.to_regclass($1) AND relkind = 'm'";
const UNDISGUISE: &str = "UPDATE pg_catalog.pg_class c SET relkind = 'm', relhasrules = true
    WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind = 'r'
      AND EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN')";
/// Only those that are populated have contents, and so a name among the tables.
const POPULATED: &str = "UPDATE pg_catalog.pg_class SET relispopulated = true
    WHERE oid = pg_catalog.to_regclass($1) AND relkind = 'm'";
/// A policy that its table's owner cannot get round would keep rows from being put there.
const FORCED: &str = "SELECT oid::regclass::text FROM pg_catalog.pg_class
    WHERE relforcerowsecurity AND relnamespace <> 'steel'::regnamespace ORDER BY 1";

/// A copy as far as it is put into this server.
pub struct Install<'a> {
    bench: &'a Bench,
    holding: &'a Holding,
    /// In the order in which they are run.
    statements: Vec<String>,
    forced: Vec<String>,
    /// What this server held of roles, owners, privileges and settings before the schema's text.
    before: Digest,
}

impl<'a> Install<'a> {
    /// `statements` are those of which the holding names the digest.
    pub fn new(bench: &'a Bench, holding: &'a Holding, mut statements: Vec<String>) -> Install<'a> {
        statements.sort();
        Install {
            bench,
            holding,
            statements,
            forced: Vec::new(),
            before: Digest::default(),
        }
    }

    fn lines(&self, phase: char) -> impl Iterator<Item = &str> {
        let lines = self
            .statements
            .iter()
            .filter(move |line| line.starts_with(phase));
        lines.filter_map(|line| line.get(2..))
    }

    async fn control(&self) -> Result<Session, String> {
        self.bench.control.get().await.map_err(|e| e.to_string())
    }

    /// Roles and extensions, which the schema's text takes for granted.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn roles(&mut self) -> Result<(), String> {
        let mut session = self.control().await?;
        for line in self.lines('1') {
            execute(&mut session, line).await?;
        }
        begin(&mut session, quiet("BEGIN")).await?;
        self.before = statements(&mut session).await?;
        run(&mut session, quiet("ROLLBACK")).await?;
        self.bench.control.put(session);
        Ok(())
    }

    /// Runs the schema's text with the rights of clients.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn schema(&self, text: &str) -> Result<(), String> {
        let mut text = text.to_owned();
        // Made for their extensions already.
        for line in self.lines('1') {
            let name = line.strip_prefix("CREATE SCHEMA IF NOT EXISTS ");
            if let Some(name) = name.and_then(|line| line.strip_suffix(" AUTHORIZATION postgres")) {
                text = text.replacen(&format!("\nCREATE SCHEMA {name};\n"), "\n", 1);
            }
        }
        let mut session = self.bench.pool.get().await.map_err(|e| e.to_string())?;
        let run = tokio::time::timeout(SCHEMA, execute(&mut session, &text));
        run.await
            .map_err(|_| "the schema's text takes too long")??;
        session.close().await;
        Ok(())
    }

    /// Whether this server has the agreed definitions now, no rows, and no privilege or setting that the text brought: it would be in the
    /// way of rows, and others would be blamed for it. The agreed ones are tried, and taken back: until all rows are there everything
    /// belongs to the clients' role.
    ///
    /// # Errors
    /// What PostgreSQL says, or what is not as agreed.
    pub async fn check(&mut self) -> Result<(), String> {
        let mut session = self.control().await?;
        begin(&mut session, quiet("BEGIN")).await?;
        if statements(&mut session).await? != self.before {
            return Err("the schema's text changes roles, owners, privileges or settings".into());
        }
        self.owned(&mut session).await?;
        run(&mut session, quiet("ROLLBACK")).await?;
        for (table, ..) in &self.holding.tables {
            // A materialized view that is not populated can be looked into only so.
            run(&mut session, with(DISGUISE, table)).await?;
            let found = quiet(format!("SELECT 1 FROM ONLY {table} LIMIT 1"));
            if run(&mut session, found).await?.rows > 0 {
                return Err(format!("the schema's text puts rows into {table}"));
            }
        }
        self.forced = audit::query(&mut session, FORCED).await?;
        for table in &self.forced {
            run(
                &mut session,
                quiet(format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")),
            )
            .await?;
        }
        self.bench.control.put(session);
        Ok(())
    }

    /// The definitions are on the disk then. The tables whose row security does not hold for their owner now.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn reach_disk(&self) -> Result<&[String], String> {
        let mut session = self.control().await?;
        run(&mut session, quiet("CHECKPOINT")).await?;
        self.bench.control.put(session);
        Ok(&self.forced)
    }

    /// Goes on with what an earlier copy has left, of which these tables are without row security for their owner: whether this server
    /// has the definitions that are agreed on now is looked at as at the end.
    ///
    /// # Errors
    /// What PostgreSQL says, or what is not as agreed: it is of no use then.
    pub async fn go_on(&mut self, unforced: Vec<String>) -> Result<(), String> {
        self.forced = unforced;
        let mut session = self.control().await?;
        begin(&mut session, quiet("BEGIN")).await?;
        self.undisguised(&mut session).await?;
        run(&mut session, quiet("ROLLBACK")).await?;
        // A materialized view may be populated at the new height for the first time.
        for (table, ..) in &self.holding.tables {
            run(&mut session, with(DISGUISE, table)).await?;
        }
        self.bench.control.put(session);
        Ok(())
    }

    /// Whether a table holds the agreed rows already.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn has(&self, table: &str) -> Result<bool, String> {
        let mut session = self.control().await?;
        begin(&mut session, quiet("BEGIN READ ONLY")).await?;
        let found = audit::digest_query(&mut session, table, &rows_of(table), false).await?;
        run(&mut session, quiet("ROLLBACK")).await?;
        self.bench.control.put(session);
        Ok(self.wanted(table) == Some(&found))
    }

    fn wanted(&self, table: &str) -> Option<&(String, u64, Digest)> {
        self.holding.tables.iter().find(|(name, ..)| name == table)
    }

    /// Owners, privileges, settings; then they and the definitions must be the agreed ones.
    async fn owned(&self, session: &mut Session) -> Result<(), String> {
        for line in self.lines('2') {
            execute(session, line).await?;
        }
        for (table, ..) in &self.holding.tables {
            run(session, with(POPULATED, table)).await?;
        }
        for setting in FIXED {
            run(session, quiet(setting)).await?;
        }
        let (_, _, found) = audit::digest_query(session, "", DEFINITIONS, false).await?;
        if found != self.holding.definitions {
            return Err("the definitions are not those that were agreed on".into());
        }
        if statements(session).await? != self.holding.statements {
            return Err("owners, privileges or settings are not those that were agreed on".into());
        }
        Ok(())
    }

    /// A session in a transaction in which rows are put into a table, with the rights of clients: a CHECK or a domain may call a
    /// client's function. What an earlier copy has put there goes first.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn begin_table(&self, table: &str) -> Result<Session, String> {
        let mut session = self.bench.pool.get().await.map_err(|e| e.to_string())?;
        begin(&mut session, quiet("BEGIN ISOLATION LEVEL REPEATABLE READ")).await?;
        let apply = with("SELECT steel.begin_apply($1)", &self.bench.token);
        run(&mut session, apply).await?;
        run(&mut session, quiet(format!("DELETE FROM ONLY {table}"))).await?;
        Ok(session)
    }

    /// Puts rows into a table.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn rows(
        &self,
        session: &mut Session,
        table: &str,
        rows: &[String],
    ) -> Result<(), String> {
        let shape = self
            .bench
            .shapes
            .of(session, table)
            .await
            .map_err(|e| e.to_string())?;
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let put = adopt::insert(session, table, &shape, rows).await;
            put.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Ends a table: it stays when this server holds the agreed rows now.
    ///
    /// # Errors
    /// What PostgreSQL says, or that they are others.
    pub async fn end_table(&self, session: &mut Session, table: &str) -> Result<(), String> {
        let found = audit::digest_query(session, table, &rows_of(table), false).await?;
        if self.wanted(table) != Some(&found) {
            return Err(format!("{table} does not hold the agreed rows"));
        }
        run(session, quiet("COMMIT")).await.map(drop)
    }

    /// The last step: everything is as agreed, and says so to the next start.
    ///
    /// # Errors
    /// What PostgreSQL says, or what is not as agreed.
    pub async fn finish(&self, height: Height) -> Result<(), String> {
        let mut session = self.control().await?;
        begin(&mut session, quiet("BEGIN")).await?;
        self.undisguised(&mut session).await?;
        for position in &self.holding.positions {
            run(&mut session, set_value(position)).await?;
        }
        let floor = "INSERT INTO steel.floor (height) VALUES ($1)";
        run(&mut session, with(floor, &height.to_string())).await?;
        run(&mut session, quiet("COMMIT")).await?;
        run(&mut session, quiet("CHECKPOINT")).await?;
        Ok(())
    }

    /// Everything as clients are to find it, and compared.
    async fn undisguised(&self, session: &mut Session) -> Result<(), String> {
        for (table, ..) in &self.holding.tables {
            run(session, with(UNDISGUISE, table)).await?;
        }
        for table in &self.forced {
            let force = format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY");
            run(session, quiet(force)).await?;
        }
        self.owned(session).await
    }

    /// What the statements come to, for a source's word about them.
    pub fn agreed(lines: &[String], wanted: &Digest) -> bool {
        super::digest_of(lines.iter()) == *wanted
    }
}

/// What this server holds of roles, owners, privileges and settings.
async fn statements(session: &mut Session) -> Result<Digest, String> {
    let lines = audit::query(session, STATEMENTS).await?;
    Ok(super::digest_of(lines.iter()))
}

fn set_value(position: &Position) -> Statement {
    let text = |value: String| Some(value.into());
    Statement {
        // Where this server has no such sequence there is nothing to set.
        sql: "SELECT steel.orig_setval(pg_catalog.to_regclass($1)::regclass, $2, $3)".into(),
        parameter_types: vec![25, 20, 16],
        parameters: vec![
            text(position.sequence.clone()),
            text(position.last.to_string()),
            text(position.called.to_string()),
        ],
        cached: true,
        ..Statement::default()
    }
}

fn with(sql: &str, value: &str) -> Statement {
    Statement {
        sql: sql.into(),
        parameters: vec![Some(value.to_owned().into())],
        cached: true,
        ..Statement::default()
    }
}

async fn begin(session: &mut Session, begin: Statement) -> Result<(), String> {
    let mut opening = vec![begin];
    opening.extend(FIXED.map(quiet));
    let outcomes = session.run(opening).await.map_err(|e| e.to_string())?;
    first_error(outcomes).map_or(Ok(()), |e| Err(e.to_string()))
}

async fn run(session: &mut Session, statement: Statement) -> Result<pgsession::Outcome, String> {
    let outcomes = session
        .run(vec![statement])
        .await
        .map_err(|e| e.to_string())?;
    let outcome = outcomes.into_iter().next().unwrap_or_default();
    outcome.into_result().map_err(|e| e.to_string())
}

async fn execute(session: &mut Session, sql: &str) -> Result<(), String> {
    let outcome = session.execute(sql).await.map_err(|e| e.to_string())?;
    let begun: String = sql.chars().take(120).collect();
    outcome
        .into_result()
        .map(drop)
        .map_err(|e| format!("{e} ({begun} …)"))
}
