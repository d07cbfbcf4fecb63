//! The schema steel: functions, triggers and tables that SteelDB keeps in every PostgreSQL.
//!
//! [`migrate`] brings one database of one replica to the version of this crate; `docs/sql-schema.md` tells
//! what is in it and why.

use tokio_postgres::Client;

mod doctor;

pub use doctor::{Finding, doctor};

mod embedded {
    refinery::embed_migrations!("sql");

    /// The history lies in the schema steel, so that clients see nothing of it.
    pub fn runner() -> refinery::Runner {
        let mut runner = migrations::runner();
        runner.set_migration_table_name("steel.history");
        runner
    }
}

/// SQLSTATE of the notices by which triggers report row changes, sequence values and DDL.
pub const CAPTURE_SQLSTATE: &str = "ST001";

/// SQLSTATE of an error in replay: no recorded value is left for a sequence, or it is for another sequence.
pub const REPLAY_SQLSTATE: &str = "ST002";

/// Major versions of PostgreSQL on which everything here was tried, also with replicas of different ones in one cluster.
pub const MAJORS: std::ops::RangeInclusive<u32> = 15..=18;

/// Extensions that a database of SteelDB may have: functions of their arguments, and volatile ones that are refused as long as
/// no policy allows them (`steel.function_policy`). `steel.extensions()` is the same list.
pub const EXTENSIONS: [&str; 14] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "seg",
    "unaccent",
    "uuid-ossp",
];

/// Why a database could not be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL refused or the connection broke.
    #[error("PostgreSQL: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    /// A migration failed, or one that was applied differs from this program's.
    #[error(
        "schema steel: {0}; if an applied migration differs, this program and the data directory are of different versions"
    )]
    Migration(#[from] refinery::Error),
}

/// Applies what is missing, each migration in a transaction of its own; returns how many were applied.
///
/// `client` must be a session of the superuser `steel`. It is to be run once per database, before any
/// client's session. The session's `search_path` is fixed here, since the owner of a database can set one for all who connect.
pub async fn migrate(client: &mut Client) -> Result<usize, Error> {
    up_to(client, refinery::Target::Latest).await
}

/// As [`migrate`], each time only the next one is due, as after a run that was interrupted there; until nothing is missing.
#[doc(hidden)]
pub async fn migrate_in_steps(client: &mut Client) -> Result<usize, Error> {
    let runner = embedded::runner();
    let mut applied = 0;
    for migration in runner.get_migrations() {
        applied += up_to(client, refinery::Target::Version(migration.version())).await?;
    }
    Ok(applied)
}

async fn up_to(client: &mut Client, target: refinery::Target) -> Result<usize, Error> {
    client
        .batch_execute(
            "SET search_path = pg_catalog, pg_temp; SET client_min_messages = warning;
             CREATE SCHEMA IF NOT EXISTS steel",
        )
        .await?;
    let runner = embedded::runner().set_target(target);
    let report = runner.run_async(client).await?;
    Ok(report.applied_migrations().len())
}
