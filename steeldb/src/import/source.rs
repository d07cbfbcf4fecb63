//! The server that a database is imported from: one session, whose snapshot is the moment that is imported.

use std::time::Duration;

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::sql_error;
use crate::failure::Failure;

/// The oldest server that is read; older ones lack columns of the catalogs that are asked for.
const OLDEST: u32 = 12;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(20);

/// Tables locked in one statement.
const LOCKED_AT_ONCE: usize = 200;

/// What is no user's: of the system, of SteelDB, or a part of an extension.
pub const OWN_SCHEMAS: &str =
    "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'steel')";

/// The source and its open snapshot.
pub struct Source {
    pub client: Client,
    config: Config,
    /// The snapshot's name, for `pg_dump`.
    pub snapshot: String,
    /// `15`.
    pub major: u32,
    /// The role that reads sees everything, passwords' verifiers too.
    pub superuser: bool,
}

/// A table of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Quoted and qualified.
    pub name: String,
    /// The quoted columns that COPY carries, separated by commas: not generated ones. May be empty.
    pub columns: String,
}

/// A sequence and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    pub name: String,
    pub last: i64,
    pub called: bool,
    pub ascending: bool,
}

impl Source {
    /// Connects and takes the snapshot.
    ///
    /// # Errors
    /// When the DSN cannot be read, or the server cannot be reached or is too old.
    pub async fn open(dsn: &str) -> Result<Source, Failure> {
        let mut config: Config = dsn.parse().map_err(|error| {
            Failure::usage("--from cannot be read").cause(error).next(
                "write postgresql://USER@HOST:PORT/DATABASE, or host=… port=… user=… dbname=…",
            )
        })?;
        if config.get_user().is_none() || config.get_dbname().is_none() {
            return Err(Failure::usage("--from names no user or no database")
                .next("write postgresql://USER@HOST:PORT/DATABASE"));
        }
        config.connect_timeout(CONNECT);
        config.application_name("steeldb import");
        let client = connect(&config).await?;
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding'),
                        (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)",
                &[],
            )
            .await
            .map_err(|error| sql_error("the source cannot be asked", &error))?;
        let (major, encoding): (i32, String) = (row.get(0), row.get(1));
        let superuser = row.get(2);
        let major = major.unsigned_abs();
        if major < OLDEST {
            return Err(Failure::new("the source cannot be imported")
                .cause(format!(
                    "it is PostgreSQL {major}; {OLDEST} or newer is needed"
                ))
                .next("upgrade it with pg_upgrade first"));
        }
        if encoding != "UTF8" {
            return Err(Failure::new("the source cannot be imported")
                .cause(format!(
                    "its database is encoded in {encoding}; SteelDB holds UTF8 only"
                ))
                .next("dump it, and restore it into a database with ENCODING 'UTF8' first"));
        }
        let mut source = Source {
            client,
            config,
            snapshot: String::new(),
            major,
            superuser,
        };
        source.take_snapshot().await?;
        Ok(source)
    }

    /// One moment for everything that is read, and values as text in the form in which replicas digest theirs.
    async fn take_snapshot(&mut self) -> Result<(), Failure> {
        let failed = |error| sql_error("the source's snapshot cannot be taken", &error);
        self.client
            .batch_execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                 SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
                 SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL row_security = off;
                 SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'postgres';
                 SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; SET LOCAL lc_monetary = 'C';
                 SET LOCAL xmlbinary = base64; SET LOCAL quote_all_identifiers = off",
            )
            .await
            .map_err(failed)?;
        let row = self
            .client
            .query_one("SELECT pg_export_snapshot()", &[])
            .await
            .map_err(failed)?;
        self.snapshot = row.get(0);
        Ok(())
    }

    /// Where it is, without a password.
    pub fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(dir)) => dir.display().to_string(),
            None => String::new(),
        };
        format!(
            "{host}:{}/{}",
            self.port(),
            self.config.get_dbname().unwrap_or_default()
        )
    }

    fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    /// How libpq's programs find it. A password goes in the environment: arguments are everybody's to read.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("PGPORT", self.port().to_string()),
            (
                "PGUSER",
                self.config.get_user().unwrap_or_default().to_owned(),
            ),
            (
                "PGDATABASE",
                self.config.get_dbname().unwrap_or_default().to_owned(),
            ),
            ("PGCONNECT_TIMEOUT", CONNECT.as_secs().to_string()),
        ];
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => environment.push(("PGHOST", host.clone())),
            Some(Host::Unix(dir)) => environment.push(("PGHOST", dir.display().to_string())),
            None => {}
        }
        if let Some(password) = self.config.get_password() {
            let password = String::from_utf8_lossy(password).into_owned();
            environment.push(("PGPASSWORD", password));
        }
        environment
    }

    /// The tables whose rows are carried, but for those `left_out`, locked against changes of their shape.
    pub async fn tables(&self, left_out: &[String]) -> Result<Vec<Table>, Failure> {
        let failed = |error| sql_error("the source's tables cannot be read", &error);
        let query = format!(
            "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
                    coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum)
                                FROM pg_catalog.pg_attribute a
                               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), '')
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {OWN_SCHEMAS} AND {}
              ORDER BY 1",
            no_member("pg_class", "c")
        );
        let rows = self.client.query(&query, &[]).await.map_err(failed)?;
        let tables: Vec<Table> = rows
            .iter()
            .map(|row| Table {
                name: row.get(0),
                columns: row.get(1),
            })
            .filter(|table| !left_out.contains(&table.name))
            .collect();
        for some in tables.chunks(LOCKED_AT_ONCE) {
            let names: Vec<&str> = some.iter().map(|table| table.name.as_str()).collect();
            let lock = format!(
                "LOCK TABLE ONLY {} IN ACCESS SHARE MODE",
                names.join(", ONLY ")
            );
            self.client.batch_execute(&lock).await.map_err(failed)?;
        }
        Ok(tables)
    }

    /// The sequences and where they stand now: a sequence knows no snapshot, and is never behind the rows of one.
    pub async fn sequences(&self) -> Result<Vec<Sequence>, Failure> {
        let failed = |error| sql_error("the source's sequences cannot be read", &error);
        let query = format!(
            "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), q.seqincrement > 0
               FROM pg_catalog.pg_sequence q JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relpersistence <> 't' AND {OWN_SCHEMAS} AND {} ORDER BY 1",
            no_member("pg_class", "c")
        );
        let mut sequences = Vec::new();
        for row in self.client.query(&query, &[]).await.map_err(failed)? {
            let name: String = row.get(0);
            let position = self
                .client
                .query_one(&format!("SELECT last_value, is_called FROM {name}"), &[])
                .await
                .map_err(failed)?;
            sequences.push(Sequence {
                name,
                last: position.get(0),
                called: position.get(1),
                ascending: row.get(1),
            });
        }
        Ok(sequences)
    }
}

/// A condition: the object of this catalog is no part of an extension.
pub fn no_member(catalog: &str, alias: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass
                      AND e.objid = {alias}.oid AND e.deptype = 'e')"
    )
}

/// A session without encryption, as all of SteelDB's own.
async fn connect(config: &Config) -> Result<Client, Failure> {
    let (client, connection) = config.connect(NoTls).await.map_err(|error| {
        sql_error("the source cannot be reached", &error)
            .next("look at --from; the connection is made without TLS: from another machine use a tunnel, or a socket")
    })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the session with the source has ended");
        }
    });
    Ok(client)
}
